/* Guest memory backed by 1 GiB: one nested leaf of 1 GiB where the memory map allows it, with the
 * bits that its format asks for; cut up by a log, by tracking, by a gate, by a discard, so that
 * nothing else is lost; and whole again when the reason is gone.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

#include <twofold/explain.h>

#define BLOCK (2 * MIB)
#define TAGS  24u /* blocks whose contents are watched */

/* Where the second GiB of the guest's memory is mapped for the user, by a 1 GiB page. */
#define SECOND (UINT64_C(64) << 30)

static struct tf_config huge(enum tf_mode m)
{
	struct tf_config c = in_mode(m);

	c.large_backing = c.huge_backing = true;
	return c;
}

static struct rig *begin(enum tf_mode m)
{
	struct tf_config c = huge(m);
	struct rig *g = start(&c);

	map(g, ROOT, SECOND, 2, GIB | X_P | X_W | X_U | X_PS);
	return g;
}

static struct tf_counters counters(struct rig *g)
{
	struct tf_counters n;

	tf_counters_read(g->vm, &n);
	return n;
}

/* The nested walk for the access itself, on vCPU 0's group. */
static struct tf_nested_walk walk(struct rig *g, uint64_t va)
{
	struct tf_access a = {gva(va), TF_USER};
	struct tf_explanation x;

	tf_explain(g->hw.cpu[0].v, &g->r, &a, &x);
	assert_int_equal(x.end, TF_WALK_MAPPED);
	return x.data;
}

/* The level of the nested leaf; 9: there is none. */
static unsigned int level(struct rig *g, uint64_t va)
{
	struct tf_nested_walk n = walk(g, va);

	return n.end == TF_NESTED_EMPTY ? 9 : n.entry[n.n - 1].level;
}

/* Every leaf of the GiB is of this level, by the CPU's own walks; without a fault. */
static void all_mapped_by(struct rig *g, unsigned int want)
{
	uint64_t faults = counters(g).nested_faults;

	for (uint64_t at = 0; at < GIB; at += BLOCK)
		assert_int_equal(level(g, SECOND + at), want);
	for (unsigned int i = 0; i < 512; i++)
		load(g, 0, SECOND + i * BLOCK);
	assert_int_equal(counters(g).nested_faults, faults);
}

static uint64_t tag_va(unsigned int i)
{
	return SECOND + (i * UINT64_C(509) * MIB) % GIB / BLOCK * BLOCK + i * 3 * PAGE;
}

static void tag(struct rig *g)
{
	for (unsigned int i = 0; i < TAGS; i++)
		store(g, 0, tag_va(i), 1000 + i);
}

static void tags_are_there(struct rig *g)
{
	for (unsigned int i = 0; i < TAGS; i++)
		assert_int_equal(load(g, 0, tag_va(i)), 1000 + i);
}

/* Tables only grow where leaves go in by compare-and-swap. */
static bool comes_back(void)
{
	return variant.install != TF_INSTALL_CAS;
}

/* ---- one leaf ---- */

