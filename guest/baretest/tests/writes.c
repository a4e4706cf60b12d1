/* Every kind of instruction that may write a page-table entry, and code that changes what it is
 * itself running from. SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

typedef void write_fn(uint64_t entry, uint64_t old, uint64_t new);

static void by_cmpxchg(uint64_t e, uint64_t old, uint64_t new)
{
	(void)old;
	for (uint64_t was = peek(e); !__atomic_compare_exchange_n(
		     at(e), &was, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);)
		;
}

static void by_xchg(uint64_t e, uint64_t old, uint64_t new)
{
	(void)old;
	__atomic_exchange_n(at(e), new, __ATOMIC_SEQ_CST);
}

static void by_lock_xor(uint64_t e, uint64_t old, uint64_t new)
{
	__asm__ volatile("lock xorq %1, (%0)"
			 :
			 : "r"(e), "r"((old ^ new) & ~(PTE_A | PTE_D))
			 : "memory");
}

static void by_xadd(uint64_t e, uint64_t old, uint64_t new)
{
	__asm__ volatile("lock xaddq %1, (%0)" : : "r"(e), "r"(new - old) : "memory");
}

static void by_add(uint64_t e, uint64_t old, uint64_t new)
{
	__asm__ volatile("addq %1, (%0)" : : "r"(e), "r"(new - old) : "memory");
}

static void by_bytes(uint64_t e, uint64_t old, uint64_t new)
{
	(void)old;
	for (unsigned int i = 0; i < 8; i++)
		((volatile uint8_t *)e)[i] = (uint8_t)(new >> 8 * i);
}

static void by_words(uint64_t e, uint64_t old, uint64_t new)
{
	(void)old;
	for (unsigned int i = 0; i < 4; i++)
		((volatile uint16_t *)e)[i] = (uint16_t)(new >> 16 * i);
}

static void by_halves(uint64_t e, uint64_t old, uint64_t new)
{
	(void)old;
	((volatile uint32_t *)e)[1] = (uint32_t)(new >> 32);
	((volatile uint32_t *)e)[0] = (uint32_t) new;
}

static void by_movnti(uint64_t e, uint64_t old, uint64_t new)
{
	(void)old;
	__asm__ volatile("movnti %1, (%0); sfence" : : "r"(e), "r"(new) : "memory");
}

static void by_stos(uint64_t e, uint64_t old, uint64_t new)
{
	uint64_t n = 1;

	(void)old;
	__asm__ volatile("rep stosq" : "+D"(e), "+c"(n) : "a"(new) : "memory");
}

static void by_movs(uint64_t e, uint64_t old, uint64_t new)
{
	uint64_t n = 8, from = (uint64_t) & new;

	(void)old;
	__asm__ volatile("rep movsb" : "+D"(e), "+S"(from), "+c"(n) : : "memory");
}

static void by_push(uint64_t e, uint64_t old, uint64_t new)
{
	(void)old;
	__asm__ volatile("mov %%rsp, %%rcx; lea 8(%0), %%rsp; push %1; mov %%rcx, %%rsp"
			 :
			 : "r"(e), "r"(new)
			 : "rcx", "memory");
}

static void by_cmpxchg16b(uint64_t e, uint64_t old, uint64_t new)
{
	uint64_t pair = e & ~15ull, lo = peek(pair), hi = peek(pair + 8);
	uint8_t done;

	(void)old;
	do {
		uint64_t nlo = e & 8 ? lo : new, nhi = e & 8 ? new : hi;

		__asm__ volatile("lock cmpxchg16b (%3); setz %0"
				 : "=q"(done), "+a"(lo), "+d"(hi)
				 : "r"(pair), "b"(nlo), "c"(nhi)
				 : "memory", "cc");
	} while (!done);
}

static const struct {
	const char *name;
	write_fn *fn;
} kinds[] = {
	{"cmpxchg", by_cmpxchg},
	{"xchg", by_xchg},
	{"lock xor", by_lock_xor},
	{"xadd", by_xadd},
	{"add", by_add},
	{"bytes", by_bytes},
	{"words", by_words},
	{"halves", by_halves},
	{"movnti", by_movnti},
	{"rep stos", by_stos},
	{"rep movs", by_movs},
	{"push", by_push},
	{"cmpxchg16b", by_cmpxchg16b},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* At the leaf, and at the directory (two leaf tables to choose from). */
