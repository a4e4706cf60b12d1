/* What the facade's VM files share: an operation on a range of guest memory with the map's lock
 * held.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef VM_H
#define VM_H

#include "modes/mode.h"

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

/* No frame of the range is logged any more (vm_log.c). */
void log_stop(struct op *op, struct tf_vm *vm, gfn_t from, gfn_t to);

#endif