static void one_leaf_for_a_gib(void **state)
{
	(void)state;
	const bool npt = variant.nested == TF_NPT;
	const uint64_t bits = npt ? X_P | X_W | X_U | X_A | X_D | X_PS
				  : 0x7 | 6 << 3 | 1 << 6 | 1 << 7 /* RWX WB IPAT PS */ |
					      (variant.nested == TF_EPT ? 3 << 8 : 0);
	struct rig *g = begin(TF_NESTED);
	struct tf_counters n = counters(g);
	assert_int_equal(n.huge_backed, 1); /* the tables are in the first */
	assert_int_equal(n.large_backed, 0);
	store(g, 0, SECOND + 5 * MIB + 8, 7);
	n = counters(g);
	assert_int_equal(n.huge_backed, 2);
	assert_int_equal(n.frames_backed, 2 * 512 * 512);
	assert_int_equal(n.nested_1g, 2);
	assert_int_equal(n.nested_faults, 2);
	assert_int_equal(n.nested_2m + n.nested_4k + n.nested_1g_cut, 0);
	struct tf_nested_walk w = walk(g, SECOND + 5 * MIB);
	assert_int_equal(w.n, 2);
	assert_int_equal(w.end, TF_NESTED_MAPPED);
	assert_int_equal(w.entry[1].kind, TF_KIND_LEAF);
	assert_int_equal(w.entry[1].value & (GIB - 1), bits);
	assert_int_equal(w.entry[1].value >> 30 << 30, w.to.v & ~(GIB - 1));
	assert_int_equal(w.to.v & (GIB - 1), 5 * MIB);
	/* Both are of a GiB: (4 levels of the guest's less two) x 3 + 2. */
	struct tf_access a = {gva(SECOND), TF_USER};
	struct tf_explanation x;
	tf_explain(g->hw.cpu[0].v, &g->r, &a, &x);
	assert_int_equal(x.nested, 2 * 3 + 2);
	assert_int_equal(x.nested_filled, 2 * 3 + 2);
	a.at = gva(0x200000);
	tf_explain(g->hw.cpu[0].v, &g->r, &a, &x);
	assert_int_equal(x.nested, 4 * 3 + 2);
	/* The other node's, from its node. */
	assert_int_equal(g->f.node[fakehost_frame(w.to)], 1);
	assert_int_equal(g->f.node[fakehost_frame(walk(g, 0).to)], 0);
	all_mapped_by(g, 2);
	assert_int_equal(load(g, 1, SECOND + 5 * MIB + 8), 7);
	check(g);
	end(g);
}

/* What does not fit: a GiB that no slot has all of, a host without one, a CPU without such leaves.
 */
static void else_smaller(void **state)
{
	(void)state;
	for (unsigned int how = 0; how < 4; how++) {
		struct tf_config c = huge(TF_NESTED);
		c.huge_backing = how != 0;
		struct rig *g = start(&c);
		if (how == 0) {
			store(g, 0, 0x200000, 1);
			assert_int_equal(counters(g).huge_backed, 0);
			assert_int_equal(level(g, 0x200000), 1);
			end(g);
			continue;
		}
		map(g, ROOT, SECOND, 2, GIB | X_P | X_W | X_U | X_PS);
		if (how == 1) {
			g->f.fail_huge = true;
		} else if (how == 2) {
			assert_int_equal(tf_mem_remove(g->vm, gpa(2 * GIB - PAGE), PAGE), TF_OK);
		} else {
			assert_int_equal(tf_mem_remove(g->vm, gpa(GIB), GIB / 2), TF_OK);
			assert_int_equal(tf_mem_add(g->vm, gpa(GIB), GIB / 2, 0), TF_OK);
		}
		store(g, 0, SECOND + 4 * MIB, 1);
		store(g, 0, SECOND + GIB / 2, 2);
		assert_int_equal(counters(g).huge_backed, 1);
		assert_int_equal(counters(g).large_backed, 2);
		assert_int_equal(level(g, SECOND + 4 * MIB), 1);
		assert_int_equal(load(g, 1, SECOND + GIB / 2), 2);
		/* Some of it is backed: the rest follows by blocks, whatever the host has. */
		g->f.fail_huge = false;
		store(g, 0, SECOND + 8 * MIB, 3);
		assert_int_equal(counters(g).huge_backed, 1);
		check(g);
		end(g);
	}
}

static void sane_config(void **state)
{
	(void)state;
	struct tf_config c = plain;
	struct fakehost f;
	struct tf_vm *vm;

	fakehost_init(&f, 4 * MIB);
	c.huge_backing = true;
	assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_E_INVAL);
	/* Every allocation of a VM with it may fail. */
	c.large_backing = true;
	for (unsigned int n = 1; n < 8; n++) {
		fakehost_fail(&f, n, 1);
		if (tf_vm_create(&f.host, &c, &vm) == TF_OK)
			tf_vm_destroy(vm);
		assert_int_equal(fakehost_leaks(&f), 0);
	}
	fakehost_fini(&f);
}

/* ---- cut up ---- */

