/* What a guest may count on after a flush, one short story for each rule (Intel SDM vol. 3, 4.10.4;
 * AMD APM vol. 2, 5.5), on shadow tables, and on nested ones where the story makes sense there.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

/* A table that was trusted is written: by the guest, by the host, by a vCPU in the other mode. */
static void trusted_tables_change(void **state)
{
	(void)state;
	struct rig *g = start(&plain);
	struct tf_counters n;
	const uint64_t va = 0x200000;

	tag_frames(g);
	uint64_t at = entry_of(g, ROOT, va, 0);
	hw_set_mode(&g->hw.cpu[1], TF_NESTED);
	for (unsigned int round = 0; round < 6; round++) {
		uint64_t f = 0x201 + round;
		quiet(g, 0, va);
		tf_counters_read(g->vm, &n);
		assert_true(n.tracks > 0);
		check(g);
		uint64_t e = f << 12 | X_P | X_W | X_U;
		if (round % 3 == 0)
			edit(g, 0, at, e);
		else if (round % 3 == 1)
			put(g, at, e);
		else
			edit(g, 1, at, e);
		assert_true(hw_invlpg(&g->hw.cpu[0], va));
		assert_int_equal(load(g, 0, va), f);
		check(g);
	}
	tf_counters_read(g->vm, &n);
	assert_true(n.unsyncs > 0);
	end(g);
}

/* Rights that are taken away are gone after the flush, whichever flush it is. */
static void rights_go(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int how = 0; how < 4; how++) {
			struct rig *g = start_in(both[m], false);
			struct hw_cpu *cpu = &g->hw.cpu[0];
			const uint64_t va = 0x234000;
			uint64_t at = entry_of(g, ROOT, va, 0);
			store(g, 0, va, 1);
			edit(g, 0, at, va | X_P | X_U | X_A | X_D);
			if (how == 0)
				assert_true(hw_invlpg(cpu, va));
			else if (how == 1)
				assert_true(hw_write_cr3(cpu, ROOT));
			else if (how == 2)
				assert_true(hw_write_cr4(cpu, g->r.cr4 ^ X_CR4_PGE));
			else
				assert_true(hw_invpcid(cpu, 0, 0, va));
			struct hw_result r = touch(g, 0, va, TF_USER | TF_WRITE, 2);
			assert_int_equal(r.end, HW_FAULT);
			assert_int_equal(r.pfec, TF_PF_P | TF_PF_W | TF_PF_U);
			assert_int_equal(load(g, 0, va), 1);
			end(g);
		}
}

/* A write to a large page sets D in its entry, again after D was cleared; an INVLPG anywhere in the
 * page drops all of it. */
static void large_pages(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int large = 0; large < 2; large++) {
			struct rig *g = start_in(both[m], large);
			struct hw_cpu *cpu = &g->hw.cpu[0];
			uint64_t at = entry_of(g, ROOT, 4 * MIB, 1);
			for (unsigned int round = 0; round < 4; round++) {
				load(g, 0, 4 * MIB + round * PAGE);
				assert_int_equal(get(g, at) & (X_A | X_D), X_A);
				store(g, 0, 4 * MIB + round * PAGE, round);
				store(g, 0, 5 * MIB, round);
				assert_int_equal(get(g, at) & (X_A | X_D), X_A | X_D);
				edit(g, 0, at, get(g, at) & ~X_D);
				assert_true(hw_invlpg(cpu, 5 * MIB + 8 * PAGE));
			}
			/* The whole page moves. */
			put(g, 2 * MIB, 77);
			edit(g, 0, at, 2 * MIB | X_P | X_W | X_U | X_PS);
			assert_true(hw_invlpg(cpu, 5 * MIB + 8 * PAGE));
			assert_int_equal(load(g, 0, 4 * MIB), 77);
			end(g);
		}
}

/* A flush finds every entry of a table that changed, wherever it is, among neighbours that all have
 * shadows and among some that have none. */
