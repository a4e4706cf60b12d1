/* Tables that no kernel would build: entries that point at their own table, at no memory, at
 * devices, at random pages that are tables themselves. What memory there is must stay intact and
 * the answer must be the architecture's. Memory that is not there reads as ones; plain QEMU answers
 * with zeroes, so both will do. SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

/* A sum over our own code and constants: nothing may change it. */
static uint64_t own_sum(void)
{
	uint64_t sum = 0;

	for (const uint64_t *p = (const uint64_t *)image_start; (const char *)(p + 1) <= text_end;
	     p++)
		sum = sum * 31 + *p;
	return sum;
}

/* An entry of each level points at the very table that it is in, writable. */
static void self(void)
{
	uint64_t before = own_sum(), a = page_tagged(1), b = page_tagged(2);

	for (unsigned int level = 0; level < 4; level++) {
		uint64_t root = space_new(), table, va = 0, window;
		unsigned int i = 40;

		/* The address that goes through entry i of that table for every level from there
		 * down. */
		space_map(root, T_BASE, a, PTE_P | PTE_W);
		for (unsigned int l = 3; l > level; l--)
			va |= (uint64_t)entry_index(T_BASE, l) << (12 + 9 * l);
		for (int l = (int)level; l >= 0; l--)
			va |= (uint64_t)i << (12 + 9 * l);
		window = va;
		table = (uint64_t)space_entry(root, T_BASE, level) & -PAGE;
		at(table)[i] = table | PTE_P | PTE_W;
		space_enter(root);
		for (unsigned int r = 0; r < rounds(20); r++) {
			uint64_t index = level ? 50 : entry_index(T_BASE, 0);

			CHECK((peek(window + i * 8) & PTE_ADDR) == table,
			      "level %u: own entry reads 0x%lx", level, peek(window + i * 8));
			poke(window + index * 8, (r & 1 ? b : a) | PTE_P | PTE_W);
			CHECK((at(table)[index] & PTE_ADDR) == (r & 1 ? b : a),
			      "level %u: write lost", level);
			flush();
			if (level == 0)
				CHECK(peek(T_BASE) == (r & 1) + 1, "mapped through itself: %lu",
				      peek(T_BASE));
			else
				CHECK(peek(window - i * PAGE + index * PAGE) == (r & 1) + 1,
				      "level %u: table used as leaf table: %lu", level,
				      peek(window - i * PAGE + index * PAGE));
		}
		/* The entry removes itself. */
		poke(window + i * 8, 0);
		flush();
		CHECK(try_read(window).vec == 14, "level %u: still there", level);
		space_leave();
	}
	CHECK(own_sum() == before, "our own code changed");
}
BARETEST(hostile_self, "hostile/self", self);

/* Where there is no memory, or a device, on the machines that we run on. */
static const uint64_t nowhere[] = {
	0xd0000000,	 0xe0001000,	 0xfec00000,	  0xfee00000,	0xfffff000,
	0xa0000,	 0xf8000000,	 0x3000000000,	  0x7ffffff000, 0xfffffff000,
	0x7fffffffff000, 0xfffffffff000, 0xffffffffff000,
};
#define NOWHERES (sizeof(nowhere) / sizeof(nowhere[0]))

