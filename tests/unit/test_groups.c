/* What binds groups together, as short stories; the first five are the known mistakes of replicated
 * tables, and each fails when its mistake is put back (tests/mistakes/).
 *
 * With an argument, runs the stories whose names match it (a pattern of cmocka's).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

#define BLOCK	 (4 * MIB) /* mapped by one 2 MiB page of the guest's */
#define PAGES_2M 512u

/* A group for each vCPU, on as many nodes. */
static struct tf_config groups(enum tf_mode m, unsigned int vcpus)
{
	struct tf_config c = plain;

	c.mode = m;
	c.vcpus = c.nodes = vcpus;
	c.grouping = TF_GROUPS_NODE;
	c.regroup = true;
	return c;
}

/* The entry that maps a GPA in the nested table that the vCPU runs on; NULL: none. (The bits that
 * are looked at are NPT's P and EPT's R, and the size in both.) */
static uint64_t *nested_leaf(struct rig *g, unsigned int cpu, uint64_t at_gpa, unsigned int *level)
{
	struct hw_cpu *c = &g->hw.cpu[cpu];

	assert_true(hw_enter(c));
	assert_int_equal(c->load.mode, TF_NESTED);
	uint64_t table = c->load.root.v;
	for (unsigned int k = 3;; k--) {
		uint64_t *e = fakehost_ptr(&g->f, hpa(table + 8 * (at_gpa >> (12 + 9 * k) & 511)),
					   8, "nested leaf");
		*level = k;
		if (!(*e & X_P))
			return NULL;
		if (k == 0 || (*e & X_PS))
			return e;
		table = *e & X_ADDR;
	}
}

static bool is_accessed(struct rig *g, unsigned int cpu, uint64_t at_gpa)
{
	unsigned int level;
	uint64_t *e = nested_leaf(g, cpu, at_gpa, &level);
	enum tf_nested_format f = g->hw.conf.nested;

	return e && (f == TF_EPT_NO_AD || (*e & (f == TF_EPT ? BIT(8) : X_A)));
}

/* Every vCPU forgets all that it has cached, as a CPU may. */
static void forget_all(struct rig *g)
{
	for (unsigned int i = 0; i < g->hw.cpus; i++)
		for (unsigned int k = 0; k < 4000; k++)
			hw_evict(&g->hw.cpu[i]);
}

static void accessed(struct rig *g, uint64_t from, uint64_t pages, uint64_t *bits)
{
	memset(bits, 0xcc, 8 * ((pages + 63) / 64));
	assert_int_equal(tf_accessed_read(g->vm, gpa(from), pages * PAGE, bits), TF_OK);
	check(g);
}

/* ---- 1: OR-ing whole entries mixes frame numbers when copies differ ---- */

/* One group maps a block by one 2 MiB entry, the other by small ones, so that their copies of one
 * page's entry differ in frame number, size and rights. Accessed bits are gathered over both: the
 * bits, and nothing else. */
