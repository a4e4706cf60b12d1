/* Formats: known words of the manuals, and what must hold for every format, level and right.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "format/fmt_ept.h"
#include "format/fmt_legacy.h"
#include "format/fmt_npt.h"
#include "format/fmt_x86.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct fmt *const all[] = {&fmt_x86_4,	&fmt_x86_5,    &fmt_npt,	  &fmt_ept,
					&fmt_ept_no_ad, &fmt_legacy32, &fmt_legacy32_pse, &fmt_pae};

static void test_known_words(void **state)
{
	(void)state;
	const unsigned int rwxu = PERM_RWX | PERM_U;
	const struct {
		const struct fmt *f;
		unsigned int level;
		uint64_t to;
		unsigned int perm;
		uint64_t word;
	} known[] = {
		{&fmt_x86_4, 0, 0x1234000, rwxu, 0x1234007},
		{&fmt_x86_4, 0, 0x1234000, PERM_R | PERM_X, 0x1234001},
		{&fmt_x86_4, 0, 0x1234000, PERM_R | PERM_W, UINT64_C(0x8000000001234003)},
		{&fmt_x86_5, 1, 0x40000000, rwxu | PERM_A | PERM_D, 0x400000e7},
		{&fmt_x86_4, 2, UINT64_C(0xfffffc0000000), rwxu, UINT64_C(0xfffffc0000087)},
		{&fmt_npt, 0, 0x1234000, PERM_RWX, 0x1234007},
		{&fmt_npt, 0, 0x1234000, PERM_R | PERM_X, 0x1234005},
		{&fmt_npt, 1, 0x40000000, PERM_R | PERM_A, UINT64_C(0x80000000400000a5)},
		{&fmt_ept, 0, 0x1234000, PERM_RWX, 0x1234077},
		{&fmt_ept, 0, 0x1234000, PERM_R, 0x1234071},
		{&fmt_ept, 2, 0x40000000, PERM_RWX | PERM_A | PERM_D, 0x400003f7},
		{&fmt_ept_no_ad, 1, 0x200000, PERM_RWX | PERM_A | PERM_D, 0x2000f7},
	};
	for (size_t i = 0; i < COUNT(known); i++)
		assert_int_equal(
			fmt_make_leaf(known[i].f, known[i].level, known[i].to, known[i].perm),
			known[i].word);
	assert_int_equal(fmt_make_table(&fmt_x86_4, 0x5000), 0x5027);
	assert_int_equal(fmt_make_table(&fmt_npt, 0x5000), 0x5027);
	assert_int_equal(fmt_make_table(&fmt_ept, 0x5000), 0x5107);
	assert_int_equal(fmt_make_table(&fmt_ept_no_ad, 0x5000), 0x5007);
}

static void test_kinds(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all); i++) {
		const struct fmt *f = all[i];
		for (unsigned int l = 0; l < f->levels; l++) {
			assert_int_equal(fmt_kind(f, l, 0), FMT_EMPTY);
			assert_int_equal(fmt_kind(f, l, f->large), FMT_EMPTY);
			assert_int_equal(fmt_kind(f, l, f->r), l ? FMT_TABLE : FMT_LEAF);
			/* Bit 7 of a 4 KiB leaf is no size bit. */
			assert_int_equal(fmt_kind(f, l, f->r | f->large),
					 fmt_can_leaf(f, l) ? FMT_LEAF : FMT_TABLE);
		}
	}
	assert_false(fmt_can_leaf(&fmt_x86_5, 3));
	assert_false(fmt_can_leaf(&fmt_x86_5, 4));
	assert_false(fmt_can_leaf(&fmt_pae, 2));
	/* Write-only and execute-only EPT entries are present (and misconfigured). */
	assert_int_equal(fmt_kind(&fmt_ept, 0, EPT_W), FMT_LEAF);
	assert_int_equal(fmt_kind(&fmt_ept, 0, EPT_X), FMT_LEAF);
}

