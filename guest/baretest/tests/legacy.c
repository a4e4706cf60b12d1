/* Excursions out of 4-level paging: paging off and on, 32-bit paging with 4 KiB and 4 MiB pages,
 * PAE, and 5 levels. SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"
#include "script.h"

#define CR0_PLAIN 0x11u	      /* ET PE */
#define CR0_PAGED 0x80010011u /* PG WP ET PE */

#define HOME_AFTER (uint64_t) home_pml4, HOME_CR4

static bool no_fault(const struct step *s)
{
	return s->vec == NO_FAULT;
}

static bool faulted(const struct step *s, uint32_t err)
{
	return s->vec == 14 && s->err == err && s->cr2 == s->va;
}

#define STEP_TEXT	 "step %u: vector %u error 0x%x cr2 0x%x got 0x%x"
#define STEP_ARGS(st, i) (i), (st)[i].vec, (st)[i].err, (st)[i].cr2, (st)[i].got

static void paging_off(void)
{
	uint64_t p = page_tagged(0x55);

	for (unsigned int r = 0; r < rounds(30); r++) {
		struct step st[] = {{.what = STEP_READ, .va = (uint32_t)p},
				    {.what = STEP_WRITE, .va = (uint32_t)p + 8, .value = r},
				    {.what = STEP_READ, .va = (uint32_t)p + 8},
				    {.what = STEP_END}};
		struct script s = {.cr0 = CR0_PLAIN, .steps = st};

		script_run(&s, HOME_AFTER);
		CHECK(no_fault(&st[0]) && st[0].got == 0x55, STEP_TEXT, STEP_ARGS(st, 0));
		CHECK(no_fault(&st[2]) && st[2].got == r, STEP_TEXT, STEP_ARGS(st, 2));
		CHECK((uint32_t)at(p)[1] == r, "write without paging lost: 0x%lx", at(p)[1]);
	}
}
BARETEST(legacy_off, "legacy/paging-off", paging_off);

/* Tables are edited while paging is off; what counts is what is there when it goes on. */
static void edit_while_off(void)
{
	uint64_t root = space_new(), a = page_tagged(1), b = page_tagged(2);
	uint64_t pte;

	space_map(root, T_BASE, a, PTE_P);
	pte = (uint64_t)space_entry(root, T_BASE, 0);
	space_enter(root);
	for (unsigned int r = 0; r < rounds(30); r++) {
		struct step st[] = {{.what = STEP_WRITE,
				     .va = (uint32_t)pte,
				     .value = (uint32_t)(r & 1 ? a : b) | 1},
				    {.what = STEP_END}};
		struct script s = {.cr0 = CR0_PLAIN, .steps = st};

		CHECK(peek(T_BASE) == (r & 1) + 1, "round %u reads %lu", r, peek(T_BASE));
		script_run(&s, root, HOME_CR4);
	}
	space_leave();
}
BARETEST(legacy_edit, "legacy/edit-while-off", edit_while_off);

/* With paging off CR3 may hold anything, memory or not. */
static void wild_cr3(void)
{
	static const uint32_t wild[] = {0xfffff000, 0xd0000000, 0xfee00000, 0xfec00000,
					0xa0000,    0xe0000000, 0xbffff000, 0};

	for (unsigned int r = 0; r < rounds(8) + 7; r++) {
		struct step st[] = {{.what = STEP_CR3, .value = wild[r % 8]},
				    {.what = STEP_READ, .va = (uint32_t)(uint64_t)home_pml4},
				    {.what = STEP_CR4, .value = CR4_PAE},
				    {.what = STEP_CR3, .value = wild[(r + 3) % 8]},
				    {.what = STEP_READ, .va = (uint32_t)(uint64_t)home_pml4},
				    {.what = STEP_END}};
		struct script s = {.cr0 = CR0_PLAIN, .steps = st};

		script_run(&s, HOME_AFTER);
		CHECK(no_fault(&st[1]) && (st[1].got & PTE_P), STEP_TEXT, STEP_ARGS(st, 1));
		CHECK(no_fault(&st[4]) && (st[4].got & PTE_P), STEP_TEXT, STEP_ARGS(st, 4));
	}
}
BARETEST(legacy_wild, "legacy/wild-cr3", wild_cr3);

