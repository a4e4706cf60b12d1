/* What this machine does otherwise than the manual says: tried once, on a guest of a few
 * instructions, for no capability bit tells.
 *
 * An interrupt of the host is to end the guest's run whatever the guest's RFLAGS.IF is. Bochs (2.7,
 * 3.0) decides by RFLAGS what to let through before it is in the guest: where RFLAGS.IF is clear at
 * the entry, nothing comes through until the guest itself changes it. Then kicks are sent as NMIs;
 * one that comes while the guest is out makes the next entry end at once (vmx_kicked).
 *
 * The guest runs in the hypervisor's own address space. SDM vol. 3, 26.2, 27.2.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/log.h"
#include "core/vm.h"
#include "cpu/apic.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "load/load.h"
#include "vmx/vmx.h"

/* An emulator may take an event some instructions late. */
__attribute__((naked, noipa)) static void waits(void)
{
	__asm__ volatile("mov $1000, %%eax\n1:\tpause\n\tdec %%eax\n\tjnz 1b\n\thlt" ::: "rax");
}

void vmx_probe(struct vcpu *v)
{
	const struct load_entry e = {
		.rip = (uintptr_t)waits,
		.rsp = v->block + VCPU_BLOCK_OWN + TF_PAGE_SIZE, /* unused */
		.rflags = 2,
		.cr0 = x86_read_cr0(),
		.cr3 = x86_read_cr3(),
		.cr4 = x86_read_cr4(),
		.efer = x86_rdmsr(MSR_EFER),
		.cs = {.selector = 0x08, .attrib = 0xa9b, .limit = UINT32_MAX},
		.data = {.selector = 0x10, .attrib = 0xc93, .limit = UINT32_MAX},
		.tr = {.attrib = 0x8b, .limit = 0x67},
	};

	vmx_reset(v, 0);
	vcpu_start(v, &e);
	v->shadow = true;
	v->root = e.cr3;
	v->flush = TF_FLUSH_ALL;
	vmx_prepare(v);
	apic_send(v->host_apic_id, VECTOR_KICK);
	vmx_run(v);
	vmx_leave(v);
	vendor->window();
	v->shadow = false;
	if (v->exit.reason != EXIT_INTERRUPT && v->exit.reason != EXIT_HLT) {
		vmx_dump(v);
		vm_fail("this machine's VMX does not run a guest of four instructions");
	}
	vm.kick_by_nmi = v->exit.reason == EXIT_HLT;
	log_debug("an interrupt %s a guest whose own are off",
		  vm.kick_by_nmi ? "does not stop" : "stops");
}
