/* A table under test: engine/tables/table.c with hardware that walks between any two of its writes.
 *
 * It is compiled here with atomics of our own (so include this instead of linking it): before each
 * of its writes a model CPU walks the table, with a paging-structure cache and a TLB that only a
 * flush empties, and sets A and D; after each write every watched address must be mapped as before
 * the call or as after it. check_after() then tells whether an A or D that the CPU set was lost, or
 * a TLB entry outlived a right that was taken although no flush is owed.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_TABLE_CPU_H
#define UNIT_TABLE_CPU_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* ---- atomics that tell (instead of base/atomic.h) ---- */

#define BASE_ATOMIC_H

#include <stdbool.h>

static inline void before_write(void);
static inline void after_write(void);
static uint64_t reads;

static inline uint64_t entry_read(const uint64_t *e)
{
	reads++;
	return *e;
}

static inline uint64_t entry_swap(uint64_t *e, uint64_t v)
{
	before_write();
	uint64_t old = *e;
	*e = v;
	after_write();
	return old;
}

static inline void entry_write(uint64_t *e, uint64_t v)
{
	(void)entry_swap(e, v);
}

static inline bool entry_cas(uint64_t *e, uint64_t *old, uint64_t v)
{
	before_write();
	bool same = *e == *old;
	*old = *e;
	if (same)
		*e = v;
	after_write();
	return same;
}

static inline uint64_t entry_and(uint64_t *e, uint64_t mask)
{
	before_write();
	uint64_t old = *e;
	*e &= mask;
	after_write();
	return old;
}

static inline uint64_t entry_or(uint64_t *e, uint64_t bits)
{
	before_write();
	uint64_t old = *e;
	*e |= bits;
	after_write();
	return old;
}

#include "tables/table.c"

#include "fakehost.h"
#include "format/fmt_ept.h"
#include "format/fmt_npt.h"
#include "format/fmt_x86.h"

#define K4	UINT64_C(0x1000)
#define M2	UINT64_C(0x200000)
#define G1	UINT64_C(0x40000000)
#define WXU	(unsigned int)(PERM_W | PERM_X | PERM_U)
#define WATCHES 40u

/* ---- what the tests share ---- */

static struct fakehost host;
static const struct tf_cpuset cpus = {.w = {1}};
static struct pool pool;
static struct table t;
static struct op op;

static uint64_t seed;

