/* The policies as pure functions: readings in, modes out.
 *
 * dsp: the eight published rules against an oracle that works them out in whole numbers, at every
 * threshold's edge. cost: when it changes, when it does not, and what it remembers.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "choice/policy.h"
#include "hw.h"

static const struct tf_policy *policy(const char *name)
{
	const struct tf_policy *p = tf_policy_find(name);

	assert_non_null(p);
	assert_string_equal(tf_policy_name(p), name);
	return p;
}

static void names(void **state)
{
	(void)state;
	unsigned int n = 0;
	for (const struct tf_policy *const *p = tf_policies; *p; p++, n++)
		assert_ptr_equal(tf_policy_find(tf_policy_name(*p)), *p);
	assert_true(n >= 3);
	assert_null(tf_policy_find(""));
	assert_null(tf_policy_find("cos"));
	assert_null(tf_policy_find("costs"));
}

/* ---- dsp ---- */

#define KHZ    1000u
#define PERIOD (5000 * KHZ)	     /* cycles of 5 s */
#define INSNS  UINT64_C(10000000000) /* so that a count is a frequency in units of 1e-7 */

static const struct tf_choice_config published = {
	.dsp = {.period_ms = 5000,
		.pf_upper = 5000,
		.pf_lower = 100,
		.tlb_upper = 100000000,
		.tlb_lower = 1000000,
		.ptt_upper = 200,
		.ptt_lower = 150},
	.clock_khz = KHZ,
};

struct period {
	uint64_t pf, tlb; /* units of 1e-7 for a thousand instructions */
};

/* -1, 0, 1: a page-fault frequency is below, at, above so many units of 1e-7 for a TLB miss. */
static int against(unsigned __int128 pf, unsigned __int128 tlb, uint64_t units)
{
	unsigned __int128 left = pf * 10000000, right = tlb * units;

	return left < right ? -1 : left > right;
}

/* The rules as they were published, and which of them it was. History: the mean of the last three
 * samples, so sums will do. */
static enum tf_mode oracle(const struct period *p, unsigned int n, enum tf_mode now,
			   unsigned int *rule)
{
	struct period c = p[n - 1], h = {0, 0};

	for (unsigned int i = n > 3 ? n - 3 : 0; i < n; i++) {
		h.pf += p[i].pf;
		h.tlb += p[i].tlb;
	}
	if (c.tlb > 100000000 && c.pf < 4000)
		return *rule = 1, TF_SHADOW;
	if (c.pf > 5000 && c.tlb < 80000000)
		return *rule = 2, TF_NESTED;
	if (c.tlb < 1000000 && c.pf < 100)
		return *rule = 3, now;
	if (!c.tlb || !h.tlb)
		return *rule = 4, TF_NESTED;
	if (against(h.pf, h.tlb, 200) > 0 && against(c.pf, c.tlb, 200) > 0)
		return *rule = 5, TF_NESTED;
	if (against(h.pf, h.tlb, 150) < 0 && against(c.pf, c.tlb, 150) < 0)
		return *rule = 6, TF_SHADOW;
	if (against(h.pf, h.tlb, 150) >= 0 && against(h.pf, h.tlb, 200) <= 0 &&
	    against(c.pf, c.tlb, 150) >= 0 && against(c.pf, c.tlb, 200) <= 0)
		return *rule = 7, now;
	return *rule = 8, now;
}

static enum tf_mode dsp_period(uint64_t *state, const struct period *p, enum tf_mode now,
			       unsigned int *rule)
{
	struct account a = {.conf = &published,
			    .mode = now,
			    .useful = PERIOD,
			    .misses = p->tlb,
			    .faults = p->pf,
			    .instructions = INSNS};
	struct ruling r;

	policy("dsp")->decide(state, &a, &r);
	assert_non_null(r.why);
	if (sscanf(r.why, "rule %u", rule) != 1)
		fail_msg("no rule decided: %s", r.why);
	return r.mode;
}

