/* What CR3 writes with bit 63 keep, and what they must not, one short story for each rule (SDM vol.
 * 3, 4.10.4.1; APM vol. 2, 5.5.1): two roots that share all tables, each with a PCID, as KPTI has
 * them.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

#define OTHER (7 * MIB)
#define KEEP  (UINT64_C(1) << 63)
#define P1    (ROOT | 1)
#define P2    (OTHER | 2)
#define VA    UINT64_C(0x206000)
#define OWN   UINT64_C(0x8000000000) /* under the first root alone */
#define RW    (X_P | X_W | X_U)

static void to(struct rig *g, uint64_t cr3)
{
	assert_true(hw_write_cr3(&g->hw.cpu[0], cr3));
}

/* vCPU 0 has used VA under the first PCID and the second, which is the current one; to and fro, so
 * that nothing is new under either. */
static struct rig *two_roots(enum tf_mode m)
{
	struct rig *g = start_in(m, false);

	tag_frames(g);
	for (unsigned int i = 0; i < 512; i += 256)
		put(g, OTHER + 8 * i, get(g, ROOT + 8 * i));
	map(g, ROOT, OWN, 0, 0x206000 | RW);
	assert_true(hw_write_cr4(&g->hw.cpu[0], g->r.cr4 | X_CR4_PCIDE));
	for (unsigned int k = 0; k < 2; k++) {
		to(g, P1 | (k ? KEEP : 0));
		assert_int_equal(load(g, 0, OWN), 0x206);
		assert_int_equal(load(g, 0, VA), 0x206);
		to(g, P2 | (k ? KEEP : 0));
		assert_int_equal(load(g, 0, VA), 0x206);
	}
	return g;
}

static uint64_t pte(struct rig *g, uint64_t va)
{
	return entry_of(g, ROOT, va, 0);
}

static struct tf_counters counters(struct rig *g)
{
	struct tf_counters n;

	tf_counters_read(g->vm, &n);
	return n;
}

/* To and fro with bit 63 re-reads nothing; without it, all that is unsync. */
static void keeping_is_cheap(void **state)
{
	(void)state;
	struct rig *g = two_roots(TF_SHADOW);

	for (unsigned int round = 0; round < 2; round++) {
		struct tf_counters a = counters(g);
		for (unsigned int k = 0; k < 50; k++) {
			to(g, (k & 1 ? P2 : P1) | (round ? 0 : KEEP));
			assert_int_equal(load(g, 0, VA), 0x206);
		}
		struct tf_counters b = counters(g);
		if (round) {
			assert_int_equal(b.cr3_kept, a.cr3_kept);
			assert_true(b.resyncs - a.resyncs >= 100);
		} else {
			assert_true(b.cr3_kept - a.cr3_kept >= 49);
			assert_true(b.resyncs - a.resyncs < 8);
		}
		to(g, P1);
		load(g, 0, VA);
		to(g, P2);
		load(g, 0, VA);
	}
	end(g);
}

/* A flush of a PCID that is not in CR3, or of all, is not forgotten when bit 63 loads that PCID. */
static void flushed_meanwhile(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int how = 0; how < 9; how++) {
			struct rig *g = two_roots(both[m]);
			struct hw_cpu *cpu = &g->hw.cpu[0];
			const uint64_t cr4 = cpu->r.cr4;

			edit(g, 0, pte(g, VA), 0x207000 | RW);
			edit(g, 0, pte(g, OWN), 0x208000 | RW);
			switch (how) {
			case 0:
				assert_true(hw_invpcid(cpu, how, 1, OWN));
				assert_true(hw_invpcid(cpu, how, 1, VA));
				break;
			case 1:
			case 2:
			case 3:
				assert_true(hw_invpcid(cpu, how, 1, VA));
				break;
			case 4: /* many addresses, this one among them */
				assert_true(hw_invpcid(cpu, 0, 1, OWN));
				for (uint64_t k = 0; k < 40; k++)
					assert_true(
						hw_invpcid(cpu, 0, 1, VA - 20 * PAGE + k * PAGE));
				break;
			case 5:
				assert_true(hw_write_cr4(cpu, cr4 ^ X_CR4_PGE));
				assert_true(hw_write_cr4(cpu, cr4));
				break;
			case 6: /* by way of PCID 0 */
				assert_true(hw_write_cr4(cpu, cr4 & ~X_CR4_PCIDE));
				to(g, OTHER);
				assert_true(hw_write_cr4(cpu, cr4));
				break;
			case 7: /* seen by nobody */
				hw_set_mode(cpu, TF_NESTED);
				assert_true(hw_invpcid(cpu, 1, 1, 0));
				hw_set_mode(cpu, both[m]);
				break;
			default:
				to(g, P1);
				break;
			}
			if (how < 8)
				to(g, P1 | KEEP);
			assert_int_equal(load(g, 0, VA), 0x207);
			assert_int_equal(load(g, 0, OWN), 0x208);
			end(g);
		}
}

