/* Core performance counters: AMD64 Architecture Programmer's Manual vol. 2, 13.2, and the Processor
 * Programming References of families 17h and 19h, 2.1.15, for the events.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/pmc.h"

#include "cpu/x86.h"

#define FEATURE_PERF_CTR_CORE (1u << 23)

/* The extended counters: six pairs of control and count. */
#define MSR_PERF_CTL(n) (0xc0010200u + 2 * (n))
#define MSR_PERF_CTR(n) (0xc0010201u + 2 * (n))

#define CTL_USER       (1ull << 16)
#define CTL_OS	       (1ull << 17)
#define CTL_ENABLE     (1ull << 22)
#define CTL_GUEST_ONLY (1ull << 40)

#define CTR_MASK ((1ull << 48) - 1)

#define EVENT(select, unit) ((select) | (uint64_t)(unit) << 8)

/* Event selects below 100h and their unit masks. The misses are those that a walk of tables
 * follows: of the second-level TLB, for pages of all sizes. */
static const uint64_t event[PMC_EVENTS] = {
	[PMC_INSTRUCTIONS] = EVENT(0xc0, 0),
	[PMC_DTLB_WALKS] = EVENT(0x45, 0xf0),
	[PMC_ITLB_WALKS] = EVENT(0x85, 0xff),
};

void pmc_cpu_read(struct pmc_cpu *cpu)
{
	struct x86_cpuid f0 = x86_cpuid(0, 0), f1 = x86_cpuid(1, 0);

	*cpu = (struct pmc_cpu){.family = (f1.eax >> 8 & 15) + (f1.eax >> 20 & 255)};
	/* "AuthenticAMD", "HygonGenuine": the first four letters tell. */
	cpu->amd = f0.ebx == 0x68747541 || f0.ebx == 0x6f677948;
	if (x86_cpuid(0x80000000, 0).eax >= 0x80000001)
		cpu->features = x86_cpuid(0x80000001, 0).ecx;
}

static void stop(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		(void)x86_wrmsr_safe(MSR_PERF_CTL(i), 0);
}

bool pmc_start(struct pmc *p, const struct pmc_cpu *cpu)
{
	const uint64_t how = CTL_USER | CTL_OS | CTL_ENABLE | CTL_GUEST_ONLY;

	if (!cpu->amd || cpu->family < 0x17 || !(cpu->features & FEATURE_PERF_CTR_CORE))
		return false;
	for (unsigned int i = 0; i < PMC_EVENTS; i++) {
		uint64_t back;

		/* (Some hypervisors take any write and keep none, or not the bit that counts.) */
		if (x86_wrmsr_safe(MSR_PERF_CTL(i), 0) || x86_wrmsr_safe(MSR_PERF_CTR(i), 0) ||
		    x86_wrmsr_safe(MSR_PERF_CTL(i), how | event[i]) ||
		    x86_rdmsr_safe(MSR_PERF_CTL(i), &back) || back != (how | event[i])) {
			stop(i + 1);
			return false;
		}
		p->last[i] = 0;
	}
	return true;
}

bool pmc_read(struct pmc *p, uint64_t *instructions, uint64_t *tlb_misses)
{
	uint64_t n[PMC_EVENTS];

	for (unsigned int i = 0; i < PMC_EVENTS; i++) {
		uint64_t now;

		if (x86_rdmsr_safe(MSR_PERF_CTR(i), &now))
			return false;
		n[i] = (now - p->last[i]) & CTR_MASK;
		p->last[i] = now;
	}
	*instructions = n[PMC_INSTRUCTIONS];
	*tlb_misses = n[PMC_DTLB_WALKS] + n[PMC_ITLB_WALKS];
	return *instructions != 0;
}
