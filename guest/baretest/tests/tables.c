/* Page-table tricks: tables that are replaced, shared, split, reused, aliased, mapped into
 * themselves, and every kind of instruction that can write an entry.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

/* An entry of each upper level is pointed at another subtree and back. */
static void replace_upper(void)
{
	uint64_t root = space_new(), other = space_new();
	unsigned int n = rounds(60);

	space_map(root, T_BASE, page_tagged(1), PTE_P | PTE_W);
	space_map(other, T_BASE, page_tagged(2), PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int level = 1; level < 4; level++) {
		pte_t *e = space_entry(root, T_BASE, level);
		uint64_t mine = *e, theirs = *space_entry(other, T_BASE, level);

		for (unsigned int i = 0; i < n; i++) {
			uint64_t want = i & 1 ? 2 : 1;

			*e = i & 1 ? theirs : mine;
			if (i & 2)
				invlpg(T_BASE);
			else
				flush();
			CHECK(peek(T_BASE) == want, "level %u round %u reads %lu", level, i,
			      peek(T_BASE));
			poke(T_BASE + 8, i);
		}
		*e = mine;
		flush();
	}
	space_leave();
}
BARETEST(tables_replace, "tables/replace-upper", replace_upper);

/* A 2 MiB page becomes 512 pages of which one goes elsewhere, and comes back. */
static void split_merge(void)
{
	uint64_t root = space_new(), block = block_alloc(), pt = page_alloc(), p = page_tagged(99);
	pte_t *pde = space_entry(root, T_BASE, 1);

	REQUIRE(block, "no block");
	for (uint64_t i = 0; i < 512; i++)
		*at(block + i * PAGE) = 1000 + i;
	space_enter(root);
	for (unsigned int r = 0; r < rounds(40); r++) {
		uint64_t odd = r * 37 % 512, last = (r ? r - 1 : 0) * 37 % 512;

		*pde = block | PTE_P | PTE_W | PTE_PS;
		invlpg(T_BASE + last * PAGE); /* the only one that was different */
		for (uint64_t i = 0; i < 512; i += 31)
			CHECK(peek(T_BASE + i * PAGE) == 1000 + i, "large page, %lu reads %lu", i,
			      peek(T_BASE + i * PAGE));
		CHECK(peek(T_BASE + odd * PAGE) == 1000 + odd, "large page after merge");
		poke(T_BASE + odd * PAGE + 8, r);
		for (uint64_t i = 0; i < 512; i++)
			at(pt)[i] = (block + i * PAGE) | PTE_P | PTE_W;
		at(pt)[odd] = p | PTE_P;
		*pde = pt | PTE_P | PTE_W;
		flush();
		CHECK(peek(T_BASE + odd * PAGE) == 99, "split: page %lu reads %lu", odd,
		      peek(T_BASE + odd * PAGE));
		CHECK(peek(T_BASE + (odd + 1) % 512 * PAGE) == 1000 + (odd + 1) % 512,
		      "split: neighbour");
		CHECK(at(block + odd * PAGE)[1] == r, "write through the large page lost");
	}
	space_leave();
}
BARETEST(tables_split, "tables/split-merge", split_merge);

