/* Parts that run on every CPU at once: storm (page faults), forks.
 *
 * Who takes part meets the main program four times, so that nothing but the storm is timed: all are
 * ready; they may start; they have done it; they may clean up.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "workload.h"

struct shared {
	pthread_barrier_t meet;
	struct timespec begun;
	_Atomic uint64_t rounds; /* of all CPUs */
};

struct storm {
	const struct part *part;
	void (*prepare)(void *at, size_t size); /* the region; NULL: nothing */
	void (*once)(void *at, size_t size);
	struct shared *shared; /* in memory that processes share */
	int cpu;
};

static void *storm_body(void *arg)
{
	const struct storm *s = arg;
	struct shared *shared = s->shared;
	size_t size = s->part->size * PAGE;
	void *at = region_map(size);
	struct span span = {.rounds = 0};

	cpu_pin(s->cpu);
	if (s->prepare)
		s->prepare(at, size);
	pthread_barrier_wait(&shared->meet);
	pthread_barrier_wait(&shared->meet);
	span.begun = shared->begun;
	while (span_again(&span)) {
		for (uint64_t i = 0; i < s->part->count; i++)
			s->once(at, size);
	}
	shared->rounds += span.rounds;
	pthread_barrier_wait(&shared->meet);
	pthread_barrier_wait(&shared->meet);
	region_unmap(at, size);
	return NULL;
}

static void storm_time(const struct storm *s)
{
	struct shared *shared = s->shared;
	double seconds;

	pthread_barrier_wait(&shared->meet);
	shared->begun = part_begin(s->part)->begun;
	pthread_barrier_wait(&shared->meet);
	pthread_barrier_wait(&shared->meet);
	seconds = part_stop(s->part);
	part_tell(s->part, s->part->count * shared->rounds / settings.cpus, seconds);
	pthread_barrier_wait(&shared->meet);
}

/* In a process of its own: one that ever had threads forks dearer from then on (the C library then
 * takes its locks, which copies their pages), and later parts would pay for that. */
static void storm_threads(struct storm *s)
{
	pthread_t *threads = calloc(settings.cpus, sizeof(*threads));

	if (!threads)
		die("calloc");
	for (unsigned i = 0; i < settings.cpus; i++) {
		errno = pthread_create(&threads[i], NULL, storm_body, &s[i]);
		if (errno)
			die("pthread_create");
	}
	storm_time(s);
	for (unsigned i = 0; i < settings.cpus; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

static pid_t process_start(void (*body)(struct storm *s), struct storm *s)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		body(s);
	return pid;
}

static void storm_process(struct storm *s)
{
	storm_body(s);
	_exit(0);
}

static void storm_processes(struct storm *s)
{
	for (unsigned i = 0; i < settings.cpus; i++)
		process_start(storm_process, &s[i]);
	storm_time(s);
	for (unsigned i = 0; i < settings.cpus; i++)
		child_wait(-1);
}

/* On each CPU one that is as `like` says, in one address space or in one for each. */
static void storm_run_as(struct storm like, int processes)
{
	struct shared *shared =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct storm *s = calloc(settings.cpus, sizeof(*s));

	if (shared == MAP_FAILED || !s)
		die("no memory");
	barrier_make(&shared->meet, settings.cpus + 1);
	for (unsigned i = 0; i < settings.cpus; i++) {
		s[i] = like;
		s[i].shared = shared;
		s[i].cpu = (int)i;
	}
	if (processes)
		storm_processes(s);
	else
		child_wait(process_start(storm_threads, s));
	munmap(shared, PAGE);
	free(s);
}

static void touch_once(void *at, size_t size)
{
	region_touch(at, size);
	if (madvise(at, size, MADV_DONTNEED) != 0)
		die("madvise");
}

void storm_run(const struct part *p)
{
	storm_run_as((struct storm){.part = p, .once = touch_once}, settings.processes);
}

static void fork_with_region(void *at, size_t size)
{
	(void)at;
	(void)size;
	fork_times(1);
}

/* The touched region is what a fork has tables to copy for. */
void forks_run(const struct part *p)
{
	storm_run_as((struct storm){.part = p, .prepare = region_touch, .once = fork_with_region},
		     1);
}
