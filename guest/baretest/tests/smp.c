/* Several CPUs on one set of tables: shootdowns, A and D races, edits at once, switches and mode
 * changes against edits. Each runs its rounds or for BUDGET, whichever ends first: with more CPUs
 * than the host has, every wait for another CPU may take a time slice.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"
#include "script.h"

#define VEC_SHOOT 0x50
#define BUDGET	  deadline_ms(rounds(500))

static uint64_t shared_root;
static volatile uint32_t quit;

/* Locked adds by all, through a different address on each CPU. */
static void add_many(void *arg)
{
	volatile uint64_t *p = (volatile uint64_t *)(T_BASE + this_cpu()->index * MIB2);

	(void)arg;
	space_enter(shared_root);
	for (unsigned int i = 0; i < 20000; i++)
		__atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST);
	space_leave();
}

static void atomics(void)
{
	uint64_t page = page_alloc();

	shared_root = space_new();
	for (unsigned int i = 0; i < cpu_count; i++)
		space_map(shared_root, T_BASE + i * MIB2, page, PTE_P | PTE_W);
	cpus_run(add_many, NULL);
	CHECK(*at(page) == 20000ull * cpu_count, "%lu of %u adds", *at(page), 20000 * cpu_count);
}
BARETEST_SMP(smp_c_atomics, "smp/atomics", atomics);

/* ---- shootdown ---- */

#define POISON 0xdeaddeaddeaddeadull

static struct {
	volatile uint64_t va, generation, acks;
	uint64_t pde_pt[2];
} shoot;

static void shoot_handler(struct trap_frame *f)
{
	(void)f;
	if (shoot.va)
		invlpg(shoot.va);
	else
		flush();
	ADD(&shoot.acks, 1);
	apic_eoi();
}

static void shoot_others(uint64_t va)
{
	uint64_t until = deadline_ms(5000);

	shoot.va = va;
	STORE(&shoot.acks, 0);
	apic_icr(0xc4000 | VEC_SHOOT, 0);
	while (LOAD(&shoot.acks) < cpu_count - 1) {
		if (is_past(until)) {
			test_fail("a shootdown was not answered: %lu of %u", LOAD(&shoot.acks),
				  cpu_count - 1);
			return;
		}
		pause();
	}
}

static void watch_page(void *arg)
{
	uint64_t last = 0;

	(void)arg;
	space_enter(shared_root);
	sti();
	while (!LOAD(&quit)) {
		uint64_t at_least = LOAD(&shoot.generation), got = peek(T_BASE);

		CHECK(got != POISON, "CPU %u sees a page that was taken away, generation %lu",
		      this_cpu()->index, at_least);
		CHECK(got == POISON || (got >= at_least && got >= last), "CPU %u: %lu after %lu",
		      this_cpu()->index, got, at_least);
		last = got;
	}
	cli();
	space_leave();
}

/* Change an entry, interrupt the others, wait for their INVLPG: none may see the old page after. */
static void run_shootdown(bool upper)
{
	uint64_t page[2] = {page_tagged(1), page_alloc()}, pt[2], until = BUDGET;
	pte_t *pte, *pde;

	shared_root = space_new();
	space_map(shared_root, T_BASE, page[0], PTE_P | PTE_W);
	pte = space_entry(shared_root, T_BASE, 0);
	pde = space_entry(shared_root, T_BASE, 1);
	pt[0] = *pde & PTE_ADDR;
	pt[1] = page_alloc();
	vector_set(VEC_SHOOT, shoot_handler);
	STORE(&quit, 0);
	shoot.generation = 1;
	for (unsigned int i = 1; i < cpu_count; i++)
		cpu_start(i, watch_page, NULL);
	space_enter(shared_root);
	for (uint64_t g = 2; g < rounds(200) && !is_past(until) && !test_failed(); g++) {
		uint64_t now = page[(g + 1) & 1];

		for (unsigned int i = 0; i < 512; i++)
			at(now)[i] = g;
		if (upper) {
			at(pt[(g + 1) & 1])[0] = now | PTE_P | PTE_W;
			*pde = pt[(g + 1) & 1] | PTE_P | PTE_W;
		} else {
			*pte = now | PTE_P | PTE_W;
		}
		invlpg(T_BASE);
		shoot_others(g & 4 && !upper ? T_BASE : upper ? 0 : T_BASE + 8);
		CHECK(peek(T_BASE) == g, "the editor itself sees %lu", peek(T_BASE));
		for (unsigned int i = 0; i < 512; i++)
			at(page[g & 1])[i] = POISON;
		STORE(&shoot.generation, g);
	}
	STORE(&quit, 1);
	for (unsigned int i = 1; i < cpu_count; i++)
		cpu_wait(i);
	space_leave();
}

