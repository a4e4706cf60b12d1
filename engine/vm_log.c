/* The facade's dirty log and accessed bits.
 *
 * A logged frame is read-only in every table until it is dirty; its block is mapped by 4 KiB.
 * Reading the log protects again what was dirty. All with the map's lock held. A frame's word is
 * changed first, then the groups are visited, then every vCPU is flushed: also one that holds a
 * writable translation whose entry is gone.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "vm.h"

static enum tf_status describe_range(struct tf_vm *vm, gfn_t from, gfn_t to)
{
	enum tf_status s = TF_OK;
	for (gfn_t f = from; f.v < to.v && s == TF_OK; f.v++)
		s = memmap_describe(&vm->map, f);
	return s;
}

/* Take write access to a frame away in every mode. Group's lock. */
static void protect(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	for (unsigned int m = 0; m < MODES; m++)
		modes[m]->protect(op, vm, g, f);
}

void log_stop(struct tf_vm *vm, gfn_t from, gfn_t to)
{
	for (gfn_t f = map_skip_empty(vm, from); f.v < to.v; f = map_skip_empty(vm, gfn(f.v + 1))) {
		struct frame *fr = memmap_frame(&vm->map, f);
		if (fr && (entry_and(&fr->word, ~(FRAME_LOG | FRAME_DIRTY)) & FRAME_LOG))
			block_unhold(memmap_block(&vm->map, f));
	}
}

/* Log a frame from now on; a new round begins for it. */
static void log_mark(struct tf_vm *vm, gfn_t f)
{
	struct frame *fr = memmap_frame(&vm->map, f);
	struct block *b = memmap_block(&vm->map, f);
	block_hold(b);
	if (entry_or(&fr->word, FRAME_LOG) & FRAME_LOG)
		block_unhold(b); /* it was held */
	entry_and(&fr->word, ~FRAME_DIRTY);
}

enum tf_status tf_dirty_start(struct tf_vm *vm, gpa_t start, uint64_t bytes)
{
	struct map_op m;
	if (!map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	enum tf_status s = TF_E_NOENT;
	if (memmap_covers(&vm->map, m.from, m.to))
		s = describe_range(vm, m.from, m.to);
	if (s == TF_OK) {
		for (gfn_t f = m.from; f.v < m.to.v; f.v++)
			log_mark(vm, f);
		vm_grace(vm);
		for (struct group *g = NULL; (g = group_visit_next(&m.op, vm, g));)
			for (gfn_t f = m.from; f.v < m.to.v; f.v++)
				protect(&m.op, vm, g, f);
		op_owe_flush_all(&m.op, TF_FLUSH_ALL);
	}
	map_op_end(&m, vm);
	return s;
}

/* Start the next round for up to 64 frames, whose dirty bits are returned. */
static uint64_t read_some(struct op *op, struct tf_vm *vm, gfn_t from, unsigned int n)
{
	uint64_t dirty = 0;
	for (unsigned int i = 0; i < n; i++) {
		struct frame *fr = memmap_frame(&vm->map, gfn(from.v + i));
		if (fr && (frame_word(fr) & FRAME_DIRTY) &&
		    (entry_and(&fr->word, ~FRAME_DIRTY) & FRAME_DIRTY))
			dirty |= UINT64_C(1) << i;
	}
	if (!dirty)
		return 0;
	vm_grace(vm);
	for (struct group *g = NULL; (g = group_visit_next(op, vm, g));)
		for (uint64_t left = dirty; left; left &= left - 1)
			protect(op, vm, g, gfn(from.v + (unsigned int)__builtin_ctzll(left)));
	op_owe_flush_all(op, TF_FLUSH_ALL);
	return dirty;
}

enum tf_status tf_dirty_read(struct tf_vm *vm, gpa_t start, uint64_t bytes, uint64_t *bitmap)
{
	struct map_op m;
	if (!map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	for (gfn_t f = m.from; f.v < m.to.v; f.v += 64) {
		uint64_t n = m.to.v - f.v;
		*bitmap++ = read_some(&m.op, vm, f, n < 64 ? (unsigned int)n : 64);
	}
	map_op_end(&m, vm);
	return TF_OK;
}

void tf_dirty_stop(struct tf_vm *vm, gpa_t start, uint64_t bytes)
{
	struct map_op m;
	if (!map_op_begin(&m, vm, start, bytes))
		return;
	log_stop(vm, m.from, m.to);
	map_op_end(&m, vm);
}

/* Move the accessed bits of up to 64 frames out of every group's tables, and return and clear them.
 */
static uint64_t age_some(struct op *op, struct tf_vm *vm, gfn_t from, unsigned int n)
{
	uint64_t backed = 0, accessed = 0;
	for (unsigned int i = 0; i < n; i++)
		if (frame_is_backed(memmap_frame(&vm->map, gfn(from.v + i))))
			backed |= UINT64_C(1) << i;
	if (!backed)
		return 0;
	for (struct group *g = NULL; (g = group_visit_next(op, vm, g));)
		for (uint64_t left = backed; left; left &= left - 1)
			for (unsigned int k = 0; k < MODES; k++)
				modes[k]->age(op, vm, g,
					      gfn(from.v + (unsigned int)__builtin_ctzll(left)));
	for (uint64_t left = backed; left; left &= left - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(left);
		struct frame *fr = memmap_frame(&vm->map, gfn(from.v + i));
		if (entry_and(&fr->word, ~FRAME_ACCESSED) & FRAME_ACCESSED)
			accessed |= UINT64_C(1) << i;
	}
	/* Also who has a translation without an entry is to be seen the next time. */
	if (accessed)
		op_owe_flush_all(op, TF_FLUSH_ALL);
	return accessed;
}

enum tf_status tf_accessed_read(struct tf_vm *vm, gpa_t start, uint64_t bytes, uint64_t *bitmap)
{
	struct map_op m;
	if (!map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	for (gfn_t f = m.from; f.v < m.to.v; f.v += 64) {
		uint64_t n = m.to.v - f.v;
		*bitmap++ = age_some(&m.op, vm, f, n < 64 ? (unsigned int)n : 64);
	}
	map_op_end(&m, vm);
	return TF_OK;
}
