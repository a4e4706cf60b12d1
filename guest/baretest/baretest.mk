# The bare test guest: a 32-bit multiboot ELF file that enters long mode itself.
# Included by the top Makefile; needs only $(BUILD) and $(CC).
# SPDX-License-Identifier: BSD-2-Clause

BUILD ?= build
BARETEST_DIR := guest/baretest
BARETEST_OUT := $(BUILD)/baretest
BARETEST_HDRS := $(wildcard $(BARETEST_DIR)/*/*.h)
BARETEST_C := $(wildcard $(BARETEST_DIR)/lib/*.c $(BARETEST_DIR)/tests/*.c)
BARETEST_S := $(wildcard $(BARETEST_DIR)/lib/*.S)
# Runs in 32-bit modes: compiled with -m32, assembled into 64-bit objects under .code32.
BARETEST_C32 := $(wildcard $(BARETEST_DIR)/legacy/*.c)
BARETEST_OBJ := $(patsubst $(BARETEST_DIR)/%,$(BARETEST_OUT)/%.o,$(BARETEST_C) $(BARETEST_S) $(BARETEST_C32))
BARETEST_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-pie \
	-fno-stack-protector -fno-asynchronous-unwind-tables -fno-strict-aliasing -fcf-protection=none \
	--param=min-pagesize=0 -fno-tree-loop-distribute-patterns \
	-mgeneral-regs-only -I$(BARETEST_DIR)/lib

$(BUILD)/baretest.elf: $(BARETEST_OUT)/baretest.elf64
	objcopy -O elf32-i386 $< $@

$(BARETEST_OUT)/baretest.elf64: $(BARETEST_OBJ) $(BARETEST_DIR)/lib/link.ld
	$(CC) -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=4096 \
		-Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -T $(BARETEST_DIR)/lib/link.ld -o $@ $(BARETEST_OBJ)

$(BARETEST_OUT)/legacy/%.c.o: $(BARETEST_DIR)/legacy/%.c $(BARETEST_HDRS) $(BARETEST_DIR)/baretest.mk
	@mkdir -p $(@D)
	$(CC) -m32 $(BARETEST_CFLAGS) -g0 -S -o $(@:.o=.s32) $<
	{ echo '.code32'; cat $(@:.o=.s32); } > $(@:.o=.s)
	$(CC) -m64 -c -o $@ $(@:.o=.s)

$(BARETEST_OUT)/%.c.o: $(BARETEST_DIR)/%.c $(BARETEST_HDRS) $(BARETEST_DIR)/baretest.mk
	@mkdir -p $(@D)
	$(CC) -m64 -mno-red-zone -mcmodel=small $(BARETEST_CFLAGS) -c -o $@ $<

$(BARETEST_OUT)/%.S.o: $(BARETEST_DIR)/%.S $(BARETEST_HDRS) $(BARETEST_DIR)/baretest.mk
	@mkdir -p $(@D)
	$(CC) -m64 -I$(BARETEST_DIR)/lib -Wa,--noexecstack -c -o $@ $<
