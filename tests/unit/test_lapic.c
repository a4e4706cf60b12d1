/* The virtual local APICs and the IOAPIC: priorities, EOI, registers in both modes, IPIs, the
 * timer, the paravirtual EOI, level interrupts; and posting from many threads at once.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* clang-format off */
/* sources: hv/dev/lapic.c hv/dev/lapic_ipi.c hv/dev/lapic_regs.c hv/dev/lapic_timer.c hv/dev/ioapic.c */
/* clang-format on */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "dev/ioapic.h"
#include "dev/lapic.h"

#define CPUS 20u

static struct {
	uint64_t now, armed;
	unsigned int kicks[CPUS], nmis[CPUS], inits[CPUS];
	int sipi[CPUS];
	uint32_t word; /* the guest's PV EOI word */
	bool no_memory;
	unsigned int reads, writes;
} world;

static struct lapic_bus bus;
static struct lapic cpu[CPUS];
static struct ioapic io;

static uint64_t op_now(void *ctx, unsigned int v)
{
	(void)ctx;
	(void)v;
	return world.now;
}

static void op_arm(void *ctx, unsigned int v, uint64_t deadline)
{
	(void)ctx;
	(void)v;
	world.armed = deadline;
}

static void op_kick(void *ctx, unsigned int v)
{
	(void)ctx;
	__atomic_fetch_add(&world.kicks[v], 1, __ATOMIC_RELAXED);
}

static void op_nmi(void *ctx, unsigned int v)
{
	(void)ctx;
	world.nmis[v]++;
}

static void op_init(void *ctx, unsigned int v)
{
	(void)ctx;
	world.inits[v]++;
}

static void op_sipi(void *ctx, unsigned int v, uint8_t vector)
{
	(void)ctx;
	world.sipi[v] = vector;
}

static void op_eoi(void *ctx, uint8_t vector)
{
	(void)ctx;
	ioapic_eoi(&io, vector);
}

static bool op_read(void *ctx, uint64_t gpa, void *to, size_t n)
{
	(void)ctx;
	assert_int_equal(gpa, 0x5000);
	assert_int_equal(n, 4);
	world.reads++;
	memcpy(to, &world.word, 4);
	return !world.no_memory;
}

static bool op_write(void *ctx, uint64_t gpa, const void *from, size_t n)
{
	(void)ctx;
	assert_int_equal(gpa, 0x5000);
	assert_int_equal(n, 4);
	world.writes++;
	memcpy(&world.word, from, 4);
	return !world.no_memory;
}

static const struct lapic_ops ops = {op_now,  op_arm, op_kick, op_nmi,	op_init,
				     op_sipi, op_eoi, op_read, op_write};

static int setup(void **state)
{
	(void)state;
	memset(&world, 0, sizeof(world));
	memset(world.sipi, 0xff, sizeof(world.sipi));
	memset(&bus, 0, sizeof(bus));
	bus.ops = &ops;
	for (unsigned int i = 0; i < CPUS; i++)
		lapic_create(&cpu[i], &bus, i, i);
	ioapic_create(&io, &bus);
	return 0;
}

static void write_ok(struct lapic *l, uint32_t msr, uint64_t v)
{
	assert_true(lapic_msr_write(l, msr, v));
}

static uint64_t read_ok(struct lapic *l, uint32_t msr)
{
	uint64_t v = ~UINT64_C(0);

	assert_true(lapic_msr_read(l, msr, &v));
	return v;
}

static void enable_x2(void)
{
	for (unsigned int i = 0; i < CPUS; i++) {
		write_ok(&cpu[i], MSR_APIC_BASE, read_ok(&cpu[i], MSR_APIC_BASE) | APIC_BASE_X2);
		write_ok(&cpu[i], 0x80f, 0x1ff);
	}
}

static void enable_xapic(void)
{
	for (unsigned int i = 0; i < CPUS; i++)
		lapic_mmio_write(&cpu[i], 0xf0, 0x1ff);
}