static void shootdown(void)
{
	run_shootdown(false);
}
BARETEST_SMP(smp_d_shootdown, "smp/shootdown", shootdown);

static void shootdown_upper(void)
{
	run_shootdown(true);
}
BARETEST_SMP(smp_e_shootdown, "smp/shootdown-upper", shootdown_upper);

/* Taking write access away from a page that others write: after the shootdown it does not change,
 * and their writes fault and wait. */
static volatile uint64_t frozen;

static bool wait_thawed(struct trap_frame *f, uint64_t cr2)
{
	if ((f->err & (PF_P | PF_W)) != (PF_P | PF_W) || (cr2 & -PAGE) != T_BASE)
		return false;
	sti();
	while (LOAD(&frozen))
		pause();
	cli();
	return true;
}

static void write_page(void *arg)
{
	uint64_t n = 0;

	(void)arg;
	space_enter(shared_root);
	sti();
	while (!LOAD(&quit))
		poke(T_BASE + 8 * this_cpu()->index, ++n);
	cli();
	space_leave();
}

static void freeze(void)
{
	uint64_t page = page_alloc(), copy[CPU_MAX], until = BUDGET;
	pte_t *pte;

	shared_root = space_new();
	space_map(shared_root, T_BASE, page, PTE_P | PTE_W);
	pte = space_entry(shared_root, T_BASE, 0);
	vector_set(VEC_SHOOT, shoot_handler);
	STORE(&quit, 0);
	STORE(&frozen, 0);
	pf_hook = wait_thawed;
	for (unsigned int i = 1; i < cpu_count; i++)
		cpu_start(i, write_page, NULL);
	for (unsigned int r = 0; r < rounds(100) && !is_past(until) && !test_failed(); r++) {
		STORE(&frozen, 1);
		__atomic_and_fetch(pte, ~PTE_W, __ATOMIC_SEQ_CST);
		shoot_others(r & 1 ? T_BASE : 0);
		memcpy(copy, at(page), 8 * cpu_count);
		for (unsigned int i = 0; i < 200; i++)
			pause();
		CHECK(memcmp(copy, at(page), 8 * cpu_count) == 0,
		      "round %u: written after the shootdown", r);
		__atomic_or_fetch(pte, PTE_W, __ATOMIC_SEQ_CST);
		STORE(&frozen, 0);
		for (unsigned int i = 0; i < 500; i++)
			pause();
	}
	STORE(&quit, 1);
	for (unsigned int i = 1; i < cpu_count; i++)
		cpu_wait(i);
	pf_hook = NULL;
}
BARETEST_SMP(smp_f_freeze, "smp/freeze", freeze);

/* ---- A and D ---- */

/* One CPU takes D away by cmpxchg, shoots down, and copies the page ("writes it back"). Whenever D
 * is clear after a round in which the writers stood still, the copy must be the page. */
