/* The access matrix: entry bits at two levels x access x CR0.WP, EFER.NXE, CR4.SMEP, SMAP, PKE and
 * RFLAGS.AC, against an oracle that is a pure function of them. Each round picks a random subset of
 * entry bits for every CPU state and access; load=N widens it.
 * APM vol. 2, 5.3 to 5.6; SDM vol. 3, 4.6, 4.7, 4.8.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

#define TARGET_WRITE 64 /* offset of the byte that is written; offset 0 is what is run */

static void state_set(const struct state *s)
{
	write_cr0(s->wp ? HOME_CR0 : HOME_CR0 & ~CR0_WP);
	write_cr4(HOME_CR4 | (s->smep ? CR4_SMEP : 0) | (s->smap ? CR4_SMAP : 0) |
		  (s->pke ? CR4_PKE : 0));
	wrmsr(MSR_EFER, (HOME_EFER & ~EFER_NXE) | 1 << 10 | (s->nxe ? EFER_NXE : 0));
}

struct matrix {
	struct rng rng;
	uint64_t root, target, va;
	unsigned int leaf;
	pte_t *entry[4];
	uint64_t normal[4];
};

static struct fault perform(const struct kind *k, uint64_t va, uint8_t byte)
{
	static uint64_t (*const call[])(uint64_t, uint64_t) = {
		[USER_READ] = access_read,
		[USER_WRITE] = access_write,
		[USER_OR] = access_or,
		[USER_FETCH] = access_fetch,
	};
	struct fault f;

	set_ac(k->ac);
	f = k->user ? try_user(k->what, va, byte) : attempt(call[k->what], va, byte);
	set_ac(false);
	return f;
}

/* Random entry bits: mostly present, seldom reserved. */
static uint64_t bits_pick(struct matrix *m, unsigned int level, bool leaf)
{
	uint64_t r = rng_next(&m->rng), e = m->normal[level] & PTE_ADDR;

	e |= r & (PTE_W | PTE_U | PTE_A | PTE_PWT);
	if (leaf)
		e |= (r & (PTE_D | PTE_G)) | PTE_KEY(r >> 50 & 15) | (level ? PTE_PS : 0);
	if (r >> 32 & 7)
		e |= PTE_P;
	if ((r >> 35 & 3) == 0)
		e |= PTE_NX;
	if ((r >> 37 & 15) == 0 && cpu_has.maxphyaddr < 52)
		e |= 1ull << 51;
	if ((r >> 37 & 15) == 1 && leaf && level)
		e |= 1ull << 13;
	return e;
}

/* With one CPU, TCG does a locked read-modify-write as a read and a write: where the read alone is
 * refused, the code may be that of a read. */
static bool answers(const struct fault *f, const struct verdict *want, const uint64_t e[4],
		    unsigned int leaf, const struct state *s, const struct kind *k, uint32_t pkru,
		    uint64_t va)
{
	struct kind read = {USER_READ, k->user, k->ac};
	struct verdict as_read = oracle_entries(e, leaf, s, &read, pkru);

	if (!want->fault)
		return f->vec == NO_FAULT;
	return is_pf(f, want->err, va) ||
	       (k->what == USER_OR && as_read.fault && is_pf(f, as_read.err, va));
}

static void verify(struct matrix *m, const uint64_t e[4], const struct state *s,
		   const struct kind *k, uint32_t pkru, uint8_t byte)
{
	struct verdict want = oracle_entries(e, m->leaf, s, k, pkru);
	bool write = k->what == USER_WRITE || k->what == USER_OR;
	uint64_t va = m->va + (k->what == USER_FETCH ? 0 : TARGET_WRITE);
	uint8_t *byte_at = (uint8_t *)m->target + TARGET_WRITE, before = *byte_at;
	uint8_t after = k->what == USER_WRITE && !want.fault ? byte : before;
	struct fault f = perform(k, va, byte);

	if (!answers(&f, &want, e, m->leaf, s, k, pkru, va))
		test_fail(
			"leaf %u e0 %lx e1 %lx what %d user %d ac %d wp %d nxe %d smep %d smap %d "
			"pkru %x: want %d/0x%x: %s",
			m->leaf, e[m->leaf], e[m->leaf + 1], k->what, k->user, k->ac, s->wp, s->nxe,
			s->smep, s->smap, s->pke ? pkru : 0, want.fault, want.err, fault_text(&f));
	CHECK(*byte_at == after, "leaf %u what %d: byte 0x%x not 0x%x", m->leaf, k->what, *byte_at,
	      after);
	for (unsigned int l = m->leaf; l < 4; l++) {
		uint64_t now = *m->entry[l], set = PTE_A;

		if (l == m->leaf && write)
			set |= PTE_D;
		/* On a fault the upper entries' A may be set or not; TCG sets a 1 GiB leaf's too,
		 * and, by the read, that of a locked read-modify-write. */
		if (want.fault)
			CHECK(now == e[l] || ((l > m->leaf || l == 2 || k->what == USER_OR) &&
					      now == (e[l] | PTE_A)),
			      "faulting %d: level %u entry 0x%lx became 0x%lx", k->what, l, e[l],
			      now);
		else
			CHECK(now == (e[l] | set),
			      "access %d user %d: level %u entry 0x%lx became 0x%lx", k->what,
			      k->user, l, e[l], now);
	}
}

