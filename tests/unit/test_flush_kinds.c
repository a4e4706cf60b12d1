/* Which translations the engine asks its host to flush: those that an event touches, and no others,
 * for what need not go is worth keeping. That the kinds are enough, the model hardware tells in
 * every test, since it drops what they name and nothing else.
 *
 * With an argument, runs the tests whose names match it (a pattern of cmocka's).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

#include <twofold/choice.h>

#define BLOCK (4 * MIB) /* mapped by one 2 MiB page of the guest's */

/* ---- at a load ---- */

/* What the next entry must drop. */
static uint32_t asked(struct rig *g, unsigned int cpu)
{
	struct hw_cpu *c = &g->hw.cpu[cpu];

	hw_leave(c);
	c->flushes = 0;
	assert_true(hw_enter(c));
	check(g);
	return c->flushes;
}

static void choose(struct rig *g, enum tf_grain grain)
{
	const struct tf_choice_config c = {
		.policy = tf_policy_find("cost"),
		.grain = grain,
		.costs = {.exit = 1000, .miss_nested = 2, .miss_shadow = 1, .fault = 5000},
		.clock_khz = 1000,
		.seed = 3,
	};

	assert_int_equal(tf_choice_start(g->vm, &c), TF_OK);
}

static void first_load(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = start_in(both[m], false);

		for (unsigned int i = 0; i < 2; i++) {
			assert_int_equal(asked(g, i), TF_FLUSH_ALL);
			assert_int_equal(asked(g, i), 0);
		}
		end(g);
	}
}

/* The guest's flushes and its control registers are about linear addresses. */
static void guest_flushes(void **state)
{
	(void)state;
	struct rig *g = start(&plain);
	struct hw_cpu *c = &g->hw.cpu[0];
	const uint64_t va = 0x200000;

	tag_frames(g);
	load(g, 0, va);
	for (unsigned int wp = 0; wp < 2; wp++) {
		/* Without CR0.WP on the nested root, and watched. */
		assert_true(hw_write_cr0(c, wp ? g->r.cr0 : g->r.cr0 & ~X_CR0_WP));
		assert_int_equal(asked(g, 0), TF_FLUSH_LINEAR);
		assert_int_equal(c->load.mode, wp ? TF_SHADOW : TF_NESTED);
		load(g, 0, va);
		assert_int_equal(asked(g, 0), 0);
		assert_true(hw_write_cr3(c, ROOT));
		assert_int_equal(asked(g, 0), TF_FLUSH_LINEAR);
		assert_true(hw_write_cr4(c, g->r.cr4 ^ X_CR4_PGE));
		assert_int_equal(asked(g, 0), TF_FLUSH_LINEAR);
		assert_true(hw_write_cr4(c, g->r.cr4));
		assert_int_equal(asked(g, 0), TF_FLUSH_LINEAR);
	}
	hw_set_regs(c, &g->r);
	assert_int_equal(asked(g, 0), TF_FLUSH_LINEAR);
	assert_true(hw_invlpg(c, va));
	assert_int_equal(asked(g, 0), TF_FLUSH_LINEAR);
	end(g);
}

static unsigned int by_gpa(const struct hw_cpu *c)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < HW_NTLB; i++)
		n += c->ntlb[i].valid;
	return n;
}

static unsigned int by_linear(const struct hw_cpu *c)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < HW_TLB; i++)
		n += c->tlb[i].valid;
	return n;
}

/* A stay on shadow tables costs no translation by guest-physical address; and what was linear in
 * one mode is of no use in the other. */
static void modes(void **state)
{
	(void)state;
	struct rig *g = start_in(TF_NESTED, false);
	struct hw_cpu *c = &g->hw.cpu[0];
	const uint64_t va = 0x200000;

	tag_frames(g);
	for (unsigned int round = 0; round < 4; round++) {
		for (uint64_t k = 0; k < 32; k++)
			assert_int_equal(load(g, 0, va + k * PAGE), 0x200 + k);
		assert_true(by_linear(c) > 0);
		unsigned int were = by_gpa(c);
		assert_true(were > 0);
		hw_set_mode(c, TF_SHADOW);
		assert_int_equal(asked(g, 0), TF_FLUSH_LINEAR);
		assert_int_equal(by_linear(c), 0);
		assert_int_equal(by_gpa(c), were);
		for (uint64_t k = 0; k < 32; k++)
			assert_int_equal(load(g, 0, va + k * PAGE), 0x200 + k);
		assert_true(by_linear(c) > 0);
		were = by_gpa(c);
		hw_set_mode(c, TF_NESTED);
		assert_int_equal(asked(g, 0), TF_FLUSH_LINEAR);
		assert_int_equal(by_linear(c), 0);
		assert_int_equal(by_gpa(c), were);
	}
	end(g);
}

