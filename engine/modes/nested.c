/* Nested mode: the nested table as the memory map in hardware form.
 *
 * A nested fault installs one leaf: 1 GiB where the whole GiB is one page and none of its frames
 * must be watched, else 2 MiB where that holds for the block, else 4 KiB; read-only while the frame
 * is tracked or logged and clean.
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

/* The level of the largest leaf that may map the frame, by the memory map, if it were not for so
 * many holds on its block and, those among them, on its GiB. */
static unsigned int map_level(const struct block *b, unsigned int block_holds,
			      unsigned int gib_holds)
{
	if (!block_is_large_but(b, block_holds))
		return 0;
	return block_is_huge_but(b, gib_holds) ? 2 : 1;
}

/* Of a leaf of up to this level as much as the tables leave room for: where tables stay, and above
 * the level `merge` in any case, the one that is there, or will be (`cut`: the level of the entry
 * that it is in, less one), is not replaced by a leaf. */
static unsigned int table_level(const struct group *g, gfn_t f, unsigned int level,
				unsigned int merge, unsigned int cut)
{
	unsigned int there = 0;
	if (g->nested.grows)
		merge = 0;
	if (level <= merge)
		return level;
	(void)table_lookup(&g->nested, f.v << TF_PAGE_SHIFT, &there);
	there = there < cut ? there : cut;
	there = there > merge ? there : merge;
	return level < there ? level : there;
}

/* The leaf of that level for a backed frame with this word. */
static struct nested_leaf leaf_for(gfn_t f, const struct block *b, uint64_t word,
				   unsigned int level)
{
	struct nested_leaf w = {f.v << TF_PAGE_SHIFT, level, hpa_to_hfn(word_hpa(word)), 0};
	w.at &= ~(((uint64_t)TF_PAGE_SIZE << (9 * level)) - 1);
	if (level)
		w.to = hpa_to_hfn(level > 1 ? block_huge(b) : b->large);
	w.perm = PERM_R | PERM_X | PERM_A;
	if (level || word_is_writable(word))
		w.perm |= PERM_W | PERM_D;
	return w;
}

/* What the frame's word asks for. With the group's lock or in a section, until the leaf is there.
 * `merge`: the level up to which a leaf may replace the smaller ones that are there. */
static enum look look(struct tf_vm *vm, const struct group *g, gfn_t f, bool write,
		      unsigned int merge, struct nested_leaf *w)
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
	unsigned int level = map_level(b, 0, 0);
	/* Where the block is large none of its frames has a mark. */
	if (!level)
		word = frame_word_again(fr, word);
	*w = leaf_for(f, b, word, table_level(g, f, level, merge, NESTED_UNCUT));
	return INSTALL;
}

/* While a sample is under way what it has cut up stays so as far as it matters: no leaf of a GiB
 * replaces the others that are in it; and where accesses are seen by leaves that come back, they
 * must come back as small as it has made them. */
static unsigned int fault_merges(const struct group *g)
{
	if (!__atomic_load_n(&g->samples, __ATOMIC_RELAXED))
		return 2;
	return g->nested.fmt->a ? 1 : 0;
}

bool nested_plan(struct tf_vm *vm, const struct group *g, gfn_t f, bool write,
		 const struct nested_after *after, struct nested_leaf *w)
{
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = b ? block_frame(b, f) : NULL;
	uint64_t word = fr ? frame_word(fr) : 0;
	if (!(word & FRAME_BACKED))
		return false;
	unsigned int released = nested_releases(word, write);
	if (write)
		word = (word & ~FRAME_TRACKED) | FRAME_DIRTY;
	unsigned int level =
		map_level(b, after->block_released + released, after->gib_released + released);
	*w = leaf_for(f, b, word, table_level(g, f, level, fault_merges(g), after->cut));
	return true;
}

/* For the counters. The group's lock is not needed. */
static void count_leaf(struct tf_vcpu *v, unsigned int level)
{
	count_add(level == 0 ? &v->n.nested_4k : level == 1 ? &v->n.nested_2m : &v->n.nested_1g, 1);
}

/* The nested leaf that maps the frame, or NULL. */
static uint64_t *leaf_of(struct group *g, gfn_t f, unsigned int *level)
{
	uint64_t *e = table_lookup(&g->nested, f.v << TF_PAGE_SHIFT, level);
	return fmt_kind(g->nested.fmt, *level, entry_read(e)) == FMT_LEAF ? e : NULL;
}