static void copies_that_differ(void **state)
{
	(void)state;
	for (unsigned int first = 0; first < 2; first++) {
		struct tf_config c = groups(TF_NESTED, 2);
		c.large_backing = true;
		struct rig *g = start(&c);
		uint64_t bits[PAGES_2M / 64];

		/* Held in pieces while a page of it is logged. */
		assert_int_equal(tf_dirty_start(g->vm, gpa(BLOCK), PAGE), TF_OK);
		for (uint64_t k = 0; k < PAGES_2M; k += 5)
			store(g, first, BLOCK + k * PAGE, k + 1);
		tf_dirty_stop(g->vm, gpa(BLOCK), PAGE);
		load(g, !first, BLOCK);
		unsigned int level[2];
		assert_non_null(nested_leaf(g, first, BLOCK, &level[first]));
		assert_non_null(nested_leaf(g, !first, BLOCK, &level[!first]));
		assert_int_equal(level[first], 0);
		assert_int_equal(level[!first], 1);
		for (unsigned int round = 0; round < 3; round++) {
			accessed(g, BLOCK, PAGES_2M, bits);
			forget_all(g);
			for (uint64_t k = 0; k < PAGES_2M; k += 5) {
				unsigned int by = (k + round) % 2;
				assert_int_equal(load(g, by, BLOCK + k * PAGE), k + 1 + round);
				store(g, !by, BLOCK + k * PAGE, k + 2 + round);
			}
			check(g);
		}
		/* And the log of one page still is that of one page. */
		assert_int_equal(tf_dirty_start(g->vm, gpa(BLOCK), 2 * MIB), TF_OK);
		store(g, first, BLOCK + 5 * PAGE, 1);
		assert_int_equal(tf_dirty_read(g->vm, gpa(BLOCK), 2 * MIB, bits), TF_OK);
		assert_int_equal(count(bits, PAGES_2M), 1);
		assert_true(bit(bits, 5));
		end(g);
	}
}

/* ---- 2: copying A to all copies destroys A for each node ---- */

/* Each copy's A says what its own group's vCPUs did. Asking gathers and clears; it sets nothing. */
static void accessed_by_one_group(void **state)
{
	(void)state;
	struct tf_config c = groups(TF_NESTED, 3);
	struct rig *g = start(&c);
	uint64_t bits[1];
	const uint64_t at = 2 * MIB, n = 16;

	for (unsigned int k = 0; k < n; k++)
		for (unsigned int i = 0; i < 3; i++)
			load(g, i, at + k * PAGE);
	for (unsigned int round = 0; round < 3; round++) {
		accessed(g, at, n, bits);
		for (unsigned int k = 0; k < n; k++)
			for (unsigned int i = 0; i < 3; i++)
				assert_false(is_accessed(g, i, at + k * PAGE));
		accessed(g, at, n, bits);
		assert_int_equal(count(bits, n), 0);
		/* One of them looks at one page. */
		forget_all(g);
		uint64_t page = 3 + round;
		load(g, round, at + page * PAGE);
		for (unsigned int k = 0; k < n; k++)
			for (unsigned int i = 0; i < 3; i++)
				assert_int_equal(is_accessed(g, i, at + k * PAGE),
						 i == round && k == page);
		/* A new copy for another page says nothing about this one. */
		load(g, (round + 1) % 3, at + (n + round) * PAGE);
		assert_false(is_accessed(g, (round + 1) % 3, at + page * PAGE));
		accessed(g, at, n, bits);
		assert_int_equal(count(bits, n), 1);
		assert_true(bit(bits, page));
		/* Nobody did anything since. */
		accessed(g, at, n, bits);
		assert_int_equal(count(bits, n), 0);
	}
	end(g);
}

/* ---- 3: split or merge of a large page left copies stale ---- */

static void all_large(struct rig *g)
{
	for (unsigned int i = 0; i < g->hw.cpus; i++) {
		unsigned int level = 9;
		store(g, i, BLOCK + 8 * PAGE + 8 * i, i);
		if (g->hw.conf.mode == TF_NESTED) {
			assert_non_null(nested_leaf(g, i, BLOCK, &level));
			assert_int_equal(level, 1);
		}
	}
}

/* All groups map a block large; then a page of it is logged: the pieces are read-only in every
 * group, and after the log all map it large again. */
