/* Two processes at once on one CPU: one misses TLBs (chases or updates), the other forks. Each has
 * a fixed amount of work; the time is until both are done, and each tells its own.
 *
 * They meet the main program before each round and after it; the first time both are ready.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <sys/mman.h>
#include <unistd.h>

#include "workload.h"

struct pair {
	pthread_barrier_t meet;
	double seconds[2]; /* of each, over all rounds */
	bool over;
};

static bool round_begin(struct pair *pair, struct timespec *begun)
{
	pthread_barrier_wait(&pair->meet);
	clock_gettime(CLOCK_MONOTONIC, begun);
	return !pair->over;
}

static void round_end(struct pair *pair, int who, const struct timespec *begun)
{
	pair->seconds[who] += seconds_since(begun);
	pthread_barrier_wait(&pair->meet);
}

static void chaser(struct pair *pair, const struct part *p)
{
	char *at = chain_make(p->size);
	const volatile uint64_t *word = NULL;
	struct timespec begun;

	pthread_barrier_wait(&pair->meet);
	while (round_begin(pair, &begun)) {
		word = chain_walk(at, word, p->count);
		round_end(pair, 0, &begun);
	}
}

static void updater(struct pair *pair, const struct part *p)
{
	char *at = region_map(p->size * PAGE);
	uint64_t state = settings.seed;
	struct timespec begun;

	region_touch(at, p->size * PAGE);
	pthread_barrier_wait(&pair->meet);
	while (round_begin(pair, &begun)) {
		words_update(at, p->size, p->count, &state);
		round_end(pair, 0, &begun);
	}
}

static void forker(struct pair *pair, const struct part *p)
{
	struct timespec begun;

	pthread_barrier_wait(&pair->meet);
	while (round_begin(pair, &begun)) {
		fork_times(p->count);
		round_end(pair, 1, &begun);
	}
}

static void start(void (*body)(struct pair *pair, const struct part *p), struct pair *pair,
		  const struct part *p)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		cpu_pin(0);
		body(pair, p);
		_exit(0);
	}
}

static void pair_time(const struct part *p, void (*misser)(struct pair *pair, const struct part *p),
		      const struct part *misses, const struct part *forks)
{
	struct pair *pair =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t rounds = 0;
	double seconds;

	if (pair == MAP_FAILED)
		die("mmap");
	barrier_make(&pair->meet, 3);
	start(misser, pair, misses);
	start(forker, pair, forks);
	pthread_barrier_wait(&pair->meet);
	part_begin(p);
	while (part_again()) {
		for (uint64_t i = 0; i < p->count; i++, rounds++) {
			pthread_barrier_wait(&pair->meet);
			pthread_barrier_wait(&pair->meet);
		}
	}
	seconds = part_stop(p);
	pair->over = true;
	pthread_barrier_wait(&pair->meet);
	child_wait(-1);
	child_wait(-1);
	part_tell(misses, misses->count * rounds, pair->seconds[0]);
	part_tell(forks, forks->count * rounds, pair->seconds[1]);
	part_tell(p, rounds, seconds);
	munmap(pair, PAGE);
}

void pair_run(const struct part *p)
{
	pair_time(p, chaser, part_named("pair.chase"), part_named("pair.fork"));
}

void pair_update_run(const struct part *p)
{
	pair_time(p, updater, part_named("pair-update.update"), part_named("pair-update.fork"));
}
