/* A policy: from the account of what each mode loses to the mode to be in.
 *
 * One file for each, and a line in policy.c. A policy is called with every reading of a unit (the
 * VM, or one guest address space) and keeps what it wants to remember in the unit's `state`, zeroed
 * when the unit is new. It runs under the choice's lock and may not block.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CHOICE_POLICY_H
#define CHOICE_POLICY_H

#include <twofold/choice.h>

#define POLICY_STATE 20u /* words of 64 bits */

/* n * by / of, about: never overflows, 0 for of 0. */
static inline uint64_t scale(uint64_t n, uint64_t by, uint64_t of)
{
	while (by && n > UINT64_MAX / by) {
		n >>= 1;
		of >>= 1;
	}
	return of ? n * by / of : 0;
}

/* One reading of one unit, the same whatever mode it was taken in. */
struct account {
	const struct tf_choice_config *conf;
	uint64_t key;	   /* of the unit */
	enum tf_mode mode; /* that the unit is in */
	uint64_t now;	   /* host's cycles */
	uint64_t
		useful; /* cycles that the work itself took: without those of shadow mode's exits */
	uint64_t misses, faults, instructions;
	/* Cycles that each mode loses to what the other would not have to pay: longer TLB misses,
	 * and exits. Of the mode that it is not in: as predicted. */
	uint64_t nested_loss, shadow_loss;
	uint64_t filling; /* besides, in shadow mode: spent on what the price of the change paid for
			   */
	/* Cycles that going over to shadow tables takes, and back: stopping, and filling what is
	 * missing. */
	uint64_t price_shadow, price_nested;
	uint64_t *shared; /* POLICY_STATE words of all units together, zeroed at first; or NULL */
};

/* What a policy answers besides the mode. */
struct ruling {
	enum tf_mode mode;
	const char *why; /* a constant text */
	uint64_t regret, price;
};

struct tf_policy {
	const char *name;
	void (*decide)(uint64_t *state, const struct account *a, struct ruling *out);
};

extern const struct tf_policy policy_cost, policy_dsp, policy_random;

#endif
