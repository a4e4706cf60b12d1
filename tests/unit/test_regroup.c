/* The facade's contract on groups: nodes, copies, counters, and a grouping that changes.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

/* Four vCPUs on four nodes; every grouping may be asked for later. */
static const struct tf_config four = {.mode = TF_NESTED,
				      .nested = TF_NPT,
				      .maxphyaddr = 40,
				      .vcpus = 4,
				      .nodes = 4,
				      .grouping = TF_GROUPS_NODE,
				      .regroup = true};

static const enum tf_grouping groupings[] = {TF_GROUPS_NODE, TF_GROUPS_ONE, TF_GROUPS_VCPU};

static struct tf_config four_in(enum tf_mode m, enum tf_grouping by)
{
	struct tf_config c = four;

	c.mode = m;
	c.grouping = by;
	return c;
}

static struct tf_counters totals(struct rig *g)
{
	struct tf_counters n;

	tf_counters_read(g->vm, &n);
	return n;
}

/* Every vCPU asks for a load, some times: each moves where it belongs, and what nobody is in any
 * more is taken apart. */
static void load_all(struct rig *g, unsigned int times)
{
	for (unsigned int k = 0; k < times; k++)
		for (unsigned int i = 0; i < g->hw.cpus; i++) {
			hw_leave(&g->hw.cpu[i]);
			assert_true(hw_enter(&g->hw.cpu[i]));
		}
}

/* The node that the host frame was asked from. */
static unsigned int node_of(struct rig *g, uint64_t at_hpa)
{
	return g->f.node[fakehost_frame(hpa(at_hpa))];
}

/* ---- nodes ---- */

static void nodes_out_of_range(void **state)
{
	(void)state;
	for (unsigned int nodes = 0; nodes < 4; nodes++) {
		struct fakehost f;
		struct tf_vm *vm;
		struct tf_vcpu *v;
		struct tf_config c = plain;
		unsigned int n = nodes ? nodes : 1; /* 0 counts as 1 */
		c.nodes = nodes;
		fakehost_init(&f, 8 * MIB);
		assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_OK);
		for (unsigned int k = 0; k < 4; k++)
			assert_int_equal(tf_mem_add(vm, gpa(k * MIB), PAGE, k),
					 k < n ? TF_OK : TF_E_INVAL);
		assert_int_equal(tf_vcpu_create(vm, 0, n, &v), TF_E_INVAL);
		assert_int_equal(tf_vcpu_create(vm, 0, TF_MAX_NODES, &v), TF_E_INVAL);
		assert_int_equal(tf_vcpu_create(vm, 0, n - 1, &v), TF_OK);
		assert_null(tf_check(vm));
		tf_vm_destroy(vm);
		assert_int_equal(fakehost_leaks(&f), 0);
		fakehost_fini(&f);
	}
}

/* Whoever touches a page first, its frame comes from its slot's node; 2 MiB blocks, too. */
static void frames_are_on_the_slots_node(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int large = 0; large < 2; large++) {
			struct tf_config c = four_in(both[m], TF_GROUPS_NODE);
			c.large_backing = large;
			struct rig *g = start(&c);
			struct tf_counters was = totals(g);
			for (unsigned int i = 0; i < 4; i++) {
				uint64_t low = 4 * MIB + i * PAGE, high = HIGH;
				struct hw_result r = touch(g, i, low, TF_USER | TF_WRITE, 1);
				assert_int_equal(r.end, HW_DONE);
				assert_int_equal(node_of(g, r.hpa), 0);
				r = touch(g, i, high, TF_USER | TF_WRITE, 1);
				assert_int_equal(r.end, HW_DONE);
				assert_int_equal(node_of(g, r.hpa), 1);
			}
			struct tf_counters now = totals(g);
			/* HIGH was backed by vCPU 0, from afar; the low ones each by its own, or
			 * all by vCPU 0, which is near. */
			assert_int_equal(now.frames_backed - was.frames_backed,
					 large ? 512 + 1 : 4 + 1);
			assert_int_equal(now.frames_local - was.frames_local, large ? 512 : 1);
			assert_int_equal(now.large_backed - was.large_backed, large);
			end(g);
		}
}

