/* The fake host: see fakehost.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "fakehost.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define FAKE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FAKE_ASAN 1
#endif
#endif

#ifdef FAKE_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define FRESH 0xa5		  /* what a fresh allocation holds */
#define FREED 0xdb		  /* what a free frame must still hold */
#define BIG   512u		  /* frames in a 2 MiB allocation */
#define HUGE  (UINT64_C(1) << 18) /* in one of 1 GiB */

static struct fakehost *of(struct tf_host *h)
{
	return (struct fakehost *)h;
}

static _Noreturn void die(const struct fakehost *f, const char *what, uint64_t frame)
{
	fprintf(stderr, "fakehost: %s: frame %llu (hpa %#llx)\n", what, (unsigned long long)frame,
		(unsigned long long)(FAKEHOST_BASE + frame * TF_PAGE_SIZE));
	if (f->on_panic)
		f->on_panic(f->arg, "fakehost", 0, what);
	abort();
}

uint64_t fakehost_frame(hpa_t a)
{
	return (a.v - FAKEHOST_BASE) / TF_PAGE_SIZE;
}

static uint8_t *frame_ptr(struct fakehost *f, uint64_t frame)
{
	return f->arena + frame * TF_PAGE_SIZE;
}

/* Other CPUs' walks look at a frame's state while it changes. */
static enum fake_state state_of(const struct fakehost *f, uint64_t frame)
{
	return (enum fake_state)__atomic_load_n(&f->state[frame], __ATOMIC_ACQUIRE);
}

static void set_state(struct fakehost *f, uint64_t frame, enum fake_state s)
{
	__atomic_store_n(&f->state[frame], (uint8_t)s, __ATOMIC_RELEASE);
}

static void check_pattern(struct fakehost *f, uint64_t frame)
{
	const uint64_t *w = (const uint64_t *)frame_ptr(f, frame);
	const uint64_t want = UINT64_C(0x0101010101010101) * FREED;

	for (unsigned int i = 0; i < TF_PAGE_SIZE / 8; i++)
		if (w[i] != want)
			die(f, "a free frame was written to", frame);
}

/* Take n free frames, aligned to n; returns f->frames if there are none. */
static uint64_t find(struct fakehost *f, uint64_t n)
{
	uint64_t limit = f->limit_frames ? f->limit_frames : f->small;

	if (n == HUGE) {
		for (uint64_t at = HUGE, k; at < f->frames; at += HUGE) {
			for (k = 0; k < HUGE && f->state[at + k] == FAKE_FREE; k++)
				;
			if (k == HUGE)
				return at;
		}
		return f->frames;
	}
	if (f->in_use + n > limit)
		return f->frames;
	uint64_t start = (f->next + n - 1) & ~(n - 1);
	for (uint64_t tried = 0; tried < f->small + n; tried += n) {
		uint64_t at = (start + tried) % f->small;
		uint64_t k = 0;
		while (k < n && f->state[at + k] == FAKE_FREE)
			k++;
		if (k == n)
			return at;
	}
	return f->frames;
}

/* Give memory behind a 1 GiB allocation, zeroed, or take it away from a part of it. */
static void huge_open(struct fakehost *f, uint64_t at, uint64_t n, bool open)
{
	if ((!open && madvise(frame_ptr(f, at), n * TF_PAGE_SIZE, MADV_DONTNEED)) ||
	    mprotect(frame_ptr(f, at), n * TF_PAGE_SIZE, open ? PROT_READ | PROT_WRITE : PROT_NONE))
		die(f, "no memory for a 1 GiB allocation", at);
}

static enum fake_state state_for(unsigned int order)
{
	return order == TF_ORDER_4K ? FAKE_SMALL : order == TF_ORDER_2M ? FAKE_LARGE : FAKE_HUGE;
}

static enum tf_status fake_alloc(struct tf_host *h, unsigned int node, unsigned int order,
				 enum tf_use use, hpa_t *out)
{
	struct fakehost *f = of(h);
	uint64_t n = UINT64_C(1) << order;