static bool take(struct lapic *l, uint8_t vector)
{
	if (lapic_pending(l) != vector)
		return false;
	lapic_accept(l, vector);
	return true;
}

static void test_priorities(void **state)
{
	struct lapic *l = &cpu[0];

	(void)state;
	assert_false(lapic_post(l, 0x40, false, 0)); /* software-disabled */
	enable_x2();
	assert_int_equal(lapic_pending(l), -1);
	assert_false(lapic_post(l, 15, false, 0));
	assert_true(lapic_post(l, 0x41, false, 0));
	assert_true(lapic_post(l, 0x55, false, 0));
	assert_true(take(l, 0x55));
	assert_int_equal(read_ok(l, 0x80a), 0x50);
	assert_int_equal(lapic_pending(l), -1); /* 0x41 is lower */
	lapic_post(l, 0x5f, false, 0);
	assert_int_equal(lapic_pending(l), -1); /* the same class */
	lapic_post(l, 0x60, false, 0);
	assert_true(take(l, 0x60));
	write_ok(l, 0x80b, 0);
	write_ok(l, 0x80b, 0);
	assert_true(take(l, 0x5f));
	write_ok(l, 0x80b, 0);
	write_ok(l, 0x808, 0x40); /* TPR holds class 4 back */
	assert_int_equal(lapic_pending(l), -1);
	assert_int_equal(read_ok(l, 0x80a), 0x40);
	assert_int_equal(lapic_cr8(l), 4);
	lapic_exit(l, 3);
	assert_true(take(l, 0x41));
	assert_int_equal(read_ok(l, 0x808), 0x30);
	write_ok(l, 0x80b, 0);
	write_ok(l, 0x80b, 0); /* one too many harms nothing */
	/* CR8 that says the same as TPR leaves its low bits. */
	write_ok(l, 0x808, 0x37);
	lapic_exit(l, 3);
	assert_int_equal(read_ok(l, 0x808), 0x37);
}

static void test_modes(void **state)
{
	struct lapic *l = &cpu[3];
	const uint64_t on = LAPIC_DEFAULT_BASE | APIC_BASE_EN;
	uint64_t v;

	(void)state;
	assert_int_equal(read_ok(&cpu[0], MSR_APIC_BASE), on | APIC_BASE_BSP);
	assert_int_equal(read_ok(l, MSR_APIC_BASE), on);
	assert_true(lapic_has_mmio(l, 0xfee00020));
	assert_false(lapic_has_mmio(l, 0xfee01000));
	assert_false(lapic_msr_read(l, 0x802, &v));
	assert_int_equal(lapic_mmio_read(l, 0x20), 3u << 24);
	assert_false(lapic_msr_write(l, MSR_APIC_BASE, LAPIC_DEFAULT_BASE | APIC_BASE_X2));
	assert_false(lapic_msr_write(l, MSR_APIC_BASE, (on ^ LAPIC_DEFAULT_BASE) | 0xfef00000));
	assert_false(lapic_msr_write(l, MSR_APIC_BASE, on | 1));
	write_ok(l, MSR_APIC_BASE, on | APIC_BASE_X2);
	assert_false(lapic_has_mmio(l, 0xfee00020));
	assert_int_equal(read_ok(l, 0x802), 3);
	assert_int_equal(read_ok(&cpu[3], 0x80d), 8);
	assert_false(lapic_msr_write(l, MSR_APIC_BASE, on)); /* x2APIC to xAPIC */
	lapic_init_reset(l);
	assert_true(lapic_is_x2(l)); /* INIT keeps the mode */
	write_ok(l, MSR_APIC_BASE, LAPIC_DEFAULT_BASE);
	assert_false(lapic_msr_write(l, MSR_APIC_BASE, on | APIC_BASE_X2)); /* from off to x2APIC */
	write_ok(l, MSR_APIC_BASE, on);
	write_ok(&cpu[17], MSR_APIC_BASE, on | APIC_BASE_X2);
	assert_int_equal(read_ok(&cpu[17], 0x80d), 0x10002);
}