static void a_log_cuts_it_up(void **state)
{
	(void)state;
	struct rig *g = begin(TF_NESTED);
	const uint64_t at = 77 * BLOCK + 5 * PAGE;
	uint64_t bits[1];

	tag(g);
	all_mapped_by(g, 2);
	assert_int_equal(tf_dirty_start(g->vm, gpa(GIB + at), 2 * PAGE), TF_OK);
	check(g);
	assert_true(counters(g).nested_1g_cut >= 1);
	/* Block 77 by 4 KiB, the others by 2 MiB: all of them, writable, without a fault. */
	uint64_t faults = counters(g).nested_faults;
	for (unsigned int i = 0; i < 512; i++) {
		assert_int_equal(level(g, SECOND + i * BLOCK), i == 77 ? 0 : 1);
		load(g, 0, SECOND + i * BLOCK + 8);
	}
	for (unsigned int i = 0; i < 512; i++)
		load(g, 0, SECOND + 77 * BLOCK + i * PAGE);
	tags_are_there(g);
	tag(g);
	assert_int_equal(counters(g).nested_faults, faults);
	assert_int_equal(tf_dirty_read(g->vm, gpa(GIB + at), 2 * PAGE, bits), TF_OK);
	assert_int_equal(bits[0], 0);
	store(g, 0, SECOND + at + PAGE, 5);
	store(g, 1, SECOND + 78 * BLOCK, 5);
	assert_int_equal(tf_dirty_read(g->vm, gpa(GIB + at), 2 * PAGE, bits), TF_OK);
	assert_int_equal(bits[0], 2);
	/* It ends: the next write fault there makes one leaf of it again. */
	tf_dirty_stop(g->vm, gpa(GIB + at), 2 * PAGE);
	store(g, 0, SECOND + at, 6);
	check(g);
	if (comes_back())
		all_mapped_by(g, 2);
	tags_are_there(g);
	end(g);
}

/* A table of the guest's lies in the first GiB; vCPU 0 has shadows of it, vCPU 1 runs nested. */
static void tracking_cuts_it_up(void **state)
{
	(void)state;
	struct rig *g = begin(TF_SHADOW);
	const uint64_t va = 0x200000;
	uint64_t at = entry_of(g, ROOT, va, 0), same;

	tag_frames(g);
	hw_set_mode(&g->hw.cpu[1], TF_NESTED);
	load(g, 1, va);
	load(g, 1, 3 * MIB);
	check(g);
	assert_true(counters(g).nested_1g >= 1);
	quiet(g, 0, va);
	check(g);
	assert_true(counters(g).tracks > 0);
	assert_true(counters(g).nested_1g_cut >= 1);
	/* No leaf of a GiB comes while a frame of it is tracked, whatever faults come. (Where the
	 * walk of a CPU is a write, it ends the tracking of what it reads.) */
	struct tf_counters before = counters(g);
	assert_int_equal(tf_mem_discard(g->vm, gpa(3 * MIB), PAGE), TF_OK);
	assert_int_equal(load(g, 1, 3 * MIB), 0);
	check(g);
	assert_true(counters(g).nested_faults > before.nested_faults);
	if (variant.nested == TF_EPT_NO_AD)
		assert_int_equal(counters(g).nested_1g, before.nested_1g);
	same = get(g, at);
	edit(g, 1, at, UINT64_C(0x222) << 12 | X_P | X_W | X_U);
	assert_true(counters(g).unsyncs > before.unsyncs);
	assert_true(hw_invlpg(&g->hw.cpu[0], va));
	assert_int_equal(load(g, 0, va), 0x222);
	edit(g, 1, at, same);
	check(g);
	/* All run nested: what was tracked is let go, and with the last it is one leaf again. */
	for (unsigned int i = 0; i < 2; i++)
		hw_set_mode(&g->hw.cpu[i], TF_NESTED);
	for (unsigned int k = 0; k < 300; k++)
		for (unsigned int i = 0; i < 2; i++) {
			hw_leave(&g->hw.cpu[i]);
			assert_true(hw_enter(&g->hw.cpu[i]));
		}
	check(g);
	for (unsigned int i = 0; i < 64; i++)
		store(g, 1, 3 * MIB + i * PAGE, i);
	check(g);
	if (comes_back() && variant.grouping == TF_GROUPS_ONE)
		assert_int_equal(level(g, va), 2);
	end(g);
}

