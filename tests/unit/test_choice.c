/* The choice by its facade: which mode each address space is given, what is known of spaces, and
 * readings that end in a switch.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

#include <twofold/choice.h>

#define VA  UINT64_C(0x40000000)
#define KHZ 1000000u

static const struct tf_choice_config usual = {
	.grain = TF_GRAIN_SPACE,
	.costs = {.exit = 2000,
		  .miss_nested = 300,
		  .miss_shadow = 100,
		  .fault = 6000,
		  .cr3 = 3000,
		  .invlpg = 2500,
		  .fill = 2000,
		  .ipkc = 1000},
	.clock_khz = KHZ,
	.seed = 1,
};

static struct rig *start_choice(enum tf_grain grain, const char *policy)
{
	struct tf_config c = in_mode(TF_NESTED);
	struct tf_choice_config choice = usual;
	struct rig *g;

	c.regroup = true;
	g = start(&c);
	choice.grain = grain;
	choice.policy = tf_policy_find(policy);
	assert_int_equal(tf_choice_start(g->vm, &choice), TF_OK);
	g->hw.spaces = grain == TF_GRAIN_SPACE;
	return g;
}

/* A root that maps one page at VA to the frame; the rest is the rig's. */
static uint64_t space(struct rig *g, uint64_t frame)
{
	uint64_t root = g->next;

	g->next += PAGE;
	for (unsigned int i = 0; i < 512; i++)
		if (i != (VA >> 39 & 511))
			put(g, root + 8 * i, get(g, ROOT + 8 * i));
	map(g, root, VA, 0, frame << 12 | X_P | X_W | X_U);
	return root;
}

static enum tf_mode given(struct rig *g, unsigned int cpu)
{
	hw_leave(&g->hw.cpu[cpu]);
	assert_true(hw_enter(&g->hw.cpu[cpu]));
	if (g->hw.broken[0])
		fail_msg("%s", g->hw.broken);
	return g->hw.cpu[cpu].load.mode;
}

static void enter_space(struct rig *g, unsigned int cpu, uint64_t cr3)
{
	assert_true(hw_write_cr3(&g->hw.cpu[cpu], cr3));
}

static void watch(struct rig *g, enum tf_mode m)
{
	for (unsigned int i = 0; i < g->hw.cpus; i++)
		hw_set_mode(&g->hw.cpu[i], m);
}

static struct tf_verdict note(struct rig *g, unsigned int cpu, const struct tf_reading *r)
{
	struct tf_verdict v;

	memset(&v, 0xee, sizeof(v));
	hw_leave(&g->hw.cpu[cpu]);
	tf_choice_note(g->hw.cpu[cpu].v, &g->hw.cpu[cpu].r, r, &v);
	assert_non_null(v.why);
	return v;
}

static const struct tf_reading nothing = {.cycles = 1000};

/* ---- spaces ---- */

/* Each space on one vCPU runs in its own mode, by its address alone, from the next load on. */
static void space_has_its_mode(void **state)
{
	(void)state;
	struct rig *g = start_choice(TF_GRAIN_SPACE, "cost");
	uint64_t a = space(g, 0x210), b = space(g, 0x211);

	tag_frames(g);
	tf_space_set_mode(g->vm, a, TF_SHADOW);
	/* Nobody is watched yet. */
	for (unsigned int i = 0; i < 2; i++) {
		enter_space(g, i, i ? a : b);
		assert_int_equal(given(g, i), TF_NESTED);
	}
	watch(g, TF_SHADOW);
	for (unsigned int turn = 0; turn < 50; turn++) {
		uint64_t flags = turn & 1 ? 0x18 : 0; /* PCD, PWT */
		unsigned int i = turn / 3 & 1;
		enter_space(g, i, a | flags);
		assert_int_equal(given(g, i), TF_SHADOW);
		assert_int_equal(load(g, i, VA), 0x210);
		enter_space(g, i, b | flags);
		assert_int_equal(given(g, i), TF_NESTED);
		assert_int_equal(load(g, i, VA), 0x211);
		check(g);
	}
	/* While it is loaded. */
	enter_space(g, 0, a);
	enter_space(g, 1, a);
	for (unsigned int turn = 0; turn < 10; turn++) {
		enum tf_mode m = turn & 1 ? TF_SHADOW : TF_NESTED;
		tf_space_set_mode(g->vm, a | 0xfff, m);
		assert_int_equal(given(g, 0), m);
		assert_int_equal(load(g, 0, VA), 0x210);
		assert_int_equal(given(g, 1), m);
	}
	/* Code that shadow tables cannot run stays nested. */
	assert_true(hw_write_cr0(&g->hw.cpu[0], g->r.cr0 & ~X_CR0_WP));
	assert_int_equal(given(g, 0), TF_NESTED);
	assert_true(hw_write_cr0(&g->hw.cpu[0], g->r.cr0));
	assert_int_equal(given(g, 0), TF_SHADOW);
	check(g);
	end(g);
}