static void test_x2_registers(void **state)
{
	static const uint32_t no_read[] = {0x800, 0x80b, 0x80e, 0x82f, 0x831, 0x83f, 0x8ff};
	static const struct {
		uint32_t msr;
		uint64_t v;
	} no_write[] = {
		{0x802, 0},	     {0x803, 0},       {0x808, 0x100},	 {0x80a, 0},
		{0x80b, 1},	     {0x80d, 0},       {0x80f, 0x1000},	 {0x810, 0},
		{0x820, 0},	     {0x828, 1},       {0x832, 1 << 19}, {0x835, 1 << 17},
		{0x838, 1ull << 32}, {0x839, 0},       {0x83e, 4},	 {0x83f, 0x100},
		{0x830, 1 << 16},    {0x830, 1 << 20}, {0x82f, 0},	 {0x837, 1ull << 40},
	};
	struct lapic *l = &cpu[1];
	uint64_t v;

	(void)state;
	enable_x2();
	for (unsigned int i = 0; i < sizeof(no_read) / 4; i++)
		assert_false(lapic_msr_read(l, no_read[i], &v));
	for (unsigned int i = 0; i < sizeof(no_write) / sizeof(no_write[0]); i++)
		assert_false(lapic_msr_write(l, no_write[i].msr, no_write[i].v));
	assert_int_equal(read_ok(l, 0x803), 0x50014);
	assert_int_equal(read_ok(l, 0x832), 0x10000);
	write_ok(l, 0x835, 0x700);
	assert_int_equal(read_ok(l, 0x835), 0x700);
	write_ok(l, 0x80f, 0xff); /* software-disable masks all */
	assert_int_equal(read_ok(l, 0x835), 0x10700);
	write_ok(l, 0x835, 0x700);
	assert_int_equal(read_ok(l, 0x835), 0x10700);
}

static void test_errors(void **state)
{
	struct lapic *l = &cpu[0];

	(void)state;
	enable_xapic();
	lapic_mmio_write(l, 0x370, 0xfe);
	lapic_mmio_write(l, 0x300, 5); /* vector 5 cannot be sent */
	assert_int_equal(lapic_mmio_read(l, 0x280), 0);
	assert_true(take(l, 0xfe));
	lapic_mmio_write(l, 0x280, 0);
	assert_int_equal(lapic_mmio_read(l, 0x280), 1 << 5);
	lapic_mmio_write(l, 0xb0, 0);
	lapic_mmio_read(l, 0x3f0); /* no such register */
	lapic_mmio_write(l, 0x280, 0);
	assert_int_equal(lapic_mmio_read(l, 0x280), 1 << 7);
	for (unsigned int at = 0; at < 4096; at += 4) {
		uint32_t v = lapic_mmio_read(l, at);

		if (at >> 4 != 0x30 && at >> 4 != 0x0f)
			lapic_mmio_write(l, at, v);
	}
}

static unsigned int holders(uint8_t vector)
{
	unsigned int set = 0;

	for (unsigned int i = 0; i < CPUS; i++) {
		if (cpu[i].irr[vector / 64] >> (vector % 64) & 1)
			set |= 1u << i;
		cpu[i].irr[vector / 64] = 0;
	}
	return set;
}