static void a_discard_cuts_it_up(void **state)
{
	(void)state;
	struct rig *g = begin(TF_NESTED);
	const uint64_t at = 100 * BLOCK;
	tag(g);
	load(g, 1, SECOND);
	const hpa_t page = hpa(walk(g, SECOND).to.v & ~(GIB - 1));

	/* One frame. */
	store(g, 0, SECOND + at, 1);
	store(g, 1, SECOND + at + PAGE, 2);
	assert_int_equal(tf_mem_discard(g->vm, gpa(GIB + at), PAGE), TF_OK);
	check(g);
	assert_int_equal(level(g, SECOND + at), 9);
	uint64_t faults = counters(g).nested_faults;
	for (unsigned int i = 0; i < 512; i++)
		if (i != 100)
			load(g, 0, SECOND + i * BLOCK);
	tags_are_there(g);
	assert_int_equal(counters(g).nested_faults, faults);
	assert_int_equal(load(g, 0, SECOND + at + PAGE), 2);
	assert_int_equal(load(g, 0, SECOND + at), 0);
	assert_int_equal(load(g, 1, SECOND + at), 0);
	check(g);
	if (comes_back())
		assert_int_equal(level(g, SECOND + at), 2);

	/* A block: its part goes back to the host at once, and another page takes its place. */
	assert_int_equal(tf_mem_discard(g->vm, gpa(GIB + at), BLOCK), TF_OK);
	check(g);
	assert_false(fakehost_is_allocated(&g->f, hpa(page.v + at)));
	assert_true(fakehost_is_allocated(&g->f, hpa(page.v + at + BLOCK)));
	assert_int_equal(load(g, 0, SECOND + at + PAGE), 0);
	assert_int_equal(counters(g).large_backed, 1);
	check(g);
	tags_are_there(g);
	if (comes_back())
		all_mapped_by(g, 1);

	/* All of it: the next touch has a GiB again. */
	assert_int_equal(tf_mem_discard(g->vm, gpa(GIB), GIB), TF_OK);
	check(g);
	assert_int_equal(fakehost_is_allocated(&g->f, page), 0);
	assert_int_equal(load(g, 1, tag_va(3)), 0);
	assert_int_equal(counters(g).huge_backed, 3);
	check(g);
	end(g);
}

/* Without a page to cut it up with the leaf goes, and comes back by faults. */
static void without_a_page_it_goes(void **state)
{
	(void)state;
	for (unsigned int how = 0; how < 3; how++) {
		struct rig *g = begin(TF_NESTED);
		tag(g);
		/* Whatever is at hand is used up. */
		assert_int_equal(tf_dirty_start(g->vm, gpa(GIB + BLOCK), PAGE), TF_OK);
		tf_dirty_stop(g->vm, gpa(GIB + BLOCK), PAGE);
		store(g, 0, SECOND + BLOCK, 9);
		check(g);
		fakehost_fail(&g->f, 1, 1000);
		uint64_t bits[1];
		if (how == 0)
			assert_int_equal(tf_mem_discard(g->vm, gpa(GIB + 7 * BLOCK), PAGE), TF_OK);
		else if (how == 1)
			assert_int_equal(tf_dirty_start(g->vm, gpa(GIB + 7 * BLOCK), PAGE), TF_OK);
		else
			assert_int_equal(tf_accessed_read(g->vm, gpa(GIB + 7 * BLOCK), PAGE, bits),
					 TF_OK);
		fakehost_fail(&g->f, 0, 0);
		check(g);
		tags_are_there(g);
		check(g);
		end(g);
	}
}

/* ---- accessed ---- */

/* None is lost; and where CPUs keep the bits, they are told by 2 MiB. */
static void accessed_by_blocks(void **state)
{
	(void)state;
	struct rig *g = begin(TF_NESTED);
	static uint64_t bits[512 * 512 / 64];

	tag(g);
	assert_int_equal(tf_accessed_read(g->vm, gpa(GIB), GIB, bits), TF_OK);
	assert_int_equal(count(bits, 512 * 512), 512 * 512); /* one leaf: all or nothing */
	check(g);
	assert_int_equal(tf_accessed_read(g->vm, gpa(GIB), GIB, bits), TF_OK);
	assert_int_equal(count(bits, 512 * 512), 0);
	load(g, 0, SECOND + 300 * BLOCK + 17 * PAGE);
	check(g);
	assert_int_equal(tf_accessed_read(g->vm, gpa(GIB), GIB, bits), TF_OK);
	assert_true(bit(bits, 300 * 512 + 17));
	if (variant.nested != TF_EPT_NO_AD)
		assert_int_equal(count(bits, 512 * 512), 512);
	tags_are_there(g);
	check(g);
	end(g);
}