/* Bits that a sample cleared are set again by what the vCPU walks now. */
static void samples(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = start_in(TF_NESTED, false);
		struct hw_cpu *c = &g->hw.cpu[0];

		choose(g, TF_GRAIN_VM);
		hw_set_mode(c, both[m]);
		for (uint64_t k = 0; k < 32; k++)
			load(g, 0, 0x200000 + k * PAGE);
		assert_int_equal(asked(g, 0), 0);
		hw_leave(c);
		assert_true(tf_sample_begin(c->v, &c->r));
		assert_int_equal(asked(g, 0), m ? TF_FLUSH_LINEAR : TF_FLUSH_NESTED);
		end(g);
	}
}

/* ---- of other vCPUs ---- */

/* The kinds of the flushes since the last call, together. */
static uint32_t flushed(struct rig *g)
{
	static uint64_t was[TF_FLUSH_ALL + 1];
	uint32_t kinds = 0;

	for (uint32_t k = 0; k <= TF_FLUSH_ALL; k++) {
		if (g->f.flushes_of[k] != was[k])
			kinds |= k;
		was[k] = g->f.flushes_of[k];
	}
	return kinds;
}

/* What frames go from, or are watched by, concerns all that may have cached them, and so does a
 * move to other tables. */
static void of_frames(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct tf_config c = in_mode(both[m]);
		uint64_t bits[1], va = 0x200000;
		c.regroup = true;
		struct rig *g = start(&c);

		tag_frames(g);
		store(g, 0, va, 1);
		store(g, 1, va, 2);
		(void)flushed(g);
		assert_int_equal(tf_dirty_start(g->vm, gpa(va), PAGE), TF_OK);
		assert_int_equal(flushed(g), TF_FLUSH_ALL);
		store(g, 0, va, 3);
		(void)flushed(g);
		assert_int_equal(tf_dirty_read(g->vm, gpa(va), PAGE, bits), TF_OK);
		assert_int_equal(flushed(g), TF_FLUSH_ALL);
		tf_dirty_stop(g->vm, gpa(va), PAGE);
		assert_int_equal(flushed(g), 0);
		assert_int_equal(tf_accessed_read(g->vm, gpa(va), PAGE, bits), TF_OK);
		assert_true(bit(bits, 0));
		assert_int_equal(flushed(g), TF_FLUSH_ALL);
		assert_int_equal(tf_mem_discard(g->vm, gpa(va), PAGE), TF_OK);
		assert_int_equal(flushed(g), TF_FLUSH_ALL);
		assert_int_equal(tf_regroup(g->vm, TF_GROUPS_VCPU), TF_OK);
		(void)flushed(g);
		assert_int_equal(asked(g, 1), TF_FLUSH_ALL);
		assert_int_equal(flushed(g), TF_FLUSH_ALL);
		end(g);
	}
}

/* A large nested leaf takes a table's place. */
static void nested_tables_go(void **state)
{
	(void)state;
	struct tf_config c = in_mode(TF_NESTED);
	c.large_backing = true;
	struct rig *g = start(&c);

	for (unsigned int round = 0; round < 4; round++) {
		assert_int_equal(tf_dirty_start(g->vm, gpa(BLOCK), PAGE), TF_OK);
		for (uint64_t k = 0; k < 20; k++)
			load(g, 1, BLOCK + k * PAGE);
		tf_dirty_stop(g->vm, gpa(BLOCK), PAGE);
		(void)flushed(g);
		store(g, 1, BLOCK, round); /* it was read-only */
		assert_int_equal(flushed(g), TF_FLUSH_NESTED);
		assert_int_equal(asked(g, 1), 0);
	}
	end(g);
}

