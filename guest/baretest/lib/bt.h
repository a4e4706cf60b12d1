/* What a test sees: the registry, checks, faults, memory, other CPUs, time.
 *
 * A test is a function named in BARETEST(); it reports by CHECK and REQUIRE and never by return
 * value. Every test starts on the first CPU, in 64-bit mode on the home tables (4 GiB identity
 * mapped, supervisor), interrupts off, with an empty page pool, and must leave that behind.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BARETEST_BT_H
#define BARETEST_BT_H

#include "layout.h"
#include "x86.h"

/* ---- tests ---- */

struct test {
	const char *name; /* theme/what */
	void (*run)(void);
	unsigned int min_cpus;
	bool only_if_asked; /* ends the machine, or is known to stop emulators */
};

#define BARETEST_(id, ...)                                                                         \
	static const struct test test_##id                                                         \
		__attribute__((section(".tests." #id), used, aligned(8))) = {__VA_ARGS__}
#define BARETEST(id, name, fn)	     BARETEST_(id, name, fn, 1, false)
#define BARETEST_SMP(id, name, fn)   BARETEST_(id, name, fn, 2, false)
#define BARETEST_ASKED(id, name, fn) BARETEST_(id, name, fn, 1, true)

/* From any CPU; the first message of a test is kept, later ones are counted. */
void test_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The test cannot say anything on this machine. Return from the test after it. */
void test_skip(const char *why);
bool test_failed(void);

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond))                                                                       \
			test_fail(__VA_ARGS__);                                                    \
	} while (0)
#define REQUIRE(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			test_fail(__VA_ARGS__);                                                    \
			return;                                                                    \
		}                                                                                  \
	} while (0)

struct options {
	const char *only; /* prefix of the tests to run */
	uint64_t seed;
	unsigned int cpus; /* at most so many; 0: all */
	unsigned int load; /* percent of the normal number of rounds */
	bool verbose;
	bool xapic; /* do not use x2APIC */
	bool strict;
};
extern struct options options;

/* N rounds, scaled by the option load. */
static inline unsigned int rounds(unsigned int n)
{
	return n * options.load / 100 + 1;
}

/* Are we under Twofold? (Plain machines need not read ones where there is nothing.) */
bool under_twofold(void);

/* ---- console ---- */

void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void format(char *buf, size_t size, const char *fmt, __builtin_va_list ap);

/* ---- C library ---- */

void *memset(void *p, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);
bool has_prefix(const char *s, const char *prefix);

/* ---- random ---- */

struct rng {
	uint64_t s;
};
/* Seeded by the run's seed, the test's name and `stream`. */
struct rng rng_for(const char *name, unsigned int stream);
uint64_t rng_next(struct rng *r);
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

/* ---- faults ---- */

#define NO_FAULT 0xffu

struct fault {
	uint32_t vec; /* NO_FAULT: none */
	uint32_t err;
	uint64_t cr2;
	uint64_t value; /* what the call returned when there was none */
};

#define PF_P	1u
#define PF_W	2u
#define PF_U	4u
#define PF_RSVD 8u
#define PF_I	16u
#define PF_PK	32u

/* Call fn(a, b) and catch its exception. INT 0x80 counts as a return without a value. */
struct fault attempt(uint64_t (*fn)(uint64_t, uint64_t), uint64_t a, uint64_t b);

uint64_t access_read(uint64_t va, uint64_t);
uint64_t access_write(uint64_t va, uint64_t byte);
uint64_t access_or(uint64_t va, uint64_t);
uint64_t access_fetch(uint64_t va, uint64_t);
uint64_t access_write8(uint64_t va, uint64_t word);

static inline struct fault try_read(uint64_t va)
{
	return attempt(access_read, va, 0);
}

static inline struct fault try_write(uint64_t va, uint8_t byte)
{
	return attempt(access_write, va, byte);
}

static inline struct fault try_fetch(uint64_t va)
{
	return attempt(access_fetch, va, 0);
}

/* Is it a #PF with this code at this address? With RSVD, P does not matter: the manuals set it,
 * QEMU's TCG (7.2) does not. */
static inline bool is_pf(const struct fault *f, uint32_t err, uint64_t cr2)
{
	uint32_t differs = f->err ^ err;

	if (f->err & PF_RSVD)
		differs &= ~PF_P;
	return f->vec == 14 && differs == 0 && f->cr2 == cr2;
}

/* "none", or "vec 14 err 0x2 cr2 0x..." into a buffer of the CPU's own. */
const char *fault_text(const struct fault *f);

struct trap_frame {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t vec, err, rip, cs, rflags, rsp, ss;
};

/* Interrupt handlers, for vectors from 32 on, all CPUs. */
void vector_set(unsigned int vec, void (*fn)(struct trap_frame *));
/* Called at a #PF before it counts as a fault: true means mended, run the instruction again. */
extern bool (*volatile pf_hook)(struct trap_frame *, uint64_t cr2);

