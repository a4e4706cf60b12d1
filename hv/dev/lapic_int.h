/* What the local APIC's own files share.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_LAPIC_INT_H
#define HV_DEV_LAPIC_INT_H

#include "dev/lapic.h"

/* Register numbers: MMIO offset / 16, or MSR - 0x800. */
enum {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT = 0x32,
	REG_TIMER_INITIAL = 0x38,
	REG_TIMER_CURRENT = 0x39,
	REG_TIMER_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

#define SVR_ENABLE 0x100u

#define LVT_MASKED     (1u << 16)
#define LVT_TIMER_MODE (3u << 17)
#define TIMER_ONE_SHOT (0u << 17)
#define TIMER_PERIODIC (1u << 17)
#define TIMER_DEADLINE (2u << 17)

#define ICR_LOGICAL   (1u << 11)
#define ICR_BUSY      (1u << 12)
#define ICR_ASSERT    (1u << 14)
#define ICR_LEVEL     (1u << 15)
#define ICR_SHORTHAND (3u << 18)

#define ESR_SEND_VECTOR	   (1u << 5)
#define ESR_RECEIVE_VECTOR (1u << 6)
#define ESR_REGISTER	   (1u << 7)

#define DEST_ALL 0xffffffffu

/* The highest bit of a 256-bit set, or -1. */
static inline int lapic_highest(const uint64_t w[4])
{
	for (int i = 3; i >= 0; i--) {
		uint64_t v = __atomic_load_n(&w[i], __ATOMIC_RELAXED);

		if (v)
			return i * 64 + 63 - __builtin_clzll(v);
	}
	return -1;
}

static inline bool lapic_has_bit(const uint64_t w[4], uint8_t vector)
{
	return (__atomic_load_n(&w[vector / 64], __ATOMIC_RELAXED) >> (vector % 64)) & 1;
}

/* The processor priority register. */
uint8_t lapic_ppr(const struct lapic *l);
void lapic_eoi(struct lapic *l);
/* Note an error; raises the error interrupt if its LVT lets it. */
void lapic_error(struct lapic *l, uint32_t bit);

/* The timer. */
void lapic_timer_set_initial(struct lapic *l, uint32_t count);
void lapic_timer_set_divide(struct lapic *l, uint32_t divide);
void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt);
void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc);
uint32_t lapic_timer_current(const struct lapic *l);
void lapic_timer_stop(struct lapic *l);

/* Send what the ICR says: low is its low word, dest is decoded from its high word already
 * (DEST_ALL: broadcast). */
void lapic_icr_send(struct lapic *l, uint32_t low, uint32_t dest);

#endif
