/* Parts that change page tables: churn, mprotect.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <sys/mman.h>

#include "workload.h"

void churn_run(const struct part *p)
{
	part_begin(p);
	while (part_again())
		region_churn(p->size * PAGE, p->count);
	part_end(p);
}

static void region_read(const void *at, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		(void)((const volatile char *)at)[i];
}

static void region_protect(void *at, size_t size)
{
	if (mprotect(at, size, PROT_READ) != 0)
		die("mprotect");
	region_read(at, size);
	if (mprotect(at, size, PROT_READ | PROT_WRITE) != 0)
		die("mprotect");
	region_touch(at, size);
}

void mprotect_run(const struct part *p)
{
	size_t size = p->size * PAGE;
	void *at = region_map(size);

	region_touch(at, size);
	part_begin(p);
	while (part_again()) {
		for (uint64_t i = 0; i < p->count; i++)
			region_protect(at, size);
	}
	part_end(p);
	region_unmap(at, size);
}
