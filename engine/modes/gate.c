/* The gate of an address space: how a guest on a nested root is caught going over to a space that
 * runs on shadow tables, at no cost to all others.
 *
 * Nobody watches CR3 writes of a guest on a nested root. Instead the frame of the space's root
 * table is left out of the nested tables: the first walk under that root faults, and the host loads
 * the space's shadow root. Any other access to the frame opens the gate, and the space's next stay
 * on shadow tables closes it again. Nothing depends on it but speed: a space that slips through
 * runs nested until its vCPU's next exit.
 *
 * FRAME_GATE in the frame's word keeps nested leaves out, as FRAME_TRACKED does writable ones:
 * published first, then the groups are visited. No group's lock held.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/mode.h"

void gate_close(struct op *op, struct tf_vm *vm, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = b ? block_frame(b, f) : NULL;
	uint64_t word = fr ? frame_word(fr) : 0;
	if (!(word & FRAME_BACKED) || (word & FRAME_GATE))
		return;
	block_hold(b);
	do {
		if (!(word & FRAME_BACKED) || (word & FRAME_GATE)) {
			block_unhold(b);
			return;
		}
	} while (!entry_cas(&fr->word, &word, word | FRAME_GATE));
	vm_grace(vm);
	for (struct group *g = NULL; (g = group_visit_next(op, vm, g));) {
		mode_nested.protect(op, vm, g, f); /* splits a large leaf: the others stay */
		mode_nested.unmap(op, vm, g, f);
	}
	op_flush(op);
}

void gate_open(struct tf_vm *vm, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = b ? block_frame(b, f) : NULL;
	if (fr && (entry_and(&fr->word, ~FRAME_GATE) & FRAME_GATE))
		block_unhold(b);
}
