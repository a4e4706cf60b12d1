/* The pending flush and the pages to free after it (see op.h).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "base/op.h"

__attribute__((hot)) void op_flush(struct op *op)
{
	if (op->flush) {
		struct tf_cpuset owed = op->owed;
		uint32_t kinds = op->flush;
		op->flush = 0;
		op->owed = (struct tf_cpuset){{0}};
		op->flushes++;
		op->h->flush(op->h, &owed, kinds);
	}
	for (unsigned int i = 0; i < op->pages_n; i++)
		op->h->page_free(op->h, op->orders[i], op->pages[i]);
	op->pages_n = 0;
}

void op_owe_page(struct op *op, hpa_t page, unsigned int order, uint32_t kinds)
{
	if (op->pages_n == PEND_PAGES)
		op_flush(op);
	op_owe_flush(op, kinds);
	op->orders[op->pages_n] = (uint8_t)order;
	op->pages[op->pages_n++] = page;
}
