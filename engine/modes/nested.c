/* Nested mode: the nested table as the memory map in hardware form.
 *
 * A nested fault installs one leaf: 2 MiB where the whole block is one page and none of its frames
 * must be watched, else 4 KiB; read-only while the frame is tracked or logged and clean.
 * Takes the group's lock, or installs in a section where the group's tables only grow; backs frames
 * and ends their tracking without either.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/mode.h"
#include "modes/shadow.h"

#include "format/fmt.h"

#define REAP_BYTES (UINT64_C(1) << 27) /* of guest memory */

/* Keeps the accessed bits of leaves that a larger one replaces. */
struct age_sink {
	struct table_sink sink;
	struct tf_vm *vm;
	const struct fmt *fmt;
};

static void age_leaf(struct table_sink *s, uint64_t at, unsigned int level, uint64_t entry)
{
	struct age_sink *k = (struct age_sink *)s;
	if (fmt_is_accessed(k->fmt, entry))
		frame_save_accessed(k->vm, gfn(at >> TF_PAGE_SHIFT), level);
}

static struct age_sink age_sink(struct tf_vm *vm, const struct group *g)
{
	return (struct age_sink){.sink.leaf = age_leaf, .vm = vm, .fmt = g->nested.fmt};
}

enum look { BACK, UNTRACK, GATED, INSTALL };

/* The leaf for a backed frame with this word; `large`: by 2 MiB, where no smaller table stays. */
static struct nested_leaf leaf_for(const struct group *g, gfn_t f, const struct block *b,
				   uint64_t word, bool large, bool merge)
{
	struct nested_leaf w = {f.v << TF_PAGE_SHIFT, 0, hpa_to_hfn(word_hpa(word)), 0};
	if (!large) {
		w.perm = PERM_R | PERM_X | PERM_A | (word_is_writable(word) ? PERM_W | PERM_D : 0);
		return w;
	}
	unsigned int level = 1;
	w.perm = PERM_RWX | PERM_A | PERM_D;
	if (g->nested.grows || !merge) /* a table that is there stays */
		(void)table_lookup(&g->nested, w.at, &level);
	if (level == 0)
		return w;
	w.at &= ~(((uint64_t)BLOCK_FRAMES << TF_PAGE_SHIFT) - 1);
	w.level = 1;
	w.to = hpa_to_hfn(b->large);
	return w;
}

/* What the frame's word asks for. With the group's lock or in a section, until the leaf is there.
 * Not `merge`: a block that is cut up stays so. */
static enum look look(struct tf_vm *vm, const struct group *g, gfn_t f, bool write, bool merge,
		      struct nested_leaf *w)
{
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = b ? block_frame(b, f) : NULL;
	uint64_t word = fr ? frame_word(fr) : 0;
	if (!(word & FRAME_BACKED))
		return BACK;
	if (word & FRAME_GATE)
		return GATED;
	if (write && (word & FRAME_TRACKED))
		return UNTRACK;
	if (write && (word & (FRAME_LOG | FRAME_DIRTY)) == FRAME_LOG)
		entry_or(&fr->word, FRAME_DIRTY);
	bool large = block_is_large(b);
	*w = leaf_for(g, f, b, large ? word : frame_word_again(fr, word), large, merge);
	return INSTALL;
}

/* Where accesses are seen by leaves that come back, they must come back as small as the sample that
 * is under way has made them. */
static bool fault_merges(const struct group *g)
{
	return g->nested.fmt->a || !__atomic_load_n(&g->samples, __ATOMIC_RELAXED);
}

bool nested_plan(struct tf_vm *vm, const struct group *g, gfn_t f, bool write,
		 unsigned int released, bool cut, struct nested_leaf *w)
{
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = b ? block_frame(b, f) : NULL;
	uint64_t word = fr ? frame_word(fr) : 0;
	if (!(word & FRAME_BACKED))
		return false;
	released += nested_releases(word, write);
	if (write)
		word = (word & ~FRAME_TRACKED) | FRAME_DIRTY;
	bool merge = fault_merges(g);
	bool large = block_is_large_but(b, released) && !(cut && (g->nested.grows || !merge));
	*w = leaf_for(g, f, b, word, large, merge);
	return true;
}

static enum look install_locked(struct op *op, struct tf_vcpu *v, gfn_t f, bool write,
				enum tf_status *s, bool *fresh)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	struct age_sink old = age_sink(vm, g);
	struct nested_leaf w;
	group_lock(op, g);
	enum look l = look(vm, g, f, write, fault_merges(g), &w);
	if (l == INSTALL)
		*s = table_map(op, &g->nested, w.at, w.level, w.to, w.perm, &old.sink, fresh);
	group_unlock(op, g);
	return l;
}

/* The same in a section. TF_E_NOENT: it takes the lock. */
static enum look install_cas(struct tf_vcpu *v, gfn_t f, bool write, enum tf_status *s, bool *fresh)
{
	struct group *g = group_of(v);
	struct nested_leaf w;
	section_enter(v);
	enum look l = look(v->vm, g, f, write, fault_merges(g), &w);
	if (l == INSTALL)
		*s = table_map_cas(&g->nested, w.at, w.level, w.to, w.perm, fresh);
	section_leave(v);
	return l;
}

