/* VMX turned on, and the VMCS before an entry: controls, the host's state, the guest's after reset
 * and after loading. What changes while the guest runs is in vmx/run.c.
 *
 * The bitmaps are constant after vmx_maps_init(). SDM vol. 3, 24.7, 25.4 to 25.8, 26.2, 26.3.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/log.h"
#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "decode/decode.h"
#include "load/load.h"
#include "vmx/convert.h"
#include "vmx/vmx.h"

#define IO_BITMAP_BYTES	 (2 * 4096)
#define MSR_BITMAP_BYTES 4096

#define MSR_PAT 0x277u

/* Segment registers in the VMCS's order, which is that of instructions (enum insn_seg). */
#define SEGMENTS 6u

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static uint8_t io_bitmap[IO_BITMAP_BYTES] __attribute__((aligned(4096)));
static uint8_t msr_bitmap[MSR_BITMAP_BYTES] __attribute__((aligned(4096)));

/* An exit loads TR from nothing but the VMCS, and demands a selector. No stack is ever taken from
 * this segment: the hypervisor has one privilege level and one stack for each CPU. */
static uint64_t host_tss[13];
#define HOST_TR 0x20
#define HOST_CS 0x08
#define HOST_DS 0x10

/* Bit n of the four quarters: reads of MSRs 0.., reads of 0xc0000000.., writes of both (25.6.9). */
static void let_through(uint32_t msr)
{
	uint32_t byte = (msr >= 0xc0000000u ? 0x400 : 0) + (msr & 0x1fff) / 8;
	uint8_t keep = (uint8_t) ~(1u << msr % 8);

	msr_bitmap[byte] &= keep;
	msr_bitmap[0x800 + byte] &= keep;
}

void vmx_maps_init(void)
{
	memset(io_bitmap, 0xff, sizeof(io_bitmap));
	memset(msr_bitmap, 0xff, sizeof(msr_bitmap));
	ports_fill_bitmap(&vm.ports, io_bitmap);
	for (const uint32_t *m = msr_pass_through; *m; m++)
		let_through(*m);
	if (!vmx_caps.has_unrestricted)
		vmx_flat_init();
}

static void set_host_state(const struct vcpu *v)
{
	struct table_pointer gdt, idt;

	__asm__ volatile("sgdt %0" : "=m"(gdt));
	__asm__ volatile("sidt %0" : "=m"(idt));
	vmx_write(VMCS_HOST_CR0, x86_read_cr0());
	vmx_write(VMCS_HOST_CR3, x86_read_cr3());
	vmx_write(VMCS_HOST_CR4, v->host_cr4);
	vmx_write(VMCS_HOST_CS_SELECTOR, HOST_CS);
	vmx_write(VMCS_HOST_SS_SELECTOR, HOST_DS);
	vmx_write(VMCS_HOST_DS_SELECTOR, HOST_DS);
	vmx_write(VMCS_HOST_ES_SELECTOR, HOST_DS);
	vmx_write(VMCS_HOST_FS_SELECTOR, 0);
	vmx_write(VMCS_HOST_GS_SELECTOR, 0);
	vmx_write(VMCS_HOST_TR_SELECTOR, HOST_TR);
	vmx_write(VMCS_HOST_FS_BASE, 0);
	vmx_write(VMCS_HOST_GS_BASE, 0);
	vmx_write(VMCS_HOST_TR_BASE, (uintptr_t)host_tss);
	vmx_write(VMCS_HOST_GDTR_BASE, gdt.base);
	vmx_write(VMCS_HOST_IDTR_BASE, idt.base);
	vmx_write(VMCS_HOST_SYSENTER_CS, 0);
	vmx_write(VMCS_HOST_SYSENTER_ESP, 0);
	vmx_write(VMCS_HOST_SYSENTER_EIP, 0);
	vmx_write(VMCS_HOST_PAT, x86_rdmsr(MSR_PAT));
	vmx_write(VMCS_HOST_EFER, x86_rdmsr(MSR_EFER));
	vmx_write(VMCS_HOST_RIP, (uintptr_t)vmx_exited);
}

static void set_constant_controls(const struct vcpu *v)
{
	const uint32_t exit_controls =
		EXIT_CTL_SAVE_DEBUG | EXIT_CTL_HOST_64 | EXIT_CTL_LOAD_PAT | EXIT_CTL_LOAD_EFER;

	vmx_write(VMCS_VPID, v->index + 1);
	vmx_write(VMCS_PIN_CONTROLS, vmx_control(PIN_EXTERNAL_INTERRUPT | PIN_NMI |
							 PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER,
						 vmx_caps.pin));
	vmx_write(VMCS_EXIT_CONTROLS, vmx_control(exit_controls, vmx_caps.exit));
	vmx_write(VMCS_IO_BITMAP_A, (uintptr_t)io_bitmap);
	vmx_write(VMCS_IO_BITMAP_B, (uintptr_t)io_bitmap + 4096);
	vmx_write(VMCS_MSR_BITMAP, (uintptr_t)msr_bitmap);
	/* Every #PF exits, or none: a fault exits if (code & 0) == 0 equals the bitmap's bit. */
	vmx_write(VMCS_PF_ERROR_MASK, 0);
	vmx_write(VMCS_PF_ERROR_MATCH, 0);
	/* No CR3-target values: the CPU would load what the guest writes, and where writes of CR3
	 * are to exit, that is never what it should run on (docs/vmx.md). */
	vmx_write(VMCS_CR3_TARGET_COUNT, 0);
	vmx_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
	vmx_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
	vmx_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
	vmx_write(VMCS_LINK_POINTER, UINT64_MAX);
	vmx_write(VMCS_GUEST_DEBUGCTL, 0);
	/* All but TS and MP of CR0 are ours: writes of them are rare. */
	vmx_write(VMCS_CR0_MASK, ~(CR0_TS | CR0_MP));
}

