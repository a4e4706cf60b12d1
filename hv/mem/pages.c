/* The machine's free pages, one pool for each host node.
 *
 * RAM is cut into blocks of 2 MiB. A block has a bitmap of its free pages and lies in one of the
 * lists of its node:
 *
 *	pool[node].whole    all 512 pages free: can be had as one 2 MiB page, or be broken
 *	pool[node].broken   some pages free
 *	pool[node].gibs     the first block of an aligned GiB whose 512 blocks are all whole; the
 *	                    others are in no list
 *	(no list)           no page free
 *
 * so that a block whose pages all came back is whole again, and a GiB, if it lies on one node. What
 * is smaller is taken from the list of what is smallest, so GiBs stay whole as long as they can.
 * Lock: pool.lock for its lists and the blocks of the node; no other lock is taken under it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "mem/pages.h"

#include <twofold/host.h>

#include "boot/acpi.h"
#include "boot/multiboot.h"
#include "core/spin.h"
#include "core/string.h"
#include "core/vm.h"

#define BLOCK_SHIFT  21
#define BLOCK_BYTES  (1ull << BLOCK_SHIFT)
#define BLOCK_PAGES  512u
#define GIB_BLOCKS   512u
#define LOW_END	     0x100000ull /* firmware data and the AP trampoline live below */
#define BOOT_MAP_END 0x100000000ull

struct block {
	struct block *next, **link; /* link: what points at us; NULL: in no list */
	uint64_t free[BLOCK_PAGES / 64];
	uint16_t count;
	uint16_t node;
	/* Of the first block of a GiB: how many of its blocks are whole; and whether it can ever be
	 * had as one. */
	uint16_t gib_whole;
	bool gib_is_one;
};

struct pool {
	struct spin lock;
	struct block *whole, *broken, *gibs;
	unsigned int gibs_n;
	struct pages_count pages;
} __attribute__((aligned(64)));

static struct pool pool[ACPI_NODES_MAX];
static struct block *blocks; /* indexed by address >> BLOCK_SHIFT */

extern char image_start[], image_end[];

static void list_remove(struct block *b)
{
	if (!b->link)
		return;
	*b->link = b->next;
	if (b->next)
		b->next->link = b->link;
	b->link = NULL;
}

static void list_add(struct block **head, struct block *b)
{
	b->next = *head;
	b->link = head;
	if (b->next)
		b->next->link = &b->next;
	*head = b;
}

static uint64_t block_base(const struct block *b)
{
	return (uint64_t)(b - blocks) << BLOCK_SHIFT;
}

static struct block *gib_of(struct block *b)
{
	return &blocks[(size_t)(b - blocks) & ~(size_t)(GIB_BLOCKS - 1)];
}

/* All pages of the block are free. */
static void whole_add(struct pool *p, struct block *b)
{
	struct block *gib = gib_of(b);

	list_add(&p->whole, b);
	if (!gib->gib_is_one || ++gib->gib_whole < GIB_BLOCKS)
		return;
	for (unsigned int i = 0; i < GIB_BLOCKS; i++)
		list_remove(&gib[i]);
	list_add(&p->gibs, gib);
	__atomic_store_n(&p->gibs_n, p->gibs_n + 1, __ATOMIC_RELAXED);
}

/* The first GiB of the list leaves it; NULL: there is none. */
static struct block *gib_take(struct pool *p)
{
	struct block *gib = p->gibs;

	if (!gib)
		return NULL;
	list_remove(gib);
	__atomic_store_n(&p->gibs_n, p->gibs_n - 1, __ATOMIC_RELAXED);
	return gib;
}

/* A whole block, which leaves its list; NULL: there is none. */
static struct block *whole_take(struct pool *p)
{
	struct block *gib = p->whole ? NULL : gib_take(p), *b;

	for (unsigned int i = GIB_BLOCKS; gib && i--;)
		list_add(&p->whole, &gib[i]);
	b = p->whole;
	if (!b)
		return NULL;
	list_remove(b);
	if (gib_of(b)->gib_is_one)
		gib_of(b)->gib_whole--;
	return b;
}

