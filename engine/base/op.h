/* One engine operation: the host, the lock rank held, the flush and the pages that are owed.
 *
 * A struct op lives on the stack of a facade call and is handed down. It replaces thread-local
 * state: the rank of the lock that this thread holds is in it (asserted by lock_take), and so is
 * the pending flush, which op_end() must find finished. Locks and ranks: docs/locking.md.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_OP_H
#define BASE_OP_H

#include <twofold/host.h>

#define PEND_PAGES 62

/* Ranks: a thread takes locks in rising order only, and never two of one rank. */
enum lock_rank {
	RANK_NONE = 0,
	RANK_CHOICE = 5,
	RANK_MAP = 10,
	RANK_GIB = 13,
	RANK_BLOCK = 15,
	RANK_GROUP = 20,
	RANK_HOST = 40,
};

struct op {
	struct tf_host *h;
	const struct tf_cpuset *all;   /* every vCPU of the VM */
	const struct tf_cpuset *reach; /* who may use the tables that are locked now: the group's */
	uint8_t held[4];	       /* ranks held, innermost last */
	uint8_t depth;
	uint32_t flush; /* TF_FLUSH_* of `owed` that must go before pages[] may be freed */
	struct tf_cpuset owed;
	uint16_t pages_n;
	hpa_t pages[PEND_PAGES]; /* table pages no longer linked, to free after the flush */
	uint8_t orders[PEND_PAGES];
	uint64_t flushes; /* host flushes done by this operation */
};

static inline void op_begin(struct op *op, struct tf_host *h, const struct tf_cpuset *all)
{
	op->h = h;
	op->all = op->reach = all;
	op->owed = (struct tf_cpuset){{0}};
	op->depth = 0;
	op->flush = 0;
	op->pages_n = 0;
	op->flushes = 0;
}

/* Do the pending flush, then free the pending pages. Locks may be held (host.h says why). */
void op_flush(struct op *op);

static inline void op_owe(struct op *op, const struct tf_cpuset *s, uint32_t kinds)
{
	op->flush |= kinds;
	for (unsigned int i = 0; i < TF_MAX_VCPUS / 64; i++)
		op->owed.w[i] |= s->w[i];
}

/* Whoever may use the tables of the group that is locked must forget translations. */
static inline void op_owe_flush(struct op *op, uint32_t kinds)
{
	op_owe(op, op->reach, kinds);
}

/* Every vCPU must: also those that may hold a translation whose entry is gone already, which is
 * allowed until their guest flushes, but not to outlive a frame or a protection. */
static inline void op_owe_flush_all(struct op *op, uint32_t kinds)
{
	op_owe(op, op->all, kinds);
}

/* Free a page (2^order pages) after the flush, which is owed with it. The page must be unreachable
 * for walks that start after the flush. */
void op_owe_page(struct op *op, hpa_t page, unsigned int order, uint32_t kinds);

#define TF_ASSERT(h, cond)                                                                         \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			(h)->panic((h), __FILE__, __LINE__, #cond);                                \
	} while (0)

#endif
