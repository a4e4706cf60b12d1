/* The CMOS clock (MC146818) and its memory: the guest reads the machine's own time, and writes
 * nothing but its own copy.
 *
 * Lock: the port layer's.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_CMOS_H
#define HV_DEV_CMOS_H

#include <stdint.h>

struct cmos {
	uint8_t (*host)(void *ctx, uint8_t index); /* NULL: the machine has none */
	void *ctx;
	uint8_t index;
	uint8_t ram[128]; /* alarm, control, and what software keeps there */
};

void cmos_create(struct cmos *c, uint8_t (*host)(void *ctx, uint8_t index), void *ctx);
/* The data port, at .index (0..0x7f). */
uint8_t cmos_in(struct cmos *c);
void cmos_out(struct cmos *c, uint8_t v);
/* The machine's clock in seconds since 1970; 0: none. Takes up to two milliseconds, the time of an
 * update of the chip. */
uint64_t cmos_epoch(struct cmos *c);

#endif
