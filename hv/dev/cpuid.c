/* CPUID for the guest. See cpuid.h.
 *
 * AMD APM vol. 3, appendix E; Intel SDM vol. 2, CPUID; Linux Documentation/virt/kvm/x86/cpuid.rst
 * for the block at 0x40000100.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/cpuid.h"

#define BIT(n) (1u << (n))

/* Leaf 1. */
enum {
	L1C_SSE3 = BIT(0),
	L1C_PCLMUL = BIT(1),
	L1C_SSSE3 = BIT(9),
	L1C_FMA = BIT(12),
	L1C_CX16 = BIT(13),
	L1C_PCID = BIT(17),
	L1C_SSE41 = BIT(19),
	L1C_SSE42 = BIT(20),
	L1C_X2APIC = BIT(21),
	L1C_MOVBE = BIT(22),
	L1C_POPCNT = BIT(23),
	L1C_DEADLINE = BIT(24),
	L1C_AES = BIT(25),
	L1C_XSAVE = BIT(26),
	L1C_OSXSAVE = BIT(27),
	L1C_AVX = BIT(28),
	L1C_F16C = BIT(29),
	L1C_RDRAND = BIT(30),
};
#define L1C_HYPERVISOR 0x80000000u
#define L1C_HOST                                                                                   \
	(L1C_SSE3 | L1C_PCLMUL | L1C_SSSE3 | L1C_FMA | L1C_CX16 | L1C_PCID | L1C_SSE41 |           \
	 L1C_SSE42 | L1C_MOVBE | L1C_POPCNT | L1C_AES | L1C_XSAVE | L1C_AVX | L1C_F16C |           \
	 L1C_RDRAND)

enum {
	L1D_VME = BIT(1),
	L1D_DE = BIT(2),
	L1D_PSE = BIT(3),
	L1D_TSC = BIT(4),
	L1D_PAE = BIT(6),
	L1D_MCE = BIT(7),
	L1D_APIC = BIT(9),
	L1D_MTRR = BIT(12),
	L1D_PGE = BIT(13),
	L1D_MCA = BIT(14),
	L1D_FXSR = BIT(24),
	L1D_SSE = BIT(25),
	L1D_HTT = BIT(28),
	/* FPU VME DE PSE TSC MSR PAE CX8, SEP PGE CMOV PAT PSE36, CLFSH, MMX FXSR SSE SSE2 SS. */
	L1D_HOST = 0x0f8ba97f,
};

/* Leaf 7, subleaf 0. */
enum {
	L7B_FSGSBASE = BIT(0),
	L7B_TSC_ADJUST = BIT(1),
	L7B_SMEP = BIT(7),
	L7B_INVPCID = BIT(10),
	L7B_SMAP = BIT(20),
	/* BMI1 AVX2 FDP BMI2 ERMS, FCS/FDS, AVX512*, RDSEED ADX, IFMA, CLFLUSHOPT CLWB, SHA. */
	L7B_OTHER = (int)0xf1af2368,
	L7C_UMIP = BIT(2),
	L7C_PKU = BIT(3),
	L7C_OSPKE = BIT(4),
	L7C_LA57 = BIT(16),
	/* VBMI, VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG, VPOPCNTDQ, RDPID. */
	L7C_OTHER = 0x00405f42,
	/* 4VNNIW 4FMAPS FSRM, VP2INTERSECT, SERIALIZE. */
	L7D_OTHER = 0x0000411c,
};

/* Leaf 0x80000001. */
enum {
	X1C_LAHF = BIT(0),
	X1C_CMP_LEGACY = BIT(1),
	X1C_TOPOEXT = BIT(22),
	/* CR8 ABM SSE4A MISALIGNSSE PREFETCHW, XOP, FMA4, TBM. */
	X1C_OTHER = 0x002109f0,
	X1D_SYSCALL = BIT(11),
	X1D_NX = BIT(20),
	X1D_FFXSR = BIT(25),
	X1D_1GIB = BIT(26),
	X1D_RDTSCP = BIT(27),
	X1D_LM = BIT(29),
	/* MMXEXT, 3DNow! both. */
	X1D_OTHER = (int)(BIT(22) | BIT(30) | 0x80000000u),
	X1D_MIRROR = 0x0183f3ff, /* of leaf 1 */
};

