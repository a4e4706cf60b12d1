/* Table calls one after the other, in every format that we write.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "table_cpu.h"

static void expect(uint64_t at, unsigned int level, uint64_t to, unsigned int perm)
{
	unsigned int l;
	uint64_t e = *table_lookup(&t, at, &l);
	unsigned int knows = PERM_RWX | (t.fmt->u ? PERM_U : 0) | (t.fmt->a ? PERM_A | PERM_D : 0);
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
	assert_int_equal(told.last & t.fmt->d, t.fmt->d);
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
	assert_int_equal(told.all & t.fmt->d, t.fmt->d);
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
	for (bool more = cursor_start(&c, &t, G1 - K4, G1 + M2 + K4); more;
	     more = cursor_next(&c)) {
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
		s = table_map(&op, &t, K4, 1, hfn(0), PERM_R, NULL, NULL);
		fail_msg("an unaligned large leaf was taken: %d", s);
	}
	if (!setjmp(host.panic_jump)) {
		s = table_map(&op, &t, 0, 0, hfn(1), PERM_W, NULL, NULL);
		fail_msg("a leaf without R was taken: %d", s);
	}
	if (!setjmp(host.panic_jump)) {
		s = table_unmap(&op, &t, 0, fmt_end(t.fmt) + K4, NULL);
		fail_msg("a range beyond the end was taken: %d", s);
	}
	assert_int_equal(t.pages, 1);
}

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
	};
	return run_with_every_format(suite, sizeof(suite) / sizeof(suite[0]));
}
