/* Which words on a stack are the frame of a fault, and what segment a descriptor makes.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* sources: hv/virt/frame.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virt/frame.h"

#define RIP 0x401234ull

static void test_found(void **state)
{
	/* An error code, then RIP, CS, RFLAGS with RF, RSP, SS. */
	const uint64_t with[6] = {7, RIP, 0x33, 0x10246, 0x7ffc0000, 0x2b};
	const uint64_t without[6] = {RIP, 0x10, 0x10002, 0xffffc90000000000, 0x18, 5};
	struct frame f;

	(void)state;
	assert_true(frame_find(with, RIP, &f));
	assert_true(f.rip == RIP && f.cs == 0x33 && f.rflags == 0x10246 && f.rsp == 0x7ffc0000 &&
		    f.ss == 0x2b);
	assert_true(frame_find(without, RIP, &f));
	assert_true(f.rip == RIP && f.cs == 0x10 && f.rsp == 0xffffc90000000000 && f.ss == 0x18);
}

static void test_not_found(void **state)
{
	const uint64_t good[6] = {7, RIP, 0x33, 0x10246, 0x7ffc0000, 0x2b};
	struct {
		unsigned int word;
		uint64_t value;
	} const bad[] = {
		{1, RIP + 2},	      /* another address: the handler runs, RIP is its own */
		{2, 0x10033},	      /* no selector */
		{2, 0x37},	      /* of the LDT */
		{3, 0x246},	      /* without RF: an interrupt's */
		{3, 0x10244},	      /* bit 1 clear */
		{3, 0x1000000010246}, /* reserved bits */
		{5, 0xffff8000},
	};
	struct frame f;

	(void)state;
	assert_true(frame_find(good, RIP, &f));
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t words[6];

		memcpy(words, good, sizeof(words));
		words[bad[i].word] = bad[i].value;
		assert_false(frame_find(words, RIP, &f));
	}
}

static void test_segment(void **state)
{
	struct load_segment s = frame_segment(0x33, 0x00affb000000ffff);

	(void)state;
	assert_int_equal(s.selector, 0x33);
	assert_int_equal(s.attrib, 0xafb);
	assert_true(s.limit == 0xffffffff && s.base == 0);
	s = frame_segment(0x2b, 0x00cff2000000ffff); /* it becomes accessed */
	assert_int_equal(s.attrib, 0xcf3);
	s = frame_segment(0x08, 0x12409a345678abcd);
	assert_int_equal(s.attrib, 0x49b);
	assert_true(s.limit == 0xabcd && s.base == 0x12345678);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_not_found),
		cmocka_unit_test(test_segment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
