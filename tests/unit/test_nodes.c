/* The guest's nodes: what the hypervisor's words say, where memory and CPUs then lie, and one clear
 * line for each contradiction.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* sources: hv/load/nodes.c hv/load/guestmem.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load/nodes.h"

#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)

static struct nodes_spec spec;
static struct nodes nodes;
static struct load_error err;

static int setup(void **state)
{
	(void)state;
	memset(&spec, 0, sizeof(spec));
	memset(&nodes, 0xee, sizeof(nodes));
	memset(&err, 0, sizeof(err));
	return 0;
}

static void add(const char *text)
{
	assert_true(nodes_add(&spec, text, &err));
}

static void assert_said(const char *words)
{
	if (!strstr(err.text, words))
		fail_msg("said \"%s\", not \"%s\"", err.text, words);
}

static void assert_refused(const char *words)
{
	assert_false(nodes_build(&nodes, &spec, 0, 0, &err));
	assert_said(words);
}

static void assert_range(unsigned int i, uint64_t start, uint64_t bytes, unsigned int node)
{
	assert_true(i < nodes.ranges);
	assert_int_equal(nodes.range[i].start, start);
	assert_int_equal(nodes.range[i].bytes, bytes);
	assert_int_equal(nodes.range[i].node, node);
}

static void test_one(void **state)
{
	(void)state;
	assert_true(nodes_build(&nodes, &spec, 256, 5 * GIB, &err));
	assert_int_equal(nodes.count, 1);
	assert_int_equal(nodes.cpus, 256);
	assert_int_equal(nodes.packages, 1);
	assert_int_equal(nodes.package_cpus, 256);
	for (unsigned int i = 0; i < 256; i++) {
		assert_int_equal(nodes.of_cpu[i], 0);
		assert_int_equal(nodes.apic_id[i], i);
	}
	assert_int_equal(nodes.ranges, 2);
	assert_range(0, 0, 3 * GIB, 0);
	assert_range(1, 4 * GIB, 2 * GIB, 0);
	assert_int_equal(nodes.distance[0], 10);
}

static void test_two(void **state)
{
	(void)state;
	add("0-1:256M");
	add("2-3:255M");
	assert_true(nodes_build(&nodes, &spec, 4, 511 * MIB, &err));
	assert_int_equal(nodes.count, 2);
	assert_int_equal(nodes.cpus, 4);
	assert_int_equal(nodes.mem, 511 * MIB);
	assert_int_equal(nodes.ranges, 2);
	assert_range(0, 0, 256 * MIB, 0);
	assert_range(1, 256 * MIB, 255 * MIB, 1);
	assert_int_equal(nodes.packages, 2);
	assert_int_equal(nodes.package_cpus, 2);
	assert_memory_equal(nodes.of_cpu, ((uint8_t[]){0, 0, 1, 1}), 4);
	assert_memory_equal(nodes.apic_id, ((uint8_t[]){0, 1, 2, 3}), 4);
	assert_memory_equal(nodes.distance, ((uint8_t[]){10, 20, 20, 10}), 4);
}

/* Lists out of order, a node without CPUs, packages of three that take four ids each; CPU 0 in the
 * last node has id 0 all the same. */
static void test_mixed(void **state)
{
	(void)state;
	add("5,1,3:1G");
	add(":2G");
	add("0,2,4:2048M");
	assert_true(nodes_add_distances(&spec, "0:10,15,31", &err));
	assert_true(nodes_add_distances(&spec, "2:254,11", &err));
	assert_true(nodes_build(&nodes, &spec, 0, 0, &err));
	assert_int_equal(nodes.cpus, 6);
	assert_int_equal(nodes.mem, 5 * GIB);
	assert_memory_equal(nodes.of_cpu, ((uint8_t[]){2, 0, 2, 0, 2, 0}), 6);
	assert_int_equal(nodes.packages, 2);
	assert_int_equal(nodes.package_cpus, 3);
	assert_memory_equal(nodes.apic_id, ((uint8_t[]){0, 4, 1, 5, 2, 6}), 6);
	assert_int_equal(nodes.ranges, 3);
	assert_range(0, 0, GIB, 0);
	assert_range(1, GIB, 2 * GIB, 1);
	assert_range(2, 4 * GIB, 2 * GIB, 2);
	assert_memory_equal(nodes.distance, ((uint8_t[]){10, 15, 31, 20, 10, 20, 254, 11, 10}), 9);
}

