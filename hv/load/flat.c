/* Flat segments. See flat.h. AMD APM vol. 2, 4.7 and 4.8 (descriptors).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "load/flat.h"

#define GDT_CODE64 UINT64_C(0x00af9b000000ffff)
#define GDT_CODE32 UINT64_C(0x00cf9b000000ffff)
#define GDT_DATA   UINT64_C(0x00cf93000000ffff)

enum {
	ATTRIB_CODE64 = 0xa9b,
	ATTRIB_CODE32 = 0xc9b,
	ATTRIB_DATA = 0xc93,
	ATTRIB_TSS = 0x08b,
};

bool flat_segments(const struct guestmem *mem, bool code64, struct load_entry *out,
		   struct load_error *err)
{
	const uint64_t gdt[4] = {
		[FLAT_CODE / 8] = code64 ? GDT_CODE64 : GDT_CODE32,
		[FLAT_DATA / 8] = GDT_DATA,
	};

	out->cs = (struct load_segment){
		.selector = FLAT_CODE,
		.attrib = code64 ? ATTRIB_CODE64 : ATTRIB_CODE32,
		.limit = 0xffffffff,
	};
	out->data = (struct load_segment){
		.selector = FLAT_DATA,
		.attrib = ATTRIB_DATA,
		.limit = 0xffffffff,
	};
	out->tr = (struct load_segment){.attrib = ATTRIB_TSS, .limit = 0x67};
	out->gdt_base = FLAT_GDT;
	out->gdt_limit = sizeof(gdt) - 1;
	out->idt_base = 0;
	out->idt_limit = 0;
	return load_write(mem, FLAT_GDT, gdt, sizeof(gdt), err);
}