static void split_1g(void)
{
	uint64_t root = space_new(), p = page_tagged(7), q = page_tagged(8), pd = page_alloc();
	uint64_t pt = page_alloc();
	pte_t *e = space_entry(root, T_BASE, 2);

	if (!cpu_has.gib) {
		test_skip("no 1 GiB pages");
		return;
	}
	for (uint64_t i = 0; i < 512; i++)
		at(pd)[i] = i * MIB2 | PTE_P | PTE_W | PTE_PS;
	for (uint64_t i = 0; i < 512; i++)
		at(pt)[i] = ((p & -MIB2) + i * PAGE) | PTE_P | PTE_W;
	at(pt)[p / PAGE % 512] = q | PTE_P;
	space_enter(root);
	for (unsigned int r = 0; r < rounds(20); r++) {
		*e = PTE_P | PTE_W | PTE_PS;
		flush();
		CHECK(peek(T_BASE + p) == 7, "1 GiB reads %lu", peek(T_BASE + p));
		at(pd)[p / MIB2] = (p & -MIB2) | PTE_P | PTE_W | PTE_PS;
		*e = pd | PTE_P | PTE_W;
		flush();
		CHECK(peek(T_BASE + p) == 7, "2 MiB reads %lu", peek(T_BASE + p));
		at(pd)[p / MIB2] = pt | PTE_P | PTE_W;
		invlpg(T_BASE + p);
		CHECK(peek(T_BASE + p) == 8, "4 KiB reads %lu", peek(T_BASE + p));
		CHECK(peek(T_BASE + q) == 8, "neighbour reads %lu", peek(T_BASE + q));
	}
	space_leave();
}
BARETEST(tables_split_1g, "tables/split-1g", split_1g);

/* A page is a leaf table, then data, then a table of another level, then data again. */
static void reuse(void)
{
	uint64_t root = space_new(), t = page_alloc(), pt2 = page_alloc(), p = page_tagged(5);

	space_entry(root, T_BASE, 1);
	space_entry(root, T_BASE + GIB, 2);
	space_enter(root);
	for (unsigned int r = 0; r < rounds(60); r++) {
		pte_t *pde = space_entry(root, T_BASE, 1),
		      *pdpte = space_entry(root, T_BASE + GIB, 2);

		memset(at(t), 0, PAGE);
		at(t)[r % 512] = p | PTE_P | PTE_W;
		*pde = t | PTE_P | PTE_W;
		CHECK(peek(T_BASE + r % 512 * PAGE) == 5, "as leaf table: %lu",
		      peek(T_BASE + r % 512 * PAGE));
		*pde = 0;
		flush();
		for (unsigned int i = 0; i < 512; i++)
			at(t)[i] = 0xdead000000000000 + i;
		for (unsigned int i = 0; i < 512; i++)
			CHECK(at(t)[i] == 0xdead000000000000 + i, "as data: word %u is 0x%lx", i,
			      at(t)[i]);
		memset(at(t), 0, PAGE);
		at(pt2)[3] = p | PTE_P;
		at(t)[r % 512] = pt2 | PTE_P | PTE_W;
		*pdpte = t | PTE_P | PTE_W;
		CHECK(peek(T_BASE + GIB + r % 512 * MIB2 + 3 * PAGE) == 5, "as directory");
		*pdpte = 0;
		flush();
	}
	space_leave();
}
BARETEST(tables_reuse, "tables/reuse", reuse);

/* One leaf table under two directory entries, with different rights, and in two roots. */
static void shared(void)
{
	uint64_t root = space_new(), root2 = space_new(), a = page_tagged(1), b = page_tagged(2);
	pte_t *e = space_entry(root, T_BASE, 0);
	uint64_t pde = *space_entry(root, T_BASE, 1);

	*space_entry(root, T_BASE + 7 * MIB2, 1) = pde & ~PTE_W;
	*space_entry(root2, T_HIGH, 1) = pde;
	space_enter(root);
	for (unsigned int r = 0; r < rounds(60); r++) {
		uint64_t tag = r & 1 ? 2 : 1, pa = r & 1 ? b : a;
		struct fault f;

		*e = pa | PTE_P | PTE_W;
		invlpg(T_BASE);
		invlpg(T_BASE + 7 * MIB2);
		CHECK(peek(T_BASE) == tag && peek(T_BASE + 7 * MIB2) == tag,
		      "read %lu and %lu, not %lu", peek(T_BASE), peek(T_BASE + 7 * MIB2), tag);
		poke(T_BASE + 8, r);
		f = try_write(T_BASE + 7 * MIB2 + 8, 1);
		CHECK(is_pf(&f, PF_P | PF_W, T_BASE + 7 * MIB2 + 8), "read-only link: %s",
		      fault_text(&f));
		CHECK(peek(T_BASE + 7 * MIB2 + 8) == r, "links differ");
		space_enter(root2);
		CHECK(peek(T_HIGH) == tag, "second root reads %lu", peek(T_HIGH));
		poke(T_HIGH + 16, r);
		*e = (r & 1 ? a : b) | PTE_P;
		space_enter(root);
		CHECK(peek(T_BASE) == 3 - tag, "edit under the second root: %lu", peek(T_BASE));
	}
	space_leave();
}
BARETEST(tables_shared, "tables/shared", shared);