/* ---- ring 3 ---- */

enum user_access {
	USER_READ,
	USER_WRITE,
	USER_OR,
	USER_FETCH,
	USER_READ8,
	USER_WRITE8,
};
/* Where a space must map user_code_page (user, not writable) before try_user() is used on it. */
#define USER_CODE_VA 0x700000000000ull
extern uint8_t user_code_page[4096];
struct fault try_user(enum user_access what, uint64_t va, uint64_t value);

/* ---- CPUs ---- */

struct recover {
	uint64_t rip, rsp, rflags; /* layout known to attempt_call */
};

struct cpu {
	uint64_t *tss_rsp0;	/* CPU_RSP0 */
	struct recover recover; /* CPU_RECOVER */
	uint64_t user_rip;
	unsigned int index; /* CPU_INDEX */
	uint32_t apic_id;
	struct fault fault;
	unsigned int retries; /* #PFs to ignore (the instruction runs again) */
	unsigned int retried;
	void (*volatile work)(void *);
	void *volatile work_arg;
	volatile uint32_t online;
	char text[80];
	uint64_t gdt[GDT_ENTRIES];
	uint32_t tss[26];
};
_Static_assert(offsetof(struct cpu, recover) == CPU_RECOVER, "layout.h");
_Static_assert(offsetof(struct cpu, index) == CPU_INDEX, "layout.h");
_Static_assert(offsetof(struct cpu, user_rip) == CPU_INDEX - 8, "layout.h");
_Static_assert(sizeof(struct cpu) <= 0x400, "the double-fault stack lies above");

extern uint8_t cpu_blocks[];
extern unsigned int cpu_count; /* that run */

static inline struct cpu *this_cpu(void)
{
	uint64_t sp;

	__asm__("mov %%rsp, %0" : "=r"(sp));
	return (struct cpu *)(sp & -(uint64_t)CPU_BLOCK);
}

static inline struct cpu *cpu_at(unsigned int i)
{
	return (struct cpu *)(cpu_blocks + (size_t)i * CPU_BLOCK);
}

void cpu_setup(struct cpu *c, unsigned int index); /* GDT, IDT, TSS of the CPU that calls */
unsigned int cpus_start(unsigned int limit);	   /* count and start the others */
bool cpu_restart(unsigned int i);
unsigned int cpus_told(const char **source); /* how many the machine says it has */
/* Have another CPU run fn(arg); it runs with interrupts as the CPU had: off. */
void cpu_start(unsigned int i, void (*fn)(void *), void *arg);
void cpu_wait(unsigned int i);
/* On all CPUs at once, this one too; returns when all are done. */
void cpus_run(void (*fn)(void *), void *arg);
void cpus_home(void); /* this CPU: home tables, home control registers */

/* ---- local APIC ---- */

void apic_setup(void);
uint32_t apic_id(void);
uint32_t apic_read(unsigned int reg);
void apic_write(unsigned int reg, uint32_t v);
void apic_icr(uint32_t low, uint32_t dest);
void apic_eoi(void);
extern bool apic_x2;

#define APIC_ID		0x20
#define APIC_VERSION	0x30
#define APIC_TPR	0x80
#define APIC_EOI	0xb0
#define APIC_SVR	0xf0
#define APIC_ESR	0x280
#define APIC_ICR	0x300
#define APIC_LVT_TIMER	0x320
#define APIC_TIMER_INIT 0x380
#define APIC_TIMER_NOW	0x390
#define APIC_TIMER_DIV	0x3e0

/* ---- time ---- */

extern uint64_t tsc_hz;
void time_setup(void);
static inline uint64_t deadline_ms(unsigned int ms)
{
	return rdtsc() + tsc_hz / 1000 * ms;
}

static inline bool is_past(uint64_t deadline)
{
	return (int64_t)(rdtsc() - deadline) >= 0;
}

/* ---- locks and atomics ---- */

struct spin {
	volatile uint32_t taken;
};
void spin_lock(struct spin *l);
void spin_unlock(struct spin *l);

/* All of n CPUs meet; sense-reversing, may be used again at once. */
struct meet {
	volatile uint32_t here, round;
};
void meet(struct meet *m, unsigned int n);

#define LOAD(p)	    __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define ADD(p, v)   __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)

/* ---- the machine ---- */

struct range {
	uint64_t start, end;
	uint32_t type; /* 1: RAM */
};
#define RANGES_MAX 32
extern struct range ranges[RANGES_MAX];
extern unsigned int range_count;

extern uint32_t multiboot_magic, multiboot_info;
extern uint64_t home_pml4[512], home_pdpt[512], home_pd[2048];
extern char image_start[], text_end[], image_end[];

#endif
