/* fw_cfg. See fwcfg.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/fwcfg.h"

enum {
	ITEM_SIGNATURE = 0x00,
	ITEM_ID = 0x01,
	ITEM_CPUS = 0x05,
	ITEM_MAX_CPUS = 0x0f,
};

void fwcfg_select(struct fwcfg *f, uint16_t item)
{
	f->selector = item;
	f->offset = 0;
}

uint8_t fwcfg_read(struct fwcfg *f)
{
	static const char signature[4] = {'Q', 'E', 'M', 'U'};
	uint32_t at = f->offset, word = 0;

	if (at >= sizeof(word))
		return 0;
	f->offset = at + 1;
	switch (f->selector & ~0x4000) /* bit 14 asks for writing */ {
	case ITEM_SIGNATURE:
		return (uint8_t)signature[at];
	case ITEM_ID:
		word = 1; /* the traditional interface alone */
		break;
	case ITEM_CPUS:
	case ITEM_MAX_CPUS:
		word = f->cpus;
		break;
	}
	return (uint8_t)(word >> (8 * at));
}
