/* The CPU and the devices that a guest may count on: ports, MSRs, CPUID, exceptions, the local APIC
 * and its timer, HLT. SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

/* ---- ports and MSRs ---- */

/* Ports where no machine that we run on has a device. */
static void absent_ports(void)
{
	static const uint16_t ports[] = {0x1f8, 0x2a0,	0x330,	0x5a0, 0x6fc,
					 0x9a0, 0xa200, 0xd000, 0xfff0};

	for (unsigned int i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		CHECK(inb(ports[i]) == 0xff, "port 0x%x reads 0x%x", ports[i], inb(ports[i]));
		CHECK(inw(ports[i]) == 0xffff, "port 0x%x reads 0x%x", ports[i], inw(ports[i]));
		CHECK(inl(ports[i]) == 0xffffffff, "port 0x%x reads 0x%x", ports[i], inl(ports[i]));
		outb(ports[i], 0);
		outw(ports[i], 0);
		outl(ports[i], 0);
		CHECK(inb(ports[i]) == 0xff, "port 0x%x reads 0x%x after writes", ports[i],
		      inb(ports[i]));
	}
}
BARETEST(dev_ports, "device/absent-ports", absent_ports);

static void string_ports(void)
{
	uint8_t buf[16];
	uint64_t n = sizeof(buf);
	uint8_t *to = buf;

	memset(buf, 0, sizeof(buf));
	__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"((uint16_t)0x9a0) : "memory");
	CHECK(n == 0 && to == buf + 16, "rep insb stopped at %lu", n);
	for (unsigned int i = 0; i < 16; i++)
		CHECK(buf[i] == 0xff, "byte %u is 0x%x", i, buf[i]);
	n = 4;
	to = buf;
	__asm__ volatile("rep outsw" : "+S"(to), "+c"(n) : "d"((uint16_t)0x9a0) : "memory");
	CHECK(n == 0 && to == buf + 8, "rep outsw stopped at %lu", n);
}
BARETEST(dev_string_ports, "device/string-ports", string_ports);

static void fw_cfg(void)
{
	const char *source;
	unsigned int n = cpus_told(&source);

	CHECK(n >= 1 && n <= 256, "%s says %u CPUs", source, n);
	CHECK(n >= cpu_count, "%s says %u CPUs, %u run", source, n, cpu_count);
}
BARETEST(dev_fwcfg, "device/cpu-count", fw_cfg);

static uint64_t get_msr(uint64_t n, uint64_t b)
{
	(void)b;
	return rdmsr((uint32_t)n);
}

static uint64_t put_msr(uint64_t n, uint64_t v)
{
	wrmsr((uint32_t)n, v);
	return 0;
}

/* TCG (7.2) reads unknown MSRs as 0 and ignores writes; anything but the machine's end will do
 * there, #GP it must be under our hypervisor. */
static void unknown_msrs(void)
{
	static const uint32_t msrs[] = {0x12345678, 0x4b564dff, 0xc0011fff, 0x1fff, 0xdeadbeef};

	for (unsigned int i = 0; i < 5; i++) {
		struct fault f = attempt(get_msr, msrs[i], 0), g = attempt(put_msr, msrs[i], 1);

		CHECK(f.vec == 13 || (f.vec == NO_FAULT && !under_twofold()), "read of 0x%x: %s",
		      msrs[i], fault_text(&f));
		CHECK(g.vec == 13 || (g.vec == NO_FAULT && !under_twofold()), "write of 0x%x: %s",
		      msrs[i], fault_text(&g));
	}
}
BARETEST(dev_msrs, "device/unknown-msrs", unknown_msrs);

/* MSRs that long mode cannot do without keep what is written to them. */
static void known_msrs(void)
{
	static const uint32_t msrs[] = {0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100,
					0xc0000101, 0xc0000102, 0x174,	    0x176};

	for (unsigned int i = 0; i < 8; i++) {
		uint64_t was = rdmsr(msrs[i]),
			 v = msrs[i] == 0xc0000084 || msrs[i] == 0x174 ? 0x200 : 0x123450000;
		struct fault f = attempt(put_msr, msrs[i], v);

		CHECK(f.vec == NO_FAULT, "MSR 0x%x: %s", msrs[i], fault_text(&f));
		CHECK(rdmsr(msrs[i]) == v, "MSR 0x%x reads 0x%lx", msrs[i], rdmsr(msrs[i]));
		wrmsr(msrs[i], was);
	}
	CHECK((rdmsr(MSR_EFER) & ~(1ull << 12)) == (HOME_EFER | 1 << 10), "EFER is 0x%lx",
	      rdmsr(MSR_EFER));
	CHECK(rdmsr(MSR_PAT) == 0x0007040600070406, "PAT is 0x%lx", rdmsr(MSR_PAT));
}
BARETEST(dev_known_msrs, "device/known-msrs", known_msrs);