static inline uint64_t rnd(void)
{
	uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* ---- the model CPU ---- */

struct page {
	bool mapped;
	uint64_t to; /* of the 4 KiB page */
	unsigned int perm;
};

struct watch {
	uint64_t at;
	struct page before, after;	/* of the call under way */
	uint64_t set_before, set_after; /* A and D that the CPU set in leaves to either */
	uint64_t told;			/* A and D that the sink was told */
	uint64_t *cached;		/* the level-0 entry, found through a cached upper entry */
	struct page tlb;
};

static struct watch watch[WATCHES];
static bool hardware;	/* the CPU runs, and states are checked */
static bool stale_only; /* it walks through cached upper entries as long as it has them */

static inline struct page decode(unsigned int level, uint64_t e, uint64_t at)
{
	struct page p = {0};
	if (fmt_kind(t.fmt, level, e) != FMT_LEAF)
		return p;
	p.mapped = true;
	p.to = fmt_leaf(t.fmt, level, e) + (at & (fmt_size(t.fmt, level) - 1) & ~(K4 - 1));
	p.perm = fmt_perm(t.fmt, e) & ~(unsigned int)(PERM_A | PERM_D);
	return p;
}

/* Walk as the hardware does, only through pages that are allocated. */
static inline uint64_t *hw_walk(uint64_t at, unsigned int *level)
{
	uint64_t page = t.root.v;
	for (unsigned int l = t.fmt->levels - 1u;; l--) {
		uint64_t *p = fakehost_ptr(&host, hpa(page), K4, "model CPU");
		uint64_t *e = p + (at >> (12 + 9 * l) & 511);
		if (fmt_kind(t.fmt, l, *e) != FMT_TABLE) {
			*level = l;
			return e;
		}
		page = fmt_table(t.fmt, *e);
	}
}

static inline struct page walk_page(uint64_t at)
{
	unsigned int level;
	uint64_t *e = hw_walk(at, &level);
	return decode(level, *e, at);
}

static inline bool same_page(const struct page *a, const struct page *b)
{
	return a->mapped == b->mapped && (!a->mapped || (a->to == b->to && a->perm == b->perm));
}

/* One access of the CPU to a watched page: by a new walk or through the cached upper entry. */
static inline void hw_access(struct watch *w, bool write)
{
	unsigned int level = 0;
	uint64_t *e = w->cached && (stale_only || rnd() % 2) ? w->cached : hw_walk(w->at, &level);
	struct page p = decode(level, *e, w->at);
	if (level == 0)
		w->cached = e;
	if (!p.mapped || (write && !(p.perm & PERM_W)))
		return;
	uint64_t bits = t.fmt->a | (write ? t.fmt->d : 0);
	*e |= bits;
	w->tlb = p;
	if (w->before.mapped && p.to == w->before.to)
		w->set_before |= bits;
	if (w->after.mapped && p.to == w->after.to)
		w->set_after |= bits;
}

static inline void hw_flush(void *arg, const struct tf_cpuset *who, uint32_t kinds)
{
	(void)arg;
	assert_true(cpuset_has(who, 0));
	assert_int_equal(kinds, t.fmt->flush);
	for (unsigned int i = 0; i < WATCHES; i++) {
		watch[i].cached = NULL;
		watch[i].tlb.mapped = false;
	}
}

static inline void before_write(void)
{
	if (hardware && rnd() % 4 == 0)
		hw_access(&watch[rnd() % WATCHES], rnd() % 2);
}

static inline void check_states(void)
{
	for (unsigned int i = 0; i < WATCHES; i++) {
		struct page now = walk_page(watch[i].at);
		if (!same_page(&now, &watch[i].before))
			assert_true(same_page(&now, &watch[i].after));
	}
}

static inline void after_write(void)
{
	/* Hundreds of swaps of unlinked leaves in a row need not be looked at one by one. */
	static unsigned int n;
	if (hardware && (n++ < 4 || n % 16 == 0))
		check_states();
	if (n > 1000)
		n = 0;
}

struct told {
	struct table_sink sink;
	unsigned int n;
	uint64_t last_at, last, all; /* all: OR of the entries */
};

static inline void told_leaf(struct table_sink *s, uint64_t at, unsigned int level, uint64_t entry)
{
	struct told *told = (struct told *)s;
	assert_int_equal(fmt_kind(t.fmt, level, entry), FMT_LEAF);
	assert_int_equal(at & (fmt_size(t.fmt, level) - 1), 0);
	told->n++;
	told->last_at = at;
	told->last = entry;
	told->all |= entry;
	for (unsigned int i = 0; i < WATCHES; i++)
		if (hardware && watch[i].at - at < fmt_size(t.fmt, level))
			watch[i].told |= entry & (t.fmt->a | t.fmt->d);
}

static struct told told;

/* ---- setup ---- */

static inline int setup(void **state)
{
	fakehost_init(&host, 8 << 20);
	host.on_flush = hw_flush;
	pool_init(&pool, &host.host, 0);
	op_begin(&op, &host.host, &cpus);
	hardware = stale_only = false;
	memset(watch, 0, sizeof(watch));
	told = (struct told){.sink.leaf = told_leaf};
	seed = 1;
	if (table_init(&op, &t, *state, &host.host, &pool) != TF_OK)
		return 1;
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	hardware = false;
	table_destroy(&op, &t);
	op_flush(&op);
	pool_drain(&pool);
	uint64_t leaks = fakehost_leaks(&host);
	fakehost_check(&host);
	fakehost_fini(&host);
	return leaks || pool.out;
}

static inline void map(uint64_t at, unsigned int level, uint64_t to, unsigned int perm)
{
	assert_int_equal(table_map(&op, &t, at, level, hfn(to >> 12), perm, &told.sink, NULL),
			 TF_OK);
	assert_null(table_check(&t));
}

static inline void unmap(uint64_t from, uint64_t to)
{
	assert_int_equal(table_unmap(&op, &t, from, to, &told.sink), TF_OK);
	assert_null(table_check(&t));
}

static inline uint64_t ad_now(uint64_t at)
{
	unsigned int level;
	uint64_t e = *hw_walk(at, &level);
	return fmt_kind(t.fmt, level, e) == FMT_LEAF ? e & (t.fmt->a | t.fmt->d) : 0;
}

static inline void check_after(bool done)
{
	for (unsigned int i = 0; i < WATCHES; i++) {
		struct watch *w = &watch[i];
		struct page now = walk_page(w->at);
		uint64_t ad = ad_now(w->at);
		assert_true(same_page(&now, done ? &w->after : &w->before));
		bool same_frame = w->before.mapped && now.mapped && w->before.to == now.to;
		if (w->before.mapped)
			assert_int_equal(w->set_before & ~w->told & ~(same_frame ? ad : 0), 0);
		if (now.mapped && !same_frame)
			assert_int_equal(w->set_after & ~ad, 0);
		/* The TLB may hold what is no more only if a flush is owed. */
		if (w->tlb.mapped && !op.flush) {
			assert_true(now.mapped && now.to == w->tlb.to);
			assert_int_equal(w->tlb.perm & ~now.perm, 0);
		}
		w->before = now;
	}
	assert_null(table_check(&t));
}

/* ---- each test with each format ---- */

#define SUITE_MAX 16u

static inline int run_with_every_format(const struct CMUnitTest *suite, size_t n)
{
	static const struct fmt *const formats[] = {&fmt_x86_4, &fmt_x86_5, &fmt_npt, &fmt_ept,
						    &fmt_ept_no_ad};
	struct CMUnitTest tests[SUITE_MAX];
	int failed = 0;
	assert_true(n <= SUITE_MAX);
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		memcpy(tests, suite, n * sizeof(*suite));
		for (size_t k = 0; k < n; k++)
			tests[k].initial_state = (void *)(uintptr_t)formats[i];
		failed += _cmocka_run_group_tests(formats[i]->name, tests, n, NULL, NULL);
	}
	return failed;
}

#endif
