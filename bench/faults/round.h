/* One round: T threads, each a vCPU, first-touch the memory of a fresh VM.
 *
 * The memory is cut into a slice for each thread, of whole 2 MiB blocks; a slice belongs to its
 * thread's node, the threads are dealt to the nodes in order. Spread: each thread touches all of
 * the memory, from its own slice on, and takes a fault where its group's table has no entry.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_FAULTS_ROUND_H
#define BENCH_FAULTS_ROUND_H

#include "host.h"

#include <twofold/twofold.h>

/* What is measured. */
struct way {
	unsigned int threads, nodes;
	enum tf_grouping grouping;
	enum tf_install install;
	enum tf_nested_format nested;
	bool spread;
	bool check;	/* the engine's invariants too, at the end */
	uint64_t bytes; /* of guest memory: a whole number of blocks for each thread */
};

struct result {
	uint64_t faults;	/* taken by all threads */
	uint64_t ns;		/* from the first thread's start to the last one's end */
	uint64_t cycles;	/* of all threads, each from its start to its end */
	int64_t frames, tables; /* that the host had given when all was touched */
	struct tf_counters n;
};

/* How many groups the way has. */
unsigned int way_groups(const struct way *w);
/* Pages of nested tables that it must end with. */
uint64_t way_nested_tables(const struct way *w);
/* Most table pages that it can need. */
size_t way_pages(const struct way *w);

/* A VM as the way asks for, with its memory and vCPUs. NULL: no memory for it. */
struct tf_vm *way_vm(const struct way *w, struct host *h, struct tf_vcpu **vcpus);
/* The first guest-physical address of a thread's slice. */
static inline uint64_t way_slice(const struct way *w, unsigned int thread)
{
	return w->bytes / w->threads * thread;
}

/* False, with a line said: it could not be run. The VM is gone and the host reset after it. */
bool round_run(const struct way *w, struct host *h, struct result *r);
/* What is wrong with the counts of a round; NULL: nothing. */
const char *round_check(const struct way *w, const struct result *r);

/* Keep the calling thread on the n-th of the CPUs that we may use; how many there are. */
void cpu_pin(unsigned int n);
unsigned int cpu_count(void);

#endif
