/* The guest's NUMA nodes: which CPUs and how much memory each has, where that memory lies, how far
 * they are from each other, and the APIC ids that fit.
 *
 * Nodes take the guest's RAM in their order; one that meets the device hole below 4 GiB has two
 * ranges. Each node that has CPUs is a package of its own: its APIC ids share all but the lowest
 * package_bits bits. Where such ids would not fit into a byte, each CPU is a package. Pure
 * functions; no lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_LOAD_NODES_H
#define HV_LOAD_NODES_H

#include "load/acpi.h"
#include "load/guestmem.h"

#define NODES_NEAR 10u
#define NODES_FAR  20u
/* Sizes are multiples of it, but for the last one's: so no large page lies on a border. */
#define NODES_MEM_STEP UINT64_C(0x200000)

/* As asked for. All zeroes: one node with everything. */
struct nodes_spec {
	unsigned int count;
	struct {
		struct tf_cpuset cpus;
		uint64_t mem;
	} node[TF_MAX_NODES];
	uint8_t distance[TF_MAX_NODES][TF_MAX_NODES]; /* 0: not told */
};

struct nodes {
	unsigned int count; /* 1.. */
	unsigned int cpus;
	uint64_t mem;
	uint8_t of_cpu[TF_MAX_VCPUS];
	uint8_t apic_id[TF_MAX_VCPUS];
	unsigned int packages;
	unsigned int package_cpus; /* of the largest one */
	unsigned int ranges;
	struct acpi_range range[TF_MAX_NODES + 1];
	uint8_t distance[TF_MAX_NODES * TF_MAX_NODES]; /* count * count */
};

/* One more node: "CPUS:SIZE", CPUS as in "0-1,4" or nothing, SIZE with a suffix K, M or G. */
bool nodes_add(struct nodes_spec *s, const char *text, struct load_error *err);
/* A row of distances: "NODE:D,D,...", one for each node from 0 on. */
bool nodes_add_distances(struct nodes_spec *s, const char *text, struct load_error *err);

/* Put them in order. cpus, mem: of the guest if there is only one node; otherwise what was asked
 * for beside the nodes, to be the same: 0 if nothing was. False: contradictions. */
bool nodes_build(struct nodes *n, const struct nodes_spec *s, unsigned int cpus, uint64_t mem,
		 struct load_error *err);

/* A decimal number with an optional K, M or G; returns what follows it, NULL: it is none. */
const char *nodes_number(const char *text, bool suffix, uint64_t *out);

#endif
