/* What was measured, as a table and as JSON.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_FAULTS_REPORT_H
#define BENCH_FAULTS_REPORT_H

#include "cost.h"

#define LIST_MAX 16u
#define WAYS_MAX (2 * (2 + LIST_MAX)) /* for one number of threads */

struct measured {
	struct way way;
	double rate, slowest, fastest; /* faults a second: the median round's, and the range */
	double ms;		       /* of the median round */
	double wait;		       /* part of the threads' time spent waiting for locks */
	struct result last;	       /* counts: of the last round */
};

struct report {
	char machine[128];
	unsigned int cpus, rounds;
	uint64_t bytes;
	enum tf_nested_format nested;
	bool spread;
	struct measured m[LIST_MAX * WAYS_MAX];
	unsigned int n;
	/* By install: */
	struct measured single[2][2]; /* one group, a group for each node */
	double cost[2][COST_KINDS];
};

/* "one", "vcpu", "node 4". Good until the next call. */
const char *way_name(const struct way *w);
const char *install_name(enum tf_install i);

void report_begin(struct report *r, uint64_t bytes, enum tf_nested_format nested,
		  unsigned int rounds, bool spread);
/* Print n lines, of one number of threads, from the i-th measured on. */
void report_threads(const struct report *r, unsigned int i, unsigned int n);
void report_end(const struct report *r, const bool *install);
bool report_json(const struct report *r, const bool *install, const char *file);

#endif
