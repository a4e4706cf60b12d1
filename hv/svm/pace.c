/* What the meter may spend, and what it makes of a window in which events exit.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "svm/pace.h"

void pace_spend(struct pace *p, uint64_t now, uint64_t cycles)
{
	uint64_t from = p->free_at > now ? p->free_at : now;

	p->spent += cycles;
	p->free_at = from + cycles * (1000000 / PACE_PPM);
	if (p->free_at - now > p->wait_most)
		p->free_at = now + p->wait_most;
}

void window_open(struct window *w, uint64_t now, unsigned int limit, uint64_t least, uint64_t most)
{
	uint64_t length = w->next < least ? least : w->next > most ? most : w->next;

	*w = (struct window){
		.open = true,
		.began = now,
		.length = length,
		.next = length,
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
	if (full)
		w->next = w->length / 2;
	else if (w->total < w->limit / 4 && covered == w->length)
		w->next = w->length * 2;
	return covered;
}

uint64_t pace_scale(uint64_t x, uint64_t a, uint64_t b)
{
	/* Two factors of 32 bits: without a 128-bit division, which the hypervisor has not. */
	unsigned __int128 whole = (unsigned __int128)x * (a / b);
	unsigned __int128 rest;

	a %= b;
	while (b >> 32) {
		a >>= 1;
		b >>= 1;
	}
	rest = (unsigned __int128)x * ((a << 32) / b) >> 32;
	whole += rest;
	return whole > UINT64_MAX ? UINT64_MAX : (uint64_t)whole;
}
