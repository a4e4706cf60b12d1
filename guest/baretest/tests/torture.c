/* All CPUs edit, flush, switch and access one set of tables at random. In rounds: between two
 * meetings everything is allowed and only nonsense is refused; at a meeting all flush, and what
 * each sees must be what the tables say. SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"
#include "script.h"

#define ROOTS  3
#define TABLES 6 /* leaf tables */
#define DIRS   4 /* directory entries in use in each root */
#define SLOTS  12
#define DATA   24 /* pages */
#define TAG    0x7a90000000000000ull

static struct {
	uint64_t root[ROOTS], table[TABLES], dir[ROOTS], page[DATA];
	struct meet meet;
	volatile uint64_t added[CPU_MAX]; /* successful additions of each CPU */
	volatile uint32_t over;
	uint64_t until;
} t;

static uint64_t random_va(struct rng *g)
{
	return T_BASE + rng_below(g, DIRS) * MIB2 + rng_below(g, SLOTS) * 11 * PAGE;
}

static void edit(struct rng *g)
{
	uint64_t r = rng_next(g);

	if (r & 7) {
		uint64_t e = t.page[rng_below(g, DATA)] | PTE_P | (r >> 8 & 1 ? PTE_W : 0) |
			     (r >> 9 & 1 ? PTE_U : 0);

		if ((r >> 10 & 3) == 0)
			e = 0;
		at(t.table[rng_below(g, TABLES)])[rng_below(g, SLOTS) * 11] = e;
	} else {
		uint64_t e =
			t.table[rng_below(g, TABLES)] | PTE_P | PTE_U | (r >> 8 & 3 ? PTE_W : 0);

		if ((r >> 10 & 7) == 0)
			e = 0;
		at(t.dir[rng_below(g, ROOTS)])[rng_below(g, DIRS)] = e;
	}
}

/* Reads find a data page; additions are counted, to be found again in the pages. */
static uint64_t add_one(uint64_t va, uint64_t b)
{
	(void)b;
	return __atomic_fetch_add((uint64_t *)va, 1, __ATOMIC_SEQ_CST);
}

static void touch(struct rng *g)
{
	unsigned int me = this_cpu()->index;
	uint64_t va = random_va(g);
	struct fault f;

	if (rng_below(g, 2)) {
		f = attempt((void *)peek, va, 0);
		CHECK(f.vec == 14 || (f.value & ~0xffull) == TAG, "CPU %u: 0x%lx reads 0x%lx", me,
		      va, f.value);
	} else {
		f = attempt(add_one, va + 64 + 8 * me, 0);
		if (f.vec == NO_FAULT)
			t.added[me]++;
	}
	CHECK(f.vec == NO_FAULT || (f.vec == 14 && !(f.err & (PF_RSVD | PF_U | PF_I))),
	      "CPU %u: 0x%lx: %s", me, va, fault_text(&f));
}

static void toggle(uint64_t root)
{
	struct step end = {.what = STEP_END};
	struct script s = {.cr0 = 0x11, .steps = &end};

	script_run(&s, root, HOME_CR4);
}

/* After a flush, with nobody editing: exactly the tables. */
static void verify(unsigned int root)
{
	static const struct state s = {.wp = true, .nxe = true};
	static const struct kind k = {.what = USER_READ};

	for (unsigned int i = 0; i < DIRS * SLOTS; i++) {
		uint64_t va = T_BASE + i / SLOTS * MIB2 + i % SLOTS * 11 * PAGE, pa = 0;
		pte_t *e[4];
		unsigned int leaf;
		struct verdict v = oracle_walk(t.root[root], va, &s, &k, &pa, e, &leaf);
		struct fault f = attempt((void *)peek, va, 0);

		if (v.fault)
			CHECK(is_pf(&f, 0, va), "CPU %u root %u 0x%lx: absent, but %s, 0x%lx",
			      this_cpu()->index, root, va, fault_text(&f), f.value);
		else
			CHECK(f.vec == NO_FAULT && f.value == *at(pa),
			      "CPU %u root %u 0x%lx: 0x%lx, not 0x%lx: %s", this_cpu()->index, root,
			      va, f.value, *at(pa), fault_text(&f));
	}
}

static void work(void *arg)
{
	unsigned int me = this_cpu()->index, root = me % ROOTS;
	struct rng g = rng_for("torture", me);

	(void)arg;
	space_enter(t.root[root]);
	while (!LOAD(&t.over)) {
		for (unsigned int i = 0; i < 150; i++) {
			unsigned int dice = rng_below(&g, 100);

			if (dice < 30)
				edit(&g);
			else if (dice < 36)
				invlpg(random_va(&g));
			else if (dice < 42)
				space_enter(t.root[root = rng_below(&g, ROOTS)]);
			else if (dice < 43)
				flush_all();
			else if (dice == 43 && i % 8 == 0)
				toggle(t.root[root]);
			else
				touch(&g);
		}
		meet(&t.meet, cpu_count);
		flush();
		verify(root);
		if (me == 0 && (is_past(t.until) || test_failed()))
			STORE(&t.over, 1);
		meet(&t.meet, cpu_count);
	}
	space_leave();
}

static void torture(void)
{
	uint64_t found[CPU_MAX] = {0};

	memset(&t, 0, sizeof(t));
	for (unsigned int i = 0; i < DATA; i++) {
		t.page[i] = page_alloc();
		*at(t.page[i]) = TAG + i;
	}
	for (unsigned int i = 0; i < TABLES; i++)
		t.table[i] = page_alloc();
	for (unsigned int i = 0; i < ROOTS; i++) {
		t.root[i] = space_new();
		t.dir[i] = (uint64_t)space_entry(t.root[i], T_BASE, 1);
	}
	t.until = deadline_ms(rounds(2000));
	cpus_run(work, NULL);
	for (unsigned int i = 0; i < DATA; i++) {
		CHECK(*at(t.page[i]) == TAG + i, "page %u: tag 0x%lx", i, *at(t.page[i]));
		for (unsigned int c = 0; c < cpu_count; c++)
			found[c] += at(t.page[i])[8 + c];
	}
	/* With one CPU, TCG (7.2) may read the old page and write the new one in a locked addition.
	 */
	for (unsigned int c = 0; cpu_count > 1 && c < cpu_count; c++)
		CHECK(found[c] == t.added[c], "CPU %u added %lu, %lu found", c, t.added[c],
		      found[c]);
}
BARETEST(torture, "torture/tables", torture);
