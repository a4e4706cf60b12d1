/* One entry and one exit: the VMCB follows the wishes in struct vcpu, and the other way round.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "svm/svm.h"

#include "core/vm.h"
#include "cpu/x86.h"

/* Forget the guest's translations: an ASID that was never used has none. Only when they run out is
 * the TLB flushed (APM vol. 2, 15.16). The vCPU has its CPU, and so all the CPU's ASIDs, for
 * itself. An ASID's translations are linear ones and nested ones alike. */
static void flush(struct vcpu *v)
{
	struct vmcb_control *c = &vmcb_of(v)->ctl;

	for (unsigned int k = 0; k < FLUSH_KINDS; k++)
		v->flushes[k] += v->flush >> k & 1;
	v->flush = 0;
	if (++c->asid < svm_cpu.asids)
		return;
	c->asid = 1;
	c->tlb_control = TLB_FLUSH_ALL;
}

/* Run with the guest's own choice of the CR4 bits that make no difference to us. A world switch
 * that changes one of them loses more than it has to on some machines: a CPU need not, and
 * emulators do, flush once more for each. */
static void follow_cr4(struct vcpu *v)
{
	const uint64_t bits = CR4_PSE | CR4_PGE | CR4_SMEP | CR4_SMAP;
	uint64_t want = (v->host_cr4 & ~bits) | (v->guest.cr4 & bits);

	if (want == v->host_cr4)
		return;
	v->host_cr4 = want;
	x86_write_cr4(want);
}

static uint32_t with(uint32_t word, uint32_t bits, bool on)
{
	return on ? word | bits : word & ~bits;
}

/* The mode of the root, and what is to be intercepted. */
static void follow_mode(struct vcpu *v)
{
	struct vmcb_control *c = &vmcb_of(v)->ctl;
	unsigned int i = v->intercepts;

	v->stale = false;
	c->nested_ctl = !v->shadow;
	c->cr_read = (uint16_t)with(c->cr_read, 1u << 3, i & INTERCEPT_CR3_READ);
	c->cr_write = (uint16_t)with(c->cr_write, 1u << 3, i & INTERCEPT_CR3_WRITE);
	c->cr_write = (uint16_t)with(c->cr_write, 1u << 4, i & INTERCEPT_CR4_WRITE);
	c->exceptions = with(c->exceptions, 1u << EXC_PF, i & INTERCEPT_PF);
	c->intercept1 = with(c->intercept1, INT1_INVLPG, i & INTERCEPT_TLB);
	c->intercept1 = with(c->intercept1, INT1_SOFT, i & INTERCEPT_INT);
	c->intercept3 = with(c->intercept3, INT3_INVPCID, i & INTERCEPT_TLB);
}

/* An interrupt is offered to the CPU as virtual interrupt with its own vector: the guest takes it
 * the moment it can, at once or later, without an exit. (Injecting it as an event has no advantage,
 * and QEMU 7.2 keeps such a vector as a pending exception: when another thread stops the CPU right
 * then, it is delivered twice.) Where such an interrupt would be late, it is injected if the guest
 * can take it now, and else waits for an exit right before the guest would take it. */
static void put_event(struct vcpu *v)
{
	struct vmcb_control *c = &vmcb_of(v)->ctl;
	bool injects = svm_cpu.virq_late && !v->event && guest_takes_interrupts(&v->guest);

	c->event_inj = v->event;
	c->int_ctl = V_INTR_MASKING | lapic_cr8(&v->apic);
	c->intercept1 =
		with(c->intercept1, INT1_VINTR, v->virq >= 0 && svm_cpu.virq_late && !injects);
	if (v->virq >= 0 && injects)
		c->event_inj = EVENT_VALID | EVENT_TYPE_INTR | (uint64_t)v->virq;
	else if (v->virq >= 0)
		c->int_ctl |= V_IRQ | V_IGN_TPR | (uint64_t)(v->virq >> 4) << V_PRIO_SHIFT |
			      (uint64_t)v->virq << V_VECTOR_SHIFT;
}