static void test_ipis_x2(void **state)
{
	(void)state;
	enable_x2();
	write_ok(&cpu[0], 0x830, 5ull << 32 | 0x50);
	assert_int_equal(world.kicks[5], 1);
	write_ok(&cpu[0], 0x830, 5ull << 32 | 0x50); /* pending already: no second kick */
	assert_int_equal(world.kicks[5], 1);
	assert_int_equal(holders(0x50), 1 << 5);
	write_ok(&cpu[0], 0x830, 99ull << 32 | 0x50); /* nobody */
	assert_int_equal(holders(0x50), 0);
	write_ok(&cpu[0], 0x830, 0xffffffffull << 32 | 0x50);
	assert_int_equal(holders(0x50), 0xfffff);
	write_ok(&cpu[2], 0x830, 0x40050); /* self */
	assert_int_equal(holders(0x50), 1 << 2);
	assert_int_equal(world.kicks[2], 1); /* by the broadcast alone */
	write_ok(&cpu[2], 0x83f, 0x51);
	assert_int_equal(holders(0x51), 1 << 2);
	write_ok(&cpu[2], 0x830, 0x80050);
	assert_int_equal(holders(0x50), 0xfffff);
	write_ok(&cpu[2], 0x830, 0xc0050);
	assert_int_equal(holders(0x50), 0xfffff & ~4u);
	/* Logical: cluster 1, members 0 and 2. */
	write_ok(&cpu[2], 0x830, 0x10005ull << 32 | 0x850);
	assert_int_equal(holders(0x50), 5 << 16);
	write_ok(&cpu[2], 0x830, 0xc0400);
	assert_int_equal(world.nmis[2], 0);
	assert_int_equal(world.nmis[19], 1);
	write_ok(&cpu[0], 0x830, 7ull << 32 | 0x4500);
	write_ok(&cpu[0], 0x830, 7ull << 32 | 0x8500); /* the de-assert */
	assert_int_equal(world.inits[7], 1);
	write_ok(&cpu[0], 0x830, 7ull << 32 | 0x4699);
	assert_int_equal(world.sipi[7], 0x99);
	assert_int_equal(world.sipi[6], -1);
	/* Lowest priority: exactly one. */
	write_ok(&cpu[0], 0x830, 0x0003ull << 32 | 0x950);
	assert_int_equal(__builtin_popcount(holders(0x50)), 1);
}

static void test_ipis_xapic(void **state)
{
	(void)state;
	enable_xapic();
	for (unsigned int i = 0; i < CPUS; i++)
		lapic_mmio_write(&cpu[i], 0xd0, i < 8 ? 1u << (24 + i) : 0);
	lapic_mmio_write(&cpu[0], 0x310, 3u << 24);
	lapic_mmio_write(&cpu[0], 0x300, 0x50);
	assert_int_equal(holders(0x50), 1 << 3);
	lapic_mmio_write(&cpu[0], 0x310, 0x82u << 24);
	lapic_mmio_write(&cpu[0], 0x300, 0x850);
	assert_int_equal(holders(0x50), 0x82);
	lapic_mmio_write(&cpu[0], 0x310, 0xffu << 24);
	lapic_mmio_write(&cpu[0], 0x300, 0x50);
	assert_int_equal(holders(0x50), 0xfffff);
	/* Cluster model. */
	for (unsigned int i = 0; i < CPUS; i++) {
		lapic_mmio_write(&cpu[i], 0xe0, 0x0fffffff);
		lapic_mmio_write(&cpu[i], 0xd0, (i / 4 << 4 | 1u << (i % 4)) << 24);
	}
	lapic_mmio_write(&cpu[0], 0x310, 0x26u << 24);
	lapic_mmio_write(&cpu[0], 0x300, 0x850);
	assert_int_equal(holders(0x50), 6 << 8);
	/* One that is switched off hears nothing. */
	write_ok(&cpu[4], MSR_APIC_BASE, LAPIC_DEFAULT_BASE);
	lapic_mmio_write(&cpu[0], 0x300, 0xc0050);
	assert_int_equal(holders(0x50), 0xfffff & ~0x11u);
}