void vmx_enable(struct vcpu *v)
{
	uint64_t feature = x86_rdmsr(MSR_FEATURE_CONTROL), vmcs = v->block + VCPU_BLOCK_CONTROL;
	uint64_t cr4 = x86_read_cr4() | CR4_VMXE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (!(feature & FEATURE_CONTROL_LOCK))
		x86_wrmsr(MSR_FEATURE_CONTROL,
			  feature | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX);
	/* XSETBV is executed for the guest in the hypervisor. */
	if (x86_cpuid(1, 0).ecx & (1u << 26))
		cr4 |= CR4_OSXSAVE;
	v->host_cr4 = (cr4 | vmx_caps.cr4_set) & ~vmx_caps.cr4_clear;
	x86_write_cr0((x86_read_cr0() | vmx_caps.cr0_set) & ~vmx_caps.cr0_clear);
	x86_write_cr4(v->host_cr4);
	x86_wrmsr(MSR_EFER, x86_rdmsr(MSR_EFER) | EFER_NXE);
	*(uint32_t *)(uintptr_t)v->block = vmx_caps.revision;
	*(uint32_t *)(uintptr_t)vmcs = vmx_caps.revision;
	if (!vmx_on(v->block))
		vm_fail("CPU %u: VMXON failed", v->host_apic_id);
	if (!vmx_clear(vmcs) || !vmx_load(vmcs))
		vm_fail("CPU %u: its VMCS was refused", v->host_apic_id);
	set_constant_controls(v);
	set_host_state(v);
}

/* ---- the guest's state ---- */

/* n: as in VMCS_GUEST_ES_SELECTOR and its sisters, whose fields are 2 apart; LDTR is 6, TR is 7. */
static void set_segment(unsigned int n, const struct load_segment *s)
{
	vmx_write(VMCS_GUEST_ES_SELECTOR + 2 * n, s->selector);
	vmx_write(VMCS_GUEST_ES_LIMIT + 2 * n, s->limit);
	vmx_write(VMCS_GUEST_ES_RIGHTS + 2 * n, vmx_rights(s->attrib));
	vmx_write(VMCS_GUEST_ES_BASE + 2 * n, s->base);
}

static void set_tables(uint64_t gdt_base, uint16_t gdt_limit, uint64_t idt_base, uint16_t idt_limit)
{
	vmx_write(VMCS_GUEST_GDTR_BASE, gdt_base);
	vmx_write(VMCS_GUEST_GDTR_LIMIT, gdt_limit);
	vmx_write(VMCS_GUEST_IDTR_BASE, idt_base);
	vmx_write(VMCS_GUEST_IDTR_LIMIT, idt_limit);
}

enum { SEG_LDTR = 6, SEG_TR = 7 };

static void reset_segments(uint8_t sipi_vector)
{
	const struct load_segment data = {.attrib = 0x93, .limit = 0xffff};
	const struct load_segment code = {
		.selector = (uint16_t)(sipi_vector << 8),
		.attrib = 0x9b,
		.limit = 0xffff,
		.base = (uint64_t)sipi_vector << 12,
	};
	const struct load_segment ldt = {.attrib = 0x82, .limit = 0xffff};
	const struct load_segment tss = {.attrib = 0x8b, .limit = 0xffff};

	for (unsigned int n = 0; n < SEGMENTS; n++)
		set_segment(n, n == INSN_CS ? &code : &data);
	set_segment(SEG_LDTR, &ldt);
	set_segment(SEG_TR, &tss);
	set_tables(0, 0xffff, 0, 0xffff);
}