/* INVPCID of an address in another PCID, and then the entry changes: that PCID has not been in CR3
 * since, so what there was in between is nothing that it may show. */
static void changed_after_the_flush(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = two_roots(both[m]);

		assert_true(hw_invpcid(&g->hw.cpu[0], 0, 1, VA));
		edit(g, 0, pte(g, VA), 0x207000 | RW);
		to(g, P1 | KEEP);
		assert_int_equal(load(g, 0, VA), 0x207);
		end(g);
	}
}

/* What was mapped only while a PCID was not in CR3 it never shows, though nobody flushed it: by any
 * vCPU that used it; with many other pages used since or none. */
static void mapped_meanwhile(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int how = 0; how < 4; how++) {
			struct rig *g = two_roots(both[m]);
			unsigned int by = how & 1;

			edit(g, 0, pte(g, VA), 0x207000 | RW);
			assert_true(hw_invlpg(&g->hw.cpu[by], VA));
			assert_int_equal(load(g, by, VA), 0x207);
			for (uint64_t k = 0; k < 80 && (how & 2); k++)
				load(g, 0, (k & 1) * 2 * MIB + (64 + k) * PAGE);
			edit(g, 0, pte(g, VA), 0x208000 | RW);
			to(g, P1 | KEEP);
			uint64_t seen = load(g, 0, VA);
			assert_true(seen == 0x206 || seen == 0x208);
			end(g);
		}
}

/* The same of a table that came meanwhile, with entries that the CPU had of it before. */
static void table_came_meanwhile(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = start_in(both[m], false);
		const uint64_t a = UINT64_C(0x10000000), b = UINT64_C(0x10200000), p0 = 5 * MIB,
			       p1 = 5 * MIB + PAGE, far = 64 * PAGE;

		tag_frames(g);
		map(g, ROOT, a, 1, p0 | RW | X_A);
		map(g, ROOT, b, 1, p1 | RW | X_A);
		put(g, OTHER, get(g, ROOT));
		put(g, p0, 0x210000 | RW | X_A);
		put(g, p1, 0x211000 | RW | X_A);
		put(g, p1 + far / 512, 0x212000 | RW | X_A);
		assert_true(hw_write_cr4(&g->hw.cpu[0], g->r.cr4 | X_CR4_PCIDE));
		to(g, P2);
		assert_int_equal(load(g, 0, b), 0x211);
		assert_int_equal(load(g, 0, b + far), 0x212);
		to(g, P1);
		assert_int_equal(load(g, 0, a), 0x210);
		to(g, P2 | KEEP);
		edit(g, 0, entry_of(g, ROOT, a, 1), p1 | RW | X_A);
		assert_true(hw_invlpg(&g->hw.cpu[0], a));
		assert_int_equal(load(g, 0, a + far), 0x212);
		edit(g, 0, p1, 0x213000 | RW | X_A);
		to(g, P1 | KEEP);
		uint64_t seen = load(g, 0, a);
		assert_true(seen == 0x210 || seen == 0x213);
		end(g);
	}
}