static void test_leaf_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all); i++) {
		const struct fmt *f = all[i];
		if (!f->writable)
			continue;
		unsigned int knows = PERM_RWX | (f->a ? PERM_A | PERM_D : 0) | (f->u ? PERM_U : 0);
		for (unsigned int l = 0; l < 3; l++) {
			uint64_t to = UINT64_C(0x000ffff7c0000000);
			for (unsigned int perm = 0; perm < 64; perm++) {
				if (!(perm & PERM_R))
					continue;
				uint64_t e = fmt_make_leaf(f, l, to, perm);
				assert_int_equal(fmt_kind(f, l, e), FMT_LEAF);
				assert_int_equal(fmt_leaf(f, l, e), to);
				assert_int_equal(fmt_perm(f, e), perm & knows);
			}
		}
		uint64_t e = fmt_make_table(f, 0x7000);
		assert_int_equal(fmt_kind(f, 1, e), FMT_TABLE);
		assert_int_equal(fmt_table(f, e), 0x7000);
	}
}

static void test_split_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all); i++) {
		const struct fmt *f = all[i];
		if (!f->writable)
			continue;
		for (unsigned int l = 1; l < 3; l++)
			for (unsigned int perm = PERM_R; perm < 64; perm += 2) {
				uint64_t big = fmt_make_leaf(f, l, 0x40000000, perm);
				for (unsigned int k = 0; k < FMT_ENTRIES; k += 73) {
					uint64_t to = 0x40000000 + k * fmt_size(f, l - 1);
					assert_int_equal(fmt_split_leaf(f, l, big, k),
							 fmt_make_leaf(f, l - 1, to, perm));
				}
			}
	}
}

static void test_indices(void **state)
{
	(void)state;
	const uint64_t at = UINT64_C(0x0123456789abc000);
	for (unsigned int l = 0; l < 5; l++)
		assert_int_equal(fmt_index(&fmt_x86_5, at, l), at >> (12 + 9 * l) & 511);
	/* A kernel address: the sign extension is no part of any index. */
	const uint64_t kernel = UINT64_C(0xffffffff81000000);
	assert_int_equal(fmt_index(&fmt_x86_4, kernel, 3), 511);
	assert_int_equal(fmt_index(&fmt_x86_4, kernel, 2), 510);
	assert_int_equal(fmt_index(&fmt_x86_4, kernel, 1), 8);
	assert_int_equal(fmt_index(&fmt_legacy32, 0xfedcb000, 1), 0x3fb);
	assert_int_equal(fmt_index(&fmt_legacy32, 0xfedcb000, 0), 0x1cb);
	assert_int_equal(fmt_index(&fmt_pae, 0xfedcb000, 2), 3);
	assert_int_equal(fmt_index(&fmt_pae, UINT64_C(0xfffffffffedcb000), 2), 3);
	assert_int_equal(fmt_index(&fmt_pae, 0xfedcb000, 1), 0x1f6);
	assert_int_equal(fmt_end(&fmt_npt), UINT64_C(1) << 48);
	assert_int_equal(fmt_end(&fmt_x86_5), UINT64_C(1) << 57);
}

static void test_legacy_words(void **state)
{
	(void)state;
	/* PSE-36: bits 20:13 are 39:32 of the frame. */
	assert_int_equal(fmt_leaf(&fmt_legacy32_pse, 1, 0x12c00087 | 0xabu << 13),
			 UINT64_C(0xab12c00000));
	assert_int_equal(fmt_size(&fmt_legacy32_pse, 1), 1u << 22);
	/* Without CR4.PSE the size bit means nothing. */
	assert_int_equal(fmt_kind(&fmt_legacy32, 1, 0x12c00087), FMT_TABLE);
	assert_int_equal(fmt_table(&fmt_legacy32, 0x12c00087), 0x12c00000);
	/* A 4 KiB leaf keeps its bits 20:13 as they are. */
	assert_int_equal(fmt_leaf(&fmt_legacy32_pse, 0, 0x001fe067), 0x001fe000);
	assert_int_equal(fmt_perm(&fmt_legacy32, 0x1067), PERM_RWX | PERM_U | PERM_A | PERM_D);
	/* The PAT bit of a large PAE leaf is no address bit. */
	assert_int_equal(fmt_leaf(&fmt_pae, 1, UINT64_C(0x8000000000201087)), 0x200000);
	assert_int_equal(fmt_perm(&fmt_pae, UINT64_C(0x8000000000200087)),
			 PERM_R | PERM_W | PERM_U);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_words),	cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_leaf_round_trip), cmocka_unit_test(test_split_pieces),
		cmocka_unit_test(test_indices),		cmocka_unit_test(test_legacy_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
