/* The hypervisor's own address space: every physical address at itself, in the largest pages.
 *
 * A GiB that is RAM throughout is one 1 GiB page (where the CPU has them); any other GiB is 2 MiB
 * pages, uncached where there is no RAM at all, so that no page spans two memory types
 * (APM vol. 2, 7.7.3). Constant after identity_init().
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "mem/identity.h"

#include <stdbool.h>

#include "boot/multiboot.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "mem/pages.h"

#define GIB	    (1ull << 30)
#define BLOCK	    (1ull << 21)
#define PTE_TABLE   0x03ull
#define PTE_RAM	    0x83ull /* large, writable, present */
#define PTE_DEVICE  0x9bull /* and uncached */
#define GIB_MINIMUM 4ull    /* devices lie below 4 GiB */

static uint64_t pml4[512] __attribute__((aligned(4096)));

static bool ram_meets(uint64_t start, uint64_t end)
{
	for (unsigned int i = 0; i < boot_info.ranges; i++)
		if (boot_info.range[i].start < end && boot_info.range[i].end > start)
			return true;
	return false;
}

static bool ram_covers(uint64_t start, uint64_t end)
{
	for (unsigned int i = 0; i < boot_info.ranges; i++)
		if (boot_info.range[i].start <= start && boot_info.range[i].end >= end)
			return true;
	return false;
}

static uint64_t make_gib(uint64_t base, bool has_1g)
{
	uint64_t *pd;

	if (has_1g && ram_covers(base, base + GIB))
		return base | PTE_RAM;
	pd = pages_zalloc(0);
	for (unsigned int i = 0; i < 512; i++) {
		uint64_t a = base + i * BLOCK;

		pd[i] = a | (ram_meets(a, a + BLOCK) ? PTE_RAM : PTE_DEVICE);
	}
	return (uintptr_t)pd | PTE_TABLE;
}

void identity_init(void)
{
	bool has_1g = x86_cpuid(0x80000001, 0).edx & (1u << 26);
	uint64_t top = boot_info.range[boot_info.ranges - 1].end;
	uint64_t gibs = (top + GIB - 1) / GIB;

	if (gibs < GIB_MINIMUM)
		gibs = GIB_MINIMUM;
	for (uint64_t g = 0; g < gibs; g++) {
		uint64_t *slot = &pml4[g / 512];

		if (!*slot)
			*slot = (uintptr_t)pages_zalloc(0) | PTE_TABLE;
		((uint64_t *)(uintptr_t)(*slot & ~0xfffull))[g % 512] = make_gib(g * GIB, has_1g);
	}
	x86_write_cr3((uintptr_t)pml4);
}

uint64_t identity_root(void)
{
	return (uintptr_t)pml4;
}