/* A group's tables come from its node; with `vcpu` from the vCPU's. */
static void tables_are_on_the_groups_node(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int by = 0; by < 2; by++) {
			struct tf_config c = four_in(both[m], by ? TF_GROUPS_VCPU : TF_GROUPS_NODE);
			struct rig *g = start(&c);
			for (unsigned int i = 0; i < 4; i++) {
				uint64_t was[4];
				/* All that the memory map needs is there before. */
				put(g, 2 * MIB, 5);
				for (unsigned int k = 0; k < 4; k++)
					was[k] = fakehost_count(&g->f, k, TF_USE_TABLE);
				assert_int_equal(load(g, i, 2 * MIB), 5);
				for (unsigned int k = 0; k < 4; k++) {
					uint64_t now = fakehost_count(&g->f, k, TF_USE_TABLE);
					if (k == i)
						assert_true(now > was[k]);
					else
						assert_int_equal(now, was[k]);
				}
				/* What the vCPU runs on is its node's. */
				assert_int_equal(node_of(g, g->hw.cpu[i].load.root.v), i);
			}
			end(g);
		}
}

/* ---- copies ---- */

/* A frame that the map knows is installed by another group without a frame of its own, and only
 * what the group uses. */
static void copies_fill_lazily(void **state)
{
	(void)state;
	for (unsigned int install = 0; install < 2; install++)
		for (unsigned int large = 0; large < 2; large++) {
			struct tf_config c = four_in(TF_NESTED, TF_GROUPS_NODE);
			c.install = (enum tf_install)install;
			c.large_backing = large;
			struct rig *g = start(&c);
			const unsigned int pages = 40;
			for (unsigned int i = 0; i < 4; i++)
				load(g, i, 0x3000); /* the guest's tables are known to all */
			for (unsigned int k = 0; k < pages; k++)
				store(g, 0, 2 * MIB + k * PAGE, k);
			struct tf_counters was = totals(g);
			uint64_t frames = 0;
			for (unsigned int k = 0; k < 4; k++)
				frames += fakehost_count(&g->f, k, TF_USE_FRAME);
			for (unsigned int i = 1; i < 4; i++)
				for (unsigned int k = 0; k < pages; k += i)
					assert_int_equal(load(g, i, 2 * MIB + k * PAGE), k);
			struct tf_counters now = totals(g);
			uint64_t frames_now = 0;
			for (unsigned int k = 0; k < 4; k++)
				frames_now += fakehost_count(&g->f, k, TF_USE_FRAME);
			assert_int_equal(frames_now, frames);
			assert_int_equal(now.frames_backed, was.frames_backed);
			/* One large leaf for each group, or a small one for each page used. (A
			 * guest's table may be one more.) */
			uint64_t least = large ? 3 : 40 + 20 + 14;
			assert_in_range(now.copies - was.copies, least, least + 3);
			check(g);
			/* They are one frame: what one writes, all see. */
			for (unsigned int i = 0; i < 4; i++) {
				store(g, i, 2 * MIB + 8, 100 + i);
				for (unsigned int k = 0; k < 4; k++)
					assert_int_equal(load(g, k, 2 * MIB + 8), 100 + i);
			}
			end(g);
		}
}

/* ---- counters ---- */

#define SUMMED(X)                                                                                  \
	X(guest_faults)                                                                            \
	X(shadow_faults)                                                                           \
	X(nested_faults)                                                                           \
	X(device_faults)                                                                           \
	X(shadow_fills)                                                                            \
	X(prefills)                                                                                \
	X(shadows_made)                                                                            \
	X(shadows_zapped)                                                                          \
	X(shadows_reclaimed)                                                                       \
	X(unsyncs)                                                                                 \
	X(resyncs)                                                                                 \
	X(resync_changes)                                                                          \
	X(cr3_writes)                                                                              \
	X(cr3_kept)                                                                                \
	X(invlpgs)                                                                                 \
	X(invpcids)                                                                                \
	X(full_flushes)                                                                            \
	X(copies)                                                                                  \
	X(nested_tables)                                                                           \
	X(shadow_tables)

