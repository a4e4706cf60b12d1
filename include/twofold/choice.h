/* Choosing the mode while the guest runs: readings of the meter in, modes out.
 *
 * The host tells what it alone can see: how a vCPU spent its time, which events exited. The engine
 * finds out how fast the guest walks over pages (accessed bits of a sample), keeps the account of
 * what is chosen for (the VM, or each guest address space), asks the policy, and answers whether
 * vCPUs are to be watched: whether some work is to run on shadow tables.
 *
 *	tf_choice_start(vm, &conf);
 *	each vCPU, on its own CPU, about every TF_CHOICE_PERIOD of time awake:
 *		tf_sample_begin(v, &regs);    right before an entry
 *		tf_sample_end(v, ...);        after the next exit that nested mode would also have
 *had tf_choice_note(v, &regs, &reading, &verdict); verdict.mode changed -> have every vCPU call
 *tf_vcpu_set_mode(v, verdict.mode)
 *
 * With grain `vm` the verdict's mode is what everybody runs on. With grain `space` TF_SHADOW means
 * that some address spaces run on shadow tables. Each vCPU then is in shadow mode while it runs one
 * of those, and in nested mode, unwatched, else:
 *
 *	tf_vcpu_load() gave a nested root, though the mode is TF_SHADOW:
 *		tf_vcpu_set_mode(v, TF_NESTED), and stop to watch the guest's registers
 *	before a load in nested mode, if tf_space_is_shadow(v, the guest's CR3), and after TF_GATE:
 *		tf_vcpu_set_regs(v, ...), tf_vcpu_set_mode(v, TF_SHADOW)
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef TWOFOLD_CHOICE_H
#define TWOFOLD_CHOICE_H

#include <twofold/twofold.h>

enum tf_grain {
	TF_GRAIN_VM,	/* one mode for all */
	TF_GRAIN_SPACE, /* a mode for each guest address space: CR3 without its low bits */
};

/* What things cost on this machine, in cycles of the host's clock: measured by the host. */
struct tf_costs {
	uint64_t exit;	      /* one exit and the next entry, the handler not counted */
	uint64_t miss_nested; /* one TLB miss in nested mode */
	uint64_t miss_shadow; /* ... and in shadow mode */
	/* What the guest's own events cost more in shadow than in nested mode, exits and handlers
	 * and fills included: */
	uint64_t fault;	 /* a page fault of the guest, with the entry it writes then */
	uint64_t cr3;	 /* a write of CR3 */
	uint64_t invlpg; /* an INVLPG or INVPCID */
	uint64_t fill;	 /* mapping one page of a space that starts with no shadows */
	/* Instructions in a thousand cycles of plain arithmetic: for where nothing counts them. */
	uint64_t ipkc;
};

/* What one vCPU did since its last reading. Counts with their own length of time are rates taken
 * over that part of the reading only. */
struct tf_reading {
	uint64_t cycles; /* awake: in the guest and in exits */
	uint64_t exits;
	uint64_t exit_cycles; /* from exit to entry; costs.exit for each comes on top */
	/* Of these, what nested mode would not have had: #PF, CR3, CR4, INVLPG, INVPCID in shadow
	 * mode. */
	uint64_t shadow_exits, shadow_cycles;
	/* Of these, #PFs that were not the guest's: they filled shadow tables. */
	uint64_t fills, fill_cycles;
	uint64_t event_cycles; /* how long the three below were counted */
	uint64_t faults, cr3_writes, invlpgs;
	/* By hardware, or all 0: */
	uint64_t counted_cycles, tlb_misses, instructions;
	uint64_t meter_cycles; /* spent on metering */
};

/* The published rules' thresholds (VEE 2011), in units of 1e-7: faults and TLB misses for a
 * thousand instructions, faults for a TLB miss. */
struct tf_dsp {
	uint64_t period_ms;	       /* 5000 */
	uint64_t pf_upper, pf_lower;   /* 5000, 100 */
	uint64_t tlb_upper, tlb_lower; /* 100000000, 1000000: 10 and 0.1 */
	uint64_t ptt_upper, ptt_lower; /* 200, 150 */
};

struct tf_choice_config {
	const struct tf_policy *policy;
	enum tf_grain grain;
	struct tf_costs costs;
	struct tf_dsp dsp;
	uint64_t clock_khz; /* of the host's cycles() */
	uint64_t seed;	    /* for sampling */
};

/* The policies there are, ended by NULL; and one by its name, or NULL. */
extern const struct tf_policy *const tf_policies[];
const struct tf_policy *tf_policy_find(const char *name);
const char *tf_policy_name(const struct tf_policy *p);

/* What was decided, with the figures behind it: shares are parts in a million of the time that the
 * work would take without either cost. */
struct tf_verdict {
	enum tf_mode mode; /* for tf_vcpu_set_mode() of every vCPU */
	bool switched;	   /* this reading made a choice change */
	bool is_space;
	uint64_t space; /* CR3, if is_space */
	enum tf_mode from, to;
	const char *why; /* a constant text; never NULL */
	/* Always there, of what was chosen for: */
	enum tf_mode unit_mode;
	uint64_t misses_per_s, faults_per_s, cr3_per_s, exits_per_s;
	uint64_t nested_ppm;	/* loses to longer TLB misses on nested tables */
	uint64_t shadow_ppm;	/* loses to exits on shadow tables */
	uint64_t regret, price; /* cycles lost by staying; cycles at which it changes */
	uint64_t resident;	/* pages that the space has mapped, estimated */
};

/* Begin to choose. The VM's vCPUs are in nested mode. TF_E_NOMEM: nothing changed. */
enum tf_status tf_choice_start(struct tf_vm *vm, const struct tf_choice_config *c) TF_MUST_CHECK;
/* A reading of one vCPU; its own CPU, no engine lock held. `r`: the guest's registers now; the
 * reading is put down to the address space that they name. Where that gets another mode, this vCPU
 * goes over at its next load but one: the exit that was long enough for the reading is then over.
 */
void tf_choice_note(struct tf_vcpu *v, const struct tf_regs *r, const struct tf_reading *reading,
		    struct tf_verdict *out);
/* For how long the vCPU did not run because it changed over: prices are learned from it. */
void tf_choice_switched(struct tf_vcpu *v, uint64_t cycles);

/* Sampling of accessed bits for the vCPU's address space; its own CPU. Begin clears those of a few
 * random pages (the vCPU's translations are flushed at its next load). End reads them: `cycles` is
 * the time that the guest ran in between. False from begin: nothing to sample (no paging, no pages
 * of its own, no memory). */
bool tf_sample_begin(struct tf_vcpu *v, const struct tf_regs *r);
void tf_sample_end(struct tf_vcpu *v, uint64_t cycles);

/* Does the address space run on shadow tables? Cheap while nothing changes; the vCPU's own CPU. */
bool tf_space_is_shadow(struct tf_vcpu *v, uint64_t cr3);
/* Force the mode of one guest address space (tests, embedders with a policy of their own); needs
 * tf_choice_start() with TF_GRAIN_SPACE. */
void tf_space_set_mode(struct tf_vm *vm, uint64_t cr3, enum tf_mode m);

#endif
