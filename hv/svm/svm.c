/* Turning SVM on, the two permission maps, and svm_vendor itself. APM vol. 2, 15.4, 15.10, 15.11,
 * 15.17.
 *
 * Interrupts are shut by GIF: #VMEXIT clears it, VMRUN sets it. RFLAGS.IF is set all the while, for
 * with V_INTR_MASKING it is that which lets the host's interrupts end a guest's run.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "svm/svm.h"

#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"

uint8_t svm_iopm[SVM_IOPM_BYTES] __attribute__((aligned(4096)));
uint8_t svm_msrpm[SVM_MSRPM_BYTES] __attribute__((aligned(4096)));
struct svm_cpu svm_cpu;

static bool is_there(void)
{
	return x86_cpuid(0x80000000, 0).eax >= 0x8000000a &&
	       (x86_cpuid(0x80000001, 0).ecx & (1u << 2));
}

static const char *check(void)
{
	uint64_t vm_cr;

	if (!(x86_cpuid(0x8000000a, 0).edx & 1))
		return "this CPU has no nested paging (SVM NPT)";
	if (!x86_rdmsr_safe(MSR_VM_CR, &vm_cr) && (vm_cr & VM_CR_SVMDIS))
		return "SVM is switched off by the firmware";
	svm_cpu.asids = x86_cpuid(0x8000000a, 0).ebx;
	svm_cpu.has_nrip = x86_cpuid(0x8000000a, 0).edx & (1u << 3);
	return NULL;
}

static void enable(struct vcpu *v)
{
	struct x86_cpuid f1 = x86_cpuid(1, 0);
	uint64_t cr4 = x86_read_cr4();

	x86_wrmsr(MSR_EFER, x86_rdmsr(MSR_EFER) | EFER_SVME | EFER_NXE);
	x86_wrmsr(MSR_VM_HSAVE_PA, v->block + VCPU_BLOCK_HOST);
	/* XSETBV is executed for the guest in the hypervisor. */
	if (f1.ecx & (1u << 26))
		cr4 |= CR4_OSXSAVE;
	v->host_cr4 = cr4 | CR4_OSFXSR | CR4_OSXMMEXCPT;
	x86_write_cr4(v->host_cr4);
}

static void maps_init(void)
{
	memset(svm_iopm, 0xff, sizeof(svm_iopm));
	memset(svm_msrpm, 0xff, sizeof(svm_msrpm));
	ports_fill_bitmap(&vm.ports, svm_iopm);
	msr_fill_bitmap(svm_msrpm);
}

static enum tf_nested_format format(void)
{
	return TF_NPT;
}

static bool has_1g(void)
{
	return x86_cpuid(0x80000001, 0).edx & (1u << 26);
}

static void shut(void)
{
	x86_clgi();
	x86_sti();
}

static void open(void)
{
	x86_cli();
	x86_stgi();
}

static void window(void)
{
	__asm__ volatile("stgi\n\tnop\n\tclgi" ::: "memory");
}

static void pat_changed(struct vcpu *v)
{
	vmcb_of(v)->save.g_pat = v->msr.pat;
}

static void tsc_changed(struct vcpu *v)
{
	vmcb_of(v)->ctl.tsc_offset = v->msr.tsc_offset;
}

static void stepped(struct vcpu *v)
{
	vmcb_of(v)->save.dr6 |= 1u << 14;
}

static void nmi_watch(struct vcpu *v)
{
	vmcb_of(v)->ctl.intercept1 |= INT1_IRET;
}

const struct vendor svm_vendor = {
	.name = "SVM",
	.is_there = is_there,
	.check = check,
	.format = format,
	.has_1g = has_1g,
	.maps_init = maps_init,
	.enable = enable,
	.probe_shadow = svm_probe_shadow,
	.probe = svm_probe,
	.reset = svm_reset,
	.start = svm_start,
	.shut = shut,
	.open = open,
	.window = window,
	.prepare = svm_prepare,
	.enter = svm_run,
	.leave = svm_leave,
	.segment_bases = svm_segment_bases,
	.gdt_base = svm_gdt_base,
	.set_code_and_stack = svm_set_code_and_stack,
	.pat_changed = pat_changed,
	.tsc_changed = tsc_changed,
	.stepped = stepped,
	.nmi_watch = nmi_watch,
	.dump = svm_dump,
};
