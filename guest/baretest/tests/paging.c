/* Paging basics: every page size, both halves of the address space, bits that must not matter.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

static void pages_4k(void)
{
	uint64_t root = space_new();
	uint64_t vas[] = {T_BASE, T_BASE + PAGE,      T_BASE + MIB2 - PAGE, T_BASE + 5 * GIB,
			  T_HIGH, T_HIGH + 511 * GIB, 0x7ffffffff000,	    0xfffffffffffff000};

	for (unsigned int i = 0; i < 8; i++)
		space_map(root, vas[i], page_tagged(100 + i), PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int i = 0; i < 8; i++) {
		uint64_t got = peek(vas[i] + 8 * i);

		CHECK(got == 100 + i, "0x%lx read %lu, not %u", vas[i], got, 100 + i);
		poke(vas[i] + 4088, 200 + i);
	}
	space_leave();
	for (unsigned int i = 0; i < 8; i++) {
		uint64_t pte = *space_entry(root, vas[i], 0);

		CHECK(at(pte & PTE_ADDR)[511] == 200 + i, "write to 0x%lx went elsewhere", vas[i]);
		CHECK((pte & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "PTE 0x%lx lacks A or D", pte);
	}
}
BARETEST(paging_4k, "paging/4k", pages_4k);

static void pages_2m(void)
{
	uint64_t root = space_new(), block = block_alloc();

	REQUIRE(block, "no block");
	for (uint64_t o = 0; o < MIB2; o += PAGE)
		*at(block + o) = o;
	space_map_2m(root, T_BASE + 3 * MIB2, block, PTE_P | PTE_W);
	space_map_2m(root, T_HIGH, block | PTE_PAT_LARGE, PTE_P | PTE_W);
	space_enter(root);
	for (uint64_t o = 0; o < MIB2; o += 37 * PAGE) {
		CHECK(peek(T_BASE + 3 * MIB2 + o) == o, "offset 0x%lx reads 0x%lx", o,
		      peek(T_BASE + 3 * MIB2 + o));
		poke(T_HIGH + o + 8, ~o);
	}
	space_leave();
	for (uint64_t o = 0; o < MIB2; o += 37 * PAGE)
		CHECK(at(block + o)[1] == ~o, "write at offset 0x%lx lost", o);
	CHECK((*space_entry(root, T_HIGH, 1) & (PTE_A | PTE_D)) == (PTE_A | PTE_D),
	      "no A, D in PDE");
	CHECK((*space_entry(root, T_BASE + 3 * MIB2, 1) & (PTE_A | PTE_D)) == PTE_A,
	      "D after reads");
}
BARETEST(paging_2m, "paging/2m", pages_2m);

static void pages_1g(void)
{
	uint64_t root = space_new(), p = page_tagged(77);

	if (!cpu_has.gib) {
		test_skip("no 1 GiB pages");
		return;
	}
	*space_entry(root, T_BASE, 2) = PTE_P | PTE_W | PTE_PS;
	*space_entry(root, T_BASE + 511 * GIB, 2) = PTE_P | PTE_PS;
	space_enter(root);
	CHECK(peek(T_BASE + p) == 77, "reads %lu", peek(T_BASE + p));
	poke(T_BASE + p + 16, 78);
	CHECK(peek(T_BASE + 511 * GIB + p + 16) == 78, "second 1 GiB page differs");
	for (uint64_t a = 0x100000; a < (uint64_t)text_end; a += PAGE)
		CHECK(peek(T_BASE + a) == peek(a), "differs at 0x%lx", a);
	space_leave();
	CHECK(at(p)[2] == 78, "write lost");
	CHECK(*space_entry(root, T_BASE, 2) == (PTE_P | PTE_W | PTE_PS | PTE_A | PTE_D),
	      "PDPTE 0x%lx", *space_entry(root, T_BASE, 2));
	CHECK(*space_entry(root, T_BASE + 511 * GIB, 2) == (PTE_P | PTE_PS | PTE_A), "PDPTE 0x%lx",
	      *space_entry(root, T_BASE + 511 * GIB, 2));
}
BARETEST(paging_1g, "paging/1g", pages_1g);

/* Bits that software may use, and cache attributes, change nothing in what is mapped. */
static void ignored_bits(void)
{
	static const uint64_t free_bits[] = {1ull << 9,	 1ull << 10,	   1ull << 11,
					     1ull << 52, 0x7full << 52,	   PTE_PWT,
					     PTE_PCD,	 PTE_PWT | PTE_PCD};
	uint64_t root = space_new(), p = page_tagged(5);

	space_map(root, T_BASE, p, PTE_P | PTE_W | PTE_PAT);
	space_enter(root);
	for (unsigned int i = 0; i < 8 * 4; i++) {
		unsigned int level = i % 4;
		pte_t *e = space_entry(root, T_BASE, level);
		uint64_t was = *e;

		*e = was | free_bits[i / 4];
		flush();
		CHECK(peek(T_BASE) == 5, "level %u bits 0x%lx: reads %lu", level, free_bits[i / 4],
		      peek(T_BASE));
		CHECK((*e & ~(PTE_A | PTE_D)) == ((was | free_bits[i / 4]) & ~(PTE_A | PTE_D)),
		      "level %u: entry changed to 0x%lx", level, *e);
		*e = was;
	}
	/* G is ignored in an upper entry (in the root's AMD's manual reserves it). */
	*space_entry(root, T_BASE, 1) |= PTE_G;
	*space_entry(root, T_BASE, 2) |= PTE_G;
	flush();
	CHECK(peek(T_BASE) == 5, "G in upper entries matters");
	space_leave();
}
BARETEST(paging_ignored, "paging/ignored-bits", ignored_bits);

