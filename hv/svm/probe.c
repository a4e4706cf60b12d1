/* What this machine does otherwise than the manual says: tried once, on guests of a few
 * instructions. No CPUID bit tells, so the only way is to look.
 *
 * A guest that reads CR3 without an exit sees our root in place of its own and is lost in ways that
 * tell nobody why. QEMU 10.0 lets it.
 *
 * QEMU (7.2) saves the shadow of an STI or MOV SS at #VMEXIT and does not load it
 * at VMRUN: after an exit right behind an STI an interrupt would come before the next instruction,
 * and an STI; HLT would sleep over the interrupt that it waits for.
 *
 * Bochs (2.7, 3.0) does not load CR2. And it decides from the guest's RFLAGS what to let through
 * before it is in the guest: a virtual interrupt is not taken where RFLAGS.IF is set at the entry,
 * and an interrupt of the host does not end the guest's run where it is clear, until the guest
 * itself changes it.
 *
 * The guests run in the hypervisor's own address space and segments. APM vol. 2, 15.5, 15.8.1,
 * 15.21.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/log.h"
#include "core/string.h"
#include "core/vm.h"
#include "cpu/apic.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "svm/svm.h"

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

/* Where the read is not intercepted, the HLT is. */
__attribute__((naked, noipa)) static void reads_cr3(void)
{
	__asm__ volatile("mov %%cr3, %%rax\n\thlt" ::: "rax");
}

__attribute__((naked, noipa)) static void reads_cr2(void)
{
	__asm__ volatile("mov %%cr2, %%rax\n\thlt" ::: "rax");
}

__attribute__((naked, noipa)) static void halts(void)
{
	__asm__ volatile("hlt");
}

/* An emulator may take an event some instructions late. */
__attribute__((naked, noipa)) static void waits(void)
{
	__asm__ volatile("mov $1000, %%eax\n1:\tpause\n\tdec %%eax\n\tjnz 1b\n\thlt" ::: "rax");
}

static struct vmcb_seg table(const struct table_pointer *p)
{
	return (struct vmcb_seg){.limit = p->limit, .base = p->base};
}

/* Interrupts stay off, and an NMI finds the hypervisor's handler and the unused stack below us. */
static void probe_create(const struct vcpu *v, void (*guest)(void))
{
	struct vmcb_control *c = &vmcb_of(v)->ctl;
	struct vmcb_save *s = &vmcb_of(v)->save;
	struct table_pointer gdt, idt;

	__asm__ volatile("sgdt %0" : "=m"(gdt));
	__asm__ volatile("sidt %0" : "=m"(idt));
	memset(vmcb_of(v), 0, sizeof(struct vmcb));
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
	s->rip = (uintptr_t)guest;
	s->rsp = vmcb_pa(v) + 0x2000;
}

static uint64_t probe_run(struct vcpu *v)
{
	svm_enter(v->gpr, vmcb_pa(v));
	x86_stgi();
	return vmcb_of(v)->ctl.exit_code;
}

const char *svm_probe_shadow(struct vcpu *v)
{
	uint64_t code;

	probe_create(v, reads_cr3);
	vmcb_of(v)->ctl.cr_read = 1u << 3;
	code = probe_run(v);
	if (code == VMEXIT_HLT)
		return "this machine does not intercept reads of CR3 (QEMU 10.0 has that fault)";
	if (code == VMEXIT_CR3_READ)
		return NULL;
	log_info("the probe of shadow mode ended with exit 0x%lx, not with a read of CR3", code);
	return "this machine does not run a guest without nested paging";
}

void svm_probe(struct vcpu *v)
{
	struct vmcb *b = vmcb_of(v);
	struct vmcb_control *c = &b->ctl;
	uint64_t other = ~x86_read_cr2();

	probe_create(v, reads_cr2);
	b->save.cr2 = other;
	svm_cpu.loads_cr2 = probe_run(v) != VMEXIT_HLT || b->save.rax == other;

	probe_create(v, waits);
	b->save.rflags |= RFLAGS_IF;
	c->intercept1 |= INT1_VINTR;
	c->int_ctl = V_INTR_MASKING | V_IRQ | V_IGN_TPR | 0xfull << V_PRIO_SHIFT |
		     0xffull << V_VECTOR_SHIFT;
	svm_cpu.virq_late = probe_run(v) == VMEXIT_HLT;

	probe_create(v, halts);
	b->save.rflags |= RFLAGS_IF;
	c->intercept1 |= INT1_VINTR;
	c->int_state = VMCB_INT_SHADOW;
	c->int_ctl = V_INTR_MASKING | V_IRQ | V_IGN_TPR | 0xfull << V_PRIO_SHIFT |
		     0xffull << V_VECTOR_SHIFT;
	vm.loses_shadow = probe_run(v) == VMEXIT_VINTR;

	/* GIF is clear until the entry: the interrupt waits for it. */
	probe_create(v, waits);
	c->intercept1 |= INT1_INTR;
	c->int_ctl = V_INTR_MASKING;
	x86_clgi();
	x86_sti();
	apic_send(v->host_apic_id, VECTOR_KICK);
	vm.kick_by_nmi = probe_run(v) == VMEXIT_HLT;
	x86_cli();
	log_debug(
		"VMRUN %s CR2, %s the shadow of STI; a virtual interrupt is taken %s; an interrupt "
		"%s a guest whose own are off",
		svm_cpu.loads_cr2 ? "loads" : "does not load",
		vm.loses_shadow ? "forgets" : "keeps", svm_cpu.virq_late ? "late" : "at once",
		vm.kick_by_nmi ? "does not stop" : "stops");
}
