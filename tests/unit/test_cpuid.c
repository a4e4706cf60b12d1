/* CPUID and MSR policy: topology for every number of CPUs, nothing shown that is not meant to be,
 * what follows from features (CR4, XCR0, EFER), MSRs that stock kernels touch, and KVM's clock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* clang-format off */
/* sources: hv/dev/cpuid.c hv/dev/msr.c hv/dev/kvmclock.c hv/dev/lapic.c hv/dev/lapic_ipi.c hv/dev/lapic_regs.c hv/dev/lapic_timer.c */
/* clang-format on */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dev/kvmclock.h"
#include "dev/msr.h"

/* A machine that has everything: each leaf all ones, but for those whose numbers must make sense.
 */

static void everything(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *r)
{
	*r = (struct cpuid_regs){~0u, ~0u, ~0u, ~0u};
	switch (leaf) {
	case 0:
		*r = (struct cpuid_regs){0x20, 0x68747541, 0x444d4163, 0x69746e65};
		break;
	case 1:
		r->ecx &= 0x7fffffff;
		break;
	case 0x0d:
		*r = (struct cpuid_regs){0x2e7, 0xa88, 0xa88, 0};
		if (subleaf == 1)
			r->eax = ~0u;
		else if (subleaf == 2)
			*r = (struct cpuid_regs){256, 576, 0, 0};
		else if (subleaf == 9)
			*r = (struct cpuid_regs){8, 2688, 0, 0};
		else if (subleaf >= 5 && subleaf <= 7)
			*r = (struct cpuid_regs){512, 1088 + 512 * (subleaf - 5), 0, 0};
		break;
	case 0x40000000:
		*r = (struct cpuid_regs){leaf, 0x54474354, 0x43544743, 0x47435447};
		break;
	case 0x80000000:
		r->eax = 0x80000026;
		break;
	case 0x80000008:
		r->eax = 0x3930;
		break;
	}
}

/* And four caches, as AMD tells them. */
static void cached(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *r)
{
	static const uint32_t level[4] = {1, 1, 2, 3};

	everything(leaf, subleaf, r);
	if (leaf == 0x80000006)
		*r = (struct cpuid_regs){0, 0, 0x1234, 0x5678};
	if (leaf == 0x8000001d)
		*r = (struct cpuid_regs){subleaf < 4 ? level[subleaf] << 5 | 3 : 0, 1, 2, 3};
}

/* As everything(), but Intel's: VMX and what else is to be hidden included. */
static void intel(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *r)
{
	everything(leaf, subleaf, r);
	if (leaf == 0)
		*r = (struct cpuid_regs){0x20, 0x756e6547, 0x6c65746e, 0x49656e69};
	else if (leaf == 0x80000000)
		r->eax = 0x80000008;
}

/* One that has nothing beyond long mode. */
static void little(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *r)
{
	(void)subleaf;
	*r = (struct cpuid_regs){0, 0, 0, 0};
	if (leaf == 0)
		*r = (struct cpuid_regs){1, 0x756e6547, 0x6c65746e, 0x49656e69};
	else if (leaf == 1)
		*r = (struct cpuid_regs){0, 0, 0, 0x07808111};
	else if (leaf == 0x80000000)
		r->eax = 0x80000001;
	else if (leaf == 0x80000001)
		r->edx = 1u << 29 | 1u << 11;
}

static struct cpuid_policy policy;
static struct cpuid_vcpu vcpu;

static struct cpuid_regs ask(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r;

	cpuid_guest(&policy, &vcpu, leaf, subleaf, &r);
	return r;
}

static uint8_t memory[4096];

static uint64_t op_now(void *ctx, unsigned int v)
{
	(void)ctx;
	(void)v;
	return 0;
}

static bool op_read(void *ctx, uint64_t gpa, void *to, size_t n)
{
	(void)ctx;
	if (gpa > sizeof(memory) - n)
		return false;
	memcpy(to, memory + gpa, n);
	return true;
}

static bool op_write(void *ctx, uint64_t gpa, const void *from, size_t n)
{
	(void)ctx;
	if (gpa > sizeof(memory) - n)
		return false;
	memcpy(memory + gpa, from, n);
	return true;
}

static const struct lapic_ops ops = {.now = op_now, .mem_read = op_read, .mem_write = op_write};
static struct lapic_bus bus;
static struct lapic apic;
static struct msr_shared shared;
static struct msr_vcpu msrs;

