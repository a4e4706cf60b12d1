/* The local APIC's registers as the guest sees them: by MMIO (xAPIC), by MSR (x2APIC), and the mode
 * itself (IA32_APIC_BASE).
 *
 * AMD APM vol. 2, 16.3.2 (register list) and 16.11 (x2APIC: reserved bits raise #GP).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/lapic_int.h"

#define LAPIC_VERSION (0x14u | (LAPIC_LVTS - 1) << 16)

/* Bits that may be written in the LVT entries; read-only ones (12, 14) are not among them. */
#define LVT_TIMER_BITS 0x000700ffu
#define LVT_OTHER_BITS 0x0001a7ffu
#define LVT_READ_ONLY  0x00005000u

#define SVR_BITS     0x3ffu
#define ICR_RESERVED UINT64_C(0xfff32000) /* of the low word, in x2APIC mode */

static uint32_t word_of(const uint64_t w[4], unsigned int n)
{
	return (uint32_t)(__atomic_load_n(&w[n / 2], __ATOMIC_RELAXED) >> (n % 2 * 32));
}

static uint32_t ldr_of(const struct lapic *l)
{
	return lapic_is_x2(l) ? (l->id >> 4) << 16 | 1u << (l->id & 0xf) : l->ldr;
}

/* Registers that read alike in both modes. False: there is none with this number. */
static bool reg_read(const struct lapic *l, unsigned int n, uint32_t *v)
{
	switch (n) {
	case REG_VERSION:
		*v = LAPIC_VERSION;
		return true;
	case REG_TPR:
		*v = l->tpr;
		return true;
	case REG_PPR:
		*v = lapic_ppr(l);
		return true;
	case REG_LDR:
		*v = ldr_of(l);
		return true;
	case REG_SVR:
		*v = l->svr;
		return true;
	case REG_ISR ... REG_ISR + 7:
		*v = word_of(l->isr, n - REG_ISR);
		return true;
	case REG_TMR ... REG_TMR + 7:
		*v = word_of(l->tmr, n - REG_TMR);
		return true;
	case REG_IRR ... REG_IRR + 7:
		*v = word_of(l->irr, n - REG_IRR);
		return true;
	case REG_ESR:
		*v = l->esr;
		return true;
	case REG_LVT ... REG_LVT + LAPIC_LVTS - 1:
		*v = l->lvt[n - REG_LVT];
		return true;
	case REG_TIMER_INITIAL:
		*v = l->timer_initial;
		return true;
	case REG_TIMER_CURRENT:
		*v = lapic_timer_current(l);
		return true;
	case REG_TIMER_DIVIDE:
		*v = l->timer_divide;
		return true;
	default:
		return false;
	}
}

static void write_svr(struct lapic *l, uint32_t v)
{
	__atomic_store_n(&l->svr, v & SVR_BITS, __ATOMIC_RELAXED);
	if (v & SVR_ENABLE)
		return;
	for (unsigned int i = 0; i < LAPIC_LVTS; i++)
		l->lvt[i] |= LVT_MASKED;
}

static void write_lvt(struct lapic *l, unsigned int i, uint32_t v)
{
	v &= i == LAPIC_LVT_TIMER ? LVT_TIMER_BITS : LVT_OTHER_BITS;
	if (!(l->svr & SVR_ENABLE))
		v |= LVT_MASKED;
	if (i == LAPIC_LVT_TIMER)
		lapic_timer_set_lvt(l, v);
	else
		l->lvt[i] = v;
}

/* Registers that are written alike in both modes, reserved bits aside. */
static bool reg_write(struct lapic *l, unsigned int n, uint32_t v)
{
	switch (n) {
	case REG_TPR:
		l->tpr = v & 0xff;
		return true;
	case REG_EOI:
		lapic_eoi(l);
		return true;
	case REG_SVR:
		write_svr(l, v);
		return true;
	case REG_ESR:
		l->esr = __atomic_exchange_n(&l->esr_latent, 0, __ATOMIC_RELAXED);
		return true;
	case REG_LVT ... REG_LVT + LAPIC_LVTS - 1:
		write_lvt(l, n - REG_LVT, v);
		return true;
	case REG_TIMER_INITIAL:
		lapic_timer_set_initial(l, v);
		return true;
	case REG_TIMER_DIVIDE:
		lapic_timer_set_divide(l, v);
		return true;
	default:
		return false;
	}
}

/* ---- xAPIC ---- */

uint32_t lapic_mmio_read(struct lapic *l, unsigned int offset)
{
	unsigned int n = (offset & TF_PAGE_MASK) >> 4;
	uint32_t v = 0;

	switch (n) {
	case REG_ID:
		return l->id << 24;
	case REG_DFR:
		return l->dfr;
	case REG_ICR:
		return (uint32_t)l->icr;
	case REG_ICR_HIGH:
		return (uint32_t)(l->icr >> 32);
	case REG_APR:
	case REG_EOI:
	case REG_RRD:
		return 0;
	}
	if (!reg_read(l, n, &v))
		lapic_error(l, ESR_REGISTER);
	return v;
}

