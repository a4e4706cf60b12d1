/* Guest code without paging on a CPU that has no unrestricted guest: such a CPU runs none but with
 * paging on. So it runs on 4 MiB pages that map each address to itself, in a table of our own in a
 * page that the guest does not know to be memory. Real mode there is none of: the guest starts in
 * protected or 64-bit mode, on one CPU. SDM vol. 3, 24.8, 27.3.1.1, 4.3.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/vm.h"
#include "cpu/x86.h"
#include "vmx/vmx.h"

/* Above the IOAPIC, below the local APICs. */
#define FLAT_TABLE 0xfed80000ull

#define PDE_4M 0xe7u /* present, writable, user, accessed, dirty, large */

void vmx_flat_init(void)
{
	static uint32_t pde[1024];
	enum tf_status s = tf_mem_add(vm.mmu, gpa(FLAT_TABLE), sizeof(pde), 0);

	for (uint32_t i = 0; i < 1024; i++)
		pde[i] = i << 22 | PDE_4M;
	if (s == TF_OK)
		s = tf_mem_write(vm.mmu, gpa(FLAT_TABLE), pde, sizeof(pde));
	if (s != TF_OK)
		vm_fail("a table for code without paging: %s", tf_status_text(s));
}

void vmx_flat_regs(struct tf_regs *r)
{
	if (!(r->cr0 & CR0_PE))
		vm_fail("this CPU has no unrestricted guest (VMX): the guest's real-mode code "
			"cannot run");
	r->cr0 |= CR0_PG;
	r->cr3 = FLAT_TABLE;
	/* The pages are the user's, too. */
	r->cr4 = (r->cr4 | CR4_PSE) & ~(CR4_PAE | CR4_SMEP | CR4_SMAP | CR4_PKE);
	r->efer &= ~(EFER_LME | EFER_LMA);
}