enum {
	X7D_INVARIANT_TSC = BIT(8),
	X8B_HOST = BIT(0) | BIT(2) | BIT(9),  /* CLZERO, XSAVEERPTR, WBNOINVD */
	X21A_HOST = BIT(0) | BIT(2) | BIT(6), /* NoNestedDataBp, LFENCE serializes, null selector */
};

enum {
	BASIC_MAX = 0x0d,
	KVM_BASE = 0x40000100,
	KVM_NOP_IO_DELAY = BIT(1),
	KVM_CLOCKSOURCE2 = BIT(3),
	KVM_PV_EOI = BIT(6),
	KVM_PV_IPI = BIT(11),
	KVM_CLOCK_STABLE = BIT(24),
};
#define EXTENDED	   0x80000000u
#define EXTENDED_MAX	   0x80000021u
#define EXTENDED_MAX_INTEL 0x80000008u

#define XCR0_KNOWN  UINT64_C(0x2e7) /* x87 SSE AVX, AVX-512's three, PKRU */
#define XCR0_AVX512 UINT64_C(0xe0)

static struct cpuid_regs ask(const struct cpuid_policy *p, uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r;

	p->host(leaf, subleaf, &r);
	return r;
}

/* The host's answer, or zeroes where it has no such leaf. */
static struct cpuid_regs ask_known(const struct cpuid_policy *p, uint32_t leaf, uint32_t subleaf)
{
	if (leaf > ask(p, leaf & 0x80000000u, 0).eax)
		return (struct cpuid_regs){0, 0, 0, 0};
	return ask(p, leaf, subleaf);
}

bool cpuid_is_intel(const struct cpuid_policy *p)
{
	return ask(p, 0, 0).ecx == 0x6c65746e; /* "ntel" */
}

static uint32_t extended_max(const struct cpuid_policy *p)
{
	return cpuid_is_intel(p) ? EXTENDED_MAX_INTEL : EXTENDED_MAX;
}

/* Bits of an APIC id that tell the core. */
static unsigned int core_bits(const struct cpuid_policy *p)
{
	return p->cpus > 1 ? 32 - (unsigned int)__builtin_clz(p->cpus - 1) : 0;
}

/* ---- features without the vCPU's own state ---- */

static uint32_t leaf1_ecx(const struct cpuid_policy *p)
{
	uint32_t c = ask(p, 1, 0).ecx & L1C_HOST;

	if (p->no_pcid)
		c &= ~L1C_PCID;
	c |= L1C_X2APIC | L1C_HYPERVISOR;
	return p->tsc_deadline ? c | L1C_DEADLINE : c;
}

static uint32_t leaf1_edx(const struct cpuid_policy *p)
{
	uint32_t d = ask(p, 1, 0).edx & L1D_HOST;

	/* There are machine checks, but no bank that could report one. */
	return d | L1D_MTRR | L1D_MCE | L1D_MCA | (p->cpus > 1 ? L1D_HTT : 0);
}

static struct cpuid_regs leaf7(const struct cpuid_policy *p)
{
	struct cpuid_regs r = ask_known(p, 7, 0);

	r.eax = 0;
	r.ebx &= L7B_OTHER | L7B_FSGSBASE | L7B_SMEP | L7B_INVPCID | L7B_SMAP;
	r.ecx &= L7C_OTHER | L7C_UMIP | L7C_PKU | L7C_LA57;
	r.edx &= L7D_OTHER;
	if (p->tsc_adjust)
		r.ebx |= L7B_TSC_ADJUST;
	if (p->no_pcid)
		r.ebx &= ~L7B_INVPCID;
	if (p->no_pku)
		r.ecx &= ~L7C_PKU;
	if (p->no_la57)
		r.ecx &= ~L7C_LA57;
	return r;
}

