# Twofold's build. Sources are found by place; nothing is listed by name.
#
#   make            the hypervisor, the command, the guests' programs
#   make run        boots stock Debian Linux in each mode (nested, shadow, auto) and prints one table
#   make test       everything that is checked, in under 20 minutes on 2 CPUs
#   make test-machines   more on Bochs's machines, Intel's and AMD's: every mode, one CPU and two
#   make unit | random | mistakes | model | lint | format | tidy | fuzz | bench | bench-groups | bench-choice | faults | soak |
#        stress | iso | setup | clean | distclean
#   make V=1 ...    shows each command
#
# SPDX-License-Identifier: BSD-2-Clause

MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

B := build
V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-8s %s\n' $(1) $(2)
else
Q :=
say = @:
endif

CC := gcc
CLANG ?= clang
OBJCOPY ?= objcopy

WARN := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef
STD := -std=gnu11 -MMD -MP
GCC_INCLUDE := $(shell $(CC) -print-file-name=include 2>/dev/null)

ENGINE_SRC ?= $(sort $(wildcard engine/*.c engine/*/*.c))
HV_SRC := $(sort $(wildcard hv/*.c hv/*/*.c hv/*/*/*.c))
HV_ASM := $(sort $(wildcard hv/*.S hv/*/*.S hv/*/*/*.S))
CLI_SRC := $(sort $(wildcard cli/*.c))
SUPPORT_SRC := $(sort $(wildcard tests/support/*.c))
UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
SUITES := $(filter $(notdir $(patsubst %/,%,$(sort $(dir $(wildcard tests/*/*.c))))),random matrix)
THREADS_SRC := $(sort $(wildcard tests/threads/*.c))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
WORKLOAD_SRC := $(sort $(wildcard guest/workload/*.c))
BARETEST_SRC := $(sort $(wildcard guest/baretest/*/*.c))

# ---- flags, one set for each kind of object ----

# Freestanding: the compiler's own headers and nothing of libc. -mgeneral-regs-only, because the
# guest's FPU and vector registers stay loaded while the hypervisor runs.
BARE := -ffreestanding -nostdinc -isystem $(GCC_INCLUDE) -fno-stack-protector -mno-red-zone \
	-mcmodel=small -mgeneral-regs-only -fno-pic -fno-pie -fcf-protection=none \
	-fno-asynchronous-unwind-tables -O2 -g -flto=auto -fno-fat-lto-objects
ASAN := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
TSAN := -O1 -g -fno-omit-frame-pointer -fsanitize=thread -Wno-tsan
FUZZER := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all

ENGINE_INC := -Iinclude -Iengine
HV_INC := -Iinclude -Ihv
TEST_INC := -Iinclude -Iengine -Itests -Itests/support

# ---- objects ----

obj = $(patsubst %,$(B)/$(1)/%.o,$(basename $(2)))

