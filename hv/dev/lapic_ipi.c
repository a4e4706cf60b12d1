/* Interrupt messages between local APICs and from the IOAPIC: destinations and delivery modes.
 *
 * AMD APM vol. 2, 16.5 and 16.13 (x2APIC); Intel SDM vol. 3, 11.6.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/lapic_int.h"

#define KVM_EINVAL 22

static bool matches_logical(const struct lapic *l, uint32_t dest)
{
	uint32_t mine;

	if (lapic_is_x2(l))
		return dest >> 16 == l->id >> 4 && (dest & (1u << (l->id & 0xf)));
	mine = __atomic_load_n(&l->ldr, __ATOMIC_RELAXED) >> 24;
	if (dest > 0xff)
		return false;
	if (__atomic_load_n(&l->dfr, __ATOMIC_RELAXED) >> 28 == 0xf)
		return (mine & dest) != 0;
	/* Cluster model: cluster number, then a bit for each of its four members. */
	return (dest >> 4 == 0xf || dest >> 4 == mine >> 4) && (mine & dest & 0xf);
}

/* Only an enabled local APIC hears messages. */
static bool matches(const struct lapic *l, const struct lapic_msg *m)
{
	if (!(__atomic_load_n(&l->base, __ATOMIC_RELAXED) & APIC_BASE_EN))
		return false;
	if (m->dest == DEST_ALL)
		return true;
	return m->logical ? matches_logical(l, m->dest) : m->dest == l->id;
}

static bool take(struct lapic *l, const struct lapic_msg *m, int sender)
{
	const struct lapic_bus *b = l->bus;

	switch (m->delivery) {
	case LAPIC_FIXED:
	case LAPIC_LOWEST:
		return lapic_post(l, m->vector, m->level, sender);
	case LAPIC_NMI:
		b->ops->nmi(b->ctx, l->index);
		return true;
	case LAPIC_INIT:
		b->ops->init(b->ctx, l->index);
		return true;
	case LAPIC_SIPI:
		b->ops->sipi(b->ctx, l->index, m->vector);
		return true;
	default:
		return false;
	}
}

unsigned int lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *m, int sender)
{
	unsigned int taken = 0;

	if (!m->logical && m->dest != DEST_ALL) {
		struct lapic *l = m->dest < LAPIC_IDS ? bus->by_id[m->dest] : NULL;

		return l && matches(l, m) && take(l, m, sender);
	}
	for (unsigned int i = 0; i < bus->count; i++) {
		if (!matches(bus->cpu[i], m) || !take(bus->cpu[i], m, sender))
			continue;
		taken++;
		/* "Lowest priority" is any one of them. */
		if (m->delivery == LAPIC_LOWEST)
			break;
	}
	return taken;
}

static void send_others(struct lapic *l, const struct lapic_msg *m)
{
	for (unsigned int i = 0; i < l->bus->count; i++)
		if (i != l->index &&
		    (__atomic_load_n(&l->bus->cpu[i]->base, __ATOMIC_RELAXED) & APIC_BASE_EN))
			take(l->bus->cpu[i], m, (int)l->index);
}

void lapic_icr_send(struct lapic *l, uint32_t low, uint32_t dest)
{
	struct lapic_msg m = {
		.dest = dest,
		.vector = (uint8_t)low,
		.delivery = (low >> 8) & 7,
		.logical = (low & ICR_LOGICAL) != 0,
	};

	/* IPIs are edges, whatever the trigger bit says; the level INIT de-assert does nothing on
	 * anything newer than a Pentium. */
	if (m.delivery == LAPIC_INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT))
		return;
	if ((m.delivery == LAPIC_FIXED || m.delivery == LAPIC_LOWEST) && m.vector < 16) {
		lapic_error(l, ESR_SEND_VECTOR);
		return;
	}
	switch ((low & ICR_SHORTHAND) >> 18) {
	case 0:
		lapic_bus_send(l->bus, &m, (int)l->index);
		break;
	case 1:
		if (m.delivery == LAPIC_FIXED)
			lapic_post(l, m.vector, false, (int)l->index);
		break;
	case 2:
		m.dest = DEST_ALL;
		lapic_bus_send(l->bus, &m, (int)l->index);
		break;
	case 3:
		send_others(l, &m);
		break;
	}
}

int64_t lapic_kvm_ipi(struct lapic_bus *bus, unsigned int sender, uint64_t a1, uint64_t a2,
		      uint64_t a3, uint64_t a4)
{
	const uint64_t map[2] = {a1, a2};
	struct lapic_msg m = {
		.vector = (uint8_t)a4,
		.delivery = (a4 >> 8) & 7,
	};
	int64_t sent = 0;

	if (a4 & (ICR_LOGICAL | ICR_SHORTHAND))
		return -KVM_EINVAL;
	if (m.delivery != LAPIC_FIXED && m.delivery != LAPIC_NMI)
		return -KVM_EINVAL;
	for (unsigned int w = 0; w < 2; w++) {
		for (uint64_t left = map[w]; left; left &= left - 1) {
			uint64_t id = a3 + w * 64 + (unsigned int)__builtin_ctzll(left);

			if (id < a3 || id >= LAPIC_IDS)
				continue;
			m.dest = (uint32_t)id;
			sent += lapic_bus_send(bus, &m, (int)sender);
		}
	}
	return sent;
}
