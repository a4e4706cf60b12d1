/* The policy `dsp`: the eight rules of Wang et al., "Selective Hardware/Software Memory
 * Virtualization", VEE 2011, with their thresholds (struct tf_dsp), for comparison.
 *
 * Each period TLB misses and guest page faults are taken for a thousand instructions, and the
 * page faults for each TLB miss (P-to-T), now and over the last three periods; the first rule that
 * fits decides. The published prototype had them from the CPU's counters; where the host has none,
 * instructions are time spent in the guest at the calibrated rate.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice/policy.h"

#define HISTORY 3u
#define UNIT	UINT64_C(10000000) /* of struct tf_dsp: 1e-7 */

struct dsp {
	uint64_t cycles, instructions, misses, faults; /* of the period so far */
	uint64_t pf[HISTORY], tlb[HISTORY];	       /* frequencies of the last ones */
	uint64_t periods;
};

_Static_assert(sizeof(struct dsp) <= POLICY_STATE * sizeof(uint64_t), "fits a unit's state");

/* Page faults for each TLB miss against a threshold, of two frequencies with one denominator: -1
 * below, 0 at, 1 above it. */
static int ptt(uint64_t pf, uint64_t tlb, uint64_t threshold)
{
	const uint64_t left = pf * UNIT, right = tlb * threshold;
	return left < right ? -1 : left > right;
}

/* `past`: sums over the periods remembered, for a mean's denominator goes out of the quotient. */
static enum tf_mode rule(const struct tf_dsp *t, uint64_t pf, uint64_t tlb, uint64_t pf_past,
			 uint64_t tlb_past, enum tf_mode now, const char **why)
{
	const int upper = ptt(pf, tlb, t->ptt_upper), lower = ptt(pf, tlb, t->ptt_lower);
	const int upper_past = ptt(pf_past, tlb_past, t->ptt_upper);
	const int lower_past = ptt(pf_past, tlb_past, t->ptt_lower);

	if (tlb > t->tlb_upper && pf * 10 < t->pf_upper * 8) {
		*why = "rule 1: many TLB misses, few page faults";
		return TF_SHADOW;
	}
	if (pf > t->pf_upper && tlb * 10 < t->tlb_upper * 8) {
		*why = "rule 2: many page faults, few TLB misses";
		return TF_NESTED;
	}
	if (tlb < t->tlb_lower && pf < t->pf_lower) {
		*why = "rule 3: few of both";
		return now;
	}
	if (!tlb || !tlb_past) {
		*why = "rule 4: no TLB misses";
		return TF_NESTED;
	}
	if (upper_past > 0 && upper > 0) {
		*why = "rule 5: many page faults for each TLB miss";
		return TF_NESTED;
	}
	if (lower_past < 0 && lower < 0) {
		*why = "rule 6: few page faults for each TLB miss";
		return TF_SHADOW;
	}
	if (lower_past >= 0 && upper_past <= 0 && lower >= 0 && upper <= 0) {
		*why = "rule 7: page faults for each TLB miss in between";
		return now;
	}
	*why = "rule 8: past and present disagree";
	return now;
}

static void decide(uint64_t *state, const struct account *a, struct ruling *out)
{
	struct dsp *d = (struct dsp *)state;
	const struct tf_dsp *t = &a->conf->dsp;
	uint64_t pf, tlb, pf_past = 0, tlb_past = 0, n;

	*out = (struct ruling){.mode = a->mode, .why = "the period is not over"};
	d->cycles += a->useful;
	d->instructions += a->instructions;
	d->misses += a->misses;
	d->faults += a->faults;
	if (d->cycles < t->period_ms * a->conf->clock_khz)
		return;
	pf = scale(d->faults, 1000 * UNIT, d->instructions);
	tlb = scale(d->misses, 1000 * UNIT, d->instructions);
	d->pf[d->periods % HISTORY] = pf;
	d->tlb[d->periods % HISTORY] = tlb;
	d->periods++;
	n = d->periods < HISTORY ? d->periods : HISTORY;
	for (unsigned int i = 0; i < n; i++) {
		pf_past += d->pf[i];
		tlb_past += d->tlb[i];
	}
	out->mode = rule(t, pf, tlb, pf_past, tlb_past, a->mode, &out->why);
	d->cycles = d->instructions = d->misses = d->faults = 0;
}

const struct tf_policy policy_dsp = {"dsp", decide};