/* The groups' counters together are the VM's. */
static void groups_sum_up(struct rig *g)
{
	struct tf_counters sum, all = totals(g);
	unsigned int groups = 0;

	memset(&sum, 0, sizeof(sum));
	for (unsigned int k = 0; k < tf_groups_max(g->vm); k++) {
		struct tf_counters n;
		if (!tf_group_counters_read(g->vm, k, &n))
			continue;
		groups++;
#define ADD(what) sum.what += n.what;
		SUMMED(ADD)
#undef ADD
	}
	assert_true(groups >= tf_groups(g->vm));
	assert_false(tf_group_counters_read(g->vm, tf_groups_max(g->vm), &sum));
#define COMPARE(what)                                                                              \
	if (sum.what != all.what)                                                                  \
		fail_msg("%s: the groups say %lu, the VM %lu", #what, sum.what, all.what);
	SUMMED(COMPARE)
#undef COMPARE
}

/* Faults of every kind, flushes of every kind, by all vCPUs. */
static void some_work(struct rig *g, uint64_t tag)
{
	for (unsigned int i = 0; i < g->hw.cpus; i++) {
		for (unsigned int k = 0; k < 8; k++)
			store(g, i, 2 * MIB + (8 * i + k) * PAGE, tag + k);
		assert_int_equal(touch(g, i, KERNEL, TF_USER, 0).end, HW_FAULT);
		assert_int_equal(touch(g, i, HIGH + PAGE, TF_USER, 0).end, HW_DEVICE);
		assert_true(hw_invlpg(&g->hw.cpu[i], 2 * MIB));
		assert_true(hw_write_cr3(&g->hw.cpu[i], ROOT));
		assert_true(hw_write_cr4(&g->hw.cpu[i], g->r.cr4 ^ X_CR4_PGE));
		assert_true(hw_write_cr4(&g->hw.cpu[i], g->r.cr4));
	}
	for (unsigned int i = 0; i < g->hw.cpus; i++)
		for (unsigned int k = 0; k < 8; k++) {
			unsigned int other = (i + 1) % g->hw.cpus;
			assert_int_equal(load(g, i, 2 * MIB + (8 * other + k) * PAGE), tag + k);
		}
}

static void counters_add_up(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int k = 0; k < 3; k++) {
			struct tf_config c = four_in(both[m], groupings[k]);
			struct rig *g = start(&c);
			struct tf_counters n;
			some_work(g, 7);
			groups_sum_up(g);
			assert_int_equal(tf_groups(g->vm), groups_of(&c, groupings[k]));
			/* Each group did its part. */
			for (unsigned int i = 0; i < tf_groups(g->vm); i++) {
				assert_true(tf_group_counters_read(g->vm, i, &n));
				assert_true(n.nested_faults + n.shadow_faults > 0);
				assert_true(n.nested_tables > 0 && n.device_faults > 0);
			}
			/* And keeps on doing it, wherever the vCPUs move. */
			for (unsigned int r = 0; r < 6; r++) {
				assert_int_equal(tf_regroup(g->vm, groupings[(k + r) % 3]), TF_OK);
				some_work(g, 100 * r);
				groups_sum_up(g);
			}
			end(g);
		}
}

/* ---- regrouping ---- */

static void regroup_refuses(void **state)
{
	(void)state;
	for (unsigned int k = 0; k < 3; k++) {
		struct tf_config c = four_in(TF_NESTED, groupings[k]);
		c.regroup = false;
		struct rig *g = start(&c);
		for (unsigned int to = 0; to < 3; to++)
			assert_int_equal(tf_regroup(g->vm, groupings[to]), TF_E_INVAL);
		assert_int_equal(tf_grouping(g->vm), groupings[k]);
		end(g);
		c.regroup = true;
		g = start(&c);
		assert_int_equal(tf_regroup(g->vm, (enum tf_grouping)3), TF_E_INVAL);
		assert_int_equal(tf_grouping(g->vm), groupings[k]);
		some_work(g, 3);
		assert_int_equal(totals(g).regroups, 0);
		end(g);
	}
}

