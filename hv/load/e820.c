/* The guest's memory map. See e820.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "load/e820.h"

#define EBDA	 UINT64_C(0x9fc00)
#define ONE_MIB	 UINT64_C(0x100000)
#define APIC_LOW UINT64_C(0xfec00000)

static void add(struct e820 *m, uint64_t start, uint64_t end, uint32_t type)
{
	if (start < end)
		m->e[m->count++] = (struct e820_entry){start, end - start, type};
}

void e820_build(struct e820 *m, uint64_t mem)
{
	m->count = 0;
	m->low_end = mem < GUEST_LOW_MAX ? mem : GUEST_LOW_MAX;
	m->high_end = mem > GUEST_LOW_MAX ? GUEST_HIGH_BASE + (mem - GUEST_LOW_MAX) : 0;
	add(m, 0, EBDA, E820_RAM);
	add(m, EBDA, GUEST_ACPI_BASE, E820_RESERVED);
	add(m, GUEST_ACPI_BASE, GUEST_ACPI_BASE + GUEST_ACPI_SIZE, E820_ACPI);
	add(m, GUEST_ACPI_BASE + GUEST_ACPI_SIZE, ONE_MIB, E820_RESERVED);
	add(m, ONE_MIB, m->low_end, E820_RAM);
	add(m, APIC_LOW, GUEST_HIGH_BASE, E820_RESERVED);
	add(m, GUEST_HIGH_BASE, m->high_end, E820_RAM);
}