static void tables_nowhere(void)
{
	uint64_t before = own_sum();

	for (unsigned int n = 0; n < NOWHERES * 4; n++) {
		unsigned int level = n % 4;
		uint64_t root = space_new(), where = nowhere[n / 4], p = page_tagged(6);
		bool reserved = where >> cpu_has.maxphyaddr;
		struct fault f;
		pte_t *e;
		uint64_t was;

		space_map(root, T_BASE, p, PTE_P | PTE_W);
		e = space_entry(root, T_BASE, level);
		was = *e;
		space_enter(root);
		*e = where | PTE_P | PTE_W;
		flush();
		for (unsigned int i = 0; i < 3; i++) {
			uint64_t va = T_BASE + i * 8;

			f = i == 2 && level ? try_write(va, 1) : attempt((void *)peek, va, 0);
			if (reserved)
				CHECK(is_pf(&f, PF_P | PF_RSVD | (i == 2 && level ? PF_W : 0), va),
				      "level %u 0x%lx: %s", level, where, fault_text(&f));
			else if (level)
				CHECK(f.vec == NO_FAULT || (f.vec == 14 && f.cr2 == va),
				      "level %u 0x%lx: %s", level, where, fault_text(&f));
			else if (where >= 1ull << 32 || where == 0xd0000000)
				CHECK(f.vec == NO_FAULT && (f.value == ~0ull ||
							    (f.value == 0 && !under_twofold())),
				      "page at 0x%lx: 0x%lx, %s", where, f.value, fault_text(&f));
		}
		*e = was;
		flush();
		CHECK(peek(T_BASE) == 6, "level %u 0x%lx: our page reads %lu", level, where,
		      peek(T_BASE));
		space_leave();
		pool_reset();
	}
	CHECK(own_sum() == before, "our own code changed");
}
BARETEST(hostile_nowhere, "hostile/nowhere", tables_nowhere);

/* Instructions of all kinds on a page without memory: none may do more than fault. */
static uint64_t odd_access(uint64_t va, uint64_t how)
{
	uint64_t n = 16, from = va, v = 0;

	switch (how) {
	case 0:
		__asm__ volatile("lock addq $1, (%0)" : : "r"(va) : "memory");
		break;
	case 1:
		__asm__ volatile("lock cmpxchgq %%rcx, (%0)"
				 :
				 : "r"(va), "a"(0), "c"(1)
				 : "memory");
		break;
	case 2:
		__asm__ volatile("xchgq %1, (%0)" : : "r"(va), "r"(v) : "memory");
		break;
	case 3:
		__asm__ volatile("rep stosb" : "+D"(va), "+c"(n) : "a"(1) : "memory");
		break;
	case 4:
		__asm__ volatile("rep movsq"
				 : "+S"(from), "+c"(n)
				 : "D"(user_code_page + 2048)
				 : "memory");
		break;
	case 5:
		__asm__ volatile("lock btsl $3, (%0)" : : "r"(va) : "memory", "cc");
		break;
	case 6:
		__asm__ volatile("cmpq $0, (%0)" : : "r"(va) : "memory", "cc");
		break;
	case 7:
		__asm__ volatile("push (%0); pop %%rcx" : : "r"(va) : "memory", "rcx");
		break;
	case 8:
		__asm__ volatile("mov 4093(%0), %%rcx"
				 :
				 : "r"(va)
				 : "memory", "rcx"); /* straddles */
		break;
	case 9:
		__asm__ volatile("lgdt (%0)" : : "r"(va) : "memory");
		break;
	case 10:
		__asm__ volatile("movzwl 2(%0), %%ecx; movsbq 5(%0), %%rcx"
				 :
				 : "r"(va)
				 : "memory", "rcx");
		break;
	case 11:
		__asm__ volatile("incl (%0); notl 4(%0); shll 8(%0)" : : "r"(va) : "memory", "cc");
		break;
	case 12:
		__asm__ volatile("imulq $3, (%0), %%rcx" : : "r"(va) : "memory", "rcx", "cc");
		break;
	default:
		__asm__ volatile("movnti %%rcx, (%0); clflush (%0)" : : "r"(va) : "memory");
	}
	return 0;
}

static void odd_instructions(void)
{
	uint64_t root = space_new(), before = own_sum();

	space_map(root, T_BASE, 0xd0000000, PTE_P | PTE_W | PTE_PCD);
	space_map(root, T_BASE + PAGE, 0xd0001000, PTE_P | PTE_W | PTE_PCD);
	space_enter(root);
	for (uint64_t how = 0; how < 14; how++) {
		struct fault f;

		f = attempt(odd_access, T_BASE + 256, how);
		cpu_setup(this_cpu(), 0); /* the LGDT among them */
		CHECK(f.vec == NO_FAULT || f.vec == 14 || f.vec == 13 || f.vec == 6, "kind %lu: %s",
		      how, fault_text(&f));
	}
	space_leave();
	CHECK(own_sum() == before, "our own code changed");
}
BARETEST(hostile_odd, "hostile/odd-instructions", odd_instructions);