static uint32_t ext1_edx(const struct cpuid_policy *p)
{
	uint32_t d = ask_known(p, EXTENDED + 1, 0).edx;

	d &= X1D_SYSCALL | X1D_NX | X1D_FFXSR | X1D_1GIB | X1D_RDTSCP | X1D_LM | X1D_OTHER |
	     X1D_MIRROR;
	/* On Intel the mirror is empty, on AMD it is leaf 1 again. */
	d &= ~X1D_MIRROR | leaf1_edx(p);
	return p->no_gbpages ? d & ~X1D_1GIB : d;
}

/* ---- leaves ---- */

static void leaf_1(const struct cpuid_policy *p, const struct cpuid_vcpu *v, struct cpuid_regs *r)
{
	*r = ask(p, 1, 0);
	r->ebx = (r->ebx & 0xff00) | (p->cpus < 255 ? p->cpus : 255) << 16 | v->apic_id << 24;
	r->ecx = leaf1_ecx(p);
	if ((v->cr4 & BIT(18)) && (r->ecx & L1C_XSAVE))
		r->ecx |= L1C_OSXSAVE;
	r->edx = leaf1_edx(p) | (v->apic_enabled ? L1D_APIC : 0);
}

/* Intel's caches: how many logical CPUs share each. */
static void leaf_4(const struct cpuid_policy *p, uint32_t subleaf, struct cpuid_regs *r)
{
	*r = ask_known(p, 4, subleaf);
	if (!(r->eax & 0x1f))
		return;
	r->eax &= 0x3fff;
	if ((r->eax >> 5 & 7) >= 3)
		r->eax |= (BIT(core_bits(p)) - 1) << 14;
	r->eax |= (BIT(core_bits(p)) - 1) << 26;
}

static void leaf_b(const struct cpuid_policy *p, const struct cpuid_vcpu *v, uint32_t subleaf,
		   struct cpuid_regs *r)
{
	*r = (struct cpuid_regs){.ecx = subleaf & 0xff, .edx = v->apic_id};
	if (subleaf == 0) {
		r->ebx = 1;
		r->ecx |= 1 << 8; /* threads of a core */
	} else if (subleaf == 1) {
		r->eax = core_bits(p);
		r->ebx = p->cpus;
		r->ecx |= 2 << 8; /* cores of the package */
	}
}

static void leaf_d(const struct cpuid_policy *p, const struct cpuid_vcpu *v, uint32_t subleaf,
		   struct cpuid_regs *r)
{
	uint64_t allowed = cpuid_xcr0_allowed(p);
	uint32_t now = 576, most = 576;

	*r = (struct cpuid_regs){0, 0, 0, 0};
	if (!allowed)
		return;
	if (subleaf == 1) {
		r->eax = ask(p, 0x0d, 1).eax & 7; /* XSAVEOPT, XSAVEC, XGETBV(1); no XSAVES */
		r->ebx = r->eax & 2 ? ask(p, 0x0d, 1).ebx : 0;
		return;
	}
	if (subleaf > 1) {
		if (subleaf < 64 && (allowed >> subleaf & 1))
			*r = ask(p, 0x0d, subleaf);
		return;
	}
	for (unsigned int i = 2; i < 64; i++) {
		struct cpuid_regs part;
		uint32_t end;

		if (!(allowed >> i & 1))
			continue;
		part = ask(p, 0x0d, i);
		end = part.ebx + part.eax;
		if (end > most)
			most = end;
		if ((v->xcr0 >> i & 1) && end > now)
			now = end;
	}
	r->eax = (uint32_t)allowed;
	r->edx = (uint32_t)(allowed >> 32);
	r->ebx = now;
	r->ecx = most;
}

