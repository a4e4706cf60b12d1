/* A trace, read back: what the meter saw and what was done, in the order of the guest's time.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_HISTORY_H
#define CLI_HISTORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mode { MODE_NESTED, MODE_SHADOW, MODES };

/* The figures that come with each sample and each switch. */
enum figure {
	FIGURE_MISSES, /* of the TLB, a second; the next three likewise */
	FIGURE_FAULTS,
	FIGURE_CR3,
	FIGURE_EXITS,
	FIGURE_NESTED, /* parts in a million lost on nested tables */
	FIGURE_SHADOW, /* ... and on shadow tables */
	FIGURES,
};

/* SPACE: whom the choice is for: 0 the whole VM, else an address space. */
struct sample {
	double t; /* seconds since the guest's start, here and below */
	uint64_t space;
	unsigned int cpu;
	enum mode mode;
	float figure[FIGURES];
};

struct change {
	double t;
	uint64_t space;
	enum mode from, to;
	char *why;
	double figure[FIGURES];
	double regret, price; /* seconds */
};

struct mark {
	double t;
	unsigned int byte;
};

struct unit {
	uint64_t space;
	size_t samples;
};

struct history {
	json_t *run, *hello, *calibration; /* the events; NULL: not there */
	json_t *last;			   /* the end, or what was counted last */
	const char *stopped;		   /* why there is no end; NULL: there is one */
	double khz;
	struct sample *samples; /* by time */
	size_t samples_n;
	struct change *changes; /* by time */
	size_t changes_n;
	struct mark *marks;
	size_t marks_n;
	json_t *works;	    /* array: the workload's words of itself */
	struct unit *units; /* that were sampled, the most often sampled first */
	size_t units_n;
	bool by_space;	   /* some choice was for an address space */
	unsigned int cpus; /* above the highest one sampled */
	double end;	   /* seconds: of the last thing known */
};

/* Reads a file that --trace wrote. 0, or the status to exit with (one line was said). */
int history_read(struct history *h, const char *path);

#endif
