/* Shadow mode: the fault, the flushes, and the calls of struct mmu_mode.
 *
 * docs/mmu.md tells the fault and the flush by events. Takes the group's lock; backs frames without
 * it (the map's lock ranks below), so a fault may go round more than once.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/mode.h"
#include "modes/shadow.h"

/* A and D that the access must have set are not all there yet. */
static bool needs_ad(const struct walk *w, bool write)
{
	for (unsigned int l = w->leaf; l < w->levels; l++)
		if (!(w->step[l].entry & SPTE_A))
			return true;
	return write && !w->dirty;
}

enum attempt { DONE, FAULTS, AGAIN_BACK, AGAIN_DESCRIBE, NO_MEMORY };

/* One try under the group's lock. */
static enum attempt attempt(struct op *op, struct tf_vcpu *v, const struct tf_access *a,
			    struct walk *w)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	bool write = a->flags & TF_WRITE;
	struct group_mem gm;
	group_mem_init(&gm, vm);
	if (!v->root) /* taken away meanwhile, or CR3 names no memory: the next load finds out */
		return walk_gva(&gm.m, &v->cpu, a, false, w) ? DONE : FAULTS;
	if (!walk_gva(&gm.m, &v->cpu, a, false, w)) {
		if (!(a->flags & TF_ABSENT))
			shadow_drop_stale(vm, g, v->root, a->at);
		return FAULTS;
	}
	if (w->levels != v->root->role.level + 1u)
		return DONE; /* paging is not what it was when the root was loaded: load again */
	gfn_t f = gpa_to_gfn(w->gpa);
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = b ? block_frame(b, f) : NULL;
	uint64_t word = fr ? frame_word(fr) : 0;
	if (!(word & FRAME_BACKED))
		return AGAIN_BACK;
	if (w->leaf == 2) {
		gfn_t base = gfn(f.v & ~((UINT64_C(1) << 18) - 1));
		if (!memmap_frame(&vm->map, base))
			return AGAIN_DESCRIBE;
	}
	if (shadow_reserve(op, vm, g) != TF_OK)
		return NO_MEMORY;
	if (needs_ad(w, write) && !walk_gva(&gm.m, &v->cpu, a, true, w))
		return FAULTS;
	if (gpa_to_gfn(w->gpa).v != f.v)
		return AGAIN_BACK; /* the guest changed it between the two walks */
	if (write) {
		if (word & FRAME_TRACKED)
			shadow_unsync_frame(op, vm, g, f);
		if ((word & (FRAME_LOG | FRAME_DIRTY)) == FRAME_LOG)
			entry_or(&fr->word, FRAME_DIRTY);
	}
	enum tf_status s = shadow_fill(op, v, w, a->at, frame_word_again(fr, word));
	if (s == TF_E_NOENT)
		return AGAIN_BACK; /* a table's frame was taken away under the walk */
	return s == TF_OK ? DONE : NO_MEMORY;
}

/* An access that ends at a device sets A and D as any other. */
static void set_ad(struct op *op, struct tf_vcpu *v, const struct tf_access *a)
{
	struct group_mem gm;
	struct walk w;
	group_mem_init(&gm, v->vm);
	lock_take(op, &group_of(v)->lock);
	(void)!walk_gva(&gm.m, &v->cpu, a, true, &w);
	lock_drop(op, &group_of(v)->lock);
}

/* Make the descriptor of the first frame of a 1 GiB guest page. */
static enum tf_status describe(struct op *op, struct tf_vm *vm, gfn_t f)
{
	lock_take(op, &vm->map.lock);
	enum tf_status s = memmap_describe(&vm->map, gfn(f.v & ~((UINT64_C(1) << 18) - 1)));
	lock_drop(op, &vm->map.lock);
	return s;
}