/* The bound on shadows: what goes was in use by a vCPU that is in the guest. */
static void shadow_goes_while_another_walks_it(void **state)
{
	(void)state;
	struct tf_config c = in_mode(TF_SHADOW);
	c.shadow_pages = 24;
	struct rig *g = start(&c);
	uint64_t root[12];
	unsigned int went = 0;

	for (unsigned int s = 0; s < 12; s++) {
		root[s] = g->next;
		g->next += PAGE;
		for (unsigned int i = 1; i < 512; i++)
			put(g, root[s] + 8 * i, get(g, ROOT + 8 * i));
		for (uint64_t k = 0; k < 4; k++)
			map(g, root[s], (1 + k) << 30, 0, (0x200 + k) << 12 | X_P | X_W | X_U);
	}
	tag_frames(g);
	assert_true(hw_write_cr3(&g->hw.cpu[1], root[0]));
	for (unsigned int s = 1; s < 12; s++) {
		for (uint64_t k = 0; k < 8; k++)
			assert_int_equal(load(g, 1, (1 + k % 4) << 30), 0x200 + k % 4);
		assert_true(hw_write_cr3(&g->hw.cpu[0], root[s]));
		(void)flushed(g);
		for (uint64_t k = 0; k < 4; k++)
			assert_int_equal(load(g, 0, (1 + k) << 30), 0x200 + k);
		uint32_t kinds = flushed(g);
		assert_true(kinds == 0 || kinds == TF_FLUSH_LINEAR);
		went += kinds != 0;
		check(g);
	}
	assert_true(went > 2);
	end(g);
}

/* vCPU 1 writes a table from its nested root, and has that page by its guest-physical address, when
 * the table becomes trusted. */
static void table_is_trusted_while_another_writes_it(void **state)
{
	(void)state;
	for (unsigned int round = 1; round < 7; round++) {
		struct rig *g = start(&plain);
		const uint64_t va = 0x200000;
		struct tf_counters n;

		tag_frames(g);
		uint64_t at = entry_of(g, ROOT, va, 0);
		hw_set_mode(&g->hw.cpu[1], TF_NESTED);
		for (unsigned int k = 0; k < round; k++)
			load(g, 1, va + k * PAGE);
		edit(g, 1, at, (0x200 + round) << 12 | X_P | X_W | X_U);
		quiet(g, 0, va);
		tf_counters_read(g->vm, &n);
		assert_true(n.tracks > 0);
		edit(g, 1, at, (0x220 + round) << 12 | X_P | X_W | X_U);
		check(g);
		assert_true(hw_invlpg(&g->hw.cpu[0], va));
		assert_int_equal(load(g, 0, va), 0x220 + round);
		end(g);
	}
}

/* A vCPU has walked a space's tables from the nested root when the space goes over to shadow
 * tables: it finds the gate closed all the same. And nothing linear goes for that. */
static void gate_closes(void **state)
{
	(void)state;
	struct tf_config c = in_mode(TF_NESTED);
	struct rig *g = start(&c);
	struct hw_cpu *cpu = &g->hw.cpu[0];
	const uint64_t va = 0x200000, other = g->next;

	tag_frames(g);
	g->next += PAGE;
	for (unsigned int i = 0; i < 512; i++)
		put(g, other + 8 * i, get(g, ROOT + 8 * i));
	choose(g, TF_GRAIN_SPACE);
	g->hw.spaces = true;
	hw_set_mode(cpu, TF_SHADOW);
	for (unsigned int round = 0; round < 12; round++) {
		tf_space_set_mode(g->vm, ROOT, TF_NESTED);
		assert_true(hw_write_cr3(cpu, ROOT));
		hw_leave(cpu);
		for (unsigned int k = 0; k < 40; k++) {
			assert_int_equal(load(g, 0, va + k * PAGE), 0x200 + k);
			assert_int_equal(cpu->load.mode, TF_NESTED);
		}
		tf_space_set_mode(g->vm, ROOT, TF_SHADOW);
		(void)flushed(g);
		assert_int_equal(asked(g, 0), TF_FLUSH_LINEAR); /* for the mode */
		assert_int_equal(cpu->load.mode, TF_SHADOW);
		assert_int_equal(flushed(g), 0);
		(void)asked(g, 0);
		assert_int_equal(flushed(g), TF_FLUSH_NESTED); /* for the gate: not in the stop */
		assert_true(hw_write_cr3(cpu, other));
		assert_int_equal(load(g, 0, va), 0x200);
		assert_int_equal(cpu->load.mode, TF_NESTED);
		const uint64_t gates = cpu->gates;
		assert_true(hw_write_cr3(cpu, ROOT));
		assert_int_equal(load(g, 0, va), 0x200);
		assert_int_equal(cpu->gates, gates + 1);
		check(g);
	}
	end(g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_load),
		cmocka_unit_test(guest_flushes),
		cmocka_unit_test(modes),
		cmocka_unit_test(samples),
		cmocka_unit_test(of_frames),
		cmocka_unit_test(nested_tables_go),
		cmocka_unit_test(shadow_goes_while_another_walks_it),
		cmocka_unit_test(table_is_trusted_while_another_writes_it),
		cmocka_unit_test(gate_closes),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return RUN_VARIANTS(formats, tests);
}