/* 32-bit paging: identity by 4 MiB pages from 0, tests at 1 GiB and above. */
static void paging_32(void)
{
	uint32_t *pd = (uint32_t *)page_alloc(), *pt = (uint32_t *)page_alloc();
	uint64_t a = page_tagged(0x11), b = page_tagged(0x22);
	uint32_t four = (uint32_t)a & -(4u << 20), in = (uint32_t)a & ((4u << 20) - 1);

	for (uint32_t i = 0; i < 64; i++)
		pd[i] = i << 22 | 0x83;
	pd[256] = (uint32_t)(uint64_t)pt | 3;
	pt[0] = (uint32_t)a | 3;
	pt[1] = (uint32_t)b | 1;
	pd[257] = four | 0x83; /* the 4 MiB around a */
	pd[258] = four | 0x81;
	{
		struct step st[] = {
			{.what = STEP_READ, .va = 0x40000000}, /* 0 */
			{.what = STEP_READ, .va = 0x40001000},
			{.what = STEP_WRITE, .va = 0x40000008, .value = 7}, /* 2 */
			{.what = STEP_WRITE, .va = 0x40001008, .value = 7},
			{.what = STEP_READ, .va = 0x40002000}, /* 4 */
			{.what = STEP_READ, .va = 0x40400000 + in},
			{.what = STEP_WRITE, .va = 0x40400010 + in, .value = 9}, /* 6 */
			{.what = STEP_WRITE, .va = 0x40800010 + in, .value = 9},
			{.what = STEP_READ, .va = 0x50000000}, /* 8 */
			{.what = STEP_WRITE,
			 .va = (uint32_t)(uint64_t)&pt[2],
			 .value = (uint32_t)b | 3},
			{.what = STEP_WRITE,
			 .va = 0x40002018,
			 .value = 5}, /* 10: no flush needed */
			{.what = STEP_WRITE,
			 .va = (uint32_t)(uint64_t)&pt[0],
			 .value = (uint32_t)b | 3},
			{.what = STEP_INVLPG, .va = 0x40000000}, /* 12 */
			{.what = STEP_READ, .va = 0x40000000},
			{.what = STEP_CR0, .value = CR0_PAGED & ~(uint32_t)CR0_WP}, /* 14 */
			{.what = STEP_WRITE, .va = 0x40001020, .value = 6},
			{.what = STEP_END},
		};
		struct script s = {CR0_PAGED, (uint32_t)(uint64_t)pd, CR4_PSE, 0, st};

		script_run(&s, HOME_AFTER);
		CHECK(no_fault(&st[0]) && st[0].got == 0x11, STEP_TEXT, STEP_ARGS(st, 0));
		CHECK(no_fault(&st[1]) && st[1].got == 0x22, STEP_TEXT, STEP_ARGS(st, 1));
		CHECK(no_fault(&st[2]), STEP_TEXT, STEP_ARGS(st, 2));
		CHECK(faulted(&st[3], PF_P | PF_W), STEP_TEXT, STEP_ARGS(st, 3));
		CHECK(faulted(&st[4], 0), STEP_TEXT, STEP_ARGS(st, 4));
		CHECK(no_fault(&st[5]) && st[5].got == 0x11, STEP_TEXT, STEP_ARGS(st, 5));
		CHECK(no_fault(&st[6]), STEP_TEXT, STEP_ARGS(st, 6));
		CHECK(faulted(&st[7], PF_P | PF_W), STEP_TEXT, STEP_ARGS(st, 7));
		CHECK(faulted(&st[8], 0), STEP_TEXT, STEP_ARGS(st, 8));
		CHECK(no_fault(&st[10]), STEP_TEXT, STEP_ARGS(st, 10));
		CHECK(no_fault(&st[13]) && st[13].got == 0x22, STEP_TEXT, STEP_ARGS(st, 13));
		CHECK(no_fault(&st[15]), STEP_TEXT, STEP_ARGS(st, 15));
	}
	CHECK((uint32_t)at(a)[1] == 7 && (uint32_t)at(a)[2] == 9, "writes: 0x%lx 0x%lx", at(a)[1],
	      at(a)[2]);
	CHECK((uint32_t)at(b)[3] == 5 && (uint32_t)at(b)[4] == 6, "writes: 0x%lx 0x%lx", at(b)[3],
	      at(b)[4]);
	CHECK((pt[1] & 0x60) == 0x60 && (pd[257] & 0x60) == 0x60 && (pd[258] & 0x60) == 0,
	      "A and D: PTE 0x%x PDE 0x%x 0x%x", pt[1], pd[257], pd[258]);
}
BARETEST(legacy_32, "legacy/32-bit", paging_32);