/* The guest flushes a global page while its space runs nested: the engine is not told. Back on
 * shadow tables it must see what it flushed for; so must another space that shares the page. */
static void global_flushed_on_the_nested_root(void **state)
{
	(void)state;
	struct rig *g = start_choice(TF_GRAIN_SPACE, "cost");
	const uint64_t va = KERNEL + 0x200000;
	uint64_t a = space(g, 0x210), b = space(g, 0x211);
	uint64_t at = entry_of(g, ROOT, va, 0);

	tag_frames(g);
	watch(g, TF_SHADOW);
	for (unsigned int round = 0; round < 8; round++) {
		uint64_t f = 0x220 + round;
		for (unsigned int s = 0; s < 2; s++) {
			tf_space_set_mode(g->vm, s ? b : a, TF_SHADOW);
			enter_space(g, 0, s ? b : a);
			assert_int_equal(given(g, 0), TF_SHADOW);
			assert_true(touch(g, 0, va, 0, 0).end == HW_DONE);
		}
		enter_space(g, 0, a);
		tf_space_set_mode(g->vm, a, TF_NESTED);
		assert_int_equal(given(g, 0), TF_NESTED);
		put(g, at, f << 12 | X_P | X_W | X_G | X_A);
		assert_true(hw_invlpg(&g->hw.cpu[0], va));
		assert_int_equal(touch(g, 0, va, 0, 0).old, f);
		if (round & 1) { /* directly to the other one: a CR3 write spares globals */
			enter_space(g, 0, b);
		} else {
			tf_space_set_mode(g->vm, a, TF_SHADOW);
		}
		assert_int_equal(given(g, 0), TF_SHADOW);
		assert_int_equal(touch(g, 0, va, 0, 0).old, f);
		enter_space(g, 0, round & 1 ? a : b);
		assert_int_equal(touch(g, 0, va, 0, 0).old, f);
		check(g);
	}
	end(g);
}

/* A vCPU in shadow mode that is on the nested root for what it runs (CR0.WP is 0) is watched: its
 * CR3 writes flush, as any do, though the CPU itself drops nothing. */
static void watched_on_the_nested_root(void **state)
{
	(void)state;
	struct rig *g = start_choice(TF_GRAIN_VM, "cost");
	uint64_t a = space(g, 0x210), b = space(g, 0x211);

	tag_frames(g);
	watch(g, TF_SHADOW);
	assert_true(hw_write_cr0(&g->hw.cpu[0], g->r.cr0 & ~X_CR0_WP));
	enter_space(g, 0, a);
	for (unsigned int round = 0; round < 20; round++) {
		uint64_t at = entry_of(g, a, VA, 0), f = 0x212 + round;
		assert_int_equal(given(g, 0), TF_NESTED);
		load(g, 0, VA);
		put(g, at, f << 12 | X_P | X_W | X_U);
		enter_space(g, 0, round & 1 ? a : b);
		assert_int_equal(load(g, 0, VA), round & 1 ? f : 0x211);
		enter_space(g, 0, a);
		assert_int_equal(load(g, 0, VA), f);
	}
	check(g);
	end(g);
}