BARE_OBJ := $(call obj,bare,$(ENGINE_SRC))
HV_OBJ := $(call obj,hv,$(HV_SRC)) $(call obj,hv-asm,$(HV_ASM))
CLI_OBJ := $(call obj,user,$(CLI_SRC))
ASAN_ENGINE := $(call obj,user-asan,$(ENGINE_SRC))
ASAN_SUPPORT := $(call obj,user-asan,$(SUPPORT_SRC))
TSAN_ENGINE := $(call obj,user-tsan,$(ENGINE_SRC))
TSAN_SUPPORT := $(call obj,user-tsan,$(SUPPORT_SRC))
FUZZ_ENGINE := $(call obj,user-fuzz,$(ENGINE_SRC))
FUZZ_SUPPORT := $(call obj,user-fuzz,$(SUPPORT_SRC))
FAULTS_OBJ := $(call obj,user-bench,$(ENGINE_SRC) $(sort $(wildcard bench/faults/*.c)))

UNIT_BIN := $(patsubst tests/unit/%.c,$(B)/tests/%,$(UNIT_SRC))
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(B)/tests/%,$(FUZZ_SRC))
SUITE_BIN := $(SUITES:%=$(B)/tests/%)
THREADS_BIN := $(if $(THREADS_SRC),$(B)/tests/threads)
HV_BIN := $(if $(HV_SRC),$(B)/twofold-hv.elf)
GUEST_BIN := $(if $(WORKLOAD_SRC),$(B)/workload) $(if $(BARETEST_SRC),$(B)/baretest.elf)

.PHONY: all hv cli engine guests tests setup setup-bochs run test test-machines unit random matrix mistakes fuzz lint model faults bench bench-groups bench-choice \
	soak stress iso initramfs format tidy clean distclean
all: hv cli guests
hv: $(HV_BIN)
cli: $(B)/twofold
engine: $(B)/twofold-engine.o
guests: $(GUEST_BIN)
tests: $(UNIT_BIN) $(SUITE_BIN) $(THREADS_BIN)

# Flags are here.
$(BARE_OBJ) $(HV_OBJ) $(CLI_OBJ) $(FAULTS_OBJ): Makefile

$(B)/bare/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) $(WARN) $(BARE) $(ENGINE_INC) -c -o $@ $<

$(B)/hv/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) $(WARN) $(BARE) $(HV_CFLAGS) $(HV_INC) -c -o $@ $<

# gcc must not turn the loops of memcpy() and its sisters into calls of themselves.
$(B)/hv/hv/core/string.o: HV_CFLAGS := -fno-tree-loop-distribute-patterns

$(B)/hv-asm/%.o: %.S
	$(call say,AS,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -MMD -MP -g -fno-pic $(HV_INC) -D__ASSEMBLY__ -c -o $@ $<

$(B)/user/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) $(WARN) -O2 -g -D_GNU_SOURCE -Iinclude -Icli -c -o $@ $<

# The engine as a measured user-space program has it.
$(B)/user-bench/%.o: %.c
	$(call say,CC,"$< (bench)")
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) $(WARN) -O2 -g -D_GNU_SOURCE -pthread -Iinclude -Iengine -c -o $@ $<

# Tests may be written without prototypes for their own global functions.
TEST_WARN := $(filter-out -Wmissing-prototypes,$(WARN))
$(B)/user-asan/%.o: %.c
	$(call say,CC,"$< (asan)")
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) $(TEST_WARN) $(ASAN) -D_GNU_SOURCE $(TEST_INC) $(if $(filter hv/%,$<),-Ihv) \
		-c -o $@ $<

$(B)/user-tsan/%.o: %.c
	$(call say,CC,"$< (tsan)")
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) $(TEST_WARN) $(TSAN) -D_GNU_SOURCE $(TEST_INC) -c -o $@ $<

$(B)/user-fuzz/%.o: %.c
	$(call say,CLANG,"$< (fuzzer)")
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(STD) $(filter-out -Werror,$(TEST_WARN)) $(FUZZER) -D_GNU_SOURCE $(TEST_INC) \
		-c -o $@ $<

# Archives, so that the test of a low floor links only the floors that it calls.
define archive
$(B)/$(1).a: $(2)
	@mkdir -p $$(@D)
	@rm -f $$@
	$(Q)ar rcs $$@ $$(filter %.o,$$^)
endef
$(eval $(call archive,engine-asan,$(ASAN_ENGINE)))
$(eval $(call archive,support-asan,$(ASAN_SUPPORT)))
$(eval $(call archive,engine-tsan,$(TSAN_ENGINE)))
$(eval $(call archive,support-tsan,$(TSAN_SUPPORT)))
$(eval $(call archive,engine-fuzz,$(FUZZ_ENGINE)))
$(eval $(call archive,support-fuzz,$(FUZZ_SUPPORT)))

# ---- the hypervisor ----

# The engine as one object that shows nothing but its facade: what an embedder links.
$(B)/twofold-engine.o: $(BARE_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(BARE) -nostdlib -r -flinker-output=nolto-rel -o $@.all $^
	$(Q)$(OBJCOPY) -w --keep-global-symbol='tf_*' $@.all $@

$(B)/twofold-hv.elf64: $(HV_OBJ) $(B)/twofold-engine.o hv/boot/link.ld
	$(call say,LD,$@)
	$(Q)$(CC) $(BARE) -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,noexecstack \
		-Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments -T hv/boot/link.ld \
		-o $@ $(HV_OBJ) $(B)/twofold-engine.o

# QEMU's multiboot loader takes 32-bit ELF files only.
$(B)/twofold-hv.elf: $(B)/twofold-hv.elf64
	$(Q)$(OBJCOPY) -O elf32-i386 $< $@

# ---- the command ----

$(B)/twofold: $(CLI_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ -ljansson -lm

# ---- what runs in guests ----

$(B)/workload: $(call obj,guest,$(WORKLOAD_SRC))
	$(call say,LD,$@)
	$(Q)$(CC) -static -pthread -o $@ $^ -lm

$(B)/initramfs-mark: $(call obj,guest,guest/initramfs/mark.c)
	$(call say,LD,$@)
	$(Q)$(CC) -static -s -o $@ $^

$(B)/timed: $(call obj,guest,bench/programs/timed.c guest/workload/mark.c)
	$(call say,LD,$@)
	$(Q)$(CC) -static -s -o $@ $^

$(B)/guest/%.o: %.c
	$(call say,CC,"$< (guest)")
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) $(WARN) -O2 -g -D_GNU_SOURCE -pthread -c -o $@ $<

BUILD := $(B)
-include guest/baretest/baretest.mk
ifeq ($(V),0)
.SILENT: $(BARETEST_OBJ) $(BARETEST_OUT)/baretest.elf64 $(B)/baretest.elf
endif

INITRAMFS := $(B)/initramfs.cpio
initramfs: $(INITRAMFS)
$(INITRAMFS): guest/initramfs/init scripts/mkinitramfs.sh $(B)/initramfs-mark \
		$(if $(WORKLOAD_SRC),$(B)/workload)
	$(call say,CPIO,$@)
	$(Q)scripts/mkinitramfs.sh $@ guest/initramfs/init $(B)/initramfs-mark \
		$(if $(WORKLOAD_SRC),$(B)/workload)

# ---- tests ----

# Extra sources of a unit test: the words of a line "/* sources: hv/dev/lapic.c ... */" in it.
SOURCES_OF = $(shell sed -n 's,^/\* sources: *\(.*[^ ]\) *\*/.*,\1,p' $(1) | head -n 1)

define unit_rule
$(B)/tests/$(basename $(notdir $(1))): $(call obj,user-asan,$(1)) \
		$(call obj,user-asan,$(call SOURCES_OF,$(1))) $(B)/support-asan.a $(B)/engine-asan.a
	$$(call say,LD,$$@)
	@mkdir -p $$(@D)
	$(Q)$$(CC) $(ASAN) -pthread -o $$@ $$(filter %.o,$$^) -Wl,--start-group $(B)/support-asan.a \
		$(B)/engine-asan.a -Wl,--end-group -lcmocka -lm
endef
$(foreach t,$(UNIT_SRC),$(eval $(call unit_rule,$(t))))
$(B)/user-asan/tests/unit/%.o: TEST_INC += -Ihv

# All sources of one directory make one binary.
define suite_rule
$(B)/tests/$(1): $(call obj,user-asan,$(sort $(wildcard tests/$(1)/*.c))) $(B)/support-asan.a \
		$(B)/engine-asan.a
	$$(call say,LD,$$@)
	@mkdir -p $$(@D)
	$(Q)$$(CC) $(ASAN) -pthread -o $$@ $$(filter %.o,$$^) -Wl,--start-group $(B)/support-asan.a \
		$(B)/engine-asan.a -Wl,--end-group -lcmocka -lm
endef
$(foreach s,$(SUITES),$(eval $(call suite_rule,$(s))))

$(B)/tests/threads: $(call obj,user-tsan,$(THREADS_SRC)) $(B)/support-tsan.a $(B)/engine-tsan.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(TSAN) -pthread -o $@ $(filter %.o,$^) -Wl,--start-group $(B)/support-tsan.a \
		$(B)/engine-tsan.a -Wl,--end-group -lm

$(B)/tests/fuzz_%: $(B)/user-fuzz/tests/fuzz/fuzz_%.o $(B)/support-fuzz.a $(B)/engine-fuzz.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) -g -fsanitize=fuzzer,address,undefined -pthread -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(B)/support-fuzz.a $(B)/engine-fuzz.a -Wl,--end-group -lm

$(B)/bench/faults: $(FAULTS_OBJ)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -pthread -o $@ $^

# ---- jobs ----

setup:
	$(Q)scripts/setup.sh
setup-bochs:
	$(Q)scripts/setup.sh --bochs

run soak iso: setup
	$(Q)$(MAKE) -s all initramfs
	$(Q)scripts/$@.sh

test test-machines: setup-bochs
	$(Q)$(MAKE) -s all initramfs
	$(Q)scripts/$(if $(filter test,$@),test,machines).sh

bench bench-groups bench-choice stress: setup
	$(Q)$(MAKE) -s all initramfs $(B)/timed
	$(Q)bench/$(@:bench-%=%).sh

# First-touch faults a second, by threads, groupings and ways to install.
faults: $(B)/bench/faults
	$(Q)$< $(FAULTS)

unit: $(UNIT_BIN)
	$(Q)scripts/unit.sh $(UNIT_BIN)

random matrix: %: $(B)/tests/%
	$(Q)timeout 600 $<

# Known mistakes, put back one by one: the test must notice.
mistakes: $(UNIT_BIN)
	$(Q)scripts/mistakes.sh $(B)

# FUZZ_SECONDS: for each fuzzer.
FUZZ_SECONDS ?= 600
fuzz: $(FUZZ_BIN)
	$(Q)scripts/fuzz.sh $(FUZZ_SECONDS) $(FUZZ_BIN)

lint:
	$(Q)scripts/lint.sh

# The protocol between groups, by spin.
model:
	$(Q)scripts/model.sh

format:
	$(Q)clang-format -i $(sort $(shell find include engine hv cli guest tests bench -name '*.[ch]'))

# clang-tidy finds more than it proves: its report is to be read, not a gate.
tidy:
	$(Q)clang-tidy --quiet $(ENGINE_SRC) -- -std=gnu11 -ffreestanding $(ENGINE_INC)
	$(Q)clang-tidy --quiet $(HV_SRC) -- -std=gnu11 -ffreestanding $(HV_INC)
	$(Q)clang-tidy --quiet $(CLI_SRC) -- -std=gnu11 -D_GNU_SOURCE -Icli

# Keeps the kernel that was downloaded; distclean does not.
clean:
	$(Q)find $(B) -mindepth 1 -maxdepth 1 ! -name kernel -exec rm -rf {} +
distclean:
	$(Q)rm -rf $(B)

-include $(shell find $(B) -type f -name '*.d' -not -path '*/packages/*' 2>/dev/null)