static void test_kvm_ipi(void **state)
{
	(void)state;
	enable_x2();
	assert_int_equal(lapic_kvm_ipi(&bus, 0, 0x5, 0x1, 3, 0x50),
			 2); /* 3, 5, and 67: not there */
	assert_int_equal(holders(0x50), 1 << 3 | 1 << 5);
	assert_int_equal(lapic_kvm_ipi(&bus, 0, 1, 0, UINT64_MAX, 0x50), 0);
	assert_int_equal(lapic_kvm_ipi(&bus, 0, 2, 0, UINT64_MAX, 0x50), 0);
	assert_int_equal(lapic_kvm_ipi(&bus, 0, 2, 0, 0, 0x400), 1);
	assert_int_equal(world.nmis[1], 1);
	assert_int_equal(lapic_kvm_ipi(&bus, 0, 2, 0, 0, 0x500), -22);
	assert_int_equal(lapic_kvm_ipi(&bus, 0, 2, 0, 0, 0x40050), -22);
}

/* Ids with gaps, as packages make them: CPU i has id 13 * i. */
static void test_sparse_ids(void **state)
{
	uint64_t v;

	(void)state;
	memset(&bus, 0, sizeof(bus));
	bus.ops = &ops;
	for (unsigned int i = 0; i < CPUS; i++)
		lapic_create(&cpu[i], &bus, i, 13 * i);
	assert_int_equal(bus.count, CPUS);
	assert_true(cpu[0].base & APIC_BASE_BSP);
	assert_int_equal(lapic_mmio_read(&cpu[2], 0x20), 26u << 24);
	enable_x2();
	assert_true(lapic_msr_read(&cpu[3], 0x802, &v));
	assert_int_equal(v, 39);
	assert_int_equal(read_ok(&cpu[3], 0x80d), 2 << 16 | 1 << 7);
	write_ok(&cpu[0], 0x830, 39ull << 32 | 0x50);
	assert_int_equal(holders(0x50), 1 << 3);
	assert_int_equal(world.kicks[3], 1);
	write_ok(&cpu[0], 0x830, 3ull << 32 | 0x50); /* nobody's */
	write_ok(&cpu[0], 0x830, 255ull << 32 | 0x50);
	write_ok(&cpu[0], 0x830, 256ull << 32 | 0x50);
	assert_int_equal(holders(0x50), 0);
	write_ok(&cpu[1], 0x830, 0xc0050); /* all others */
	assert_int_equal(holders(0x50), 0xfffff & ~2u);
	write_ok(&cpu[0], 0x830, 0x20080ull << 32 | 0x850); /* logical: cluster 2, member 7 */
	assert_int_equal(holders(0x50), 1 << 3);
	write_ok(&cpu[0], 0x830, 13ull << 32 | 0x4699);
	assert_int_equal(world.sipi[1], 0x99);
	assert_int_equal(lapic_kvm_ipi(&bus, 0, 1 | 1 << 13 | 1 << 14, 0, 26, 0x50), 2);
	assert_int_equal(holders(0x50), 1 << 2 | 1 << 3);
}

