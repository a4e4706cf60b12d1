/* The machine's free pages: what is small is taken from what is broken already, so that blocks of 2
 * MiB and GiBs stay whole; and what came back is whole again.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

/* Compiled here: each test begins with a machine of its own. */
#include "mem/pages.c"

#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)

/* RAM is never touched, but for the descriptors at its beginning. */
#define START (512 * MIB)

struct boot_info boot_info;
struct acpi_info acpi;
char image_start[1], image_end[1];
static uint64_t border; /* of node 0 */

unsigned int acpi_node_of(uint64_t pa)
{
	return acpi.nodes > 1 && pa >= border;
}

void vm_fail(const char *fmt, ...)
{
	(void)fmt;
	abort();
}

void hv_panic(const char *file, int line, const char *what)
{
	(void)file;
	(void)line;
	(void)what;
	abort();
}

/* 512 MiB to 3.5 GiB, and from 4 GiB to 7.25. */
static void machine(unsigned int nodes, uint64_t at)
{
	memset(pool, 0, sizeof(pool));
	holes = 0;
	acpi.nodes = nodes;
	border = at;
	boot_info.ranges = 2;
	boot_info.range[0] = (struct boot_range){START, 3 * GIB + GIB / 2};
	boot_info.range[1] = (struct boot_range){4 * GIB, 7 * GIB + GIB / 4};
	pages_init();
	pages_init_high();
}

static int setup(void **state)
{
	(void)state;
	void *p = mmap((void *)(uintptr_t)START, 4 * MIB, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	return p == (void *)(uintptr_t)START ? 0 : -1;
}

static void gibs_stay_whole(void **state)
{
	(void)state;
	static uint64_t block[4096], page[4096];
	unsigned int blocks = 0;

	machine(1, 0);
	assert_int_equal(pages_free_gibs(0), 5); /* from 1 and 2, 4, 5, 6 GiB */
	uint64_t all = pages_free_bytes();
	/* 1.25 GiB less the descriptors lie in no GiB. */
	for (unsigned int i = 0; i < 4096; i++)
		page[i] = pages_alloc(0, 0);
	while (pages_free_gibs(0) == 5)
		block[blocks++] = pages_alloc(0, 9);
	assert_in_range(blocks, 620, 640);
	assert_int_equal(pages_free_gibs(0), 4);
	/* What comes back of the broken one makes it whole. */
	pages_free(block[--blocks], 9);
	assert_int_equal(pages_free_gibs(0), 5);
	for (unsigned int i = 0; i < 4096; i++)
		pages_free(page[i], 0);
	while (blocks)
		pages_free(block[--blocks], 9);
	assert_int_equal(pages_free_bytes(), all);
	assert_int_equal(pages_free_gibs(0), 5);
}

static void gibs_come_back_in_parts(void **state)
{
	(void)state;
	uint64_t gib[5];

	machine(1, 0);
	uint64_t all = pages_free_bytes();
	for (unsigned int i = 0; i < 5; i++) {
		gib[i] = pages_alloc(0, 18);
		assert_true(gib[i] && !(gib[i] % GIB));
		for (unsigned int k = 0; k < i; k++)
			assert_true(gib[k] != gib[i]);
	}
	assert_int_equal(pages_alloc(0, 18), 0);
	assert_int_equal(pages_free_bytes(), all - 5 * GIB);
	for (uint64_t at = 2 * MIB; at < GIB; at += 2 * MIB)
		pages_free(gib[2] + at, 9);
	assert_int_equal(pages_free_gibs(0), 0);
	/* A part may be used again meanwhile, also by pages. */
	uint64_t one = pages_alloc(0, 9);
	pages_free(gib[2], 9);
	assert_int_equal(pages_free_gibs(0), 0);
	pages_free(one, 9);
	for (unsigned int i = 0; i < 5; i++)
		for (uint64_t at = 0; i != 2 && at < GIB; at += 2 * MIB)
			pages_free(gib[i] + at, 9);
	assert_int_equal(pages_free_gibs(0), 5);
	assert_int_equal(pages_free_bytes(), all);
}

static void gibs_are_of_one_node(void **state)
{
	(void)state;
	machine(2, 5 * GIB + 64 * MIB);
	assert_int_equal(pages_free_gibs(0), 3); /* 1, 2 and 4 GiB */
	assert_int_equal(pages_free_gibs(1), 1);
	assert_int_equal(pages_alloc(1, 18), 6 * GIB);
	assert_int_equal(pages_alloc(1, 18), 0); /* not another node's */
	assert_true(pages_alloc(0, 18) != 0);
	/* Smaller ones come from the next node that has some. */
	while (pages_count(1).free)
		assert_true(pages_alloc(1, 9) >= border);
	uint64_t far = pages_alloc(1, 9);
	assert_true(far && far < border);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gibs_stay_whole),
		cmocka_unit_test(gibs_come_back_in_parts),
		cmocka_unit_test(gibs_are_of_one_node),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
