/* The CPU's own counters of what a guest does: instructions and TLB misses (AMD, family 17h on).
 *
 * They count while a guest runs, and then alone. Lock: none, each CPU has its own.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CPU_PMC_H
#define HV_CPU_PMC_H

#include <stdbool.h>
#include <stdint.h>

enum pmc_event { PMC_INSTRUCTIONS, PMC_DTLB_WALKS, PMC_ITLB_WALKS, PMC_EVENTS };

/* What CPUID says of the CPU. */
struct pmc_cpu {
	bool amd;	     /* AMD, or Hygon */
	unsigned int family; /* the extended one added */
	uint32_t features;   /* Fn8000_0001 ECX */
};

struct pmc {
	uint64_t last[PMC_EVENTS];
};

/* This CPU, by CPUID. */
void pmc_cpu_read(struct pmc_cpu *cpu);
/* Have this CPU's counters count. False: it has none, or will not, and nothing was changed that
 * matters. */
bool pmc_start(struct pmc *p, const struct pmc_cpu *cpu);
/* What they counted since the last call. False: they do not count after all (a machine that is a
 * guest itself may have counters that stand still). */
bool pmc_read(struct pmc *p, uint64_t *instructions, uint64_t *tlb_misses);

#endif
