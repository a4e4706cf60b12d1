/* PM1a registers. See pm.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/pm.h"

enum {
	CONTROL_SCI_EN = 1u << 0,
	CONTROL_SLP_TYPE = 7u << 10,
	CONTROL_SLP_EN = 1u << 13,
	ENABLE_BITS = 0x4721, /* timer, global, buttons, RTC, PCIe wake */
	CONTROL_BITS = 0x1c06,
};

uint8_t pm_in(const struct pm *p, uint16_t port)
{
	unsigned int shift = (port & 1) * 8;

	if (port >= PM_CONTROL_PORT)
		return (uint8_t)((p->control | CONTROL_SCI_EN) >> shift);
	if (port >= PM_EVENT_PORT + 2)
		return (uint8_t)(p->enable >> shift);
	return 0; /* no event ever happens */
}

bool pm_out(struct pm *p, uint16_t port, uint8_t v)
{
	unsigned int shift = (port & 1) * 8;
	uint16_t lane = (uint16_t)(0xff << shift), word = (uint16_t)(v << shift);

	if (port < PM_EVENT_PORT + 2)
		return false;
	if (port < PM_CONTROL_PORT) {
		p->enable = ((p->enable & ~lane) | word) & ENABLE_BITS;
		return false;
	}
	p->control = ((p->control & ~lane) | word) & CONTROL_BITS;
	return (word & CONTROL_SLP_EN) && (p->control & CONTROL_SLP_TYPE) == PM_S5_TYPE << 10;
}
