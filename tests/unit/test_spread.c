/* Bins of times: each time is in the one bin that begins where the one before ends.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../hv/core/spread.h"

static void bins_meet(void **state)
{
	(void)state;
	assert_int_equal(spread_bin(0), 0);
	assert_int_equal(spread_bin(4096), 0);
	for (unsigned int bin = 0; bin + 1 < SPREAD_BINS; bin++) {
		uint64_t end = spread_end(bin);

		assert_int_equal(spread_bin(end - 1), bin);
		assert_int_equal(spread_bin(end), bin + 1);
		assert_true(spread_end(bin + 1) > end);
		/* None is wider than a quarter of where it begins. */
		assert_true(4 * (spread_end(bin + 1) - end) <= end);
	}
	assert_int_equal(spread_bin(UINT64_MAX), SPREAD_BINS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(bins_meet)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