static int setup(void **state)
{
	(void)state;
	policy = (struct cpuid_policy){
		.host = everything,
		.cpus = 4,
		.tsc_invariant = true,
		.tsc_adjust = true,
		.tsc_deadline = true,
		.kvm_pv_eoi = true,
		.kvm_pv_ipi = true,
		.tsc_khz = 2600000,
	};
	vcpu = (struct cpuid_vcpu){.apic_id = 2, .apic_enabled = true, .xcr0 = 1};
	memset(&bus, 0, sizeof(bus));
	bus.ops = &ops;
	lapic_create(&apic, &bus, 0, 0);
	msr_create_shared(&shared);
	msr_create(&msrs, 1000);
	return 0;
}

static void test_hidden(void **state)
{
	struct cpuid_regs r;

	(void)state;
	r = ask(1, 0);
	assert_int_equal(r.ecx & 0x0001c1fc & ~(1u << 9),
			 0); /* DTES64 MONITOR .. TM2, xTPR, PDCM */
	assert_int_equal(r.ecx >> 31, 1);
	assert_int_equal(ask(5, 0).ecx, 0);
	assert_int_equal(ask(6, 0).eax, 4);
	assert_int_equal(ask(0x0a, 0).eax, 0);
	r = ask(7, 0);
	assert_int_equal(r.eax, 0);
	assert_int_equal(r.ebx & (1 << 4 | 1 << 11 | 1 << 2 | 1 << 14 | 1 << 25), 0);
	assert_int_equal(r.ecx & (1 << 5 | 1 << 7 | 1 << 24 | 1 << 29), 0);
	assert_int_equal(r.edx & 0xfc100000, 0); /* speculation controls, CET */
	assert_int_equal(ask(7, 1).eax, 0);
	assert_int_equal(ask(0x12, 0).eax, 0);
	r = ask(0x80000001, 0);
	assert_int_equal(r.ecx & (1 << 2 | 1 << 3 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 19 |
				  7 << 23 | 1 << 28 | 1 << 29),
			 0);
	assert_int_equal(ask(0x8000000a, 0).edx, 0);
	assert_int_equal(ask(0x8000001f, 0).eax, 0);
	assert_int_equal(ask(0x80000008, 0).ebx, 1 | 4 | 1 << 9);
	assert_int_equal(ask(0x80000008, 0).eax, 0x3930);
	assert_int_equal(ask(0x80000026, 0).eax, 0);
	assert_int_equal(ask(0x80000021, 0).eax, 0x45);
	assert_int_equal(ask(0x12345678, 0).eax, 0);
	assert_int_equal(ask(0xc0000000, 0).eax, 0);
}

static void test_wishes(void **state)
{
	(void)state;
	assert_true(ask(1, 0).ecx & 1 << 17);
	assert_true(ask(7, 0).ebx & 1 << 10);
	assert_true(ask(7, 0).ecx & 1 << 16);
	policy.no_pcid = policy.no_pku = policy.no_la57 = policy.no_gbpages = true;
	policy.tsc_invariant = policy.tsc_adjust = policy.tsc_deadline = false;
	policy.kvm_pv_eoi = policy.kvm_pv_ipi = false;
	assert_int_equal(ask(1, 0).ecx & (1 << 17 | 1 << 24), 0);
	assert_int_equal(ask(7, 0).ebx & (1 << 10 | 1 << 1), 0);
	assert_int_equal(ask(7, 0).ecx & (1 << 3 | 1 << 16), 0);
	assert_int_equal(ask(0x80000001, 0).edx & 1 << 26, 0);
	assert_int_equal(ask(0x80000007, 0).edx, 0);
	assert_int_equal(ask(0x80000008, 0).eax, 0x3030);
	assert_int_equal(ask(0x40000101, 0).eax, 2); /* no clock either: the TSC is not invariant */
	assert_int_equal(cpuid_cr4_allowed(&policy) & (1 << 17 | 1 << 22 | 1 << 12), 0);
	assert_int_equal(cpuid_xcr0_allowed(&policy), 0xe7);
}