static void test_timer(void **state)
{
	struct lapic *l = &cpu[0];

	(void)state;
	enable_x2();
	world.now = 1000;
	/* One-shot, divided by 16. */
	write_ok(l, 0x83e, 3);
	write_ok(l, 0x832, 0x40);
	write_ok(l, 0x838, 100);
	assert_int_equal(world.armed, 2600);
	world.now = 1800;
	assert_int_equal(read_ok(l, 0x839), 50);
	write_ok(l, 0x83e, 0xb); /* by 1: 50 are left */
	assert_int_equal(world.armed, 1850);
	assert_false(lapic_timer_check(l));
	world.now = 1850;
	assert_true(lapic_timer_check(l));
	assert_false(lapic_timer_check(l));
	assert_int_equal(world.armed, 0);
	assert_int_equal(read_ok(l, 0x839), 0);
	assert_true(take(l, 0x40));
	write_ok(l, 0x80b, 0);
	/* Periodic; missed periods merge. */
	write_ok(l, 0x832, 0x20041);
	write_ok(l, 0x838, 1000000);
	assert_int_equal(world.armed, 1001850);
	world.now = 3500000;
	assert_true(lapic_timer_check(l));
	assert_int_equal(world.armed, 4001850);
	assert_true(take(l, 0x41));
	write_ok(l, 0x80b, 0);
	/* A silly period is made longer. */
	write_ok(l, 0x838, 1);
	world.now += 10;
	assert_true(lapic_timer_check(l));
	assert_true(world.armed >= world.now + 10000);
	assert_true(take(l, 0x41));
	write_ok(l, 0x80b, 0);
	write_ok(l, 0x838, 0);
	assert_int_equal(world.armed, 0);
	/* Masked: it expires unheard. */
	write_ok(l, 0x832, 0x10042);
	write_ok(l, 0x838, 5);
	world.now += 10;
	assert_true(lapic_timer_check(l));
	assert_int_equal(lapic_pending(l), -1);
	/* TSC deadline. */
	write_ok(l, MSR_TSC_DEADLINE, 77); /* not in this mode */
	assert_int_equal(read_ok(l, MSR_TSC_DEADLINE), 0);
	write_ok(l, 0x832, 0x40043);
	write_ok(l, 0x838, 5); /* no effect now */
	assert_int_equal(world.armed, 0);
	write_ok(l, MSR_TSC_DEADLINE, world.now + 50);
	assert_int_equal(read_ok(l, MSR_TSC_DEADLINE), world.now + 50);
	assert_int_equal(read_ok(l, 0x839), 0);
	world.now += 50;
	assert_true(lapic_timer_check(l));
	assert_int_equal(read_ok(l, MSR_TSC_DEADLINE), 0);
	assert_true(take(l, 0x43));
	write_ok(l, 0x80b, 0);
	write_ok(l, MSR_TSC_DEADLINE, 1); /* past: fires at once */
	assert_true(lapic_timer_check(l));
	assert_true(take(l, 0x43));
	write_ok(l, 0x80b, 0);
	/* The TSC is set: a deadline stays what it is, a count stays as long. */
	write_ok(l, MSR_TSC_DEADLINE, world.now + 50);
	world.now -= 100;
	world.armed = 0;
	lapic_timer_tsc_set(l, (uint64_t)-100);
	assert_int_equal(world.armed, world.now + 150);
	assert_int_equal(read_ok(l, MSR_TSC_DEADLINE), world.now + 150);
	world.now += 1000;
	lapic_timer_tsc_set(l, 1000);
	assert_int_equal(world.armed, 0);
	assert_true(take(l, 0x43));
	write_ok(l, 0x80b, 0);
	write_ok(l, 0x832, 0x43);
	write_ok(l, 0x838, 500);
	world.now += 1000;
	lapic_timer_tsc_set(l, 1000);
	assert_int_equal(read_ok(l, 0x839), 500);
	assert_int_equal(lapic_pending(l), -1);
	write_ok(l, 0x838, 0);
	write_ok(l, 0x832, 0x40043);
	write_ok(l, MSR_TSC_DEADLINE, world.now + 50);
	lapic_init_reset(l);
	assert_int_equal(world.armed, 0);
}

/* One posted while its vector is offered is another one: it must not merge with the first. */
static void test_offer(void **state)
{
	struct lapic *l = &cpu[0];

	(void)state;
	enable_x2();
	lapic_post(l, 0x61, false, 0);
	lapic_offer(l, 0x61);
	assert_int_equal(lapic_pending(l), -1);
	lapic_post(l, 0x61, false, 1); /* the guest serves the first, without an exit so far */
	lapic_offered(l, 0x61, true);
	assert_int_equal(lapic_pending(l), -1); /* held back by the one in service */
	write_ok(l, 0x80b, 0);
	assert_int_equal(lapic_pending(l), 0x61);
	/* One that was not taken is pending again. */
	lapic_offer(l, 0x61);
	lapic_offered(l, 0x61, false);
	assert_int_equal(lapic_pending(l), 0x61);
}

