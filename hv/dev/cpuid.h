/* What CPUID tells the guest: the machine's own answers, through a list of what may be seen.
 *
 * Only features that work in the guest get through (allow lists, no deny lists), topology is that
 * of single-threaded cores, in one package or in several (then a package for each guest node that
 * has CPUs, so that no cache is shared between nodes), and hypervisor leaves are ours, with a
 * KVM-compatible block at 0x40000100. Pure functions; no lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_CPUID_H
#define HV_DEV_CPUID_H

#include <stdbool.h>
#include <stdint.h>

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

struct cpuid_policy {
	/* The machine's own CPUID instruction. */
	void (*host)(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *out);
	/* Of one package (the largest one); its APIC ids differ in the lowest bits only, as many as
	 * that needs. */
	unsigned int cpus;
	bool packages;	    /* there are several */
	bool tsc_invariant; /* constant rate, never stops, the same on all CPUs: tell the guest so
			     */
	bool tsc_adjust;    /* MSR 0x3b and the TSC are virtualized (struct msr_vcpu.tsc_offset is
			       loaded) */
	bool tsc_deadline;  /* show the TSC-deadline timer */
	uint32_t tsc_khz; /* with tsc_invariant: tell the rate by KVM's clock; 0: the guest measures
			   */
	bool kvm_pv_eoi;  /* lapic_ops have mem_read and mem_write */
	bool kvm_pv_ipi;  /* VMMCALL 10 calls lapic_kvm_ipi() */
	bool no_pcid, no_pku, no_la57; /* hide although the CPU has it */
	bool no_gbpages;
};

/* The vCPU's state that shows in CPUID. */
struct cpuid_vcpu {
	unsigned int apic_id;
	bool apic_enabled;
	uint64_t cr4, xcr0;
};

/* Are the KVM clock's MSRs there? */
static inline bool cpuid_has_kvm_clock(const struct cpuid_policy *p)
{
	return p->tsc_invariant && p->tsc_khz != 0;
}

/* Is the machine's CPU Intel's? (The guest sees whose it is.) */
bool cpuid_is_intel(const struct cpuid_policy *p);

void cpuid_guest(const struct cpuid_policy *p, const struct cpuid_vcpu *v, uint32_t leaf,
		 uint32_t subleaf, struct cpuid_regs *out);

/* CR4 bits and XCR0 bits that the guest may set, derived from what CPUID shows. */
uint64_t cpuid_cr4_allowed(const struct cpuid_policy *p);
uint64_t cpuid_xcr0_allowed(const struct cpuid_policy *p);
/* EFER bits that the guest may set (LMA is not writable: compare it apart). */
uint64_t cpuid_efer_allowed(const struct cpuid_policy *p);
/* Is this XCR0 value legal (SDM vol. 1, 13.3)? false: XSETBV raises #GP. */
bool cpuid_xcr0_valid(const struct cpuid_policy *p, uint64_t xcr0);
unsigned int cpuid_maxphyaddr(const struct cpuid_policy *p);

#endif
