/* The page pool and the making of page tables (paging.h).
 * Lock: `pool`. SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

#define POOL_START (8ull << 20)
#define POOL_MAX   (128ull << 20)

static struct {
	struct spin lock;
	uint64_t start, end;
	uint64_t next, top; /* pages grow up, 2 MiB blocks down */
	uint64_t freed;	    /* list through the pages' first words */
} pool;

struct features cpu_has;

void pool_setup(void)
{
	pool.start = POOL_START;
	pool.end = POOL_START;
	for (unsigned int i = 0; i < range_count; i++)
		if (ranges[i].type == 1 && ranges[i].start <= (1u << 20) &&
		    ranges[i].end > POOL_START)
			pool.end = ranges[i].end & -MIB2;
	if (pool.end > POOL_MAX)
		pool.end = POOL_MAX;
	pool_reset();
}

void pool_reset(void)
{
	pool.next = pool.start;
	pool.top = pool.end;
	pool.freed = 0;
}

uint64_t page_alloc(void)
{
	uint64_t pa;

	spin_lock(&pool.lock);
	pa = pool.freed;
	if (pa) {
		pool.freed = *at(pa);
	} else if (pool.next < pool.top) {
		pa = pool.next;
		pool.next += PAGE;
	}
	spin_unlock(&pool.lock);
	if (pa)
		memset(at(pa), 0, PAGE);
	else
		test_fail("out of pages: give the machine more memory");
	return pa;
}

void page_free(uint64_t pa)
{
	spin_lock(&pool.lock);
	*at(pa) = pool.freed;
	pool.freed = pa;
	spin_unlock(&pool.lock);
}

uint64_t block_alloc(void)
{
	uint64_t pa = 0;

	spin_lock(&pool.lock);
	if (pool.next + MIB2 <= pool.top)
		pa = pool.top -= MIB2;
	spin_unlock(&pool.lock);
	if (!pa)
		test_fail("out of 2 MiB blocks: give the machine more memory");
	return pa;
}

uint64_t pool_pages_left(void)
{
	return (pool.top - pool.next) / PAGE;
}

uint64_t page_tagged(uint64_t tag)
{
	uint64_t pa = page_alloc();

	for (unsigned int i = 0; i < 512; i++)
		at(pa)[i] = tag;
	return pa;
}

uint64_t space_new(void)
{
	uint64_t root = page_alloc();

	at(root)[0] = home_pml4[0];
	return root;
}

pte_t *space_entry(uint64_t root, uint64_t va, unsigned int level)
{
	pte_t *table = at(root);

	for (unsigned int l = 3; l > level; l--) {
		pte_t *e = &table[entry_index(va, l)];

		if (!(*e & PTE_P))
			*e = page_alloc() | PTE_P | PTE_W | PTE_U;
		table = at(*e & PTE_ADDR);
	}
	return &table[entry_index(va, level)];
}

void space_map(uint64_t root, uint64_t va, uint64_t pa, uint64_t bits)
{
	*space_entry(root, va, 0) = pa | bits;
}

void space_map_2m(uint64_t root, uint64_t va, uint64_t pa, uint64_t bits)
{
	*space_entry(root, va, 1) = pa | bits | PTE_PS;
}

void space_map_user_code(uint64_t root)
{
	space_map(root, USER_CODE_VA, (uint64_t)user_code_page, PTE_P | PTE_U);
}

void features_read(void)
{
	uint32_t max = cpuid(0, 0).a, ext = cpuid(0x80000000, 0).a;
	struct cpuid c1 = cpuid(1, 0), c7 = {0}, e1 = cpuid(0x80000001, 0);

	if (max >= 7)
		c7 = cpuid(7, 0);
	cpu_has = (struct features){
		.nx = e1.d >> 20 & 1,
		.gib = e1.d >> 26 & 1,
		.la57 = c7.c >> 16 & 1,
		.smep = c7.b >> 7 & 1,
		.smap = c7.b >> 20 & 1,
		.pku = c7.c >> 3 & 1,
		.pcid = c1.c >> 17 & 1,
		.invpcid = c7.b >> 10 & 1,
		.x2apic = c1.c >> 21 & 1,
		.deadline = c1.c >> 24 & 1,
		.hypervisor = c1.c >> 31,
		.maxphyaddr = ext >= 0x80000008 ? cpuid(0x80000008, 0).a & 0xff : 36,
	};
}
