/* What the meter may spend, and what it makes of a window in which events exit.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "virt/pace.h"

void pace_spend(struct pace *p, uint64_t now, uint64_t cycles)
{
	uint64_t from = p->free_at > now ? p->free_at : now;

	p->spent += cycles;
	p->free_at = from + cycles * 1000000 / PACE_PPM;
	if (p->free_at - now > p->wait_most)
		p->free_at = now + p->wait_most;
}

void window_open(struct window *w, uint64_t now, unsigned int limit, uint64_t length)
{
	*w = (struct window){
		.open = true,
		.began = now,
		.length = length,
		.last = now,
		.limit = limit,
	};
}

/* (A clock that leaves out what is known about only may stand a little before the beginning.) */
static uint64_t since(const struct window *w, uint64_t now)
{
	return now > w->began ? now - w->began : 0;
}

void window_count(struct window *w, uint64_t now, enum window_event e)
{
	if (w->total >= w->limit || since(w, now) > w->length)
		return;
	w->last = now;
	w->total++;
	w->count[e]++;
}

bool window_is_over(const struct window *w, uint64_t now)
{
	return w->total >= w->limit || since(w, now) >= w->length;
}

uint64_t window_close(struct window *w, uint64_t now)
{
	bool full = w->total >= w->limit;
	uint64_t covered = since(w, full ? w->last : now);

	w->open = false;
	if (covered > w->length)
		covered = w->length;
	/* The last of `limit` events was waited for: one less came in as much time as any. */
	if (full && w->total > 1)
		covered = covered * w->total / (w->total - 1);
	return covered;
}

uint64_t pace_scale(uint64_t x, uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)x * a + b / 2;
	uint64_t high = (uint64_t)(product >> 64), quotient, rest;

	if (high >= b)
		return UINT64_MAX;
	/* (C divides 128 bits by a call into the compiler's library, which the hypervisor has not.)
	 */
	__asm__("div %4" : "=a"(quotient), "=d"(rest) : "a"((uint64_t)product), "d"(high), "r"(b));
	return quotient;
}
