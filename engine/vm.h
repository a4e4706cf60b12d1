/* What the facade's VM files share: an operation on a range of guest memory with the map's lock
 * held.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef VM_H
#define VM_H

#include "modes/mode.h"

#define SHADOWS_LEAST 16u /* the least bound of a group, and one more for each vCPU's root */

#define MODES 2u
extern const struct mmu_mode *const modes[MODES];

struct map_op {
	struct op op;
	gfn_t from, to;
};

/* Begin an operation on a page-aligned range: takes the map's lock. False: the range makes no sense
 * and nothing was begun. */
bool map_op_begin(struct map_op *m, struct tf_vm *vm, gpa_t start, uint64_t bytes);
/* Flush and free what is owed, drop the lock. */
void map_op_end(struct map_op *m, struct tf_vm *vm);

/* f, or the next frame after it that may have a descriptor. */
gfn_t map_skip_empty(const struct tf_vm *vm, gfn_t f);

/* ---- vm_groups.c ---- */

unsigned int groups_of(const struct tf_config *c, enum tf_grouping grouping);
/* The id of the group that a vCPU belongs to in a grouping. */
unsigned int group_of_vcpu(const struct tf_vcpu *v, enum tf_grouping grouping);
/* Have an open group with that id, its table pages from `node`. Map's lock held. TF_E_NOMEM:
 * nothing changed. */
enum tf_status group_open(struct op *op, struct tf_vm *vm, unsigned int id,
			  unsigned int node) TF_MUST_CHECK;
/* Say which groups the grouping has, and share the bound on shadows among them. Map's lock held. */
void groups_want(struct op *op, struct tf_vm *vm, enum tf_grouping grouping);
/* Move a vCPU into the group that it should be in; from its own CPU, no lock held. */
void group_join(struct op *op, struct tf_vcpu *v);
/* Count the vCPU among those of its group that should run on shadow tables, or not. Its own CPU, no
 * lock held. */
void group_count_mode(struct op *op, struct tf_vcpu *v, bool shadow);
/* Work that a vCPU does when it is told, a bit at each load: its group's rest, groups to be taken
 * apart. No lock held. */
void group_chores(struct op *op, struct tf_vcpu *v);
void groups_destroy(struct op *op, struct tf_vm *vm);

/* ---- vm_log.c ---- */

/* No frame of the range is logged any more. */
void log_stop(struct tf_vm *vm, gfn_t from, gfn_t to);

#endif
