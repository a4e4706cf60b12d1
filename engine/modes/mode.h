/* A mode as one const struct of calls: what the facade and the memory map ask of each.
 *
 * A vCPU runs in one mode; the memory map binds both, since a frame may be mapped by nested and by
 * shadow tables at once. The calls need the group's lock, but for `load`.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef MODES_MODE_H
#define MODES_MODE_H

#include "groups/group.h"

struct mmu_mode {
	enum tf_mode mode;
	/* The root to enter with. Takes the group's lock itself. TF_E_NOENT: back the frame of CR3
	 * first and call again. */
	enum tf_status (*load)(struct op *op, struct tf_vcpu *v, hpa_t *root);
	/* The vCPU stops using this mode. */
	void (*leave)(struct tf_vcpu *v);
	/* Remove every translation to the frame; saves A in the frame's word. */
	void (*unmap)(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f);
	/* Take write access to the frame away. */
	void (*protect)(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f);
	/* Move accessed bits of entries that map the frame into FRAME_ACCESSED of the words of all
	 * frames that those entries map. */
	void (*age)(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f);
};

extern const struct mmu_mode mode_nested, mode_shadow;

/* track.c: what binds the groups. No group's lock held. */
/* A write is about to happen to a frame that is tracked: end the trust in every group. Afterwards
 * look again: somebody else may be at it, or have tracked it anew. */
void frame_untrack(struct op *op, struct tf_vm *vm, gfn_t f);

/* gate.c; no group's lock held */
/* Nested tables leave the frame out from now on. */
void gate_close(struct op *op, struct tf_vm *vm, gfn_t f);
void gate_open(struct tf_vm *vm, gfn_t f);

/* nested.c */
/* A frame whose gate is closed ends a walk's fault with TF_GATE, and opens for any other. */
void nested_fault(struct tf_vcpu *v, gpa_t at, uint32_t flags, struct tf_outcome *out);
/* What a leaf for a frame is to be. */
struct nested_leaf {
	uint64_t at;
	unsigned int level;
	hfn_t to;
	unsigned int perm;
};

/* How many of the holds on its block a fault on a frame with that word ends. */
static inline unsigned int nested_releases(uint64_t word, bool write)
{
	return (word & FRAME_GATE ? 1u : 0) + (write && (word & FRAME_TRACKED) ? 1u : 0);
}

#define NESTED_UNCUT 3u

/* What other faults have done before the one that is asked about. */
struct nested_after {
	unsigned int block_released, gib_released; /* so many holds ended, on its block and GiB */
	unsigned int cut; /* 0: its block is mapped in pieces; 1: its GiB is; NESTED_UNCUT */
};

/* The leaf that a fault on the frame would end with after that; changes nothing. False: the frame
 * is not backed. Group's lock. */
bool nested_plan(struct tf_vm *vm, const struct group *g, gfn_t f, bool write,
		 const struct nested_after *after, struct nested_leaf *w);
/* The frame is tracked no more: if it is mapped, it may be written again, and its block or its GiB
 * be mapped by one leaf. Group's lock. */
void nested_relax(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f);
/* Empty the next part of a nested table that nobody is on. True: that was the last. Group's lock.
 */
bool nested_reap(struct op *op, struct tf_vm *vm, struct group *g);
/* shadow.c */
void shadow_fault(struct tf_vcpu *v, const struct tf_access *a, struct tf_outcome *out);
void shadow_flush_address(struct tf_vcpu *v, gva_t at);

#endif