static void split_for_the_log(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct tf_config c = groups(both[m], 3);
		c.large_backing = true;
		struct rig *g = start(&c);
		uint64_t bits[PAGES_2M / 64];

		for (unsigned int round = 0; round < 3; round++) {
			all_large(g);
			struct tf_counters n;
			tf_counters_read(g->vm, &n);
			uint64_t tables = n.nested_tables;
			assert_int_equal(tf_dirty_start(g->vm, gpa(BLOCK), 64 * PAGE), TF_OK);
			check(g);
			for (unsigned int i = 0; i < 3; i++) {
				store(g, i, BLOCK + (i + 1) * PAGE, round);
				store(g, i, BLOCK + 100 * PAGE, round); /* not logged */
			}
			assert_int_equal(tf_dirty_read(g->vm, gpa(BLOCK), 64 * PAGE, bits), TF_OK);
			assert_int_equal(bits[0], 0xe);
			store(g, 2, BLOCK + 3 * PAGE, 9);
			assert_int_equal(tf_dirty_read(g->vm, gpa(BLOCK), 64 * PAGE, bits), TF_OK);
			assert_int_equal(bits[0], 0x8);
			tf_dirty_stop(g->vm, gpa(BLOCK), 64 * PAGE);
			forget_all(g);
			all_large(g);
			tf_counters_read(g->vm, &n);
			if (m == 0) /* the pieces' tables went */
				assert_int_equal(n.nested_tables, tables);
			check(g);
		}
		end(g);
	}
}

/* One page of a block that all groups map large is given back, or taken away. */
static void split_for_a_removal(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int take = 0; take < 2; take++) {
			struct tf_config c = groups(both[m], 3);
			c.large_backing = true;
			struct rig *g = start(&c);

			all_large(g);
			for (unsigned int i = 0; i < 3; i++)
				store(g, i, BLOCK + i * PAGE, 10 + i);
			assert_int_equal(take ? tf_mem_remove(g->vm, gpa(BLOCK + PAGE), PAGE)
					      : tf_mem_discard(g->vm, gpa(BLOCK + PAGE), PAGE),
					 TF_OK);
			check(g);
			for (unsigned int i = 0; i < 3; i++) {
				struct hw_result r = touch(g, i, BLOCK + PAGE, TF_USER, 0);
				assert_int_equal(r.end, take ? HW_DEVICE : HW_DONE);
				if (!take)
					assert_int_equal(r.old, 0);
				assert_int_equal(load(g, i, BLOCK), 10);
				assert_int_equal(load(g, i, BLOCK + 2 * PAGE), 12);
			}
			if (!take) {
				store(g, 1, BLOCK + PAGE, 77);
				assert_int_equal(load(g, 0, BLOCK + PAGE), 77);
				assert_int_equal(load(g, 2, BLOCK + PAGE), 77);
			}
			end(g);
		}
}

/* A table in a block that the others map large becomes trusted: they may not write it unseen. */
static void split_for_a_table(void **state)
{
	(void)state;
	struct tf_config c = groups(TF_SHADOW, 3);
	c.large_backing = true;
	struct rig *g = start(&c);
	const uint64_t va = UINT64_C(0x10000000), pt = BLOCK + 16 * PAGE;

	tag_frames(g);
	map(g, ROOT, va, 1, pt | X_P | X_W | X_U | X_A);
	for (uint64_t k = 0; k < 8; k++)
		put(g, pt + 8 * k, (0x210 + k) << 12 | X_P | X_U | X_A);
	hw_set_mode(&g->hw.cpu[1], TF_NESTED);
	for (unsigned int round = 1; round < 7; round++) {
		/* The writers have it writable, one in a large nested entry. */
		for (unsigned int i = 1; i < 3; i++)
			store(g, i, pt + 8 * 400, round);
		for (unsigned int k = 0; k < 600; k++) {
			assert_int_equal(load(g, 0, va), 0x210 + (round - 1));
			assert_true(hw_write_cr3(&g->hw.cpu[0], ROOT));
		}
		check(g);
		store(g, 1 + round % 2, pt, (0x210 + round) << 12 | X_P | X_U | X_A);
		check(g);
		assert_true(hw_write_cr3(&g->hw.cpu[0], ROOT));
		assert_int_equal(load(g, 0, va), 0x210 + round);
	}
	struct tf_counters n;
	tf_counters_read(g->vm, &n);
	assert_true(n.tracks > 0 && n.unsyncs > 0);
	end(g);
}