/* A leaf of a GiB is about to be cut up or to go: counts it. Group's lock. */
static void count_cut(struct group *g, gfn_t f)
{
	unsigned int level;
	if (leaf_of(g, f, &level) && level > 1)
		g->n.nested_1g_cut++;
}

static enum tf_status map_leaf(struct op *op, struct group *g, const struct nested_leaf *w,
			       struct table_sink *old, bool *fresh)
{
	if (w->level < 2)
		count_cut(g, gfn(w->at >> TF_PAGE_SHIFT));
	return table_map(op, &g->nested, w->at, w->level, w->to, w->perm, old, fresh);
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
		*s = map_leaf(op, g, &w, &old.sink, fresh);
	group_unlock(op, g);
	if (l == INSTALL && *s == TF_OK)
		count_leaf(v, w.level);
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
	if (l == INSTALL && *s == TF_OK)
		count_leaf(v, w.level);
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

/* The same, but of 2 MiB at most: one of a GiB is cut up, if there is a page for that. */
static uint64_t *small_leaf_of(struct op *op, struct group *g, gfn_t f, unsigned int *level)
{
	uint64_t *e = leaf_of(g, f, level);
	if (!e || *level < 2)
		return e;
	count_cut(g, f);
	if (table_split(op, &g->nested, f.v << TF_PAGE_SHIFT) != TF_OK)
		return e;
	return leaf_of(g, f, level);
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
	if (small_leaf_of(op, g, f, &level))
		drop_leaf(op, vm, g, f, level);
}

static void mode_nested_age(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	unsigned int level;
	/* Whoever asks wants to know more than whether a GiB was accessed. */
	uint64_t *e = small_leaf_of(op, g, f, &level);
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
	count_cut(g, f);
	/* A large leaf is split; without a page for that it goes. */
	if (table_protect(op, &g->nested, at, at + TF_PAGE_SIZE, PERM_W) != TF_OK &&
	    leaf_of(g, f, &level))
		drop_leaf(op, vm, g, f, level);
}

/* Has each page of a cut block been accessed, by its leaf or by its frame's word? */
static bool all_accessed(struct tf_vm *vm, const struct fmt *fmt, const uint64_t *leaf, gfn_t f)
{
	for (unsigned int i = 0; i < FMT_ENTRIES; i++)
		if (!fmt_is_accessed(fmt, entry_read(&leaf[i])) &&
		    !(frame_word(memmap_frame(&vm->map, gfn(f.v + i))) & FRAME_ACCESSED))
			return false;
	return true;
}

void nested_relax(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	struct age_sink old = age_sink(vm, g);
	unsigned int level;
	struct nested_leaf w;
	uint64_t e = entry_read(table_lookup(&g->nested, f.v << TF_PAGE_SHIFT, &level));
	/* Another's sample may need the pieces of the GiB, if hardly those of this block. */
	unsigned int merge = __atomic_load_n(&g->samples, __ATOMIC_RELAXED) ? 1 : 2;
	if (look(vm, g, f, false, merge, &w) != INSTALL)
		return;
	/* Only what is mapped for less than it could be, or cut up. */
	if (level > 0 ? level >= w.level
		      : w.level == 0 && fmt_kind(g->nested.fmt, 0, e) != FMT_LEAF)
		return;
	struct table_sink *sink = &old.sink;
	unsigned int perm = w.perm & ~(unsigned int)PERM_A;
	/* Nobody has accessed what the larger leaf adds; unless all of it was accessed, as after a
	 * sample in a leaf that was: then the larger leaf tells it, and not each frame's word. But
	 * another's sample in it would take that for an access of its own. */
	if (merge == 2 && w.level == 1 && level == 0 &&
	    all_accessed(vm, g->nested.fmt, table_lookup(&g->nested, w.at, &level),
			 gfn(w.at >> TF_PAGE_SHIFT))) {
		perm |= PERM_A;
		sink = NULL;
	}
	enum tf_status s = table_map(op, &g->nested, w.at, w.level, w.to, perm, sink, NULL);
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
	if (from < end && level > 1) { /* a leaf of a GiB goes whole */
		from &= ~(fmt_size(f, level) - 1);
		to = from + fmt_size(f, level);
	}
	if (from < end) {
		enum tf_status s =
			table_unmap(op, &g->nested, from, to < end ? to : end, &old.sink);
		TF_ASSERT(vm->h, s == TF_OK); /* nothing is split */
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
