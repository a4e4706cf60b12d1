/* Groups: made, destroyed; guest memory as the walker sees it under the group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "groups/group.h"

#include "format/fmt_ept.h"
#include "format/fmt_npt.h"

#include "base/mem.h"

enum tf_status group_init(struct op *op, struct group *g, struct tf_vm *vm, unsigned int node)
{
	lock_init(&g->lock, RANK_GROUP);
	pool_init(&g->pool, vm->h, node);
	memset(&g->n, 0, sizeof(g->n));
	return table_init(op, &g->nested, vm->conf.nested == TF_EPT ? &fmt_ept : &fmt_npt, vm->h,
			  &g->pool);
}

void group_destroy(struct op *op, struct group *g)
{
	table_destroy(op, &g->nested);
	op_flush(op);
	pool_drain(&g->pool);
}

static void *group_mem_entry(struct walk_mem *m, gpa_t at)
{
	struct tf_vm *vm = ((struct group_mem *)m)->vm;
	struct frame *f = memmap_frame(&vm->map, gpa_to_gfn(at));
	uint64_t word = f ? frame_word(f) : 0;
	if (word & FRAME_BACKED)
		return tf_host_ptr(vm->h, hpa(word_hpa(word).v + (at.v & TF_PAGE_MASK)));
	/* Memory that nobody touched reads as zeroes; the walker never writes an entry of zeroes.
	 */
	if (memmap_has(&vm->map, gpa_to_gfn(at)))
		return tf_host_ptr(vm->h, vm->empty);
	return NULL;
}

static void group_mem_dirtied(struct walk_mem *m, gfn_t table)
{
	struct tf_vm *vm = ((struct group_mem *)m)->vm;
	struct frame *f = memmap_frame(&vm->map, table);
	if (f && (frame_word(f) & FRAME_LOG))
		entry_or(&f->word, FRAME_DIRTY);
}

void group_mem_init(struct group_mem *gm, struct tf_vm *vm)
{
	gm->m.entry = group_mem_entry;
	gm->m.dirtied = group_mem_dirtied;
	gm->vm = vm;
}

__attribute__((hot)) void vm_op_begin(struct op *op, struct tf_vm *vm)
{
	op_begin(op, vm->h, &vm->vcpus);
}

__attribute__((hot)) void vm_op_end(struct op *op, struct tf_vm *vm)
{
	TF_ASSERT(vm->h, op->depth == 0);
	op_flush(op);
	if (op->flushes)
		__atomic_fetch_add(&vm->remote_flushes, op->flushes, __ATOMIC_RELAXED);
}
