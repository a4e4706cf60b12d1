/* Sampling of accessed bits: what a model of the guest's accesses says it must find, whatever the
 * mode; and that it leaves no trace in what the guest, the host and the invariants see.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

#include <twofold/choice.h>

/* A space: TABLES leaf tables, in each PER pages; the guest's frames 2 MiB .. 6 MiB. One large page
 * at 6 MiB. The kernel half is the rig's. */
#define TABLES 10u
#define PER    96u
#define PAGES  (TABLES * PER)
#define LARGE  UINT64_C(0x80000000)
/* Between begin and end: a power of two, and a clock that makes it about a second, so that little
 * is lost to rounding. */
#define CYCLES UINT64_C(32768)
#define KHZ    33

static uint64_t page_va(unsigned int i)
{
	return UINT64_C(0x40000000) + i / PER * 2 * MIB + i % PER * PAGE;
}

static uint64_t page_gpa(unsigned int i)
{
	return 2 * MIB + i * PAGE;
}

static uint64_t make_space(struct rig *g, bool large)
{
	uint64_t root = g->next;

	g->next += PAGE;
	for (unsigned int i = 0; i < PAGES; i++)
		map(g, root, page_va(i), 0, page_gpa(i) | X_P | X_W | X_U);
	if (large)
		map(g, root, LARGE, 1, (6 * MIB) | X_P | X_W | X_U | X_PS);
	put(g, root + 8 * 256, get(g, ROOT + 8 * 256));
	return root;
}

static void choose(struct rig *g, enum tf_grain grain)
{
	struct tf_choice_config c = {
		.policy = tf_policy_find("cost"),
		.grain = grain,
		.costs = {.exit = 1000, .miss_nested = 2, .miss_shadow = 1, .fault = 5000},
		.clock_khz = KHZ,
		.seed = 3,
	};

	assert_int_equal(tf_choice_start(g->vm, &c), TF_OK);
}

/* All vCPUs in the mode and in the space, and everything touched once. */
/* `backing`: 0 by 4 KiB, 1 by 2 MiB, 2 by 1 GiB. */
static struct rig *begin_in(enum tf_mode m, unsigned int backing, bool large_page, uint64_t *root)
{
	struct tf_config c = in_mode(TF_NESTED);

	c.large_backing = backing > 0;
	c.huge_backing = backing > 1;
	c.regroup = true;
	struct rig *g = start(&c);
	*root = make_space(g, large_page);
	choose(g, TF_GRAIN_VM);
	for (unsigned int i = 0; i < g->hw.cpus; i++) {
		hw_set_mode(&g->hw.cpu[i], m);
		assert_true(hw_write_cr3(&g->hw.cpu[i], *root));
	}
	for (unsigned int i = 0; i < PAGES; i++)
		store(g, 0, page_va(i), i);
	if (large_page)
		store(g, 0, LARGE, 77);
	return g;
}

static bool sample_begin(struct rig *g, unsigned int cpu)
{
	struct hw_cpu *c = &g->hw.cpu[cpu];

	hw_leave(c);
	return tf_sample_begin(c->v, &c->r);
}

static void sample_end(struct rig *g, unsigned int cpu)
{
	hw_leave(&g->hw.cpu[cpu]);
	tf_sample_end(g->hw.cpu[cpu].v, CYCLES);
}

static struct tf_verdict verdict(struct rig *g, unsigned int cpu)
{
	const struct tf_reading r = {.cycles = 1, .event_cycles = 2 * KHZ};
	struct tf_verdict v;

	tf_choice_note(g->hw.cpu[cpu].v, &g->hw.cpu[cpu].r, &r, &v);
	assert_non_null(v.why);
	return v;
}

/* The vCPU goes over to a space that has nothing to sample. */
static void lets_go(struct rig *g, unsigned int cpu, uint64_t space)
{
	assert_true(hw_write_cr3(&g->hw.cpu[cpu], space));
	assert_true(hw_enter(&g->hw.cpu[cpu]));
	assert_false(sample_begin(g, cpu));
}

