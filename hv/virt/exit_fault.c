/* Exits by page faults: nested ones, those on a shadow root, and what lies behind them when there
 * is no memory: devices.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/log.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "virt/virt.h"

#define CR3_ADDR 0x000ffffffffff000ull

struct mmio {
	struct vcpu *v;
	uint64_t gpa;
};

static uint64_t mmio_read(void *ctx, unsigned int size)
{
	const struct mmio *m = ctx;
	unsigned int offset = m->gpa & TF_PAGE_MASK;
	uint64_t value = UINT64_MAX;

	if (lapic_has_mmio(&m->v->apic, m->gpa))
		value = lapic_mmio_read(&m->v->apic, offset);
	else if (ioapic_has_mmio(m->gpa))
		value = ioapic_mmio_read(&vm.ioapic, offset);
	return size < 8 ? value & ((1ull << size * 8) - 1) : value;
}

static void mmio_write(void *ctx, unsigned int size, uint64_t value)
{
	const struct mmio *m = ctx;
	unsigned int offset = m->gpa & TF_PAGE_MASK;

	(void)size;
	if (lapic_has_mmio(&m->v->apic, m->gpa))
		lapic_mmio_write(&m->v->apic, offset, (uint32_t)value);
	else if (ioapic_has_mmio(m->gpa))
		ioapic_mmio_write(&vm.ioapic, offset, (uint32_t)value, (int)m->v->index);
}

/* An access where the guest has no memory. What is absent reads as ones. */
static void device(struct vcpu *v, uint64_t at)
{
	struct mmio m = {v, at};
	const struct insn_bus bus = {&m, mmio_read, mmio_write};
	const struct insn *i;
	struct insn_state s;
	uint64_t bases[6], rip = v->guest.rip;

	v->kind = KIND_MMIO;
	if (v->event) {
		/* An event's frame, or its gate, lies where no memory is. */
		if ((v->event & EVENT_VECTOR_MASK) == EXC_DF)
			vm_end(END_TRIPLE_FAULT, 0);
		v->event = 0;
		vcpu_inject(v, EXC_DF, 0);
		return;
	}
	i = vcpu_decode(v);
	if (!i)
		return;
	vcpu_insn_state(v, &s, bases);
	if (!insn_run_memory(i, &s, &bus)) {
		log_debug("vcpu %u: instruction at %lx cannot reach the device at %lx", v->index,
			  rip, at);
		vcpu_inject(v, EXC_GP, 0);
		return;
	}
	v->guest.rflags = s.rflags;
	vcpu_skip(v, (unsigned int)(s.rip - rip));
}

__attribute__((hot)) static void finish(struct vcpu *v, const struct tf_outcome *out)
{
	switch (out->end) {
	case TF_RESUME:
		break;
	case TF_INJECT:
		vcpu_inject_pf(v, out->pfec, out->cr2.v);
		break;
	case TF_DEVICE:
		device(v, out->gpa.v);
		break;
	case TF_NO_MEMORY:
		vm_fail("the machine has no memory left for the guest");
	case TF_GATE:
		HV_ASSERT(out->end != TF_GATE); /* only of a fault with TF_WALK */
	}
}

__attribute__((hot)) void exit_page_fault(struct vcpu *v)
{
	uint32_t code = v->exit.fault.code;
	struct tf_access a = {.at = gva(v->exit.fault.gva)};
	struct tf_outcome out;

	v->kind = KIND_PF;
	if (!v->shadow) {
		/* In a window of the meter: the guest's own. */
		meter_event(v, WINDOW_FAULT);
		vcpu_inject_pf(v, code, a.at.v);
		return;
	}
	if (!(code & TF_PF_P))
		a.flags |= TF_ABSENT;
	if (code & TF_PF_W)
		a.flags |= TF_WRITE;
	if (code & TF_PF_U)
		a.flags |= TF_USER;
	else if (vcpu_cpl(v) == 3)
		a.flags |= TF_IMPLICIT;
	if (code & TF_PF_I)
		a.flags |= TF_FETCH;
	if (v->guest.rflags & RFLAGS_AC)
		a.flags |= TF_AC;
	tf_shadow_fault(v->mmu, &a, &out);
	v->meter.faults += out.end == TF_INJECT;
	v->fills = out.end == TF_RESUME;
	finish(v, &out);
}

/* The guest-virtual address of a nested fault. False: the exit does not tell it, and the
 * instruction does not either (a fault may be queued). */
static bool fault_gva(struct vcpu *v, uint64_t *at)
{
	const struct insn *i;
	struct insn_state s;
	uint64_t bases[6];

	if (v->exit.fault.has_gva) {
		*at = v->exit.fault.gva;
		return true;
	}
	i = vcpu_decode(v);
	if (!i || !i->is_memory)
		return false;
	vcpu_insn_state(v, &s, bases);
	*at = insn_linear(i, &s);
	return true;
}

/* The guest's page tables lie where there is no memory: its walk reads ones there, reserved bits
 * among them, and that is a #PF. Where the virtual address is not to be had it was a stack or
 * descriptor access, which a guest with such tables does not survive anyway. */
static void hostile_tables(struct vcpu *v, uint32_t flags)
{
	struct tf_access a = {.flags = flags};
	struct tf_translation tr;
	struct tf_outcome out;
	uint64_t at;

	if (fault_gva(v, &at)) {
		a.at = gva(at);
		a.flags |= (vcpu_cpl(v) == 3 ? TF_USER : 0) |
			   (v->guest.rflags & RFLAGS_AC ? TF_AC : 0);
		if (tf_walk(v->mmu, &a, true, &tr, &out) == TF_E_FAULT) {
			vcpu_inject_pf(v, out.pfec, out.cr2.v);
			return;
		}
	} else if (v->event) {
		return; /* the instruction itself could not be fetched */
	}
	vm_end(END_TRIPLE_FAULT, 0);
}

void exit_nested_fault(struct vcpu *v)
{
	uint64_t at = v->exit.fault.gpa;
	uint32_t flags = v->exit.fault.flags;
	struct tf_outcome out;

	v->kind = KIND_NPF;
	tf_nested_fault(v->mmu, gpa(at), flags, &out);
	if (out.end == TF_GATE) {
		/* The next load finds the address space itself, if it is this root's. */
		if (!((v->guest.cr3 ^ at) & CR3_ADDR)) {
			v->spaces = true;
			return;
		}
		tf_nested_fault(v->mmu, gpa(at), flags & ~(uint32_t)TF_WALK, &out);
	}
	if (out.end == TF_DEVICE && (flags & TF_WALK))
		hostile_tables(v, flags & ~(uint32_t)TF_WALK);
	else
		finish(v, &out);
}
