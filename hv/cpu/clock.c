/* Calibration of the time-stamp counter and the local APIC timer against the PIT's channel 2.
 *
 * A round in which something (a host that runs us as a guest) stopped us near its start or end
 * shows by a large gap between two reads, and is thrown away. Intel 8254 data sheet, mode 0.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/clock.h"

#include <stdbool.h>

#include "core/vm.h"
#include "cpu/apic.h"
#include "cpu/x86.h"

#define PIT_HZ	  1193182ull
#define PIT_TICKS 23864u /* 20 ms */
#define ROUNDS	  3
#define TRIES	  30

static uint32_t khz;

struct round {
	uint64_t tsc;	/* cycles in PIT_TICKS */
	uint64_t gap;	/* the worst uncertainty, cycles */
	uint32_t timer; /* local APIC timer ticks */
};

static void measure(struct round *r)
{
	uint64_t before, start, last, now;
	uint8_t gate = (uint8_t)((x86_inb(0x61) & ~2u) | 1);

	x86_outb(0x61, gate);
	x86_outb(0x43, 0xb0); /* channel 2, both bytes, mode 0 */
	x86_outb(0x42, PIT_TICKS & 0xff);
	before = x86_rdtsc();
	x86_outb(0x42, PIT_TICKS >> 8);
	start = x86_rdtsc();
	apic_timer_start_max();
	r->gap = x86_rdtsc() - before;
	/* The end lies between the last read that was started in time and the first that says
	 * "over". */
	last = start;
	for (;;) {
		uint64_t asked = x86_rdtsc();
		bool over = x86_inb(0x61) & 0x20;

		now = x86_rdtsc();
		if (over)
			break;
		last = asked;
	}
	r->timer = apic_timer_elapsed();
	if (x86_rdtsc() - last > r->gap)
		r->gap = x86_rdtsc() - last;
	r->tsc = now - start;
}

uint32_t clock_calibrate(void)
{
	struct round best[ROUNDS] = {{.gap = UINT64_MAX}, {.gap = UINT64_MAX}, {.gap = UINT64_MAX}};
	struct round *m;
	unsigned int good = 0;

	/* Keep the rounds with the smallest gaps, and of these the middle one. */
	for (unsigned int i = 0; i < TRIES && good < ROUNDS; i++) {
		struct round r;
		unsigned int worst = 0;

		measure(&r);
		if (r.gap < r.tsc / 1000)
			good++;
		for (unsigned int k = 1; k < ROUNDS; k++)
			if (best[k].gap > best[worst].gap)
				worst = k;
		if (r.gap < best[worst].gap)
			best[worst] = r;
	}
	m = &best[0];
	for (unsigned int k = 0; k < ROUNDS; k++) {
		unsigned int below = 0;

		for (unsigned int j = 0; j < ROUNDS; j++)
			below += best[j].tsc < best[k].tsc || (best[j].tsc == best[k].tsc && j < k);
		if (below == ROUNDS / 2)
			m = &best[k];
	}
	khz = (uint32_t)(m->tsc * PIT_HZ / PIT_TICKS / 1000);
	apic_timer_set_rate(((uint64_t)m->timer << 20) / m->tsc);
	return khz;
}

void clock_wait_us(uint32_t us)
{
	uint64_t end = x86_rdtsc() + (uint64_t)us * khz / 1000;

	while (x86_rdtsc() < end)
		x86_pause();
}
