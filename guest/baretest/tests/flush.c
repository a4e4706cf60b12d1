/* What must be seen after each kind of flush, and what must be seen without one.
 * SDM vol. 3, 4.10.4; APM vol. 2, 5.5.2. Stale translations are allowed until a flush, so nothing
 * here asks for one to be there. SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

static void by_invlpg(void)
{
	uint64_t root = space_new(), a = page_tagged(1), b = page_tagged(2);

	space_map(root, T_BASE, a, PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int i = 0; i < rounds(300); i++) {
		CHECK(peek(T_BASE) == (i & 1) + 1, "round %u reads %lu", i, peek(T_BASE));
		*space_entry(root, T_BASE, 0) = (i & 1 ? a : b) | PTE_P | PTE_W;
		invlpg(T_BASE + i % PAGE);
	}
	space_leave();
}
BARETEST(flush_invlpg, "flush/invlpg", by_invlpg);

static void by_cr3(void)
{
	enum { N = 64 };
	uint64_t root = space_new(), p[N];

	for (unsigned int i = 0; i < N; i++)
		space_map(root, T_BASE + i * PAGE, p[i] = page_tagged(i), PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int r = 0; r < rounds(40); r++) {
		for (unsigned int i = 0; i < N; i++)
			CHECK(peek(T_BASE + i * PAGE) == (i + r) % N, "round %u page %u reads %lu",
			      r, i, peek(T_BASE + i * PAGE));
		for (unsigned int i = 0; i < N; i++)
			*space_entry(root, T_BASE + i * PAGE, 0) = p[(i + r + 1) % N] | PTE_P;
		flush();
	}
	space_leave();
}
BARETEST(flush_cr3, "flush/cr3", by_cr3);

/* Global pages: a CR3 write may keep them, INVLPG and a change of CR4.PGE may not. */
static void global(void)
{
	uint64_t root = space_new(), a = page_tagged(1), b = page_tagged(2), v;

	space_map(root, T_BASE, a, PTE_P | PTE_G);
	space_enter(root);
	for (unsigned int i = 0; i < rounds(50); i++) {
		CHECK(peek(T_BASE) == 1, "old page expected, %lu", peek(T_BASE));
		*space_entry(root, T_BASE, 0) = b | PTE_P | PTE_G;
		flush();
		v = peek(T_BASE);
		CHECK(v == 1 || v == 2, "neither page: %lu", v);
		if (i & 1)
			invlpg(T_BASE);
		else
			flush_all();
		CHECK(peek(T_BASE) == 2, "old page after the flush of globals (%u)", i);
		*space_entry(root, T_BASE, 0) = a | PTE_P | PTE_G;
		write_cr4(HOME_CR4 & ~CR4_PGE);
		CHECK(peek(T_BASE) == 1, "old page after PGE=0");
		write_cr4(HOME_CR4);
	}
	space_leave();
}
BARETEST(flush_global, "flush/global", global);

/* Without PGE a CR3 write takes everything, G or not. */
static void global_off(void)
{
	uint64_t root = space_new(), a = page_tagged(1), b = page_tagged(2);

	space_map(root, T_BASE, a, PTE_P | PTE_G);
	write_cr4(HOME_CR4 & ~CR4_PGE);
	space_enter(root);
	for (unsigned int i = 0; i < rounds(20); i++) {
		CHECK(peek(T_BASE) == (i & 1) + 1, "reads %lu", peek(T_BASE));
		*space_entry(root, T_BASE, 0) = (i & 1 ? a : b) | PTE_P | PTE_G;
		flush();
	}
	space_leave();
}
BARETEST(flush_global_off, "flush/global-off", global_off);

/* Not present is never cached: mapping needs no flush, at any level. */
static void map_without(void)
{
	uint64_t root = space_new(), p = page_tagged(9);
	pte_t *e[4];

	for (unsigned int l = 0; l < 4; l++)
		e[l] = space_entry(root, T_BASE, l);
	*e[0] = p | PTE_P;
	space_enter(root);
	for (unsigned int i = 0; i < rounds(100) * 4; i++) {
		unsigned int l = i & 3;
		uint64_t was = *e[l];
		struct fault f;

		*e[l] = was & ~PTE_P;
		invlpg(T_BASE);
		f = try_read(T_BASE + i);
		CHECK(is_pf(&f, 0, T_BASE + i), "level %u absent: %s", l, fault_text(&f));
		*e[l] = was;
		f = try_read(T_BASE + i);
		CHECK(f.vec == NO_FAULT, "level %u back: %s", l, fault_text(&f));
	}
	space_leave();
}
BARETEST(flush_map, "flush/map-needs-none", map_without);

