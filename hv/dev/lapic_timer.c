/* The local APIC's timer: one-shot, periodic, TSC-deadline. Its bus clock is the guest's TSC, so
 * the counts convert by a shift alone.
 *
 * AMD APM vol. 2, 16.4.1; Intel SDM vol. 3, 11.5.4.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/lapic_int.h"

/* A guest that asks for a shorter period would live in its timer interrupt alone: an exit takes
 * longer than that. */
#define PERIOD_MIN UINT64_C(50000)

static uint64_t now(const struct lapic *l)
{
	return l->bus->ops->now(l->bus->ctx, l->index);
}

static void arm(struct lapic *l, uint64_t deadline)
{
	l->deadline = deadline;
	if (l->bus->ops->timer_arm)
		l->bus->ops->timer_arm(l->bus->ctx, l->index, deadline);
}

/* The divide register's bits 3, 1, 0 as a shift: 0 means 2, 7 means 1. */
static unsigned int shift_of(uint32_t divide)
{
	return (((divide & 3) | ((divide >> 1) & 4)) + 1) & 7;
}

static bool is_mode(const struct lapic *l, uint32_t mode)
{
	return (l->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_MODE) == mode;
}

void lapic_timer_stop(struct lapic *l)
{
	if (l->deadline)
		arm(l, 0);
}

static uint64_t period(const struct lapic *l)
{
	return (uint64_t)l->timer_initial << shift_of(l->timer_divide);
}

void lapic_timer_set_initial(struct lapic *l, uint32_t count)
{
	if (is_mode(l, TIMER_DEADLINE))
		return;
	l->timer_initial = count;
	if (count == 0) {
		lapic_timer_stop(l);
		return;
	}
	arm(l, now(l) + period(l));
}

uint32_t lapic_timer_current(const struct lapic *l)
{
	uint64_t t;

	if (!l->deadline || is_mode(l, TIMER_DEADLINE))
		return 0;
	t = now(l);
	if (t >= l->deadline)
		return 0;
	return (uint32_t)((l->deadline - t) >> shift_of(l->timer_divide));
}

void lapic_timer_set_divide(struct lapic *l, uint32_t divide)
{
	uint64_t left = lapic_timer_current(l);

	l->timer_divide = divide & 0xb;
	if (left)
		arm(l, now(l) + (left << shift_of(l->timer_divide)));
}

void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt)
{
	bool was_deadline = is_mode(l, TIMER_DEADLINE);

	l->lvt[LAPIC_LVT_TIMER] = lvt;
	if (was_deadline != is_mode(l, TIMER_DEADLINE)) {
		l->timer_initial = 0;
		lapic_timer_stop(l);
	}
}

void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc)
{
	if (is_mode(l, TIMER_DEADLINE))
		arm(l, tsc);
}

bool lapic_timer_check(struct lapic *l)
{
	uint32_t lvt = l->lvt[LAPIC_LVT_TIMER];
	uint64_t t;

	if (!l->deadline)
		return false;
	t = now(l);
	if (t < l->deadline)
		return false;
	if (is_mode(l, TIMER_PERIODIC) && l->timer_initial) {
		uint64_t p = period(l);

		/* Periods that were missed are lost, as their interrupts would have merged. */
		if (p < PERIOD_MIN)
			arm(l, t + PERIOD_MIN);
		else
			arm(l, l->deadline + (1 + (t - l->deadline) / p) * p);
	} else {
		arm(l, 0);
	}
	if (lvt & LVT_MASKED)
		return true;
	if ((lvt & 0xff) < 16)
		lapic_error(l, ESR_RECEIVE_VECTOR);
	else
		lapic_post(l, (uint8_t)lvt, false, (int)l->index);
	return true;
}

/* A deadline in the guest's TSC comes sooner or later by it, and the host's timer has to follow; a
 * count goes on as it was. */
void lapic_timer_tsc_set(struct lapic *l, uint64_t by)
{
	if (!l->deadline)
		return;
	if (is_mode(l, TIMER_DEADLINE))
		arm(l, l->deadline);
	else
		l->deadline += by;
	lapic_timer_check(l);
}
