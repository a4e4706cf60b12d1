/* The mode of a VM changes while its guest runs: what is kept, what is let go.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

/* Everybody into a mode, as hosts do: each vCPU changes at its next entry. */
static void all_to(struct rig *g, enum tf_mode m)
{
	for (unsigned int i = 0; i < g->hw.cpus; i++)
		hw_set_mode(&g->hw.cpu[i], m);
	for (unsigned int k = 0; k < 40; k++)
		for (unsigned int i = 0; i < g->hw.cpus; i++) {
			hw_leave(&g->hw.cpu[i]);
			assert_true(hw_enter(&g->hw.cpu[i]));
		}
}

static struct tf_counters counters(struct rig *g)
{
	struct tf_counters n;
	tf_counters_read(g->vm, &n);
	return n;
}

/* Nobody runs on shadows: the guest writes the tables that were trusted, and no write faults. */
static void tables_are_let_go(void **state)
{
	(void)state;
	struct rig *g = start(&plain);
	const uint64_t va = 0x200000;
	tag_frames(g);
	uint64_t at = entry_of(g, ROOT, va, 0);
	for (unsigned int round = 0; round < 4; round++) {
		uint64_t f = 0x210 + round;
		quiet(g, 0, va);
		assert_true(counters(g).tracks > 0);
		all_to(g, TF_NESTED);
		check(g);
		load(g, 0, at); /* the nested tables know the page by now */
		struct tf_counters before = counters(g);
		edit(g, 0, at, f << 12 | X_P | X_W | X_U);
		struct tf_counters after = counters(g);
		assert_int_equal(after.unsyncs, before.unsyncs);
		assert_int_equal(after.nested_faults, before.nested_faults);
		assert_true(after.shadow_tables > 0); /* they are kept */
		assert_true(hw_invlpg(&g->hw.cpu[0], va));
		assert_int_equal(load(g, 0, va), f);
		all_to(g, TF_SHADOW);
		assert_int_equal(load(g, 0, va), f);
		check(g);
	}
	end(g);
}

/* A block that tracking had cut up is one leaf of the nested table again. */
static void large_pages_come_back(void **state)
{
	(void)state;
	struct tf_config c = plain;
	c.large_backing = true;
	if (variant.install == TF_INSTALL_CAS)
		return; /* tables only grow */
	struct rig *g = start(&c);
	all_to(g, TF_NESTED);
	load(g, 0, ROOT);
	uint64_t whole = counters(g).nested_tables;
	all_to(g, TF_SHADOW);
	quiet(g, 0, 0x200000);
	assert_true(counters(g).nested_tables > whole);
	check(g);
	all_to(g, TF_NESTED);
	assert_int_equal(counters(g).nested_tables, whole);
	check(g);
	end(g);
}

/* One vCPU of a group stays on shadows: what it trusts is still watched. */
static void one_stays(void **state)
{
	(void)state;
	struct rig *g = start(&plain);
	const uint64_t va = 0x200000;
	tag_frames(g);
	uint64_t at = entry_of(g, ROOT, va, 0);
	quiet(g, 0, va);
	hw_set_mode(&g->hw.cpu[1], TF_NESTED);
	for (unsigned int k = 0; k < 40; k++) {
		hw_leave(&g->hw.cpu[1]);
		assert_true(hw_enter(&g->hw.cpu[1]));
	}
	uint64_t unsyncs = counters(g).unsyncs;
	edit(g, 1, at, UINT64_C(0x222) << 12 | X_P | X_W | X_U);
	assert_true(counters(g).unsyncs > unsyncs);
	assert_true(hw_invlpg(&g->hw.cpu[0], va));
	assert_int_equal(load(g, 0, va), 0x222);
	check(g);
	end(g);
}

/* More tables than are re-read when a vCPU comes back: what was edited and flushed on the nested
 * root is seen in all of them; another vCPU, which stayed, still sees what it may. */
static void many_tables(void **state)
{
	(void)state;
	enum { TABLES = 64 };
	const uint64_t base = UINT64_C(0x40000000);
	struct rig *g = start(&plain);
	uint64_t pt[TABLES];
	tag_frames(g);
	for (unsigned int t = 0; t < TABLES; t++) {
		map(g, ROOT, base + t * 2 * MIB, 0, 0);
		pt[t] = entry_of(g, ROOT, base + t * 2 * MIB, 0);
		for (unsigned int i = 0; i < 512; i++)
			put(g, pt[t] + 8 * i, (UINT64_C(0x200) + i % 64) << 12 | X_P | X_U | X_A);
	}
	for (unsigned int round = 0; round < 4; round++) {
		for (unsigned int t = 0; t < TABLES; t++)
			for (unsigned int i = 0; i < 512; i += round ? 64 : 2)
				(void)load(g, 0, base + t * 2 * MIB + i * PAGE);
		for (unsigned int t = 0; t < TABLES; t++)
			(void)load(g, 1, base + t * 2 * MIB + (t * 8 + round) * PAGE);
		assert_true(counters(g).shadow_fills > 16384);
		hw_set_mode(&g->hw.cpu[0], TF_NESTED);
		(void)load(g, 0, base);
		for (unsigned int t = 0; t < TABLES; t++) {
			uint64_t f = 0x200 + (t + 17 * round) % 64;
			edit(g, 0, pt[t] + 8 * (t * 8 + round), f << 12 | X_P | X_U | X_A);
			assert_true(hw_invlpg(&g->hw.cpu[0],
					      base + t * 2 * MIB + (t * 8 + round) * PAGE));
		}
		hw_set_mode(&g->hw.cpu[0], TF_SHADOW);
		assert_true(hw_enter(&g->hw.cpu[0]));
		check(g);
		for (unsigned int t = 0; t < TABLES; t++) {
			uint64_t va = base + t * 2 * MIB + (t * 8 + round) * PAGE;
			uint64_t f = 0x200 + (t + 17 * round) % 64;
			assert_int_equal(load(g, 0, va), f);
			if (t & 1)
				assert_true(hw_invlpg(&g->hw.cpu[1], va));
			else
				assert_true(hw_write_cr3(&g->hw.cpu[1], ROOT));
			assert_int_equal(load(g, 1, va), f);
			assert_int_equal(load(g, 1, va + (round < 3 ? PAGE : -PAGE)),
					 round < 3 ? 0x200 + (t * 8 + round + 1) % 64
						   : 0x200 + (t + 17 * (round - 1)) % 64);
		}
		check(g);
	}
	end(g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_let_go),
		cmocka_unit_test(large_pages_come_back),
		cmocka_unit_test(one_stays),
		cmocka_unit_test(many_tables),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return RUN_IN_ALL_GROUPINGS(tests);
}
