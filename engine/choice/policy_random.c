/* The policy `random`, for tests: each unit is in a mode by chance, and in another chance's after
 * some milliseconds, whatever it does.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice/policy.h"

#define STAY_MS 20u

/* splitmix64's finalizer. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void decide(uint64_t *state, const struct account *a, struct ruling *out)
{
	uint64_t turn = a->now / (a->conf->clock_khz * STAY_MS + 1);

	(void)state;
	*out = (struct ruling){.mode = mix(mix(a->conf->seed + a->key) + turn) & 1 ? TF_SHADOW
										   : TF_NESTED,
			       .why = "by chance"};
}

const struct tf_policy policy_random = {"random", decide};