/* From each grouping to each, in each mode: all moves, all is seen, nothing is lost. */
static void regroup_moves(void **state)
{
	(void)state;
	for (unsigned int mode = 0; mode < 3; mode++)
		for (unsigned int k = 0; k < 9; k++) {
			enum tf_grouping from = groupings[k / 3], to = groupings[k % 3];
			struct tf_config c = four_in(mode ? TF_SHADOW : TF_NESTED, from);
			c.install = k & 1 ? TF_INSTALL_CAS : TF_INSTALL_LOCK;
			c.large_backing = k & 2;
			struct rig *g = start(&c);
			if (mode == 2)
				for (unsigned int i = 0; i < 4; i += 2)
					hw_set_mode(&g->hw.cpu[i], TF_NESTED);
			some_work(g, 40);
			uint64_t kicks = g->f.kicks;
			assert_int_equal(tf_regroup(g->vm, to), TF_OK);
			assert_true(g->f.kicks >= kicks + 4);
			assert_int_equal(tf_grouping(g->vm), to);
			check(g);
			/* Some have moved, some have not; both are right. */
			for (unsigned int i = 0; i < 4; i++) {
				store(g, i, 3 * MIB, i);
				for (unsigned int j = 0; j < 4; j++)
					assert_int_equal(load(g, j, 3 * MIB), i);
				check(g);
			}
			some_work(g, 50);
			load_all(g, 300);
			check(g);
			assert_int_equal(tf_groups(g->vm), groups_of(&c, to));
			for (unsigned int i = 0; i < tf_groups_max(g->vm); i++) {
				struct tf_counters n;
				bool known = tf_group_counters_read(g->vm, i, &n);
				if (i < groups_of(&c, to))
					assert_true(known && n.nested_tables > 0);
				else if (known) /* for what it did; it has no tables */
					assert_int_equal(n.nested_tables + n.shadow_tables, 0);
			}
			/* Those of the first group of each may stay where they are. */
			if (from != to)
				assert_in_range(totals(g).regroups, from == TF_GROUPS_ONE ? 3 : 0,
						4);
			else
				assert_int_equal(totals(g).regroups, 0);
			some_work(g, 60);
			end(g);
		}
}

/* A group that was taken apart gives its pages back: round trips need no more and no more. */
static void regroup_gives_back(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct tf_config c = four_in(both[m], TF_GROUPS_ONE);
		struct rig *g = start(&c);
		uint64_t in_use[6], tables[6], pages[6];
		for (unsigned int r = 0; r < 6; r++) {
			assert_int_equal(tf_regroup(g->vm, r & 1 ? TF_GROUPS_VCPU : TF_GROUPS_NODE),
					 TF_OK);
			some_work(g, r);
			assert_int_equal(tf_groups(g->vm), 4);
			struct tf_counters wide = totals(g);
			assert_int_equal(tf_regroup(g->vm, TF_GROUPS_ONE), TF_OK);
			some_work(g, r);
			load_all(g, 300);
			assert_int_equal(tf_groups(g->vm), 1);
			check(g);
			struct tf_counters n = totals(g);
			in_use[r] = g->f.in_use;
			tables[r] = n.nested_tables;
			pages[r] = n.table_pages;
			assert_true(n.nested_tables < wide.nested_tables);
			assert_true(n.table_pages < wide.table_pages);
			/* What is left on the other nodes is the bookkeeping of the map, the
			 * vCPUs and the groups themselves. */
			for (unsigned int k = 1; k < 4; k++)
				assert_true(fakehost_count(&g->f, k, TF_USE_TABLE) <= 16);
		}
		for (unsigned int r = 2; r < 6; r++) {
			assert_int_equal(tables[r], tables[1]);
			assert_int_equal(in_use[r], in_use[1]);
			assert_int_equal(pages[r], pages[1]);
		}
		end(g);
	}
}