/* More rights need no flush: one spurious fault at most, then the access works. */
static void raise_without(void)
{
	uint64_t root = space_new(), p = page_alloc();
	struct cpu *c = this_cpu();

	*(uint16_t *)p = 0x80cd;
	space_map(root, T_BASE, p, PTE_P);
	space_map_user_code(root);
	space_enter(root);
	for (unsigned int i = 0; i < rounds(50) * 6; i++) {
		unsigned int l = i / 3 & 1;
		static const uint64_t bit[] = {PTE_W, PTE_U, PTE_NX};
		pte_t *e = space_entry(root, T_BASE, l);
		uint64_t more = PTE_P | PTE_W | PTE_U, b = bit[i % 3];
		struct fault f;

		*space_entry(root, T_BASE, 0) = p | more;
		*e = ((*e & PTE_ADDR) | more) ^ b;
		invlpg(T_BASE);
		f = i % 3 == 0	 ? try_write(T_BASE + 64, 1)
		    : i % 3 == 1 ? try_user(USER_READ, T_BASE, 0)
				 : try_fetch(T_BASE);
		CHECK(f.vec == 14, "refused access %u at level %u: %s", i % 3, l, fault_text(&f));
		*e ^= b;
		c->retries = 1;
		f = i % 3 == 0	 ? try_write(T_BASE + 64, 1)
		    : i % 3 == 1 ? try_user(USER_READ, T_BASE, 0)
				 : try_fetch(T_BASE);
		c->retries = 0;
		CHECK(f.vec == NO_FAULT, "raised right %u at level %u: %s", i % 3, l,
		      fault_text(&f));
	}
	space_leave();
}
BARETEST(flush_raise, "flush/raise-needs-none", raise_without);

/* Fewer rights hold after INVLPG. */
static void lower(void)
{
	uint64_t root = space_new(), p = page_alloc();

	*(uint16_t *)p = 0x80cd;
	space_map(root, T_BASE, p, PTE_P | PTE_W);
	space_map_user_code(root);
	space_enter(root);
	for (unsigned int i = 0; i < rounds(60) * 4; i++) {
		pte_t *e = space_entry(root, T_BASE, i & 3);
		uint64_t was;
		struct fault f;

		*space_entry(root, T_BASE, 0) = p | PTE_P | PTE_W | PTE_U;
		invlpg(T_BASE);
		f = try_user(USER_OR, T_BASE + 8, 0);
		CHECK(f.vec == NO_FAULT, "full rights: %s", fault_text(&f));
		was = *e;
		*e = was & ~PTE_W;
		invlpg(T_BASE);
		f = try_user(USER_OR, T_BASE + 8, 0);
		CHECK(is_pf(&f, PF_P | PF_W | PF_U, T_BASE + 8), "no W at %u: %s", i & 3,
		      fault_text(&f));
		*e = was & ~PTE_U;
		invlpg(T_BASE);
		f = try_user(USER_READ, T_BASE + 8, 0);
		CHECK(is_pf(&f, PF_P | PF_U, T_BASE + 8), "no U at %u: %s", i & 3, fault_text(&f));
		*e = was | PTE_NX;
		invlpg(T_BASE);
		f = try_user(USER_FETCH, T_BASE, 0);
		CHECK(is_pf(&f, PF_P | PF_U | PF_I, T_BASE), "NX at %u: %s", i & 3, fault_text(&f));
		*e = was;
	}
	space_leave();
}
BARETEST(flush_lower, "flush/lower", lower);

/* A and D, cleared and flushed, are set again by the next access, at every level; reads set no D.
 */