static bool was_shadow(struct rig *g, unsigned int cpu, uint64_t va, uint64_t val)
{
	struct hw_result r = touch(g, cpu, va, TF_USER, 0);

	assert_int_equal(r.end, HW_DONE);
	assert_int_equal(r.old, val);
	return r.was_shadow;
}

/* By the guest's kernel. */
static void set_word(struct rig *g, unsigned int cpu, uint64_t at, uint64_t val)
{
	assert_int_equal(touch(g, cpu, KERNEL + at, TF_WRITE, val).end, HW_DONE);
}

/* A guest on the nested root goes over to a space that runs on shadow tables, and no exit tells:
 * its first walk there ends at the gate. Whoever else uses the root's page opens it, until the next
 * stay closes it again. */
static void gate(void **state)
{
	(void)state;
	struct rig *g = start_choice(TF_GRAIN_SPACE, "cost");
	uint64_t a = space(g, 0x210), b = space(g, 0x211), bits[8];
	struct hw_cpu *c = &g->hw.cpu[0], *other = &g->hw.cpu[1];

	tag_frames(g);
	watch(g, TF_SHADOW);
	tf_space_set_mode(g->vm, a, TF_SHADOW);
	for (unsigned int round = 0; round < 12; round++) {
		enter_space(g, 0, a);
		assert_true(was_shadow(g, 0, VA, 0x210)); /* the gate is closed */
		check(g);
		enter_space(g, 0, b);
		assert_false(was_shadow(g, 0, VA, 0x211));
		uint64_t gates = c->gates, exits = c->exits;
		enter_space(g, 0, a);
		assert_int_equal(c->exits, exits); /* the guest's own CR3 write */
		if (round & 1) /* the host had a reason of its own to tell where the vCPU is */
			tf_vcpu_set_regs(c->v, &c->r);
		assert_true(was_shadow(g, 0, VA, 0x210));
		assert_int_equal(c->gates, gates + 1);
		enter_space(g, 1, b);
		switch (round % 6) {
		case 0: /* the page is data for somebody */
			assert_int_equal(touch(g, 1, KERNEL + a + 24, 0, 0).end, HW_DONE);
			set_word(g, 1, a + 24, round << 8);
			assert_int_equal(get(g, a + 24), round << 8);
			set_word(g, 1, a + 24, 0);
			break;
		case 1: /* ... or another level of tables */
			map(g, b, VA + (UINT64_C(1) << 39), 2, a | X_P | X_W | X_U);
			enter_space(g, 1, b);
			(void)touch(g, 1, VA + (UINT64_C(1) << 39), TF_USER, 0);
			break;
		case 2: /* code that cannot run on shadow tables */
			assert_true(hw_write_cr0(other, g->r.cr0 & ~X_CR0_WP));
			enter_space(g, 1, a);
			assert_false(was_shadow(g, 1, VA, 0x210));
			assert_true(hw_write_cr0(other, g->r.cr0));
			break;
		case 3: /* the log, and accessed bits */
			assert_int_equal(tf_dirty_start(g->vm, gpa(a), PAGE), TF_OK);
			set_word(g, 1, a + 24, 0);
			assert_int_equal(tf_dirty_read(g->vm, gpa(a), PAGE, bits), TF_OK);
			assert_true(bits[0] & 1);
			tf_dirty_stop(g->vm, gpa(a), PAGE);
			assert_int_equal(tf_accessed_read(g->vm, gpa(a), PAGE, bits), TF_OK);
			assert_true(bits[0] & 1);
			break;
		case 4: /* nobody wants shadow tables meanwhile */
			tf_space_set_mode(g->vm, a, TF_NESTED);
			enter_space(g, 1, a);
			assert_false(was_shadow(g, 1, VA, 0x210));
			tf_space_set_mode(g->vm, a, TF_SHADOW);
			break;
		default: /* another grouping */
			assert_int_equal(tf_regroup(g->vm, (enum tf_grouping)(round / 6)), TF_OK);
			break;
		}
		check(g);
		enter_space(g, 1, a);
		(void)given(g, 1); /* at its next exit at the latest */
		assert_true(was_shadow(g, 1, VA, 0x210));
		check(g);
	}
	/* The root goes, and comes back. */
	uint64_t e[512];
	assert_int_equal(tf_mem_read(g->vm, gpa(a), e, PAGE), TF_OK);
	assert_int_equal(tf_mem_discard(g->vm, gpa(a), PAGE), TF_OK);
	check(g);
	assert_int_equal(touch(g, 0, VA, TF_USER, 0).end, HW_FAULT);
	assert_int_equal(tf_mem_write(g->vm, gpa(a), e, PAGE), TF_OK);
	enter_space(g, 0, a);
	assert_true(was_shadow(g, 0, VA, 0x210));
	check(g);
	end(g);
}

