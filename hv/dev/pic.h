/* The legacy pair of 8259 interrupt controllers and their ELCR: enough to be found, programmed,
 * read back and masked. They never interrupt: nothing is wired to LINT0.
 *
 * Lock: the port layer's (struct ports).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_PIC_H
#define HV_DEV_PIC_H

#include <stdbool.h>
#include <stdint.h>

struct pic_chip {
	uint8_t imr, irr, isr;
	uint8_t icw[4]; /* as written; [0] is ICW1 */
	uint8_t step;	/* which ICW comes next (1..3), 0: operating */
	bool read_isr;	/* OCW3: what the command port reads */
	bool poll;
	uint8_t elcr;
};

struct pic {
	struct pic_chip chip[2]; /* master, slave */
};

void pic_reset(struct pic *p);
/* Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1. */
uint8_t pic_in(struct pic *p, uint16_t port);
void pic_out(struct pic *p, uint16_t port, uint8_t v);

#endif
