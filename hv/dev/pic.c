/* The 8259 pair as registers. See pic.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/pic.h"

enum {
	ELCR_BASE = 0x4d0,
	ICW1_INIT = 0x10,
	ICW1_SINGLE = 0x02,
	ICW1_ICW4 = 0x01,
	OCW3_SELECT = 0x08,
	OCW3_POLL = 0x04,
};

void pic_reset(struct pic *p)
{
	__builtin_memset(p, 0, sizeof(*p));
}

static uint8_t chip_in(struct pic_chip *c, bool data)
{
	if (c->poll) {
		c->poll = false;
		return 0; /* no interrupt waits */
	}
	if (data)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static void chip_command(struct pic_chip *c, uint8_t v)
{
	if (v & ICW1_INIT) {
		c->icw[0] = v;
		c->step = 1;
		c->imr = c->irr = c->isr = 0;
		c->read_isr = false;
	} else if (v & OCW3_SELECT) {
		if (v & OCW3_POLL)
			c->poll = true;
		if (v & 2)
			c->read_isr = v & 1;
	}
	/* OCW2 ends or rotates interrupts: there never is one. */
}

static void chip_data(struct pic_chip *c, uint8_t v)
{
	if (c->step == 0) {
		c->imr = v;
		return;
	}
	c->icw[c->step] = v;
	c->step++;
	if (c->step == 2 && (c->icw[0] & ICW1_SINGLE))
		c->step++;
	if (c->step == 3 && !(c->icw[0] & ICW1_ICW4))
		c->step++;
	if (c->step > 3)
		c->step = 0;
}

uint8_t pic_in(struct pic *p, uint16_t port)
{
	if (port >= ELCR_BASE)
		return p->chip[port - ELCR_BASE].elcr;
	return chip_in(&p->chip[port >= 0xa0], port & 1);
}

void pic_out(struct pic *p, uint16_t port, uint8_t v)
{
	struct pic_chip *c = &p->chip[port >= 0xa0];

	if (port >= ELCR_BASE)
		/* IRQ 0, 1, 2, 8 and 13 are always edges. */
		p->chip[port - ELCR_BASE].elcr = v & (port == ELCR_BASE ? 0xf8 : 0xde);
	else if (port & 1)
		chip_data(c, v);
	else
		chip_command(c, v);
}