/* Distinct pages that the sample says were touched. */
static uint64_t found(struct rig *g)
{
	return verdict(g, 0).misses_per_s;
}

/* Touch k pages by chance, each some times. */
static void touch_some(struct rig *g, struct rng *r, unsigned int k)
{
	unsigned int order[PAGES];

	for (unsigned int i = 0; i < PAGES; i++)
		order[i] = i;
	for (unsigned int i = 0; i < k; i++) {
		unsigned int j = i + (unsigned int)rng_below(r, PAGES - i), was = order[i];
		order[i] = order[j];
		order[j] = was;
		for (uint64_t n = 1 + rng_below(r, 2); n; n--)
			assert_int_equal(load(g, 0, page_va(order[i])), order[i]);
	}
}

#define ROUNDS 96u

/* What is found of k pages touched, round by round. */
static void measure(enum tf_mode m, unsigned int backing, unsigned int k, uint64_t *readings)
{
	uint64_t root;
	struct rig *g = begin_in(m, backing, false, &root);
	struct rng r = {17 + k};

	for (unsigned int n = 0; n < ROUNDS; n++) {
		assert_true(sample_begin(g, 0));
		touch_some(g, &r, k);
		sample_end(g, 0);
		readings[n] = found(g);
	}
	check(g);
	end(g);
}

/* The mean is what was touched, and the reading does not depend on the mode, nor on how large our
 * own leaves are: with the same accesses it is the same, to the page. */
static void estimate(void **state)
{
	(void)state;
	static const unsigned int touched[] = {0, 40, 300, PAGES};
	static uint64_t a[ROUNDS], b[ROUNDS];

	for (unsigned int t = 0; t < 4; t++) {
		uint64_t sum = 0, want = touched[t];
		measure(TF_NESTED, 0, touched[t], a);
		for (unsigned int n = 0; n < ROUNDS; n++)
			sum += a[n];
		uint64_t mean = sum / ROUNDS, off = mean > want ? mean - want : want - mean;
		if (off > want / 8 + 2 || (!want && sum))
			fail_msg("%u pages touched, %llu found", touched[t],
				 (unsigned long long)mean);
		for (unsigned int how = 1; how < 6; how++) {
			measure(how & 1 ? TF_SHADOW : TF_NESTED, how / 2, touched[t], b);
			for (unsigned int n = 0; n < ROUNDS; n++)
				if (a[n] != b[n])
					fail_msg("%u pages touched, round %u: %llu found in nested "
						 "mode, %llu in %s mode%s",
						 touched[t], n, (unsigned long long)a[n],
						 (unsigned long long)b[n],
						 how & 1 ? "shadow" : "nested",
						 how / 2 == 2	? ", leaves of a GiB"
						 : how / 2 == 1 ? ", large leaves"
								: "");
		}
	}
}

/* The space's size is told; the kernel's pages are not the space's. */
static void resident(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		uint64_t root;
		struct rig *g = begin_in(both[m], 0, false, &root);
		assert_true(sample_begin(g, 0));
		for (unsigned int k = 0; k < 64; k++)
			assert_int_equal(touch(g, 0, KERNEL + k * PAGE, 0, 0).end, HW_DONE);
		sample_end(g, 0);
		assert_int_equal(found(g), 0);
		assert_int_equal(verdict(g, 0).resident, PAGES);
		end(g);
	}
}

/* The way to shadow tables is priced by what is in use, when some samples have told what is. */
static void price_by_use(void **state)
{
	(void)state;
	for (unsigned int backing = 0; backing < 3; backing++) {
		uint64_t root, price[4];
		struct rig *g = begin_in(TF_NESTED, backing, false, &root);
		for (unsigned int n = 0; n < 4; n++) {
			assert_true(sample_begin(g, 0));
			for (unsigned int i = 0; i < PER; i++)
				load(g, 0, page_va(i));
			sample_end(g, 0);
			price[n] = verdict(g, 0).price;
		}
		assert_int_equal(price[0], price[1]);
		assert_in_range(price[2], 1, price[1] / 2);
		assert_int_equal(price[3], price[2]);
		check(g);
		end(g);
	}
}

