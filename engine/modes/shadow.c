/* Shadow mode: the fault, the flushes, and the calls of struct mmu_mode.
 *
 * docs/mmu.md tells the fault and the flush by events. Takes the group's lock; backs frames and
 * ends their tracking without it, so a fault may go round more than once.
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

enum attempt { DONE, FAULTS, AGAIN_BACK, AGAIN_DESCRIBE, AGAIN_UNTRACK, NO_MEMORY };

/* Have the group's chains for every frame that the walk leads over. */
static bool reserve_frames(struct tf_vm *vm, struct group *g, const struct walk *w, gfn_t f)
{
	bool ok = group_frame_get(vm, g, f);
	for (unsigned int l = w->leaf + 1u; l < w->levels && ok; l++) {
		gfn_t table = gfn((w->step[l].entry & SPTE_ADDR) >> TF_PAGE_SHIFT);
		ok = group_frame_get(vm, g, table);
	}
	if (w->leaf == 2 && ok)
		ok = group_frame_get(vm, g, gfn(f.v & ~((UINT64_C(1) << 18) - 1)));
	return ok;
}

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
	if (write && (word & FRAME_TRACKED))
		return AGAIN_UNTRACK;
	if (shadow_reserve(op, vm, g) != TF_OK || !reserve_frames(vm, g, w, f))
		return NO_MEMORY;
	if (needs_ad(w, write) && !walk_gva(&gm.m, &v->cpu, a, true, w))
		return FAULTS;
	if (gpa_to_gfn(w->gpa).v != f.v)
		return AGAIN_BACK; /* the guest changed it between the two walks */
	if (write && (word & (FRAME_LOG | FRAME_DIRTY)) == FRAME_LOG)
		entry_or(&fr->word, FRAME_DIRTY);
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
	group_lock(op, group_of(v));
	(void)!walk_gva(&gm.m, &v->cpu, a, true, &w);
	group_unlock(op, group_of(v));
}

/* Do what the attempt asked for, without the lock. TF_OK: try again. */
static enum tf_status prepare(struct op *op, struct tf_vcpu *v, enum attempt what, gfn_t f)
{
	if (what == AGAIN_BACK)
		return vm_back(op, v->vm, v, f);
	if (what == AGAIN_DESCRIBE) /* the first frame of a 1 GiB guest page */
		return memmap_describe(&v->vm->map, gfn(f.v & ~((UINT64_C(1) << 18) - 1)));
	frame_untrack(op, v->vm, f);
	return TF_OK;
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
		group_lock(&op, g);
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
		group_unlock(&op, g);
		if (r == DONE || r == FAULTS || r == NO_MEMORY)
			break;
		enum tf_status s = prepare(&op, v, r, gpa_to_gfn(w.gpa));
		if (s == TF_E_NOMEM) {
			r = NO_MEMORY;
			break;
		}
		if (s == TF_E_NOENT) {
			set_ad(&op, v, a);
			*out = (struct tf_outcome){.end = TF_DEVICE, .gpa = w.gpa};
			count_add(&v->n.device_faults, 1);
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
	struct tracking quiet = {.n = 0};
	struct op op;
	vm_op_begin(&op, vm);
	group_lock(&op, g);
	g->n.invlpgs++;
	if (v->root)
		shadow_invlpg(vm, g, v->root, at, &quiet);
	/* The address may be a global's, in a table that hangs under other roots only. */
	kept_flush_global(v, at);
	v->global_epoch = shadow_epoch_next(g);
	psc_clear(v);
	group_unlock(&op, g);
	shadow_track(&op, vm, g, &quiet);
	vm_op_end(&op, vm);
	v->flush |= TF_FLUSH_LINEAR;
}

static void root_set(struct tf_vcpu *v, struct shadow *s)
{
	if (v->root)
		v->root->roots--;
	if (s)
		s->roots++;
	v->root = s;
}

/* Who arrives from nested mode is stopped for no longer than it must be: it shares what may be read
 * with the group's others, who arrive with it. */
static uint32_t arrival_share(const struct tf_vm *vm, const struct group *g)
{
	return vm->arrival / (g->shadow_users ? g->shadow_users : 1);
}

/* Find the root and re-read what is unsync under it, or what has changed since the vCPU was here
 * and nothing was flushed. What an arrival finds quiet is tracked at a later flush. Group's lock.
 */
static enum tf_status resync(struct op *op, struct tf_vcpu *v, struct tracking *quiet)
{
	struct group *g = group_of(v);
	struct resync how = {
		.global = v->resync_global,
		.since = v->global_epoch,
		.left = v->left,
		.quiet = v->arrived ? NULL : quiet,
		.most = v->arrived ? arrival_share(v->vm, g) : UINT32_MAX,
	};
	struct shadow *s;
	kept_left(v);
	enum tf_status st = shadow_root(op, v, v->arrived, &s);
	if (st != TF_OK)
		return st;
	root_set(v, s);
	psc_clear(v);
	if (v->keep && kept_refresh(v)) {
		count_add(&v->n.cr3_kept, 1);
	} else {
		shadow_resync_root(v->vm, g, s, &how);
		if (v->resync_global)
			v->global_epoch = v->left + 1;
	}
	kept_enter(v);
	v->keep = v->arrived = false;
	__atomic_store_n(&v->resync, false, __ATOMIC_RELAXED);
	v->resync_global = false;
	v->flush |= TF_FLUSH_LINEAR;
	return TF_OK;
}

static enum tf_status mode_shadow_load(struct op *op, struct tf_vcpu *v, hpa_t *root)
{
	struct group *g = group_of(v);
	struct tracking quiet;
	enum tf_status st = TF_OK;
	quiet.n = 0;
	group_lock(op, g);
	if (v->resync)
		st = resync(op, v, &quiet);
	if (st == TF_OK)
		*root = v->root ? v->root->page[0] : v->vm->empty;
	group_unlock(op, g);
	shadow_track(op, v->vm, g, &quiet);
	return st;
}

static void mode_shadow_leave(struct tf_vcpu *v)
{
	root_set(v, NULL);
	psc_clear(v);
	kept_forget(v);
	v->resync = v->resync_global = v->arrived = true;
}

static void mode_shadow_unmap(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	rmap_zap_frame(op, vm, g, f);
	shadow_zap_frame(op, vm, g, f);
}

const struct mmu_mode mode_shadow = {
	.mode = TF_SHADOW,
	.load = mode_shadow_load,
	.leave = mode_shadow_leave,
	.unmap = mode_shadow_unmap,
	.protect = rmap_protect_frame,
	.age = rmap_age_frame,
};
