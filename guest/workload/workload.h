/* What the parts of the workload share: how a part is described, and how it is timed and marked.
 *
 * A part sets up what it needs, calls part_begin(), does `count` operations as often as
 * part_again() says, calls part_end(), and cleans up; only what is between the two calls is timed,
 * and only there do exits belong to it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

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
	int processes;	/* the storm: processes on the CPUs instead of threads */
	double seconds; /* each part again and again until so much time is over; 0: once */
	int marks;
	long pause_ms;
};
extern struct settings settings;

/* The part of that name: its count and size are settings of other parts as well. */
const struct part *part_named(const char *name);
/* Its place in --list. */
int part_number(const struct part *p);

/* A timed stretch. */
struct span {
	struct timespec begun;
	uint64_t rounds; /* of `count` operations each, begun */
};

/* Another round? Always a first one, further ones while there is time (--seconds). */
bool span_again(struct span *s);
double seconds_since(const struct timespec *then);

struct span *part_begin(const struct part *p);
bool part_again(void);
/* The end of what is timed: its seconds. */
double part_stop(const struct part *p);
/* The line about it. */
void part_tell(const struct part *p, uint64_t count, double seconds);
/* Both, for all rounds. */
void part_end(const struct part *p);

/* Says what failed and why, and ends the program. */
void die(const char *what) __attribute__((noreturn));

/* SIZE bytes of fresh anonymous memory that the kernel may only back with 4 KiB pages. */
void *region_map(size_t size);
void region_unmap(void *at, size_t size);
/* One write to each page of it. */
void region_touch(void *at, size_t size);
/* So often: a fresh region, one write to each page of it, unmapped. */
void region_churn(size_t size, uint64_t times);

/* PAGES pages with one cycle of pointers through all of them in random order; N steps along it,
 * from the word that the last ones led to (NULL: the first). */
char *chain_make(uint64_t pages);
const volatile uint64_t *chain_walk(const char *at, const volatile uint64_t *word, uint64_t n);
/* N random words of a region of PAGES pages are changed. */
void words_update(char *at, uint64_t pages, uint64_t n, uint64_t *state);

/* A child that ends at once, until it has; so often. */
void fork_times(uint64_t n);
/* Waits for the end of that child, or with -1 of any; it must have gone well. */
void child_wait(pid_t pid);

/* In memory that processes share: where so many meet. */
void barrier_make(pthread_barrier_t *b, unsigned parties);

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
void phased_run(const struct part *p);
void pair_run(const struct part *p);
void pair_update_run(const struct part *p);

#endif