/* A large page is one translation, not 512: touched all over or once. */
static void large_page(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 4; m++) {
		uint64_t root;
		struct rig *g = begin_in(both[m & 1], 1 + m / 2, true, &root);
		uint64_t most = 0;
		for (unsigned int n = 0; n < ROUNDS; n++) {
			assert_true(sample_begin(g, 0));
			for (unsigned int k = 0; k < 512; k += 3)
				load(g, 0, LARGE + k * PAGE);
			sample_end(g, 0);
			if (found(g) > most)
				most = found(g);
		}
		assert_in_range(most, 1, 2); /* one of eleven parts */
		check(g);
		end(g);
	}
}

static uint64_t tables_now(struct rig *g)
{
	struct tf_counters n;
	tf_counters_read(g->vm, &n);
	return n.nested_tables;
}

/* Large leaves of ours are in pieces as long as the sample lasts, and come back. */
static void large_leaves_come_back(void **state)
{
	(void)state;
	if (variant.install == TF_INSTALL_CAS)
		return; /* tables only grow */
	uint64_t root;
	struct rig *g = begin_in(TF_NESTED, 1, false, &root);
	uint64_t whole = tables_now(g), other = g->next, most = 0;
	struct rng r = {5};
	g->next += PAGE;
	put(g, other + 8 * 256, get(g, ROOT + 8 * 256));
	for (unsigned int n = 0; n < ROUNDS; n++) {
		assert_true(sample_begin(g, 0));
		touch_some(g, &r, 50);
		sample_end(g, 0);
		if (tables_now(g) > most)
			most = tables_now(g);
		check(g);
	}
	assert_in_range(most, whole + 1, whole + 2); /* two blocks */
	/* Another space, which has nothing to sample. */
	lets_go(g, 0, other);
	assert_int_equal(tables_now(g), whole);
	check(g);
	end(g);
}

/* A GiB is one leaf again when the last sample in it is over, not before: what is looked for would
 * be seen as one with all else in it. */
static void a_gib_waits_for_others(void **state)
{
	(void)state;
	if (variant.install == TF_INSTALL_CAS || variant.grouping != TF_GROUPS_ONE)
		return; /* tables only grow; each has its own */
	uint64_t root;
	struct rig *g = begin_in(TF_NESTED, 2, false, &root);
	uint64_t whole = tables_now(g), other = g->next;
	g->next += PAGE;
	put(g, other + 8 * 256, get(g, ROOT + 8 * 256));
	assert_true(hw_write_cr3(&g->hw.cpu[1], root));
	assert_true(hw_enter(&g->hw.cpu[1]));
	assert_true(sample_begin(g, 1));
	sample_end(g, 1);
	assert_true(sample_begin(g, 0));
	assert_true(tables_now(g) > whole);
	/* vCPU 1 goes over to a space that has nothing to sample, and lets go of what it cut up. */
	lets_go(g, 1, other);
	assert_true(tables_now(g) > whole);
	for (unsigned int k = 0; k < 64; k++)
		assert_int_equal(touch(g, 1, KERNEL + k * PAGE, 0, 0).end, HW_DONE);
	sample_end(g, 0);
	assert_int_equal(found(g), 0);
	lets_go(g, 0, other);
	assert_int_equal(tables_now(g), whole);
	check(g);
	end(g);
}

/* ---- no trace ---- */

