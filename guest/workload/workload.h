/* What the parts of the workload share: how a part is described, and how it is timed and marked.
 *
 * A part sets up what it needs, calls part_begin(), does `count` operations, calls part_end(), and
 * cleans up; only what is between the two calls is timed, and only there do exits belong to it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PAGE = 4096 };

struct part {
	const char *name;
	const char *operation; /* what one of `count` is */
	const char *size_unit; /* what `size` counts; NULL: the part has no size */
	uint64_t count;
	uint64_t size;
	void (*run)(const struct part *p);
};

struct settings {
	uint64_t seed;
	unsigned cpus;
	int processes; /* the storm: processes on the CPUs instead of threads */
};
extern struct settings settings;

void part_begin(const struct part *p);
void part_end(const struct part *p);

/* Says what failed and why, and ends the program. */
void die(const char *what) __attribute__((noreturn));

/* SIZE bytes of fresh anonymous memory that the kernel may only back with 4 KiB pages. */
void *region_map(size_t size);
void region_unmap(void *at, size_t size);
/* One write to each page of it. */
void region_touch(void *at, size_t size);

/* A child that ends at once, until it has. */
void fork_once(void);
/* Waits for the end of that child, or with -1 of any; it must have gone well. */
void child_wait(pid_t pid);

void cpu_pin(int cpu);
uint64_t random_next(uint64_t *state);

void fork_run(const struct part *p);
void exec_run(const struct part *p);
void pipe_run(const struct part *p);
void churn_run(const struct part *p);
void mprotect_run(const struct part *p);
void storm_run(const struct part *p);
void chase_run(const struct part *p);
void update_run(const struct part *p);
void arith_run(const struct part *p);
void forks_run(const struct part *p);

#endif
