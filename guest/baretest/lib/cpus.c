/* How many CPUs there are, starting the others, and giving them work. A CPU without work is in HLT
 * and is woken by an IPI. SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

#define VEC_WAKE 0xf0

unsigned int cpu_count = 1;
uint64_t tsc_hz;

extern uint8_t trampoline_start[], trampoline_end[];
extern volatile uint32_t ap_next;
_Noreturn void give_up(const char *why); /* main.c */

/* ---- fw_cfg and ACPI ---- */

static void fw_cfg_read(uint16_t item, void *to, unsigned int n)
{
	outw(0x510, item);
	for (uint8_t *p = to; n; n--)
		*p++ = inb(0x511);
}

static const uint8_t *rsdp_find(uint64_t from, uint64_t to)
{
	for (; from < to; from += 16)
		if (memcmp((void *)from, "RSD PTR ", 8) == 0)
			return (const uint8_t *)from;
	return NULL;
}

static uint32_t word(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

/* Enabled local APICs in the MADT; 0 where there is no ACPI. */
static unsigned int madt_count(void)
{
	uint64_t ebda = (uint64_t) * (volatile uint16_t *)(0x400 + 0xe) << 4;
	const uint8_t *rsdp = rsdp_find(0xe0000, 0x100000), *rsdt;
	unsigned int n = 0;

	if (!rsdp && ebda >= 0x80000 && ebda < 0xa0000)
		rsdp = rsdp_find(ebda, ebda + 1024);
	if (!rsdp)
		return 0;
	rsdt = (const uint8_t *)(uint64_t)word(rsdp + 16);
	for (uint32_t i = 36; i + 4 <= word(rsdt + 4); i += 4) {
		const uint8_t *t = (const uint8_t *)(uint64_t)word(rsdt + i);

		if (memcmp(t, "APIC", 4) != 0)
			continue;
		for (uint32_t at = 44; at + 2 <= word(t + 4); at += t[at + 1]) {
			if (t[at] == 0 && (word(t + at + 4) & 1))
				n++;
			if (t[at + 1] == 0)
				break;
		}
	}
	return n;
}

unsigned int cpus_told(const char **source)
{
	char sig[4];
	uint16_t n;

	fw_cfg_read(0, sig, 4);
	if (memcmp(sig, "QEMU", 4) == 0) {
		fw_cfg_read(5, &n, 2);
		*source = "fw_cfg";
		return n;
	}
	n = (uint16_t)madt_count();
	*source = n ? "MADT" : "nothing";
	return n ? n : 1;
}

/* ---- start ---- */

void cpus_home(void)
{
	set_ac(false);
	write_cr0(HOME_CR0);
	write_cr4(HOME_CR4);
	wrmsr(MSR_EFER, HOME_EFER | (rdmsr(MSR_EFER) & 1u << 10));
	space_leave();
	flush_all();
}

static void wake(struct trap_frame *f)
{
	(void)f;
	apic_eoi();
}

_Noreturn void ap_main(unsigned int index);
_Noreturn void ap_main(unsigned int index)
{
	struct cpu *c = cpu_at(index);

	cpu_setup(c, index);
	apic_setup();
	c->apic_id = apic_id();
	STORE(&c->online, 1);
	for (;;) {
		cli();
		if (c->work) {
			c->work(c->work_arg);
			STORE(&c->work, NULL);
		} else {
			sti_hlt();
		}
	}
}

/* INIT, then SIPI twice, to all others at once; each takes a number in the order of arrival. */
unsigned int cpus_start(unsigned int limit)
{
	const char *source;
	unsigned int told = cpus_told(&source);
	uint64_t until;

	vector_set(VEC_WAKE, wake);
	cpu_at(0)->apic_id = apic_id();
	cpu_at(0)->online = 1;
	if (told > CPU_MAX)
		told = CPU_MAX;
	if (limit && told > limit)
		told = limit;
	if (told < 2)
		return 1;
	memcpy((void *)TRAMPOLINE, trampoline_start, (size_t)(trampoline_end - trampoline_start));
	apic_icr(0xc4500, 0);
	until = deadline_ms(10);
	while (!is_past(until))
		pause();
	for (int twice = 0; twice < 2; twice++) {
		apic_icr(0xc4600 | TRAMPOLINE >> 12, 0);
		until = deadline_ms(twice ? 2000 : 1);
		while (!is_past(until) && LOAD(&ap_next) < told)
			pause();
	}
	for (cpu_count = 1; cpu_count < told; cpu_count++) {
		until = deadline_ms(2000);
		while (!LOAD(&cpu_at(cpu_count)->online)) {
			if (is_past(until))
				return cpu_count;
			pause();
		}
	}
	return cpu_count;
}

/* INIT and SIPI to one CPU, wherever it is; it comes back as the same number. */
bool cpu_restart(unsigned int i)
{
	struct cpu *c = cpu_at(i);
	uint64_t until;

	STORE(&c->work, NULL);
	STORE(&c->online, 0);
	STORE(&ap_next, i);
	apic_icr(0x4500, c->apic_id);
	until = deadline_ms(1);
	while (!is_past(until))
		pause();
	CHECK(!LOAD(&c->online), "CPU %u runs after INIT", i);
	apic_icr(0x4600 | TRAMPOLINE >> 12, c->apic_id);
	until = deadline_ms(3000);
	while (!LOAD(&c->online) && !is_past(until))
		pause();
	STORE(&ap_next, cpu_count);
	return LOAD(&c->online);
}

/* ---- work ---- */

void cpu_start(unsigned int i, void (*fn)(void *), void *arg)
{
	struct cpu *c = cpu_at(i);

	c->work_arg = arg;
	STORE(&c->work, fn);
	apic_icr(0x4000 | VEC_WAKE, c->apic_id);
}

void cpu_wait(unsigned int i)
{
	uint64_t until = deadline_ms(30000);

	while (LOAD(&cpu_at(i)->work)) {
		if (is_past(until))
			give_up("a CPU did not finish its work in 30 s");
		pause();
	}
}

void cpus_run(void (*fn)(void *), void *arg)
{
	for (unsigned int i = 1; i < cpu_count; i++)
		cpu_start(i, fn, arg);
	fn(arg);
	for (unsigned int i = 1; i < cpu_count; i++)
		cpu_wait(i);
}

void spin_lock(struct spin *l)
{
	while (__atomic_exchange_n(&l->taken, 1, __ATOMIC_ACQUIRE))
		while (l->taken)
			pause();
}

void spin_unlock(struct spin *l)
{
	STORE(&l->taken, 0);
}

void meet(struct meet *m, unsigned int n)
{
	uint32_t round = LOAD(&m->round);

	if (ADD(&m->here, 1) + 1 == n) {
		STORE(&m->here, 0);
		STORE(&m->round, round + 1);
		return;
	}
	while (LOAD(&m->round) == round)
		pause();
}

/* ---- time ---- */

/* Cycles of the TSC in 10 ms of PIT channel 2. */
static uint64_t cycles_in_10ms(void)
{
	uint64_t start;
	uint16_t count = 11932;

	outb(0x61, (uint8_t)((inb(0x61) & ~2u) | 1));
	outb(0x43, 0xb0);
	outb(0x42, (uint8_t)count);
	outb(0x42, (uint8_t)(count >> 8));
	start = rdtsc();
	for (unsigned int i = 0; i < 10000000 && !(inb(0x61) & 0x20); i++)
		;
	return rdtsc() - start;
}

/* The least of a few: a host that takes the CPU away can only make it more. */
void time_setup(void)
{
	uint64_t least = ~0ull;

	for (unsigned int i = 0; i < 4; i++) {
		uint64_t n = cycles_in_10ms();

		if (n < least)
			least = n;
	}
	tsc_hz = least * 100;
}
