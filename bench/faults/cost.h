/* What one fault costs on one thread, with its table page present and nobody else about, and where
 * the time goes: the fault itself by the facade, its steps by the engine's own functions.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_FAULTS_COST_H
#define BENCH_FAULTS_COST_H

#include "round.h"

enum cost_of {
	COST_FIRST,   /* a fault that backs its frame */
	COST_COPY,    /* a fault of a frame that is backed, in a group that lacks the leaf */
	COST_OP,      /* begin and end an operation */
	COST_LOCK,    /* take and drop the group's lock; with cas: enter and leave a section */
	COST_LOOKUP,  /* the frame's word, from the memory map */
	COST_BACK,    /* back a frame, the host's allocation included */
	COST_ALLOC,   /* of that: the host's allocation */
	COST_INSTALL, /* walk the nested table and put the leaf there */
	COST_KINDS
};

#define COST_ROUNDS_MAX 99u

/* Nanoseconds each, medians of so many rounds. False, with a line said: it could not be run. */
bool cost_measure(struct host *h, enum tf_nested_format nested, enum tf_install install,
		  unsigned int rounds, double ns[COST_KINDS]);
/* Table pages that it needs. */
size_t cost_pages(void);

/* The middle one; sorts v. */
double median(double *v, unsigned int n);

#endif