void lapic_mmio_write(struct lapic *l, unsigned int offset, uint32_t value)
{
	unsigned int n = (offset & TF_PAGE_MASK) >> 4;
	uint32_t dest;

	switch (n) {
	case REG_ID: /* fixed */
	case REG_RRD:
		return;
	case REG_LDR:
		__atomic_store_n(&l->ldr, value & 0xff000000, __ATOMIC_RELAXED);
		return;
	case REG_DFR:
		__atomic_store_n(&l->dfr, value | 0x0fffffff, __ATOMIC_RELAXED);
		return;
	case REG_ICR_HIGH:
		l->icr = (l->icr & 0xffffffff) | (uint64_t)(value & 0xff000000) << 32;
		return;
	case REG_ICR:
		value &= ~ICR_BUSY;
		l->icr = (l->icr & ~UINT64_C(0xffffffff)) | value;
		dest = (uint32_t)(l->icr >> 56);
		if (dest == 0xff && !(value & ICR_LOGICAL))
			dest = DEST_ALL;
		lapic_icr_send(l, value, dest);
		return;
	}
	if (!reg_write(l, n, value))
		lapic_error(l, ESR_REGISTER);
}

/* ---- x2APIC ---- */

static bool x2_read(struct lapic *l, unsigned int n, uint64_t *value)
{
	uint32_t v;

	switch (n) {
	case REG_ID:
		*value = l->id;
		return true;
	case REG_ICR:
		*value = l->icr;
		return true;
	}
	if (!reg_read(l, n, &v))
		return false;
	*value = v;
	return true;
}

/* Does the value respect the reserved bits of a 32-bit register? */
static bool x2_valid(unsigned int n, uint64_t v)
{
	switch (n) {
	case REG_TPR:
	case REG_SELF_IPI:
		return v <= 0xff;
	case REG_EOI:
	case REG_ESR:
		return v == 0;
	case REG_SVR:
		return !(v & ~(uint64_t)SVR_BITS);
	case REG_LVT:
		return !(v & ~(uint64_t)(LVT_TIMER_BITS | LVT_READ_ONLY));
	case REG_LVT + 1 ... REG_LVT + LAPIC_LVTS - 1:
		return !(v & ~(uint64_t)(LVT_OTHER_BITS | LVT_READ_ONLY));
	case REG_TIMER_DIVIDE:
		return !(v & ~UINT64_C(0xb));
	default:
		return v >> 32 == 0;
	}
}

static bool x2_write(struct lapic *l, unsigned int n, uint64_t v)
{
	if (n == REG_ICR) {
		if (v & ICR_RESERVED)
			return false;
		l->icr = v & ~(uint64_t)ICR_BUSY;
		lapic_icr_send(l, (uint32_t)v, (uint32_t)(v >> 32));
		return true;
	}
	if (!x2_valid(n, v))
		return false;
	if (n == REG_SELF_IPI) {
		lapic_icr_send(l, (uint32_t)v | 1u << 18, 0);
		return true;
	}
	return reg_write(l, n, (uint32_t)v);
}

/* ---- IA32_APIC_BASE ---- */

static bool write_base(struct lapic *l, uint64_t v)
{
	const uint64_t mode = APIC_BASE_EN | APIC_BASE_X2;
	uint64_t old = l->base & mode, new = v &mode;

	/* The page stays where it is: memory elsewhere is the guest's own. */
	if ((v & ~(mode | APIC_BASE_BSP)) != LAPIC_DEFAULT_BASE)
		return false;
	if (new == APIC_BASE_X2)
		return false;
	if (old == mode && new == APIC_BASE_EN)
		return false;
	if (old == 0 && new == mode)
		return false;
	if (new == 0 && old != 0)
		lapic_init_reset(l);
	if (new != old)
		l->icr = 0;
	__atomic_store_n(&l->base, LAPIC_DEFAULT_BASE | (l->base & APIC_BASE_BSP) | new,
			 __ATOMIC_RELAXED);
	return true;
}

bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value)
{
	switch (msr) {
	case MSR_APIC_BASE:
		*value = l->base;
		return true;
	case MSR_TSC_DEADLINE:
		*value = (l->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_MODE) == TIMER_DEADLINE ? l->deadline
										      : 0;
		return true;
	case MSR_KVM_PV_EOI:
		*value = l->pv_eoi;
		return l->bus->ops->mem_read != NULL;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
		return lapic_is_x2(l) && x2_read(l, msr - MSR_X2APIC_FIRST, value);
	default:
		return false;
	}
}

bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value)
{
	switch (msr) {
	case MSR_APIC_BASE:
		return write_base(l, value);
	case MSR_TSC_DEADLINE:
		lapic_timer_set_deadline(l, value);
		return true;
	case MSR_KVM_PV_EOI:
		if (!l->bus->ops->mem_read || (value & 2))
			return false;
		l->pv_eoi = value & 1 ? value : 0;
		l->pv_eoi_armed = false;
		return true;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
		return lapic_is_x2(l) && x2_write(l, msr - MSR_X2APIC_FIRST, value);
	default:
		return false;
	}
}
