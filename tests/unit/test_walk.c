/* The guest walker: each rule by itself, races with writers, and random tables against the oracle.
 *
 * Guest memory is 16 pages at address 0; what lies beyond is no memory.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "oracle.h"
#include "tables/walk.h"

#define PAGES 16u
#define RW    (X_P | X_W | X_U)
#define RWA   (RW | X_A)

struct mem {
	struct walk_mem m;
	uint64_t page[PAGES][512] __attribute__((aligned(4096)));
	unsigned int dirtied;
	void (*race)(struct mem *m, gfn_t table); /* from dirtied() */
	unsigned int races;
};

static struct mem mem;
static struct walk_cpu cpu;

static void *mem_entry(struct walk_mem *m, gpa_t at)
{
	struct mem *self = (struct mem *)m;
	if (at.v >= PAGES * TF_PAGE_SIZE)
		return NULL;
	return (char *)self->page + at.v;
}

static void mem_dirtied(struct walk_mem *m, gfn_t table)
{
	struct mem *self = (struct mem *)m;
	self->dirtied++;
	if (self->race)
		self->race(self, table);
}

static bool walk(uint64_t va, uint32_t flags, bool set_ad, struct walk *w)
{
	const struct tf_access a = {.at = gva(va), .flags = flags};
	mem.dirtied = 0;
	return walk_gva(&mem.m, &cpu, &a, set_ad, w);
}

static void expect_fault(uint64_t va, uint32_t flags, uint32_t pfec)
{
	struct walk w;
	assert_false(walk(va, flags, true, &w));
	assert_int_equal(w.pfec, pfec);
	assert_int_equal(mem.dirtied, 0);
}

static void expect_gpa(uint64_t va, uint32_t flags, uint64_t to)
{
	struct walk w;
	assert_true(walk(va, flags, false, &w));
	assert_int_equal(w.gpa.v, to);
}

/* Address 0 is mapped through pages 5 (level 4), 4 .. 1 (level 0) to `leaf`. */
static int setup(void **state)
{
	(void)state;
	memset(&mem, 0, sizeof(mem));
	mem.m.entry = mem_entry;
	mem.m.dirtied = mem_dirtied;
	for (uint64_t l = 1; l < 5; l++)
		mem.page[l + 1][0] = l << 12 | RW;
	mem.page[1][0] = 0x7000 | RW;
	cpu = (struct walk_cpu){
		.r = {.cr0 = X_CR0_PG | X_CR0_PE | X_CR0_WP,
		      .cr3 = 0x4000,
		      .cr4 = X_CR4_PAE | X_CR4_PGE,
		      .efer = X_EFER_LME | X_EFER_LMA | X_EFER_NXE},
		.maxphyaddr = 40,
	};
	return 0;
}

static void test_levels(void **state)
{
	(void)state;
	struct tf_regs r = cpu.r;
	assert_int_equal(walk_levels(&r), 4);
	r.cr4 |= X_CR4_LA57;
	assert_int_equal(walk_levels(&r), 5);
	r.efer = X_EFER_LME;
	assert_int_equal(walk_levels(&r), 3);
	r.cr4 = X_CR4_PSE;
	assert_int_equal(walk_levels(&r), 2);
	r.cr0 = X_CR0_PE;
	assert_int_equal(walk_levels(&r), 0);
}

static void test_no_paging(void **state)
{
	(void)state;
	struct walk w;
	cpu.r.cr0 = X_CR0_PE;
	assert_true(walk(0xfee00123, TF_WRITE | TF_USER, true, &w));
	assert_int_equal(w.gpa.v, 0xfee00123);
	assert_int_equal(w.levels, 0);
	assert_true(w.writable && w.user && !w.nx);
}

static void test_sets_accessed_and_dirty(void **state)
{
	(void)state;
	struct walk w;
	assert_true(walk(0x123, 0, false, &w));
	assert_int_equal(mem.dirtied, 0);
	assert_false(w.dirty);
	assert_int_equal(w.gpa.v, 0x7123);
	assert_true(walk(0x123, 0, true, &w));
	assert_int_equal(mem.dirtied, 4);
	for (unsigned int l = 0; l < 4; l++) {
		assert_int_equal(w.step[l].at.v, (l + 1) << 12);
		assert_int_equal(w.step[l].entry, mem.page[l + 1][0]);
		assert_int_equal(mem.page[l + 1][0] & (X_A | X_D), X_A);
	}
	assert_true(walk(0x123, TF_WRITE, true, &w));
	assert_int_equal(mem.dirtied, 1);
	assert_true(w.dirty);
	assert_int_equal(mem.page[1][0], 0x7000 | RWA | X_D);
	assert_int_equal(mem.page[2][0], 0x1000 | RWA);
}