/* A stack where no memory is: a push is lost, or ends in a fault whose own frame is lost, so that
 * the double fault's stack is what remains. */
static uint64_t push_nowhere(uint64_t va, uint64_t b)
{
	(void)b;
	__asm__ volatile("mov %%rsp, %%rcx; lea 64(%0), %%rsp; push $1; mov %%rcx, %%rsp"
			 :
			 : "r"(va)
			 : "memory", "rcx");
	return 0;
}

static void stack_nowhere(void)
{
	uint64_t root = space_new(), before = own_sum();
	struct fault f;

	space_map(root, T_BASE, 0xd0000000, PTE_P | PTE_W | PTE_PCD);
	space_enter(root);
	f = attempt(push_nowhere, T_BASE + 256, 0);
	CHECK(f.vec == NO_FAULT || f.vec == 8, "%s", fault_text(&f));
	space_leave();
	CHECK(own_sum() == before, "our own code changed");
}
BARETEST(hostile_zstack, "hostile/stack-nowhere", stack_nowhere);

/* Control registers refuse what they must. Not asked for, as TCG (7.2) allows them and then runs on
 * in no mode that there is: CR0.PG without PE, NW without CD, CR4 without PAE in long mode. */
static uint64_t set_cr3(uint64_t v, uint64_t b)
{
	(void)b;
	write_cr3(v);
	return 0;
}

static uint64_t set_cr4(uint64_t v, uint64_t b)
{
	(void)b;
	write_cr4(v);
	return 0;
}

static uint64_t set_msr(uint64_t n, uint64_t v)
{
	wrmsr((uint32_t)n, v);
	return 0;
}

/* TCG (7.2) takes bits of CR3 beyond MAXPHYADDR and reserved ones of CR4 for a failed VMRUN,
 * whether there is a hypervisor or not: natively it hangs. A hypervisor has to make #GP of that. */
static void control_registers(void)
{
	struct fault f;

	f = attempt(set_msr, MSR_EFER, HOME_EFER | 1 << 10 | 1ull << 40);
	CHECK(f.vec == 13 || f.vec == NO_FAULT, "reserved bit of EFER: %s", fault_text(&f));
	wrmsr(MSR_EFER, HOME_EFER | 1 << 10);
	if (!under_twofold()) {
		test_skip("reserved bits stop this emulator without a hypervisor");
		return;
	}
	f = attempt(set_cr4, HOME_CR4 | 1ull << 31, 0);
	CHECK(f.vec == 13 && f.err == 0, "CR4 bit 31: %s", fault_text(&f));
	if (!cpu_has.la57) {
		f = attempt(set_cr4, HOME_CR4 | CR4_LA57, 0);
		CHECK(f.vec == 13, "CR4.LA57 without LA57: %s", fault_text(&f));
	}
	CHECK(read_cr4() == HOME_CR4, "CR4 is 0x%lx", read_cr4());
	for (unsigned int bit = cpu_has.maxphyaddr; bit < 52; bit++) {
		f = attempt(set_cr3, (uint64_t)home_pml4 | 1ull << bit, 0);
		CHECK(f.vec == 13 && f.err == 0, "CR3 bit %u: %s", bit, fault_text(&f));
	}
	CHECK(read_cr3() == (uint64_t)home_pml4, "CR3 is 0x%lx", read_cr3());
}
BARETEST(hostile_cr, "hostile/control-registers", control_registers);

/* ---- junk ---- */

#define JUNK_PAGES 16
#define JUNK_WORDS 8  /* entries in use in each */
#define JUNK_SLOT  32 /* the root's first random entry */