void nested_fault(struct tf_vcpu *v, gpa_t at, uint32_t flags, struct tf_outcome *out)
{
	struct tf_vm *vm = v->vm;
	const bool cas = vm->conf.install == TF_INSTALL_CAS, write = flags & TF_WRITE;
	gfn_t f = gpa_to_gfn(at);
	bool fresh = false, backed = false;
	struct op op;
	enum tf_status s;
	enum look l;
	vm_op_begin(&op, vm);
	do {
		s = TF_E_NOENT;
		l = INSTALL;
		if (cas)
			l = install_cas(v, f, write, &s, &fresh);
		if (l == INSTALL && s == TF_E_NOENT)
			l = install_locked(&op, v, f, write, &s, &fresh);
		if (l == BACK) {
			s = vm_back(&op, vm, v, f);
			backed = true;
		} else if (l == UNTRACK) {
			frame_untrack(&op, vm, f);
			s = TF_OK;
		} else if (l == GATED) {
			if (flags & TF_WALK) {
				vm_op_end(&op, vm);
				*out = (struct tf_outcome){.end = TF_GATE};
				return;
			}
			gate_open(vm, f);
			s = TF_OK;
		}
	} while (l != INSTALL && s == TF_OK);
	vm_op_end(&op, vm);
	if (s == TF_OK) {
		count_add(&v->n.nested_faults, 1);
		if (fresh && !backed)
			count_add(&v->n.copies, 1);
		*out = (struct tf_outcome){.end = TF_RESUME};
	} else if (s == TF_E_NOENT) {
		count_add(&v->n.device_faults, 1);
		*out = (struct tf_outcome){.end = TF_DEVICE, .gpa = at};
	} else {
		*out = (struct tf_outcome){.end = TF_NO_MEMORY};
	}
}

static enum tf_status mode_nested_load(struct op *op, struct tf_vcpu *v, hpa_t *root)
{
	(void)op;
	v->resync = false;
	*root = group_of(v)->nested.root;
	return TF_OK;
}

static void mode_nested_leave(struct tf_vcpu *v)
{
	v->resync = v->resync_global = v->arrived = true;
}

/* The nested leaf that maps the frame, or NULL. */
static uint64_t *leaf_of(struct group *g, gfn_t f, unsigned int *level)
{
	uint64_t *e = table_lookup(&g->nested, f.v << TF_PAGE_SHIFT, level);
	return fmt_kind(g->nested.fmt, *level, entry_read(e)) == FMT_LEAF ? e : NULL;
}

/* Remove the leaf. A large one goes whole: its other frames come back by faults, and nothing is
 * allocated. */
static void drop_leaf(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f, unsigned int level)
{
	uint64_t bytes = (uint64_t)TF_PAGE_SIZE << (9 * level);
	uint64_t start = (f.v << TF_PAGE_SHIFT) & ~(bytes - 1);
	struct age_sink old = age_sink(vm, g);
	enum tf_status s = table_unmap(op, &g->nested, start, start + bytes, &old.sink);
	TF_ASSERT(vm->h, s == TF_OK);
}

static void mode_nested_unmap(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	unsigned int level;
	if (leaf_of(g, f, &level))
		drop_leaf(op, vm, g, f, level);
}

static void mode_nested_age(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	unsigned int level;
	uint64_t *e = leaf_of(g, f, &level);
	uint64_t a = g->nested.fmt->a;
	if (!e)
		return;
	if (!a) { /* whoever accesses it next makes it anew */
		drop_leaf(op, vm, g, f, level);
	} else if (entry_and(e, ~a) & a) {
		frame_save_accessed(vm, f, level);
		op_owe_flush(op, g->nested.fmt->flush);
	}
}

static void mode_nested_protect(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	uint64_t at = f.v << TF_PAGE_SHIFT;
	unsigned int level;
	/* A large leaf is split; without a page for that it goes. */
	if (table_protect(op, &g->nested, at, at + TF_PAGE_SIZE, PERM_W) != TF_OK &&
	    leaf_of(g, f, &level))
		drop_leaf(op, vm, g, f, level);
}

void nested_relax(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	struct age_sink old = age_sink(vm, g);
	unsigned int level;
	struct nested_leaf w;
	uint64_t e = entry_read(table_lookup(&g->nested, f.v << TF_PAGE_SHIFT, &level));
	/* Only what is mapped for less than it could be, or cut up. */
	if (level > 0 || look(vm, g, f, false, true, &w) != INSTALL)
		return;
	if (w.level == 0 && fmt_kind(g->nested.fmt, 0, e) != FMT_LEAF)
		return;
	/* Nobody has accessed what the larger leaf adds. */
	enum tf_status s = table_map(op, &g->nested, w.at, w.level, w.to,
				     w.perm & ~(unsigned int)PERM_A, &old.sink, NULL);
	TF_ASSERT(vm->h, s == TF_OK); /* its table is there: nothing is allocated */
}

bool nested_reap(struct op *op, struct tf_vm *vm, struct group *g)
{
	const struct fmt *f = g->nested.fmt;
	struct age_sink old = age_sink(vm, g);
	const uint64_t end = vm->map.max_gfn << TF_PAGE_SHIFT;
	unsigned int level;
	uint64_t from = g->gone_below;
	while (from < end) {
		uint64_t e = entry_read(table_lookup(&g->nested, from, &level));
		if (level == 0 || fmt_kind(f, level, e) != FMT_EMPTY)
			break;
		from = (from | (fmt_size(f, level) - 1)) + 1;
	}
	uint64_t to = (from & ~(REAP_BYTES - 1)) + REAP_BYTES;
	if (from < end) {
		enum tf_status s =
			table_unmap(op, &g->nested, from, to < end ? to : end, &old.sink);
		TF_ASSERT(vm->h, s == TF_OK); /* leaves are 2 MiB at most: nothing is split */
	}
	g->gone_below = to;
	return to >= end;
}

const struct mmu_mode mode_nested = {
	.mode = TF_NESTED,
	.load = mode_nested_load,
	.leave = mode_nested_leave,
	.unmap = mode_nested_unmap,
	.protect = mode_nested_protect,
	.age = mode_nested_age,
};
