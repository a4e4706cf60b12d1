/* The MSR policy. See msr.h.
 *
 * AMD APM vol. 2, appendix A; Intel SDM vol. 4. The configuration MSRs of either vendor that are
 * here are those that stock kernels touch without a guard, or that tell them what is off; the
 * other vendor's do not exist.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/msr.h"

#include "dev/kvmclock.h"

enum {
	MSR_TSC_COUNTER = 0x10,
	MSR_PLATFORM_ID = 0x17,
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_TSC_ADJUST = 0x3b,
	MSR_PRED_CMD = 0x49,
	MSR_PATCH_LEVEL = 0x8b,
	MSR_MTRR_CAP = 0xfe,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_MCG_CAP = 0x179,
	MSR_MCG_STATUS = 0x17a,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_DEBUGCTL = 0x1d9,
	MSR_MTRR_PHYS = 0x200,
	MSR_MTRR_FIX64K = 0x250,
	MSR_MTRR_FIX16K = 0x258,
	MSR_MTRR_FIX4K = 0x268,
	MSR_PAT_TABLE = 0x277,
	MSR_MTRR_DEFAULT = 0x2ff,
};
#define MSR_STAR	   0xc0000081u
#define MSR_LSTAR	   0xc0000082u
#define MSR_CSTAR	   0xc0000083u
#define MSR_SFMASK	   0xc0000084u
#define MSR_FS_BASE	   0xc0000100u
#define MSR_GS_BASE	   0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX	   0xc0000103u
#define MSR_SYSCFG	   0xc0010010u
#define MSR_HWCR	   0xc0010015u
#define MSR_TOP_MEM	   0xc001001au
#define MSR_TOP_MEM2	   0xc001001du
#define MSR_NB_CFG	   0xc001001fu
#define MSR_DE_CFG	   0xc0011029u

#define MTRR_CAP	   (MSR_MTRR_VARIABLE | 1u << 8 | 1u << 10) /* fixed ones, write combining */
#define MTRR_DEFAULT_BITS  UINT64_C(0xcff)
#define MTRR_DEFAULT_RESET UINT64_C(0xc06) /* on, fixed ones on, write-back */
#define MTRR_WRITE_BACK	   UINT64_C(0x0606060606060606)

#define HWCR_TSC_FREQ_SEL (UINT64_C(1) << 24)
#define HWCR_BITS	  UINT64_C(0x4100005f) /* what may be written */
#define PATCH_LEVEL	  UINT64_C(0x0100006500000000)
#define MISC_FAST_STRINGS UINT64_C(1)
#define MISC_NO_BTS_PEBS  (UINT64_C(3) << 11) /* Intel */
#define FEATURE_LOCKED	  UINT64_C(1)	      /* and all that it could enable is off: VMX */
#define SYSCFG_BITS	  UINT64_C(0x7c0000)  /* MTRR extensions, TOM2 enables */

const uint32_t msr_pass_through[] = {
	MSR_SYSENTER_CS, MSR_SYSENTER_ESP,   MSR_SYSENTER_EIP, MSR_STAR,
	MSR_LSTAR,	 MSR_CSTAR,	     MSR_SFMASK,       MSR_FS_BASE,
	MSR_GS_BASE,	 MSR_KERNEL_GS_BASE, MSR_TSC_AUX,      0,
};

void msr_fill_bitmap(uint8_t *msrpm)
{
	for (const uint32_t *m = msr_pass_through; *m; m++) {
		/* Three vectors of 2 KiB: 0.., 0xc0000000.., 0xc0010000.. */
		uint32_t base = *m >= 0xc0010000u ? 0x1000 : *m >= 0xc0000000u ? 0x800 : 0;
		uint32_t bit = (*m & 0x1fff) * 2;

		msrpm[base + bit / 8] &= (uint8_t) ~(3u << bit % 8);
	}
}

void msr_create_shared(struct msr_shared *s)
{
	__builtin_memset(s, 0, sizeof(*s));
	s->mtrr_default = MTRR_DEFAULT_RESET;
	for (unsigned int i = 0; i < MSR_MTRR_FIXED; i++)
		s->mtrr_fixed[i] = MTRR_WRITE_BACK;
}

void msr_create(struct msr_vcpu *m, uint64_t tsc_offset)
{
	__builtin_memset(m, 0, sizeof(*m));
	m->pat = MSR_PAT_RESET;
	m->tsc_offset = tsc_offset;
	m->hwcr = HWCR_TSC_FREQ_SEL;
	m->misc_enable = MISC_FAST_STRINGS;
}

