/* The host for measuring (see host.h).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define CHUNK	   (UINT64_C(64) * TF_PAGE_SIZE)
#define FRAME_BASE (UINT64_C(1) << 50) /* above every pointer, below 2^52 */
#define FRAME_EACH (UINT64_C(1) << 41) /* for each thread */

static __thread unsigned int self;

void host_thread_is(unsigned int thread)
{
	self = thread;
}

static struct host *of(struct tf_host *h)
{
	return (struct host *)h;
}

static bool chunk_new(struct host *h, struct host_thread *t, size_t bytes)
{
	size_t at = __atomic_fetch_add(&h->used, bytes, __ATOMIC_RELAXED);
	if (at + bytes > h->bytes)
		return false;
	t->chunk = h->arena + at;
	t->end = t->chunk + bytes;
	return true;
}

static enum tf_status table_alloc(struct host *h, unsigned int order, hpa_t *out)
{
	struct host_thread *t = &h->thread[self];
	size_t bytes = (size_t)TF_PAGE_SIZE << order;
	if (order != TF_ORDER_4K)
		return TF_E_NOMEM; /* nothing here is so large that it asks for more */
	if (t->chunk == t->end && !chunk_new(h, t, CHUNK))
		return TF_E_NOMEM;
	*out = hpa((uintptr_t)t->chunk);
	t->chunk += bytes;
	t->tables_out++;
	return TF_OK;
}

static enum tf_status page_alloc(struct tf_host *th, unsigned int node, unsigned int order,
				 enum tf_use use, hpa_t *out)
{
	struct host *h = of(th);
	(void)node;
	if (use == TF_USE_TABLE)
		return table_alloc(h, order, out);
	struct host_thread *t = &h->thread[self];
	if (order != TF_ORDER_4K || t->frames == FRAME_EACH / TF_PAGE_SIZE)
		return TF_E_NOMEM;
	*out = hpa(FRAME_BASE + self * FRAME_EACH + t->frames++ * TF_PAGE_SIZE);
	t->frames_out++;
	return TF_OK;
}

static void page_free(struct tf_host *th, unsigned int order, hpa_t a)
{
	struct host_thread *t = &of(th)->thread[self];
	(void)order;
	if (a.v >= FRAME_BASE)
		t->frames_out--;
	else
		t->tables_out--;
}

/* Nobody is ever in a guest. */
static void flush(struct tf_host *h, const struct tf_cpuset *vcpus, uint32_t kinds)
{
	(void)h;
	(void)vcpus;
	(void)kinds;
}

static void kick(struct tf_host *h, unsigned int vcpu)
{
	(void)h;
	(void)vcpu;
}

static uint64_t cycles(struct tf_host *h)
{
	(void)h;
	return host_cycles();
}

static _Noreturn void panic(struct tf_host *h, const char *file, int line, const char *what)
{
	(void)h;
	fprintf(stderr, "faults: %s:%d: %s\n", file, line, what);
	abort();
}

bool host_init(struct host *h, size_t pages)
{
	memset(h, 0, sizeof(*h));
	h->h = (struct tf_host){
		.page_alloc = page_alloc,
		.page_free = page_free,
		.flush = flush,
		.kick = kick,
		.cycles = cycles,
		.panic = panic,
	};
	h->bytes = pages * TF_PAGE_SIZE + HOST_THREADS * CHUNK;
	h->arena = mmap(NULL, h->bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return h->arena != MAP_FAILED;
}

void host_destroy(struct host *h)
{
	(void)munmap(h->arena, h->bytes);
}

void host_reset(struct host *h)
{
	h->used = 0;
	memset(h->thread, 0, sizeof(h->thread));
}

int64_t host_frames_out(const struct host *h)
{
	int64_t n = 0;
	for (unsigned int i = 0; i < HOST_THREADS; i++)
		n += h->thread[i].frames_out;
	return n;
}

int64_t host_tables_out(const struct host *h)
{
	int64_t n = 0;
	for (unsigned int i = 0; i < HOST_THREADS; i++)
		n += h->thread[i].tables_out;
	return n;
}

uint64_t host_now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