/* No memory at any allocation of a regrouping, and of the loads by which the vCPUs move. */
static void regroup_without_memory(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int k = 0; k < 3; k++)
			for (unsigned int n = 1;; n++) {
				struct tf_config c = four_in(both[m], TF_GROUPS_ONE);
				enum tf_grouping to = groupings[(k + 1) % 3];
				c.grouping = groupings[k];
				struct rig *g = start(&c);
				some_work(g, 5);
				fakehost_fail(&g->f, n, n % 3 ? 1 : 1000);
				enum tf_status s = tf_regroup(g->vm, to);
				bool refused = g->f.failed > 0;
				fakehost_fail(&g->f, 0, 0);
				check(g);
				if (s == TF_E_NOMEM) {
					assert_true(refused);
					assert_int_equal(tf_grouping(g->vm), groupings[k]);
					some_work(g, 6);
					load_all(g, 300);
					assert_int_equal(tf_groups(g->vm),
							 groups_of(&c, groupings[k]));
					assert_int_equal(totals(g).regroups, 0);
					check(g);
					s = tf_regroup(g->vm, to);
				}
				assert_int_equal(s, TF_OK);
				/* The moves: one that fails is tried again. */
				for (unsigned int i = 0; i < 4; i++) {
					fakehost_fail(&g->f, 1 + n % 7, 2);
					hw_leave(&g->hw.cpu[i]);
					bool in = hw_enter(&g->hw.cpu[i]);
					fakehost_fail(&g->f, 0, 0);
					check(g);
					assert_true(in || hw_enter(&g->hw.cpu[i]));
				}
				some_work(g, 8);
				load_all(g, 300);
				assert_int_equal(tf_groups(g->vm), groups_of(&c, to));
				end(g);
				if (!refused)
					break;
				assert_true(n < 200);
			}
}

/* Each wish overtakes the last before all have moved; the log and accessed bits go on. */
static void regroup_in_haste(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct tf_config c = four_in(both[m], TF_GROUPS_NODE);
		struct rig *g = start(&c);
		struct rng rng = {m};
		uint64_t bits[8];

		assert_int_equal(tf_dirty_start(g->vm, gpa(2 * MIB), 64 * PAGE), TF_OK);
		for (unsigned int r = 0; r < 400; r++) {
			unsigned int i = (unsigned int)rng_below(&rng, 4);
			uint64_t p = rng_below(&rng, 64);
			if (rng_one_in(&rng, 3))
				assert_int_equal(tf_regroup(g->vm, groupings[rng_below(&rng, 3)]),
						 TF_OK);
			store(g, i, 2 * MIB + p * PAGE, r);
			assert_int_equal(load(g, (i + r) % 4, 2 * MIB + p * PAGE), r);
			if (rng_one_in(&rng, 4)) {
				assert_int_equal(
					tf_accessed_read(g->vm, gpa(2 * MIB), 64 * PAGE, bits),
					TF_OK);
				assert_true(bit(bits, p));
			}
			assert_int_equal(tf_dirty_read(g->vm, gpa(2 * MIB), 64 * PAGE, bits),
					 TF_OK);
			assert_int_equal(count(bits, 64), 1);
			assert_true(bit(bits, p));
			check(g);
		}
		end(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_out_of_range),
		cmocka_unit_test(frames_are_on_the_slots_node),
		cmocka_unit_test(tables_are_on_the_groups_node),
		cmocka_unit_test(copies_fill_lazily),
		cmocka_unit_test(counters_add_up),
		cmocka_unit_test(regroup_refuses),
		cmocka_unit_test(regroup_moves),
		cmocka_unit_test(regroup_gives_back),
		cmocka_unit_test(regroup_without_memory),
		cmocka_unit_test(regroup_in_haste),
	};

	return RUN_VARIANTS(formats, tests);
}
