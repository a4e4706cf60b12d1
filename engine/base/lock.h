/* Spin locks with asserted ranks.
 *
 * Not fair, on purpose: sections are short, and where the host's CPUs are themselves scheduled (a
 * nested cloud, an emulator), a queue would make all wait for one that does not run.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include "base/atomic.h"
#include "base/op.h"

struct lock {
	uint32_t held;
	uint8_t rank;
	uint64_t wait_cycles; /* spent waiting; written by the holder */
};

static inline void lock_init(struct lock *l, enum lock_rank rank)
{
	l->held = 0;
	l->rank = (uint8_t)rank;
	l->wait_cycles = 0;
}

/* The lock as a bare word, where a struct has no room for more: returns the cycles waited. */
static inline uint64_t lock_word_take(struct op *op, uint32_t *held, enum lock_rank rank)
{
	TF_ASSERT(op->h, op->depth == 0 || op->held[op->depth - 1] < rank);
	TF_ASSERT(op->h, op->depth < sizeof(op->held));
	op->held[op->depth++] = (uint8_t)rank;
	if (!__atomic_exchange_n(held, 1, __ATOMIC_ACQUIRE))
		return 0;
	uint64_t start = op->h->cycles(op->h);
	do {
		while (__atomic_load_n(held, __ATOMIC_RELAXED))
			__builtin_ia32_pause();
	} while (__atomic_exchange_n(held, 1, __ATOMIC_ACQUIRE));
	return op->h->cycles(op->h) - start;
}

static inline void lock_word_drop(struct op *op, uint32_t *held, enum lock_rank rank)
{
	TF_ASSERT(op->h, op->depth > 0 && op->held[op->depth - 1] == rank);
	op->depth--;
	__atomic_store_n(held, 0, __ATOMIC_RELEASE);
}

static inline void lock_take(struct op *op, struct lock *l)
{
	uint64_t waited = lock_word_take(op, &l->held, (enum lock_rank)l->rank);
	if (__builtin_expect(waited != 0, 0))
		count_add(&l->wait_cycles, waited);
}

static inline void lock_drop(struct op *op, struct lock *l)
{
	lock_word_drop(op, &l->held, (enum lock_rank)l->rank);
}

#endif
