/* The guest's ACPI tables: every table is reached from the RSDP, has its length and checksum, and
 * says what the devices do; and nothing is written beyond the buffer.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* sources: hv/load/acpi.c hv/load/e820.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev/pm.h"
#include "load/acpi.h"

#define BASE GUEST_ACPI_BASE

static uint8_t *tables;
static size_t used;

static uint64_t get(const uint8_t *p, unsigned int bytes)
{
	uint64_t v = 0;

	memcpy(&v, p, bytes);
	return v;
}

static void assert_sum(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + p[i]);
	assert_int_equal(sum, 0);
}

static void build(const struct acpi_config *c)
{
	free(tables);
	tables = malloc(GUEST_ACPI_SIZE);
	used = acpi_build(c, tables, GUEST_ACPI_SIZE, BASE);
	assert_true(used > 0 && used <= GUEST_ACPI_SIZE);
}

static const uint8_t *at(uint64_t gpa)
{
	assert_in_range(gpa, BASE, BASE + used - 1);
	return tables + (gpa - BASE);
}

/* A table by its signature, from the XSDT; the RSDT must say the same. */
static const uint8_t *find(const char *signature)
{
	const uint8_t *rsdt = at(get(tables + 16, 4)), *xsdt = at(get(tables + 24, 8));
	size_t n = (get(xsdt + 4, 4) - 36) / 8;

	assert_memory_equal(xsdt, "XSDT", 4);
	assert_memory_equal(rsdt, "RSDT", 4);
	assert_sum(xsdt, get(xsdt + 4, 4));
	assert_sum(rsdt, get(rsdt + 4, 4));
	assert_int_equal((get(rsdt + 4, 4) - 36) / 4, n);
	for (size_t i = 0; i < n; i++) {
		const uint8_t *t = at(get(xsdt + 36 + 8 * i, 8));

		assert_ptr_equal(t, at(get(rsdt + 36 + 4 * i, 4)));
		assert_sum(t, get(t + 4, 4));
		if (!memcmp(t, signature, 4))
			return t;
	}
	return NULL;
}

static void test_root_and_fadt(void **state)
{
	const struct acpi_config c = {.cpus = 2, .pm_timer = 0x608};
	const uint8_t *fadt, *dsdt, *facs;

	(void)state;
	build(&c);
	assert_memory_equal(tables, "RSD PTR ", 8);
	assert_sum(tables, 20);
	assert_sum(tables, 36);
	fadt = find("FACP");
	assert_non_null(fadt);
	assert_int_equal(get(fadt + 4, 4), 276);
	dsdt = at(get(fadt + 40, 4));
	assert_ptr_equal(dsdt, at(get(fadt + 140, 8)));
	assert_memory_equal(dsdt, "DSDT", 4);
	assert_sum(dsdt, get(dsdt + 4, 4));
	facs = at(get(fadt + 36, 4));
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(get(facs + 4, 4), 64);
	assert_int_equal((facs - tables) % 64, 0);
	assert_int_equal(get(fadt + 48, 4), 0); /* no SMI command */
	assert_int_equal(get(fadt + 56, 4), PM_EVENT_PORT);
	assert_int_equal(get(fadt + 64, 4), PM_CONTROL_PORT);
	assert_int_equal(get(fadt + 76, 4), 0x608);
	assert_int_equal(fadt[88], 4);
	assert_int_equal(fadt[89], 2);
	assert_int_equal(fadt[91], 4);
	assert_true(get(fadt + 112, 4) & 1 << 10);
	assert_int_equal(get(fadt + 116 + 4, 8), PM_RESET_PORT);
	assert_int_equal(fadt[128], PM_RESET_VALUE);
	/* The extended registers repeat the old ones. */
	assert_int_equal(get(fadt + 148 + 4, 8), PM_EVENT_PORT);
	assert_int_equal(fadt[148 + 1], 32);
	assert_int_equal(get(fadt + 172 + 4, 8), PM_CONTROL_PORT);
	assert_int_equal(get(fadt + 208 + 4, 8), 0x608);
	assert_null(find("SRAT"));
}

static void test_no_timer(void **state)
{
	const struct acpi_config c = {.cpus = 1};
	const uint8_t *fadt;

	(void)state;
	build(&c);
	fadt = find("FACP");
	assert_int_equal(get(fadt + 76, 4), 0);
	assert_int_equal(fadt[91], 0);
	assert_int_equal(get(fadt + 208 + 4, 8), 0);
}