static void leaf_hypervisor(const struct cpuid_policy *p, uint32_t leaf, struct cpuid_regs *r)
{
	*r = (struct cpuid_regs){0, 0, 0, 0};
	switch (leaf) {
	case 0x40000000:
		/* TwofoldTwofo */
		*r = (struct cpuid_regs){leaf, 0x666f7754, 0x54646c6f, 0x6f666f77};
		break;
	case KVM_BASE:
		*r = (struct cpuid_regs){KVM_BASE + 1, 0x4b4d564b, 0x564b4d56, 0x4d};
		break;
	case KVM_BASE + 1:
		/* The POST port is a real one: as a delay it only costs. */
		r->eax = KVM_NOP_IO_DELAY | (p->kvm_pv_eoi ? KVM_PV_EOI : 0) |
			 (p->kvm_pv_ipi ? KVM_PV_IPI : 0) |
			 (cpuid_has_kvm_clock(p) ? KVM_CLOCKSOURCE2 | KVM_CLOCK_STABLE : 0);
		break;
	}
}

static void leaf_extended(const struct cpuid_policy *p, const struct cpuid_vcpu *v, uint32_t leaf,
			  uint32_t subleaf, struct cpuid_regs *r)
{
	*r = ask_known(p, leaf, subleaf);
	switch (leaf - EXTENDED) {
	case 0x00:
		r->eax = extended_max(p);
		return;
	case 0x01:
		r->ebx &= 0xf0000000;
		r->ecx &= X1C_LAHF | X1C_TOPOEXT | X1C_OTHER;
		/* Intel has no such bit; there leaf 4 tells. */
		if (p->cpus > 1 && ask(p, 0, 0).ecx == 0x444d4163)
			r->ecx |= X1C_CMP_LEGACY;
		r->edx = ext1_edx(p) | (v->apic_enabled ? r->edx & L1D_APIC : 0);
		return;
	case 0x06: /* L2 and L3 */
		if (p->packages)
			r->edx = 0;
		return;
	case 0x02 ... 0x05: /* brand string, L1, TLBs */
	case 0x19 ... 0x1a:
		return;
	case 0x07:
		*r = (struct cpuid_regs){.edx = p->tsc_invariant ? X7D_INVARIANT_TSC : 0};
		return;
	case 0x08:
		r->eax &= 0xffff;
		if (p->no_la57 && (r->eax >> 8) > 48)
			r->eax = (r->eax & 0xff) | 48 << 8;
		r->ebx &= X8B_HOST;
		r->ecx = core_bits(p) << 12 | (p->cpus - 1);
		r->edx = 0;
		return;
	case 0x1d: /* caches: the last level is shared by all, the rest by one thread */
		/* On some CPUs a kernel takes bits 3 and up of the APIC id for the number of the
		 * last level, whatever we say here: without one, it goes by the package. */
		if (p->packages && (r->eax >> 5 & 7) >= 3)
			*r = (struct cpuid_regs){0, 0, 0, 0};
		if (r->eax & 0x1f)
			r->eax = (r->eax & 0x3fff) |
				 ((r->eax >> 5 & 7) >= 3 ? (p->cpus - 1) << 14 : 0);
		return;
	case 0x1e:
		*r = (struct cpuid_regs){.eax = v->apic_id, .ebx = v->apic_id & 0xff};
		return;
	case 0x21:
		*r = (struct cpuid_regs){.eax = r->eax & X21A_HOST};
		return;
	default:
		*r = (struct cpuid_regs){0, 0, 0, 0};
	}
}

static void leaf_basic(const struct cpuid_policy *p, const struct cpuid_vcpu *v, uint32_t leaf,
		       uint32_t subleaf, struct cpuid_regs *r)
{
	*r = (struct cpuid_regs){0, 0, 0, 0};
	switch (leaf) {
	case 0x00:
		*r = ask(p, 0, 0);
		r->eax = BASIC_MAX;
		return;
	case 0x01:
		leaf_1(p, v, r);
		return;
	case 0x02:
		*r = ask_known(p, 2, 0);
		return;
	case 0x04:
		leaf_4(p, subleaf, r);
		return;
	case 0x06:
		r->eax = BIT(2); /* ARAT: the timer runs whatever the CPU does */
		return;
	case 0x07:
		if (subleaf == 0) {
			*r = leaf7(p);
			if ((v->cr4 >> 22 & 1) && (r->ecx & L7C_PKU))
				r->ecx |= L7C_OSPKE;
		}
		return;
	case 0x0b:
		leaf_b(p, v, subleaf, r);
		return;
	case 0x0d:
		leaf_d(p, v, subleaf, r);
		return;
	}
}

