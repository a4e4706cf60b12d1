/* ACPI fixed hardware, as the guest's FADT tells it: PM1a event and control blocks. No SCI is ever
 * raised; SCI_EN reads as set; SLP_EN with S5's type powers off.
 *
 * Lock: the port layer's. ACPI 6.4, 4.8.3.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_PM_H
#define HV_DEV_PM_H

#include <stdbool.h>
#include <stdint.h>

enum {
	PM_EVENT_PORT = 0x520,	 /* status (2 bytes), enable (2 bytes) */
	PM_CONTROL_PORT = 0x524, /* 2 bytes */
	PM_S5_TYPE = 5,		 /* what the DSDT's \_S5 says */
	PM_RESET_PORT = 0xcf9,
	PM_RESET_VALUE = 0x06,
};

struct pm {
	uint16_t enable;
	uint16_t control;
};

/* Byte accesses; port within the two blocks. */
uint8_t pm_in(const struct pm *p, uint16_t port);
/* True: this write asks for power-off. */
bool pm_out(struct pm *p, uint16_t port, uint8_t v);

static inline bool pm_has_port(uint16_t port)
{
	return port >= PM_EVENT_PORT && port < PM_CONTROL_PORT + 2;
}

#endif
