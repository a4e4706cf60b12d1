/* Turning SVM on, and the two permission maps.
 *
 * The maps are constant after svm_maps_init(). APM vol. 2, 15.4, 15.10, 15.11.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "svm/svm.h"

#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "svm/maps.h"

uint8_t svm_iopm[SVM_IOPM_BYTES] __attribute__((aligned(4096)));
uint8_t svm_msrpm[SVM_MSRPM_BYTES] __attribute__((aligned(4096)));
bool svm_has_nrip;
uint32_t svm_asids;
bool svm_virq_late;

void svm_check(void)
{
	uint64_t vm_cr;

	if (x86_cpuid(0x80000000, 0).eax < 0x8000000a ||
	    !(x86_cpuid(0x80000001, 0).ecx & (1u << 2)))
		vm_fail("this CPU has no SVM (AMD virtualization)");
	if (!(x86_cpuid(0x8000000a, 0).edx & 1))
		vm_fail("this CPU has no nested paging (SVM NPT)");
	if (!x86_rdmsr_safe(MSR_VM_CR, &vm_cr) && (vm_cr & VM_CR_SVMDIS))
		vm_fail("SVM is switched off by the firmware");
	svm_asids = x86_cpuid(0x8000000a, 0).ebx;
	svm_has_nrip = x86_cpuid(0x8000000a, 0).edx & (1u << 3);
}

void svm_enable(struct vcpu *v)
{
	struct x86_cpuid f1 = x86_cpuid(1, 0);
	uint64_t cr4 = x86_read_cr4();

	x86_wrmsr(MSR_EFER, x86_rdmsr(MSR_EFER) | EFER_SVME | EFER_NXE);
	x86_wrmsr(MSR_VM_HSAVE_PA, v->vmcb_pa - VCPU_BLOCK_VMCB);
	/* XSETBV is executed for the guest in the hypervisor. */
	if (f1.ecx & (1u << 26))
		cr4 |= CR4_OSXSAVE;
	v->host_cr4 = cr4 | CR4_OSFXSR | CR4_OSXMMEXCPT;
	x86_write_cr4(v->host_cr4);
}

void svm_maps_init(void)
{
	memset(svm_iopm, 0xff, sizeof(svm_iopm));
	memset(svm_msrpm, 0xff, sizeof(svm_msrpm));
	ports_fill_bitmap(&vm.ports, svm_iopm);
	msr_fill_bitmap(svm_msrpm);
}
