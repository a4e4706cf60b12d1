/* The guest's physical memory, as E820 tells it (ACPI 6.4, chapter 15).
 *
 * `mem` bytes of RAM: below 3 GiB, the rest from 4 GiB up. The legacy hole (0xa0000..1 MiB) is
 * memory too, but reserved; the ACPI tables lie in it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_LOAD_E820_H
#define HV_LOAD_E820_H

#include <stdint.h>

#define GUEST_LOW_MAX	UINT64_C(0xc0000000)  /* RAM below the device hole ends here at most */
#define GUEST_HIGH_BASE UINT64_C(0x100000000) /* and goes on here */
#define GUEST_ACPI_BASE UINT64_C(0xe0000)     /* RSDP first, so that a scan finds it */
#define GUEST_ACPI_SIZE UINT64_C(0x10000)
#define GUEST_MEM_MIN	(UINT64_C(4) << 20) /* less cannot hold any guest */

enum {
	E820_RAM = 1,
	E820_RESERVED = 2,
	E820_ACPI = 3,
};

struct e820_entry {
	uint64_t start, bytes;
	uint32_t type;
};

struct e820 {
	unsigned int count;
	struct e820_entry e[8];
	uint64_t low_end;  /* end of RAM below 3 GiB */
	uint64_t high_end; /* end of RAM above 4 GiB, 0: none there */
};

/* mem: a multiple of 4 KiB, at least GUEST_MEM_MIN. Slots to give the engine: [0, low_end) and
 * [GUEST_HIGH_BASE, high_end). */
void e820_build(struct e820 *m, uint64_t mem);

#endif