static void one_round(struct matrix *m, const struct state *s, const struct kind *k)
{
	uint64_t e[4];
	uint32_t pkru = 0;

	for (unsigned int l = m->leaf; l < 4; l++) {
		e[l] = m->normal[l];
		if (l <= m->leaf + 1)
			e[l] = bits_pick(m, l, l == m->leaf);
		*m->entry[l] = e[l];
	}
	if (s->pke)
		wrpkru(pkru = (uint32_t)rng_next(&m->rng));
	flush_all();
	verify(m, e, s, k, pkru, (uint8_t)rng_next(&m->rng));
	if (s->pke)
		wrpkru(0);
}

static void matrix_init(struct matrix *m, const char *name, unsigned int leaf)
{
	uint64_t size = PAGE << 9 * leaf;

	m->rng = rng_for(name, 0);
	m->leaf = leaf;
	m->root = space_new();
	m->target = page_alloc();
	*(uint16_t *)m->target = 0x80cd; /* INT 0x80 */
	m->va = T_BASE + (m->target & (size - 1));
	space_map_user_code(m->root);
	for (unsigned int l = leaf; l < 4; l++) {
		m->entry[l] = space_entry(m->root, T_BASE, l);
		m->normal[l] = *m->entry[l] | PTE_A;
	}
	m->normal[leaf] = m->target & -size;
}

static void run_matrix(const char *name, unsigned int leaf)
{
	struct matrix m;

	matrix_init(&m, name, leaf);
	space_enter(m.root);
	for (unsigned int bits = 0; bits < 32 && !test_failed(); bits++) {
		struct state s = {bits & 1, bits & 2, bits & 4, bits & 8, bits & 16};

		if ((s.nxe && !cpu_has.nx) || (s.smep && !cpu_has.smep) ||
		    (s.smap && !cpu_has.smap) || (s.pke && !cpu_has.pku))
			continue;
		state_set(&s);
		for (unsigned int access = 0; access < 16; access++) {
			struct kind k = {access & 3, access & 4, access & 8};

			for (unsigned int i = rounds(10); i; i--)
				one_round(&m, &s, &k);
		}
	}
	cpus_home();
}

static void matrix_4k(void)
{
	run_matrix("4k", 0);
}
BARETEST(access_4k, "access/matrix-4k", matrix_4k);

static void matrix_2m(void)
{
	run_matrix("2m", 1);
}
BARETEST(access_2m, "access/matrix-2m", matrix_2m);

static void matrix_1g(void)
{
	if (cpu_has.gib)
		run_matrix("1g", 2);
	else
		test_skip("no 1 GiB pages");
}
BARETEST(access_1g, "access/matrix-1g", matrix_1g);

/* PS in the root's entry is reserved, whatever the rest says. */
static void root_ps(void)
{
	uint64_t root = space_new(), p = page_tagged(3);
	struct fault f;

	space_map(root, T_BASE, p, PTE_P | PTE_W);
	*space_entry(root, T_BASE, 3) |= PTE_PS;
	space_enter(root);
	f = try_read(T_BASE);
	CHECK(is_pf(&f, PF_P | PF_RSVD, T_BASE), "%s", fault_text(&f));
	*space_entry(root, T_BASE, 3) &= ~PTE_PS;
	f = try_read(T_BASE);
	CHECK(f.vec == NO_FAULT && f.value == 3, "after mending: %s", fault_text(&f));
	space_leave();
}
BARETEST(access_root_ps, "access/root-ps", root_ps);

