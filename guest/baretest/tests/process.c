/* What kernels do with processes: copy on write after a fork, roots by the thousand that share the
 * kernel's half, two roots for each process. SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

#define PTE_COW (1ull << 9)
#define AREA	32 /* pages of a process */

static uint64_t running; /* the root that is loaded */
static unsigned int cow_faults;

static bool cow_hook(struct trap_frame *f, uint64_t cr2)
{
	pte_t *e;
	uint64_t copy, old;

	if ((f->err & (PF_P | PF_W)) != (PF_P | PF_W) || cr2 < T_BASE ||
	    cr2 >= T_BASE + AREA * PAGE)
		return false;
	e = space_entry(running, cr2, 0);
	old = *e;
	if (!(old & PTE_COW))
		return false;
	copy = page_alloc();
	memcpy(at(copy), at(old & PTE_ADDR), PAGE);
	*e = copy | PTE_P | PTE_W | PTE_U;
	invlpg(cr2);
	cow_faults++;
	return true;
}

static void switch_to(uint64_t root)
{
	running = root;
	space_enter(root);
}

static void cow(void)
{
	for (unsigned int r = 0; r < rounds(20); r++) {
		uint64_t parent = space_new(), child = space_new();

		pool_reset();
		parent = space_new();
		child = space_new();
		for (unsigned int i = 0; i < AREA; i++)
			space_map(parent, T_BASE + i * PAGE, page_tagged(i), PTE_P | PTE_W | PTE_U);
		switch_to(parent);
		for (unsigned int i = 0; i < AREA; i++)
			poke(T_BASE + i * PAGE + 8, 100 + i);
		/* Fork. */
		for (unsigned int i = 0; i < AREA; i++) {
			pte_t *e = space_entry(parent, T_BASE + i * PAGE, 0);

			*e = (*e & ~PTE_W) | PTE_COW;
			*space_entry(child, T_BASE + i * PAGE, 0) = *e;
		}
		flush();
		cow_faults = 0;
		pf_hook = cow_hook;
		for (unsigned int i = 0; i < AREA; i += 2)
			poke(T_BASE + i * PAGE + 8, 200 + i);
		switch_to(child);
		for (unsigned int i = 0; i < AREA; i += 3)
			poke(T_BASE + i * PAGE + 8, 300 + i);
		for (unsigned int i = 0; i < AREA; i++)
			CHECK(peek(T_BASE + i * PAGE + 8) == (i % 3 ? 100 : 300) + i,
			      "child's page %u: %lu", i, peek(T_BASE + i * PAGE + 8));
		switch_to(parent);
		for (unsigned int i = 0; i < AREA; i++)
			CHECK(peek(T_BASE + i * PAGE + 8) == (i % 2 ? 100 : 200) + i,
			      "parent's page %u: %lu", i, peek(T_BASE + i * PAGE + 8));
		pf_hook = NULL;
		CHECK(cow_faults == (AREA + 1) / 2 + (AREA + 2) / 3, "%u faults", cow_faults);
		space_leave();
	}
}
BARETEST(process_cow, "process/copy-on-write", cow);

/* ---- roots that come and go ---- */

struct process {
	uint64_t root;
	unsigned int tag;
};

static void kernel_half(uint64_t root, uint64_t from)
{
	for (unsigned int i = 256; i < 512; i++)
		at(root)[i] = at(from)[i];
}

static struct process process_new(uint64_t half, unsigned int tag, unsigned int pages)
{
	struct process p = {space_new(), tag};

	kernel_half(p.root, half);
	for (unsigned int i = 0; i < pages; i++)
		space_map(p.root, T_BASE + i * 5 * PAGE, page_tagged(tag + i),
			  PTE_P | PTE_W | PTE_U);
	return p;
}

/* All its pages and tables go back to the pool, to be used by the next at once. */
static void process_free(struct process *p, unsigned int pages)
{
	for (unsigned int i = 0; i < pages; i++)
		page_free(*space_entry(p->root, T_BASE + i * 5 * PAGE, 0) & PTE_ADDR);
	for (unsigned int l = 1; l < 4; l++)
		page_free(*space_entry(p->root, T_BASE, l) & PTE_ADDR);
	page_free(p->root);
}