void cpuid_guest(const struct cpuid_policy *p, const struct cpuid_vcpu *v, uint32_t leaf,
		 uint32_t subleaf, struct cpuid_regs *out)
{
	if (leaf >= EXTENDED && leaf <= extended_max(p))
		leaf_extended(p, v, leaf, subleaf, out);
	else if (leaf >> 28 == 4)
		leaf_hypervisor(p, leaf, out);
	else
		leaf_basic(p, v, leaf, subleaf, out);
}

/* ---- what follows from the features ---- */

uint64_t cpuid_cr4_allowed(const struct cpuid_policy *p)
{
	const struct cpuid_regs l7 = leaf7(p);
	const uint32_t c = leaf1_ecx(p), d = leaf1_edx(p);
	uint64_t cr4 = UINT64_C(1) << 8; /* PCE: RDPMC then is #GP by itself */

	cr4 |= d & L1D_VME ? 3 : 0; /* VME, PVI */
	cr4 |= d & L1D_TSC ? 1 << 2 : 0;
	cr4 |= d & L1D_DE ? 1 << 3 : 0;
	cr4 |= d & L1D_PSE ? 1 << 4 : 0;
	cr4 |= d & L1D_PAE ? 1 << 5 : 0;
	cr4 |= d & L1D_MCE ? 1 << 6 : 0;
	cr4 |= d & L1D_PGE ? 1 << 7 : 0;
	cr4 |= d & L1D_FXSR ? 1 << 9 : 0;
	cr4 |= d & L1D_SSE ? 1 << 10 : 0;
	cr4 |= l7.ecx & L7C_UMIP ? 1 << 11 : 0;
	cr4 |= l7.ecx & L7C_LA57 ? 1 << 12 : 0;
	cr4 |= l7.ebx & L7B_FSGSBASE ? 1 << 16 : 0;
	cr4 |= c & L1C_PCID ? 1 << 17 : 0;
	cr4 |= c & L1C_XSAVE ? 1 << 18 : 0;
	cr4 |= l7.ebx & L7B_SMEP ? 1 << 20 : 0;
	cr4 |= l7.ebx & L7B_SMAP ? 1 << 21 : 0;
	cr4 |= l7.ecx & L7C_PKU ? 1 << 22 : 0;
	return cr4;
}

uint64_t cpuid_xcr0_allowed(const struct cpuid_policy *p)
{
	struct cpuid_regs r;
	uint64_t x;

	if (!(leaf1_ecx(p) & L1C_XSAVE))
		return 0;
	r = ask_known(p, 0x0d, 0);
	x = ((uint64_t)r.edx << 32 | r.eax) & XCR0_KNOWN;
	if (p->no_pku)
		x &= ~(UINT64_C(1) << 9);
	return x;
}

bool cpuid_xcr0_valid(const struct cpuid_policy *p, uint64_t x)
{
	if (!(x & 1) || (x & ~cpuid_xcr0_allowed(p)))
		return false;
	if ((x & 4) && !(x & 2))
		return false;
	return !(x & XCR0_AVX512) || ((x & XCR0_AVX512) == XCR0_AVX512 && (x & 4));
}

uint64_t cpuid_efer_allowed(const struct cpuid_policy *p)
{
	const uint32_t d = ext1_edx(p);
	uint64_t efer = 0;

	efer |= d & X1D_SYSCALL ? 1 : 0;
	efer |= d & X1D_LM ? 1 << 8 | 1 << 10 : 0;
	efer |= d & X1D_NX ? 1 << 11 : 0;
	efer |= d & X1D_FFXSR ? 1 << 14 : 0;
	return efer;
}

unsigned int cpuid_maxphyaddr(const struct cpuid_policy *p)
{
	struct cpuid_regs r = ask_known(p, EXTENDED + 8, 0);

	return r.eax & 0xff ? r.eax & 0xff : 36;
}