static uint64_t *fixed_mtrr(struct msr_shared *s, uint32_t msr)
{
	if (msr == MSR_MTRR_FIX64K)
		return &s->mtrr_fixed[0];
	if (msr == MSR_MTRR_FIX16K || msr == MSR_MTRR_FIX16K + 1)
		return &s->mtrr_fixed[1 + msr - MSR_MTRR_FIX16K];
	if (msr >= MSR_MTRR_FIX4K && msr < MSR_MTRR_FIX4K + 8)
		return &s->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K];
	return NULL;
}

static uint64_t *variable_mtrr(struct msr_shared *s, uint32_t msr)
{
	if (msr >= MSR_MTRR_PHYS && msr < MSR_MTRR_PHYS + 2 * MSR_MTRR_VARIABLE)
		return &s->mtrr_variable[msr - MSR_MTRR_PHYS];
	return NULL;
}

static bool is_lapic(uint32_t msr)
{
	return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE || msr == MSR_KVM_PV_EOI ||
	       (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

static bool has_ibpb(const struct cpuid_policy *p)
{
	const struct cpuid_vcpu v = {0};
	struct cpuid_regs r;

	cpuid_guest(p, &v, 0x80000008, 0, &r);
	return r.ebx & 1u << 12;
}

/* There on one vendor's CPUs only. */
static bool is_amds(uint32_t msr)
{
	return msr >= 0xc0010000u;
}

static bool is_intels(uint32_t msr)
{
	return msr == MSR_PLATFORM_ID || msr == MSR_FEATURE_CONTROL;
}

static bool is_others(const struct cpuid_policy *p, uint32_t msr)
{
	return cpuid_is_intel(p) ? is_amds(msr) : is_intels(msr);
}

static enum msr_result unknown(struct msr_shared *s, uint64_t *counter, uint32_t msr)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
	s->last_unknown = msr;
	return MSR_GP;
}

static uint64_t host_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

enum msr_result msr_read(struct msr_shared *s, struct msr_vcpu *m, struct lapic *l,
			 const struct cpuid_policy *p, uint32_t msr, uint64_t *value)
{
	const uint64_t *mtrr;

	if (is_lapic(msr))
		return lapic_msr_read(l, msr, value) ? MSR_OK : MSR_GP;
	mtrr = fixed_mtrr(s, msr);
	if (!mtrr)
		mtrr = variable_mtrr(s, msr);
	if (mtrr) {
		*value = *mtrr;
		return MSR_OK;
	}
	*value = 0;
	if (is_others(p, msr))
		return unknown(s, &s->unknown_reads, msr);
	switch (msr) {
	case MSR_TSC_COUNTER:
		*value = host_tsc() + m->tsc_offset;
		return MSR_OK;
	case MSR_TSC_ADJUST:
		*value = m->tsc_adjust;
		if (p->tsc_adjust)
			return MSR_OK;
		break;
	case MSR_PATCH_LEVEL:
		*value = PATCH_LEVEL;
		return MSR_OK;
	case MSR_MTRR_CAP:
		*value = MTRR_CAP;
		return MSR_OK;
	case MSR_MTRR_DEFAULT:
		*value = s->mtrr_default;
		return MSR_OK;
	case MSR_MISC_ENABLE:
		*value = m->misc_enable | (cpuid_is_intel(p) ? MISC_NO_BTS_PEBS : 0);
		return MSR_OK;
	case MSR_DEBUGCTL:
		*value = m->debugctl;
		return MSR_OK;
	case MSR_PAT_TABLE:
		*value = m->pat;
		return MSR_OK;
	case MSR_SYSCFG:
		*value = s->syscfg;
		return MSR_OK;
	case MSR_HWCR:
		*value = m->hwcr;
		return MSR_OK;
	case MSR_NB_CFG:
		*value = s->nb_cfg;
		return MSR_OK;
	case MSR_DE_CFG:
		*value = 2; /* LFENCE serializes */
		return MSR_OK;
	case MSR_FEATURE_CONTROL:
		*value = FEATURE_LOCKED;
		return MSR_OK;
	case MSR_PLATFORM_ID:
	case MSR_TOP_MEM:
	case MSR_TOP_MEM2:
	case MSR_MCG_CAP: /* no banks */
	case MSR_MCG_STATUS:
		return MSR_OK;
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_SYSTEM_TIME:
		*value = msr == MSR_KVM_SYSTEM_TIME ? m->kvm_clock : 0;
		if (cpuid_has_kvm_clock(p))
			return MSR_OK;
		break;
	}
	return unknown(s, &s->unknown_reads, msr);
}

/* Memory types: UC WC WT WP WB; PAT knows UC- (7) too. */
static bool are_types(uint64_t v, bool pat)
{
	for (unsigned int i = 0; i < 8; i++, v >>= 8) {
		uint8_t t = (uint8_t)v;

		if (t > 7 || t == 2 || t == 3 || (t == 7 && !pat))
			return false;
	}
	return true;
}

static enum msr_result write_mtrr(uint64_t *mtrr, const struct cpuid_policy *p, uint32_t msr,
				  uint64_t v)
{
	const uint64_t above = ~UINT64_C(0) << cpuid_maxphyaddr(p);

	if (msr >= MSR_MTRR_FIX64K) {
		if (!are_types(v, false))
			return MSR_GP;
	} else if (msr & 1) {
		if (v & (above | 0x7ff))
			return MSR_GP;
	} else if ((v & (above | 0xf00)) || !are_types(v & 0xff, false)) {
		return MSR_GP;
	}
	*mtrr = v;
	return MSR_OK;
}

static bool update_clock(const struct msr_vcpu *m, struct lapic *l, const struct cpuid_policy *p)
{
	return !(m->kvm_clock & 1) ||
	       kvmclock_write(l->bus, m->kvm_clock, p->tsc_khz, m->tsc_adjust);
}

static enum msr_result write_tsc(struct msr_vcpu *m, struct lapic *l, const struct cpuid_policy *p,
				 uint64_t adjust_by)
{
	m->tsc_adjust += adjust_by;
	m->tsc_offset += adjust_by;
	if (!update_clock(m, l, p))
		m->kvm_clock = 0;
	return MSR_TSC;
}

enum msr_result msr_write(struct msr_shared *s, struct msr_vcpu *m, struct lapic *l,
			  const struct cpuid_policy *p, uint32_t msr, uint64_t value)
{
	uint64_t *mtrr;

	if (is_lapic(msr))
		return lapic_msr_write(l, msr, value) ? MSR_OK : MSR_GP;
	mtrr = fixed_mtrr(s, msr);
	if (!mtrr)
		mtrr = variable_mtrr(s, msr);
	if (mtrr)
		return write_mtrr(mtrr, p, msr, value);
	if (is_others(p, msr))
		return unknown(s, &s->unknown_writes, msr);
	switch (msr) {
	case MSR_TSC_COUNTER:
		return write_tsc(m, l, p, value - (host_tsc() + m->tsc_offset));
	case MSR_TSC_ADJUST:
		if (p->tsc_adjust)
			return write_tsc(m, l, p, value - m->tsc_adjust);
		break;
	case MSR_PRED_CMD:
		/* Shown on emulators alone, which have no predictor to flush. */
		if (has_ibpb(p))
			return value & ~UINT64_C(1) ? MSR_GP : MSR_OK;
		break;
	case MSR_MCG_STATUS:
		return value ? MSR_GP : MSR_OK;
	case MSR_PATCH_LEVEL:
		return MSR_OK; /* asks for the level to be reported: it always is */
	case MSR_MTRR_DEFAULT:
		if ((value & ~MTRR_DEFAULT_BITS) || !are_types(value & 0xff, false))
			return MSR_GP;
		s->mtrr_default = value;
		return MSR_OK;
	case MSR_MISC_ENABLE:
		m->misc_enable = value;
		return MSR_OK;
	case MSR_DEBUGCTL:
		if (value & ~UINT64_C(0x3f))
			return MSR_GP;
		m->debugctl = value;
		return MSR_OK;
	case MSR_PAT_TABLE:
		if (!are_types(value, true))
			return MSR_GP;
		m->pat = value;
		return MSR_PAT;
	case MSR_SYSCFG:
		s->syscfg = value & SYSCFG_BITS;
		return MSR_OK;
	case MSR_HWCR:
		if (value & ~HWCR_BITS)
			return MSR_GP;
		m->hwcr = value | HWCR_TSC_FREQ_SEL;
		return MSR_OK;
	case MSR_NB_CFG:
		s->nb_cfg = value;
		return MSR_OK;
	case MSR_DE_CFG:
		return value == 2 ? MSR_OK : MSR_GP;
	case MSR_KVM_WALL_CLOCK:
		if (!cpuid_has_kvm_clock(p))
			break;
		return kvmclock_write_wall(l->bus, value, s->epoch) ? MSR_OK : MSR_GP;
	case MSR_KVM_SYSTEM_TIME:
		if (!cpuid_has_kvm_clock(p))
			break;
		m->kvm_clock = value;
		return update_clock(m, l, p) ? MSR_OK : MSR_GP;
	}
	return unknown(s, &s->unknown_writes, msr);
}