static void every_entry(void **state)
{
	(void)state;
	for (unsigned int holes = 0; holes < 2; holes++) {
		struct rig *g = start(&plain);
		const uint64_t base = UINT64_C(0x40000000);
		map(g, ROOT, base, 0, 0);
		uint64_t pt = entry_of(g, ROOT, base, 0);
		tag_frames(g);
		for (uint64_t i = 0; i < 512; i++)
			put(g, pt + 8 * i,
			    holes && i % 3 == 0 ? 0 : (0x200 + i % 32) << 12 | X_P | X_U | X_A);
		for (uint64_t i = 0; i < 512; i++) {
			if (holes && i % 3 == 0)
				continue;
			assert_int_equal(load(g, 0, base + i * PAGE), 0x200 + i % 32);
			edit(g, 0, pt + 8 * i, (0x220 + i % 32) << 12 | X_P | X_U | X_A);
			assert_true(hw_write_cr3(&g->hw.cpu[0], ROOT));
			assert_int_equal(load(g, 0, base + i * PAGE), 0x220 + i % 32);
		}
		end(g);
	}
}

/* CR3 writes keep globals; what INVLPG or CR4.PGE drops is gone under every root, those too that
 * the vCPU was not on when it flushed. */
static void globals(void **state)
{
	(void)state;
	for (unsigned int how = 0; how < 3; how++) {
		struct rig *g = start(&plain);
		struct hw_cpu *cpu = &g->hw.cpu[0];
		const uint64_t other = 7 * MIB, va = KERNEL + 0x205000;
		uint64_t at = entry_of(g, ROOT, va, 0);

		tag_frames(g);
		/* A second root, that shares the kernel half, and in which only the user half is
		 * used before the kernel's tables are shadowed under the first. */
		put(g, other, get(g, ROOT));
		put(g, other + 8 * 256, get(g, ROOT + 8 * 256));
		assert_true(hw_write_cr3(cpu, other));
		load(g, 0, 0x3000);
		assert_true(hw_write_cr3(cpu, ROOT));
		struct hw_result r = touch(g, 0, va, 0, 0);
		assert_int_equal(r.end, HW_DONE);
		assert_int_equal(r.old, 0x205);
		assert_true(hw_write_cr3(cpu, other));
		edit(g, 0, at, 0x206000 | X_P | X_W | X_G);
		if (how == 0) {
			assert_true(hw_invlpg(cpu, va));
		} else if (how == 1) {
			assert_true(hw_write_cr4(cpu, g->r.cr4 ^ X_CR4_PGE));
			assert_true(hw_write_cr4(cpu, g->r.cr4));
		} else {
			assert_true(hw_invpcid(cpu, 2, 0, 0));
		}
		assert_true(hw_write_cr3(cpu, ROOT));
		r = touch(g, 0, va, 0, 0);
		assert_int_equal(r.end, HW_DONE);
		assert_int_equal(r.old, 0x206);
		/* Without PGE nothing is global: a CR3 write is enough. */
		assert_true(hw_write_cr4(cpu, g->r.cr4 & ~X_CR4_PGE));
		assert_int_equal(touch(g, 0, va, 0, 0).old, 0x206);
		edit(g, 0, at, 0x207000 | X_P | X_W | X_G);
		if (how)
			assert_true(hw_write_cr3(cpu, ROOT));
		else
			assert_true(hw_invpcid(cpu, 3, 0, 0));
		assert_int_equal(touch(g, 0, va, 0, 0).old, 0x207);
		end(g);
	}
}

/* INVLPG of any address drops every paging-structure cache entry: a table that was taken out of the
 * tree before it is not walked after it, though another path still leads to it. */
