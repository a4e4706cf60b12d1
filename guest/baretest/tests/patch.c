/* Code that one CPU changes while the others run it, as Linux does: an INT3 in the place of the
 * first byte, and later that byte again. Whoever runs into the INT3 steps over the instruction or,
 * where the INT3 is gone by then, goes back to it. After the change the others are interrupted, as
 * Linux does each time, but here only if one of them seems to stand still: that makes for more
 * changes.
 *
 * A machine that goes on with an INT3 that memory has not any more leaves the CPU there for ever
 * (QEMU 7.2 does, without a hypervisor: docs/machines.md).
 * SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

#define INT3	 0xcc
#define VEC_SYNC 0x51
#define MOST_US	 300u  /* with the INT3, and without */
#define BUDGET	 2000  /* ms */
#define PATIENCE 10000 /* ms */

static uint8_t *place;
static volatile uint64_t changes;
static volatile uint32_t doubtful; /* a CPU came twice to the INT3 after it was gone */
static volatile uint32_t synced, quit;

static struct {
	volatile uint64_t ran, stepped, returned_at;
	uint8_t apart[40];
} each[CPU_MAX];

static void breakpoint(struct trap_frame *f)
{
	unsigned int me = this_cpu()->index;
	uint64_t now = LOAD(&changes);

	CHECK(f->rip == (uint64_t)place + 1, "a breakpoint at 0x%lx", f->rip - 1);
	if (LOAD(place) == INT3 || LOAD(&quit)) {
		each[me].stepped++;
		f->rip += 4;
		return;
	}
	f->rip--;
	if (each[me].returned_at == now)
		STORE(&doubtful, 1);
	each[me].returned_at = now;
}

static void run_code(void *arg)
{
	(void)arg;
	sti();
	while (!LOAD(&quit)) {
		((void (*)(void))place)();
		each[this_cpu()->index].ran++;
	}
	cli();
}

/* Do all others come through? */
static bool all_run(void)
{
	uint64_t until = deadline_ms(PATIENCE);

	STORE(&doubtful, 0);
	for (unsigned int i = 1; i < cpu_count; i++) {
		uint64_t before = each[i].ran;

		while (each[i].ran < before + 2) {
			if (is_past(until)) {
				test_fail("CPU %u stands still at an INT3 that is gone since "
					  "change %lu",
					  i, changes);
				return false;
			}
			pause();
		}
	}
	return true;
}

static void sync_handler(struct trap_frame *f)
{
	(void)f;
	(void)cpuid(0, 0);
	ADD(&synced, 1);
	apic_eoi();
}

/* Have all others serialize, and wait until they have. */
static bool sync_others(void)
{
	uint64_t until = deadline_ms(PATIENCE);

	STORE(&synced, 0);
	apic_icr(0xc4000 | VEC_SYNC, 0);
	while (LOAD(&synced) < cpu_count - 1) {
		if (is_past(until)) {
			test_fail("%u of %u CPUs answered", LOAD(&synced), cpu_count - 1);
			return false;
		}
		pause();
	}
	return true;
}

static void wait_some(struct rng *g)
{
	uint64_t until = rdtsc() + rng_below(g, (uint32_t)(tsc_hz / 1000000 * MOST_US));

	while (!is_past(until))
		pause();
}

static void patch(void)
{
	/* NOPL 0(RAX, RAX); RET */
	static const uint8_t code[] = {0x0f, 0x1f, 0x44, 0, 0, 0xc3};
	struct rng g = rng_for("smp/patch", 0);
	uint64_t until = deadline_ms(rounds(BUDGET)), stepped = 0;
	bool run = true;

	place = (uint8_t *)at(page_alloc());
	memcpy(place, code, sizeof(code));
	STORE(&quit, 0);
	STORE(&doubtful, 0);
	changes = 0;
	memset(each, 0, sizeof(each));
	vector_set(3, breakpoint);
	vector_set(VEC_SYNC, sync_handler);
	for (unsigned int i = 1; i < cpu_count; i++)
		cpu_start(i, run_code, NULL);
	while (run && !is_past(until)) {
		STORE(place, INT3);
		wait_some(&g);
		STORE(place, code[0]);
		STORE(&changes, changes + 1);
		wait_some(&g);
		if (LOAD(&doubtful))
			run = sync_others() && all_run();
	}
	if (run)
		(void)(sync_others() && all_run());
	STORE(&quit, 1);
	for (unsigned int i = 1; i < cpu_count; i++) {
		cpu_wait(i);
		stepped += each[i].stepped;
	}
	vector_set(3, NULL);
	if (options.verbose)
		print("    %lu changes, %lu times stepped over\n", changes, stepped);
	if (!stepped)
		test_skip("nobody ran into the INT3");
}
BARETEST_SMP(smp_l_patch, "smp/patch", patch);
