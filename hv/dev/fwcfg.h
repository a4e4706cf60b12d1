/* QEMU's fw_cfg by its two ports (0x510 selector, 0x511 data): the signature, the interface id
 * (no DMA) and the CPU counts; every other item reads as zeroes.
 *
 * Lock: the port layer's.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_FWCFG_H
#define HV_DEV_FWCFG_H

#include <stdint.h>

enum {
	FWCFG_SELECT = 0x510,
	FWCFG_DATA = 0x511,
};

struct fwcfg {
	uint16_t selector;
	uint32_t offset;
	uint32_t cpus;
};

void fwcfg_select(struct fwcfg *f, uint16_t item);
uint8_t fwcfg_read(struct fwcfg *f);

#endif