static void dsp_expect(const struct period *p, unsigned int n)
{
	for (enum tf_mode now = TF_NESTED; now <= TF_SHADOW; now++) {
		uint64_t state[POLICY_STATE] = {0};
		for (unsigned int i = 0; i < n; i++) {
			unsigned int rule, want_rule;
			enum tf_mode m = dsp_period(state, &p[i], now, &rule);
			enum tf_mode want = oracle(p, i + 1, now, &want_rule);
			if (m != want || rule != want_rule)
				fail_msg("in mode %d, period %u, PF %llu TLB %llu: mode %d by rule "
					 "%u, must be %d by rule %u",
					 now, i, (unsigned long long)p[i].pf,
					 (unsigned long long)p[i].tlb, m, rule, want, want_rule);
		}
	}
}

/* By hand: what each rule is for, and both sides of its thresholds. */
static void dsp_table(void **state)
{
	(void)state;
	static const struct {
		struct period p[3];
		unsigned int n, rule;
		int mode; /* -1: stays */
	} t[] = {
		{{{0, 100000001}}, 1, 1, TF_SHADOW},
		{{{3999, 100000001}}, 1, 1, TF_SHADOW},
		{{{4000, 100000001}}, 1, 5, TF_NESTED}, /* 400 faults for 1e7 misses */
		{{{3999, 100000000}}, 1, 5, TF_NESTED},
		{{{5001, 79999999}}, 1, 2, TF_NESTED},
		{{{5001, 80000000}}, 1, 5, TF_NESTED},
		{{{5000, 79999999}}, 1, 5, TF_NESTED},
		{{{5001, 0}}, 1, 2, TF_NESTED},
		{{{99, 999999}}, 1, 3, -1},
		{{{99, 0}}, 1, 3, -1},
		{{{0, 999999}}, 1, 3, -1},
		{{{99, 1000000}}, 1, 5, TF_NESTED},
		{{{0, 1000000}}, 1, 6, TF_SHADOW},
		{{{100, 999999}}, 1, 5, TF_NESTED},
		{{{100, 0}}, 1, 4, TF_NESTED},
		{{{2001, 100000000}}, 1, 5, TF_NESTED},
		{{{2000, 100000000}}, 1, 7, -1},
		{{{1500, 100000000}}, 1, 7, -1},
		{{{1499, 99999000}}, 1, 6, TF_SHADOW},
		/* The past was quiet, the present is not, and the other way round. */
		{{{100, 10000000}, {100, 10000000}, {300, 10000000}}, 3, 8, -1},
		{{{900, 10000000}, {900, 10000000}, {100, 10000000}}, 3, 8, -1},
		{{{100, 10000000}, {100, 10000000}, {180, 10000000}}, 3, 8, -1},
		{{{180, 10000000}, {180, 10000000}, {201, 10000000}}, 3, 8, -1},
	};

	for (unsigned int i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (enum tf_mode now = TF_NESTED; now <= TF_SHADOW; now++) {
			uint64_t s[POLICY_STATE] = {0};
			unsigned int rule = 0;
			enum tf_mode m = now;
			for (unsigned int k = 0; k < t[i].n; k++)
				m = dsp_period(s, &t[i].p[k], now, &rule);
			if (rule != t[i].rule || (int)m != (t[i].mode < 0 ? (int)now : t[i].mode))
				fail_msg("row %u in mode %d: mode %d by rule %u", i, now, m, rule);
		}
}

/* Every pair of edges, alone and after pasts of three kinds. */
static void dsp_edges(void **state)
{
	(void)state;
	static const uint64_t pf[] = {0,    1,	  99,	100,  101,  1499, 1500, 1501, 1999,
				      2000, 2001, 3999, 4000, 4001, 4999, 5000, 5001, 20000};
	static const uint64_t tlb[] = {0,	 1,	    999999,    1000000,	 1000001,
				       10000000, 50000000,  79999999,  80000000, 80000001,
				       99999999, 100000000, 100000001, 400000000};
	static const struct period past[] = {
		{0, 0}, {10, 10000000}, {175, 10000000}, {900, 10000000}};

	for (unsigned int i = 0; i < sizeof(pf) / sizeof(pf[0]); i++)
		for (unsigned int k = 0; k < sizeof(tlb) / sizeof(tlb[0]); k++)
			for (unsigned int h = 0; h < 4; h++) {
				struct period p[5] = {
					past[h], past[h], past[h], past[h], {pf[i], tlb[k]}};
				dsp_expect(p, 5);
			}
	/* And anywhere. */
	struct rng r = {4};
	for (unsigned int n = 0; n < 2000; n++) {
		struct period p[6];
		for (unsigned int k = 0; k < 6; k++) {
			p[k].tlb = rng_below(&r, BIT(rng_below(&r, 30)));
			p[k].pf = p[k].tlb * rng_below(&r, 400) / 10000000 + rng_below(&r, 2);
		}
		dsp_expect(p, 6);
	}
}

/* Nothing is decided within a period, then by all of it. */
static void dsp_waits(void **state)
{
	(void)state;
	uint64_t s[POLICY_STATE] = {0};
	struct account a = {.conf = &published,
			    .mode = TF_NESTED,
			    .useful = PERIOD / 10,
			    .instructions = INSNS / 10};
	struct ruling r;

	for (unsigned int turn = 0; turn < 3; turn++) {
		for (unsigned int k = 0; k < 9; k++) {
			/* All of a period's misses come in one reading. */
			a.misses = k == 4 ? 200000000 : 0;
			policy("dsp")->decide(s, &a, &r);
			assert_int_equal(r.mode, TF_NESTED);
		}
		a.misses = 0;
		policy("dsp")->decide(s, &a, &r);
		assert_int_equal(r.mode, TF_SHADOW);
	}
	/* No instructions at all: no figure, no division by zero. */
	memset(s, 0, sizeof(s));
	a = (struct account){.conf = &published, .mode = TF_SHADOW, .useful = PERIOD};
	policy("dsp")->decide(s, &a, &r);
	assert_int_equal(r.mode, TF_SHADOW);
}

/* ---- cost ---- */

#define USEFUL UINT64_C(1000000)

/* A unit that obeys: what each mode loses in one reading, as it is and as the other mode predicts
 * it. */
struct work {
	uint64_t state[POLICY_STATE];
	enum tf_mode mode;
	uint64_t price_shadow, price_nested;
	unsigned int switches, readings;
	uint64_t paid; /* losses and prices */
};

static bool feed_predicted(struct work *w, uint64_t nested, uint64_t shadow, uint64_t predicted)
{
	const struct tf_choice_config conf = {.clock_khz = KHZ};
	struct account a = {.conf = &conf,
			    .mode = w->mode,
			    .now = w->readings * USEFUL,
			    .useful = USEFUL,
			    .nested_loss = nested,
			    .shadow_loss = w->mode == TF_SHADOW ? shadow : predicted,
			    .price_shadow = w->price_shadow,
			    .price_nested = w->price_nested};
	struct ruling r;

	w->readings++;
	w->paid += w->mode == TF_SHADOW ? shadow : nested;
	policy("cost")->decide(w->state, &a, &r);
	assert_non_null(r.why);
	if (r.mode == w->mode)
		return false;
	w->paid += r.mode == TF_SHADOW ? w->price_shadow : w->price_nested;
	w->mode = r.mode;
	w->switches++;
	return true;
}

static bool feed(struct work *w, uint64_t nested, uint64_t shadow)
{
	return feed_predicted(w, nested, shadow, shadow);
}

static const struct work fresh = {.price_shadow = 80000, .price_nested = 20000};

/* It changes when staying has cost a round trip: not before, not later. */
static void cost_pays_first(void **state)
{
	(void)state;
	struct work w = fresh;
	for (unsigned int k = 1; k < 10; k++)
		assert_false(feed(&w, 11000, 1000));
	assert_true(feed(&w, 11000, 1000)); /* 10 times 10000 */
	for (unsigned int k = 1; k < 20; k++)
		assert_false(feed(&w, 1000, 6000));
	assert_true(feed(&w, 1000, 6000));
	/* By however much: the first reading that reaches the price. */
	for (uint64_t d = 1000; d < 300000; d = d * 3 + 7) {
		w = fresh;
		unsigned int n = 1;
		while (!feed(&w, 5000 + d, 5000))
			n++;
		assert_int_equal(n, (100000 + d - 1) / d);
	}
}

/* The tables that it leaves stay: what the way back costs by now is the price of leaving, not what
 * filling them cost; but never more than that. */
static void cost_leaves_by_present_price(void **state)
{
	(void)state;
	for (unsigned int dearer = 0; dearer < 2; dearer++) {
		struct work w = fresh;
		unsigned int n = 0;
		while (!feed(&w, 10000, 0))
			n++;
		for (unsigned int k = 0; k < 100; k++)
			assert_false(feed(&w, 10000, 0));
		w.price_shadow = dearer ? 900000 : 10000; /* and 20000 the way out */
		for (n = 1; !feed(&w, 0, 10000); n++)
			;
		assert_int_equal(n, dearer ? 10 : 3);
	}
}

static void cost_stays(void **state)
{
	(void)state;
	struct work w = fresh;
	for (unsigned int k = 0; k < 10000; k++) {
		assert_false(feed(&w, 0, 0));
		assert_false(feed(&w, 3000, 3000));
		assert_false(feed(&w, 3000, 9000));
	}
	/* The better mode so far has no credit: what was long ago does not delay a change. */
	for (unsigned int k = 1; k < 10; k++)
		assert_false(feed(&w, 10000, 0));
	assert_true(feed(&w, 10000, 0));
	for (unsigned int k = 0; k < 10000; k++)
		assert_false(feed(&w, 9000, 3000));
}

/* Bursts that are shorter than a round trip is dear change nothing, however long they go on. */
static void cost_does_not_flap(void **state)
{
	(void)state;
	for (unsigned int burst = 1; burst < 10; burst++) {
		struct work w = fresh;
		for (unsigned int k = 0; k < 1000; k++)
			for (unsigned int i = 0; i < 2 * burst; i++)
				feed(&w, i < burst ? 10000 : 0, i < burst ? 0 : 10000);
		assert_int_equal(w.switches, 0);
	}
	/* Noise around a draw: what a random walk does, and no more. */
	struct rng r = {11};
	struct work w = fresh;
	for (unsigned int k = 0; k < 20000; k++)
		feed(&w, rng_below(&r, 2000), rng_below(&r, 2000));
	assert_true(w.switches < 40);
}

/* The predictions lie: each stay on shadow tables costs more than it gains. The n-th mistake is
 * twice as dear as the one before, so there are few. */
static void cost_remembers(void **state)
{
	(void)state;
	struct work w = fresh;
	unsigned int at[16], n = 0;
	for (unsigned int k = 0; k < 200000 && n < 16; k++)
		if (feed_predicted(&w, 5000, 20000, 0) && w.mode == TF_SHADOW)
			at[n++] = k;
	assert_true(n >= 3 && n <= 14);
	for (unsigned int i = 2; i < n; i++)
		assert_true(at[i] - at[i - 1] > (at[i - 1] - at[i - 2]) * 3 / 2);
	/* The work changes and shadow tables do pay: the doubt goes as it came. */
	struct work doubtful = fresh;
	for (unsigned int k = 0; k < 600; k++)
		feed_predicted(&doubtful, 5000, 20000, 0);
	unsigned int first = 0, last = 0;
	for (unsigned int turn = 0; turn < 20; turn++) {
		unsigned int waited = 0;
		while (doubtful.mode == TF_NESTED && waited < 100000)
			feed(&doubtful, 10000, 0), waited++;
		for (unsigned int k = 0; k < 100; k++)
			feed(&doubtful, 10000, 0);
		while (doubtful.mode == TF_SHADOW)
			feed(&doubtful, 0, 10000);
		if (!turn)
			first = waited;
		last = waited;
	}
	assert_true(first >= 20);
	assert_int_equal(last, 10);
}

/* What the best choice in hindsight pays: dynamic programming over the two states. */
static uint64_t hindsight(const uint64_t (*loss)[2], unsigned int n, const struct work *w)
{
	uint64_t in[2] = {0, UINT64_MAX / 2};

	for (unsigned int k = 0; k < n; k++) {
		uint64_t a = in[0] + loss[k][0], b = in[1] + loss[k][1];
		in[0] = a < b + w->price_nested ? a : b + w->price_nested;
		in[1] = b < a + w->price_shadow ? b : a + w->price_shadow;
	}
	return in[0] < in[1] ? in[0] : in[1];
}

/* Phases of any length, true predictions: near the best choice in hindsight. The bound for two
 * states is 3 and one round trip; doubts may cost more where a stay was cut short, not on the
 * whole.
 */
static void cost_competes(void **state)
{
	(void)state;
	enum { N = 4000 };
	static uint64_t loss[N][2];
	uint64_t paid = 0, least = 0;
	struct rng r = {99};
	for (unsigned int round = 0; round < 200; round++) {
		struct work w = fresh;
		unsigned int mean = 1 + (unsigned int)rng_below(&r, 400);
		bool shadow = false;
		for (unsigned int k = 0; k < N; k++) {
			if (rng_one_in(&r, mean))
				shadow = !shadow;
			uint64_t d = 2000 + rng_below(&r, 8000);
			loss[k][0] = shadow ? d : 0;
			loss[k][1] = shadow ? 0 : d;
			feed(&w, loss[k][0], loss[k][1]);
		}
		uint64_t best = hindsight((const uint64_t(*)[2])loss, N, &w);
		if (w.paid > 6 * best + 200000)
			fail_msg("phases of %u readings: paid %llu, in hindsight %llu, %u switches",
				 mean, (unsigned long long)w.paid, (unsigned long long)best,
				 w.switches);
		paid += w.paid;
		least += best;
	}
	assert_true(paid < 3 * least);
}

/* Prices of nothing: no change for no reason. */
static void cost_free_switches(void **state)
{
	(void)state;
	struct work w = {.price_shadow = 0};
	for (unsigned int k = 0; k < 100; k++)
		assert_false(feed(&w, 0, 0));
	assert_true(feed(&w, 1, 0));
	assert_true(feed(&w, 0, 1));
}

/* ---- random ---- */

/* Each unit by itself, both modes, and for a while. */
static void random_varies(void **state)
{
	(void)state;
	const struct tf_choice_config conf = {.clock_khz = KHZ, .seed = 5};
	unsigned int in_shadow = 0, changes = 0, differ = 0;
	enum tf_mode was = TF_NESTED;
	for (unsigned int k = 0; k < 4000; k++) {
		struct account a = {.conf = &conf, .key = 7, .now = k * KHZ};
		uint64_t st[POLICY_STATE] = {0};
		struct ruling r, other;
		policy("random")->decide(st, &a, &r);
		a.key = 8;
		policy("random")->decide(st, &a, &other);
		in_shadow += r.mode == TF_SHADOW;
		changes += k && r.mode != was;
		differ += r.mode != other.mode;
		was = r.mode;
	}
	assert_in_range(in_shadow, 1000, 3000);
	assert_in_range(changes, 20, 1000);
	assert_in_range(differ, 1000, 3000);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(dsp_table),
		cmocka_unit_test(dsp_edges),
		cmocka_unit_test(dsp_waits),
		cmocka_unit_test(cost_pays_first),
		cmocka_unit_test(cost_leaves_by_present_price),
		cmocka_unit_test(cost_stays),
		cmocka_unit_test(cost_does_not_flap),
		cmocka_unit_test(cost_remembers),
		cmocka_unit_test(cost_competes),
		cmocka_unit_test(cost_free_switches),
		cmocka_unit_test(random_varies),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("policies", tests, NULL, NULL);
}
