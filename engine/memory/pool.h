/* A pool of zeroed 4 KiB table pages on one host node.
 *
 * Allocation comes first, then steps that cannot fail: an operation calls pool_fill() for the most
 * it may need, before it changes anything, and pool_get() after that. Protected by the lock of the
 * group that owns the pool.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMORY_POOL_H
#define MEMORY_POOL_H

#include "base/op.h"

#define POOL_KEEP 64 /* pages kept at hand; more go back to the host */

/* A cleared page that is in no pool, on that node. NULL: no memory. */
void *page_new(struct tf_host *h, unsigned int node, hpa_t *out);

struct pool {
	struct tf_host *h;
	unsigned int node;
	unsigned int n;
	hpa_t page[POOL_KEEP];
	uint64_t out; /* pages handed out and not yet returned */
};

void pool_init(struct pool *p, struct tf_host *h, unsigned int node);
/* Give everything at hand back to the host. */
void pool_drain(struct pool *p);

/* Have at least n (<= POOL_KEEP) pages at hand. TF_E_NOMEM: fewer are there, none is lost. */
enum tf_status pool_fill_slow(struct pool *p, unsigned int n) TF_MUST_CHECK;

static inline TF_MUST_CHECK enum tf_status pool_fill(struct pool *p, unsigned int n)
{
	return p->n >= n ? TF_OK : pool_fill_slow(p, n);
}

/* A zeroed page; there must be one at hand. */
hpa_t pool_get(struct pool *p);
/* A page that no walk can reach any more and that was never linked. */
void pool_put(struct pool *p, hpa_t page);
/* A page that was linked: freed after the flush of these kinds, which the operation owes then. */
void pool_retire(struct pool *p, struct op *op, hpa_t page, uint32_t kinds);

#endif