/* What was accessed before a sample began is told to who asks after it. */
static void accessed_bits_stay(void **state)
{
	(void)state;
	uint64_t bits[2048 / 64];

	for (unsigned int m = 0; m < 6; m++) {
		uint64_t root;
		struct rig *g = begin_in(both[m & 1], m / 2, false, &root);
		struct rng r = {m};
		for (unsigned int n = 0; n < 20; n++) {
			bool is_set[PAGES] = {false};
			assert_int_equal(tf_accessed_read(g->vm, gpa(0), 8 * MIB, bits), TF_OK);
			for (unsigned int k = 0; k < 100; k++) {
				unsigned int i = (unsigned int)rng_below(&r, PAGES);
				is_set[i] = true;
				load(g, k & 1, page_va(i));
				if (k % 10 == 3)
					(void)sample_begin(g, k / 10 & 1);
				if (k % 10 == 9)
					sample_end(g, k / 10 & 1);
			}
			assert_int_equal(tf_accessed_read(g->vm, gpa(0), 8 * MIB, bits), TF_OK);
			for (unsigned int i = 0; i < PAGES; i++)
				if (is_set[i] && !bit(bits, page_gpa(i) / PAGE))
					fail_msg("an access to page %u was lost", i);
		}
		check(g);
		end(g);
	}
}

/* What was accessed while a leaf was in pieces is told when it is whole again, and nothing else. */
static void accessed_bits_of_pieces(void **state)
{
	(void)state;
	if (variant.nested == TF_EPT_NO_AD)
		return; /* leaves are there or not: they come back whole */
	uint64_t root, bits[2048 / 64];
	struct rig *g = begin_in(TF_NESTED, 1, false, &root);
	uint64_t other = g->next;
	g->next += PAGE;
	put(g, other + 8 * 256, get(g, ROOT + 8 * 256));
	assert_true(sample_begin(g, 0));
	sample_end(g, 0);
	assert_int_equal(tf_accessed_read(g->vm, gpa(0), 8 * MIB, bits), TF_OK);
	for (unsigned int i = 0; i < PAGES; i += 3)
		load(g, 0, page_va(i));
	lets_go(g, 0, other);
	assert_int_equal(tf_accessed_read(g->vm, gpa(0), 8 * MIB, bits), TF_OK);
	for (unsigned int i = 0; i < PAGES; i++)
		assert_int_equal(bit(bits, page_gpa(i) / PAGE), i % 3 == 0);
	check(g);
	end(g);
}

/* The leaf that is sampled maps another frame than the guest's entry names by now: the guest has
 * not flushed yet. */
static void accessed_bits_of_what_is_mapped(void **state)
{
	(void)state;
	uint64_t root, bits[2048 / 64];
	struct rig *g = begin_in(TF_SHADOW, 0, false, &root);
	for (unsigned int i = 0; i < PAGES; i++)
		put(g, entry_of(g, root, page_va(i), 0), page_gpa(PAGES) | X_P | X_U | X_A);
	assert_int_equal(tf_accessed_read(g->vm, gpa(0), 8 * MIB, bits), TF_OK);
	bool is_old[PAGES];
	for (unsigned int i = 0; i < PAGES; i++)
		is_old[i] = load(g, 0, page_va(i)) == i;
	(void)sample_begin(g, 0);
	assert_int_equal(tf_accessed_read(g->vm, gpa(0), 8 * MIB, bits), TF_OK);
	unsigned int old = 0;
	for (unsigned int i = 0; i < PAGES; i++) {
		old += is_old[i];
		if (is_old[i] && !bit(bits, page_gpa(i) / PAGE))
			fail_msg("an access to page %u by an old translation was lost", i);
	}
	assert_true(old > PAGES / 2);
	sample_end(g, 0);
	check(g);
	end(g);
}

/* The guest's own tables and memory are as they were. */
static void invisible(void **state)
{
	(void)state;
	static uint64_t before[8 * MIB / 8], after[8 * MIB / 8];

	for (unsigned int m = 0; m < 6; m++) {
		uint64_t root;
		struct rig *g = begin_in(both[m & 1], m / 2, true, &root);
		assert_int_equal(tf_mem_read(g->vm, gpa(0), before, 8 * MIB), TF_OK);
		for (unsigned int n = 0; n < 40; n++)
			for (unsigned int i = 0; i < g->hw.cpus; i++) {
				assert_true(sample_begin(g, i));
				sample_end(g, i);
			}
		assert_int_equal(tf_mem_read(g->vm, gpa(0), after, 8 * MIB), TF_OK);
		assert_memory_equal(before, after, 8 * MIB);
		for (unsigned int i = 0; i < PAGES; i++)
			store(g, 1, page_va(i), i);
		check(g);
		end(g);
	}
}