static void test_madt(void **state)
{
	struct acpi_config c = {.pm_timer = 0x608};

	(void)state;
	for (c.cpus = 1; c.cpus <= 256; c.cpus = c.cpus < 4 ? c.cpus + 1 : c.cpus * 2) {
		unsigned int cpus = 0, ioapics = 0, overrides = 0;
		const uint8_t *madt, *p, *end;

		build(&c);
		madt = find("APIC");
		assert_int_equal(get(madt + 36, 4), 0xfee00000);
		end = madt + get(madt + 4, 4);
		for (p = madt + 44; p < end; p += p[1]) {
			assert_true(p[1] >= 6);
			if (p[0] == 0) {
				assert_int_equal(p[3], cpus);
				assert_int_equal(get(p + 4, 4), 1);
				cpus++;
			} else if (p[0] == 9) {
				assert_int_equal(get(p + 4, 4), cpus);
				cpus++;
			} else if (p[0] == 1) {
				assert_int_equal(get(p + 4, 4), 0xfec00000);
				ioapics++;
			} else if (p[0] == 2) {
				overrides++;
			}
		}
		assert_ptr_equal(p, end);
		assert_int_equal(cpus, c.cpus);
		assert_int_equal(ioapics, 1);
		assert_int_equal(overrides, 2);
	}
}

static void test_nodes(void **state)
{
	const uint8_t node[6] = {0, 0, 1, 1, 0, 1};
	const uint8_t distance[4] = {10, 21, 21, 10};
	const uint8_t id[6] = {0, 1, 4, 5, 2, 6};
	const uint8_t by_node[6] = {0, 1, 4, 2, 3, 5};
	const struct acpi_range range[2] = {{0, 0x10000000, 0}, {0x10000000, 0x20000000, 1}};
	const struct acpi_config c = {
		.cpus = 6,
		.apic_id = id,
		.nodes = 2,
		.cpu_node = node,
		.ranges = 2,
		.range = range,
		.distance = distance,
	};
	const uint8_t *srat, *slit, *p;
	unsigned int cpus = 0, ranges = 0;

	(void)state;
	build(&c);
	srat = find("SRAT");
	slit = find("SLIT");
	assert_non_null(srat);
	assert_non_null(slit);
	for (p = srat + 48; p < srat + get(srat + 4, 4); p += p[1]) {
		if (p[0] == 0) {
			assert_int_equal(p[3], id[by_node[cpus]]);
			assert_int_equal(p[2], node[by_node[cpus]]);
			cpus++;
		} else {
			assert_int_equal(p[0], 1);
			assert_int_equal(get(p + 2, 4), c.range[ranges].node);
			assert_int_equal(get(p + 8, 8), c.range[ranges].start);
			assert_int_equal(get(p + 16, 8), c.range[ranges].bytes);
			assert_int_equal(get(p + 28, 4), 1);
			ranges++;
		}
	}
	assert_ptr_equal(p, srat + get(srat + 4, 4));
	assert_int_equal(cpus, 6);
	assert_int_equal(ranges, 2);
	assert_int_equal(get(slit + 36, 8), 2);
	assert_memory_equal(slit + 44, distance, 4);
}

static void test_every_size(void **state)
{
	const struct acpi_config c = {.cpus = 3, .pm_timer = 0x608};

	(void)state;
	build(&c);
	for (size_t n = 0; n <= used; n++) {
		uint8_t *b = malloc(n ? n : 1);

		assert_int_equal(acpi_build(&c, b, n, BASE), n < used ? 0 : used);
		free(b);
	}
}

static void test_e820(void **state)
{
	static const uint64_t sizes[] = {GUEST_MEM_MIN,	       64 << 20,      512 << 20,
					 GUEST_LOW_MAX - 4096, GUEST_LOW_MAX, GUEST_LOW_MAX + 4096,
					 5ull << 30,	       1ull << 40};

	(void)state;
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		uint64_t ram = 0, end = 0;
		struct e820 m;

		e820_build(&m, sizes[k]);
		assert_in_range(m.count, 1, 8);
		for (unsigned int i = 0; i < m.count; i++) {
			assert_true(m.e[i].bytes > 0);
			assert_true(m.e[i].start >= end);
			end = m.e[i].start + m.e[i].bytes;
			if (m.e[i].type == E820_RAM)
				ram += m.e[i].bytes;
		}
		assert_int_equal(ram, sizes[k] - 0x100000 + 0x9fc00);
		assert_int_equal(m.low_end + (m.high_end ? m.high_end - GUEST_HIGH_BASE : 0),
				 sizes[k]);
		assert_true(m.low_end <= GUEST_LOW_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root_and_fadt), cmocka_unit_test(test_no_timer),
		cmocka_unit_test(test_madt),	      cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_every_size),    cmocka_unit_test(test_e820),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	free(tables);
	return failed;
}
