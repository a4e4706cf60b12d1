/* Random edits, flushes and accesses, against a model that keeps, for every address, the set of
 * translations that a TLB or a cached directory entry may still hold. What is seen must be in the
 * set; after a flush, and when a faulting access is tried again, only what the tables say may be.
 * (By the manual a fault also takes the address's other translations away. TCG (7.2) keeps a page
 * that is known as readable when a write to it faults, so that is not asked for. And no CPU joins
 * an old leaf with rights that the entries above it got later; shadow tables may, until the flush
 * that the guest owes anyway. Only strict=1 refuses that.) SDM vol. 3, 4.10.2 to 4.10.4.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

#define REGIONS 4 /* of 2 MiB, each with a directory entry */
#define TABLES	4 /* leaf tables that those may point at */
#define SLOTS	8 /* pages used in each */
#define PAGES	8 /* to map */
#define STRIDE	61

/* A translation: 0 absent, else 1 + 2 * what + writable; sets of them are bit masks. */
struct model {
	struct rng rng;
	uint64_t root[2], table[TABLES], page[PAGES], stamp;
	unsigned int now;
	uint8_t pde[2][REGIONS], pte[TABLES][SLOTS];
	uint32_t pde_set[REGIONS], leaf_set[REGIONS][SLOTS];
	bool raised[REGIONS]; /* a directory entry got W since the last flush of all */
};

static uint64_t slot_va(unsigned int region, unsigned int slot)
{
	return T_BASE + region * MIB2 + slot * STRIDE * PAGE;
}

static unsigned int combine(const struct model *m, unsigned int pde, unsigned int slot)
{
	unsigned int pte;

	if (!pde)
		return 0;
	pte = m->pte[(pde - 1) / 2][slot];
	if (!pte)
		return 0;
	return 1 + ((pte - 1) & ~1u) + ((pte - 1) & (pde - 1) & 1);
}

static unsigned int current(const struct model *m, unsigned int region, unsigned int slot)
{
	return combine(m, m->pde[m->now][region], slot);
}

/* After any edit: everything reachable through a directory entry that may be cached. */
static void widen(struct model *m)
{
	for (unsigned int r = 0; r < REGIONS; r++) {
		m->pde_set[r] |= 1u << m->pde[m->now][r];
		for (unsigned int pde = 0; pde <= 2 * TABLES; pde++)
			for (unsigned int s = 0; m->pde_set[r] >> pde & 1 && s < SLOTS; s++)
				m->leaf_set[r][s] |= 1u << combine(m, pde, s);
	}
}

static void flushed(struct model *m, unsigned int region, unsigned int slot)
{
	m->pde_set[region] = 1u << m->pde[m->now][region];
	m->leaf_set[region][slot] = 1u << current(m, region, slot);
}

static void flushed_all(struct model *m)
{
	for (unsigned int r = 0; r < REGIONS; r++) {
		m->raised[r] = false;
		for (unsigned int s = 0; s < SLOTS; s++)
			flushed(m, r, s);
	}
}

static void edit_pte(struct model *m)
{
	unsigned int t = rng_below(&m->rng, TABLES), s = rng_below(&m->rng, SLOTS);
	unsigned int v = rng_below(&m->rng, 4) ? 1 + rng_below(&m->rng, 2 * PAGES) : 0;
	uint64_t to = m->table[t] + s * STRIDE * 8;

	/* By the identity map or by the window on the tables. */
	if (rng_below(&m->rng, 2))
		to = T_HIGH + t * PAGE + s * STRIDE * 8;
	m->pte[t][s] = (uint8_t)v;
	poke(to, v ? m->page[(v - 1) / 2] | PTE_P | PTE_U | ((v - 1) & 1 ? PTE_W : 0) : 0);
	widen(m);
}

static void edit_pde(struct model *m)
{
	unsigned int which = rng_below(&m->rng, 2), r = rng_below(&m->rng, REGIONS);
	unsigned int v = rng_below(&m->rng, 8) ? 1 + rng_below(&m->rng, 2 * TABLES) : 0;

	if (v && ((v - 1) & 1) && which == m->now)
		m->raised[r] = true;
	m->pde[which][r] = (uint8_t)v;
	*space_entry(m->root[which], T_BASE + r * MIB2, 1) =
		v ? m->table[(v - 1) / 2] | PTE_P | PTE_U | ((v - 1) & 1 ? PTE_W : 0) : 0;
	widen(m);
}