/* PAE: four directories; identity by 2 MiB pages from 0, tests at 1 GiB. */
static void paging_pae(void)
{
	uint64_t pdpt = page_alloc(), pd0 = page_alloc(), pd1 = page_alloc(), pt = page_alloc();
	uint64_t a = page_tagged(0x11), b = page_tagged(0x22), two = a & -MIB2;
	uint32_t in = (uint32_t)(a & (MIB2 - 1));

	*(uint8_t *)(a + 256) = 0xc3;
	for (uint64_t i = 0; i < 128; i++)
		at(pd0)[i] = i * MIB2 | 0x83;
	at(pdpt)[4] = pd0 | PTE_P; /* the PDPT needs only 32-byte alignment */
	at(pdpt)[5] = pd1 | PTE_P;
	at(pd1)[0] = pt | 3;
	at(pd1)[1] = two | 0x83;
	at(pt)[0] = a | 3;
	at(pt)[1] = b | 1;
	at(pt)[3] = a | 3 | PTE_NX;
	at(pt)[4] = b | 3 | 1ull << 51;
	{
		struct step st[] = {
			{.what = STEP_READ, .va = 0x40000000}, /* 0 */
			{.what = STEP_WRITE, .va = 0x40001000, .value = 7},
			{.what = STEP_READ, .va = 0x40002000}, /* 2 */
			{.what = STEP_FETCH, .va = 0x40000100},
			{.what = STEP_FETCH, .va = 0x40003100}, /* 4 */
			{.what = STEP_READ, .va = 0x40200000 + in},
			{.what = STEP_WRITE, .va = 0x40200008 + in, .value = 9}, /* 6 */
			{.what = STEP_READ, .va = 0x80000000},
			{.what = STEP_WRITE, .va = (uint32_t)pt, .value = (uint32_t)b | 1}, /* 8 */
			{.what = STEP_CR3, .value = (uint32_t)pdpt + 32},
			{.what = STEP_READ, .va = 0x40000000}, /* 10 */
			{.what = STEP_WRITE, .va = (uint32_t)pdpt + 40, .value = 0},
			{.what = STEP_CR3, .value = (uint32_t)pdpt + 32}, /* 12 */
			{.what = STEP_READ, .va = 0x40000000},
			{.what = STEP_END},
		};
		struct script s = {CR0_PAGED, (uint32_t)pdpt + 32, CR4_PAE, EFER_NXE, st};

		script_run(&s, HOME_AFTER);
		CHECK(no_fault(&st[0]) && st[0].got == 0x11, STEP_TEXT, STEP_ARGS(st, 0));
		CHECK(faulted(&st[1], PF_P | PF_W), STEP_TEXT, STEP_ARGS(st, 1));
		CHECK(faulted(&st[2], 0), STEP_TEXT, STEP_ARGS(st, 2));
		CHECK(no_fault(&st[3]), STEP_TEXT, STEP_ARGS(st, 3));
		CHECK(faulted(&st[4], PF_P | PF_I), STEP_TEXT, STEP_ARGS(st, 4));
		CHECK(no_fault(&st[5]) && st[5].got == 0x11, STEP_TEXT, STEP_ARGS(st, 5));
		CHECK(no_fault(&st[6]), STEP_TEXT, STEP_ARGS(st, 6));
		CHECK(faulted(&st[7], 0), STEP_TEXT, STEP_ARGS(st, 7));
		CHECK(no_fault(&st[10]) && st[10].got == 0x22, STEP_TEXT, STEP_ARGS(st, 10));
		CHECK(faulted(&st[13], 0), STEP_TEXT, STEP_ARGS(st, 13));
	}
	CHECK((uint32_t)at(a)[1] == 9, "write through 2 MiB: 0x%lx", at(a)[1]);
	CHECK((at(pd1)[1] & 0x60) == 0x60 && (at(pt)[1] & 0x60) == 0, "A and D: 0x%lx 0x%lx",
	      at(pd1)[1], at(pt)[1]);
}
BARETEST(legacy_pae, "legacy/pae", paging_pae);

/* 5 levels: entered and left with paging off. */
static void five_levels(void)
{
	uint64_t root = page_alloc(), four = page_alloc(), p = page_tagged(0x57);
	uint64_t t[4] = {page_alloc(), page_alloc(), page_alloc(), page_alloc()};
	uint64_t va = 0x00ab000000000000ull | 5 * PAGE, high = 0xff12000000000000ull;
	struct step end = {.what = STEP_END};
	struct script s = {.cr0 = CR0_PLAIN, .steps = &end};
	struct fault f;

	if (!cpu_has.la57) {
		test_skip("no 5-level paging");
		return;
	}
	at(four)[0] = home_pml4[0];
	at(root)[0] = four | 3;
	at(root)[va >> 48 & 511] = t[3] | 3;
	at(root)[high >> 48 & 511] = t[3] | 3;
	for (unsigned int l = 3; l > 0; l--)
		at(t[l])[0] = t[l - 1] | 3;
	at(t[0])[5] = p | 3;
	at(t[0])[0] = p | 1;
	script_run(&s, root, HOME_CR4 | CR4_LA57);
	CHECK(peek(va) == 0x57, "57-bit address reads 0x%lx", peek(va));
	poke(va + 8, 1);
	CHECK(peek(high) == 0x57, "high half reads 0x%lx", peek(high));
	f = try_write(high, 1);
	CHECK(is_pf(&f, PF_P | PF_W, high), "read-only: %s", fault_text(&f));
	f = try_read(va + PAGE);
	CHECK(is_pf(&f, 0, va + PAGE), "absent: %s", fault_text(&f));
	f = try_read(0x0100000000000000);
	CHECK(f.vec == 13, "non-canonical for 57 bits: %s", fault_text(&f));
	at(root)[va >> 48 & 511] = 0;
	flush();
	f = try_read(va);
	CHECK(is_pf(&f, 0, va), "root entry gone: %s", fault_text(&f));
	script_run(&s, HOME_AFTER);
	CHECK(at(p)[1] == 1, "write lost");
	f = try_read(va);
	CHECK(f.vec == 13, "57-bit address with 4 levels: %s", fault_text(&f));
}
BARETEST(legacy_la57, "legacy/five-levels", five_levels);
