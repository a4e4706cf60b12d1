/* Does this machine intercept what a shadow root needs? Tried once, on a guest of two instructions.
 *
 * A guest that reads CR3 without an exit sees our root in place of its own and is lost in ways that
 * tell nobody why. QEMU 10.0 lets it; no CPUID bit tells, so the only way is to look.
 *
 * The guest runs in the hypervisor's own address space and segments. APM vol. 2, 15.5, 15.8.1.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/log.h"
#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "svm/svm.h"

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

/* The guest. Where the read is not intercepted, the HLT is. */
__attribute__((naked, noipa)) static void probe_guest(void)
{
	__asm__ volatile("mov %%cr3, %%rax\n\thlt" ::: "rax");
}

static struct vmcb_seg table(const struct table_pointer *p)
{
	return (struct vmcb_seg){.limit = p->limit, .base = p->base};
}

/* Interrupts stay off, and an NMI finds the hypervisor's handler and the unused stack below us. */
static void probe_create(const struct vcpu *v)
{
	struct vmcb_control *c = &vmcb_of(v)->ctl;
	struct vmcb_save *s = &vmcb_of(v)->save;
	struct table_pointer gdt, idt;

	__asm__ volatile("sgdt %0" : "=m"(gdt));
	__asm__ volatile("sidt %0" : "=m"(idt));
	memset(vmcb_of(v), 0, sizeof(struct vmcb));
	c->cr_read = 1u << 3;
	c->intercept1 = INT1_HLT | INT1_SHUTDOWN;
	c->intercept2 = INT2_VMRUN; /* VMRUN demands it */
	c->asid = 1;
	c->tlb_control = TLB_FLUSH_ALL;
	s->gdtr = table(&gdt);
	s->idtr = table(&idt);
	s->cs = (struct vmcb_seg){.selector = 0x08, .attrib = 0xa9b, .limit = UINT32_MAX};
	s->ss = (struct vmcb_seg){.selector = 0x10, .attrib = 0xc93, .limit = UINT32_MAX};
	s->ds = s->es = s->ss;
	s->cr0 = x86_read_cr0();
	s->cr3 = x86_read_cr3();
	s->cr4 = x86_read_cr4();
	s->efer = x86_rdmsr(MSR_EFER);
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	s->rflags = 2;
	s->rip = (uintptr_t)probe_guest;
	s->rsp = vmcb_pa(v) + 0x2000;
}

const char *svm_probe_shadow(struct vcpu *v)
{
	uint64_t code;

	probe_create(v);
	svm_enter(v->gpr, vmcb_pa(v));
	x86_stgi();
	code = vmcb_of(v)->ctl.exit_code;
	if (code == VMEXIT_HLT)
		return "this machine does not intercept reads of CR3 (QEMU 10.0 has that fault)";
	if (code == VMEXIT_CR3_READ)
		return NULL;
	log_info("the probe of shadow mode ended with exit 0x%lx, not with a read of CR3", code);
	return "this machine does not run a guest without nested paging";
}