enum { ALIVE = 5, PAGES_EACH = 8 };

static uint64_t kernel;
static unsigned int fork_rounds;

/* Each CPU has processes of its own, and a page of its own in the kernel's half that all share. */
static void fork_work(void *arg)
{
	unsigned int me = this_cpu()->index, mine = me * 1000000;
	struct process p[ALIVE] = {0};
	uint64_t own = T_HIGH + me * PAGE;

	(void)arg;
	for (unsigned int n = 0; n < fork_rounds && !test_failed(); n++) {
		struct process *now = &p[n % ALIVE], *back;

		if (now->root)
			process_free(now, PAGES_EACH);
		*now = process_new(kernel, mine + n * 100, PAGES_EACH);
		space_enter(now->root);
		for (unsigned int i = 0; i < PAGES_EACH; i += 2)
			CHECK(peek(T_BASE + i * 5 * PAGE) == now->tag + i,
			      "process %u page %u reads %lu", n, i, peek(T_BASE + i * 5 * PAGE));
		poke(T_BASE + 8, n);
		CHECK(peek(own) == n, "kernel page: %lu, not %u", peek(own), n);
		poke(own, n + 1);
		back = &p[(n + 2) % ALIVE];
		if (back->root) {
			space_enter(back->root);
			CHECK(peek(T_BASE + 5 * PAGE) == back->tag + 1, "older process reads %lu",
			      peek(T_BASE + 5 * PAGE));
		}
		space_leave();
	}
}

static void forks_setup(unsigned int n)
{
	fork_rounds = n;
	kernel = space_new();
	for (unsigned int i = 0; i < cpu_count; i++)
		space_map(kernel, T_HIGH + i * PAGE, page_tagged(0), PTE_P | PTE_W | PTE_G);
}

static void forks(void)
{
	forks_setup(rounds(1200));
	fork_work(NULL);
}
BARETEST(process_forks, "process/forks", forks);

static void forks_all(void)
{
	forks_setup(rounds(400));
	cpus_run(fork_work, NULL);
}
BARETEST_SMP(process_forks_smp, "process/forks-all-cpus", forks_all);

/* KPTI: each process has a user root (little kernel in it) and a kernel root sharing the user's
 * tables; entries and exits switch between them. */
static void two_halves(void)
{
	struct process p[2];
	uint64_t user[2];

	kernel = space_new();
	space_map(kernel, T_HIGH, page_tagged(42), PTE_P | PTE_W | PTE_G);
	for (unsigned int i = 0; i < 2; i++) {
		p[i] = process_new(kernel, 100 * i, 4);
		user[i] = space_new();
		at(user[i])[T_BASE >> 39] = at(p[i].root)[T_BASE >> 39];
		space_map_user_code(user[i]);
	}
	write_cr4(HOME_CR4 & ~CR4_PGE);
	for (unsigned int n = 0; n < rounds(150); n++) {
		unsigned int i = n / 4 & 1;
		struct fault f;

		space_enter(user[i]);
		f = try_user(USER_READ, T_BASE + n % 4 * 5 * PAGE, 0);
		CHECK(f.vec == NO_FAULT && (uint8_t)f.value == (uint8_t)(100 * i + n % 4),
		      "user reads %lu: %s", f.value, fault_text(&f));
		f = try_user(USER_READ, T_HIGH, 0);
		CHECK(is_pf(&f, PF_U, T_HIGH), "kernel address from the user root: %s",
		      fault_text(&f));
		space_enter(p[i].root);
		CHECK(peek(T_HIGH) == 42, "kernel reads %lu", peek(T_HIGH));
		f = try_read(T_BASE);
		CHECK(f.vec == NO_FAULT && (uint8_t)f.value == (uint8_t)(100 * i),
		      "kernel reads user: %s", fault_text(&f));
	}
	space_leave();
}
BARETEST(process_kpti, "process/two-halves", two_halves);