void vmx_reset(struct vcpu *v, uint8_t sipi_vector)
{
	static const uint32_t zero[] = {MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK,
					MSR_KERNEL_GS_BASE};
	struct vmx *x = vmx_of(v);

	/* All is written anew at the next entry. */
	*x = (struct vmx){.launched = x->launched, .eptp = x->eptp, .host_rsp = x->host_rsp};
	v->guest = (struct guest){
		.rflags = 2,
		.cr0 = CR0_ET | CR0_NW | CR0_CD,
		.mode = INSN_16,
	};
	reset_segments(sipi_vector);
	vmx_write(VMCS_GUEST_DR7, 0x400);
	vmx_write(VMCS_GUEST_PENDING_DEBUG, 0);
	vmx_write(VMCS_GUEST_ACTIVITY, 0);
	vmx_write(VMCS_GUEST_SYSENTER_CS, 0);
	vmx_write(VMCS_GUEST_SYSENTER_ESP, 0);
	vmx_write(VMCS_GUEST_SYSENTER_EIP, 0);
	vmx_write(VMCS_GUEST_PAT, v->msr.pat);
	vmx_write(VMCS_TSC_OFFSET, v->msr.tsc_offset);
	for (unsigned int i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
		x86_wrmsr(zero[i], 0);
	__asm__ volatile("mov %0, %%dr6" ::"r"(0xffff0ff0ull));
	if (x86_read_cr4() & CR4_OSXSAVE)
		x86_xsetbv_safe(0, 1);
}

void vmx_set_code_and_stack(struct vcpu *v, const struct load_segment *cs,
			    const struct load_segment *ss)
{
	uint32_t rights = vmx_rights(cs->attrib);

	set_segment(INSN_CS, cs);
	set_segment(INSN_SS, ss);
	v->guest.cpl = ss->attrib >> 5 & 3;
	guest_take_code(&v->guest, rights & RIGHTS_L, rights & RIGHTS_DB);
}

uint64_t vmx_gdt_base(const struct vcpu *v)
{
	(void)v;
	return vmx_read(VMCS_GUEST_GDTR_BASE);
}

void vmx_start(struct vcpu *v, const struct load_entry *e)
{
	for (unsigned int n = 0; n < SEGMENTS; n++)
		set_segment(n, &e->data);
	set_segment(SEG_TR, &e->tr);
	set_tables(e->gdt_base, e->gdt_limit, e->idt_base, e->idt_limit);
	vmx_set_code_and_stack(v, &e->cs, &e->data);
}

void vmx_segment_bases(const struct vcpu *v, uint64_t base[6])
{
	(void)v;
	for (unsigned int n = 0; n < SEGMENTS; n++)
		base[n] = vmx_read(VMCS_GUEST_ES_BASE + 2 * n);
}

void vmx_dump(const struct vcpu *v)
{
	const struct vmx *x = vmx_of(v);

	log_info("vcpu %u: VMX exit reason %x qualification %lx gpa %lx linear %lx, entry %u, "
		 "instruction error %lu",
		 v->index, x->reason, vmx_read(VMCS_EXIT_QUALIFICATION),
		 vmx_read(VMCS_GUEST_PHYSICAL_ADDRESS), vmx_read(VMCS_GUEST_LINEAR_ADDRESS),
		 x->failed, vmx_read(VMCS_INSTRUCTION_ERROR));
	log_info("vcpu %u: interruption %lx error %lx, vectoring %lx error %lx, blocking %lx, "
		 "injected %lx",
		 v->index, vmx_read(VMCS_EXIT_INTERRUPTION_INFO),
		 vmx_read(VMCS_EXIT_INTERRUPTION_ERROR), vmx_read(VMCS_IDT_VECTORING_INFO),
		 vmx_read(VMCS_IDT_VECTORING_ERROR), vmx_read(VMCS_GUEST_INTERRUPTIBILITY),
		 vmx_read(VMCS_ENTRY_INTERRUPTION_INFO));
	log_info("vcpu %u: rip %lx rsp %lx rflags %lx cr0 %lx cr3 %lx cr4 %lx efer %lx dr7 %lx "
		 "eptp %lx",
		 v->index, vmx_read(VMCS_GUEST_RIP), vmx_read(VMCS_GUEST_RSP),
		 vmx_read(VMCS_GUEST_RFLAGS), vmx_read(VMCS_GUEST_CR0), vmx_read(VMCS_GUEST_CR3),
		 vmx_read(VMCS_GUEST_CR4), vmx_read(VMCS_GUEST_EFER), vmx_read(VMCS_GUEST_DR7),
		 vmx_read(VMCS_EPT_POINTER));
	log_info("vcpu %u: pin %lx proc %lx proc2 %lx exit %lx entry %lx exceptions %lx", v->index,
		 vmx_read(VMCS_PIN_CONTROLS), vmx_read(VMCS_PROC_CONTROLS),
		 vmx_read(VMCS_PROC2_CONTROLS), vmx_read(VMCS_EXIT_CONTROLS),
		 vmx_read(VMCS_ENTRY_CONTROLS), vmx_read(VMCS_EXCEPTION_BITMAP));
	for (unsigned int n = 0; n <= SEG_TR; n++)
		log_info("vcpu %u: segment %u: %lx rights %lx limit %lx base %lx", v->index, n,
			 vmx_read(VMCS_GUEST_ES_SELECTOR + 2 * n),
			 vmx_read(VMCS_GUEST_ES_RIGHTS + 2 * n),
			 vmx_read(VMCS_GUEST_ES_LIMIT + 2 * n),
			 vmx_read(VMCS_GUEST_ES_BASE + 2 * n));
}