static void test_state_bits(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0).ecx & 1 << 27, 0);
	assert_int_equal(ask(7, 0).ecx & 1 << 4, 0);
	assert_true(ask(1, 0).edx & 1 << 9);
	assert_true(ask(0x80000001, 0).edx & 1 << 9);
	vcpu.cr4 = 1 << 18 | 1 << 22;
	vcpu.apic_enabled = false;
	assert_true(ask(1, 0).ecx & 1 << 27);
	assert_true(ask(7, 0).ecx & 1 << 4);
	assert_int_equal(ask(1, 0).edx & 1 << 9, 0);
	assert_int_equal(ask(0x80000001, 0).edx & 1 << 9, 0);
	/* The size of the XSAVE area follows XCR0. */
	assert_int_equal(ask(0x0d, 0).eax, 0x2e7);
	assert_int_equal(ask(0x0d, 0).ecx, 2696);
	assert_int_equal(ask(0x0d, 0).ebx, 576);
	vcpu.xcr0 = 7;
	assert_int_equal(ask(0x0d, 0).ebx, 832);
	vcpu.xcr0 = 0xe7;
	assert_int_equal(ask(0x0d, 0).ebx, 2624);
	assert_int_equal(ask(0x0d, 1).eax, 7); /* no XSAVES */
	assert_int_equal(ask(0x0d, 1).ecx, 0);
	assert_int_equal(ask(0x0d, 3).eax, 0); /* MPX is not there */
	assert_int_equal(ask(0x0d, 2).eax, 256);
	assert_int_equal(ask(0x0d, 70).eax, 0);
}

/* For each number of CPUs, the ways to ask for the topology agree. */
static void test_topology(void **state)
{
	(void)state;
	for (policy.cpus = 1; policy.cpus <= 256; policy.cpus++) {
		unsigned int bits = ask(0x0b, 1).eax;

		assert_true(1u << bits >= policy.cpus);
		assert_true(bits == 0 || 1u << (bits - 1) < policy.cpus);
		assert_int_equal(ask(0x0b, 0).eax, 0);
		assert_int_equal(ask(0x0b, 0).ebx, 1);
		assert_int_equal(ask(0x0b, 0).ecx, 0x100);
		assert_int_equal(ask(0x0b, 1).ebx, policy.cpus);
		assert_int_equal(ask(0x0b, 1).ecx, 0x201);
		assert_int_equal(ask(0x0b, 2).ecx, 2);
		assert_int_equal(ask(0x0b, 2).ebx, 0);
		assert_int_equal(ask(0x80000008, 0).ecx, bits << 12 | (policy.cpus - 1));
		assert_int_equal(!!(ask(1, 0).edx & 1 << 28), policy.cpus > 1);
		assert_int_equal(!!(ask(0x80000001, 0).ecx & 2), policy.cpus > 1);
		vcpu.apic_id = policy.cpus - 1;
		assert_int_equal(ask(0x0b, 0).edx, vcpu.apic_id);
		assert_int_equal(ask(1, 0).ebx >> 24, vcpu.apic_id);
		assert_int_equal(ask(0x8000001e, 0).eax, vcpu.apic_id);
		assert_int_equal(ask(0x8000001e, 0).ebx, vcpu.apic_id);
		assert_int_equal(ask(0x8000001e, 0).ecx, 0);
	}
}

/* With packages there is no last level of cache for a kernel to share between them. */
static void test_packages(void **state)
{
	unsigned int levels = 0;

	(void)state;
	policy.host = cached;
	policy.cpus = 3;
	for (int packages = 0; packages < 2; packages++) {
		policy.packages = packages;
		assert_int_equal(ask(0x80000006, 0).edx != 0, !packages);
		assert_int_equal(ask(0x80000006, 0).ecx, 0x1234);
		for (levels = 0; ask(0x8000001d, levels).eax & 0x1f;)
			levels++;
		assert_int_equal(levels, packages ? 3 : 4);
		assert_int_equal(ask(0x8000001d, 2).eax >> 14 & 0xfff, 0);
		if (!packages)
			assert_int_equal(ask(0x8000001d, 3).eax >> 14 & 0xfff, 2);
		/* Bits 0 and 1 of the id tell the core. */
		assert_int_equal(ask(0x0b, 1).eax, 2);
		assert_int_equal(ask(0x80000008, 0).ecx, 2 << 12 | 2);
	}
}