	if (node >= TF_MAX_NODES)
		die(f, "an allocation from a node that cannot be", node);
	if (order != TF_ORDER_4K && order != TF_ORDER_2M && order != TF_ORDER_1G)
		die(f, "an allocation of an order that host.h does not have", order);
	pthread_mutex_lock(&f->lock);
	uint64_t number = ++f->allocs;
	bool fail = f->fail_at && number >= f->fail_at &&
		    number < f->fail_at + (f->fail_for ? f->fail_for : 1);
	if (fail || (f->fail_large && order == TF_ORDER_2M) ||
	    (f->fail_huge && order == TF_ORDER_1G)) {
		f->failed++;
		pthread_mutex_unlock(&f->lock);
		return TF_E_NOMEM;
	}
	uint64_t at = find(f, n);
	if (at == f->frames) {
		pthread_mutex_unlock(&f->lock);
		return TF_E_NOMEM;
	}
	if (n == HUGE)
		huge_open(f, at, n, true);
	else
		UNPOISON(frame_ptr(f, at), n * TF_PAGE_SIZE);
	for (uint64_t k = 0; k < n; k++) {
		if (n != HUGE)
			check_pattern(f, at + k);
		set_state(f, at + k, state_for(order));
		f->node[at + k] = (uint8_t)node;
		f->use[at + k] = (uint8_t)use;
	}
	if (n != HUGE) {
		f->next = (at + n) % f->small;
		f->in_use += n;
	}
	if (f->in_use > f->in_use_max)
		f->in_use_max = f->in_use;
	pthread_mutex_unlock(&f->lock);
	if (n != HUGE)
		memset(frame_ptr(f, at), use == TF_USE_FRAME ? 0 : FRESH, n * TF_PAGE_SIZE);
	*out = hpa(FAKEHOST_BASE + at * TF_PAGE_SIZE);
	return TF_OK;
}

/* A 1 GiB allocation comes back in parts of 2 MiB. */
static void fake_free(struct tf_host *h, unsigned int order, hpa_t a)
{
	struct fakehost *f = of(h);
	uint64_t n = UINT64_C(1) << order;
	uint64_t at = fakehost_frame(a);

	if (order != TF_ORDER_4K && order != TF_ORDER_2M)
		die(f, "a free of an order that host.h does not have", order);
	if (a.v < FAKEHOST_BASE || at >= f->frames || (a.v & (n * TF_PAGE_SIZE - 1)))
		die(f, "a free of what was never allocated", at);
	for (uint64_t k = 0; k < n; k++)
		if (state_of(f, at + k) == FAKE_FREE)
			die(f, "a second free", at + k);
	if (order == TF_ORDER_2M)
		for (uint64_t k = 0; k < n; k++)
			if (state_of(f, at + k) == FAKE_SMALL)
				die(f, "a 2 MiB free of 4 KiB allocations", at + k);
	if (order == TF_ORDER_4K && at >= f->small)
		die(f, "a 4 KiB free of a part of a 1 GiB allocation", at);
	if (f->on_free)
		f->on_free(f->arg, hfn(a.v >> TF_PAGE_SHIFT), n);
	const bool huge = at >= f->small;

	if (!huge)
		memset(frame_ptr(f, at), FREED, n * TF_PAGE_SIZE);
	pthread_mutex_lock(&f->lock);
	for (uint64_t k = 0; k < n; k++)
		set_state(f, at + k, FAKE_FREE);
	if (huge) {
		huge_open(f, at, n, false);
	} else {
		POISON(frame_ptr(f, at), n * TF_PAGE_SIZE);
		f->in_use -= n;
	}
	f->frees++;
	pthread_mutex_unlock(&f->lock);
}

static void fake_flush(struct tf_host *h, const struct tf_cpuset *vcpus, uint32_t kinds)
{
	struct fakehost *f = of(h);

	if (!kinds || (kinds & ~(uint32_t)TF_FLUSH_ALL))
		die(f, "a flush of no kind, or of one that host.h does not have", 0);
	__atomic_fetch_add(&f->flushes, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&f->flushes_of[kinds], 1, __ATOMIC_RELAXED);
	if (f->on_flush)
		f->on_flush(f->arg, vcpus, kinds);
}

static void fake_kick(struct tf_host *h, unsigned int vcpu)
{
	struct fakehost *f = of(h);

	__atomic_fetch_add(&f->kicks, 1, __ATOMIC_RELAXED);
	if (f->on_kick)
		f->on_kick(f->arg, vcpu);
}

static uint64_t fake_cycles(struct tf_host *h)
{
	return __atomic_add_fetch(&of(h)->clock, 100, __ATOMIC_RELAXED);
}

static __attribute__((noreturn)) void fake_panic(struct tf_host *h, const char *file, int line,
						 const char *what)
{
	struct fakehost *f = of(h);

	snprintf(f->panic_text, sizeof(f->panic_text), "%s:%d: %s", file, line, what);
	if (f->panic_jumps)
		longjmp(f->panic_jump, 1);
	fprintf(stderr, "engine panic: %s\n", f->panic_text);
	if (f->on_panic)
		f->on_panic(f->arg, file, line, what);
	abort();
}