/* PS in the root's entries is reserved; so is G by AMD's manual, but not on QEMU nor on Intel. */
#define ROOT_BITS (~(PTE_PS | PTE_G))

struct junk {
	struct rng rng;
	uint64_t root, arena;
};

/* An entry that leads into the arena, whatever level it is read at. */
static uint64_t junk_entry(struct junk *j)
{
	uint64_t r = rng_next(&j->rng), e = j->arena + rng_below(&j->rng, JUNK_PAGES) * PAGE;

	if ((r >> 40 & 7) == 0)
		e = j->arena | PTE_PS; /* 2 MiB page in a directory, PAT in a table */
	if (r >> 32 & 7)
		e |= PTE_P;
	if (r >> 35 & 3)
		e |= PTE_W;
	if (r >> 43 & 1)
		e |= PTE_U;
	e |= r & (PTE_A | PTE_D | PTE_G | PTE_PWT);
	if ((r >> 44 & 15) == 0)
		e |= PTE_NX;
	if ((r >> 48 & 31) == 0 && cpu_has.maxphyaddr < 52)
		e |= 1ull << (cpu_has.maxphyaddr + rng_below(&j->rng, 52 - cpu_has.maxphyaddr));
	return e;
}

static uint64_t junk_va(struct junk *j)
{
	uint64_t va = (uint64_t)(JUNK_SLOT + rng_below(&j->rng, JUNK_WORDS)) << 39;

	for (unsigned int l = 0; l < 3; l++)
		va |= (uint64_t)rng_below(&j->rng, JUNK_WORDS) << (12 + 9 * l);
	return va | rng_below(&j->rng, JUNK_WORDS) << 3;
}

static void junk_access(struct junk *j)
{
	static const struct state s = {.wp = true, .nxe = true};
	struct kind k = {.what = rng_below(&j->rng, 2) ? USER_WRITE : USER_READ,
			 .user = rng_below(&j->rng, 3) == 0};
	bool write = k.what == USER_WRITE;
	uint64_t va = junk_va(j), pa = 0, value = write ? junk_entry(j) : 0;
	pte_t *e[4];
	unsigned int leaf;
	struct verdict want = oracle_walk(j->root, va, &s, &k, &pa, e, &leaf);
	struct fault f;

	/* A user's write is one byte: let it hit A, D, G and PWT alone, by not changing it at all.
	 */
	if (k.user) {
		k.what = write ? USER_OR : USER_READ;
		f = try_user(k.what, va, 0);
	} else {
		f = write ? attempt(access_write8, va, value) : attempt((void *)peek, va, 0);
	}
	if (want.fault) {
		/* TCG may do a locked OR as a read first. */
		CHECK(is_pf(&f, want.err, va) ||
			      (k.what == USER_OR && is_pf(&f, want.err & ~PF_W, va)),
		      "0x%lx, stops at level %u: want error 0x%x: %s", va, leaf, want.err,
		      fault_text(&f));
		return;
	}
	CHECK(f.vec == NO_FAULT, "0x%lx to 0x%lx: %s", va, pa, fault_text(&f));
	if (!k.user)
		CHECK(*at(pa) == (write ? value : f.value), "0x%lx to 0x%lx: 0x%lx there, %s 0x%lx",
		      va, pa, *at(pa), write ? "wrote" : "read", write ? value : f.value);
	for (unsigned int l = leaf; l < 4; l++)
		/* An entry that this access itself wrote holds what was written. */
		if ((uint64_t)e[l] != pa || !write)
			CHECK((*e[l] & PTE_A) && (l != leaf || !write || (*e[l] & PTE_D)),
			      "0x%lx: level %u entry 0x%lx lacks A or D", va, l, *e[l]);
}

/* Random tables, all of them reachable through each other and writable through themselves. Flushed
 * before every access, so that the answer is exact. */