static void cpuid_sane(void)
{
	struct cpuid c0 = cpuid(0, 0), c1 = cpuid(1, 0), e = cpuid(0x80000000, 0);

	CHECK(c0.a >= 1 && c0.a < 0x100, "highest leaf 0x%x", c0.a);
	CHECK(e.a >= 0x80000008 && e.a < 0x80000100, "highest extended leaf 0x%x", e.a);
	CHECK(c1.d >> 4 & 1 && c1.d >> 5 & 1 && c1.d >> 6 & 1 && c1.d >> 9 & 1 && c1.d >> 13 & 1,
	      "no TSC, MSR, PAE, APIC or PGE: 0x%x", c1.d);
	CHECK(cpuid(0x80000001, 0).d >> 29 & 1, "no long mode");
	CHECK(cpu_has.maxphyaddr >= 36 && cpu_has.maxphyaddr <= 52, "%u physical bits",
	      cpu_has.maxphyaddr);
	CHECK(c1.b >> 24 == (apic_id() & 0xff), "initial APIC id %u, APIC says %u", c1.b >> 24,
	      apic_id());
	if (under_twofold()) {
		CHECK(!(cpuid(0x80000001, 0).c >> 2 & 1), "SVM is told");
		CHECK(!(c1.c >> 5 & 1), "VMX is told");
		CHECK(!(c1.c >> 3 & 1), "MONITOR is told");
		CHECK(cpuid(0x40000000, 0).a >= 0x40000000, "highest leaf 0x%x",
		      cpuid(0x40000000, 0).a);
	}
}
BARETEST(dev_cpuid, "cpu/cpuid", cpuid_sane);

static uint64_t run_svm(uint64_t how, uint64_t b)
{
	(void)b;
	switch (how) {
	case 0:
		__asm__ volatile("vmrun %%rax" : : "a"(0x1000) : "memory");
		break;
	case 1:
		__asm__ volatile("vmload %%rax" : : "a"(0x1000) : "memory");
		break;
	case 2:
		__asm__ volatile("vmsave %%rax" : : "a"(0x1000) : "memory");
		break;
	case 3:
		__asm__ volatile("stgi" : : : "memory");
		break;
	case 4:
		__asm__ volatile("clgi" : : : "memory");
		break;
	case 5:
		__asm__ volatile("vmmcall" : : "a"(0xdead) : "memory");
		break;
	case 6:
		__asm__ volatile("monitor" : : "a"(0x1000), "c"(0), "d"(0) : "memory");
		break;
	default:
		__asm__ volatile("invlpga" : : "a"(0), "c"(1) : "memory");
	}
	return 0;
}

/* Instructions of a hypervisor are none for a guest that has no SVM. */
static void no_svm(void)
{
	if (!under_twofold()) {
		test_skip("not under our hypervisor");
		return;
	}
	for (uint64_t how = 0; how < 8; how++) {
		struct fault f = attempt(run_svm, how, 0);

		CHECK(f.vec == 6 || (how >= 5 && f.vec == NO_FAULT) || (how == 5 && f.vec == 13),
		      "kind %lu: %s", how, fault_text(&f));
	}
}
BARETEST(dev_no_svm, "cpu/no-svm", no_svm);

/* ---- exceptions ---- */

static uint64_t raise(uint64_t how, uint64_t b)
{
	uint32_t zero = 0;

	(void)b;
	switch (how) {
	case 0:
		__asm__ volatile("div %0" : : "r"(zero), "a"(1), "d"(0) : "cc");
		break;
	case 1:
		__asm__ volatile("int3");
		break;
	case 2:
		__asm__ volatile("ud2");
		break;
	case 3:
		__asm__ volatile("mov %w0, %%ds" : : "r"(0xfff8)); /* beyond the GDT */
		break;
	case 4:
		__asm__ volatile("mov %w0, %%es" : : "r"(SEL_CODE64 | 4)); /* no LDT */
		break;
	case 5:
		__asm__ volatile("int $0x0d"); /* a gate of ring 0, from ring 0: as an interrupt */
		break;
	case 6:
		*(volatile uint8_t *)0x800000000000 = 1;
		break;
	case 7:
		__asm__ volatile("push %%rbp; mov %0, %%rbp; mov (%%rbp), %%rcx; pop %%rbp"
				 :
				 : "r"(0x800000000100)
				 : "rcx", "memory");
		break;
	case 8:
		(void)peek(T_BASE + 0x123);
		break;
	default:
		__asm__ volatile(".byte 0x0f, 0xff, 0xc0"); /* UD0 */
	}
	return 0;
}

