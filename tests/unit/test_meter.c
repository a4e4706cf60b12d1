/* The meter's arithmetic: its budget, what a window tells of events however they come, and the
 * CPU's counters on machines that have them, have them not, or pretend to.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* sources: hv/virt/pace.c hv/cpu/pmc.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/pmc.h"
#include "virt/pace.h"

/* ---- scaling ---- */

static void test_scale(void **state)
{
	(void)state;
	assert_int_equal(pace_scale(3, 100, 10), 30);
	assert_int_equal(pace_scale(7, 10, 4), 18);
	assert_int_equal(pace_scale(7, 10, 6), 12);
	assert_int_equal(pace_scale(0, 5, 9), 0);
	assert_int_equal(pace_scale(UINT64_MAX, 1, 1), UINT64_MAX);
	assert_true(pace_scale(UINT64_MAX, 3, 2) == UINT64_MAX);
	for (int i = 0; i < 100000; i++) {
		uint64_t x = (uint64_t)random() >> (random() % 31);
		uint64_t a = ((uint64_t)random() << 20) >> (random() % 50);
		uint64_t b = 1 + (((uint64_t)random() << 20) >> (random() % 50));
		unsigned __int128 exact = ((unsigned __int128)x * a + b / 2) / b;
		uint64_t got = pace_scale(x, a, b);

		if (exact > UINT64_MAX)
			exact = UINT64_MAX;
		assert_true(got == exact);
	}
}

/* ---- the budget ---- */

/* Someone who always has something to do, at once when it is allowed. */
static uint64_t spend_greedily(struct pace *p, uint64_t until, uint64_t most)
{
	uint64_t now = 0;

	while (now < until) {
		now = p->free_at > now ? p->free_at : now + 1;
		pace_spend(p, now, 1 + (uint64_t)random() % most);
	}
	return now;
}

static void test_budget(void **state)
{
	struct pace p = {.wait_most = UINT64_MAX / 2};
	uint64_t now;

	(void)state;
	now = spend_greedily(&p, 10000000000, 100000);
	/* What can wait takes its share and no more; and no less, for nothing else would be known.
	 */
	assert_true(p.spent <= now / 1000000 * PACE_PPM + 200000);
	assert_true(p.spent >= now / 1000000 * PACE_PPM / 10 * 9);
}

static void test_budget_after_theft(void **state)
{
	struct pace p = {.wait_most = 1000000};

	(void)state;
	pace_spend(&p, 5000, 1000000000); /* the machine was taken away meanwhile */
	assert_int_equal(p.spent, 1000000000);
	assert_false(pace_is_free(&p, 5000 + 999999));
	assert_true(pace_is_free(&p, 5000 + 1000000));
}

/* ---- windows ---- */

#define LENGTH 64000u

/* A guest's faults, and its other exits, at times of their own. */
struct guest {
	uint64_t now;
	uint64_t fault_at, exit_at;
	uint64_t faults;
	uint64_t busy, idle,
		every;	  /* a burst's length, the lull after it, time between its faults */
	uint64_t between; /* other exits */
};

static uint64_t around(uint64_t mean)
{
	return 1 + (uint64_t)random() % (2 * mean);
}

/* When the next fault comes after `at`. */
static uint64_t next_fault(const struct guest *g, uint64_t at)
{
	uint64_t phase;

	at += around(g->every);
	phase = at % (g->busy + g->idle);
	return phase < g->busy ? at : at - phase + g->busy + g->idle;
}

/* The guest runs to its next exit: a fault that is intercepted, or another. True: a fault. */
static bool run(struct guest *g, bool intercepted)
{
	while (g->fault_at < g->exit_at) {
		g->now = g->fault_at;
		g->faults++;
		g->fault_at = next_fault(g, g->now);
		if (intercepted)
			return true;
	}
	g->now = g->exit_at;
	g->exit_at += around(g->between);
	return false;
}

/* One window after another, each in a reading of about the same length. The share of the faults
 * that the readings tell, in percent. */
static unsigned int told_by_windows(struct guest *g, unsigned int limit)
{
	const uint64_t period = 1000000;
	struct window w = {0};
	uint64_t reading = 0, covered = 0, told = 0, open_at = 0, told_of = 0, faults = 0;
	unsigned int readings = 0;

	g->now = g->faults = 0;
	g->fault_at = next_fault(g, 0);
	g->exit_at = around(g->between);
	while (readings < 10000) {
		if (run(g, w.open) && w.open)
			window_count(&w, g->now, WINDOW_FAULT);
		if (w.open && window_is_over(&w, g->now)) {
			covered = window_close(&w, g->now);
			open_at = UINT64_MAX;
		}
		if (g->now - reading >= period && !w.open) {
			if (covered) {
				told += pace_scale(w.count[WINDOW_FAULT], g->now - reading,
						   covered);
				told_of += g->now - reading;
			}
			reading = g->now;
			covered = 0;
			readings++;
			open_at = g->now + around(period / 4);
		}
		if (!w.open && g->now >= open_at)
			window_open(&w, g->now, limit, LENGTH);
	}
	faults = pace_scale(g->faults, told_of, g->now);
	return (unsigned int)(told * 100 / faults);
}

static void test_windows_steady(void **state)
{
	struct guest rare = {.every = 50000, .busy = 1, .idle = 0, .between = 10000};
	struct guest often = {.every = 300, .busy = 1, .idle = 0, .between = 10000};

	(void)state;
	assert_in_range(told_by_windows(&rare, 64), 97, 103);
	assert_in_range(told_by_windows(&often, 64), 97, 103);
	/* Few may be counted. */
	assert_in_range(told_by_windows(&often, 4), 90, 110);
}