/* ---- begun, and then something comes between ---- */

static uint64_t usual(struct rig *g, struct rng *r)
{
	assert_true(sample_begin(g, 0));
	touch_some(g, r, 400);
	sample_end(g, 0);
	uint64_t n = found(g);
	assert_in_range(n, 100, 900);
	return n;
}

/* What came between makes the sample void: the reading stays what it was. */
static void void_samples(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		uint64_t root, n;
		struct rig *g = begin_in(both[m], 1, false, &root);
		struct rng r = {8};
		n = usual(g, &r);
		/* An end without a beginning. */
		sample_end(g, 0);
		sample_end(g, 1);
		assert_int_equal(found(g), n);
		/* A beginning without an end, and another vCPU's. */
		assert_true(sample_begin(g, 0));
		assert_true(sample_begin(g, 1));
		assert_true(sample_begin(g, 0));
		sample_end(g, 1);
		assert_int_equal(found(g), n);
		n = usual(g, &r);
		/* Another mode meanwhile. */
		assert_true(sample_begin(g, 0));
		hw_set_mode(&g->hw.cpu[0], both[!m]);
		load(g, 0, page_va(0));
		sample_end(g, 0);
		assert_int_equal(found(g), n);
		n = usual(g, &r);
		hw_set_mode(&g->hw.cpu[0], both[m]);
		load(g, 0, page_va(0));
		check(g);
		/* Other groups meanwhile: the vCPU's own, if it was in one with others, is new. */
		assert_true(sample_begin(g, 0));
		assert_int_equal(tf_regroup(g->vm, tf_grouping(g->vm) == TF_GROUPS_VCPU
							   ? TF_GROUPS_ONE
							   : TF_GROUPS_VCPU),
				 TF_OK);
		for (unsigned int k = 0; k < 20; k++)
			for (unsigned int i = 0; i < g->hw.cpus; i++) {
				hw_leave(&g->hw.cpu[i]);
				assert_true(hw_enter(&g->hw.cpu[i]));
			}
		sample_end(g, 0);
		check(g);
		(void)usual(g, &r);
		end(g);
	}
}

/* Work that stays for short looks only is judged by them before long, not by what it did before. */
static void short_looks(void **state)
{
	(void)state;
	const struct tf_reading seconds = {.cycles = 4000 * KHZ};
	for (unsigned int m = 0; m < 2; m++) {
		uint64_t root;
		struct rig *g = begin_in(both[m], 1, false, &root);
		struct rng r = {9};
		uint64_t n = usual(g, &r);
		struct tf_verdict v;
		for (unsigned int i = 0; i < 3; i++)
			tf_choice_note(g->hw.cpu[0].v, &g->hw.cpu[0].r, &seconds, &v);
		/* Time alone tells nothing new. */
		assert_in_range(found(g), n * 9 / 10, n * 11 / 10);
		assert_true(sample_begin(g, 0));
		hw_leave(&g->hw.cpu[0]);
		tf_sample_end(g->hw.cpu[0].v,
			      KHZ); /* of a millisecond, in which nothing was touched */
		assert_in_range(found(g), 1, n / 2);
		check(g);
		end(g);
	}
}