__attribute__((hot)) void shadow_fault(struct tf_vcpu *v, const struct tf_access *a,
				       struct tf_outcome *out)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	struct op op;
	struct walk w;
	enum attempt r;
	vm_op_begin(&op, vm);
	for (;;) {
		lock_take(&op, &g->lock);
		enum psc_answer quick = psc_fault(v, a, &w);
		if (quick == PSC_NONE)
			r = attempt(&op, v, a, &w);
		else
			r = quick == PSC_DONE ? DONE : FAULTS;
		if (r == DONE)
			g->n.shadow_faults++;
		else if (r == FAULTS)
			g->n.guest_faults++;
		if (r == FAULTS && quick == PSC_NONE)
			psc_drop(v, a->at); /* a fault drops what was cached for its address */
		lock_drop(&op, &g->lock);
		if (r != AGAIN_BACK && r != AGAIN_DESCRIBE)
			break;
		enum tf_status s = r == AGAIN_BACK ? memmap_back(&op, &vm->map, gpa_to_gfn(w.gpa))
						   : describe(&op, vm, gpa_to_gfn(w.gpa));
		if (s == TF_E_NOMEM) {
			r = NO_MEMORY;
			break;
		}
		if (s == TF_E_NOENT) {
			set_ad(&op, v, a);
			*out = (struct tf_outcome){.end = TF_DEVICE, .gpa = w.gpa};
			__atomic_fetch_add(&vm->device_faults, 1, __ATOMIC_RELAXED);
			vm_op_end(&op, vm);
			return;
		}
	}
	vm_op_end(&op, vm);
	if (r == NO_MEMORY)
		*out = (struct tf_outcome){.end = TF_NO_MEMORY};
	else if (r == FAULTS)
		*out = (struct tf_outcome){.end = TF_INJECT, .pfec = w.pfec, .cr2 = a->at};
	else
		*out = (struct tf_outcome){.end = TF_RESUME};
}

void shadow_flush_address(struct tf_vcpu *v, gva_t at)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	struct op op;
	vm_op_begin(&op, vm);
	lock_take(&op, &g->lock);
	g->n.invlpgs++;
	if (v->root)
		shadow_invlpg(&op, vm, g, v->root, at);
	/* The address may be a global's, in a table that hangs under other roots only. */
	v->global_epoch = ++g->shadows.epoch;
	psc_clear(v);
	lock_drop(&op, &g->lock);
	vm_op_end(&op, vm);
	v->flush = true;
}

static void root_set(struct tf_vcpu *v, struct shadow *s)
{
	if (v->root)
		v->root->roots--;
	if (s)
		s->roots++;
	v->root = s;
}

static enum tf_status mode_shadow_load(struct op *op, struct tf_vcpu *v, hpa_t *root)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	if (v->resync) {
		struct shadow *s;
		enum tf_status st = shadow_root(op, v, &s);
		if (st != TF_OK)
			return st;
		root_set(v, s);
		psc_clear(v);
		shadow_resync_root(op, vm, g, s, v->resync_global, v->global_epoch);
		if (v->resync_global)
			v->global_epoch = g->shadows.epoch;
		v->resync = v->resync_global = false;
		v->flush = true;
	}
	*root = v->root ? v->root->page[0] : vm->empty;
	return TF_OK;
}

static void mode_shadow_leave(struct tf_vcpu *v)
{
	root_set(v, NULL);
	psc_clear(v);
	v->resync = v->resync_global = true;
}

static void mode_shadow_unmap(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	rmap_zap_frame(op, vm, g, f);
	shadow_zap_frame(op, vm, g, f);
}

static enum tf_status mode_shadow_protect(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	rmap_protect_frame(op, vm, g, f);
	return TF_OK;
}

const struct mmu_mode mode_shadow = {
	.mode = TF_SHADOW,
	.load = mode_shadow_load,
	.leave = mode_shadow_leave,
	.unmap = mode_shadow_unmap,
	.protect = mode_shadow_protect,
	.age = rmap_age_frame,
};