/* More spaces than there is room for: the newest are known, the oldest run nested; and nothing is
 * counted twice, so that in the end nobody is watched. */
static void more_spaces_than_room(void **state)
{
	(void)state;
	struct rig *g = start_choice(TF_GRAIN_SPACE, "cost");
	const uint64_t base = UINT64_C(0x100000000), n = 3000;
	uint64_t a = space(g, 0x210);

	tag_frames(g);
	watch(g, TF_SHADOW);
	enter_space(g, 0, a);
	for (uint64_t k = 0; k < n; k++) {
		tf_space_set_mode(g->vm, base + k * PAGE, TF_SHADOW);
		tf_space_set_mode(g->vm, a, TF_SHADOW); /* noted all the time: it stays */
		if (k % 100 == 0)
			assert_int_equal(given(g, 0), TF_SHADOW);
	}
	assert_int_equal(load(g, 0, VA), 0x210);
	/* The last one is there, too. */
	uint64_t known = 0;
	struct hw_cpu *c = &g->hw.cpu[1];
	for (uint64_t k = n - 400; k < n; k++) {
		struct tf_regs r = g->r;
		r.cr3 = base + k * PAGE;
		hw_set_regs(c, &r); /* (there is no memory at that root) */
		bool is_shadow = given(g, 1) == TF_SHADOW;
		known += is_shadow;
		assert_true(is_shadow || k + 1 < n);
	}
	assert_in_range(known, 64, 400);
	assert_int_equal(note(g, 0, &nothing).mode, TF_SHADOW);
	tf_space_set_mode(g->vm, a, TF_NESTED);
	assert_int_equal(note(g, 0, &nothing).mode, TF_SHADOW);
	for (uint64_t k = 0; k < n; k++)
		tf_space_set_mode(g->vm, base + k * PAGE, TF_NESTED);
	assert_int_equal(note(g, 0, &nothing).mode, TF_NESTED);
	/* And the other way: none is left when each was pushed out. */
	for (uint64_t k = 0; k < n; k++)
		tf_space_set_mode(g->vm, base + k * PAGE, TF_SHADOW);
	for (uint64_t k = 0; k < n; k++)
		tf_space_set_mode(g->vm, 2 * base + k * PAGE, TF_NESTED);
	assert_int_equal(note(g, 0, &nothing).mode, TF_NESTED);
	check(g);
	end(g);
}

/* A process ends and another one gets its root page: what was chosen for the first is not for the
 * second. Sampling finds out, within a few samples. */
static void recycled_cr3(void **state)
{
	(void)state;
	struct rig *g = start_choice(TF_GRAIN_SPACE, "cost");
	uint64_t a = space(g, 0x210);
	unsigned int n = 0;

	tag_frames(g);
	watch(g, TF_SHADOW);
	enter_space(g, 0, a);
	tf_space_set_mode(g->vm, a, TF_SHADOW);
	for (unsigned int k = 0; k < 100; k++) {
		load(g, 0, VA);
		hw_leave(&g->hw.cpu[0]);
		assert_true(tf_sample_begin(g->hw.cpu[0].v, &g->hw.cpu[0].r));
		load(g, 0, VA);
		hw_leave(&g->hw.cpu[0]);
		tf_sample_end(g->hw.cpu[0].v, 1000);
		assert_int_equal(given(g, 0), TF_SHADOW); /* the same one is not forgotten */
	}
	/* All its user tables are new. */
	for (unsigned int i = 0; i < 256; i++)
		put(g, a + 8 * i, 0);
	map(g, a, VA, 0, UINT64_C(0x222) << 12 | X_P | X_W | X_U);
	enter_space(g, 0, a);
	do {
		assert_int_equal(load(g, 0, VA), 0x222);
		hw_leave(&g->hw.cpu[0]);
		if (tf_sample_begin(g->hw.cpu[0].v, &g->hw.cpu[0].r)) {
			load(g, 0, VA);
			hw_leave(&g->hw.cpu[0]);
			tf_sample_end(g->hw.cpu[0].v, 1000);
		}
	} while (given(g, 0) == TF_SHADOW && ++n < 100);
	assert_true(n < 40);
	assert_int_equal(note(g, 0, &nothing).mode, TF_NESTED);
	check(g);
	end(g);
}