/* Every single reserved address bit, at every level. */
static void reserved_bits(void)
{
	uint64_t root = space_new(), p = page_tagged(3);

	space_map(root, T_BASE, p, PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int level = 0; level < 4; level++) {
		pte_t *e = space_entry(root, T_BASE, level);
		uint64_t was = *e;

		for (unsigned int bit = cpu_has.maxphyaddr; bit < 52; bit++) {
			struct fault f;

			*e = was | 1ull << bit;
			flush();
			f = try_write(T_BASE, 1);
			CHECK(is_pf(&f, PF_P | PF_W | PF_RSVD, T_BASE), "level %u bit %u: %s",
			      level, bit, fault_text(&f));
		}
		*e = was;
	}
	flush();
	CHECK(peek(T_BASE) == 3, "memory behind reserved bits changed");
	space_leave();
}
BARETEST(access_reserved, "access/reserved-bits", reserved_bits);

/* A supervisor's implicit access (here: the LDT, at a segment load) is refused on a user page with
 * SMAP, by the manual whatever AC says; an explicit one is not refused with AC. */
static uint64_t load_segment(uint64_t selector, uint64_t b)
{
	(void)b;
	__asm__ volatile("mov %w0, %%es" : : "r"(selector));
	return 0;
}

static void ldt_load(uint64_t base)
{
	uint64_t *gdt = this_cpu()->gdt + SEL_LDT / 8;

	gdt[0] = 15 | (base & 0xffffff) << 16 | 0x82ull << 40 | (base >> 24 & 0xff) << 56;
	gdt[1] = base >> 32;
	__asm__ volatile("lldt %w0" : : "r"(base ? SEL_LDT : 0) : "memory");
}

static void smap_ac(void)
{
	uint64_t root = space_new(), p = page_alloc();

	if (!cpu_has.smap) {
		test_skip("no SMAP");
		return;
	}
	at(p)[1] = this_cpu()->gdt[SEL_DATA / 8];
	space_map(root, T_BASE, p, PTE_P | PTE_W | PTE_U);
	space_enter(root);
	ldt_load(T_BASE);
	for (unsigned int i = 0; i < 4; i++) {
		bool ac = i & 1, smap = i & 2;
		struct fault f, g;

		write_cr4(HOME_CR4 | (smap ? CR4_SMAP : 0));
		set_ac(ac);
		f = try_read(T_BASE);
		g = attempt(load_segment, 8 | 4, 0);
		set_ac(false);
		CHECK(smap && !ac ? is_pf(&f, PF_P, T_BASE) : f.vec == NO_FAULT,
		      "explicit, AC %d: %s", ac, fault_text(&f));
		/* QEMU's TCG takes AC into account here too (7.2), so with AC both will do. */
		CHECK(is_pf(&g, PF_P, T_BASE + 8) ? smap : g.vec == NO_FAULT && (!smap || ac),
		      "implicit, AC %d SMAP %d: %s", ac, smap, fault_text(&g));
	}
	write_cr4(HOME_CR4);
	ldt_load(0);
	load_segment(SEL_DATA, 0);
	space_leave();
}
BARETEST(access_smap_ac, "access/smap-ac", smap_ac);

/* Stack accesses, string moves and a page crossing call: faults in the middle restart cleanly. */
static uint64_t copy_string(uint64_t to, uint64_t from)
{
	uint64_t n = 3 * PAGE;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return n;
}

static uint64_t demand_root, demand_from;
static unsigned int demand_faults;

static bool demand_map(struct trap_frame *f, uint64_t cr2)
{
	if (f->err & PF_P || cr2 < T_BASE || cr2 >= T_BASE + 64 * MIB2)
		return false;
	demand_faults++;
	space_map(demand_root, cr2 & -PAGE, demand_from + (cr2 & (MIB2 - 1) & -PAGE),
		  PTE_P | PTE_W);
	return true;
}

static void restart(void)
{
	uint64_t root = space_new(), block = block_alloc();
	struct fault f;

	REQUIRE(block, "no block");
	demand_root = root;
	demand_from = block;
	demand_faults = 0;
	memset(at(block), 0, 16 * PAGE);
	for (uint64_t i = 0; i < 3 * PAGE / 8; i++)
		at(block)[i] = i * 0x0101010101;
	space_enter(root);
	pf_hook = demand_map;
	f = attempt(copy_string, T_BASE + 8 * PAGE + 123, T_BASE);
	pf_hook = NULL;
	CHECK(f.vec == NO_FAULT && f.value == 0, "rep movsb: %s", fault_text(&f));
	CHECK(demand_faults == 7, "%u faults for 7 pages", demand_faults);
	CHECK(memcmp(at(block), (uint8_t *)block + 8 * PAGE + 123, 3 * PAGE) == 0, "copy differs");
	space_leave();
}
BARETEST(access_restart, "access/restart", restart);
