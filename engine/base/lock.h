/* Ticket spin locks with asserted ranks. Fair, so that one vCPU cannot starve another.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include "base/op.h"

struct lock {
	uint32_t next, owner; /* tickets */
	uint8_t rank;
	uint64_t wait_cycles; /* spent waiting; written by the holder */
};

static inline void lock_init(struct lock *l, enum lock_rank rank)
{
	l->next = l->owner = 0;
	l->rank = (uint8_t)rank;
	l->wait_cycles = 0;
}

static inline bool lock_is_held(const struct op *op, const struct lock *l)
{
	for (unsigned int i = 0; i < op->depth; i++)
		if (op->held[i] == l->rank)
			return true;
	return false;
}

static inline void lock_take(struct op *op, struct lock *l)
{
	TF_ASSERT(op->h, op->depth == 0 || op->held[op->depth - 1] < l->rank);
	TF_ASSERT(op->h, op->depth < sizeof(op->held));
	op->held[op->depth++] = l->rank;
	uint32_t ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
	if (__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) == ticket)
		return;
	uint64_t start = op->h->cycles(op->h);
	while (__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != ticket)
		__builtin_ia32_pause();
	l->wait_cycles += op->h->cycles(op->h) - start;
}

static inline void lock_drop(struct op *op, struct lock *l)
{
	TF_ASSERT(op->h, op->depth > 0 && op->held[op->depth - 1] == l->rank);
	op->depth--;
	__atomic_store_n(&l->owner, l->owner + 1, __ATOMIC_RELEASE);
}

#endif
