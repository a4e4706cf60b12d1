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

struct storm {
	const struct part *part;
	void (*prepare)(void *at, size_t size); /* the region; NULL: nothing */
	void (*once)(void *at, size_t size);
	pthread_barrier_t *meet; /* in memory that processes share */
	int cpu;
};

static void *storm_body(void *arg)
{
	const struct storm *s = arg;
	size_t size = s->part->size * PAGE;
	void *at = region_map(size);

	cpu_pin(s->cpu);
	if (s->prepare)
		s->prepare(at, size);
	pthread_barrier_wait(s->meet);
	pthread_barrier_wait(s->meet);
	for (uint64_t i = 0; i < s->part->count; i++)
		s->once(at, size);
	pthread_barrier_wait(s->meet);
	pthread_barrier_wait(s->meet);
	region_unmap(at, size);
	return NULL;
}

static void storm_time(const struct storm *s)
{
	pthread_barrier_wait(s->meet);
	part_begin(s->part);
	pthread_barrier_wait(s->meet);
	pthread_barrier_wait(s->meet);
	part_end(s->part);
	pthread_barrier_wait(s->meet);
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
	pthread_barrier_t *meet =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct storm *s = calloc(settings.cpus, sizeof(*s));
	pthread_barrierattr_t shared;

	if (meet == MAP_FAILED || !s)
		die("no memory");
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(meet, &shared, settings.cpus + 1);
	for (unsigned i = 0; i < settings.cpus; i++) {
		s[i] = like;
		s[i].meet = meet;
		s[i].cpu = (int)i;
	}
	if (processes)
		storm_processes(s);
	else
		child_wait(process_start(storm_threads, s));
	munmap(meet, PAGE);
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
	fork_once();
}

/* The touched region is what a fork has tables to copy for. */
void forks_run(const struct part *p)
{
	storm_run_as((struct storm){.part = p, .prepare = region_touch, .once = fork_with_region},
		     1);
}