static bool allows(unsigned int v, bool write)
{
	return v && (!write || ((v - 1) & 1));
}

/* Which page answered: by its tag on a read, by where the stamp landed on a write. */
static unsigned int answered(struct model *m, bool write, uint64_t value)
{
	for (unsigned int p = 0; p < PAGES; p++)
		if (write ? at(m->page[p])[1] == m->stamp : value == 1000 + p)
			return p;
	return PAGES;
}

static void access(struct model *m)
{
	unsigned int r = rng_below(&m->rng, REGIONS), s = rng_below(&m->rng, SLOTS);
	bool write = rng_below(&m->rng, 2), user = rng_below(&m->rng, 2);
	uint64_t va = slot_va(r, s);

	for (int tries = 0; tries < 2; tries++) {
		uint32_t set = tries ? 1u << current(m, r, s) : m->leaf_set[r][s];
		uint32_t refusing = 0, pages = 0;
		struct fault f;
		unsigned int p;

		m->stamp++;
		if (user)
			f = try_user(write ? USER_WRITE8 : USER_READ8, write ? va + 8 : va,
				     m->stamp);
		else
			f = write ? attempt(access_write8, va + 8, m->stamp)
				  : attempt((void *)peek, va, 0);
		for (unsigned int v = 0; v <= 2 * PAGES; v++) {
			if (!(set >> v & 1))
				continue;
			if (allows(v, write) || (v && write && v != current(m, r, s) &&
						 m->raised[r] && !options.strict))
				pages |= 1u << (v - 1) / 2;
			if (!allows(v, write))
				refusing |= 1u << v;
		}
		if (f.vec == NO_FAULT) {
			p = answered(m, write, f.value);
			CHECK(p < PAGES && (pages >> p & 1),
			      "region %u slot %u %s: page %u, allowed 0x%x", r, s,
			      write ? "write" : "read", p, pages);
			return;
		}
		CHECK(f.vec == 14 && refusing, "region %u slot %u %s: %s, set 0x%x", r, s,
		      write ? "write" : "read", fault_text(&f), set);
		CHECK(tries == 0 || f.err == ((write ? PF_W : 0) | (user ? PF_U : 0) |
					      (current(m, r, s) ? PF_P : 0)),
		      "error 0x%x, the tables say %u", f.err, current(m, r, s));
	}
}

static void random_history(void)
{
	struct model m = {.rng = rng_for("flush/random", 0), .stamp = 1 << 20};

	for (unsigned int p = 0; p < PAGES; p++)
		m.page[p] = page_tagged(1000 + p);
	for (unsigned int i = 0; i < 2; i++) {
		m.root[i] = space_new();
		space_entry(m.root[i], T_BASE, 1);
		space_map_user_code(m.root[i]);
	}
	for (unsigned int t = 0; t < TABLES; t++) {
		m.table[t] = page_alloc();
		space_map(m.root[0], T_HIGH + t * PAGE, m.table[t], PTE_P | PTE_W);
		space_map(m.root[1], T_HIGH + t * PAGE, m.table[t], PTE_P | PTE_W);
	}
	space_enter(m.root[0]);
	flushed_all(&m);
	for (unsigned int i = 0; i < rounds(6000) && !test_failed(); i++) {
		unsigned int dice = rng_below(&m.rng, 100);

		if (dice < 25) {
			edit_pte(&m);
		} else if (dice < 30) {
			edit_pde(&m);
		} else if (dice < 40) {
			unsigned int r = rng_below(&m.rng, REGIONS), s = rng_below(&m.rng, SLOTS);

			invlpg(slot_va(r, s));
			flushed(&m, r, s);
		} else if (dice < 45) {
			m.now ^= dice & 1;
			space_enter(m.root[m.now]);
			flushed_all(&m);
		} else {
			access(&m);
		}
	}
	space_leave();
}
BARETEST(flush_random, "flush/random", random_history);
