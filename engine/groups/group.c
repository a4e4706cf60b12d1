/* Groups: visited one after another; backing for a group's faults; guest memory as the walker sees
 * it under a group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "groups/group.h"

struct group *group_visit_next(struct op *op, struct tf_vm *vm, struct group *g)
{
	unsigned int id = g ? g->id + 1 : 0;
	if (g)
		group_unlock(op, g);
	for (; id < vm->groups_max; id++) {
		g = group_at(vm, id);
		if (!g)
			continue;
		group_lock(op, g);
		if (g->open)
			return g;
		group_unlock(op, g);
	}
	return NULL;
}

void vm_grace(struct tf_vm *vm)
{
	if (vm->conf.install != TF_INSTALL_CAS)
		return;
	/* What was marked before is seen by every section that begins from here on. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < vm->conf.vcpus; i++) {
		struct tf_vcpu *v = __atomic_load_n(&vm->vcpu[i], __ATOMIC_ACQUIRE);
		uint32_t s = v ? __atomic_load_n(&v->section, __ATOMIC_SEQ_CST) : 0;
		while ((s & 1) && __atomic_load_n(&v->section, __ATOMIC_ACQUIRE) == s)
			__builtin_ia32_pause();
	}
}

enum tf_status vm_back(struct op *op, struct tf_vm *vm, struct tf_vcpu *v, gfn_t f)
{
	struct backed did;
	enum tf_status s = memmap_back(op, &vm->map, f, &did);
	if (s != TF_OK || !did.frames)
		return s;
	if (!v) {
		__atomic_fetch_add(&vm->frames_backed, did.frames, __ATOMIC_RELAXED);
		__atomic_fetch_add(&vm->large_backed, did.large, __ATOMIC_RELAXED);
		__atomic_fetch_add(&vm->huge_backed, did.huge, __ATOMIC_RELAXED);
		return s;
	}
	count_add(&v->n.frames_backed, did.frames);
	count_add(&v->n.large_backed, did.large);
	count_add(&v->n.huge_backed, did.huge);
	if (did.node == v->node)
		count_add(&v->n.frames_local, did.frames);
	return s;
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