static void test_hypervisor(void **state)
{
	struct cpuid_regs r = ask(0x40000000, 0);

	(void)state;
	assert_memory_equal(&r.ebx, "TwofoldTwofo", 12);
	r = ask(0x40000100, 0);
	assert_memory_equal(&r.ebx, "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(r.eax, 0x40000101);
	assert_int_equal(ask(0x40000101, 0).eax, 1 << 1 | 1 << 3 | 1 << 6 | 1 << 11 | 1 << 24);
	assert_int_equal(ask(0x40000200, 0).eax, 0);
}

static void test_little(void **state)
{
	(void)state;
	policy.host = little;
	assert_int_equal(ask(7, 0).ebx, 1 << 1);
	assert_int_equal(ask(0x0d, 0).eax, 0);
	assert_int_equal(cpuid_xcr0_allowed(&policy), 0);
	assert_false(cpuid_xcr0_valid(&policy, 1));
	assert_int_equal(cpuid_efer_allowed(&policy), 0x501);
	assert_int_equal(cpuid_maxphyaddr(&policy), 36);
	assert_int_equal(ask(0x80000008, 0).eax, 0);
	assert_int_equal(ask(0x80000001, 0).edx, 1u << 29 | 1u << 11);
	assert_int_equal(cpuid_cr4_allowed(&policy) & (1 << 20 | 1 << 21 | 1 << 18 | 1 << 16), 0);
}

static void test_intel(void **state)
{
	(void)state;
	assert_false(cpuid_is_intel(&policy));
	assert_int_equal(ask(0x80000000, 0).eax, 0x80000021);
	policy.host = intel;
	assert_true(cpuid_is_intel(&policy));
	assert_int_equal(ask(0x80000000, 0).eax, 0x80000008);
	assert_int_equal(ask(0x80000021, 0).eax, 0);
	assert_int_equal(ask(0x8000001e, 0).eax, 0);
	assert_int_equal(ask(1, 0).ecx & (1 << 3 | 1 << 5 | 1 << 6), 0); /* MONITOR, VMX, SMX */
	assert_int_equal(ask(7, 0).edx & (1 << 26 | 1 << 29), 0); /* IBRS, ARCH_CAPABILITIES */
	assert_int_equal(ask(0x0a, 0).eax, 0);			  /* counters */
	assert_int_equal(ask(0x15, 0).ebx, 0);
}

static void test_allowed(void **state)
{
	(void)state;
	assert_int_equal(cpuid_cr4_allowed(&policy), 0x771fff);
	assert_int_equal(cpuid_efer_allowed(&policy), 0x4d01);
	assert_int_equal(cpuid_maxphyaddr(&policy), 0x30);
	assert_true(cpuid_xcr0_valid(&policy, 1));
	assert_true(cpuid_xcr0_valid(&policy, 7));
	assert_true(cpuid_xcr0_valid(&policy, 0x2e7));
	assert_false(cpuid_xcr0_valid(&policy, 0));
	assert_false(cpuid_xcr0_valid(&policy, 5));
	assert_false(cpuid_xcr0_valid(&policy, 0x67));
	assert_false(cpuid_xcr0_valid(&policy, 0xe3));
	assert_false(cpuid_xcr0_valid(&policy, 0x9));
	assert_false(cpuid_xcr0_valid(&policy, 1ull << 62 | 1));
}

/* ---- MSRs ---- */

static enum msr_result rd(uint32_t msr, uint64_t *v)
{
	return msr_read(&shared, &msrs, &apic, &policy, msr, v);
}

static enum msr_result wr(uint32_t msr, uint64_t v)
{
	return msr_write(&shared, &msrs, &apic, &policy, msr, v);
}

static uint64_t rd_ok(uint32_t msr)
{
	uint64_t v = ~UINT64_C(0);

	assert_int_equal(rd(msr, &v), MSR_OK);
	return v;
}

static void test_bitmap(void **state)
{
	static uint8_t map[8192];
	unsigned int clear = 0;

	(void)state;
	memset(map, 0xff, sizeof(map));
	msr_fill_bitmap(map);
	assert_int_equal(map[0x174 / 4] & 3, 3 & map[0x174 / 4]);
	assert_int_equal(map[0x174 * 2 / 8] >> (0x174 * 2 % 8) & 3, 0);
	assert_int_equal(map[0x800 + 0x82 * 2 / 8] >> (0x82 * 2 % 8) & 3, 0);
	assert_int_equal(map[0x800 + 0x102 * 2 / 8] >> (0x102 * 2 % 8) & 3, 0);
	assert_int_equal(map[0x800 + 0x80 * 2 / 8] >> (0x80 * 2 % 8) & 3, 3); /* EFER */
	for (unsigned int i = 0; i < sizeof(map); i++)
		clear += 8 - (unsigned int)__builtin_popcount(map[i]);
	assert_int_equal(clear, 2 * 11);
}

static void test_unknown(void **state)
{
	uint64_t v;

	(void)state;
	assert_int_equal(rd(0xc0010114, &v), MSR_GP); /* VM_CR */
	assert_int_equal(wr(0xc0010117, 0), MSR_GP);
	assert_int_equal(rd(0x48, &v), MSR_GP);
	assert_int_equal(wr(0x49, 1), MSR_GP);
	assert_int_equal(shared.unknown_reads, 2);
	assert_int_equal(shared.unknown_writes, 2);
	assert_int_equal(shared.last_unknown, 0x49);
}

/* Either vendor's MSRs are there on its own CPUs only. */
static void test_vendor_msrs(void **state)
{
	uint64_t v;

	(void)state;
	assert_int_equal(rd(0x3a, &v), MSR_GP);
	assert_int_equal(rd_ok(0xc0010015), 1 << 24);
	assert_int_equal(rd_ok(0x1a0), 1);
	policy.host = intel;
	assert_int_equal(rd_ok(0x3a), 1); /* locked, without VMX */
	assert_int_equal(wr(0x3a, 5), MSR_GP);
	assert_int_equal(rd_ok(0x17), 0);
	assert_int_equal(rd_ok(0x1a0), 1 | 3 << 11);
	assert_int_equal(rd(0xc0010015, &v), MSR_GP);
	assert_int_equal(wr(0xc0010015, 1 << 24), MSR_GP);
	assert_int_equal(rd(0xc001001a, &v), MSR_GP);
	assert_int_equal(rd(0x480, &v), MSR_GP); /* VMX_BASIC */
}

static void test_linux_msrs(void **state)
{
	(void)state;
	assert_true(rd_ok(0xc0010015) & 1 << 24); /* the TSC counts with P0 */
	assert_int_equal(wr(0xc0010015, 1ull << 50), MSR_GP);
	assert_int_equal(wr(0xc0010015, 1 << 24 | 1 << 3), MSR_OK);
	assert_int_equal(wr(0xc001001f, 1ull << 46), MSR_OK);
	assert_int_equal(rd_ok(0xc001001f), 1ull << 46);
	assert_int_equal(rd_ok(0xc0011029), 2);
	assert_int_equal(rd_ok(0xc0010010), 0);
	assert_int_equal(rd_ok(0xc001001d), 0);
	assert_int_equal(rd_ok(0x179), 0);
	assert_int_equal(wr(0x17a, 0), MSR_OK);
	assert_int_equal(rd_ok(0x277), MSR_PAT_RESET);
	assert_int_equal(wr(0x277, 0x0002040600070406), MSR_GP);
	assert_int_equal(wr(0x277, 0x0407050600070106), MSR_PAT);
	assert_int_equal(msrs.pat, 0x0407050600070106);
	assert_int_equal(rd_ok(0x1b), 0xfee00900);
	assert_int_equal(wr(0x1b, 0), MSR_GP);
	assert_int_equal(wr(0x1d9, 2), MSR_OK);
	assert_int_equal(rd_ok(0x1d9), 2);
}

static void test_mtrrs(void **state)
{
	(void)state;
	assert_int_equal(rd_ok(0xfe), 0x508);
	assert_int_equal(rd_ok(0x2ff), 0xc06);
	assert_int_equal(rd_ok(0x250), 0x0606060606060606);
	assert_int_equal(rd_ok(0x26f), 0x0606060606060606);
	assert_int_equal(wr(0x268, 0x0206060606060606), MSR_GP);
	assert_int_equal(wr(0x268, 0), MSR_OK);
	assert_int_equal(rd_ok(0x268), 0);
	assert_int_equal(rd_ok(0x269), 0x0606060606060606);
	assert_int_equal(wr(0x200, 0xc0000000), MSR_OK);
	assert_int_equal(wr(0x201, 0xffffc0000800), MSR_OK);
	assert_int_equal(rd_ok(0x201), 0xffffc0000800);
	assert_int_equal(wr(0x201, 1ull << 48), MSR_GP);
	assert_int_equal(wr(0x201, 1), MSR_GP);
	assert_int_equal(wr(0x20f, 0), MSR_OK);
	assert_int_equal(wr(0x210, 0), MSR_GP);
	assert_int_equal(wr(0x200, 2), MSR_GP);
	assert_int_equal(wr(0x2ff, 0x1000), MSR_GP);
	assert_int_equal(wr(0x2ff, 0x800), MSR_OK);
}

static void test_tsc(void **state)
{
	uint64_t a, b;

	(void)state;
	assert_int_equal(rd_ok(0x3b), 0);
	assert_int_equal(wr(0x3b, 500), MSR_TSC);
	assert_int_equal(msrs.tsc_offset, 1500);
	assert_int_equal(wr(0x10, 0), MSR_TSC);
	a = rd_ok(0x10);
	b = rd_ok(0x10);
	assert_true(b >= a && b < 1ull << 40);
	assert_int_equal(rd_ok(0x3b), msrs.tsc_offset - 1000);
	policy.tsc_adjust = false;
	assert_int_equal(rd(0x3b, &a), MSR_GP);
	assert_int_equal(wr(0x3b, 1), MSR_GP);
}

static void test_clock(void **state)
{
	uint64_t v;

	(void)state;
	shared.epoch = 1795259521;
	assert_int_equal(wr(MSR_KVM_SYSTEM_TIME, 0x101), MSR_OK);
	assert_int_equal(rd_ok(MSR_KVM_SYSTEM_TIME), 0x101);
	assert_int_equal(wr(MSR_KVM_WALL_CLOCK, 0x200), MSR_OK);
	assert_int_equal(memory[0x100], 2);
	assert_int_equal(memory[0x11d], 1); /* stable */
	memcpy(&v, memory + 0x200, 8);
	assert_int_equal(v >> 32, 1795259521);
	/* The TSC moves: the origin follows. */
	assert_int_equal(wr(0x3b, 777), MSR_TSC);
	memcpy(&v, memory + 0x108, 8);
	assert_int_equal(v, 777);
	assert_int_equal(wr(MSR_KVM_SYSTEM_TIME, 1 << 20 | 1), MSR_GP);
	assert_int_equal(wr(MSR_KVM_SYSTEM_TIME, 0), MSR_OK);
	/* One second of TSC is one second, at any rate. */
	for (uint64_t wide = 500; wide < 0x80000000; wide = wide * 3 / 2 + 1) {
		uint32_t khz = (uint32_t)wide;
		uint32_t mul;
		int8_t shift;
		uint64_t ticks = khz * UINT64_C(1000), ns;

		assert_true(kvmclock_write(&bus, 0x101, khz, 0));
		memcpy(&mul, memory + 0x118, 4);
		shift = (int8_t)memory[0x11c];
		ns = shift < 0 ? ticks >> -shift : ticks << shift;
		ns = (uint64_t)((unsigned __int128)ns * mul >> 32);
		assert_in_range(ns, 999999990, 1000000000);
	}
	policy.tsc_khz = 0;
	assert_int_equal(wr(MSR_KVM_SYSTEM_TIME, 0x101), MSR_GP);
	assert_int_equal(wr(MSR_KVM_WALL_CLOCK, 0x200), MSR_GP);
	assert_int_equal(rd(MSR_KVM_WALL_CLOCK, &v), MSR_GP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_hidden, setup),
		cmocka_unit_test_setup(test_wishes, setup),
		cmocka_unit_test_setup(test_state_bits, setup),
		cmocka_unit_test_setup(test_topology, setup),
		cmocka_unit_test_setup(test_packages, setup),
		cmocka_unit_test_setup(test_hypervisor, setup),
		cmocka_unit_test_setup(test_little, setup),
		cmocka_unit_test_setup(test_intel, setup),
		cmocka_unit_test_setup(test_vendor_msrs, setup),
		cmocka_unit_test_setup(test_allowed, setup),
		cmocka_unit_test_setup(test_bitmap, setup),
		cmocka_unit_test_setup(test_unknown, setup),
		cmocka_unit_test_setup(test_linux_msrs, setup),
		cmocka_unit_test_setup(test_mtrrs, setup),
		cmocka_unit_test_setup(test_tsc, setup),
		cmocka_unit_test_setup(test_clock, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