static void exceptions(void)
{
	static const struct {
		uint8_t vec;
		uint32_t err;
	} want[] = {{0, 0}, {3, 0},  {6, 0},  {13, 0xfff8}, {13, SEL_CODE64 | 4},
		    {0, 0}, {13, 0}, {12, 0}, {14, 0},	    {6, 0}};

	for (unsigned int r = 0; r < rounds(5); r++)
		for (uint64_t how = 0; how < 10; how++) {
			struct fault f;

			if (how == 5)
				continue;
			f = attempt(raise, how, 0);
			if (how == 7 && f.vec == 13) /* TCG (7.2) does not tell stack accesses */
				f.vec = 12;
			CHECK(f.vec == want[how].vec && f.err == want[how].err, "kind %lu: %s", how,
			      fault_text(&f));
			if (how == 8)
				CHECK(f.cr2 == T_BASE + 0x123, "CR2 0x%lx", f.cr2);
		}
}
BARETEST(dev_exceptions, "cpu/exceptions", exceptions);

/* A fault while a fault is delivered is a double fault; its stack is its own. */
static uint64_t fault_without_stack(uint64_t a, uint64_t b)
{
	(void)a;
	(void)b;
	__asm__ volatile("mov %%rsp, %%rcx; mov %0, %%rsp; ud2; mov %%rcx, %%rsp"
			 :
			 : "r"(T_BASE + 0x800)
			 : "rcx", "memory");
	return 0;
}

static void double_fault(void)
{
	uint64_t root = space_new();

	space_enter(root);
	for (unsigned int r = 0; r < rounds(10); r++) {
		struct fault f = attempt(fault_without_stack, 0, 0);

		CHECK(f.vec == 8 && f.err == 0, "no stack: %s", fault_text(&f));
		CHECK(read_cr2() - T_BASE < 0x800, "CR2 0x%lx", read_cr2());
	}
	space_leave();
}
BARETEST(dev_double, "cpu/double-fault", double_fault);

/* Single steps and a breakpoint register arrive; DR6 tells which. */
static volatile unsigned int debug_hits;

static void debug_trap(struct trap_frame *f)
{
	debug_hits++;
	if (debug_hits >= 3)
		f->rflags &= ~0x100ull;
}

static void single_step(void)
{
	debug_hits = 0;
	vector_set(1, debug_trap);
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop; nop; nop; nop"
			 :
			 :
			 : "memory", "cc");
	vector_set(1, NULL);
	CHECK(debug_hits == 3, "%u single steps", debug_hits);
}
BARETEST(dev_step, "cpu/single-step", single_step);

/* ---- interrupts ---- */

#define VEC_TIMER 0x60
#define VEC_SELF  0x61

static volatile uint32_t ticks, selfs;

static void tick(struct trap_frame *f)
{
	(void)f;
	ticks++;
	apic_eoi();
}

static void self_hit(struct trap_frame *f)
{
	(void)f;
	selfs++;
	apic_eoi();
}

static bool wait_for(volatile uint32_t *what, uint32_t n, unsigned int ms, bool halt)
{
	uint64_t until = deadline_ms(ms);

	while (*what < n && !is_past(until)) {
		if (halt) {
			cli();
			if (*what < n)
				sti_hlt();
			cli();
		} else {
			sti();
			pause();
			cli();
		}
	}
	return *what >= n;
}

/* A tick that came before the timer was stopped waits in the APIC, and would pass for a later one.
 */
static void take_ticks(void)
{
	const unsigned int irr = 0x200 + 0x10 * (VEC_TIMER / 32);

	while (apic_read(irr) >> (VEC_TIMER % 32) & 1) {
		sti();
		pause();
		cli();
	}
}

