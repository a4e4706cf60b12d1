/* Memory of 4 KiB pages, pinning, random numbers: what several parts need.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "workload.h"

void *region_map(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	/* A kernel without huge pages refuses this, and needs it not. */
	madvise(at, size, MADV_NOHUGEPAGE);
	return at;
}

void region_unmap(void *at, size_t size)
{
	if (munmap(at, size) != 0)
		die("munmap");
}

void region_touch(void *at, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		((volatile char *)at)[i] = 1;
}

void region_churn(size_t size, uint64_t times)
{
	for (uint64_t i = 0; i < times; i++) {
		void *at = region_map(size);

		region_touch(at, size);
		region_unmap(at, size);
	}
}

void barrier_make(pthread_barrier_t *b, unsigned parties)
{
	pthread_barrierattr_t shared;

	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	errno = pthread_barrier_init(b, &shared, parties);
	if (errno)
		die("pthread_barrier_init");
	pthread_barrierattr_destroy(&shared);
}

void cpu_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		die("sched_setaffinity");
}

/* xorshift64*: all 64 bits are good enough for addresses. */
uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}