/* The root's entry 300 points at the root: all tables lie in one window, and are edited there. */
#define SELF 300ull
/* Where the window shows the entry that maps `va` at `level`: a trip through SELF for each level.
 */
static uint64_t self_va(uint64_t va, unsigned int level)
{
	uint64_t w = 0xffff000000000000ull | SELF << 39;

	for (unsigned int l = 1; l <= level; l++)
		w |= SELF << (39 - 9 * l);
	return w | (va & 0xffffffffffffull) >> (9 + 9 * level) >> 3 << 3;
}

static void self_map(void)
{
	uint64_t root = space_new(), a = page_tagged(1), b = page_tagged(2);

	at(root)[SELF] = root | PTE_P | PTE_W;
	space_map(root, T_BASE, a, PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int l = 0; l < 4; l++)
		CHECK((peek(self_va(T_BASE, l)) & PTE_ADDR) ==
			      (*space_entry(root, T_BASE, l) & PTE_ADDR),
		      "level %u: window shows 0x%lx", l, peek(self_va(T_BASE, l)));
	for (unsigned int r = 0; r < rounds(60); r++) {
		uint64_t va = T_BASE + (r % 16) * MIB2 + r % 512 * PAGE;

		/* Build a leaf table by the window alone. */
		if (!(peek(self_va(va, 1)) & PTE_P)) {
			poke(self_va(va, 1), page_alloc() | PTE_P | PTE_W);
			invlpg(self_va(va, 0));
		}
		poke(self_va(va, 0), (r & 1 ? b : a) | PTE_P | PTE_W);
		invlpg(va);
		CHECK(peek(va) == (r & 1) + 1, "round %u reads %lu", r, peek(va));
		poke(va + 8, r);
		CHECK(peek(self_va(va, 0)) & PTE_D, "round %u: the window shows no D", r);
		CHECK(peek(self_va(va, 0)) == *space_entry(root, va, 0),
		      "window and memory differ");
		poke(self_va(va, 0), 0);
		invlpg(va);
		CHECK(try_read(va).vec == 14, "round %u: still mapped", r);
	}
	/* Take the window away through itself. */
	poke(self_va(0, 3) + SELF * 8, 0);
	flush();
	CHECK(try_read(self_va(T_BASE, 0)).vec == 14, "the window outlives itself");
	space_leave();
}
BARETEST(tables_self_map, "tables/self-map", self_map);

/* A leaf table mapped writable at two addresses and inside a 2 MiB page, edited by each. */
static void alias(void)
{
	uint64_t root = space_new(), a = page_tagged(1), b = page_tagged(2);
	uint64_t va = T_BASE, pt, ways[4];

	space_map(root, va, a, PTE_P | PTE_W);
	pt = *space_entry(root, va, 1) & PTE_ADDR;
	space_map(root, T_BASE + GIB, pt, PTE_P | PTE_W);
	space_map(root, T_HIGH + 5 * PAGE, pt, PTE_P | PTE_W);
	space_map_2m(root, T_HIGH + GIB, pt & -MIB2, PTE_P | PTE_W);
	ways[0] = pt;
	ways[1] = T_BASE + GIB;
	ways[2] = T_HIGH + 5 * PAGE;
	ways[3] = T_HIGH + GIB + (pt & (MIB2 - 1));
	space_enter(root);
	for (unsigned int r = 0; r < rounds(100); r++) {
		uint64_t old;

		poke(ways[r % 4] + r % 512 * 8, (r & 1 ? b : a) | PTE_P | PTE_W);
		invlpg(va + r % 512 * PAGE);
		CHECK(peek(va + r % 512 * PAGE) == (r & 1) + 1, "way %u: reads %lu", r % 4,
		      peek(va + r % 512 * PAGE));
		old = peek(ways[(r + 1) % 4] + r % 512 * 8);
		CHECK(old & PTE_A, "A not seen by way %u", (r + 1) % 4);
		poke(ways[(r + 2) % 4] + r % 512 * 8, 0);
		invlpg(va + r % 512 * PAGE);
		CHECK(try_read(va + r % 512 * PAGE).vec == 14, "way %u: still there", (r + 2) % 4);
	}
	space_leave();
}
BARETEST(tables_alias, "tables/alias", alias);