static void test_not_present(void **state)
{
	(void)state;
	for (unsigned int l = 0; l < 4; l++) {
		setup(NULL);
		/* Reserved bits of an entry that is not present do not matter. */
		mem.page[l + 1][0] = UINT64_C(1) << 45;
		expect_fault(0, 0, 0);
		expect_fault(0, TF_WRITE | TF_USER, TF_PF_W | TF_PF_U);
		expect_fault(0, TF_FETCH, TF_PF_I);
	}
	cpu.r.efer &= ~X_EFER_NXE;
	expect_fault(0, TF_FETCH, 0);
	cpu.r.cr4 |= X_CR4_SMEP;
	expect_fault(0, TF_FETCH, TF_PF_I);
}

static void test_reserved(void **state)
{
	(void)state;
	for (unsigned int bit = 40; bit < 52; bit++)
		for (unsigned int l = 0; l < 4; l++) {
			setup(NULL);
			mem.page[l + 1][0] |= BIT(bit);
			expect_fault(0, 0, TF_PF_P | TF_PF_RSVD);
		}
	for (unsigned int l = 0; l < 4; l++) {
		setup(NULL);
		mem.page[l + 1][0] |= X_NX;
		cpu.r.efer &= ~X_EFER_NXE;
		expect_fault(0, TF_USER, TF_PF_P | TF_PF_RSVD | TF_PF_U);
	}
	for (unsigned int bit = 7; bit < 9; bit++) { /* AMD: bits 8:7 of a PML4E */
		setup(NULL);
		mem.page[4][0] |= BIT(bit);
		expect_fault(0, 0, TF_PF_P | TF_PF_RSVD);
	}
	for (unsigned int bit = 13; bit < 30; bit++) {
		setup(NULL);
		mem.page[3][0] = RW | X_PS | BIT(bit);
		expect_fault(0, 0, TF_PF_P | TF_PF_RSVD);
		setup(NULL);
		mem.page[2][0] = RW | X_PS | BIT(bit);
		if (bit < 21)
			expect_fault(0, 0, TF_PF_P | TF_PF_RSVD);
		else
			expect_gpa(5, 0, BIT(bit) + 5);
	}
	/* Reserved comes before rights; what is above is not looked at again. */
	setup(NULL);
	mem.page[4][0] &= ~X_U;
	mem.page[1][0] |= BIT(41);
	expect_fault(0, TF_USER, TF_PF_P | TF_PF_RSVD | TF_PF_U);
}

static void test_no_memory_reads_as_ones(void **state)
{
	(void)state;
	mem.page[2][0] = UINT64_C(0xff00000) | RW;
	expect_fault(0, 0, TF_PF_P | TF_PF_RSVD);
	cpu.maxphyaddr = 52;
	struct walk w;
	assert_true(walk(0, TF_WRITE, true, &w)); /* a leaf of all ones is a valid one */
	assert_int_equal(w.gpa.v, X_ADDR);
	assert_true(w.nx);
}

static void test_rights_add_up(void **state)
{
	(void)state;
	for (unsigned int l = 0; l < 4; l++) {
		struct walk w;
		setup(NULL);
		mem.page[l + 1][0] &= ~X_W;
		expect_fault(0, TF_WRITE, TF_PF_P | TF_PF_W);
		assert_true(walk(0, 0, false, &w));
		assert_false(w.writable);
		cpu.r.cr0 &= ~X_CR0_WP;
		assert_true(walk(0, TF_WRITE, false, &w));
		expect_fault(0, TF_WRITE | TF_USER, TF_PF_P | TF_PF_W | TF_PF_U);
		setup(NULL);
		mem.page[l + 1][0] &= ~X_U;
		expect_fault(0, TF_USER, TF_PF_P | TF_PF_U);
		assert_true(walk(0, TF_WRITE, false, &w));
		assert_false(w.user);
		setup(NULL);
		mem.page[l + 1][0] |= X_NX;
		expect_fault(0, TF_FETCH, TF_PF_P | TF_PF_I);
		assert_true(walk(0, TF_WRITE | TF_USER, false, &w));
		assert_true(w.nx);
	}
}