static void free_page(uint64_t pa)
{
	struct block *b = &blocks[pa >> BLOCK_SHIFT];
	struct pool *p = &pool[b->node];
	unsigned int i = (pa >> 12) % BLOCK_PAGES;

	spin_lock(&p->lock);
	HV_ASSERT(!(b->free[i / 64] & (1ull << (i % 64))));
	b->free[i / 64] |= 1ull << (i % 64);
	b->count++;
	p->pages.free++;
	if (b->count == 1) {
		list_add(&p->broken, b);
	} else if (b->count == BLOCK_PAGES) {
		list_remove(b);
		whole_add(p, b);
	}
	spin_unlock(&p->lock);
}

static void count_given(struct pool *p, bool local, unsigned int n)
{
	if (local)
		p->pages.local += n;
	else
		p->pages.remote += n;
}

static uint64_t alloc_page(struct pool *p, bool local)
{
	struct block *b;
	uint64_t pa = 0;

	spin_lock(&p->lock);
	b = p->broken;
	if (!b) {
		b = whole_take(p);
		if (b)
			list_add(&p->broken, b);
	}
	for (unsigned int w = 0; b && w < BLOCK_PAGES / 64; w++) {
		unsigned int bit;

		if (!b->free[w])
			continue;
		bit = (unsigned int)__builtin_ctzll(b->free[w]);
		b->free[w] &= b->free[w] - 1;
		pa = block_base(b) + ((w * 64ull + bit) << 12);
		b->count--;
		p->pages.free--;
		count_given(p, local, 1);
		if (b->count == 0)
			list_remove(b);
		break;
	}
	spin_unlock(&p->lock);
	return pa;
}

/* All of its pages are given away. */
static void block_empty(struct pool *p, struct block *b)
{
	memset(b->free, 0, sizeof(b->free));
	b->count = 0;
	p->pages.free -= BLOCK_PAGES;
}

static uint64_t alloc_block(struct pool *p, bool local)
{
	struct block *b;
	uint64_t pa = 0;

	spin_lock(&p->lock);
	b = whole_take(p);
	if (b) {
		block_empty(p, b);
		count_given(p, local, BLOCK_PAGES);
		pa = block_base(b);
	}
	spin_unlock(&p->lock);
	return pa;
}

static uint64_t alloc_gib(struct pool *p)
{
	struct block *gib;
	uint64_t pa = 0;

	spin_lock(&p->lock);
	gib = gib_take(p);
	for (unsigned int i = 0; gib && i < GIB_BLOCKS; i++)
		block_empty(p, &gib[i]);
	if (gib) {
		gib->gib_whole = 0;
		count_given(p, true, GIB_BLOCKS * BLOCK_PAGES);
		pa = block_base(gib);
	}
	spin_unlock(&p->lock);
	return pa;
}

static void free_block(uint64_t pa)
{
	struct block *b = &blocks[pa >> BLOCK_SHIFT];
	struct pool *p = &pool[b->node];

	spin_lock(&p->lock);
	HV_ASSERT(b->count == 0 && !(pa & (BLOCK_BYTES - 1)));
	memset(b->free, 0xff, sizeof(b->free));
	b->count = BLOCK_PAGES;
	p->pages.free += BLOCK_PAGES;
	whole_add(p, b);
	spin_unlock(&p->lock);
}

uint64_t pages_alloc(unsigned int node, unsigned int order)
{
	if (order == TF_ORDER_1G)
		return alloc_gib(&pool[node % acpi.nodes]);
	for (unsigned int i = 0; i < acpi.nodes; i++) {
		struct pool *p = &pool[(node + i) % acpi.nodes];
		uint64_t pa = order ? alloc_block(p, i == 0) : alloc_page(p, i == 0);

		if (pa)
			return pa;
	}
	return 0;
}

void pages_free(uint64_t pa, unsigned int order)
{
	if (order)
		free_block(pa);
	else
		free_page(pa);
}

void pages_add(uint64_t start, uint64_t end)
{
	for (uint64_t pa = start; pa < end; pa += 4096)
		free_page(pa);
}

void *pages_zalloc(unsigned int node)
{
	uint64_t pa = pages_alloc(node, 0);

	if (!pa)
		vm_fail("the machine has no memory left");
	return memset((void *)(uintptr_t)pa, 0, 4096);
}