static void timer(void)
{
	uint64_t start;

	vector_set(VEC_TIMER, tick);
	apic_write(APIC_TIMER_DIV, 0xb); /* by 1 */
	for (unsigned int halt = 0; halt < 2; halt++) {
		ticks = 0;
		apic_write(APIC_LVT_TIMER, VEC_TIMER);
		apic_write(APIC_TIMER_INIT, 1000000);
		CHECK(apic_read(APIC_TIMER_NOW) <= 1000000, "count %u", apic_read(APIC_TIMER_NOW));
		CHECK(wait_for(&ticks, 1, 3000, halt), "one shot (halt %u) did not arrive", halt);
		CHECK(apic_read(APIC_TIMER_NOW) == 0, "count %u after the shot",
		      apic_read(APIC_TIMER_NOW));
		apic_write(APIC_LVT_TIMER, VEC_TIMER | 1 << 17);
		apic_write(APIC_TIMER_INIT, 500000);
		CHECK(wait_for(&ticks, 6, 3000, halt), "periodic (halt %u): %u ticks", halt,
		      ticks - 1);
		apic_write(APIC_LVT_TIMER, VEC_TIMER | 1 << 16);
		apic_write(APIC_TIMER_INIT, 0);
		take_ticks();
	}
	/* Masked: nothing comes. */
	sti();
	ticks = 0;
	start = deadline_ms(3);
	while (!is_past(start))
		pause();
	cli();
	CHECK(ticks == 0, "%u ticks while masked", ticks);
}
BARETEST(dev_timer, "apic/timer", timer);

static void deadline_timer(void)
{
	if (!cpu_has.deadline) {
		test_skip("no TSC deadline");
		return;
	}
	vector_set(VEC_TIMER, tick);
	apic_write(APIC_LVT_TIMER, VEC_TIMER | 2 << 17);
	for (uint32_t i = 1; i <= 4; i++) {
		uint64_t due = deadline_ms(1);

		ticks = 0;
		wrmsr(MSR_TSC_DEADLINE, due);
		CHECK(wait_for(&ticks, 1, 3000, i & 1), "did not arrive");
		CHECK(is_past(due), "came %lu cycles early", due - rdtsc());
		CHECK(rdmsr(MSR_TSC_DEADLINE) == 0, "still armed");
	}
	ticks = 0;
	wrmsr(MSR_TSC_DEADLINE, 1); /* long past: at once */
	CHECK(wait_for(&ticks, 1, 1000, false), "a past deadline did not fire");
	apic_write(APIC_LVT_TIMER, 1 << 16);
}
BARETEST(dev_deadline, "apic/tsc-deadline", deadline_timer);

/* The TSC is written while the timer runs: a deadline is of the TSC as it is then, a count is not.
 */
static void adjusted_timer(void)
{
	const uint64_t ms10 = tsc_hz / 100;
	uint64_t adjust, due;

	if (!cpu_has.deadline || !(cpuid(7, 0).b & 1u << 1)) {
		test_skip("no TSC deadline or no TSC_ADJUST");
		return;
	}
	adjust = rdmsr(MSR_TSC_ADJUST);
	vector_set(VEC_TIMER, tick);
	ticks = 0;
	apic_write(APIC_LVT_TIMER, VEC_TIMER | 2 << 17);
	due = deadline_ms(5);
	wrmsr(MSR_TSC_DEADLINE, due);
	wrmsr(MSR_TSC_ADJUST, adjust - ms10);
	CHECK(wait_for(&ticks, 1, 3000, false), "lost, the TSC went back");
	CHECK(is_past(due), "came %lu cycles early", due - rdtsc());

	ticks = 0;
	wrmsr(MSR_TSC_DEADLINE, deadline_ms(60000));
	wrmsr(MSR_TSC_ADJUST, adjust + 7000 * ms10);
	CHECK(wait_for(&ticks, 1, 3000, false), "late, the TSC went ahead");
	CHECK(rdmsr(MSR_TSC_DEADLINE) == 0, "still armed");
	ticks = 0;
	wrmsr(MSR_TSC_DEADLINE, 1);
	CHECK(wait_for(&ticks, 1, 1000, false), "a past deadline did not fire");

	/* One period is 0x3000000 ticks of the bus clock, whatever that is. */
	ticks = 0;
	apic_write(APIC_LVT_TIMER, VEC_TIMER);
	apic_write(APIC_TIMER_INIT, 0x3000000);
	wrmsr(MSR_TSC_ADJUST, adjust);
	CHECK(ticks == 0 && apic_read(APIC_TIMER_NOW) <= 0x3000000 && apic_read(APIC_TIMER_NOW) > 0,
	      "count %u", apic_read(APIC_TIMER_NOW));
	CHECK(wait_for(&ticks, 1, 3000, false), "a shot was lost");
	apic_write(APIC_LVT_TIMER, 1 << 16);
}
BARETEST(dev_adjusted, "apic/tsc-adjust", adjusted_timer);

static void self_ipi(void)
{
	vector_set(VEC_SELF, self_hit);
	selfs = 0;
	for (uint32_t i = 1; i <= rounds(20); i++) {
		apic_icr(i & 1 ? 0x44000 | VEC_SELF : 0x4000 | VEC_SELF, apic_id());
		CHECK(selfs == i - 1, "arrived with interrupts off");
		CHECK(wait_for(&selfs, i, 1000, i & 2), "self-IPI %u did not arrive", i);
	}
}
BARETEST(dev_self, "apic/self-ipi", self_ipi);