/* ---- beginning ---- */

static void begins_once(void **state)
{
	(void)state;
	for (unsigned int grain = 0; grain < 2; grain++) {
		struct tf_config c = in_mode(TF_NESTED);
		struct rig *g = start(&c);
		struct tf_choice_config conf = usual;
		conf.grain = (enum tf_grain)grain;
		assert_int_equal(tf_choice_start(g->vm, &conf), TF_E_INVAL); /* no policy */
		conf.policy = tf_policy_find("cost");
		conf.grain = (enum tf_grain)7;
		assert_int_equal(tf_choice_start(g->vm, &conf), TF_E_INVAL);
		conf.grain = (enum tf_grain)grain;
		uint64_t was = g->f.in_use, n = 1;
		for (;; n++) {
			fakehost_fail(&g->f, n, 1);
			enum tf_status s = tf_choice_start(g->vm, &conf);
			fakehost_fail(&g->f, 0, 0);
			if (s == TF_OK)
				break;
			assert_int_equal(s, TF_E_NOMEM);
			assert_int_equal(g->f.in_use, was);
			load(g, 0, 0);
			was = g->f.in_use;
		}
		assert_true(n > 1 && n < 100);
		assert_int_equal(tf_choice_start(g->vm, &conf), TF_E_INVAL);
		end(g);
	}
}

/* ---- verdicts ---- */

/* One millisecond of chasing: 1500 misses, which nested paging makes 200 cycles longer each. */
static struct tf_reading chase(enum tf_mode m)
{
	(void)m;
	return (struct tf_reading){.cycles = 1000000,
				   .exits = 3,
				   .exit_cycles = 9000,
				   .event_cycles = 1000000,
				   .counted_cycles = 1000000,
				   .tlb_misses = 1500,
				   .instructions = 500000};
}

/* One of forking: 20 faults and 4 CR3 writes, which shadow mode pays for. */
static struct tf_reading forks(enum tf_mode m)
{
	struct tf_reading r = {.cycles = 1000000,
			       .exits = 3,
			       .exit_cycles = 9000,
			       .event_cycles = 1000000,
			       .faults = 40,
			       .cr3_writes = 4,
			       .counted_cycles = 1000000,
			       .tlb_misses = 50,
			       .instructions = 500000};

	if (m == TF_SHADOW) {
		r.exits += 50;
		r.shadow_exits = 50;
		r.shadow_cycles = 160000;
		r.exit_cycles += 160000;
	}
	return r;
}

static void obey(struct rig *g, enum tf_mode m)
{
	if (g->hw.cpu[0].asked != m)
		watch(g, m);
}

/* How many readings until the unit is in that mode. */
static unsigned int readings_until(struct rig *g, struct tf_reading (*work)(enum tf_mode),
				   enum tf_mode want, struct tf_verdict *last)
{
	for (unsigned int n = 1; n < 1000; n++) {
		struct tf_reading r = work(given(g, 0));
		*last = note(g, 0, &r);
		obey(g, last->mode);
		if (last->unit_mode == want) {
			assert_true(last->switched);
			assert_int_equal(last->to, want);
			assert_int_not_equal(last->from, want);
			return n;
		}
		assert_false(last->switched);
	}
	fail_msg("no switch to mode %d", want);
	return 0;
}

