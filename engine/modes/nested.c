/* Nested mode: the nested table as the memory map in hardware form.
 *
 * A nested fault installs one leaf: 2 MiB where the whole block is one page and none of its frames
 * must be watched, else 4 KiB; read-only while the frame is tracked or logged and clean.
 * Takes the group's lock; backs frames without it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/mode.h"
#include "modes/shadow.h"

#include "format/fmt.h"

/* Keeps the accessed bits of leaves that a larger one replaces. */
struct age_sink {
	struct table_sink sink;
	struct tf_vm *vm;
};

static void age_leaf(struct table_sink *s, uint64_t at, unsigned int level, uint64_t entry)
{
	struct age_sink *a = (struct age_sink *)s;
	if (entry & a->vm->group.nested.fmt->a)
		frame_save_accessed(a->vm, gfn(at >> TF_PAGE_SHIFT), level);
}

/* Install the leaf for a backed frame. */
static enum tf_status install(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f, bool write,
			      uint64_t word)
{
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = block_frame(b, f);
	if (write && (word & FRAME_TRACKED))
		shadow_unsync_frame(op, vm, g, f);
	if (write && (word & (FRAME_LOG | FRAME_DIRTY)) == FRAME_LOG)
		entry_or(&fr->word, FRAME_DIRTY);
	struct age_sink old = {.sink.leaf = age_leaf, .vm = vm};
	if (block_is_large(b))
		return table_map(op, &g->nested,
				 (f.v & ~(uint64_t)(BLOCK_FRAMES - 1)) << TF_PAGE_SHIFT, 1,
				 hpa_to_hfn(b->large), PERM_RWX | PERM_A | PERM_D, &old.sink);
	word = frame_word_again(fr, word);
	unsigned int perm =
		PERM_R | PERM_X | PERM_A | (word_is_writable(word) ? PERM_W | PERM_D : 0);
	return table_map(op, &g->nested, f.v << TF_PAGE_SHIFT, 0, hpa_to_hfn(word_hpa(word)), perm,
			 &old.sink);
}

void nested_fault(struct tf_vcpu *v, gpa_t at, uint32_t flags, struct tf_outcome *out)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	gfn_t f = gpa_to_gfn(at);
	struct op op;
	enum tf_status s;
	bool done;
	vm_op_begin(&op, vm);
	do {
		s = TF_OK;
		lock_take(&op, &g->lock);
		struct frame *fr = memmap_frame(&vm->map, f);
		uint64_t word = fr ? frame_word(fr) : 0;
		done = word & FRAME_BACKED;
		if (done) {
			s = install(&op, vm, g, f, flags & TF_WRITE, word);
			if (s == TF_OK)
				g->n.nested_faults++;
		}
		lock_drop(&op, &g->lock);
		if (!done)
			s = memmap_back(&op, &vm->map, f);
	} while (!done && s == TF_OK);
	vm_op_end(&op, vm);
	if (s == TF_OK) {
		*out = (struct tf_outcome){.end = TF_RESUME};
	} else if (s == TF_E_NOENT) {
		__atomic_fetch_add(&vm->device_faults, 1, __ATOMIC_RELAXED);
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
	v->resync = v->resync_global = true;
}

/* The nested leaf that maps the frame, or NULL. */
static uint64_t *leaf_of(struct group *g, gfn_t f, unsigned int *level)
{
	uint64_t *e = table_lookup(&g->nested, f.v << TF_PAGE_SHIFT, level);
	return fmt_kind(g->nested.fmt, *level, entry_read(e)) == FMT_LEAF ? e : NULL;
}

static void mode_nested_age(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	unsigned int level;
	uint64_t *e = leaf_of(g, f, &level);
	uint64_t a = g->nested.fmt->a;
	if (e && (entry_and(e, ~a) & a)) {
		frame_save_accessed(vm, f, level);
		op_owe_flush(op);
	}
}

static void mode_nested_unmap(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	unsigned int level;
	uint64_t *e = leaf_of(g, f, &level);
	if (!e)
		return;
	/* A large leaf goes whole: its other frames come back by faults, and nothing is allocated.
	 */
	uint64_t bytes = (uint64_t)TF_PAGE_SIZE << (9 * level);
	uint64_t start = (f.v << TF_PAGE_SHIFT) & ~(bytes - 1);
	struct age_sink old = {.sink.leaf = age_leaf, .vm = vm};
	enum tf_status s = table_unmap(op, &g->nested, start, start + bytes, &old.sink);
	TF_ASSERT(vm->h, s == TF_OK);
}

static enum tf_status mode_nested_protect(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	(void)vm;
	return table_protect(op, &g->nested, f.v << TF_PAGE_SHIFT, (f.v + 1) << TF_PAGE_SHIFT,
			     PERM_W);
}

const struct mmu_mode mode_nested = {
	.mode = TF_NESTED,
	.load = mode_nested_load,
	.leave = mode_nested_leave,
	.unmap = mode_nested_unmap,
	.protect = mode_nested_protect,
	.age = mode_nested_age,
};
