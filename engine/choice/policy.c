/* The policies there are.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice/policy.h"

const struct tf_policy *const tf_policies[] = {&policy_cost, &policy_dsp, &policy_random, NULL};

static bool is_same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const struct tf_policy *tf_policy_find(const char *name)
{
	for (const struct tf_policy *const *p = tf_policies; *p; p++)
		if (is_same((*p)->name, name))
			return *p;
	return NULL;
}

const char *tf_policy_name(const struct tf_policy *p)
{
	return p->name;
}
