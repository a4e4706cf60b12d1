/* Tables of every format that we write, with hardware that walks between any two writes.
 *
 * engine/tables/table.c is compiled here with atomics of our own: before each of its writes a model CPU
 * walks the table (with a paging-structure cache and a TLB that only a flush empties) and sets A
 * and D; after each write every watched address must be mapped as before the call or as after it. At the
 * end no A or D that the CPU set may be lost, and no TLB entry may outlive a right that was taken
 * unless a flush is owed.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* ---- atomics that tell (instead of base/atomic.h) ---- */

#define BASE_ATOMIC_H

#include <stdbool.h>

static void before_write(void);
static void after_write(void);
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

#define K4   UINT64_C(0x1000)
#define M2   UINT64_C(0x200000)
#define G1   UINT64_C(0x40000000)
#define WXU  (unsigned int)(PERM_W | PERM_X | PERM_U)
#define WATCHES 40u

/* ---- what the tests share ---- */

static struct fakehost host;
static const struct tf_cpuset cpus = {.w = {1}};
static struct pool pool;
static struct table t;
static struct op op;

static uint64_t seed;

static uint64_t rnd(void)
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
	struct page before, after; /* of the call under way */
	uint64_t set_before, set_after; /* A and D that the CPU set in leaves to either */
	uint64_t told;                  /* A and D that the sink was told */
	uint64_t *cached;               /* the level-0 entry, found through a cached upper entry */
	struct page tlb;
};

static struct watch watch[WATCHES];
static bool hardware;   /* the CPU runs, and states are checked */
static bool stale_only; /* it walks through cached upper entries as long as it has them */

static struct page decode(unsigned int level, uint64_t e, uint64_t at)
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
static uint64_t *hw_walk(uint64_t at, unsigned int *level)
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

static struct page walk_page(uint64_t at)
{
	unsigned int level;
	uint64_t *e = hw_walk(at, &level);
	return decode(level, *e, at);
}

static bool same_page(const struct page *a, const struct page *b)
{
	return a->mapped == b->mapped &&
	       (!a->mapped || (a->to == b->to && a->perm == b->perm));
}

/* One access of the CPU to a watched page: by a new walk or through the cached upper entry. */
static void hw_access(struct watch *w, bool write)
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

static void hw_flush(void *arg, const struct tf_cpuset *who)
{
	(void)arg;
	assert_true(cpuset_has(who, 0));
	for (unsigned int i = 0; i < WATCHES; i++) {
		watch[i].cached = NULL;
		watch[i].tlb.mapped = false;
	}
}

static void before_write(void)
{
	if (hardware && rnd() % 4 == 0)
		hw_access(&watch[rnd() % WATCHES], rnd() % 2);
}

static void check_states(void)
{
	for (unsigned int i = 0; i < WATCHES; i++) {
		struct page now = walk_page(watch[i].at);
		if (!same_page(&now, &watch[i].before))
			assert_true(same_page(&now, &watch[i].after));
	}
}

static void after_write(void)
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

static void told_leaf(struct table_sink *s, uint64_t at, unsigned int level, uint64_t entry)
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

static int setup(void **state)
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

static int teardown(void **state)
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

static void map(uint64_t at, unsigned int level, uint64_t to, unsigned int perm)
{
	assert_int_equal(table_map(&op, &t, at, level, hfn(to >> 12), perm, &told.sink), TF_OK);
	assert_null(table_check(&t));
}

static void unmap(uint64_t from, uint64_t to)
{
	assert_int_equal(table_unmap(&op, &t, from, to, &told.sink), TF_OK);
	assert_null(table_check(&t));
}

static void expect(uint64_t at, unsigned int level, uint64_t to, unsigned int perm)
{
	unsigned int l;
	uint64_t e = *table_lookup(&t, at, &l);
	unsigned int knows = t.fmt->u ? ~0u : ~(unsigned int)PERM_U;
	assert_int_equal(fmt_kind(t.fmt, l, e), FMT_LEAF);
	assert_int_equal(l, level);
	assert_int_equal(fmt_leaf(t.fmt, l, e), to);
	assert_int_equal(fmt_perm(t.fmt, e), perm & knows);
}

static void expect_empty(uint64_t at, unsigned int level)
{
	unsigned int l;
	assert_int_equal(*table_lookup(&t, at, &l), 0);
	assert_int_equal(l, level);
}