/* Open interrupts on another stack, for one that waits, until `what` is n. */
static void take_on(uint64_t stack, volatile uint32_t *what, uint32_t n)
{
	uint64_t left = 1000000;

	__asm__ volatile("mov %%rsp, %%rbx\n\t"
			 "mov %[stack], %%rsp\n\t"
			 "sti\n"
			 "1:\n\t"
			 "pause\n\t"
			 "cmp %[n], %[what]\n\t"
			 "je 2f\n\t"
			 "dec %[left]\n\t"
			 "jnz 1b\n"
			 "2:\n\t"
			 "cli\n\t"
			 "mov %%rbx, %%rsp"
			 : [left] "+r"(left)
			 : [stack] "r"(stack), [what] "m"(*what), [n] "r"(n)
			 : "rbx", "cc", "memory");
}

/* Its frame goes where the address was not used yet: in shadow mode the delivery exits, and has to
 * come again. So does an earlier one not. */
static void cut(void)
{
	const uint64_t root = space_new();
	pte_t *stack = space_entry(root, T_BASE, 0);
	uint64_t page = page_alloc();

	REQUIRE(stack && page, "no memory");
	vector_set(VEC_SELF, self_hit);
	vector_set(VEC_TIMER, tick);
	selfs = ticks = 0;
	space_enter(root);
	for (uint32_t i = 1; i <= rounds(20) && !test_failed(); i++) {
		sti();
		apic_icr(0x4000 | VEC_TIMER, apic_id());
		CHECK(wait_for(&ticks, i, 1000, false), "the first one did not arrive");
		cli();
		apic_icr(0x4000 | VEC_SELF, apic_id());
		*stack = page | PTE_P | PTE_W;
		invlpg(T_BASE);
		take_on(T_BASE + PAGE, &selfs, i);
		CHECK(selfs == i && ticks == i, "after %u of each came %u and %u", i, selfs, ticks);
	}
	space_leave();
}
BARETEST(dev_cut, "apic/cut", cut);

/* A higher task priority holds an interrupt back; CR8 and the TPR are one. */
static uint64_t read_cr8(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr8, %0" : "=r"(v) : : "memory");
	return v;
}

static void priority(void)
{
	vector_set(VEC_SELF, self_hit);
	selfs = 0;
	apic_write(APIC_TPR, 0x70);
	CHECK(read_cr8() == 7, "CR8 is %lu with TPR 0x70", read_cr8());
	apic_icr(0x44000 | VEC_SELF, 0);
	sti();
	for (unsigned int i = 0; i < 1000; i++)
		pause();
	cli();
	CHECK(selfs == 0, "delivered below the task priority");
	__asm__ volatile("mov %0, %%cr8" : : "r"(0ul) : "memory");
	CHECK(apic_read(APIC_TPR) == 0, "TPR is 0x%x with CR8 0", apic_read(APIC_TPR));
	CHECK(wait_for(&selfs, 1, 1000, false), "not delivered after the priority fell");
}
BARETEST(dev_priority, "apic/priority", priority);

/* STI; HLT with an interrupt already pending does not sleep for ever, and the shadow of STI holds.
 */
static void sti_shadow(void)
{
	vector_set(VEC_SELF, self_hit);
	for (uint32_t i = 0; i < rounds(50); i++) {
		uint32_t seen;

		selfs = 0;
		apic_icr(0x44000 | VEC_SELF, 0);
		__asm__ volatile("sti; mov %1, %0; cli" : "=r"(seen) : "m"(selfs) : "memory");
		CHECK(seen == 0, "an interrupt came in the shadow of STI");
		if (!selfs)
			sti_hlt();
		cli();
		CHECK(selfs == 1, "%u interrupts", selfs);
	}
}
BARETEST(dev_sti, "cpu/sti-shadow", sti_shadow);

/* ---- time ---- */

static void tsc_runs(void)
{
	uint64_t last = rdtsc(), first = last;

	for (unsigned int i = 0; i < 10000; i++) {
		uint64_t now = rdtsc();

		CHECK(now >= last, "the TSC went back by %lu", last - now);
		last = now;
	}
	CHECK(last > first, "the TSC stands");
	CHECK(tsc_hz > 100000000 && tsc_hz < 20000000000, "TSC at %lu Hz", tsc_hz);
}
BARETEST(dev_tsc, "cpu/tsc", tsc_runs);