/* The pages, their tables, and the root go while a sample is under way. */
static void memory_goes(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 4; m++)
		for (unsigned int what = 0; what < 4; what++) {
			uint64_t root;
			struct rig *g = begin_in(both[m & 1], m / 2, false, &root);
			uint64_t pt = entry_of(g, root, page_va(0), 0) & X_ADDR;
			assert_true(sample_begin(g, 0));
			if (what == 0)
				assert_int_equal(tf_mem_remove(g->vm, gpa(2 * MIB), 4 * MIB),
						 TF_OK);
			else if (what == 1)
				assert_int_equal(tf_mem_discard(g->vm, gpa(2 * MIB), 4 * MIB),
						 TF_OK);
			else
				assert_int_equal(
					tf_mem_discard(g->vm, gpa(what == 2 ? pt : root), PAGE),
					TF_OK);
			check(g);
			(void)touch(g, 0, page_va(3), TF_USER, 0);
			sample_end(g, 0);
			for (unsigned int n = 0; n < 40; n++) {
				if (sample_begin(g, 0))
					sample_end(g, 0);
				(void)touch(g, 0, page_va(n), TF_USER, 0);
			}
			assert_true(sample_begin(g, 1) || what == 3);
			check(g);
			end(g);
		}
}

/* Code that shadow tables cannot run, and a vCPU that has not run yet: nothing to sample. */
static void nothing_to_sample(void **state)
{
	(void)state;
	uint64_t root;
	struct rig *g = begin_in(TF_NESTED, 0, false, &root);
	struct tf_regs r = g->hw.cpu[0].r;
	r.cr0 &= ~X_CR0_PG;
	r.efer &= ~X_EFER_LMA;
	hw_set_regs(&g->hw.cpu[0], &r);
	assert_true(hw_enter(&g->hw.cpu[0]));
	assert_false(sample_begin(g, 0));
	r = g->r;
	r.cr3 = UINT64_C(0xfffff000); /* no memory */
	hw_set_regs(&g->hw.cpu[0], &r);
	assert_true(hw_enter(&g->hw.cpu[0]));
	assert_false(sample_begin(g, 0));
	end(g);

	/* Before the choice has begun. */
	g = start(&plain);
	load(g, 0, 0);
	assert_false(sample_begin(g, 0));
	end(g);
	struct tf_config c = in_mode(TF_NESTED);
	g = start(&c);
	choose(g, TF_GRAIN_VM);
	assert_false(sample_begin(g, 0));
	end(g);
}

/* Every allocation of a sample fails once: it ends well or not at all. */
static void no_memory(void **state)
{
	(void)state;
	for (uint64_t n = 1; n < 40; n++) {
		uint64_t root;
		struct rig *g = begin_in(TF_NESTED, 1, false, &root);
		uint64_t failed = g->f.failed;
		fakehost_fail(&g->f, n, 1 + n % 3);
		for (unsigned int k = 0; k < 4; k++) {
			if (!sample_begin(g, 0))
				assert_true(g->f.failed > failed);
			check(g);
			sample_end(g, 0);
		}
		bool was_last = g->f.failed == failed;
		fakehost_fail(&g->f, 0, 0);
		/* (Older samples count for less and less.) */
		for (unsigned int k = 0; k < 16; k++) {
			assert_true(sample_begin(g, 0));
			for (unsigned int i = 0; i < PAGES; i++)
				assert_int_equal(load(g, 0, page_va(i)), i);
			sample_end(g, 0);
		}
		assert_in_range(found(g), PAGES * 8 / 10, PAGES * 12 / 10);
		end(g);
		if (was_last) {
			assert_true(n > 1);
			return;
		}
	}
	fail_msg("a sample takes too many allocations");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(estimate),
		cmocka_unit_test(resident),
		cmocka_unit_test(price_by_use),
		cmocka_unit_test(large_page),
		cmocka_unit_test(large_leaves_come_back),
		cmocka_unit_test(a_gib_waits_for_others),
		cmocka_unit_test(accessed_bits_stay),
		cmocka_unit_test(accessed_bits_of_pieces),
		cmocka_unit_test(accessed_bits_of_what_is_mapped),
		cmocka_unit_test(invisible),
		cmocka_unit_test(void_samples),
		cmocka_unit_test(short_looks),
		cmocka_unit_test(memory_goes),
		cmocka_unit_test(nothing_to_sample),
		cmocka_unit_test(no_memory),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return RUN_IN_ALL_GROUPINGS(tests);
}
