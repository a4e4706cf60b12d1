/* The guest's NUMA nodes, as `twofold run` is asked for them.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_NODES_H
#define CLI_NODES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_CPUS = 64, MAX_NODES = 64, NEAR = 10, FAR = 20 };

struct node {
	uint64_t cpus; /* bit i: CPU i */
	uint64_t mem;  /* bytes */
};

struct nodes {
	unsigned int split;  /* --nodes; 0: not given */
	unsigned int listed; /* how many --node there were */
	unsigned int count;  /* 1.., once settled */
	struct node node[MAX_NODES];
	bool distances; /* some were given */
	uint8_t distance[MAX_NODES][MAX_NODES];
};

/* The argument of --nodes, --node, --distance. 0, or the status to exit with (one line was said).
 */
int nodes_set_split(struct nodes *n, const char *arg);
int nodes_add(struct nodes *n, const char *arg);
int nodes_set_distance(struct nodes *n, const char *arg);

/* When all options are known: fills in what was left out, refuses what contradicts. *cpus and *mem:
 * 0 if they were not given; they come back as the sums of the nodes. */
int nodes_settle(struct nodes *n, unsigned int *cpus, uint64_t *mem);

/* A set of CPUs as a list, "0-1,4". */
void nodes_put_cpus(FILE *f, uint64_t cpus);

/* A whole number with a suffix K to E; beyond 64 bits it is UINT64_MAX. Returns what follows it,
 * NULL: it is no size. */
const char *nodes_size(const char *text, uint64_t *bytes);

#endif