/* ---- 4: pointers to a copy outlived it ---- */

/* A vCPU's group is taken apart behind it. Nothing of the vCPU's leads there any more: not its
 * root, nor what it remembered of the tables it walked last. */
static void group_goes_behind_a_vcpu(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct tf_config c = groups(both[m], 3);
		struct rig *g = start(&c);
		const uint64_t va = 0x300000;
		hpa_t old_root[3];

		tag_frames(g);
		for (unsigned int round = 0; round < 4; round++) {
			assert_int_equal(tf_regroup(g->vm, TF_GROUPS_NODE), TF_OK);
			for (unsigned int i = 0; i < 3; i++)
				/* The software's own cache of walks is warm, too. */
				for (unsigned int k = 0; k < 4; k++) {
					store(g, i, va + (4 * i + k) * PAGE, round);
					edit(g, i, entry_of(g, ROOT, va + (32 + i) * PAGE, 0), 0);
					assert_true(hw_invlpg(&g->hw.cpu[i], va + (32 + i) * PAGE));
					assert_int_equal(
						touch(g, i, va + (32 + i) * PAGE, TF_USER, 0).end,
						HW_FAULT);
				}
			for (unsigned int i = 0; i < 3; i++) {
				assert_true(hw_enter(&g->hw.cpu[i]));
				old_root[i] = g->hw.cpu[i].load.root;
			}
			assert_int_equal(tf_regroup(g->vm, TF_GROUPS_ONE), TF_OK);
			/* vCPUs 1 and 2 move; 0 takes the others' groups apart. */
			for (unsigned int i = 1; i < 3; i++) {
				hw_leave(&g->hw.cpu[i]);
				assert_true(hw_enter(&g->hw.cpu[i]));
				assert_int_not_equal(g->hw.cpu[i].load.root.v, old_root[i].v);
			}
			for (unsigned int k = 0; k < 300; k++) {
				hw_leave(&g->hw.cpu[0]);
				assert_true(hw_enter(&g->hw.cpu[0]));
			}
			assert_int_equal(tf_groups(g->vm), 1);
			for (unsigned int i = 1; i < 3; i++)
				assert_false(fakehost_is_allocated(&g->f, old_root[i]));
			check(g);
			/* They go on where they were: a fault near the last ones, a flush, a page
			 * that was mapped. */
			for (unsigned int i = 1; i < 3; i++) {
				assert_int_equal(touch(g, i, va + (32 + i) * PAGE, TF_USER, 0).end,
						 HW_FAULT);
				edit(g, i, entry_of(g, ROOT, va + (32 + i) * PAGE, 0),
				     0x205000 | X_P | X_W | X_U);
				assert_int_equal(load(g, i, va + (32 + i) * PAGE), 0x205);
				assert_true(hw_invlpg(&g->hw.cpu[i], va));
				assert_int_equal(load(g, i, va + 4 * i * PAGE), round);
				check(g);
			}
		}
		end(g);
	}
}

/* A group comes back under its number: what the first of that number hung on frames is not there.
 */
static void group_comes_back(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct tf_config c = groups(both[m], 2);
		c.large_backing = true;
		struct rig *g = start(&c);

		for (unsigned int round = 0; round < 6; round++) {
			assert_int_equal(
				tf_regroup(g->vm, round & 1 ? TF_GROUPS_ONE : TF_GROUPS_VCPU),
				TF_OK);
			for (unsigned int i = 0; i < 2; i++) {
				for (unsigned int k = 0; k < 32; k++)
					store(g, i, 2 * MIB + k * PAGE, round + k);
				store(g, i, BLOCK + i * PAGE, round);
			}
			for (unsigned int k = 0; k < 300; k++)
				for (unsigned int i = 0; i < 2; i++) {
					hw_leave(&g->hw.cpu[i]);
					assert_true(hw_enter(&g->hw.cpu[i]));
				}
			check(g);
			/* All that hangs on these frames is walked: leaves, large ones, tables. */
			assert_int_equal(tf_mem_discard(g->vm, gpa(2 * MIB), 16 * PAGE), TF_OK);
			assert_int_equal(tf_dirty_start(g->vm, gpa(BLOCK), 4 * PAGE), TF_OK);
			tf_dirty_stop(g->vm, gpa(BLOCK), 4 * PAGE);
			assert_int_equal(load(g, round & 1, 2 * MIB + 3 * PAGE), 0);
			assert_int_equal(load(g, round & 1, 2 * MIB + 20 * PAGE), round + 20);
		}
		end(g);
	}
}