static void upper_entries(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = start_in(both[m], false);
		const uint64_t a = UINT64_C(0x10000000), b = UINT64_C(0x10200000);

		tag_frames(g);
		uint64_t p0 = 7 * MIB, p1 = p0 + PAGE;
		map(g, ROOT, a, 1, p0 | X_P | X_W | X_U | X_A);
		map(g, ROOT, b, 1, p0 | X_P | X_W | X_U | X_A);
		put(g, p0, 0x210000 | X_P | X_U | X_A);
		put(g, p1 + 8, 0x211000 | X_P | X_U | X_A);
		assert_int_equal(load(g, 0, a), 0x210);
		assert_int_equal(load(g, 0, b), 0x210);
		edit(g, 0, entry_of(g, ROOT, a, 1), p1 | X_P | X_W | X_U | X_A);
		assert_true(hw_invlpg(&g->hw.cpu[0], 0x5000));
		put(g, p0 + 8, 0x212000 | X_P | X_U | X_A);
		assert_int_equal(load(g, 0, b + PAGE), 0x212);
		assert_int_equal(load(g, 0, a + PAGE), 0x211);
		end(g);
	}
}

/* A table's frame goes while it is in use: nothing remembers it. */
static void table_discarded(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = start_in(both[m], false);
		const uint64_t va = UINT64_C(0x10000000), pt = 7 * MIB;

		tag_frames(g);
		map(g, ROOT, va, 1, pt | X_P | X_W | X_U);
		for (unsigned int round = 0; round < 8; round++) {
			for (uint64_t k = 0; k < 16; k++)
				put(g, pt + 8 * k, (0x220 + k) << 12 | X_P | X_U);
			assert_true(hw_invlpg(&g->hw.cpu[0], va));
			for (uint64_t k = 0; k < 8; k++)
				assert_int_equal(load(g, 0, va + k * PAGE), 0x220 + k);
			assert_int_equal(tf_mem_discard(g->vm, gpa(pt), PAGE), TF_OK);
			check(g);
			for (uint64_t k = 8; k < 16; k++) {
				struct hw_result r = touch(g, 0, va + k * PAGE, TF_USER, 0);
				assert_int_equal(r.end, HW_FAULT);
				assert_int_equal(r.pfec, TF_PF_U);
			}
			check(g);
		}
		end(g);
	}
}

/* A PCID's translations may outlive a CR3 write with bit 63; they are gone after one without. */
static void pcids(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = start_in(both[m], false);
		struct hw_cpu *cpu = &g->hw.cpu[0];
		const uint64_t va = 0x206000, other = 7 * MIB, keep = UINT64_C(1) << 63;

		tag_frames(g);
		put(g, other, get(g, ROOT));
		uint64_t at = entry_of(g, ROOT, va, 0);
		assert_true(hw_write_cr4(cpu, g->r.cr4 | X_CR4_PCIDE));
		assert_true(hw_write_cr3(cpu, ROOT | 1));
		assert_int_equal(load(g, 0, va), 0x206);
		assert_true(hw_write_cr3(cpu, other | 2));
		assert_int_equal(load(g, 0, va), 0x206);
		edit(g, 0, at, 0x207000 | X_P | X_W | X_U);
		assert_true(hw_write_cr3(cpu, ROOT | 1 | keep));
		uint64_t seen = load(g, 0, va);
		assert_true(seen == 0x206 || seen == 0x207);
		assert_true(hw_invpcid(cpu, 1, 1, 0));
		assert_int_equal(load(g, 0, va), 0x207);
		edit(g, 0, at, 0x208000 | X_P | X_W | X_U);
		assert_true(hw_write_cr3(cpu, other | 2));
		assert_int_equal(load(g, 0, va), 0x208);
		assert_true(hw_invpcid(cpu, 0, 1, va));
		assert_true(hw_write_cr3(cpu, ROOT | 1 | keep));
		assert_int_equal(load(g, 0, va), 0x208);
		end(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trusted_tables_change),
		cmocka_unit_test(rights_go),
		cmocka_unit_test(large_pages),
		cmocka_unit_test(every_entry),
		cmocka_unit_test(globals),
		cmocka_unit_test(upper_entries),
		cmocka_unit_test(table_discarded),
		cmocka_unit_test(pcids),
	};

	return RUN_IN_ALL_GROUPINGS(tests);
}
