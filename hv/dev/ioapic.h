/* One virtual IOAPIC with 24 pins (Intel 82093AA data sheet; version 0x20, so with an EOI
 * register).
 *
 * Edge and level pins, remote IRR, EOI broadcast from the local APICs. ISA interrupt n is on pin n,
 * but 0 (the PIT) on pin 2, as the MADT says.
 *
 * Lock: its own spin lock (leaf), taken in every call: call with interrupts off, from any CPU.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_IOAPIC_H
#define HV_DEV_IOAPIC_H

#include "dev/lapic.h"
#include "core/spin.h"

#define IOAPIC_BASE UINT64_C(0xfec00000)
#define IOAPIC_PINS 24u

struct ioapic {
	struct spin lock;
	uint32_t select; /* IOREGSEL */
	uint32_t id;	 /* register 0, bits 27:24 */
	uint32_t level;	 /* input lines that are asserted */
	uint64_t entry[IOAPIC_PINS];
	struct lapic_bus *bus;
};

void ioapic_create(struct ioapic *io, struct lapic_bus *bus);

static inline bool ioapic_has_mmio(uint64_t gpa)
{
	return gpa >> TF_PAGE_SHIFT == IOAPIC_BASE >> TF_PAGE_SHIFT;
}

/* 32-bit register accesses; sender: the vCPU on whose CPU we are. */
uint32_t ioapic_mmio_read(struct ioapic *io, unsigned int offset);
void ioapic_mmio_write(struct ioapic *io, unsigned int offset, uint32_t value, int sender);

/* An input line changes. For an edge source: ioapic_set(pin, true) then false. */
void ioapic_set(struct ioapic *io, unsigned int pin, bool asserted, int sender);
/* One edge: both of it. What a forwarded ISA interrupt (COM1: pin 4) uses. */
void ioapic_pulse(struct ioapic *io, unsigned int pin, int sender);
/* A local APIC ended a level-triggered vector. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

#endif