static void accessed_dirty(void)
{
	uint64_t root = space_new(), p = page_tagged(4);
	pte_t *e[4];

	space_map(root, T_BASE, p, PTE_P | PTE_W);
	for (unsigned int l = 0; l < 4; l++)
		e[l] = space_entry(root, T_BASE, l);
	space_enter(root);
	for (unsigned int i = 0; i < rounds(200); i++) {
		bool write = i & 1;

		for (unsigned int l = 0; l < 4; l++)
			*e[l] &= ~(PTE_A | PTE_D);
		if (i & 2)
			flush();
		else
			invlpg(T_BASE);
		if (write)
			poke(T_BASE + 8, i);
		else
			(void)peek(T_BASE + 8);
		for (unsigned int l = 0; l < 4; l++)
			CHECK(*e[l] & PTE_A, "round %u: no A at level %u", i, l);
		CHECK(!!(*e[0] & PTE_D) == write, "round %u: PTE 0x%lx after a %s", i, *e[0],
		      write ? "write" : "read");
	}
	space_leave();
}
BARETEST(flush_ad, "flush/accessed-dirty", accessed_dirty);

/* D set by a write after reads made the page known, without any flush between. */
static void dirty_late(void)
{
	enum { N = 64 };
	uint64_t root = space_new();

	for (unsigned int i = 0; i < N; i++)
		space_map(root, T_BASE + i * PAGE, page_tagged(i), PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int i = 0; i < N; i++)
		(void)peek(T_BASE + i * PAGE);
	for (unsigned int i = 0; i < N; i++)
		CHECK(!(*space_entry(root, T_BASE + i * PAGE, 0) & PTE_D),
		      "page %u: D after a read", i);
	for (unsigned int i = 0; i < N; i += 2)
		poke(T_BASE + i * PAGE, 1);
	for (unsigned int i = 0; i < N; i++)
		CHECK(!!(*space_entry(root, T_BASE + i * PAGE, 0) & PTE_D) == !(i & 1),
		      "page %u: PTE 0x%lx", i, *space_entry(root, T_BASE + i * PAGE, 0));
	space_leave();
}
BARETEST(flush_dirty_late, "flush/dirty-late", dirty_late);

/* PCIDs: translations of one are not used for another; bit 63 may keep, its absence may not. */
static void pcids(void)
{
	uint64_t r1 = space_new(), r2 = space_new(), a = page_tagged(1), b = page_tagged(2), v;

	if (!cpu_has.pcid) {
		test_skip("no PCID");
		return;
	}
	space_map(r1, T_BASE, a, PTE_P);
	space_map(r2, T_BASE, b, PTE_P);
	write_cr4(HOME_CR4 | CR4_PCIDE);
	for (unsigned int i = 0; i < rounds(50); i++) {
		write_cr3(r1 | 1 | (i ? 1ull << 63 : 0));
		CHECK(peek(T_BASE) == 1, "PCID 1 reads %lu", peek(T_BASE));
		write_cr3(r2 | 2 | (i ? 1ull << 63 : 0));
		CHECK(peek(T_BASE) == 2, "PCID 2 reads %lu", peek(T_BASE));
	}
	write_cr3(r1 | 1 | 1ull << 63);
	*space_entry(r1, T_BASE, 0) = b | PTE_P;
	write_cr3(r2 | 2 | 1ull << 63);
	write_cr3(r1 | 1 | 1ull << 63);
	v = peek(T_BASE);
	CHECK(v == 1 || v == 2, "kept PCID reads %lu", v);
	write_cr3(r1 | 1);
	CHECK(peek(T_BASE) == 2, "flushed PCID reads %lu", peek(T_BASE));
	CHECK((read_cr3() & (1ull << 63 | 0xfff)) == 1, "CR3 reads 0x%lx", read_cr3());
	write_cr3((uint64_t)home_pml4);
	write_cr4(HOME_CR4);
}
BARETEST(flush_pcid, "flush/pcid", pcids);

static void by_invpcid(void)
{
	uint64_t root = space_new(), p[2] = {page_tagged(1), page_tagged(2)};

	if (!cpu_has.invpcid) {
		test_skip("no INVPCID");
		return;
	}
	space_enter(root);
	for (unsigned int type = 0; type < 4; type++) {
		*space_entry(root, T_BASE, 0) = p[0] | PTE_P | (type == 2 ? PTE_G : 0);
		flush_all();
		CHECK(peek(T_BASE) == 1, "type %u: first page", type);
		*space_entry(root, T_BASE, 0) = p[1] | PTE_P;
		invpcid(type, 0, type ? 0 : T_BASE);
		CHECK(peek(T_BASE) == 2, "type %u did not flush", type);
	}
	space_leave();
}
BARETEST(flush_invpcid, "flush/invpcid", by_invpcid);
