/* The virtual IOAPIC: redirection entries, pins, and the messages that they send. See ioapic.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/ioapic.h"

#define VERSION	     (0x20u | (IOAPIC_PINS - 1) << 16)
#define EOI_REGISTER 0x40u
#define WINDOW	     0x10u
#define INDEX_ENTRY  0x10u

#define ENTRY_LOGICAL (UINT64_C(1) << 11)
#define ENTRY_REMOTE  (UINT64_C(1) << 14)
#define ENTRY_LEVEL   (UINT64_C(1) << 15)
#define ENTRY_MASKED  (UINT64_C(1) << 16)
#define ENTRY_WRITE   UINT64_C(0xff0000000001afff) /* all but the read-only and reserved bits */

void ioapic_create(struct ioapic *io, struct lapic_bus *bus)
{
	__builtin_memset(io, 0, sizeof(*io));
	io->bus = bus;
	for (unsigned int i = 0; i < IOAPIC_PINS; i++)
		io->entry[i] = ENTRY_MASKED;
}

/* Send the pin's message. A level entry that is not ended yet (remote IRR) stays silent. */
static void fire(struct ioapic *io, unsigned int pin, int sender)
{
	uint64_t e = io->entry[pin];
	struct lapic_msg m = {
		.dest = (uint32_t)(e >> 56),
		.vector = (uint8_t)e,
		.delivery = (e >> 8) & 7,
		.logical = (e & ENTRY_LOGICAL) != 0,
		.level = (e & ENTRY_LEVEL) != 0,
	};

	if (e & (ENTRY_MASKED | ENTRY_REMOTE))
		return;
	if (!m.logical && m.dest == 0xff)
		m.dest = 0xffffffff;
	if (lapic_bus_send(io->bus, &m, sender) && m.level)
		io->entry[pin] |= ENTRY_REMOTE;
}

static void fire_if_level(struct ioapic *io, unsigned int pin, int sender)
{
	if ((io->entry[pin] & ENTRY_LEVEL) && (io->level & (1u << pin)))
		fire(io, pin, sender);
}

void ioapic_set(struct ioapic *io, unsigned int pin, bool asserted, int sender)
{
	uint32_t bit = 1u << pin;
	bool rises;

	if (pin >= IOAPIC_PINS)
		return;
	spin_lock(&io->lock);
	rises = asserted && !(io->level & bit);
	io->level = asserted ? io->level | bit : io->level & ~bit;
	if (rises)
		fire(io, pin, sender);
	spin_unlock(&io->lock);
}

void ioapic_pulse(struct ioapic *io, unsigned int pin, int sender)
{
	ioapic_set(io, pin, true, sender);
	ioapic_set(io, pin, false, sender);
}

static void end_vector(struct ioapic *io, uint8_t vector)
{
	for (unsigned int i = 0; i < IOAPIC_PINS; i++) {
		if (!(io->entry[i] & ENTRY_REMOTE) || (uint8_t)io->entry[i] != vector)
			continue;
		io->entry[i] &= ~ENTRY_REMOTE;
		fire_if_level(io, i, -1);
	}
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	spin_lock(&io->lock);
	end_vector(io, vector);
	spin_unlock(&io->lock);
}

static uint32_t read_register(const struct ioapic *io)
{
	unsigned int n = io->select - INDEX_ENTRY;

	switch (io->select) {
	case 0:
	case 2: /* arbitration id: the same */
		return io->id;
	case 1:
		return VERSION;
	}
	if (n < 2 * IOAPIC_PINS)
		return (uint32_t)(io->entry[n / 2] >> (n % 2 * 32));
	return 0;
}

static void write_register(struct ioapic *io, uint32_t v, int sender)
{
	unsigned int n = io->select - INDEX_ENTRY;
	unsigned int shift = n % 2 * 32;
	uint64_t mask = (UINT64_C(0xffffffff) << shift) & ENTRY_WRITE;
	uint64_t *e;

	if (io->select == 0)
		io->id = v & 0x0f000000;
	if (n >= 2 * IOAPIC_PINS)
		return;
	e = &io->entry[n / 2];
	*e = (*e & ~mask) | ((uint64_t)v << shift & mask);
	/* An edge entry has no remote IRR; switching to edge is how old drivers clear it. */
	if (!(*e & ENTRY_LEVEL))
		*e &= ~ENTRY_REMOTE;
	fire_if_level(io, n / 2, sender);
}

uint32_t ioapic_mmio_read(struct ioapic *io, unsigned int offset)
{
	uint32_t v = 0;

	spin_lock(&io->lock);
	switch (offset & 0xff) {
	case 0:
		v = io->select;
		break;
	case WINDOW:
		v = read_register(io);
		break;
	}
	spin_unlock(&io->lock);
	return v;
}

void ioapic_mmio_write(struct ioapic *io, unsigned int offset, uint32_t value, int sender)
{
	spin_lock(&io->lock);
	switch (offset & 0xff) {
	case 0:
		io->select = value & 0xff;
		break;
	case WINDOW:
		write_register(io, value, sender);
		break;
	case EOI_REGISTER:
		end_vector(io, (uint8_t)value);
		break;
	}
	spin_unlock(&io->lock);
}
