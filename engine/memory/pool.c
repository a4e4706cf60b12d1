/* Zeroed table pages of one node (see pool.h).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "memory/pool.h"

#include "base/mem.h"

void *page_new(struct tf_host *h, unsigned int node, hpa_t *out)
{
	if (h->page_alloc(h, node, TF_ORDER_4K, TF_USE_TABLE, out) != TF_OK)
		return NULL;
	return memset(tf_host_ptr(h, *out), 0, TF_PAGE_SIZE);
}

void pool_init(struct pool *p, struct tf_host *h, unsigned int node)
{
	p->h = h;
	p->node = node;
	p->n = 0;
	p->out = 0;
}

void pool_drain(struct pool *p)
{
	while (p->n)
		p->h->page_free(p->h, TF_ORDER_4K, p->page[--p->n]);
}

enum tf_status pool_fill_slow(struct pool *p, unsigned int n)
{
	TF_ASSERT(p->h, n <= POOL_KEEP);
	while (p->n < n) {
		hpa_t a;
		enum tf_status s = p->h->page_alloc(p->h, p->node, TF_ORDER_4K, TF_USE_TABLE, &a);
		if (s != TF_OK)
			return s;
		p->page[p->n++] = a;
	}
	return TF_OK;
}

hpa_t pool_get(struct pool *p)
{
	TF_ASSERT(p->h, p->n > 0);
	hpa_t a = p->page[--p->n];
	memset(tf_host_ptr(p->h, a), 0, TF_PAGE_SIZE);
	p->out++;
	return a;
}

void pool_put(struct pool *p, hpa_t page)
{
	TF_ASSERT(p->h, p->out > 0);
	p->out--;
	if (p->n < POOL_KEEP)
		p->page[p->n++] = page;
	else
		p->h->page_free(p->h, TF_ORDER_4K, page);
}

void pool_retire(struct pool *p, struct op *op, hpa_t page, uint32_t kinds)
{
	TF_ASSERT(p->h, p->out > 0);
	p->out--;
	op_owe_page(op, page, TF_ORDER_4K, kinds);
}
