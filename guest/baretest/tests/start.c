/* Starting CPUs, from real mode on, and starting them again; IPIs and NMIs between them.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

#define VEC_HIT 0x51
#define BUDGET	deadline_ms(rounds(500))

static uint32_t ids[CPU_MAX];

static void note_id(void *arg)
{
	(void)arg;
	ids[this_cpu()->index] = apic_id();
}

static void started(void)
{
	const char *source;
	unsigned int told = cpus_told(&source), want = told;
	const volatile uint16_t *mark = (const volatile uint16_t *)(uint64_t)REAL_MARKS;

	if (options.cpus && options.cpus < want)
		want = options.cpus;
	CHECK(cpu_count == want, "%u CPUs run, %s says %u", cpu_count, source, told);
	cpus_run(note_id, NULL);
	for (unsigned int i = 0; i < cpu_count; i++)
		for (unsigned int j = 0; j < i; j++)
			CHECK(ids[i] != ids[j], "CPUs %u and %u have APIC id %u", i, j, ids[i]);
	if (cpu_count > 1)
		CHECK(mark[0] == TRAMPOLINE >> 4 && mark[1] == 0x4142 && mark[3] == 0x4142,
		      "real mode left 0x%x 0x%x 0x%x", mark[0], mark[1], mark[3]);
}
BARETEST(smp_a_start, "smp/start", started);

static volatile uint32_t hits[CPU_MAX];

static void count_hit(struct trap_frame *f)
{
	(void)f;
	ADD(&hits[this_cpu()->index], 1);
	apic_eoi();
}

static volatile uint32_t quit;

static void wait_interrupts(void *arg)
{
	bool halt = arg;

	sti();
	while (!LOAD(&quit)) {
		if (halt) {
			cli();
			if (LOAD(&quit))
				break;
			sti_hlt();
		} else {
			pause();
		}
	}
	cli();
}

/* Directed and to-all-others IPIs arrive once each, at CPUs that spin and that are in HLT. */
static void ipis(void)
{
	uint64_t budget = BUDGET;

	vector_set(VEC_HIT, count_hit);
	for (unsigned int halt = 0; halt < 2; halt++) {
		memset((void *)hits, 0, sizeof(hits));
		STORE(&quit, 0);
		for (unsigned int i = 1; i < cpu_count; i++)
			cpu_start(i, wait_interrupts, (void *)(uint64_t)halt);
		for (unsigned int n = 1; n <= rounds(20); n++) {
			uint64_t until = deadline_ms(2000);

			if (n & 1)
				apic_icr(0xc4000 | VEC_HIT, 0);
			else
				for (unsigned int i = 1; i < cpu_count; i++)
					apic_icr(0x4000 | VEC_HIT, cpu_at(i)->apic_id);
			for (unsigned int i = 1; i < cpu_count; i++) {
				while (LOAD(&hits[i]) < n && !is_past(until))
					pause();
				CHECK(LOAD(&hits[i]) == n, "CPU %u got %u of %u IPIs (halt %u)", i,
				      LOAD(&hits[i]), n, halt);
			}
			if (test_failed() || is_past(budget))
				break;
		}
		STORE(&quit, 1);
		apic_icr(0xc4000 | VEC_HIT, 0);
		for (unsigned int i = 1; i < cpu_count; i++)
			cpu_wait(i);
	}
}
BARETEST_SMP(smp_b_ipi, "smp/ipi", ipis);

/* INIT and SIPI again: to a CPU that sleeps, and to one that runs on tables of its own. */
static uint64_t shared_root;

static void spin_on_tables(void *arg)
{
	(void)arg;
	space_enter(shared_root);
	for (;;)
		ADD((uint64_t *)T_BASE, 1);
}

static void restart(void)
{
	uint64_t page = page_alloc();

	shared_root = space_new();
	space_map(shared_root, T_BASE, page, PTE_P | PTE_W);
	for (unsigned int r = 0; r < 4 && !test_failed(); r++) {
		uint64_t was;

		if (r & 1) {
			uint64_t until = deadline_ms(2000);

			was = LOAD(at(page));
			cpu_start(1, spin_on_tables, NULL);
			while (LOAD(at(page)) == was && !is_past(until))
				pause();
			CHECK(LOAD(at(page)) != was, "the CPU does not work");
		}
		CHECK(cpu_restart(1), "round %u: the CPU did not come back", r);
		was = LOAD(at(page));
		ids[1] = ~0u;
		cpu_start(1, note_id, NULL);
		cpu_wait(1);
		CHECK(ids[1] == cpu_at(1)->apic_id, "came back as APIC %u", ids[1]);
		CHECK(LOAD(at(page)) == was, "the old work goes on");
	}
}
BARETEST_SMP(smp_b_restart, "smp/restart", restart);

/* An NMI reaches a CPU that has interrupts off, spinning or in HLT. */
static volatile uint32_t nmis;

static void nmi_hit(struct trap_frame *f)
{
	(void)f;
	ADD(&nmis, 1);
}

static void wait_nmis(void *arg)
{
	while (LOAD(&nmis) < 5)
		if (arg)
			__asm__ volatile("cli; hlt");
		else
			pause();
}

static void nmi(void)
{
	vector_set(2, nmi_hit);
	for (uint64_t halt = 0; halt < 2; halt++) {
		STORE(&nmis, 0);
		cpu_start(1, wait_nmis, (void *)halt);
		for (unsigned int n = 1; n <= 5; n++) {
			uint64_t until = deadline_ms(2000), soon = deadline_ms(1);

			while (!is_past(soon))
				pause();
			apic_icr(0x4400, cpu_at(1)->apic_id);
			while (LOAD(&nmis) < n && !is_past(until))
				pause();
			CHECK(LOAD(&nmis) == n, "%u of %u NMIs (halt %lu)", LOAD(&nmis), n, halt);
		}
		/* One more ends a HLT. It may come after the CPU's work was done, but it comes. */
		uint64_t until = deadline_ms(2000);

		STORE(&nmis, 5);
		apic_icr(0x4400, cpu_at(1)->apic_id);
		cpu_wait(1);
		while (LOAD(&nmis) < 6 && !is_past(until))
			pause();
		CHECK(LOAD(&nmis) == 6, "%u of 6 NMIs (halt %lu)", LOAD(&nmis), halt);
	}
}
BARETEST_SMP(smp_b_nmi, "smp/nmi", nmi);
