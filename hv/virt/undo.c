/* Deliveries of exceptions that are undone.
 *
 * Where Bochs (2.7, 3.0) has several CPUs, an exit that comes after the delivery of an exception
 * and before the end of its handler's first instruction (by an interrupt of the host, or because
 * the handler itself is not mapped) tells the RIP of the instruction that faulted, with all else as
 * the handler is to find it: the guest would go on there, at CPL 0 and on the wrong stack. (Its
 * loop for several CPUs does not commit the new RIP, from which an exit takes it.) The handler's
 * address is lost, but not what was before: the CPU has just pushed it. So that is put back, and
 * the instruction faults again.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "virt/undo.h"

#include "core/vm.h"
#include "cpu/x86.h"
#include "virt/frame.h"

#define SELECTOR_RPL 3u

static bool read_segment(struct vcpu *v, uint16_t selector, struct load_segment *s)
{
	uint64_t descriptor, at = vendor->gdt_base(v) + (selector & ~SELECTOR_RPL);
	struct tf_outcome out;

	if (!(selector & ~SELECTOR_RPL)) {
		/* SS may be a null selector: not present, but for its DPL. */
		*s = (struct load_segment){
			.selector = selector,
			.attrib = (uint16_t)((selector & SELECTOR_RPL) << 5),
		};
		return true;
	}
	if (vcpu_read_gva(v, at, &descriptor, sizeof(descriptor), TF_IMPLICIT, &out) != TF_OK)
		return false;
	*s = frame_segment(selector, descriptor);
	return true;
}

void undo_delivery(struct vcpu *v)
{
	struct guest *g = &v->guest;
	uint64_t words[FRAME_WORDS];
	struct frame f;
	struct load_segment cs, ss;
	struct tf_outcome out;

	if (g->mode != INSN_64 || g->cpl || v->exit.event)
		return;
	if (vcpu_read_gva(v, v->gpr[REG_RSP], words, sizeof(words), TF_IMPLICIT, &out) != TF_OK ||
	    !frame_find(words, g->rip, &f))
		return;
	if (!read_segment(v, (uint16_t)f.cs, &cs) || !read_segment(v, (uint16_t)f.ss, &ss))
		return;
	g->rflags = f.rflags & ~RFLAGS_RF;
	v->gpr[REG_RSP] = f.rsp;
	vendor->set_code_and_stack(v, &cs, &ss);
	v->undone++;
}
