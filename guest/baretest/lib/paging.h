/* Page tables as the tests build and edit them: the page pool, entry bits, spaces.
 * All pool memory is identity mapped, so a table's address is also the pointer to it.
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BARETEST_PAGING_H
#define BARETEST_PAGING_H

#include "bt.h"

#define PTE_P	      (1ull << 0)
#define PTE_W	      (1ull << 1)
#define PTE_U	      (1ull << 2)
#define PTE_PWT	      (1ull << 3)
#define PTE_PCD	      (1ull << 4)
#define PTE_A	      (1ull << 5)
#define PTE_D	      (1ull << 6)
#define PTE_PS	      (1ull << 7)
#define PTE_PAT	      (1ull << 7) /* of a 4 KiB leaf */
#define PTE_G	      (1ull << 8)
#define PTE_PAT_LARGE (1ull << 12)
#define PTE_KEY(k)    ((uint64_t)(k) << 59)
#define PTE_NX	      (1ull << 63)
#define PTE_ADDR      0x000ffffffffff000ull

#define PAGE 4096ull
#define MIB2 (2ull << 20)
#define GIB  (1ull << 30)

/* Tests use addresses from here: nothing of home is near (PML4 entry 32 and up). */
#define T_BASE 0x100000000000ull
#define T_HIGH 0xffff900000000000ull

typedef volatile uint64_t pte_t;

/* ---- pool: pages and 2 MiB blocks, all given back when a test ends ---- */
void pool_setup(void);
void pool_reset(void);
uint64_t page_alloc(void);	    /* zeroed; 0 (and a failed test) when there is none */
void page_free(uint64_t pa);	    /* the next page_alloc gets it */
uint64_t block_alloc(void);	    /* 2 MiB, aligned, contents undefined */
uint64_t page_tagged(uint64_t tag); /* page whose words are all `tag` */
uint64_t pool_pages_left(void);

static inline uint64_t *at(uint64_t pa)
{
	return (uint64_t *)pa;
}

/* ---- spaces: a root whose first entry is home's, so that our code runs in it ---- */
uint64_t space_new(void);
/* The entry for va at a level (0: leaf of 4 KiB); tables above it are made with P W U. */
pte_t *space_entry(uint64_t root, uint64_t va, unsigned int level);
void space_map(uint64_t root, uint64_t va, uint64_t pa, uint64_t bits); /* 4 KiB */
void space_map_2m(uint64_t root, uint64_t va, uint64_t pa, uint64_t bits);
void space_map_user_code(uint64_t root);
static inline void space_enter(uint64_t root)
{
	write_cr3(root);
}

static inline void space_leave(void)
{
	write_cr3((uint64_t)home_pml4);
}

static inline unsigned int entry_index(uint64_t va, unsigned int level)
{
	return va >> (12 + 9 * level) & 511;
}

/* The word at va, without the compiler's help. */
static inline uint64_t peek(uint64_t va)
{
	return *(volatile uint64_t *)va;
}

static inline void poke(uint64_t va, uint64_t v)
{
	*(volatile uint64_t *)va = v;
}

/* Global pages too. */
static inline void flush_all(void)
{
	uint64_t cr4 = read_cr4();

	write_cr4(cr4 ^ CR4_PGE);
	write_cr4(cr4);
}

static inline void flush(void)
{
	write_cr3(read_cr3());
}

/* ---- what the CPU has ---- */
struct features {
	bool nx, gib, la57, smep, smap, pku, pcid, invpcid, x2apic, deadline, hypervisor;
	unsigned int maxphyaddr;
};
extern struct features cpu_has;
void features_read(void);

#endif