/* ---- one call after the other ---- */

static void test_empty(void **state)
{
	(void)state;
	expect_empty(0, t.fmt->levels - 1u);
	expect_empty(fmt_end(t.fmt) - 1, t.fmt->levels - 1u);
	assert_int_equal(t.pages, 1);
	unmap(0, fmt_end(t.fmt));
	assert_false(op.flush);
	assert_null(table_check(&t));
	struct table other;
	pool_drain(&pool);
	fakehost_fail(&host, 1, 1);
	assert_int_equal(table_init(&op, &other, *state, &host.host, &pool), TF_E_NOMEM);
}

static void test_map_levels(void **state)
{
	(void)state;
	unsigned int upper = t.fmt->levels - 1u;
	map(0x5000, 0, 0xabc000, PERM_RWX | PERM_A);
	expect(0x5fff, 0, 0xabc000, PERM_RWX | PERM_A);
	expect_empty(0x6000, 0);
	assert_int_equal(t.pages, 1 + upper);
	map(M2 * 7, 1, M2 * 3, PERM_R | PERM_X);
	expect(M2 * 8 - 1, 1, M2 * 3, PERM_R | PERM_X);
	assert_int_equal(t.pages, 1 + upper);
	map(G1 * 5, 2, G1 * 9, PERM_R | PERM_W | PERM_U);
	expect(G1 * 5 + 1234567, 2, G1 * 9, PERM_R | PERM_W | PERM_U);
	map(fmt_end(t.fmt) - K4, 0, 0x1000, PERM_R);
	expect(fmt_end(t.fmt) - 1, 0, 0x1000, PERM_R);
	assert_false(op.flush); /* only what was there can be in a TLB */
	assert_int_equal(told.n, 0);
}

static void test_map_again(void **state)
{
	(void)state;
	map(0, 0, 0x1000, PERM_R | PERM_D);
	map(0, 0, 0x1000, PERM_RWX | PERM_A);
	expect(0, 0, 0x1000, PERM_RWX | PERM_A | PERM_D);
	assert_false(op.flush);
	map(0, 0, 0x1000, PERM_R);
	assert_true(op.flush);
	expect(0, 0, 0x1000, PERM_R | PERM_A | PERM_D);
	assert_int_equal(told.n, 0);
	op_flush(&op);
	map(0, 0, 0x2000, PERM_R);
	assert_true(op.flush);
	expect(0, 0, 0x2000, PERM_R);
	assert_int_equal(told.n, 1);
	assert_int_equal(fmt_leaf(t.fmt, 0, told.last), 0x1000);
	assert_true(told.last & t.fmt->d);
}

static void test_large_over_small(void **state)
{
	(void)state;
	uint64_t pages = t.pages;
	map(G1 + K4, 0, 0x1000, PERM_RWX | PERM_A);
	map(G1 + M2 + K4 * 511, 0, 0x2000, PERM_RWX | PERM_D);
	map(G1 + M2 * 4, 1, M2, PERM_R);
	map(G1, 2, G1 * 2, PERM_RWX);
	assert_int_equal(told.n, 3);
	assert_int_equal(told.all & (t.fmt->a | t.fmt->d), t.fmt->a | t.fmt->d);
	assert_true(op.flush);
	expect(G1 + M2, 2, G1 * 2, PERM_RWX);
	assert_int_equal(t.pages, pages + t.fmt->levels - 3u);
	/* Nothing is freed before the flush. */
	assert_int_equal(op.pages_n, 3);
	op_flush(&op);
}

static void test_small_into_large(void **state)
{
	(void)state;
	map(G1, 2, G1 * 2, PERM_R | PERM_W | PERM_A);
	map(G1 + M2 + K4, 0, 0x5000, PERM_R);
	expect(G1 + M2 + K4, 0, 0x5000, PERM_R);
	expect(G1 + M2, 0, G1 * 2 + M2, PERM_R | PERM_W | PERM_A);
	expect(G1 + M2 + K4 * 2, 0, G1 * 2 + M2 + K4 * 2, PERM_R | PERM_W | PERM_A);
	expect(G1, 1, G1 * 2, PERM_R | PERM_W | PERM_A);
	expect(G1 * 2 - 1, 1, G1 * 3 - M2, PERM_R | PERM_W | PERM_A);
	assert_int_equal(told.n, 1);
	assert_true(op.flush);
}

