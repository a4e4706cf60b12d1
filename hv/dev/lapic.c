/* The virtual local APIC's heart: pending and in-service vectors, priorities, EOI, reset, and the
 * paravirtual EOI. See lapic.h for the contract and the locks.
 *
 * AMD APM vol. 2, 16.6 (priorities) and 16.3 (reset); Intel SDM vol. 3, 11.8.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/lapic_int.h"

void lapic_create(struct lapic *l, struct lapic_bus *bus, unsigned int index, unsigned int id)
{
	__builtin_memset(l, 0, sizeof(*l));
	l->bus = bus;
	l->index = index;
	l->id = id;
	l->base = LAPIC_DEFAULT_BASE | APIC_BASE_EN | (index == 0 ? APIC_BASE_BSP : 0);
	lapic_init_reset(l);
	bus->cpu[index] = l;
	bus->by_id[id] = l;
	if (bus->count <= index)
		bus->count = index + 1;
}

void lapic_init_reset(struct lapic *l)
{
	lapic_timer_stop(l);
	for (unsigned int i = 0; i < 4; i++) {
		__atomic_store_n(&l->irr[i], 0, __ATOMIC_RELAXED);
		__atomic_store_n(&l->tmr[i], 0, __ATOMIC_RELAXED);
		l->isr[i] = 0;
	}
	l->icr = 0;
	l->tpr = 0;
	l->svr = 0xff;
	l->ldr = 0;
	l->dfr = 0xffffffff;
	l->esr = 0;
	l->esr_latent = 0;
	l->timer_initial = 0;
	l->timer_divide = 0;
	for (unsigned int i = 0; i < LAPIC_LVTS; i++)
		l->lvt[i] = LVT_MASKED;
	l->pv_eoi = 0;
	l->pv_eoi_armed = false;
}

uint8_t lapic_ppr(const struct lapic *l)
{
	int isrv = lapic_highest(l->isr);

	if (isrv < 0 || l->tpr >> 4 >= (unsigned int)isrv >> 4)
		return (uint8_t)l->tpr;
	return isrv & 0xf0;
}

__attribute__((hot)) int lapic_pending(const struct lapic *l)
{
	int irrv = lapic_highest(l->irr);

	if (irrv < 0 || irrv >> 4 <= lapic_ppr(l) >> 4 || !(l->base & APIC_BASE_EN))
		return -1;
	return irrv;
}

void lapic_accept(struct lapic *l, uint8_t vector)
{
	uint64_t bit = UINT64_C(1) << (vector % 64);

	__atomic_fetch_and(&l->irr[vector / 64], ~bit, __ATOMIC_SEQ_CST);
	l->isr[vector / 64] |= bit;
}

void lapic_offer(struct lapic *l, uint8_t vector)
{
	__atomic_fetch_and(&l->irr[vector / 64], ~(UINT64_C(1) << (vector % 64)), __ATOMIC_SEQ_CST);
}

void lapic_offered(struct lapic *l, uint8_t vector, bool taken)
{
	uint64_t bit = UINT64_C(1) << (vector % 64);

	if (taken)
		l->isr[vector / 64] |= bit;
	else
		__atomic_fetch_or(&l->irr[vector / 64], bit, __ATOMIC_SEQ_CST);
}

void lapic_eoi(struct lapic *l)
{
	int v = lapic_highest(l->isr);

	if (v < 0)
		return;
	l->isr[v / 64] &= ~(UINT64_C(1) << (v % 64));
	if (lapic_has_bit(l->tmr, (uint8_t)v))
		l->bus->ops->eoi(l->bus->ctx, (uint8_t)v);
}

void lapic_error(struct lapic *l, uint32_t bit)
{
	uint32_t lvt = l->lvt[LAPIC_LVT_ERROR];

	__atomic_fetch_or(&l->esr_latent, bit, __ATOMIC_RELAXED);
	if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16)
		lapic_post(l, (uint8_t)lvt, false, (int)l->index);
}

bool lapic_post(struct lapic *l, uint8_t vector, bool level, int sender)
{
	uint64_t bit = UINT64_C(1) << (vector % 64);
	unsigned int w = vector / 64;
	uint64_t tmr, old;

	if (!(__atomic_load_n(&l->svr, __ATOMIC_RELAXED) & SVR_ENABLE))
		return false;
	if (vector < 16) {
		__atomic_fetch_or(&l->esr_latent, ESR_RECEIVE_VECTOR, __ATOMIC_RELAXED);
		return false;
	}
	tmr = __atomic_load_n(&l->tmr[w], __ATOMIC_RELAXED);
	if (level && !(tmr & bit))
		__atomic_fetch_or(&l->tmr[w], bit, __ATOMIC_RELAXED);
	else if (!level && (tmr & bit))
		__atomic_fetch_and(&l->tmr[w], ~bit, __ATOMIC_RELAXED);
	old = __atomic_fetch_or(&l->irr[w], bit, __ATOMIC_SEQ_CST);
	/* Was it set already? Then whoever set it kicks, or has kicked. */
	if (!(old & bit) && sender != (int)l->index)
		l->bus->ops->kick(l->bus->ctx, l->index);
	return true;
}

/* ---- paravirtual EOI ----
 *
 * Bit 0 of a word in guest memory says to the guest "this interrupt needs no EOI": the guest clears
 * it instead of an EOI that would exit, and we take that as the EOI at the next exit. That is right
 * only while an EOI would have no other effect: nothing else is pending, nothing in service is
 * level-triggered. Whoever posts meanwhile kicks, and the next lapic_enter() takes the word back.
 */

static bool pv_eoi_allowed(const struct lapic *l, int offered)
{
	uint64_t serving = 0;

	for (int i = 0; i < 4; i++) {
		uint64_t mine =
			offered >= 0 && offered / 64 == i ? UINT64_C(1) << (offered % 64) : 0;
		uint64_t service = l->isr[i] | mine;

		if (__atomic_load_n(&l->irr[i], __ATOMIC_RELAXED))
			return false;
		if (service & __atomic_load_n(&l->tmr[i], __ATOMIC_RELAXED))
			return false;
		serving |= service;
	}
	return serving != 0;
}

__attribute__((hot)) void lapic_exit(struct lapic *l, uint8_t cr8)
{
	const struct lapic_bus *b = l->bus;
	uint32_t word;

	if (l->tpr >> 4 != cr8)
		l->tpr = (uint32_t)(cr8 & 0xf) << 4;
	if (!l->pv_eoi_armed)
		return;
	if (!b->ops->mem_read(b->ctx, l->pv_eoi & ~UINT64_C(3), &word, sizeof(word))) {
		l->pv_eoi_armed = false;
		l->pv_eoi = 0;
	} else if (!(word & 1)) {
		l->pv_eoi_armed = false;
		lapic_eoi(l);
	}
}

__attribute__((hot)) void lapic_enter(struct lapic *l, int offered)
{
	const struct lapic_bus *b = l->bus;
	uint32_t word;
	bool want;

	if (!l->pv_eoi)
		return;
	want = pv_eoi_allowed(l, offered);
	if (want == l->pv_eoi_armed)
		return;
	word = want;
	if (b->ops->mem_write(b->ctx, l->pv_eoi & ~UINT64_C(3), &word, sizeof(word)))
		l->pv_eoi_armed = want;
	else
		l->pv_eoi = 0;
}