/* ---- 5: a copy's page was freed before the remote flush ---- */

/* Every vCPU in the guest, each in its group, has the page in its TLB when it goes. (The test's
 * hardware says so if a page is freed that a CPU in the guest can still reach.) */
static void page_goes_while_all_use_it(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int large = 0; large < 2; large++) {
			struct tf_config c = groups(both[m], 4);
			c.large_backing = large;
			struct rig *g = start(&c);

			for (unsigned int round = 0; round < 4; round++) {
				for (unsigned int i = 0; i < 4; i++) {
					store(g, i, 2 * MIB, i);
					store(g, i, BLOCK + 8 * i, i);
				}
				for (unsigned int i = 0; i < 4; i++)
					assert_true(g->hw.cpu[i].loaded);
				assert_int_equal(tf_mem_discard(g->vm, gpa(2 * MIB), PAGE), TF_OK);
				assert_int_equal(tf_mem_discard(g->vm, gpa(BLOCK), 2 * MIB), TF_OK);
				check(g);
				for (unsigned int i = 0; i < 4; i++) {
					assert_int_equal(load(g, i, 2 * MIB), i ? 1 : 0);
					assert_int_equal(load(g, i, BLOCK), i ? 1 : 0);
					store(g, i, 2 * MIB, 1);
					store(g, i, BLOCK, 1);
				}
			}
			end(g);
		}
}

/* A table of a group goes, because a large leaf takes its place, while another vCPU of the group
 * has walked it. */
static void table_goes_while_another_walks_it(void **state)
{
	(void)state;
	struct tf_config c = groups(TF_NESTED, 2);
	c.vcpus = 4; /* two in each group */
	c.large_backing = true;
	struct rig *g = start(&c);

	for (unsigned int round = 0; round < 8; round++) {
		assert_int_equal(tf_dirty_start(g->vm, gpa(BLOCK), PAGE), TF_OK);
		for (unsigned int i = 0; i < 4; i++)
			for (unsigned int k = 0; k < 40; k++)
				load(g, i, BLOCK + (k % 20) * PAGE);
		tf_dirty_stop(g->vm, gpa(BLOCK), PAGE);
		for (unsigned int i = 0; i < 2; i++) {
			struct tf_counters was, now;
			tf_counters_read(g->vm, &was);
			store(g, i, BLOCK, round); /* it was read-only */
			tf_counters_read(g->vm, &now);
			assert_int_equal(now.nested_tables, was.nested_tables - 1);
			check(g);
		}
		for (unsigned int i = 0; i < 4; i++)
			assert_int_equal(load(g, i, BLOCK), round);
	}
	end(g);
}

/* A translation may outlive its entry until its vCPU flushes. It may not outlive the frame, nor a
 * round of the log, nor one of the accessed bits, nor the trust in a table. */