static void test_split_and_collapse(void **state)
{
	(void)state;
	unsigned int perm = PERM_R | PERM_X;
	assert_int_equal(table_split(&op, &t, G1), TF_E_NOENT);
	map(G1, 2, G1 * 3, perm | PERM_D);
	uint64_t pages = t.pages;
	assert_int_equal(table_split(&op, &t, G1 + 5 * M2), TF_OK);
	expect(G1 + 5 * M2, 1, G1 * 3 + 5 * M2, perm | PERM_D);
	assert_int_equal(table_split(&op, &t, G1 + 5 * M2), TF_OK);
	assert_int_equal(table_split(&op, &t, G1 + 5 * M2), TF_E_NOENT);
	expect(G1 + 6 * M2 - K4, 0, G1 * 3 + 6 * M2 - K4, perm | PERM_D);
	assert_int_equal(t.pages, pages + 2);
	assert_int_equal(table_collapse(&op, &t, G1, 2), TF_E_INVAL);
	unsigned int l;
	*table_lookup(&t, G1 + 5 * M2 + 77 * K4, &l) |= t.fmt->a;
	assert_int_equal(table_collapse(&op, &t, G1 + 5 * M2, 1), TF_OK);
	expect(G1 + 5 * M2, 1, G1 * 3 + 5 * M2, perm | PERM_A | PERM_D);
	assert_int_equal(table_collapse(&op, &t, G1, 2), TF_OK);
	expect(G1 + 123, 2, G1 * 3, perm | PERM_A | PERM_D);
	assert_int_equal(table_collapse(&op, &t, G1, 2), TF_E_INVAL);
	assert_int_equal(t.pages, pages);
	assert_true(op.flush);
	op_flush(&op);
	assert_null(table_check(&t));
}

static void test_collapse_refuses(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 512; i++)
		map(i * K4, 0, M2 * 4 + i * K4, PERM_RWX);
	map(K4 * 17, 0, M2 * 4 + K4 * 17, PERM_R | PERM_X);
	assert_int_equal(table_collapse(&op, &t, 0, 1), TF_E_INVAL);
	map(K4 * 17, 0, M2 * 4 + K4 * 18, PERM_RWX);
	assert_int_equal(table_collapse(&op, &t, 0, 1), TF_E_INVAL);
	unmap(K4 * 17, K4 * 18);
	assert_int_equal(table_collapse(&op, &t, 0, 1), TF_E_INVAL);
	map(K4 * 17, 0, M2 * 4 + K4 * 17, PERM_RWX);
	assert_int_equal(table_collapse(&op, &t, 0, 1), TF_OK);
	expect(0, 1, M2 * 4, PERM_RWX);
	/* Contiguous, but from a frame that is not aligned. */
	for (uint64_t i = 0; i < 512; i++)
		map(M2 + i * K4, 0, M2 * 4 + K4 + i * K4, PERM_RWX);
	assert_int_equal(table_collapse(&op, &t, M2, 1), TF_E_INVAL);
	assert_int_equal(table_collapse(&op, &t, M2 * 9, 1), TF_E_INVAL);
}

static void test_unmap_edges(void **state)
{
	(void)state;
	uint64_t pages = t.pages;
	map(G1, 2, G1 * 2, PERM_RWX | PERM_D);
	unmap(G1 + M2 + K4, G1 + 3 * M2 - K4);
	assert_int_equal(told.n, 511 + 511);
	assert_true(told.all & t.fmt->d);
	expect(G1 + M2, 0, G1 * 2 + M2, PERM_RWX | PERM_D);
	expect(G1 + 3 * M2 - 1, 0, G1 * 2 + 3 * M2 - K4, PERM_RWX | PERM_D);
	expect_empty(G1 + M2 + K4, 0);
	expect_empty(G1 + 3 * M2 - K4 - 1, 0);
	expect(G1 + 3 * M2, 1, G1 * 2 + 3 * M2, PERM_RWX | PERM_D);
	unmap(G1 + M2, G1 + 3 * M2);
	expect_empty(G1 + M2, 1);
	op_flush(&op);
	unmap(0, fmt_end(t.fmt));
	assert_int_equal(t.pages, pages);
	assert_true(op.flush);
}