static void test_pv_eoi(void **state)
{
	struct lapic *l = &cpu[0];

	(void)state;
	enable_x2();
	assert_false(lapic_msr_write(l, MSR_KVM_PV_EOI, 0x5003));
	write_ok(l, MSR_KVM_PV_EOI, 0x5001);
	lapic_enter(l, -1);
	assert_int_equal(world.writes, 0); /* nothing in service */
	lapic_post(l, 0x50, false, 0);
	assert_true(take(l, 0x50));
	lapic_enter(l, -1);
	assert_int_equal(world.word, 1);
	/* The guest still serves it at the next exit: nothing changes, nothing is written. */
	lapic_exit(l, 0);
	lapic_enter(l, -1);
	assert_int_equal(world.writes, 1);
	assert_int_equal(read_ok(l, 0x812), 1 << 16);
	world.word = 0; /* the guest's EOI */
	lapic_exit(l, 0);
	assert_int_equal(read_ok(l, 0x812), 0);
	/* Something else is pending: a real EOI is wanted. */
	lapic_post(l, 0x50, false, 0);
	assert_true(take(l, 0x50));
	lapic_enter(l, -1);
	assert_int_equal(world.word, 1);
	lapic_exit(l, 0);
	lapic_post(l, 0x51, false, 1);
	lapic_enter(l, -1);
	assert_int_equal(world.word, 0);
	lapic_exit(l, 0);
	assert_int_equal(read_ok(l, 0x812), 1 << 16);
	write_ok(l, 0x80b, 0);
	/* Offered as a virtual interrupt, taken and ended without an exit between. */
	assert_int_equal(lapic_pending(l), 0x51);
	lapic_offer(l, 0x51);
	lapic_enter(l, 0x51);
	assert_int_equal(world.word, 1);
	world.word = 0;
	lapic_offered(l, 0x51, true);
	lapic_exit(l, 0);
	assert_int_equal(read_ok(l, 0x812), 0);
	assert_int_equal(lapic_pending(l), -1);
	/* Level-triggered ones need the EOI that we see. */
	lapic_post(l, 0x52, true, 0);
	assert_true(take(l, 0x52));
	lapic_enter(l, -1);
	assert_int_equal(world.word, 0);
	write_ok(l, 0x80b, 0);
	/* The word's memory goes away: no paravirtual EOI any more. */
	lapic_post(l, 0x53, false, 0);
	assert_true(take(l, 0x53));
	lapic_enter(l, -1);
	world.no_memory = true;
	lapic_exit(l, 0);
	assert_int_equal(read_ok(l, MSR_KVM_PV_EOI), 0);
	assert_int_equal(read_ok(l, 0x812), 1 << 19);
}

static void set_entry(unsigned int pin, uint64_t e)
{
	ioapic_mmio_write(&io, 0, 0x11 + 2 * pin, 0);
	ioapic_mmio_write(&io, 0x10, (uint32_t)(e >> 32), 0);
	ioapic_mmio_write(&io, 0, 0x10 + 2 * pin, 0);
	ioapic_mmio_write(&io, 0x10, (uint32_t)e, 0);
}

static uint32_t low_of(unsigned int pin)
{
	ioapic_mmio_write(&io, 0, 0x10 + 2 * pin, 0);
	return ioapic_mmio_read(&io, 0x10);
}