void fakehost_init(struct fakehost *f, uint64_t bytes)
{
	fakehost_init_huge(f, bytes, 0);
}

void fakehost_init_huge(struct fakehost *f, uint64_t bytes, unsigned int gibs)
{
	const uint64_t big = BIG * TF_PAGE_SIZE;

	memset(f, 0, sizeof(*f));
	bytes = (bytes + big - 1) & ~(big - 1);
	/* The GiBs begin aligned, as the first frame does. */
	const uint64_t all = gibs ? (1 + gibs) * HUGE * TF_PAGE_SIZE : bytes;
	uint8_t *p = mmap(NULL, all + big, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);
	if (p == MAP_FAILED) {
		perror("fakehost: mmap");
		exit(70);
	}
	uint8_t *aligned = (uint8_t *)(((uintptr_t)p + big - 1) & ~(uintptr_t)(big - 1));
	if (aligned != p)
		munmap(p, (size_t)(aligned - p));
	if (aligned + all != p + all + big)
		munmap(aligned + all, (size_t)(p + all + big - (aligned + all)));
	if (mprotect(aligned, bytes, PROT_READ | PROT_WRITE)) {
		perror("fakehost: mprotect");
		exit(70);
	}
	f->arena = aligned;
	f->small = bytes / TF_PAGE_SIZE;
	f->frames = all / TF_PAGE_SIZE;
	f->state = calloc(f->frames, 1);
	f->node = calloc(f->frames, 1);
	f->use = calloc(f->frames, 1);
	if (!f->state || !f->node || !f->use) {
		perror("fakehost: calloc");
		exit(70);
	}
	memset(f->arena, FREED, bytes);
	POISON(f->arena, bytes);
	pthread_mutex_init(&f->lock, NULL);
	f->host = (struct tf_host){
		.page_alloc = fake_alloc,
		.page_free = fake_free,
		.flush = fake_flush,
		.kick = fake_kick,
		.cycles = fake_cycles,
		.panic = fake_panic,
		.linear = (uintptr_t)f->arena - (uintptr_t)FAKEHOST_BASE,
	};
}

uint64_t fakehost_leaks(const struct fakehost *f)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < f->frames; i++) {
		if (f->state[i] == FAKE_FREE)
			continue;
		if (n++ < 4)
			fprintf(stderr, "fakehost: leaked frame %llu (hpa %#llx, %s)\n",
				(unsigned long long)i,
				(unsigned long long)(FAKEHOST_BASE + i * TF_PAGE_SIZE),
				f->state[i] == FAKE_LARGE   ? "2 MiB"
				: f->state[i] == FAKE_SMALL ? "4 KiB"
							    : "1 GiB");
	}
	return n;
}

void fakehost_check(struct fakehost *f)
{
	pthread_mutex_lock(&f->lock);
	for (uint64_t i = 0; i < f->small; i++) {
		if (f->state[i] != FAKE_FREE)
			continue;
		UNPOISON(frame_ptr(f, i), TF_PAGE_SIZE);
		check_pattern(f, i);
		POISON(frame_ptr(f, i), TF_PAGE_SIZE);
	}
	pthread_mutex_unlock(&f->lock);
}

void fakehost_fini(struct fakehost *f)
{
	UNPOISON(f->arena, f->small * TF_PAGE_SIZE);
	munmap(f->arena, f->frames * TF_PAGE_SIZE);
	free(f->state);
	free(f->node);
	free(f->use);
	pthread_mutex_destroy(&f->lock);
}

uint64_t fakehost_count(const struct fakehost *f, unsigned int node, enum tf_use use)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < f->frames; i++)
		n += f->state[i] != FAKE_FREE && f->node[i] == node && f->use[i] == use;
	return n;
}

void fakehost_fail(struct fakehost *f, uint64_t n, uint64_t run)
{
	f->fail_at = n ? f->allocs + n : 0;
	f->fail_for = run;
}

bool fakehost_is_allocated(struct fakehost *f, hpa_t a)
{
	if (a.v < FAKEHOST_BASE)
		return false;
	uint64_t i = fakehost_frame(a);
	return i < f->frames && state_of(f, i) != FAKE_FREE;
}

void *fakehost_ptr(struct fakehost *f, hpa_t a, size_t n, const char *who)
{
	if (!fakehost_is_allocated(f, a) || (a.v & TF_PAGE_MASK) + n > TF_PAGE_SIZE)
		die(f, who, fakehost_frame(a));
	return tf_host_ptr(&f->host, a);
}