static void dirty_race(void)
{
	uint64_t page = page_alloc(), copy = page_alloc(), until = BUDGET;
	pte_t *pte;

	shared_root = space_new();
	space_map(shared_root, T_BASE, page, PTE_P | PTE_W);
	pte = space_entry(shared_root, T_BASE, 0);
	vector_set(VEC_SHOOT, shoot_handler);
	STORE(&frozen, 0);
	for (unsigned int r = 0; r < rounds(12) && !is_past(until) && !test_failed(); r++) {
		STORE(&quit, 0);
		for (unsigned int i = 1; i < cpu_count; i++)
			cpu_start(i, write_page, NULL);
		for (unsigned int n = 0; n < 12; n++) {
			uint64_t old, patience = deadline_ms(3000);

			while (!((old = *pte) & PTE_D) && !is_past(patience))
				pause();
			CHECK(old & PTE_D, "no D in 3 s of writing");
			while (!__atomic_compare_exchange_n((uint64_t *)pte, &old,
							    old & ~(PTE_D | PTE_A), false,
							    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
				;
			shoot_others(n & 1 ? T_BASE : 0);
			memcpy(at(copy), at(page), 8 * CPU_MAX);
		}
		STORE(&quit, 1);
		for (unsigned int i = 1; i < cpu_count; i++)
			cpu_wait(i);
		CHECK((*pte & PTE_D) || memcmp(at(copy), at(page), 8 * CPU_MAX) == 0,
		      "round %u: a write left no D (PTE 0x%lx)", r, *pte);
	}
}
BARETEST_SMP(smp_g_dirty, "smp/dirty-race", dirty_race);

/* All CPUs set bits of their own in entries of one table while others' accesses set A and D in the
 * same entries: no bit may be lost. */
static uint64_t soft_bits[CPU_MAX];

static void set_soft(void *arg)
{
	unsigned int me = this_cpu()->index;
	struct rng g = rng_for("smp/soft-bits", me);

	(void)arg;
	space_enter(shared_root);
	for (unsigned int i = 0; i < 400; i++) {
		unsigned int n = rng_below(&g, 16);
		uint64_t *e = (uint64_t *)space_entry(shared_root, T_BASE + n * PAGE, 0), old = *e;

		/* Bits 9 to 11 and 52 to 58 belong to software. */
		while (!__atomic_compare_exchange_n(e, &old, old ^ 1ull << (52 + me % 7), false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		soft_bits[me] ^= 1ull << n;
		if (i & 1)
			poke(T_BASE + rng_below(&g, 16) * PAGE + 8 * me, i);
		else
			(void)peek(T_BASE + rng_below(&g, 16) * PAGE);
		if (i % 16 == 0) {
			n = rng_below(&g, 16);
			__atomic_and_fetch(
				(uint64_t *)space_entry(shared_root, T_BASE + n * PAGE, 0),
				~(PTE_A | PTE_D), __ATOMIC_SEQ_CST);
			invlpg(T_BASE + n * PAGE);
		}
	}
	space_leave();
}

static void soft(void)
{
	unsigned int n = cpu_count < 7 ? cpu_count : 7;
	uint64_t page[16];

	shared_root = space_new();
	memset(soft_bits, 0, sizeof(soft_bits));
	for (unsigned int i = 0; i < 16; i++)
		space_map(shared_root, T_BASE + i * PAGE, page[i] = page_alloc(), PTE_P | PTE_W);
	if (cpu_count > 7) {
		for (unsigned int i = 1; i < n; i++)
			cpu_start(i, set_soft, NULL);
		set_soft(NULL);
		for (unsigned int i = 1; i < n; i++)
			cpu_wait(i);
	} else {
		cpus_run(set_soft, NULL);
	}
	for (unsigned int i = 0; i < 16; i++) {
		uint64_t e = *space_entry(shared_root, T_BASE + i * PAGE, 0), want = 0;

		for (unsigned int c = 0; c < n; c++)
			want |= (soft_bits[c] >> i & 1) << (52 + c);
		CHECK((e & 0x7full << 52) == want && (e & PTE_ADDR) == page[i],
		      "entry %u is 0x%lx, bits 0x%lx wanted", i, e, want);
	}
}
BARETEST_SMP(smp_h_soft, "smp/soft-bits", soft);

/* ---- one table, many editors ---- */

static void edit_own(void *arg)
{
	unsigned int me = this_cpu()->index;
	uint64_t page[2] = {page_tagged(100 + 2 * me), page_tagged(101 + 2 * me)};

	(void)arg;
	space_enter(shared_root);
	for (unsigned int i = 0; i < rounds(300) && !test_failed(); i++) {
		uint64_t va = T_BASE + (me + i % 4 * CPU_MAX) * PAGE;

		*space_entry(shared_root, va, 0) = page[i & 1] | PTE_P | PTE_W;
		CHECK(peek(va) == 100 + 2 * me + (i & 1), "CPU %u maps, reads %lu", me, peek(va));
		poke(va + 8, i);
		CHECK(*space_entry(shared_root, va, 0) & PTE_D, "CPU %u: no D", me);
		*space_entry(shared_root, va, 0) = page[!(i & 1)] | PTE_P;
		invlpg(va);
		CHECK(peek(va) == 100 + 2 * me + !(i & 1), "CPU %u changes, reads %lu", me,
		      peek(va));
		*space_entry(shared_root, va, 0) = 0;
		invlpg(va);
		CHECK(try_read(va).vec == 14, "CPU %u unmaps, still there", me);
	}
	space_leave();
}

static void editors(void)
{
	shared_root = space_new();
	space_entry(shared_root, T_BASE, 0);
	cpus_run(edit_own, NULL);
}
BARETEST_SMP(smp_i_editors, "smp/editors", editors);

/* Demand faults from all CPUs at once: each page is mapped once, by whoever comes first. */
static struct spin storm_lock;
static volatile uint64_t storm_mapped;

static bool storm_hook(struct trap_frame *f, uint64_t cr2)
{
	uint64_t va = cr2 & -PAGE;

	if ((f->err & PF_P) || va < T_BASE || va >= T_BASE + GIB)
		return false;
	spin_lock(&storm_lock);
	if (!(*space_entry(shared_root, va, 0) & PTE_P)) {
		space_map(shared_root, va, page_tagged(va), PTE_P | PTE_W);
		storm_mapped++;
	}
	spin_unlock(&storm_lock);
	return true;
}

#define STORM_PAGES 1024u

static void storm_touch(void *arg)
{
	unsigned int me = this_cpu()->index;

	(void)arg;
	space_enter(shared_root);
	for (unsigned int i = 0; i < STORM_PAGES; i++) {
		/* Odd factors visit every page, in another order on every CPU. */
		uint64_t va = T_BASE + (i * (2 * me + 37) % STORM_PAGES) * PAGE * 3;

		CHECK(peek(va + 16) == va, "CPU %u: 0x%lx reads 0x%lx", me, va, peek(va + 16));
		__atomic_fetch_add((uint64_t *)va, 1, __ATOMIC_SEQ_CST);
	}
	space_leave();
}

static void storm(void)
{
	shared_root = space_new();
	storm_mapped = 0;
	pf_hook = storm_hook;
	cpus_run(storm_touch, NULL);
	pf_hook = NULL;
	CHECK(storm_mapped == STORM_PAGES, "%lu pages mapped", storm_mapped);
	for (uint64_t i = 0; i < STORM_PAGES; i++) {
		uint64_t va = T_BASE + i * PAGE * 3,
			 *p = at(*space_entry(shared_root, va, 0) & PTE_ADDR);

		CHECK(*p == va + cpu_count, "page %lu: %lu adds", i, *p - va);
	}
}
BARETEST_SMP(smp_j_storm, "smp/fault-storm", storm);

/* A CPU that turns paging off and on while another edits the tables that it comes back to. */
static void toggle(void *arg)
{
	struct step end = {.what = STEP_END};
	struct script s = {.cr0 = 0x11, .steps = &end};

	(void)arg;
	while (!LOAD(&quit)) {
		uint64_t before = LOAD(&shoot.generation), got;

		script_run(&s, shared_root, HOME_CR4);
		got = peek(T_BASE);
		CHECK(got >= before, "CPU %u: reads %lu after paging went on, %lu before",
		      this_cpu()->index, got, before);
		space_leave();
	}
}

static void mode_toggle(void)
{
	uint64_t page[64], until = BUDGET;

	shared_root = space_new();
	for (unsigned int i = 0; i < 64; i++)
		page[i] = page_tagged(0);
	space_map(shared_root, T_BASE, page[0], PTE_P);
	STORE(&quit, 0);
	shoot.generation = 0;
	cpu_start(1, toggle, NULL);
	for (uint64_t g = 1; g < rounds(20000) && !is_past(until) && !test_failed(); g++) {
		for (unsigned int i = 0; i < 512; i += 64)
			at(page[g % 64])[i] = g;
		STORE((uint64_t *)space_entry(shared_root, T_BASE, 0), page[g % 64] | PTE_P);
		STORE(&shoot.generation, g);
	}
	STORE(&quit, 1);
	cpu_wait(1);
}
BARETEST_SMP(smp_k_toggle, "smp/mode-toggle", mode_toggle);