static void test_smep_smap(void **state)
{
	(void)state;
	cpu.r.cr4 |= X_CR4_SMEP | X_CR4_SMAP;
	expect_fault(0, TF_FETCH, TF_PF_P | TF_PF_I);
	expect_gpa(0, TF_FETCH | TF_USER, 0x7000);
	expect_fault(0, 0, TF_PF_P);
	expect_fault(0, TF_WRITE, TF_PF_P | TF_PF_W);
	expect_gpa(0, TF_AC | TF_WRITE, 0x7000);
	expect_fault(0, TF_AC | TF_IMPLICIT, TF_PF_P);
	expect_gpa(0, TF_USER, 0x7000);
	mem.page[3][0] &= ~X_U; /* a supervisor page: neither applies */
	expect_gpa(0, TF_FETCH, 0x7000);
	expect_gpa(0, TF_IMPLICIT, 0x7000);
}

static void test_protection_keys(void **state)
{
	(void)state;
	mem.page[1][0] |= UINT64_C(9) << X_PKEY_SHIFT;
	cpu.r.pkru = 1u << 18; /* AD of key 9 */
	expect_gpa(0, TF_USER, 0x7000);
	cpu.r.cr4 |= X_CR4_PKE;
	expect_fault(0, TF_USER, TF_PF_P | TF_PF_U | TF_PF_PK);
	expect_fault(0, 0, TF_PF_P | TF_PF_PK);
	expect_gpa(0, TF_FETCH | TF_USER, 0x7000);
	cpu.r.pkru = 2u << 18; /* WD */
	expect_gpa(0, TF_USER, 0x7000);
	expect_fault(0, TF_USER | TF_WRITE, TF_PF_P | TF_PF_W | TF_PF_U | TF_PF_PK);
	expect_fault(0, TF_WRITE, TF_PF_P | TF_PF_W | TF_PF_PK);
	cpu.r.cr0 &= ~X_CR0_WP;
	expect_gpa(0, TF_WRITE, 0x7000);
	expect_fault(0, TF_USER | TF_WRITE, TF_PF_P | TF_PF_W | TF_PF_U | TF_PF_PK);
	mem.page[2][0] &= ~X_U; /* a supervisor page has no key */
	cpu.r.pkru = ~0u;
	expect_gpa(0, TF_WRITE, 0x7000);
}

static void test_canonical(void **state)
{
	(void)state;
	struct walk w;
	const uint64_t bad[] = {BIT(47), BIT(48), BIT(63), ~BIT(47)};
	for (unsigned int i = 0; i < 4; i++) {
		assert_false(walk(bad[i], 0, true, &w));
		assert_int_equal(w.pfec, 0);
		assert_int_equal(w.stop, WALK_LEVELS);
	}
	mem.page[4][511] = 0x3000 | RW;
	mem.page[3][511] = RW | X_PS | 0x40000000;
	expect_gpa(UINT64_C(0xffffffffc0000abc), 0, 0x40000abc);
	cpu.r.cr4 |= X_CR4_LA57;
	cpu.r.cr3 = 0x5000;
	mem.page[5][255] = 0x4000 | RW;
	expect_gpa(UINT64_C(0x00ffffffc0000abc), 0, 0x40000abc);
	expect_fault(BIT(48), 0, 0);
	assert_false(walk(BIT(56), 0, true, &w));
	assert_int_equal(w.stop, WALK_LEVELS);
}

static void test_large_and_global(void **state)
{
	(void)state;
	struct walk w;
	mem.page[2][1] = 0x600000 | RW | X_PS | X_G | BIT(12); /* PAT: no address bit */
	assert_true(walk(0x2abcde, TF_WRITE, true, &w));
	assert_int_equal(w.gpa.v, 0x6abcde);
	assert_int_equal(w.leaf, 1);
	assert_int_equal(w.stop, 1);
	assert_true(w.global && w.dirty);
	assert_int_equal(mem.page[2][1] & (X_A | X_D), X_A | X_D);
	cpu.r.cr4 &= ~X_CR4_PGE;
	assert_true(walk(0x2abcde, 0, false, &w));
	assert_false(w.global);
}