/* The work changes to and fro; the choice follows soon, stays where it should, and says why. */
static void follows_the_work(void **state)
{
	(void)state;
	for (unsigned int grain = 0; grain < 2; grain++) {
		struct rig *g = start_choice((enum tf_grain)grain, "cost");
		uint64_t a = space(g, 0x210);
		struct tf_verdict v;
		for (unsigned int i = 0; i < g->hw.cpus; i++)
			enter_space(g, i, a);
		for (unsigned int phase = 0; phase < 6; phase++) {
			enum tf_mode want = phase & 1 ? TF_NESTED : TF_SHADOW;
			unsigned int n = readings_until(g, phase & 1 ? forks : chase, want, &v);
			assert_in_range(n, 1, 50);
			assert_true(v.regret >= v.price && v.price > 0);
			if (phase & 1)
				assert_in_range(v.shadow_ppm, 345000, 365000); /* with gates */
			assert_int_equal(v.is_space, grain == TF_GRAIN_SPACE);
			if (v.is_space)
				assert_int_equal(v.space, a);
			for (unsigned int k = 0; k < 300; k++) {
				struct tf_reading r = (phase & 1 ? forks : chase)(given(g, 0));
				v = note(g, 0, &r);
				obey(g, v.mode);
				assert_false(v.switched);
				assert_int_equal(v.unit_mode, want);
			}
			assert_int_equal(given(g, 0), want);
			/* 1500 misses and 200 cycles: 30 % of a millisecond. 50 exits of 2000, and
			 * 160000 in them, of 740000 useful: 35 %. */
			if (!(phase & 1)) {
				assert_in_range(v.nested_ppm, 295000, 300000);
				assert_in_range(v.misses_per_s, 1490000, 1500000);
				assert_in_range(v.faults_per_s, 0, 100);
			} else {
				assert_in_range(v.faults_per_s, 38000, 55000);
				assert_in_range(v.misses_per_s, 49000, 51000);
			}
		}
		check(g);
		end(g);
	}
}

/* Who leaves shadow tables does other work by now: until its misses were looked at again, none are
 * known that could send it back. */
static void leaving_forgets_misses(void **state)
{
	(void)state;
	for (unsigned int grain = 0; grain < 2; grain++) {
		struct rig *g = start_choice((enum tf_grain)grain, "cost");
		const struct tf_reading unseen = {.cycles = 1000000, .event_cycles = 1000000};
		struct tf_verdict v;
		tag_frames(g);
		enter_space(g, 0, space(g, 0x210));
		readings_until(g, chase, TF_SHADOW, &v);
		for (unsigned int k = 0; k < 20; k++) {
			struct tf_reading r = chase(given(g, 0));
			v = note(g, 0, &r);
		}
		assert_in_range(v.misses_per_s, 1490000, 1500000);
		readings_until(g, forks, TF_NESTED, &v);
		for (unsigned int k = 0; k < 1000; k++) {
			obey(g, v.mode);
			given(g, 0);
			v = note(g, 0, &unseen);
			assert_false(v.switched);
			assert_int_equal(v.misses_per_s, 0);
		}
		check(g);
		end(g);
	}
}

#define LEAF_TABLES 40u

/* As chase; on shadow tables eight of its faults fill leaf tables, at 100000 cycles each. */
static struct tf_reading fills(enum tf_mode m)
{
	struct tf_reading r = chase(m);
	if (m == TF_SHADOW) {
		r.cycles += 800000;
		r.shadow_exits = r.fills = 8;
		r.shadow_cycles = r.fill_cycles = 800000;
		r.exit_cycles += 800000;
	}
	return r;
}

/* A space of so many leaf tables, one page in each, that has been looked at. */
static uint64_t sampled_space(struct rig *g)
{
	const uint64_t a = space(g, 0x210);
	for (unsigned int i = 1; i < LEAF_TABLES; i++)
		map(g, a, VA + i * 0x200000ull, 0, 0x210ull << 12 | X_P | X_W | X_U | X_A);
	enter_space(g, 0, a);
	(void)load(g, 0, VA);
	hw_leave(&g->hw.cpu[0]);
	assert_true(tf_sample_begin(g->hw.cpu[0].v, &g->hw.cpu[0].r));
	tf_sample_end(g->hw.cpu[0].v, 1000);
	return a;
}

