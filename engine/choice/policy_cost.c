/* The policy `cost`: change when staying has cost as much as changing would.
 *
 * Two states, each with a running cost, and a price for going from one to the other and back: a
 * metrical task system. For two states the work-function rule is to sum what the present state
 * loses against the other (the regret, never below zero) and to change when the sum reaches the
 * price of the round trip; whatever the work does, that loses at most three times what the best
 * choice in hindsight would (Borodin, Linial, Saks, JACM 1992). So there is no threshold, period or
 * average to tune: noise in single readings cancels in the sum.
 *
 * The losses are partly predictions. A stay on shadow tables that ended at a loss, filling them
 * included, was predicted wrongly: the unit's price doubles. One that ended with a gain halves it
 * again, down to what it really is.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice/policy.h"

#define DOUBTS_MAX 12u /* doublings: then a mistake comes once in many minutes */

struct cost {
	uint64_t regret;
	int64_t gain;	 /* of the present stay on shadow tables, its filling paid */
	uint64_t paid;	 /* price of that stay's round trip */
	uint64_t doubts; /* the price is doubled so many times */
	uint64_t known;	 /* not its first reading */
};

/* Of all units: a new one is doubted as much as those before it deserved. */
struct cost_shared {
	uint64_t doubts;
};

_Static_assert(sizeof(struct cost) <= POLICY_STATE * sizeof(uint64_t), "fits a unit's state");

static void learn(uint64_t *doubts, bool gained)
{
	if (!gained && *doubts < DOUBTS_MAX)
		++*doubts;
	else if (gained && *doubts)
		--*doubts;
}

static void remember(struct cost *c, struct cost_shared *all)
{
	learn(&c->doubts, c->gain >= 0);
	if (all)
		learn(&all->doubts, c->gain >= 0);
	c->gain = 0;
}

static void decide(uint64_t *state, const struct account *a, struct ruling *out)
{
	struct cost *c = (struct cost *)state;
	struct cost_shared *all = (struct cost_shared *)a->shared;
	const bool shadow = a->mode == TF_SHADOW;
	const uint64_t loss = shadow ? a->shadow_loss : a->nested_loss;
	const uint64_t other = shadow ? a->nested_loss : a->shadow_loss;
	uint64_t price = a->price_shadow + a->price_nested;

	if (!c->known && all)
		c->doubts = all->doubts;
	c->known = true;
	/* Doubts are about going to shadow tables; leaving them must stay as easy as it is: the
	 * tables that are there by now stay, and to come back to them costs what it costs now. */
	if (shadow) {
		price = price < c->paid ? price : c->paid;
		c->gain += (int64_t)(other - loss - a->filling);
	} else {
		c->paid = price;
		price <<= c->doubts;
	}
	c->regret = c->regret + loss > other ? c->regret + loss - other : 0;
	*out = (struct ruling){a->mode, "staying costs less", c->regret, price};
	if (c->regret < price || c->regret == 0)
		return;
	if (shadow)
		remember(c, all);
	c->regret = 0;
	out->mode = shadow ? TF_NESTED : TF_SHADOW;
	out->why = shadow ? "exits have cost more than TLB misses would"
			  : "TLB misses have cost more than exits would";
}

const struct tf_policy policy_cost = {"cost", decide};