static void test_unmap_one_by_one(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 1024; i++)
		map(G1 - M2 + i * K4, 0, i * K4, PERM_RWX);
	for (uint64_t i = 0; i < 1024; i++) {
		unmap(G1 - M2 + i * K4, G1 - M2 + (i + 1) * K4);
		assert_int_equal(told.n, i + 1);
		assert_int_equal(told.last_at, G1 - M2 + i * K4);
	}
	assert_int_equal(t.pages, 1);
}

static void test_protect(void **state)
{
	(void)state;
	map(G1, 2, G1 * 2, PERM_RWX | PERM_U | PERM_D);
	uint64_t pages = t.pages;
	/* The whole leaf: nothing to split. */
	assert_int_equal(table_protect(&op, &t, G1, G1 * 2, PERM_X), TF_OK);
	expect(G1, 2, G1 * 2, PERM_R | PERM_W | PERM_U | PERM_D);
	assert_int_equal(t.pages, pages);
	assert_true(op.flush);
	op_flush(&op);
	/* It has the right no more: nothing to split, nothing owed. */
	assert_int_equal(table_protect(&op, &t, G1 + K4, G1 + 2 * K4, PERM_X), TF_OK);
	assert_int_equal(t.pages, pages);
	assert_false(op.flush);
	assert_int_equal(table_protect(&op, &t, G1 + K4, G1 + 2 * K4, PERM_W | PERM_X), TF_OK);
	assert_int_equal(t.pages, pages + 2);
	assert_true(op.flush);
	expect(G1, 0, G1 * 2, PERM_R | PERM_W | PERM_U | PERM_D);
	expect(G1 + K4, 0, G1 * 2 + K4, PERM_R | PERM_U | PERM_D);
	expect(G1 + K4 * 2, 0, G1 * 2 + K4 * 2, PERM_R | PERM_W | PERM_U | PERM_D);
	expect(G1 + M2, 1, G1 * 2 + M2, PERM_R | PERM_W | PERM_U | PERM_D);
	assert_int_equal(table_protect(&op, &t, 0, fmt_end(t.fmt), WXU), TF_OK);
	expect(G1, 0, G1 * 2, PERM_R | PERM_D);
	expect(G1 + 9 * M2, 1, G1 * 2 + 9 * M2, PERM_R | PERM_D);
	assert_null(table_check(&t));
}

/* A range as large as the address space costs what is mapped, not what could be. */
static void test_sparse(void **state)
{
	(void)state;
	const uint64_t end = fmt_end(t.fmt);
	map(0, 0, 0x1000, PERM_RWX);
	map(end / 2 + 5 * G1 + 7 * M2, 0, 0x2000, PERM_RWX);
	map(end - G1, 2, G1, PERM_RWX);
	reads = 0;
	assert_int_equal(table_protect(&op, &t, 0, end, PERM_W), TF_OK);
	assert_in_range(reads, 3, t.pages * 513 + 100);
	uint64_t pages = t.pages;
	reads = 0;
	assert_int_equal(table_unmap(&op, &t, 0, end, &told.sink), TF_OK);
	assert_in_range(reads, 3, 2 * pages * 513 + 100);
	assert_int_equal(told.n, 3);
	assert_int_equal(t.pages, 1);
}

static void test_cursor(void **state)
{
	(void)state;
	struct cursor c;
	map(G1 - K4, 0, 0x1000, PERM_R);
	map(G1, 0, 0x2000, PERM_R);
	map(G1 + M2, 1, M2, PERM_R);
	assert_false(cursor_start(&c, &t, G1, G1));
	unsigned int leaves = 0, tables = 0;
	uint64_t last = 0;
	for (bool more = cursor_start(&c, &t, G1 - K4, G1 + M2 + K4); more; more = cursor_next(&c)) {
		assert_true(c.at >= last || c.at <= G1 - K4);
		last = c.at;
		leaves += cursor_kind(&c) == FMT_LEAF;
		tables += cursor_kind(&c) == FMT_TABLE;
		assert_true(c.at < G1 + M2 + K4 && c.at + fmt_size(t.fmt, c.level) > G1 - K4);
	}
	assert_int_equal(leaves, 3);
	assert_int_equal(tables, t.pages - 1);
}

