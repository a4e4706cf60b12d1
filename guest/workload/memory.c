/* Parts that change page tables: churn, mprotect, storm.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

void churn_run(const struct part *p)
{
	size_t size = p->size * PAGE;

	part_begin(p);
	for (uint64_t i = 0; i < p->count; i++) {
		void *at = region_map(size);

		region_touch(at, size);
		region_unmap(at, size);
	}
	part_end(p);
}

static void region_read(const void *at, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		(void)((const volatile char *)at)[i];
}

void mprotect_run(const struct part *p)
{
	size_t size = p->size * PAGE;
	void *at = region_map(size);

	region_touch(at, size);
	part_begin(p);
	for (uint64_t i = 0; i < p->count; i++) {
		if (mprotect(at, size, PROT_READ) != 0)
			die("mprotect");
		region_read(at, size);
		if (mprotect(at, size, PROT_READ | PROT_WRITE) != 0)
			die("mprotect");
		region_touch(at, size);
	}
	part_end(p);
	region_unmap(at, size);
}

/* The storm: on each CPU, in one address space or in one for each, map, touch and discard. */
struct storm {
	const struct part *part;
	pthread_barrier_t *start; /* in memory that processes share */
	int cpu;
};

static void *storm_body(void *arg)
{
	const struct storm *s = arg;
	size_t size = s->part->size * PAGE;
	void *at = region_map(size);

	cpu_pin(s->cpu);
	pthread_barrier_wait(s->start);
	for (uint64_t i = 0; i < s->part->count; i++) {
		region_touch(at, size);
		if (madvise(at, size, MADV_DONTNEED) != 0)
			die("madvise");
	}
	region_unmap(at, size);
	return NULL;
}

static void storm_threads(const struct part *p, struct storm *s)
{
	pthread_t *threads = calloc(settings.cpus, sizeof(*threads));

	if (!threads)
		die("calloc");
	for (unsigned i = 0; i < settings.cpus; i++) {
		errno = pthread_create(&threads[i], NULL, storm_body, &s[i]);
		if (errno)
			die("pthread_create");
	}
	part_begin(p);
	pthread_barrier_wait(s->start);
	for (unsigned i = 0; i < settings.cpus; i++)
		pthread_join(threads[i], NULL);
	part_end(p);
	free(threads);
}

static void storm_processes(const struct part *p, struct storm *s)
{
	int status;

	for (unsigned i = 0; i < settings.cpus; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			storm_body(&s[i]);
			_exit(0);
		}
	}
	part_begin(p);
	pthread_barrier_wait(s->start);
	for (unsigned i = 0; i < settings.cpus; i++) {
		if (wait(&status) < 0 || status != 0)
			die("a process of the storm failed");
	}
	part_end(p);
}

void storm_run(const struct part *p)
{
	pthread_barrier_t *start =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct storm *s = calloc(settings.cpus, sizeof(*s));
	pthread_barrierattr_t shared;

	if (start == MAP_FAILED || !s)
		die("no memory");
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(start, &shared, settings.cpus + 1);
	for (unsigned i = 0; i < settings.cpus; i++)
		s[i] = (struct storm){p, start, (int)i};
	if (settings.processes)
		storm_processes(p, s);
	else
		storm_threads(p, s);
	munmap(start, PAGE);
	free(s);
}
