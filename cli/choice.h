/* How the mode is to be chosen, as `twofold run` is asked for it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_CHOICE_H
#define CLI_CHOICE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Two thresholds, in units of 1e-7. */
struct limits {
	bool given;
	uint64_t upper, lower;
};

struct choice {
	const char *asked;  /* the whole argument of --policy; NULL: not given */
	const char *policy; /* its name */
	const char *grain;  /* "vm" or "space"; NULL: not given */
	bool seeded;
	uint64_t seed;
	/* Settings of the policy dsp; 0 and not given: the published ones. */
	unsigned int period_ms;
	struct limits pf, tlb, ptt;
};

/* The argument of --policy, --grain, --seed. 0, or the status to exit with (one line was said). */
int choice_set_policy(struct choice *c, const char *arg);
int choice_set_grain(struct choice *c, const char *arg);
int choice_set_seed(struct choice *c, const char *arg);

/* The option that only makes sense where the mode is chosen, and was given; NULL: none. */
const char *choice_option(const struct choice *c);

/* The hypervisor's words for what was given, a blank before each. */
void choice_put_words(FILE *f, const struct choice *c);

#endif
