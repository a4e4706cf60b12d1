/* A history as charts, drawn by gnuplot: one picture, one time axis.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_CHARTS_H
#define CLI_CHARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "history.h"

struct charts {
	char *svg; /* what stands between <svg> and </svg>; allocated */
	unsigned int width, height;
	/* What the reader of the picture is to be told: */
	bool thinned;		    /* columns stand for several samples each */
	double column;		    /* seconds of a column */
	unsigned int rows_left_out; /* CPUs or spaces without a row */
	unsigned int cost_charts;   /* how many spaces have a chart of their costs */
	size_t parts;		    /* of the workload, by its marks */
};

/* Colours in the picture stand for roles: a page is to map each (drawn in RGB) to one that suits
 * it.
 */
struct colour {
	const char *role;
	unsigned int rgb;
};
enum { COLOURS = 9 };
extern const struct colour charts_colours[COLOURS];

/* A span between a CPU's samples, or an address space's, that is longer counts as asleep. */
#define CHARTS_GAP 0.25 /* seconds */

/* The rates of several address spaces are means over this time. */
#define CHARTS_MEAN 0.25 /* seconds */

/* What values below are drawn at: parts in a million; a second. */
#define CHARTS_COST_FLOOR 1000.0
#define CHARTS_RATE_FLOOR 1.0

/* False (one line was said): gnuplot is missing or failed. */
bool charts_draw(struct charts *c, const struct history *h);

#endif