static void non_canonical(void)
{
	static const uint64_t bad[] = {0x800000000000, 0xffff7fffffffffff, 0x8000000000000000,
				       0x1000000000000, 0xdead000000000000};

	for (unsigned int i = 0; i < 5; i++) {
		struct fault f = try_read(bad[i]);

		CHECK(f.vec == 13 && f.err == 0, "0x%lx: %s", bad[i], fault_text(&f));
		f = try_write(bad[i], 1);
		CHECK(f.vec == 13 && f.err == 0, "0x%lx: %s", bad[i], fault_text(&f));
		invlpg(bad[i]);
	}
}
BARETEST(paging_canonical, "paging/non-canonical", non_canonical);

/* Accesses over the border of two pages that lie apart, and where one of them is missing. */
static void straddle(void)
{
	uint64_t root = space_new(), a = page_tagged(0x1111111111111111), b;
	struct fault f;

	page_alloc();
	b = page_tagged(0x2222222222222222);
	space_map(root, T_BASE, a, PTE_P | PTE_W);
	space_map(root, T_BASE + PAGE, b, PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int n = 1; n < 8; n++) {
		uint64_t want =
			0x2222222222222222ull << (8 * n) | 0x1111111111111111ull >> (64 - 8 * n);

		CHECK(peek(T_BASE + PAGE - n) == want, "straddling read at -%u: 0x%lx", n,
		      peek(T_BASE + PAGE - n));
	}
	poke(T_BASE + PAGE - 3, 0x8877665544332211);
	CHECK(at(a)[511] == 0x3322111111111111 && at(b)[0] == 0x2222228877665544,
	      "straddling write: 0x%lx 0x%lx", at(a)[511], at(b)[0]);
	/* The second page is missing: CR2 is its first byte, and nothing is written. */
	*space_entry(root, T_BASE + PAGE, 0) = 0;
	flush();
	at(a)[511] = 7;
	f = attempt(access_write8, T_BASE + PAGE - 4, ~0ull);
	CHECK(is_pf(&f, PF_W, T_BASE + PAGE), "second page missing: %s", fault_text(&f));
	CHECK(at(a)[511] == 7, "half a write happened");
	*space_entry(root, T_BASE + PAGE, 0) = b | PTE_P;
	f = attempt(access_write8, T_BASE + PAGE - 4, ~0ull);
	CHECK(is_pf(&f, PF_W | PF_P, T_BASE + PAGE), "second page read-only: %s", fault_text(&f));
	CHECK(at(a)[511] == 7, "half a write happened");
	*space_entry(root, T_BASE, 0) = 0;
	flush();
	f = attempt(access_write8, T_BASE + PAGE - 4, ~0ull);
	CHECK(is_pf(&f, PF_W, T_BASE + PAGE - 4) || is_pf(&f, PF_W | PF_P, T_BASE + PAGE),
	      "first page missing: %s", fault_text(&f));
	space_leave();
}
BARETEST(paging_straddle, "paging/straddle", straddle);

/* Many pages, swept, unmapped, mapped otherwise round. */
static void many(void)
{
	uint64_t root = space_new();
	unsigned int n = rounds(2000);
	uint64_t *pa = at(block_alloc());

	REQUIRE(pa && n < MIB2 / 8, "too many");
	for (unsigned int i = 0; i < n; i++)
		space_map(root, T_BASE + i * PAGE, pa[i] = page_tagged(i), PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int i = 0; i < n; i++)
		CHECK(peek(T_BASE + i * PAGE + 8) == i, "page %u reads %lu", i,
		      peek(T_BASE + i * PAGE + 8));
	for (unsigned int i = 0; i < n; i++)
		*space_entry(root, T_BASE + i * PAGE, 0) = pa[n - 1 - i] | PTE_P;
	flush();
	for (unsigned int i = 0; i < n; i++)
		CHECK(peek(T_BASE + i * PAGE) == n - 1 - i, "turned page %u reads %lu", i,
		      peek(T_BASE + i * PAGE));
	for (unsigned int i = 0; i < n; i++)
		*space_entry(root, T_BASE + i * PAGE, 0) = 0;
	flush();
	for (unsigned int i = 0; i < n; i += 13) {
		struct fault f = try_read(T_BASE + i * PAGE);

		CHECK(is_pf(&f, 0, T_BASE + i * PAGE), "unmapped page %u: %s", i, fault_text(&f));
	}
	space_leave();
}
BARETEST(paging_many, "paging/many", many);