/* ---- shadow ---- */

/* A 1 GiB page of the guest is 512 leaves of 2 MiB in shadow tables, as ever. */
static void shadow_leaves_are_of_2m(void **state)
{
	(void)state;
	struct rig *g = begin(TF_SHADOW);

	tag(g);
	tags_are_there(g);
	assert_int_equal(counters(g).huge_backed, 2);
	struct tf_access a = {gva(tag_va(3)), TF_USER};
	struct tf_explanation x;
	tf_explain(g->hw.cpu[0].v, &g->r, &a, &x);
	assert_int_equal(x.shadow_refs, 3);
	check(g);
	end(g);
}

/* ---- slots, groups ---- */

static void slots_go(void **state)
{
	(void)state;
	struct rig *g = begin(TF_NESTED);

	tag(g);
	load(g, 1, SECOND);
	/* A part of it: the rest stays what it is. */
	assert_int_equal(tf_mem_remove(g->vm, gpa(GIB + GIB / 2), GIB / 2), TF_OK);
	check(g);
	assert_int_equal(touch(g, 0, SECOND + GIB / 2, TF_USER, 0).end, HW_DEVICE);
	assert_int_equal(touch(g, 1, SECOND + GIB - PAGE, TF_USER, 0).end, HW_DEVICE);
	for (unsigned int i = 0; i < TAGS; i++)
		if (tag_va(i) < SECOND + GIB / 2)
			assert_int_equal(load(g, 1, tag_va(i)), 1000 + i);
	assert_int_equal(tf_mem_remove(g->vm, gpa(GIB), GIB / 2), TF_OK);
	check(g);
	assert_int_equal(tf_mem_add(g->vm, gpa(GIB), GIB, 1), TF_OK);
	assert_int_equal(load(g, 0, tag_va(1)), 0);
	assert_int_equal(counters(g).huge_backed, 3);
	check(g);
	end(g);
}

/* Groups come and go with leaves of a GiB in their tables. */
static void groups_go(void **state)
{
	(void)state;
	struct tf_config c = huge(TF_NESTED);
	c.grouping = TF_GROUPS_VCPU;
	c.regroup = true;
	struct rig *g = start(&c);
	map(g, ROOT, SECOND, 2, GIB | X_P | X_W | X_U | X_PS);
	tag(g);
	for (unsigned int round = 0; round < 4; round++) {
		assert_int_equal(tf_regroup(g->vm, round & 1 ? TF_GROUPS_VCPU : TF_GROUPS_ONE),
				 TF_OK);
		for (unsigned int k = 0; k < 300; k++)
			for (unsigned int i = 0; i < 2; i++) {
				if (k < TAGS)
					assert_int_equal(load(g, i, tag_va(k)), 1000 + k);
				hw_leave(&g->hw.cpu[i]);
				assert_true(hw_enter(&g->hw.cpu[i]));
			}
		check(g);
		assert_int_equal(tf_groups(g->vm), round & 1 ? 2 : 1);
	}
	assert_int_equal(counters(g).nested_2m + counters(g).nested_4k, 0);
	end(g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_leaf_for_a_gib),
		cmocka_unit_test(else_smaller),
		cmocka_unit_test(a_log_cuts_it_up),
		cmocka_unit_test(tracking_cuts_it_up),
		cmocka_unit_test(a_discard_cuts_it_up),
		cmocka_unit_test(without_a_page_it_goes),
		cmocka_unit_test(accessed_by_blocks),
		cmocka_unit_test(shadow_leaves_are_of_2m),
		cmocka_unit_test(slots_go),
	};
	const struct CMUnitTest by_format[] = {
		cmocka_unit_test(groups_go),
		cmocka_unit_test(sane_config),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int bad = RUN_IN_ALL_GROUPINGS(tests);

	return bad + RUN_VARIANTS(formats, by_format);
}