/* The hole lies inside a node, or right between two. */
static void test_hole(void **state)
{
	(void)state;
	add("0:2G");
	add("1:2G");
	add("2:2G");
	assert_true(nodes_build(&nodes, &spec, 0, 0, &err));
	assert_int_equal(nodes.ranges, 4);
	assert_range(1, 2 * GIB, GIB, 1);
	assert_range(2, 4 * GIB, GIB, 1);
	assert_range(3, 5 * GIB, 2 * GIB, 2);
	setup(NULL);
	add("0:3G");
	add("1:3G");
	assert_true(nodes_build(&nodes, &spec, 0, 0, &err));
	assert_int_equal(nodes.ranges, 2);
	assert_range(0, 0, 3 * GIB, 0);
	assert_range(1, 4 * GIB, 3 * GIB, 1);
}

/* Whatever the nodes: ids are different bytes below the one that means all, and packages do not mix
 * nodes. */
static void test_ids(void **state)
{
	static const unsigned int sizes[][2] = {{1, 64}, {64, 1}, {2, 64}, {8, 8},
						{3, 5},	 {40, 4}, {5, 33}, {63, 2}};

	(void)state;
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		bool used[255] = {false};
		unsigned int cpu = 0;

		setup(NULL);
		for (unsigned int n = 0; n < sizes[k][0]; n++) {
			char text[32];

			snprintf(text, sizeof(text), "%u-%u:8M", cpu, cpu + sizes[k][1] - 1);
			add(text);
			cpu += sizes[k][1];
		}
		assert_true(nodes_build(&nodes, &spec, cpu, 0, &err));
		for (unsigned int i = 0; i < cpu; i++) {
			unsigned int id = nodes.apic_id[i];
			unsigned int bits = 0;

			assert_in_range(id, 0, 254);
			assert_false(used[id]);
			used[id] = true;
			while (1u << bits < nodes.package_cpus)
				bits++;
			for (unsigned int j = 0; j < i; j++) {
				if ((unsigned int)nodes.apic_id[j] >> bits == id >> bits)
					assert_int_equal(nodes.of_cpu[i], nodes.of_cpu[j]);
			}
		}
		assert_int_equal(nodes.apic_id[0], 0);
	}
}

static void test_wrong_words(void **state)
{
	static const char *const bad[] = {
		"",	 ":",	   "0",	     "0-1",   "0-1:",	 "0-1:M",
		"a:1M",	 "1-0:1M", "256:1M", "0,:1M", "0,,1:1M", "0:1M ",
		"0:1MB", "0 :1M",  "-1:1M",  "0-:1M", ",0:1M",	 "0:99999999999999999999G"};
	static const char *const far[] = {"",	      "0",	 "0:",	     "0:9",
					  "0:11",     "0:10,10", "0:10,255", "0:10,",
					  "64:10,20", "0:10;20", "1:20,20",  "0:10,20 "};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(nodes_add(&spec, bad[i], &err));
		assert_said("not CPUS:SIZE");
		assert_int_equal(spec.count, 0);
		memset(&spec, 0, sizeof(spec));
	}
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		assert_false(nodes_add_distances(&spec, far[i], &err));
		assert_said("not NODE:D,D");
		memset(&spec, 0, sizeof(spec));
	}
	for (unsigned int i = 0; i < TF_MAX_NODES; i++)
		add(":2M");
	assert_false(nodes_add(&spec, "0:2M", &err));
	assert_said("more than 64 nodes");
}

static void test_contradictions(void **state)
{
	(void)state;
	add("0-2:2M");
	add("2-3:2M");
	assert_refused("CPU 2 lies in nodes 0 and 1");
	setup(NULL);
	add("0:2M");
	add("2:2M");
	assert_refused("CPU 1 lies in no node");
	setup(NULL);
	add(":2M");
	assert_refused("no node has a CPU");
	setup(NULL);
	add("0:3M");
	add("1:2M");
	assert_refused("the memory of node 0 is no multiple of 2M");
	setup(NULL);
	add("0:2M");
	add("1:0M");
	assert_refused("the memory of node 1");
	setup(NULL);
	add("0:2M");
	assert_true(nodes_add_distances(&spec, "0:10,20", &err));
	assert_refused("a distance of node 0 to node 1: there are only 1 nodes");
	setup(NULL);
	add("0:2M");
	add("1:4M");
	assert_false(nodes_build(&nodes, &spec, 3, 0, &err));
	assert_said("cpus=3, but the nodes have 2");
	assert_false(nodes_build(&nodes, &spec, 2, 8 * MIB, &err));
	assert_said("mem= is not the sum");
	assert_true(nodes_build(&nodes, &spec, 2, 6 * MIB, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_one, setup),
		cmocka_unit_test_setup(test_two, setup),
		cmocka_unit_test_setup(test_mixed, setup),
		cmocka_unit_test_setup(test_hole, setup),
		cmocka_unit_test_setup(test_ids, setup),
		cmocka_unit_test_setup(test_wrong_words, setup),
		cmocka_unit_test_setup(test_contradictions, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