struct pages_count pages_count(unsigned int node)
{
	const struct pages_count *p = &pool[node].pages;

	return (struct pages_count){
		.free = __atomic_load_n(&p->free, __ATOMIC_RELAXED),
		.local = __atomic_load_n(&p->local, __ATOMIC_RELAXED),
		.remote = __atomic_load_n(&p->remote, __ATOMIC_RELAXED),
	};
}

uint64_t pages_free_bytes(void)
{
	uint64_t pages = 0;

	for (unsigned int i = 0; i < acpi.nodes; i++)
		pages += pages_count(i).free;
	return pages * 4096;
}

unsigned int pages_free_gibs(unsigned int node)
{
	return __atomic_load_n(&pool[node].gibs_n, __ATOMIC_RELAXED);
}

struct hole {
	uint64_t start, end;
};

static struct hole hole[3 + BOOT_MODULES_MAX];
static unsigned int holes;

static void hole_add(uint64_t start, uint64_t end)
{
	hole[holes++] = (struct hole){start, end};
}

/* Does [start, end) meet a hole? Then the hole's end, else 0. */
static uint64_t in_hole(uint64_t start, uint64_t end)
{
	for (unsigned int i = 0; i < holes; i++)
		if (start < hole[i].end && end > hole[i].start)
			return (hole[i].end + 4095) & ~4095ull;
	return 0;
}

/* Room for the block descriptors, in the first RAM range that has it clear of the holes. */
static uint64_t place_blocks(uint64_t bytes)
{
	for (unsigned int i = 0; i < boot_info.ranges; i++) {
		uint64_t at = boot_info.range[i].start, next;

		while ((next = in_hole(at, at + bytes)) != 0)
			at = next;
		if (at + bytes <= boot_info.range[i].end && at + bytes <= BOOT_MAP_END)
			return at;
	}
	vm_fail("the machine has no room for its page descriptors");
}

static void add_ram(uint64_t pa, uint64_t end)
{
	while (pa < end) {
		uint64_t skip;

		if (!(pa & (BLOCK_BYTES - 1)) && pa + BLOCK_BYTES <= end &&
		    !in_hole(pa, pa + BLOCK_BYTES)) {
			free_block(pa);
			pa += BLOCK_BYTES;
			continue;
		}
		skip = in_hole(pa, pa + 4096);
		if (skip) {
			pa = skip;
			continue;
		}
		free_page(pa);
		pa += 4096;
	}
}

static void add_ram_within(uint64_t low, uint64_t high)
{
	for (unsigned int i = 0; i < boot_info.ranges; i++) {
		uint64_t start = boot_info.range[i].start, end = boot_info.range[i].end;

		add_ram(start > low ? start : low, end < high ? end : high);
	}
}

void pages_init(void)
{
	uint64_t top = boot_info.ranges ? boot_info.range[boot_info.ranges - 1].end : 0;
	uint64_t count = (top + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
	uint64_t bytes = (count * sizeof(struct block) + 4095) & ~4095ull;

	hole_add(0, LOW_END);
	hole_add((uintptr_t)image_start, (uintptr_t)image_end);
	for (unsigned int i = 0; i < boot_info.modules; i++)
		hole_add(boot_info.module[i].start, boot_info.module[i].end);
	blocks = (struct block *)(uintptr_t)place_blocks(bytes);
	memset(blocks, 0, bytes);
	hole_add((uintptr_t)blocks, (uintptr_t)blocks + bytes);
	for (uint64_t i = 0; i < count; i++)
		blocks[i].node = (uint16_t)acpi_node_of(i << BLOCK_SHIFT);
	for (uint64_t gib = 0; gib < count; gib += GIB_BLOCKS) {
		bool one = gib + GIB_BLOCKS <= count;

		for (unsigned int i = 1; one && i < GIB_BLOCKS; i++)
			one = blocks[gib + i].node == blocks[gib].node;
		blocks[gib].gib_is_one = one;
	}
	add_ram_within(0, BOOT_MAP_END);
}

void pages_init_high(void)
{
	add_ram_within(BOOT_MAP_END, UINT64_MAX);
}