/* INVLPG drops an address's globals for all PCIDs, and of other translations those of its own. */
static void global_flushed_meanwhile(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = two_roots(both[m]);
		const uint64_t va = KERNEL + 0x205000;

		to(g, P1 | KEEP);
		assert_int_equal(touch(g, 0, va, 0, 0).old, 0x205);
		/* A root of which the engine has shadowed nothing but the user half. */
		put(g, OTHER + PAGE, get(g, ROOT));
		to(g, (OTHER + PAGE) | 3);
		load(g, 0, VA);
		edit(g, 0, entry_of(g, ROOT, va, 0), 0x207000 | X_P | X_W | X_G);
		assert_true(hw_invlpg(&g->hw.cpu[0], va));
		to(g, P1 | KEEP);
		assert_int_equal(touch(g, 0, va, 0, 0).old, 0x207);
		end(g);
	}
}

/* More PCIDs than are kept. */
static void many_pcids(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = two_roots(both[m]);

		for (uint64_t round = 0; round < 3; round++) {
			for (uint64_t p = 1; p < 40; p++) {
				to(g, ROOT | p | KEEP);
				load(g, 0, VA);
			}
			edit(g, 0, pte(g, VA), (0x208 + round) << 12 | RW);
			assert_true(hw_invpcid(&g->hw.cpu[0], 3, 0, 0));
			for (uint64_t p = 40; --p;) {
				to(g, ROOT | p | KEEP);
				assert_int_equal(load(g, 0, VA), 0x208 + round);
			}
		}
		end(g);
	}
}

/* One PCID with one root and then another: what is kept of the first is not taken for the second's,
 * of which this PCID has had nothing. */
static void another_root(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct rig *g = two_roots(both[m]);
		uint64_t seen;

		to(g, P1);
		assert_int_equal(load(g, 0, OWN), 0x206);
		to(g, P2);
		load(g, 0, VA);
		edit(g, 0, pte(g, OWN), 0x207000 | RW);
		/* The first PCID may have it still, the second cannot. */
		to(g, P1 | KEEP);
		seen = load(g, 0, OWN);
		assert_true(seen == 0x206 || seen == 0x207);
		to(g, ROOT | 2 | KEEP);
		assert_int_equal(load(g, 0, OWN), 0x207);
		end(g);
	}
}

/* What a vCPU keeps in one group says nothing of another one's tables, however many changes those
 * have seen. */
static void another_group(void **state)
{
	(void)state;
	for (uint64_t used = 0; used < 200; used += 20) {
		struct tf_config c = plain;
		c.grouping = TF_GROUPS_VCPU;
		c.regroup = true;
		struct rig *g = start(&c);
		struct hw_cpu *cpu = &g->hw.cpu[1];

		tag_frames(g);
		put(g, OTHER, get(g, ROOT));
		assert_true(hw_write_cr4(cpu, g->r.cr4 | X_CR4_PCIDE));
		for (unsigned int k = 0; k < 2; k++) {
			assert_true(hw_write_cr3(cpu, P1 | (k ? KEEP : 0)));
			assert_int_equal(load(g, 1, VA), 0x206);
			assert_true(hw_write_cr3(cpu, P2 | (k ? KEEP : 0)));
			assert_int_equal(load(g, 1, VA), 0x206);
		}
		edit(g, 0, pte(g, VA), 0x207000 | RW);
		assert_int_equal(load(g, 0, VA), 0x207);
		for (uint64_t k = 0; k < used; k++)
			load(g, 0, (k & 1) * 2 * MIB + (64 + k) * PAGE);
		edit(g, 0, pte(g, VA), 0x208000 | RW);
		assert_int_equal(tf_regroup(g->vm, TF_GROUPS_ONE), TF_OK);
		assert_true(hw_write_cr3(cpu, P1 | KEEP));
		uint64_t seen = load(g, 1, VA);
		assert_true(seen == 0x206 || seen == 0x208);
		end(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeping_is_cheap),
		cmocka_unit_test(flushed_meanwhile),
		cmocka_unit_test(changed_after_the_flush),
		cmocka_unit_test(mapped_meanwhile),
		cmocka_unit_test(table_came_meanwhile),
		cmocka_unit_test(global_flushed_meanwhile),
		cmocka_unit_test(many_pcids),
		cmocka_unit_test(another_root),
		cmocka_unit_test(another_group),
	};

	return RUN_IN_ALL_GROUPINGS(tests);
}