static void test_pae(void **state)
{
	(void)state;
	struct walk w;
	cpu.r.efer &= ~(X_EFER_LMA | X_EFER_LME);
	cpu.r.cr3 = 0x3000 | 0x20; /* 32-byte aligned */
	mem.page[3][4] = 0x2000 | X_P;
	assert_true(walk(0xabc, TF_USER | TF_WRITE, true, &w)); /* a PDPTE has no rights */
	assert_int_equal(w.gpa.v, 0x7abc);
	assert_int_equal(w.levels, 3);
	assert_int_equal(mem.page[3][4], 0x2000 | X_P); /* nor an A */
	assert_int_equal(mem.dirtied, 2);
	for (unsigned int bit = 1; bit < 64; bit++) {
		bool reserved = bit < 3 || (bit >= 6 && bit < 9) || bit >= 40; /* 5: walk.c */
		mem.page[3][4] = 0x2000 | X_P | BIT(bit);
		if (reserved)
			expect_fault(0, 0, TF_PF_P | TF_PF_RSVD);
	}
	mem.page[3][4] = 0x2000 | X_P;
	mem.page[1][0] |= BIT(52);
	expect_fault(0, 0, TF_PF_P | TF_PF_RSVD);
	mem.page[1][0] ^= BIT(52) | X_NX;
	expect_fault(0, TF_FETCH, TF_PF_P | TF_PF_I);
}

static void test_legacy32(void **state)
{
	(void)state;
	struct walk w;
	uint32_t *dir = (uint32_t *)mem.page[10], *tab = (uint32_t *)mem.page[11];
	cpu.r = (struct tf_regs){.cr0 = X_CR0_PG | X_CR0_PE, .cr3 = 0xa018};
	dir[3] = 0xb000 | RW;
	tab[5] = 0x9000 | RW;
	tab[6] = 0xffffffff; /* must stay */
	assert_true(walk(0xc05123, TF_WRITE, true, &w));
	assert_int_equal(w.gpa.v, 0x9123);
	assert_int_equal(tab[5], 0x9000 | RWA | X_D);
	assert_int_equal(dir[3], 0xb000 | RWA);
	assert_int_equal(tab[6], 0xffffffff);
	dir[3] |= X_PS; /* ignored without CR4.PSE */
	expect_gpa(0xc05123, 0, 0x9123);
	cpu.r.cr4 = X_CR4_PSE;
	dir[3] = RW | X_PS | 0x5u << 13 | 0x800000;
	expect_gpa(0xc05123, 0, UINT64_C(0x500805123));
	dir[3] |= BIT(21);
	expect_fault(0xc05123, 0, TF_PF_P | TF_PF_RSVD);
	dir[3] = RW | X_PS | 0x10u << 13;
	expect_gpa(0xc00000, 0, UINT64_C(0x1000000000));
	cpu.maxphyaddr = 36;
	expect_fault(0xc00000, 0, TF_PF_P | TF_PF_RSVD);
	cpu.maxphyaddr = 52;
	expect_gpa(0xc00000, 0, UINT64_C(0x1000000000));
	expect_fault(0x1000000, TF_FETCH, 0); /* no NX, no SMEP: no I */
}

/* ---- races ---- */

static void race_other_page(struct mem *m, gfn_t table)
{
	if (table.v == 2 && m->races++ == 0)
		m->page[1][0] = 0x8000 | RW; /* after the leaf was read, before its A is set */
}

static void race_for_ever(struct mem *m, gfn_t table)
{
	(void)table;
	m->races++;
	m->page[2][0] &= ~X_A;
	m->page[1][0] = (m->page[1][0] + BIT(52)) & ~X_A;
}

static void race_unmap(struct mem *m, gfn_t table)
{
	if (table.v == 2)
		m->page[1][0] = 0x7000; /* swapped out */
}

static void race_accessed(struct mem *m, gfn_t table)
{
	if (table.v == 2)
		m->page[1][0] |= X_A; /* another CPU's walk: no reason to start again */
}