static void junk_tables(void)
{
	struct junk j = {rng_for("hostile/junk", 0), space_new(), block_alloc()};
	uint64_t before = own_sum();

	REQUIRE(j.arena, "no block");
	memset(at(j.arena), 0, MIB2);
	for (unsigned int i = 0; i < JUNK_PAGES * JUNK_WORDS; i++)
		at(j.arena + i / JUNK_WORDS * PAGE)[i % JUNK_WORDS] = junk_entry(&j);
	for (unsigned int i = 0; i < JUNK_WORDS; i++)
		at(j.root)[JUNK_SLOT + i] = j.arena + i * PAGE + (PTE_P | PTE_W | PTE_U);
	space_map_user_code(j.root);
	space_enter(j.root);
	for (unsigned int n = 0; n < rounds(3000) && !test_failed(); n++) {
		unsigned int edit = rng_below(&j.rng, 4);

		if (edit == 0)
			at(j.arena + rng_below(&j.rng, JUNK_PAGES) *
					     PAGE)[rng_below(&j.rng, JUNK_WORDS)] = junk_entry(&j);
		if (edit == 1)
			at(j.root)[JUNK_SLOT + rng_below(&j.rng, JUNK_WORDS)] =
				junk_entry(&j) & ROOT_BITS;
		flush_all();
		junk_access(&j);
	}
	space_leave();
	CHECK(own_sum() == before, "our own code changed");
}
BARETEST(hostile_junk, "hostile/junk", junk_tables);

/* The same without any flush: no answer can be foretold, but nothing else may be hit. */
static struct junk stale;

static void stale_work(void *arg)
{
	struct junk j = stale;

	(void)arg;
	j.rng = rng_for("hostile/junk-stale", this_cpu()->index);
	space_enter(j.root);
	for (unsigned int n = 0; n < rounds(3000); n++) {
		unsigned int dice = rng_below(&j.rng, 32);
		uint64_t va = junk_va(&j);

		if (dice < 10)
			at(j.arena + rng_below(&j.rng, JUNK_PAGES) *
					     PAGE)[rng_below(&j.rng, JUNK_WORDS)] = junk_entry(&j);
		else if (dice < 11)
			at(j.root)[JUNK_SLOT + rng_below(&j.rng, JUNK_WORDS)] =
				junk_entry(&j) & ROOT_BITS;
		else if (dice < 12)
			flush();
		else if (dice < 13)
			invlpg(va);
		else if (dice < 18)
			try_user(USER_READ, va, 0);
		else if (dice < 25)
			attempt((void *)peek, va, 0);
		else
			attempt(access_write8, va, junk_entry(&j));
	}
	space_leave();
}

static void run_stale(bool all)
{
	uint64_t before = own_sum(), guard = page_tagged(0x600d);

	stale = (struct junk){.root = space_new(), .arena = block_alloc()};
	REQUIRE(stale.arena, "no block");
	memset(at(stale.arena), 0, MIB2);
	space_map_user_code(stale.root);
	if (all)
		cpus_run(stale_work, NULL);
	else
		stale_work(NULL);
	for (unsigned int i = 0; i < 512; i++)
		CHECK(at(guard)[i] == 0x600d, "a page outside was written: word %u is 0x%lx", i,
		      at(guard)[i]);
	CHECK(own_sum() == before, "our own code changed");
}

static void junk_stale(void)
{
	run_stale(false);
}
BARETEST(hostile_stale, "hostile/junk-stale", junk_stale);

/* And from all CPUs at once, on one root. */
static void junk_all(void)
{
	run_stale(true);
}
BARETEST_SMP(hostile_stale_smp, "hostile/junk-all-cpus", junk_all);

/* ---- ends of the machine, only when asked for ---- */

static void crash_triple(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}
BARETEST_ASKED(crash_triple, "crash/triple-fault", crash_triple);

/* The root is where no memory is: the next fetch fails, and so does every exception. */
static void crash_cr3(void)
{
	flush_all();
	write_cr4(HOME_CR4 & ~CR4_PGE);
	write_cr3(0xd0000000);
	test_fail("still alive");
}
BARETEST_ASKED(crash_cr3, "crash/cr3-nowhere", crash_cr3);
