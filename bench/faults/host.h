/* A host for measuring: table pages are real memory, guest memory is addresses with nothing behind
 * them, and no call takes a lock, waits, or writes what another thread writes.
 *
 * Table pages come from one arena that is touched before anything is measured; each thread cuts its
 * own chunks from it. Nothing is given back before the arena is reset, with all VMs gone.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_FAULTS_HOST_H
#define BENCH_FAULTS_HOST_H

#include <twofold/host.h>

#define HOST_THREADS (TF_MAX_VCPUS + 1) /* 0: the main thread */

/* What one thread took and gave back. */
struct host_thread {
	char *chunk, *end;		/* of the arena: what is left of the thread's chunk */
	uint64_t frames;		/* taken so far: the next fake address */
	int64_t frames_out, tables_out; /* taken and not given back; the sum over threads counts */
} __attribute__((aligned(128)));

struct host {
	struct tf_host h; /* first */
	char *arena;
	size_t bytes;
	size_t used; /* atomic, by chunks */
	struct host_thread thread[HOST_THREADS];
};

/* Room for so many table pages. False: there is not so much memory. */
bool host_init(struct host *h, size_t pages);
void host_destroy(struct host *h);
/* All that was taken is free again. */
void host_reset(struct host *h);
/* Which thread the caller is, from now on. */
void host_thread_is(unsigned int thread);
/* Pages taken and not given back; no other thread runs. */
int64_t host_frames_out(const struct host *h);
int64_t host_tables_out(const struct host *h);

/* The time, in nanoseconds. */
uint64_t host_now(void);

static inline uint64_t host_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

#endif
