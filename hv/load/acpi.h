/* The guest's ACPI tables: RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, and with more than one node
 * SRAT and SLIT (ACPI 6.4, chapter 5).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_LOAD_ACPI_H
#define HV_LOAD_ACPI_H

#include "load/e820.h"

#include <stdbool.h>
#include <stddef.h>

/* Memory of a guest node. */
struct acpi_range {
	uint64_t start, bytes;
	uint32_t node;
};

struct acpi_config {
	unsigned int cpus;
	const uint8_t *apic_id; /* one for each CPU; NULL: its number */
	uint16_t pm_timer;	/* port; 0: none */
	bool pm_timer_32;	/* it counts 32 bits, not 24 */
	/* Nodes: 0 or 1: no SRAT, no SLIT. */
	unsigned int nodes;
	const uint8_t *cpu_node; /* one for each CPU */
	unsigned int ranges;
	const struct acpi_range *range;
	const uint8_t *distance; /* nodes * nodes; NULL: 10 near, 20 far */
};

/* Build all tables into buf as they lie at guest address `base`; the RSDP is the first thing.
 * Returns the bytes used, 0: they do not fit into `size`. Write them to guest memory with
 * tf_mem_write(). */
size_t acpi_build(const struct acpi_config *c, uint8_t *buf, size_t size, uint64_t base);

#endif
