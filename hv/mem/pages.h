/* The machine's free pages, one pool for each host node.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_MEM_PAGES_H
#define HV_MEM_PAGES_H

#include <stdbool.h>
#include <stdint.h>

/* Build the pools from boot_info's RAM less the image, the modules and the first MiB: first only
 * what the boot page tables map, below 4 GiB; the rest once the identity map is there. */
void pages_init(void);
void pages_init_high(void);

/* Give a page-aligned range to its pool (a module's memory once it was copied). */
void pages_add(uint64_t start, uint64_t end);

/* 2^order pages (order 0, 9 or 18) of a node, of the next that has some when it has none, but for
 * order 18; 0: none left. Contents are undefined. From any CPU. What was had as order 18 comes back
 * in pages of order 9. */
uint64_t pages_alloc(unsigned int node, unsigned int order);
void pages_free(uint64_t pa, unsigned int order);

/* A zeroed page for the hypervisor itself; ends the VM with an error when there is none. */
void *pages_zalloc(unsigned int node);

uint64_t pages_free_bytes(void);
/* How many pages of order 18 a node has now. */
unsigned int pages_free_gibs(unsigned int node);

/* Of one node's pool, 4 KiB pages: those it has, those it gave to whoever asked for this node
 * (frees are not taken off), and those it gave because the node that was asked had none. */
struct pages_count {
	uint64_t free, local, remote;
};
struct pages_count pages_count(unsigned int node);

#endif