static void translation_without_an_entry(void **state)
{
	(void)state;
	for (unsigned int how = 0; how < 4; how++)
		for (unsigned int by = 0; by < 2; by++) {
			struct tf_config c = groups(TF_SHADOW, 2);
			c.grouping = by ? TF_GROUPS_NODE : TF_GROUPS_ONE;
			struct rig *g = start(&c);
			const uint64_t va = 0x208000;
			uint64_t at = entry_of(g, ROOT, va, 0), bits[1];

			tag_frames(g);
			if (how == 1)
				assert_int_equal(tf_dirty_start(g->vm, gpa(va), PAGE), TF_OK);
			store(g, 1, va, 1);
			/* vCPU 0 unmaps it and flushes for itself; vCPU 1 has it still. */
			store(g, 0, at, 0);
			assert_true(hw_invlpg(&g->hw.cpu[0], va));
			assert_int_equal(touch(g, 0, va, TF_USER, 0).end, HW_FAULT);
			struct hw_result r = touch(g, 1, va, TF_USER | TF_WRITE, 2);
			assert_true(r.end == HW_DONE || r.end == HW_FAULT);
			switch (how) {
			case 0:
				assert_int_equal(tf_mem_discard(g->vm, gpa(va), PAGE), TF_OK);
				break;
			case 1:
				assert_int_equal(tf_dirty_read(g->vm, gpa(va), PAGE, bits), TF_OK);
				assert_true(bit(bits, 0));
				break;
			case 2:
				assert_int_equal(tf_dirty_start(g->vm, gpa(va), PAGE), TF_OK);
				break;
			default:
				accessed(g, va, 1, bits);
				break;
			}
			r = touch(g, 1, va, TF_USER | TF_WRITE, 3);
			if (how == 3) {
				accessed(g, va, 1, bits);
				assert_int_equal(bit(bits, 0), r.end == HW_DONE);
			} else if (how) {
				assert_int_equal(tf_dirty_read(g->vm, gpa(va), PAGE, bits), TF_OK);
				assert_int_equal(bit(bits, 0), r.end == HW_DONE);
			} else {
				assert_int_equal(r.end, HW_FAULT);
			}
			end(g);
		}
}

/* A table's page is in a TLB as data, writable, and no entry tells it any more, when the table
 * becomes trusted. */
static void trust_without_an_entry(void **state)
{
	(void)state;
	for (unsigned int by = 0; by < 2; by++) {
		struct tf_config c = groups(TF_SHADOW, 2);
		c.grouping = by ? TF_GROUPS_NODE : TF_GROUPS_ONE;
		struct rig *g = start(&c);
		const uint64_t va = 0x208000;
		uint64_t at = entry_of(g, ROOT, va, 0), own = entry_of(g, ROOT, at, 0);
		struct tf_counters n;

		tag_frames(g);
		edit(g, 1, at, get(g, at)); /* now vCPU 1 has the table's page writable */
		put(g, own, get(g, own) & ~X_D);
		assert_true(hw_invlpg(&g->hw.cpu[0], at));
		quiet(g, 0, va);
		tf_counters_read(g->vm, &n);
		assert_true(n.tracks > 0);
		edit(g, 1, at, 0x209000 | X_P | X_W | X_U);
		check(g);
		assert_true(hw_invlpg(&g->hw.cpu[0], va));
		assert_int_equal(load(g, 0, va), 0x209);
		end(g);
	}
}

/* ---- tables that several groups trust ---- */

/* Each group trusts the same tables. Whoever writes one, the host, a vCPU of any of them, one in
 * the other mode: all groups learn it. */
static void trusted_by_several(void **state)
{
	(void)state;
	struct tf_config c = groups(TF_SHADOW, 4);
	struct rig *g = start(&c);
	const uint64_t va = 0x200000;
	uint64_t at = entry_of(g, ROOT, va, 0);

	tag_frames(g);
	hw_set_mode(&g->hw.cpu[3], TF_NESTED);
	for (unsigned int round = 1; round < 11; round++) {
		struct tf_counters n;
		for (unsigned int i = 0; i < 3; i++) {
			quiet(g, i, va);
			assert_true(tf_group_counters_read(g->vm, i, &n));
			assert_true(n.tracks > 0);
		}
		check(g);
		uint64_t e = (0x200 + round) << 12 | X_P | X_W | X_U;
		if (round % 5 == 4)
			put(g, at, e);
		else
			edit(g, round % 5, at, e);
		check(g);
		for (unsigned int i = 0; i < 3; i++) {
			assert_true(hw_write_cr3(&g->hw.cpu[i], ROOT));
			assert_int_equal(load(g, i, va), 0x200 + round);
		}
	}
	end(g);
}