static void instructions(void)
{
	uint64_t root = space_new(), a = page_tagged(1), b = page_tagged(2), pt2;

	space_map(root, T_BASE, a, PTE_P | PTE_W);
	space_map(root, T_BASE + MIB2, b, PTE_P | PTE_W);
	pt2 = *space_entry(root, T_BASE + MIB2, 1);
	space_enter(root);
	for (unsigned int r = 0; r < rounds(6) * KINDS * 2; r++) {
		unsigned int k = r / 2 % KINDS, level = r & 1;
		pte_t *e = space_entry(root, T_BASE, level);
		uint64_t was = *e, new = level ? pt2 : b | PTE_P | PTE_W;

		CHECK(peek(T_BASE) == 1, "before %s: %lu", kinds[k].name, peek(T_BASE));
		was = *e;
		kinds[k].fn((uint64_t)e, was, new);
		CHECK(((*e ^ new) & ~(PTE_A | PTE_D)) == 0, "%s wrote 0x%lx, not 0x%lx",
		      kinds[k].name, *e, new);
		invlpg(T_BASE);
		CHECK(peek(T_BASE) == 2, "after %s at level %u: %lu", kinds[k].name, level,
		      peek(T_BASE));
		kinds[k].fn((uint64_t)e, *e, was);
		invlpg(T_BASE);
	}
	space_leave();
}
BARETEST(writes_instructions, "tables/instructions", instructions);

/* A whole table cleared by rep stos, filled by rep movs from a prepared page. */
static void strings(void)
{
	uint64_t root = space_new(), from = page_alloc(), p[4], pt;

	for (unsigned int i = 0; i < 4; i++)
		p[i] = page_tagged(i);
	space_entry(root, T_BASE, 0);
	pt = *space_entry(root, T_BASE, 1) & PTE_ADDR;
	space_enter(root);
	for (unsigned int r = 0; r < rounds(20); r++) {
		for (unsigned int i = 0; i < 512; i++)
			at(from)[i] = p[(i + r) % 4] | PTE_P;
		memcpy(at(pt), at(from), PAGE);
		flush();
		for (unsigned int i = r % 16; i < 512; i += 16)
			CHECK(peek(T_BASE + i * PAGE) == (i + r) % 4, "page %u reads %lu", i,
			      peek(T_BASE + i * PAGE));
		memset(at(pt), 0, PAGE);
		flush();
		CHECK(try_read(T_BASE + r * PAGE).vec == 14, "cleared table still maps");
	}
	space_leave();
}
BARETEST(writes_strings, "tables/strings", strings);

/* The code's own page is replaced under it: after the flush the next instruction is the new page's.
 */
static void running_page(void)
{
	static const uint8_t code[] = {
		0x48, 0x89, 0x37,	      /* mov %rsi, (%rdi) */
		0x48, 0x85, 0xc9,	      /* test %rcx, %rcx */
		0x74, 0x05,		      /* jz 1f */
		0x0f, 0x22, 0xd9,	      /* mov %rcx, %cr3 */
		0xeb, 0x03,		      /* jmp 2f */
		0x0f, 0x01, 0x3a,	      /* 1: invlpg (%rdx) */
		0xb8, 0x01, 0x00, 0x00, 0x00, /* 2: mov $1, %eax */
		0xc3,			      /* ret */
	};
	uint64_t root = space_new(), p[2] = {page_alloc(), page_alloc()};
	uint64_t (*fn)(pte_t *, uint64_t, uint64_t, uint64_t);

	for (unsigned int i = 0; i < 2; i++) {
		memcpy(at(p[i]), code, sizeof(code));
		((uint8_t *)p[i])[17] = (uint8_t)(i + 1);
	}
	fn = (void *)T_BASE;
	space_map(root, T_BASE, p[0], PTE_P);
	space_enter(root);
	for (unsigned int r = 0; r < rounds(100); r++) {
		unsigned int next = !(r & 1);
		uint64_t got =
			fn(space_entry(root, T_BASE, 0), p[next] | PTE_P, T_BASE, r & 2 ? root : 0);

		CHECK(got == next + 1, "round %u: ran page %lu, not %u", r, got, next + 1);
	}
	space_leave();
}
BARETEST(writes_running, "tables/running-page", running_page);

/* Code written through one mapping and run through another, also where the writer's is a 2 MiB
 * page. */
static void new_code(void)
{
	uint64_t root = space_new(), p = page_alloc();

	space_map(root, T_BASE, p, PTE_P);
	space_map(root, T_BASE + GIB, p, PTE_P | PTE_W | PTE_NX);
	space_enter(root);
	for (unsigned int r = 0; r < rounds(100); r++) {
		volatile uint8_t *w = (volatile uint8_t *)(r & 1 ? T_BASE + GIB : p);

		w[0] = 0xb8; /* mov $r, %eax; ret */
		for (unsigned int i = 0; i < 4; i++)
			w[1 + i] = (uint8_t)(r >> 8 * i);
		w[5] = 0xc3;
		cpuid(0, 0);
		CHECK(((uint32_t(*)(void))T_BASE)() == r, "round %u runs old code", r);
	}
	space_leave();
}
BARETEST(writes_code, "tables/new-code", new_code);
