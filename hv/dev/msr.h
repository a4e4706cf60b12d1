/* The guest's MSRs: which go straight to the CPU, which are ours, and that all else is #GP.
 *
 * Left to the caller, who keeps it with the control registers: EFER. The local APIC's MSRs are
 * handed to dev/lapic.h here, so an MSR exit needs but one call.
 *
 * Locks: none. struct msr_vcpu belongs to its vCPU's CPU; struct msr_shared is written with single
 * 64-bit stores (a guest that sets MTRRs writes the same values on all its CPUs).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_MSR_H
#define HV_DEV_MSR_H

#include "dev/cpuid.h"
#include "dev/lapic.h"

#define MSR_PAT_RESET UINT64_C(0x0007040600070406)

enum {
	MSR_MTRR_VARIABLE = 8,
	MSR_MTRR_FIXED = 11,
};

/* One for the VM. */
struct msr_shared {
	uint64_t mtrr_default;
	uint64_t mtrr_variable[2 * MSR_MTRR_VARIABLE];
	uint64_t mtrr_fixed[MSR_MTRR_FIXED];
	uint64_t syscfg, nb_cfg;
	uint64_t epoch; /* seconds from 1970 to the guest's start, for KVM's wall clock; 0: unknown
			 */
	/* Statistics; relaxed atomics. */
	uint64_t unknown_reads, unknown_writes;
	uint32_t last_unknown;
};

/* One for each vCPU. */
struct msr_vcpu {
	uint64_t pat;
	uint64_t tsc_adjust;
	uint64_t tsc_offset; /* guest TSC = host TSC + this: the caller has it loaded */
	uint64_t hwcr;
	uint64_t debugctl;
	uint64_t misc_enable;
	uint64_t kvm_clock; /* MSR value: GPA | 1; 0: off */
};

void msr_create_shared(struct msr_shared *s);
/* Power-on state. tsc_offset: the same for all vCPUs, e.g. minus the host TSC at guest start. */
void msr_create(struct msr_vcpu *m, uint64_t tsc_offset);

enum msr_result {
	MSR_OK,
	MSR_GP,	 /* inject #GP(0) */
	MSR_TSC, /* done; tsc_offset has changed: reload it (and the real timer's deadline) */
	MSR_PAT, /* done; pat has changed */
};

enum msr_result msr_read(struct msr_shared *s, struct msr_vcpu *m, struct lapic *l,
			 const struct cpuid_policy *p, uint32_t msr, uint64_t *value);
enum msr_result msr_write(struct msr_shared *s, struct msr_vcpu *m, struct lapic *l,
			  const struct cpuid_policy *p, uint32_t msr, uint64_t value);

/* MSRs that the guest may read and write without an exit, because VMLOAD/VMSAVE switch them or
 * because the hypervisor does not use them (TSC_AUX). Ends with 0. */
extern const uint32_t msr_pass_through[];
/* Clear the bits of those in an MSR permission map (AMD APM vol. 2, 15.11: 8 KiB, two bits each,
 * set = intercept). */
void msr_fill_bitmap(uint8_t *msrpm);

#endif