/* What fills the tables after the change was paid for by its price, however much it comes to: so
 * many faults as there are tables. More of them are a loss, and so are those that come late. What
 * they took makes the next change dearer. */
static void filling_is_paid_for(void **state)
{
	(void)state;
	for (unsigned int late = 0; late < 2; late++) {
		struct rig *g = start_choice(TF_GRAIN_SPACE, "cost");
		struct tf_verdict v, again;
		unsigned int n = 0;
		sampled_space(g);
		/* The first reading after a change does not decide. */
		readings_until(g, chase, TF_SHADOW, &v);
		for (unsigned int k = 0; k < (late ? 3000 : 1); k++) {
			struct tf_reading r = chase(given(g, 0));
			assert_false(note(g, 0, &r).switched);
		}
		for (again.switched = false; !again.switched; n++) {
			struct tf_reading r = fills(given(g, 0));
			assert_true(n < 100);
			again = note(g, 0, &r);
		}
		if (late)
			assert_in_range(n, 1, LEAF_TABLES / 8 - 1);
		else
			assert_in_range(n, LEAF_TABLES / 8 + 1, LEAF_TABLES / 8 + 3);
		obey(g, again.mode);
		given(g, 0);
		readings_until(g, chase, TF_SHADOW, &again);
		/* Twice, for the loss, where it was one; and for what filling took. */
		assert_in_range(again.price, v.price * (late ? 4 : 10) / 4,
				v.price * (late ? 5 : 16) / 4);
		end(g);
	}
}

/* A rate that nothing new is known of stays what it was, however long. */
static void unseen_rates_stay(void **state)
{
	(void)state;
	struct rig *g = start_choice(TF_GRAIN_SPACE, "dsp"); /* it does not change the mode */
	const struct tf_reading unseen = {.cycles = 20000000};
	struct tf_reading r = chase(TF_NESTED);
	enter_space(g, 0, space(g, 0x210));
	given(g, 0);
	for (unsigned int k = 0; k < 10; k++)
		(void)note(g, 0, &r);
	for (unsigned int k = 0; k < 5000; k++) {
		struct tf_verdict v = note(g, 0, &unseen);
		assert_in_range(v.misses_per_s, 1450000, 1550000);
	}
	end(g);
}

/* Quiet work changes nothing, whatever mode it is in; nor do readings without time. */
static void quiet_work(void **state)
{
	(void)state;
	for (unsigned int grain = 0; grain < 2; grain++) {
		struct rig *g = start_choice((enum tf_grain)grain, "cost");
		const struct tf_reading quiet = {.cycles = 1000000, .event_cycles = 1000000};
		const struct tf_reading none = {0};
		const struct tf_reading busy = {.cycles = 1000000,
						.event_cycles = 1000000,
						.faults = 7,
						.cr3_writes = 3,
						.invlpgs = 1,
						.counted_cycles = 1000000,
						.tlb_misses = 7};
		const struct tf_reading still = {
			.cycles = 1000000, .event_cycles = 1000000, .counted_cycles = 1000000};
		load(g, 0, 0);
		/* What was once is forgotten. */
		struct tf_verdict v = note(g, 0, &busy);
		assert_true(v.faults_per_s && v.cr3_per_s && v.misses_per_s);
		for (unsigned int k = 0; k < 200; k++)
			v = note(g, 0, &still);
		assert_in_range(v.faults_per_s + v.cr3_per_s + v.misses_per_s, 0, 10);
		for (unsigned int k = 0; k < 1000; k++) {
			assert_false(note(g, 0, &quiet).switched);
			assert_false(note(g, 0, &none).switched);
		}
		end(g);
	}
}