static void test_asserts(void **state)
{
	(void)state;
	host.panic_jumps = true;
	enum tf_status s;
	if (!setjmp(host.panic_jump)) {
		s = table_map(&op, &t, K4, 1, hfn(0), PERM_R, NULL);
		fail_msg("an unaligned large leaf was taken: %d", s);
	}
	if (!setjmp(host.panic_jump)) {
		s = table_map(&op, &t, 0, 0, hfn(1), PERM_W, NULL);
		fail_msg("a leaf without R was taken: %d", s);
	}
	if (!setjmp(host.panic_jump)) {
		s = table_unmap(&op, &t, 0, fmt_end(t.fmt) + K4, NULL);
		fail_msg("a range beyond the end was taken: %d", s);
	}
	assert_int_equal(t.pages, 1);
}

/* ---- random histories ---- */

enum call { MAP, UNMAP, PROTECT, SPLIT, COLLAPSE, CALLS };

struct step {
	enum call call;
	uint64_t from, to; /* MAP: to is the target */
	unsigned int level, perm;
};

/* Edges of large pages and their neighbours, in the first and in the last 4 GiB. */
static void choose_watches(void)
{
	for (unsigned int i = 0; i < WATCHES; i++) {
		uint64_t at = rnd() % 4 * G1;
		at += rnd() % 2 ? rnd() % 3 * M2 : (509 + rnd() % 3) * M2;
		at += rnd() % 2 ? rnd() % 3 * K4 : (509 + rnd() % 3) * K4;
		watch[i] = (struct watch){.at = i % 4 ? at : fmt_end(t.fmt) - 4 * G1 + at};
	}
}

static uint64_t random_edge(void)
{
	uint64_t at = watch[rnd() % WATCHES].at;
	switch (rnd() % 4) {
	case 0:
		return at & ~(M2 - 1);
	case 1:
		return at & ~(G1 - 1);
	case 2:
		return at + K4;
	default:
		return at;
	}
}

static struct step random_step(void)
{
	struct step s = {.call = (enum call)(rnd() % CALLS), .level = (unsigned int)(rnd() % 3)};
	uint64_t a = random_edge(), b = random_edge();
	if (rnd() % 2)
		s.call = MAP;
	if (s.call == COLLAPSE)
		s.level = 1 + s.level % 2;
	s.from = a < b ? a : b;
	s.to = a < b ? b : a;
	s.perm = (unsigned int)rnd() & (PERM_W | PERM_X | (t.fmt->u ? PERM_U : 0));
	if (s.call != MAP && s.call != COLLAPSE)
		return s;
	s.from = watch[rnd() % WATCHES].at & ~(fmt_size(t.fmt, s.level) - 1);
	/* Often the frame of the same number, so that pages may be collapsed; few rights then. */
	s.to = s.from % (64 * G1);
	if (rnd() % 3 == 0)
		s.to = rnd() % 64 * fmt_size(t.fmt, s.level);
	s.perm = PERM_R | (rnd() % 2 ? s.perm : PERM_W);
	return s;
}

static enum tf_status do_step(const struct step *s)
{
	switch (s->call) {
	case MAP:
		return table_map(&op, &t, s->from, s->level, hfn(s->to >> 12), s->perm, &told.sink);
	case UNMAP:
		return table_unmap(&op, &t, s->from, s->to, &told.sink);
	case PROTECT:
		return table_protect(&op, &t, s->from, s->to, s->perm & WXU);
	case SPLIT:
		return table_split(&op, &t, s->from);
	default:
		return table_collapse(&op, &t, s->from, s->level);
	}
}

/* What each watched address must be after the step. */
static void predict(const struct step *s)
{
	for (unsigned int i = 0; i < WATCHES; i++) {
		struct watch *w = &watch[i];
		w->after = w->before;
		w->set_before = w->set_after = w->told = 0;
		bool in = w->at >= s->from && w->at < s->to;
		if (s->call == MAP && w->at >= s->from &&
		    w->at - s->from < fmt_size(t.fmt, s->level))
			w->after = (struct page){true, s->to + (w->at - s->from), s->perm};
		else if (s->call == UNMAP && in)
			w->after.mapped = false;
		else if (s->call == PROTECT && in)
			w->after.perm &= ~(s->perm & WXU);
	}
}