/* A trusted table's frame goes: no group keeps a shadow of it. */
static void trusted_and_gone(void **state)
{
	(void)state;
	struct tf_config c = groups(TF_SHADOW, 3);
	struct rig *g = start(&c);
	const uint64_t va = UINT64_C(0x10000000), pt = 7 * MIB;

	tag_frames(g);
	map(g, ROOT, va, 1, pt | X_P | X_W | X_U | X_A);
	for (unsigned int round = 0; round < 4; round++) {
		for (uint64_t k = 0; k < 8; k++)
			put(g, pt + 8 * k, (0x220 + k) << 12 | X_P | X_U | X_A);
		for (unsigned int i = 0; i < 3; i++)
			for (unsigned int k = 0; k < 500; k++) {
				assert_true(hw_write_cr3(&g->hw.cpu[i], ROOT));
				assert_int_equal(load(g, i, va + (k & 7) * PAGE), 0x220 + (k & 7));
			}
		check(g);
		assert_int_equal(tf_mem_discard(g->vm, gpa(pt), PAGE), TF_OK);
		check(g);
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(touch(g, i, va + round * PAGE, TF_USER, 0).end, HW_FAULT);
	}
	end(g);
}

/* A CPU that keeps A and D in nested entries writes, for them, to each table that it walks: whoever
 * walks trusted tables from a nested root ends the trust. One that keeps none writes A and D of the
 * guest's entries alone. */
static void trusted_and_walked(void **state)
{
	(void)state;
	struct tf_config c = groups(TF_SHADOW, 2);
	struct rig *g = start(&c);
	const uint64_t va = 0x200000, clean = 0x230000;
	const bool walks_write = g->hw.conf.nested != TF_EPT_NO_AD;
	struct tf_counters n;

	tag_frames(g);
	hw_set_mode(&g->hw.cpu[1], TF_NESTED);
	load(g, 1, va);
	uint64_t at = entry_of(g, ROOT, clean, 0);
	put(g, at, get(g, at) | X_A);
	quiet(g, 0, va);
	tf_counters_read(g->vm, &n);
	assert_true(n.tracks > 0);
	const uint64_t unsyncs = n.unsyncs;
	forget_all(g);
	assert_int_equal(load(g, 1, va), 0x200);
	assert_int_equal(load(g, 1, clean), 0x230);
	check(g);
	tf_counters_read(g->vm, &n);
	assert_int_equal(n.unsyncs > unsyncs, walks_write);
	/* D is written in any format. */
	quiet(g, 0, va);
	tf_counters_read(g->vm, &n);
	const uint64_t then = n.unsyncs;
	store(g, 1, clean, 7);
	assert_true(get(g, at) & X_D);
	tf_counters_read(g->vm, &n);
	assert_true(n.unsyncs > then);
	end(g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_that_differ),
		cmocka_unit_test(accessed_by_one_group),
		cmocka_unit_test(split_for_the_log),
		cmocka_unit_test(split_for_a_removal),
		cmocka_unit_test(split_for_a_table),
		cmocka_unit_test(group_goes_behind_a_vcpu),
		cmocka_unit_test(group_comes_back),
		cmocka_unit_test(page_goes_while_all_use_it),
		cmocka_unit_test(table_goes_while_another_walks_it),
		cmocka_unit_test(translation_without_an_entry),
		cmocka_unit_test(trust_without_an_entry),
		cmocka_unit_test(trusted_by_several),
		cmocka_unit_test(trusted_and_gone),
		cmocka_unit_test(trusted_and_walked),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return RUN_VARIANTS(formats, tests);
}
