/* What the meter may spend, and what it makes of a window in which events exit: arithmetic alone.
 *
 * All times are of one clock, which the caller reads: cycles that the vCPU was awake, less those
 * that the meter itself took (so that metering does not slow down what it measures).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VIRT_PACE_H
#define HV_VIRT_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* The meter's share of the time, in parts of a million: what can wait, waits until the time that
 * has passed pays for what was spent. */
#define PACE_PPM 7000u

struct pace {
	uint64_t spent;	  /* in all */
	uint64_t free_at; /* before, nothing is begun that can wait */
	/* It waits no longer than this: a machine that is taken away in the middle of something, as
	 * an emulator's or a cloud's is, makes that long and says nothing of what it costs. */
	uint64_t wait_most;
};

static inline bool pace_is_free(const struct pace *p, uint64_t now)
{
	return now >= p->free_at;
}

void pace_spend(struct pace *p, uint64_t now, uint64_t cycles);

enum window_event { WINDOW_FAULT, WINDOW_CR3, WINDOW_INVLPG, WINDOW_EVENTS };

/* A short time in which events exit that otherwise would not.
 *
 * Its length is given beforehand, and events after it are not counted, though it ends only at the
 * first exit after it: so neither a burst nor a lull that ends it changes what it tells. Only
 * `limit` many events end it early, for they cost. */
struct window {
	bool open;
	uint64_t began;
	uint64_t length;
	uint64_t last;	    /* when the last event came that counts */
	unsigned int limit; /* events that end it */
	unsigned int total;
	unsigned int count[WINDOW_EVENTS];
};

/* `length` in cycles; `limit`: at least 1. */
void window_open(struct window *w, uint64_t now, unsigned int limit, uint64_t length);
void window_count(struct window *w, uint64_t now, enum window_event e);
/* Should it be closed? */
bool window_is_over(const struct window *w, uint64_t now);
/* Close it: how long it was that its counts were counted; 0: they tell nothing. */
uint64_t window_close(struct window *w, uint64_t now);

/* x times a / b, to the nearest; saturates. b: not 0. (Rounded down, a few events that are scaled
 * up would tell too little on average.) */
uint64_t pace_scale(uint64_t x, uint64_t a, uint64_t b);

#endif