static void test_ioapic(void **state)
{
	(void)state;
	enable_x2();
	assert_true(ioapic_has_mmio(0xfec00010));
	ioapic_mmio_write(&io, 0, 1, 0);
	assert_int_equal(ioapic_mmio_read(&io, 0x10), 0x170020);
	ioapic_pulse(&io, 4, -1); /* masked: lost */
	set_entry(4, 2ull << 56 | 0x54);
	assert_int_equal(holders(0x54), 0);
	ioapic_pulse(&io, 4, -1);
	assert_int_equal(holders(0x54), 1 << 2);
	assert_int_equal(world.kicks[2], 1);
	/* Level: once until its EOI, again while the line is up. */
	set_entry(9, 0ull << 56 | 0x8059);
	ioapic_set(&io, 9, true, -1);
	assert_int_equal(low_of(9), 0xc059);
	assert_true(take(&cpu[0], 0x59));
	assert_int_equal(read_ok(&cpu[0], 0x81a), 1 << 25);
	ioapic_set(&io, 9, true, -1);
	assert_int_equal(lapic_pending(&cpu[0]), -1);
	write_ok(&cpu[0], 0x80b, 0);
	assert_true(take(&cpu[0], 0x59));
	ioapic_set(&io, 9, false, -1);
	write_ok(&cpu[0], 0x80b, 0);
	assert_int_equal(lapic_pending(&cpu[0]), -1);
	assert_int_equal(low_of(9), 0x8059);
	/* A level that came while the pin was masked is not lost. */
	set_entry(9, 0x18059);
	ioapic_set(&io, 9, true, -1);
	set_entry(9, 0x8059);
	assert_true(take(&cpu[0], 0x59));
	ioapic_mmio_write(&io, 0x40, 0x59, 0);	      /* the EOI register */
	assert_int_equal(lapic_pending(&cpu[0]), -1); /* in service still, but pending again: */
	write_ok(&cpu[0], 0x80b, 0);
	assert_true(take(&cpu[0], 0x59));
	/* Broadcast, and pins that do not exist. */
	set_entry(5, 0xffull << 56 | 0x55);
	ioapic_pulse(&io, 5, -1);
	assert_int_equal(holders(0x55), 0xfffff);
	ioapic_set(&io, 24, true, -1);
	ioapic_mmio_write(&io, 0, 0x40, 0);
	ioapic_mmio_write(&io, 0x10, 0xffffffff, 0);
	assert_int_equal(ioapic_mmio_read(&io, 0x10), 0);
}

/* Threads post all vectors to CPU 0 over and over, which takes and ends them meanwhile: each was
 * taken at least once, and what is pending at the end is taken at the end. */
static unsigned int posting;

static void *poster(void *arg)
{
	int sender = (int)(intptr_t)arg;

	for (unsigned int round = 0; round < 200; round++)
		for (unsigned int v = 16 + (unsigned int)sender; v < 256; v += 4)
			lapic_post(&cpu[0], (uint8_t)v, false, sender);
	__atomic_fetch_sub(&posting, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t[4];
	unsigned int taken[256] = {0};

	(void)state;
	enable_x2();
	posting = 4;
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, poster, (void *)(i + 1));
	for (;;) {
		bool last = !__atomic_load_n(&posting, __ATOMIC_SEQ_CST);
		int v = lapic_pending(&cpu[0]);

		if (v < 0 && last)
			break;
		if (v < 0)
			continue;
		lapic_accept(&cpu[0], (uint8_t)v);
		taken[v]++;
		lapic_msr_write(&cpu[0], 0x80b, 0);
	}
	for (unsigned int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (unsigned int v = 17; v < 256; v++)
		assert_in_range(taken[v], 1, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_priorities, setup),
		cmocka_unit_test_setup(test_modes, setup),
		cmocka_unit_test_setup(test_x2_registers, setup),
		cmocka_unit_test_setup(test_errors, setup),
		cmocka_unit_test_setup(test_ipis_x2, setup),
		cmocka_unit_test_setup(test_ipis_xapic, setup),
		cmocka_unit_test_setup(test_kvm_ipi, setup),
		cmocka_unit_test_setup(test_sparse_ids, setup),
		cmocka_unit_test_setup(test_timer, setup),
		cmocka_unit_test_setup(test_offer, setup),
		cmocka_unit_test_setup(test_pv_eoi, setup),
		cmocka_unit_test_setup(test_ioapic, setup),
		cmocka_unit_test_setup(test_threads, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