static void test_races(void **state)
{
	(void)state;
	struct walk w;
	mem.race = race_other_page;
	assert_true(walk(0, TF_WRITE, true, &w));
	assert_int_equal(w.gpa.v, 0x8000);
	assert_int_equal(mem.page[1][0], 0x8000 | RWA | X_D);
	setup(NULL);
	mem.race = race_unmap;
	assert_false(walk(0, TF_WRITE, true, &w));
	assert_int_equal(w.pfec, TF_PF_W);
	assert_int_equal(mem.page[1][0], 0x7000);
	setup(NULL);
	mem.race = race_accessed;
	assert_true(walk(0, TF_WRITE, true, &w));
	assert_int_equal(mem.dirtied, 4);
	assert_int_equal(w.step[0].entry, 0x7000 | RWA | X_D);
	/* A hostile writer: the walk ends, and tells that D is not set. */
	setup(NULL);
	mem.race = race_for_ever;
	assert_true(walk(0, TF_WRITE, true, &w));
	assert_false(w.dirty);
	assert_in_range(mem.races, 2, 1000);
}

/* ---- random tables against the oracle ---- */

static uint64_t seed = UINT64_C(0x7f01d5eed);

static uint64_t rnd(void)
{
	uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static bool one_in(unsigned int n)
{
	return rnd() % n == 0;
}

static uint64_t random_bits(uint64_t of)
{
	return rnd() & of;
}

static void random_cpu(void)
{
	unsigned int kind = (unsigned int)(rnd() % 8);
	struct tf_regs *r = &cpu.r;
	cpu.maxphyaddr = 32 + (unsigned int)(rnd() % 21);
	r->cr0 = X_CR0_PE | X_CR0_PG | random_bits(X_CR0_WP);
	r->cr4 = random_bits(X_CR4_PSE | X_CR4_PGE | X_CR4_SMEP | X_CR4_SMAP | X_CR4_PKE);
	r->efer = random_bits(X_EFER_NXE);
	r->pkru = (uint32_t)rnd();
	if (kind > 0)
		r->cr4 |= X_CR4_PAE;
	if (kind > 1)
		r->efer |= X_EFER_LMA | X_EFER_LME;
	if (kind > 5)
		r->cr4 |= X_CR4_LA57;
}

/* A word that is likely to be good for this level, with the table below at page `level`. */
static uint64_t random_entry(unsigned int levels, unsigned int level)
{
	uint64_t e = (uint64_t)level << 12 | X_P | random_bits(X_W | X_U | X_A | X_D | X_G);
	bool pdpte = levels == 3 && level == 2;
	e |= one_in(3) ? X_W | X_U : 0;
	if (pdpte)
		e = (uint64_t)level << 12 | X_P;
	else if (levels > 2 && one_in(6))
		e |= X_NX;
	if (level < 3 && !pdpte && one_in(6))
		e = (e & 0xfff) | X_PS | (random_bits(X_ADDR >> (rnd() % 24)) & ~(BIT(30) - 1));
	if (levels >= 4)
		e |= random_bits(UINT64_C(0x7f8) << 52);
	if (one_in(10))
		e ^= BIT(rnd() % 64);
	if (level >= 3)
		e &= ~X_G; /* bit 8: the vendors differ */
	return e;
}

struct expected {
	bool allowed;
	uint32_t pfec;
	uint64_t gpa;
	struct orights rights;
	unsigned int leaf;
	struct oentry e;
};

static uint64_t *slot_of(uint64_t at)
{
	return at < PAGES * TF_PAGE_SIZE ? (uint64_t *)((char *)mem.page + at) : NULL;
}

static struct expected expect(uint64_t va, uint32_t flags, uint64_t *ats)
{
	const struct tf_regs *r = &cpu.r;
	struct expected x = {.rights = oracle_start()};
	unsigned int level = oracle_levels(r), bytes = oracle_entry_bytes(r);
	uint64_t table = oracle_root(r);
	do {
		level--;
		ats[level] = table + oracle_index(r, level, va) * bytes;
		const void *p = slot_of(ats[level]);
		uint64_t raw = ~UINT64_C(0);
		if (p && bytes == 8)
			raw = *(const uint64_t *)p;
		else if (p)
			raw = *(const uint32_t *)p;
		x.e = oracle_entry(r, cpu.maxphyaddr, level, raw);
		if (x.e.kind == O_ABSENT || x.e.kind == O_RESERVED) {
			bool reserved = x.e.kind == O_RESERVED;
			x.pfec = oracle_pfec(r, flags, reserved, reserved);
			return x;
		}
		oracle_add(&x.rights, &x.e);
		table = x.e.addr;
	} while (x.e.kind == O_TABLE);
	x.leaf = level;
	x.gpa = x.e.addr + (va & (BIT(x.e.shift) - 1));
	x.allowed = oracle_allows(r, flags, &x.rights, &x.pfec);
	return x;
}

/* What guest memory must be after an allowed access that sets A and D. */
static void apply_ad(const struct expected *x, const uint64_t *ats, bool write)
{
	unsigned int levels = oracle_levels(&cpu.r);
	for (unsigned int l = x->leaf; l < levels; l++) {
		if (levels == 3 && l == 2)
			continue;
		char *p = (char *)slot_of(ats[l]);
		if (!p)
			continue;
		p[0] |= X_A | (write && l == x->leaf ? X_D : 0);
	}
}

static void test_random(void **state)
{
	(void)state;
	static uint64_t before[PAGES][512];
	const uint32_t flags_of[] = {0,	       TF_WRITE,	   TF_USER,
				     TF_FETCH, TF_USER | TF_WRITE, TF_USER | TF_FETCH,
				     TF_AC,    TF_AC | TF_WRITE,   TF_IMPLICIT | TF_AC};
	unsigned int allowed = 0;
	for (unsigned int n = 0; n < 100000; n++) {
		random_cpu();
		unsigned int levels = oracle_levels(&cpu.r);
		uint64_t va = levels < 4 ? (uint32_t)rnd() : rnd() & (BIT(47) - 1);
		uint64_t ats[WALK_LEVELS];
		if (levels >= 4 && one_in(2))
			va |= ~(BIT(levels == 5 ? 56 : 47) - 1);
		cpu.r.cr3 = (uint64_t)levels << 12 | (levels == 3 ? 0x40 : 0);
		for (unsigned int l = 0; l < levels; l++) {
			uint64_t e = random_entry(levels, l), *page = mem.page[l + 1];
			unsigned int i = oracle_index(&cpu.r, l, va);
			if (levels == 2)
				((uint32_t *)page)[i] = (uint32_t)e;
			else
				page[i + (levels == 3 && l == 2 ? 8 : 0)] = e;
		}
		uint32_t flags = flags_of[rnd() % 9];
		bool set = one_in(2);
		struct expected x = expect(va, flags, ats);
		struct walk w;
		memcpy(before, mem.page, sizeof(before));
		bool got = walk(va, flags, set, &w);
		assert_int_equal(got, x.allowed);
		assert_int_equal(w.pfec, x.pfec);
		if (got) {
			allowed++;
			assert_int_equal(w.gpa.v, x.gpa);
			assert_int_equal(w.leaf, x.leaf);
			assert_int_equal(w.writable, x.rights.w);
			assert_int_equal(w.user, x.rights.u);
			assert_int_equal(w.nx, x.rights.nx);
			assert_int_equal(w.pkey, x.rights.pkey);
			assert_int_equal(w.global, x.e.g && (cpu.r.cr4 & X_CR4_PGE));
			assert_int_equal(w.dirty, x.e.d || (set && (flags & TF_WRITE)));
		}
		static uint64_t after[PAGES][512];
		memcpy(after, mem.page, sizeof(after));
		memcpy(mem.page, before, sizeof(before));
		if (got && set)
			apply_ad(&x, ats, flags & TF_WRITE);
		assert_memory_equal(after, mem.page, sizeof(after));
	}
	assert_in_range(allowed, 10000, 90000); /* neither all nor nothing */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_levels, setup),
		cmocka_unit_test_setup(test_no_paging, setup),
		cmocka_unit_test_setup(test_sets_accessed_and_dirty, setup),
		cmocka_unit_test_setup(test_not_present, setup),
		cmocka_unit_test_setup(test_reserved, setup),
		cmocka_unit_test_setup(test_no_memory_reads_as_ones, setup),
		cmocka_unit_test_setup(test_rights_add_up, setup),
		cmocka_unit_test_setup(test_smep_smap, setup),
		cmocka_unit_test_setup(test_protection_keys, setup),
		cmocka_unit_test_setup(test_canonical, setup),
		cmocka_unit_test_setup(test_large_and_global, setup),
		cmocka_unit_test_setup(test_pae, setup),
		cmocka_unit_test_setup(test_legacy32, setup),
		cmocka_unit_test_setup(test_races, setup),
		cmocka_unit_test_setup(test_random, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