/* Misses alone decide nothing: of what was not looked for it is not known that it costs nothing. */
static void unseen_events(void **state)
{
	(void)state;
	for (unsigned int grain = 0; grain < 2; grain++) {
		struct rig *g = start_choice((enum tf_grain)grain, "cost");
		struct tf_reading misses = {
			.cycles = 1000000, .counted_cycles = 1000000, .tlb_misses = 2000};
		bool switched = false;
		load(g, 0, 0);
		for (unsigned int k = 0; k < 1000; k++)
			assert_false(note(g, 0, &misses).switched);
		misses.event_cycles = misses.cycles;
		for (unsigned int k = 0; k < 100 && !switched; k++)
			switched = note(g, 0, &misses).switched;
		assert_true(switched);
		end(g);
	}
}

/* Two spaces on one vCPU, one chases and one forks: each gets its own mode, and nobody is watched
 * when none wants shadow tables. */
static void two_spaces(void **state)
{
	(void)state;
	struct rig *g = start_choice(TF_GRAIN_SPACE, "cost");
	uint64_t a = space(g, 0x210), b = space(g, 0x211);
	struct tf_verdict v = {0};

	tag_frames(g);
	for (unsigned int k = 0; k < 200; k++) {
		struct tf_reading r;
		enter_space(g, 0, k & 1 ? b : a);
		r = (k & 1 ? forks : chase)(given(g, 0));
		assert_int_equal(load(g, 0, VA), k & 1 ? 0x211 : 0x210);
		v = note(g, 0, &r);
		assert_int_equal(v.space, k & 1 ? b : a);
		obey(g, v.mode);
		if (k > 100)
			assert_int_equal(v.unit_mode, k & 1 ? TF_NESTED : TF_SHADOW);
	}
	assert_int_equal(v.mode, TF_SHADOW);
	enter_space(g, 0, a);
	assert_int_equal(given(g, 0), TF_SHADOW);
	enter_space(g, 0, b);
	assert_int_equal(given(g, 0), TF_NESTED);
	/* Now the first one forks, too. */
	enter_space(g, 0, a);
	readings_until(g, forks, TF_NESTED, &v);
	assert_int_equal(v.mode, TF_NESTED);
	check(g);
	end(g);
}

/* The exit at which a reading makes an address space change its mode is not the one at which the
 * vCPU goes over. */
static void reading_is_no_part_of_the_stop(void **state)
{
	(void)state;
	struct rig *g = start_choice(TF_GRAIN_SPACE, "cost");
	struct tf_verdict v = {0};

	tag_frames(g);
	enter_space(g, 0, space(g, 0x210));
	for (unsigned int k = 0; k < 4; k++) {
		const enum tf_mode from = k & 1 ? TF_SHADOW : TF_NESTED, to = (enum tf_mode) !from;

		for (unsigned int n = 0; n < 10000 && !v.switched; n++) {
			struct tf_reading r = (k & 1 ? forks : chase)(given(g, 0));
			v = note(g, 0, &r);
		}
		assert_true(v.switched);
		assert_int_equal(v.to, to);
		if (k) {
			assert_int_equal(given(g, 0), from);
			assert_false(g->hw.cpu[0].load.switched);
		} else { /* nobody asks for a space's mode before vCPUs are in shadow mode */
			watch(g, TF_SHADOW);
		}
		assert_int_equal(given(g, 0), to);
		assert_true(g->hw.cpu[0].load.switched);
		v.switched = false;
	}
	check(g);
	end(g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(space_has_its_mode),
		cmocka_unit_test(global_flushed_on_the_nested_root),
		cmocka_unit_test(watched_on_the_nested_root),
		cmocka_unit_test(gate),
		cmocka_unit_test(reading_is_no_part_of_the_stop),
		cmocka_unit_test(more_spaces_than_room),
		cmocka_unit_test(recycled_cr3),
		cmocka_unit_test(begins_once),
		cmocka_unit_test(follows_the_work),
		cmocka_unit_test(leaving_forgets_misses),
		cmocka_unit_test(filling_is_paid_for),
		cmocka_unit_test(unseen_rates_stay),
		cmocka_unit_test(quiet_work),
		cmocka_unit_test(unseen_events),
		cmocka_unit_test(two_spaces),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return RUN_IN_ALL_GROUPINGS(tests);
}