__attribute__((hot)) void svm_prepare(struct vcpu *v)
{
	struct vmcb *b = vmcb_of(v);
	struct vmcb_save *s = &b->save;
	const struct guest *g = &v->guest;

	b->ctl.tlb_control = TLB_KEEP;
	if (v->flush)
		flush(v);
	follow_cr4(v);
	if (v->stale)
		follow_mode(v);
	put_event(v);
	b->ctl.int_state = g->int_shadow;
	s->rax = v->gpr[REG_RAX];
	s->rsp = v->gpr[REG_RSP];
	s->rip = g->rip;
	s->rflags = g->rflags;
	s->cr0 = g->cr0;
	s->cr2 = g->cr2;
	if (!svm_cpu.loads_cr2)
		x86_write_cr2(g->cr2);
	s->cr4 = g->cr4;
	if (v->shadow) {
		s->cr3 = v->root;
		s->efer = g->efer | EFER_SVME | EFER_NXE;
	} else {
		s->cr3 = g->cr3;
		s->efer = g->efer | EFER_SVME;
		b->ctl.nested_cr3 = v->root;
	}
}

__attribute__((hot)) void svm_run(struct vcpu *v)
{
	svm_enter(v->gpr, vmcb_pa(v));
}

/* Take over what the exit says of events: an injected one that did not get through, an offered one
 * that did. */
static void take_event(struct vcpu *v)
{
	const struct vmcb_control *c = &vmcb_of(v)->ctl;
	uint64_t info = c->exit_int_info;
	uint64_t type = info & EVENT_TYPE_MASK;
	bool cut = false;

	/* QEMU calls a virtual interrupt whose delivery made the exit an exception. None has such a
	 * vector (and VMRUN would refuse to inject it). */
	if (type == EVENT_TYPE_EXC && (info & EVENT_VECTOR_MASK) > 31) {
		type = EVENT_TYPE_INTR;
		info = (info & ~(uint64_t)EVENT_TYPE_MASK) | EVENT_TYPE_INTR;
	}
	if (!(info & EVENT_VALID)) {
		info = 0;
	} else if (type == EVENT_TYPE_SOFT ||
		   (type == EVENT_TYPE_EXC && ((info & EVENT_VECTOR_MASK) == EXC_BP ||
					       (info & EVENT_VECTOR_MASK) == EXC_BP + 1))) {
		info = 0; /* the instruction runs again */
	}
	if (v->virq >= 0) {
		/* One whose delivery made the exit is offered again, not injected (put_event() says
		 * why): nothing of it has reached the guest. Some CPUs leave V_IRQ set then. */
		cut = info && type == EVENT_TYPE_INTR && (int)(info & EVENT_VECTOR_MASK) == v->virq;
		if (cut)
			info = 0;
	}
	v->exit.taken = !cut && !(c->int_ctl & V_IRQ) && !(c->intercept1 & INT1_VINTR);
	v->exit.event = info;
	v->exit.cr8 = (uint8_t)(c->int_ctl & V_TPR_MASK);
}

/* Is the guest in the shadow of an STI or MOV SS? On a machine that has forgotten it at the entry:
 * it still is if it is where it was; but not for ever, for it may jump there. */
static bool keep_shadow(struct vcpu *v, bool told)
{
	bool still = v->guest.int_shadow && vmcb_of(v)->save.rip == v->guest.rip && v->still < 3;

	v->still = still ? v->still + 1 : 0;
	return told || still;
}

__attribute__((hot)) void svm_leave(struct vcpu *v)
{
	const struct vmcb *b = vmcb_of(v);
	const struct vmcb_save *s = &b->save;
	struct guest *g = &v->guest;
	bool shadow = b->ctl.int_state & VMCB_INT_SHADOW;

	v->gpr[REG_RAX] = s->rax;
	v->gpr[REG_RSP] = s->rsp;
	if (vm.loses_shadow)
		shadow = keep_shadow(v, shadow);
	g->rip = s->rip;
	g->rflags = s->rflags;
	g->cr0 = s->cr0;
	g->cr2 = s->cr2;
	g->cr4 = s->cr4;
	if (!v->shadow)
		g->cr3 = s->cr3;
	g->cpl = s->cpl;
	guest_take_code(g, s->cs.attrib & SEG_L, s->cs.attrib & SEG_DB);
	g->int_shadow = shadow;
	take_event(v);
	svm_decode(v);
}