static uint64_t ad_now(uint64_t at)
{
	unsigned int level;
	uint64_t e = *hw_walk(at, &level);
	return fmt_kind(t.fmt, level, e) == FMT_LEAF ? e & (t.fmt->a | t.fmt->d) : 0;
}

static void check_after(bool done)
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

/* Every allocation of the step fails in turn, then it is done. */
static void run_step(const struct step *s)
{
	for (uint64_t n = 1;; n++) {
		uint64_t pages = t.pages, failed = host.failed;
		unsigned int owed = op.pages_n;
		pool_drain(&pool);
		predict(s);
		fakehost_fail(&host, n, 1000);
		enum tf_status st = do_step(s);
		fakehost_fail(&host, 0, 0);
		if (st != TF_E_NOMEM) {
			assert_int_equal(host.failed, failed);
			assert_true(st == TF_OK || s->call == SPLIT || s->call == COLLAPSE);
			check_after(true);
			return;
		}
		assert_true(host.failed > failed);
		assert_int_equal(t.pages, pages);
		assert_int_equal(op.pages_n, owed);
		check_after(false);
	}
}

static void random_history(void)
{
	choose_watches();
	hw_flush(NULL, &cpus);
	hardware = true;
	for (unsigned int n = 0; n < 150; n++) {
		struct step s = random_step();
		run_step(&s);
		if (rnd() % 2)
			op_flush(&op);
		for (unsigned int k = 0; k < 4; k++) {
			for (unsigned int i = 0; i < WATCHES; i++)
				watch[i].after = watch[i].before;
			hw_access(&watch[rnd() % WATCHES], rnd() % 2);
		}
	}
	hardware = false;
	/* A table that a full unmap leaves is the root alone. */
	assert_int_equal(table_unmap(&op, &t, 0, fmt_end(t.fmt), NULL), TF_OK);
	assert_int_equal(t.pages, 1);
	op_flush(&op);
}

static void test_random(void **state)
{
	(void)state;
	for (uint64_t n = 1; n <= 40; n++) {
		seed = n << 32;
		print_message("seed %llu, %s\n", (unsigned long long)n, t.fmt->name);
		random_history();
	}
}

/* Split and collapse the same page while the CPU writes to it through upper entries it cached. */
static void test_collapse_under_hardware(void **state)
{
	(void)state;
	const struct step split = {.call = SPLIT, .from = G1};
	const struct step collapse = {.call = COLLAPSE, .from = G1, .level = 1};
	for (unsigned int n = 0; n < 50; n++) {
		map(G1, 1, M2 * 5, PERM_R | PERM_W);
		for (unsigned int i = 0; i < WATCHES; i++) {
			watch[i] = (struct watch){.at = G1 + rnd() % 512 * K4};
			watch[i].before = walk_page(watch[i].at);
		}
		hardware = true;
		run_step(&split);
		for (unsigned int i = 0; i < WATCHES; i++)
			hw_access(&watch[i], false);
		stale_only = true;
		run_step(&collapse);
		hardware = stale_only = false;
		unsigned int level;
		(void)table_lookup(&t, G1, &level);
		assert_int_equal(level, 1);
		unmap(G1, G1 + M2);
		op_flush(&op);
	}
}

/* ---- each test with each format ---- */

static const struct fmt *const formats[] = {&fmt_x86_4, &fmt_x86_5, &fmt_npt, &fmt_ept};

int main(void)
{
	const struct CMUnitTest suite[] = {
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_map_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_map_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_over_small, setup, teardown),
		cmocka_unit_test_setup_teardown(test_small_into_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_split_and_collapse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_collapse_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unmap_edges, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unmap_one_by_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_protect, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sparse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cursor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_asserts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_collapse_under_hardware, setup, teardown),
	};
	enum { TESTS = sizeof(suite) / sizeof(suite[0]) };
	int failed = 0;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct CMUnitTest tests[TESTS];
		memcpy(tests, suite, sizeof(tests));
		for (size_t k = 0; k < TESTS; k++)
			tests[k].initial_state = (void *)(uintptr_t)formats[i];
		failed += cmocka_run_group_tests_name(formats[i]->name, tests, NULL, NULL);
	}
	return failed;
}