/* Edits of a root that is not loaded, then a switch to it; both directions, no other flush. */
static void two_roots(void)
{
	uint64_t root[2] = {space_new(), space_new()}, p[3];
	unsigned int seen[2] = {0, 0};

	for (unsigned int i = 0; i < 3; i++)
		p[i] = page_tagged(i);
	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int j = 0; j < 8; j++)
			space_map(root[i], T_BASE + j * PAGE, p[0], PTE_P);
	for (unsigned int r = 0; r < rounds(200); r++) {
		unsigned int now = r & 1, then = !now, j = r % 8;

		space_enter(root[now]);
		CHECK(peek(T_BASE + seen[now] * PAGE) < 3, "no page");
		*space_entry(root[then], T_BASE + j * PAGE, 0) = p[r % 3] | PTE_P;
		space_enter(root[then]);
		CHECK(peek(T_BASE + j * PAGE) == r % 3, "round %u: reads %lu not %u", r,
		      peek(T_BASE + j * PAGE), r % 3);
		seen[then] = j;
	}
	space_leave();
}
BARETEST(tables_two_roots, "tables/two-roots", two_roots);

/* One unaligned write changes the last entry of one table and the first of the next. */
static void straddle_write(void)
{
	uint64_t root = space_new(), a = page_tagged(1), b = page_tagged(2), t1, t2;

	space_map(root, T_BASE + 511 * PAGE, a, PTE_P | PTE_W);
	space_map(root, T_BASE + 512 * PAGE, a, PTE_P | PTE_W);
	t1 = *space_entry(root, T_BASE, 1) & PTE_ADDR;
	t2 = *space_entry(root, T_BASE + MIB2, 1) & PTE_ADDR;
	space_map(root, T_HIGH, t1, PTE_P | PTE_W);
	space_map(root, T_HIGH + PAGE, t2, PTE_P | PTE_W);
	space_enter(root);
	for (unsigned int r = 0; r < rounds(50); r++) {
		uint64_t low = ((r & 1 ? b : a) | PTE_P | PTE_W) & 0xffffffff;
		struct fault f;

		(void)peek(T_BASE + 511 * PAGE);
		(void)peek(T_BASE + 512 * PAGE);
		/* Upper half of t1[511]: NX; lower half of t2[0]: which page. */
		poke(T_HIGH + PAGE - 4, low << 32 | (r & 1 ? 0x80000000 : 0));
		invlpg(T_BASE + 511 * PAGE);
		invlpg(T_BASE + 512 * PAGE);
		CHECK(peek(T_BASE + 512 * PAGE) == (r & 1) + 1, "second table: reads %lu",
		      peek(T_BASE + 512 * PAGE));
		CHECK((at(t1)[511] >> 63) == (r & 1), "first table: 0x%lx", at(t1)[511]);
		*(uint16_t *)a = 0x80cd;
		f = try_fetch(T_BASE + 511 * PAGE);
		*at(a) = 1;
		CHECK(r & 1 ? is_pf(&f, PF_P | PF_I, T_BASE + 511 * PAGE) : f.vec == NO_FAULT,
		      "fetch with NX=%u: %s", r & 1, fault_text(&f));
	}
	space_leave();
}
BARETEST(tables_straddle, "tables/straddling-write", straddle_write);