/* Bursts in a tenth of the time: those which begin in a window, or end one, count as others do. */
static void test_windows_bursts(void **state)
{
	struct guest g = {.every = 200, .busy = 50000, .idle = 450000, .between = 7000};

	(void)state;
	assert_in_range(told_by_windows(&g, 64), 85, 120);
}

static void test_window(void **state)
{
	struct window w;

	(void)state;
	window_open(&w, 100, 4, LENGTH);
	assert_false(window_is_over(&w, 100 + LENGTH - 1));
	assert_false(window_is_over(&w, 90)); /* the clock is a little behind */
	assert_true(window_is_over(&w, 100 + LENGTH));
	window_count(&w, 100 + LENGTH + 1, WINDOW_CR3); /* too late */
	assert_int_equal(window_close(&w, 100 + LENGTH + 1), LENGTH);
	assert_false(w.open);
	assert_int_equal(w.total, 0);
	window_open(&w, 10000, 4, LENGTH);
	for (unsigned int i = 1; i <= 4; i++)
		window_count(&w, 10000 + 100 * i, i % 2 ? WINDOW_FAULT : WINDOW_INVLPG);
	assert_true(window_is_over(&w, 10400));
	window_count(&w, 10500, WINDOW_FAULT); /* one too many */
	assert_int_equal(w.count[WINDOW_FAULT], 2);
	assert_int_equal(w.count[WINDOW_INVLPG], 2);
	/* Three in 400, for the fourth was waited for: four in 533. */
	assert_int_equal(window_close(&w, 10500), 533);
	window_open(&w, 30000, 4, LENGTH);
	assert_int_equal(window_close(&w, 30000), 0);
}

/* ---- counters ---- */

#define CTL(n) (0xc0010200u + 2 * (n))
#define CTR(n) (0xc0010201u + 2 * (n))

static struct {
	uint64_t ctl[6], ctr[6];
	uint64_t refused;     /* writing these bits of a control register is a #GP */
	uint64_t dropped;     /* these are lost */
	unsigned int touched; /* accesses */
	bool absent;
} machine;

static uint64_t *msr(uint32_t n)
{
	assert_in_range(n, CTL(0), CTR(5));
	machine.touched++;
	return n & 1 ? &machine.ctr[(n - CTR(0)) / 2] : &machine.ctl[(n - CTL(0)) / 2];
}

int x86_wrmsr_safe(uint32_t n, uint64_t v)
{
	uint64_t *to = msr(n);

	if (machine.absent || (!(n & 1) && (v & machine.refused)))
		return -1;
	*to = n & 1 ? v : v & ~machine.dropped;
	return 0;
}

int x86_rdmsr_safe(uint32_t n, uint64_t *v)
{
	if (machine.absent)
		return -1;
	*v = *msr(n);
	return 0;
}

static const struct pmc_cpu zen = {.amd = true, .family = 0x17, .features = 1u << 23};

static void test_counters(void **state)
{
	struct pmc p;
	uint64_t instructions, misses;

	(void)state;
	memset(&machine, 0, sizeof(machine));
	machine.ctr[0] = 12345; /* of somebody before us */
	assert_true(pmc_start(&p, &zen));
	/* Enabled, in kernel and user mode, of guests alone. */
	assert_true(machine.ctl[0] == (0xc0 | 1ull << 40 | 0x430000));
	assert_true(machine.ctl[1] == (0xf045 | 1ull << 40 | 0x430000));
	assert_true(machine.ctl[2] == (0xff85 | 1ull << 40 | 0x430000));
	machine.ctr[0] = 1000;
	machine.ctr[1] = 7;
	machine.ctr[2] = 3;
	assert_true(pmc_read(&p, &instructions, &misses));
	assert_int_equal(instructions, 1000);
	assert_int_equal(misses, 10);
	/* Counters have 48 bits. */
	machine.ctr[0] = (1ull << 48) - 5;
	assert_true(pmc_read(&p, &instructions, &misses));
	assert_int_equal(misses, 0);
	machine.ctr[0] = 15;
	assert_true(pmc_read(&p, &instructions, &misses));
	assert_int_equal(instructions, 20);
	/* They stand still. */
	assert_false(pmc_read(&p, &instructions, &misses));
}

static void test_no_counters(void **state)
{
	struct pmc_cpu cpu = zen;
	struct pmc p;

	(void)state;
	memset(&machine, 0, sizeof(machine));
	cpu.features = 0;
	assert_false(pmc_start(&p, &cpu));
	cpu = zen;
	cpu.family = 0x15; /* other events */
	assert_false(pmc_start(&p, &cpu));
	cpu = zen;
	cpu.amd = false;
	assert_false(pmc_start(&p, &cpu));
	assert_int_equal(machine.touched, 0);
	/* CPUID tells of what the machine then refuses. */
	machine.absent = true;
	assert_false(pmc_start(&p, &zen));
	machine.absent = false;
	machine.refused = 1ull << 40;
	assert_false(pmc_start(&p, &zen));
	machine.refused = 0;
	machine.dropped = 1ull << 40; /* it would count the hypervisor, too */
	assert_false(pmc_start(&p, &zen));
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(machine.ctl[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scale),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_budget_after_theft),
		cmocka_unit_test(test_windows_steady),
		cmocka_unit_test(test_windows_bursts),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_no_counters),
	};

	srandom(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
