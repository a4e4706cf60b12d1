/* What the hypervisor reads from the machine's ACPI tables.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_BOOT_ACPI_H
#define HV_BOOT_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include <twofold/types.h>

#define ACPI_NODES_MAX	64
#define ACPI_RANGES_MAX 128

struct acpi_memory {
	uint64_t start, end;
	uint32_t node;
};

struct acpi_info {
	unsigned int cpus;
	uint32_t apic_id[TF_MAX_VCPUS];
	uint32_t cpu_node[TF_MAX_VCPUS]; /* dense node number */
	uint64_t lapic;
	uint64_t ioapic; /* the one that serves GSI 0; 0: none */
	uint32_t com1_gsi;
	bool com1_level, com1_low;
	unsigned int nodes; /* at least 1 */
	unsigned int ranges;
	struct acpi_memory range[ACPI_RANGES_MAX];
	/* power off: write sleep_value to PM1a (and b) control */
	uint16_t pm1a, pm1b;
	uint16_t sleep_a, sleep_b;
	bool has_sleep;
	uint16_t smi_cmd;
	uint8_t acpi_enable;
	uint16_t pm_timer; /* port; 0: none */
};

extern struct acpi_info acpi;

/* Fill `acpi`. Without tables: one CPU (this one), one node, no IOAPIC. */
void acpi_read(void);

/* The host node of a physical address. */
unsigned int acpi_node_of(uint64_t pa);

/* Switch the machine off; returns if that did not work. */
void acpi_power_off(void);

#endif
