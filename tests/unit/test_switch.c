/* The mode of a VM changes while its guest runs: what is kept, what is let go.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <twofold/choice.h>

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

/* So many leaf tables of the user, at BASE, all of whose entries are there. */
#define TABLES 64u
#define BASE   UINT64_C(0x40000000)
#define FULL   520u /* what a full table counts for in a re-read */

static uint64_t table_va(unsigned int t)
{
	return BASE + t * 2 * MIB;
}

static void tables_make(struct rig *g, uint64_t *pt)
{
	tag_frames(g);
	for (unsigned int t = 0; t < TABLES; t++) {
		map(g, ROOT, table_va(t), 0, 0);
		pt[t] = entry_of(g, ROOT, table_va(t), 0);
		for (unsigned int i = 0; i < 512; i++)
			put(g, pt[t] + 8 * i, (UINT64_C(0x200) + i % 64) << 12 | X_P | X_U | X_A);
	}
}

/* More tables than are re-read when a vCPU comes back: what was edited and flushed on the nested
 * root is seen in all of them; another vCPU, which stayed, still sees what it may. */
static void many_tables_and(unsigned int arrival)
{
	struct tf_config c = plain;
	c.arrival = arrival;
	struct rig *g = start(&c);
	uint64_t pt[TABLES];
	tables_make(g, pt);
	for (unsigned int round = 0; round < 4; round++) {
		for (unsigned int t = 0; t < TABLES; t++)
			for (unsigned int i = 0; i < 512; i += round ? 64 : 2)
				(void)load(g, 0, table_va(t) + i * PAGE);
		for (unsigned int t = 0; t < TABLES; t++)
			(void)load(g, 1, table_va(t) + (t * 8 + round) * PAGE);
		assert_true(counters(g).shadow_fills > 16384);
		/* All of them are read once more, the last time before they are edited. */
		assert_true(hw_write_cr3(&g->hw.cpu[0], ROOT));
		assert_true(hw_enter(&g->hw.cpu[0]));
		hw_set_mode(&g->hw.cpu[0], TF_NESTED);
		(void)load(g, 0, BASE);
		for (unsigned int t = 0; t < TABLES; t++) {
			uint64_t f = 0x200 + (t + 17 * round) % 64;
			edit(g, 0, pt[t] + 8 * (t * 8 + round), f << 12 | X_P | X_U | X_A);
			assert_true(hw_invlpg(&g->hw.cpu[0], table_va(t) + (t * 8 + round) * PAGE));
		}
		hw_set_mode(&g->hw.cpu[0], TF_SHADOW);
		assert_true(hw_enter(&g->hw.cpu[0]));
		check(g);
		for (unsigned int t = 0; t < TABLES; t++) {
			uint64_t va = table_va(t) + (t * 8 + round) * PAGE;
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

static void many_tables(void **state)
{
	(void)state;
	const unsigned int arrivals[] = {0, 1, 4 * FULL};
	for (unsigned int k = 0; k < 3; k++)
		many_tables_and(arrivals[k]);
}

/* All of the tables have shadows, all were quiet for long enough to be trusted, and none is trusted
 * any more, for nobody was on them. */
static void tables_rest(struct rig *g)
{
	for (unsigned int k = 0; k < 8; k++) {
		for (unsigned int t = 0; t < TABLES; t++)
			(void)load(g, 0, table_va(t) + k * PAGE);
		for (unsigned int i = 0; i < g->hw.cpus; i++)
			assert_true(hw_write_cr3(&g->hw.cpu[i], ROOT));
	}
	assert_true(counters(g).tracks >= TABLES);
	all_to(g, TF_NESTED);
	check(g);
}

/* Going over to shadow tables stops a vCPU for so many entries as it was said, all vCPUs of a group
 * together; nothing is tracked, so nobody is asked to flush. The rest costs a fault for some tables
 * each, of which none reads much either. */
static void arrival_is_short(void **state)
{
	(void)state;
	const unsigned int arrival = 8 * FULL, upper = 5; /* tables that are hardly filled */
	struct tf_config c = plain;
	uint64_t pt[TABLES];
	c.arrival = arrival;
	struct rig *g = start(&c);
	tables_make(g, pt);
	tables_rest(g);
	struct tf_counters before = counters(g);
	for (unsigned int i = 0; i < g->hw.cpus; i++) {
		hw_set_mode(&g->hw.cpu[i], TF_SHADOW);
		assert_true(hw_enter(&g->hw.cpu[i]));
	}
	struct tf_counters after = counters(g);
	unsigned int groups = groups_of(&c, variant.grouping);
	assert_int_equal(after.tracks, before.tracks);
	assert_int_equal(after.remote_flushes, before.remote_flushes);
	assert_true(after.resyncs - before.resyncs > 8);
	assert_true(after.resyncs - before.resyncs <= groups * 8 + g->hw.cpus * upper);
	check(g);

	uint64_t faults = after.shadow_faults, most = 0;
	for (unsigned int t = 0; t < TABLES; t++) {
		before = counters(g);
		assert_int_equal(load(g, 0, table_va(t)), 0x200);
		after = counters(g);
		if (after.resyncs - before.resyncs > most)
			most = after.resyncs - before.resyncs;
	}
	assert_true(after.shadow_faults - faults <= TABLES / 16 + upper);
	assert_true(most <= 16 + upper);
	check(g);
	end(g);
}

/* The vCPU leaves the guest and enters again. How many tables were read, and whether anybody was
 * asked to flush. */
struct stop {
	uint64_t read, flushes;
};

static struct stop again(struct rig *g, unsigned int cpu)
{
	struct tf_counters before = counters(g), after;

	hw_leave(&g->hw.cpu[cpu]);
	assert_true(hw_enter(&g->hw.cpu[cpu]));
	after = counters(g);
	assert_int_equal(after.tracks, before.tracks);
	return (struct stop){after.resyncs - before.resyncs,
			     after.remote_flushes - before.remote_flushes};
}

/* An address space gets shadow tables: each vCPU that is on it is stopped for as little, and the
 * gate is closed later. Who has been there since and comes again reads all that it may see. */
static void space_stops_are_short(void **state)
{
	(void)state;
	const struct tf_choice_config choice = {
		.policy = tf_policy_find("cost"),
		.grain = TF_GRAIN_SPACE,
		.costs = {.exit = 1000, .miss_nested = 2, .miss_shadow = 1, .fault = 5000},
		.clock_khz = 1000,
	};
	const unsigned int upper = 5;
	struct tf_config c = plain;
	uint64_t pt[TABLES];

	c.mode = TF_NESTED;
	c.arrival = 2 * FULL;
	struct rig *g = start(&c);
	const uint64_t other = g->next;
	g->next += PAGE;
	tables_make(g, pt);
	for (unsigned int i = 0; i < 512; i++)
		put(g, other + 8 * i, get(g, ROOT + 8 * i));
	assert_int_equal(tf_choice_start(g->vm, &choice), TF_OK);
	g->hw.spaces = true;
	for (unsigned int i = 0; i < g->hw.cpus; i++)
		hw_set_mode(&g->hw.cpu[i], TF_SHADOW);
	for (unsigned int round = 0; round < 3; round++) {
		tf_space_set_mode(g->vm, ROOT, TF_SHADOW);
		for (unsigned int i = 0; i < g->hw.cpus; i++) {
			struct stop s = again(g, i);
			assert_true(g->hw.cpu[i].load.switched);
			assert_int_equal(g->hw.cpu[i].load.mode, TF_SHADOW);
			assert_int_equal(s.flushes, 0);
			assert_in_range(s.read, 1, 2 + upper);
			s = again(g, i);
			assert_false(g->hw.cpu[i].load.switched);
			assert_int_equal(s.read, 0);
			check(g);
		}
		for (unsigned int t = 0; t < TABLES; t++)
			assert_int_equal(load(g, 0, table_va(t) + 8 * PAGE), 0x208);
		assert_true(hw_write_cr3(&g->hw.cpu[0], other));
		assert_int_equal(load(g, 0, BASE), 0x200);
		assert_int_equal(g->hw.cpu[0].load.mode, TF_NESTED);
		struct tf_counters before = counters(g);
		assert_true(hw_write_cr3(&g->hw.cpu[0], ROOT));
		assert_int_equal(load(g, 0, BASE + 8 * PAGE), 0x208);
		assert_int_equal(g->hw.cpu[0].load.mode, TF_SHADOW);
		assert_false(g->hw.cpu[0].load.switched);
		assert_true(counters(g).resyncs - before.resyncs >= TABLES);
		check(g);
		tf_space_set_mode(g->vm, ROOT, TF_NESTED);
		for (unsigned int i = 0; i < g->hw.cpus; i++) {
			assert_int_equal(again(g, i).flushes, 0);
			assert_true(g->hw.cpu[i].load.switched);
			assert_int_equal(g->hw.cpu[i].load.mode, TF_NESTED);
			(void)again(g, i);
			assert_false(g->hw.cpu[i].load.switched);
			assert_int_equal(load(g, i, BASE), 0x200);
		}
		check(g);
	}
	end(g);
}

/* Going back stops a vCPU for nothing of what there is to be let go: that comes at later entries.
 */
static void leaving_is_short(void **state)
{
	(void)state;
	struct tf_config c = plain;
	c.large_backing = true;
	if (variant.install == TF_INSTALL_CAS)
		return; /* there is nothing to be let go */
	struct rig *g = start(&c);
	all_to(g, TF_NESTED);
	load(g, 0, ROOT);
	uint64_t whole = counters(g).nested_tables;
	all_to(g, TF_SHADOW);
	quiet(g, 0, 0x200000);
	for (unsigned int i = 0; i < g->hw.cpus; i++)
		assert_true(hw_enter(&g->hw.cpu[i]));
	struct tf_counters before = counters(g);
	assert_true(before.nested_tables > whole);
	for (unsigned int i = 0; i < g->hw.cpus; i++) {
		hw_set_mode(&g->hw.cpu[i], TF_NESTED);
		assert_true(hw_enter(&g->hw.cpu[i]));
	}
	struct tf_counters after = counters(g);
	assert_int_equal(after.remote_flushes, before.remote_flushes);
	assert_int_equal(after.nested_tables, before.nested_tables);
	check(g);
	all_to(g, TF_NESTED);
	assert_int_equal(counters(g).nested_tables, whole);
	end(g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_let_go),
		cmocka_unit_test(large_pages_come_back),
		cmocka_unit_test(one_stays),
		cmocka_unit_test(many_tables),
		cmocka_unit_test(arrival_is_short),
		cmocka_unit_test(leaving_is_short),
		cmocka_unit_test(space_stops_are_short),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return RUN_IN_ALL_GROUPINGS(tests);
}
