/* The facade's dirty log and accessed bits.
 *
 * A logged frame is read-only in every table until it is dirty; its block is mapped by 4 KiB.
 * Reading the log protects again what was dirty. All with the map's lock held, frame by frame under
 * the group's.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "vm.h"

#include "base/mem.h"

static void bitmap_clear(const struct map_op *m, uint64_t *bitmap)
{
	memset(bitmap, 0, (size_t)((m->to.v - m->from.v + 63) / 64 * 8));
}

static void bitmap_set(const struct map_op *m, uint64_t *bitmap, gfn_t f)
{
	uint64_t i = f.v - m->from.v;
	bitmap[i / 64] |= UINT64_C(1) << (i % 64);
}

static enum tf_status describe_range(struct tf_vm *vm, gfn_t from, gfn_t to)
{
	enum tf_status s = TF_OK;
	for (gfn_t f = from; f.v < to.v && s == TF_OK; f.v++)
		s = memmap_describe(&vm->map, f);
	return s;
}

/* Take write access to a frame away in every mode. */
static enum tf_status protect(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	enum tf_status s = TF_OK;
	for (unsigned int m = 0; m < MODES && s == TF_OK; m++)
		s = modes[m]->protect(op, vm, g, f);
	return s;
}

void log_stop(struct op *op, struct tf_vm *vm, gfn_t from, gfn_t to)
{
	struct group *g = &vm->group;
	for (gfn_t f = map_skip_empty(vm, from); f.v < to.v; f = map_skip_empty(vm, gfn(f.v + 1))) {
		struct frame *fr = memmap_frame(&vm->map, f);
		if (!fr || !(frame_word(fr) & FRAME_LOG))
			continue;
		lock_take(op, &g->lock);
		entry_and(&fr->word, ~(FRAME_LOG | FRAME_DIRTY));
		memmap_block(&vm->map, f)->held--;
		lock_drop(op, &g->lock);
	}
}

/* Log one frame from now on; a new round begins for it. */
static enum tf_status log_frame(struct op *op, struct tf_vm *vm, gfn_t f)
{
	struct group *g = &vm->group;
	struct frame *fr = memmap_frame(&vm->map, f);
	lock_take(op, &g->lock);
	enum tf_status s = protect(op, vm, g, f);
	if (s == TF_OK) {
		if (!(entry_or(&fr->word, FRAME_LOG) & FRAME_LOG))
			memmap_block(&vm->map, f)->held++;
		entry_and(&fr->word, ~FRAME_DIRTY);
	}
	lock_drop(op, &g->lock);
	return s;
}

enum tf_status tf_dirty_start(struct tf_vm *vm, gpa_t start, uint64_t bytes)
{
	struct map_op m;
	if (!map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	enum tf_status s = TF_E_NOENT;
	if (memmap_covers(&vm->map, m.from, m.to))
		s = describe_range(vm, m.from, m.to);
	gfn_t f = m.from;
	while (f.v < m.to.v && s == TF_OK) {
		s = log_frame(&m.op, vm, f);
		f.v++;
	}
	if (s == TF_E_NOMEM)
		log_stop(&m.op, vm, m.from, f);
	map_op_end(&m, vm);
	return s;
}

enum tf_status tf_dirty_read(struct tf_vm *vm, gpa_t start, uint64_t bytes, uint64_t *bitmap)
{
	struct map_op m;
	if (!map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	struct group *g = &vm->group;
	bitmap_clear(&m, bitmap);
	for (gfn_t f = m.from; f.v < m.to.v; f.v++) {
		struct frame *fr = memmap_frame(&vm->map, f);
		if (!fr || !(frame_word(fr) & FRAME_DIRTY))
			continue;
		lock_take(&m.op, &g->lock);
		/* Its leaves are 4 KiB already, so nothing has to be split and this cannot fail. */
		if (protect(&m.op, vm, g, f) == TF_OK)
			entry_and(&fr->word, ~FRAME_DIRTY);
		lock_drop(&m.op, &g->lock);
		bitmap_set(&m, bitmap, f);
	}
	map_op_end(&m, vm);
	return TF_OK;
}

void tf_dirty_stop(struct tf_vm *vm, gpa_t start, uint64_t bytes)
{
	struct map_op m;
	if (!map_op_begin(&m, vm, start, bytes))
		return;
	log_stop(&m.op, vm, m.from, m.to);
	map_op_end(&m, vm);
}

enum tf_status tf_accessed_read(struct tf_vm *vm, gpa_t start, uint64_t bytes, uint64_t *bitmap)
{
	struct map_op m;
	if (!map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	struct group *g = &vm->group;
	bitmap_clear(&m, bitmap);
	for (gfn_t f = m.from; f.v < m.to.v; f.v++) {
		struct frame *fr = memmap_frame(&vm->map, f);
		if (!frame_is_backed(fr))
			continue;
		lock_take(&m.op, &g->lock);
		for (unsigned int i = 0; i < MODES; i++)
			modes[i]->age(&m.op, vm, g, f);
		lock_drop(&m.op, &g->lock);
		if (entry_and(&fr->word, ~FRAME_ACCESSED) & FRAME_ACCESSED)
			bitmap_set(&m, bitmap, f);
	}
	map_op_end(&m, vm);
	return TF_OK;
}
