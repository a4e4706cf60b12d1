/* The guest's I/O ports: who owns each, and the devices that are ours.
 *
 * Passed through (no exits; ports_pass_through() tells which bits of the I/O bitmap to clear):
 * COM1, the PIT, port 0x61, the POST port 0x80, the host's PM timer. Ours: PIC, CMOS clock, fw_cfg,
 * ACPI PM1, reset, debug exit, marks, PCI configuration with a lone host bridge. All else reads as
 * ones and is counted.
 *
 * Lock: one spin lock (leaf) in struct ports, held over each access and cmos_read, not over mark
 * and end. Call with interrupts off, from any CPU.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_PORTS_H
#define HV_DEV_PORTS_H

#include "dev/cmos.h"
#include "dev/fwcfg.h"
#include "dev/pic.h"
#include "dev/pm.h"
#include "core/spin.h"

enum {
	PORT_DEBUG_EXIT = 0xf4,
	PORT_MARK = 0xf5,
};

enum ports_end {
	PORTS_RUN = 0, /* go on */
	PORTS_POWEROFF,
	PORTS_RESET,
	PORTS_DEBUG_EXIT /* .code is what was written */
};

struct ports_ops {
	/* Read a register of the machine's own CMOS (0..0x7f); for the clock only. NULL: the
	 * guest's clock stands at the epoch of its chip. */
	uint8_t (*cmos_read)(void *ctx, uint8_t index);
	/* The guest wrote a byte to the mark port. */
	void (*mark)(void *ctx, unsigned int vcpu, uint8_t b);
	/* The guest ends (enum ports_end). Called once for each write that asks for it; what
	 * happens then is the caller's: the vCPU goes on if nothing does. */
	void (*end)(void *ctx, unsigned int vcpu, enum ports_end why, uint32_t code);
};

struct ports {
	struct spin lock;
	const struct ports_ops *ops;
	void *ctx;
	struct pic pic;
	struct pm pm;
	struct fwcfg fwcfg;
	struct cmos cmos;
	uint8_t port92;
	uint32_t pci_address;
	uint16_t pm_timer; /* the host's port, 0: none */
	/* Statistics; relaxed atomics. */
	uint64_t unknown_in, unknown_out;
	uint16_t last_unknown;
};

/* cpus: for fw_cfg. pm_timer: the host's PM timer port (from its FADT), 0: none. */
void ports_create(struct ports *p, const struct ports_ops *ops, void *ctx, unsigned int cpus,
		  uint16_t pm_timer);

/* The machine's clock as seconds since 1970 (UTC), read by cmos_read; 0: it has none, or its date
 * is none. */
uint64_t ports_epoch(struct ports *p);

/* May the guest reach this port without an exit? */
bool ports_pass_through(const struct ports *p, uint16_t port);
/* Clear the bits of all passed-through ports in an I/O permission bitmap (one bit a port, set =
 * intercept; AMD APM vol. 2, 15.10). */
void ports_fill_bitmap(const struct ports *p, uint8_t *bitmap);

/* One IN or OUT that exited; size 1, 2, 4. For IN the result is zero-extended to 32 bits (the
 * caller merges AL/AX/EAX). Accesses wider than the device's port are split into bytes where the
 * device is a byte device. */
uint32_t ports_in(struct ports *p, unsigned int vcpu, uint16_t port, unsigned int size);
void ports_out(struct ports *p, unsigned int vcpu, uint16_t port, unsigned int size, uint32_t v);

#endif
