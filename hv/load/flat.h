/* The flat segments and the GDT that a guest's boot CPU starts with, at one fixed place below 640
 * KiB.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_LOAD_FLAT_H
#define HV_LOAD_FLAT_H

#include "load/load.h"

/* Guest memory that the loaders fill, from 64 KiB on. */
#define FLAT_INFO    UINT64_C(0x10000) /* zero page, or multiboot information */
#define FLAT_GDT     UINT64_C(0x11000)
#define FLAT_TABLES  UINT64_C(0x12000) /* identity page tables: 6 pages */
#define FLAT_STRINGS UINT64_C(0x18000) /* command line, and what else is text */
#define FLAT_END     UINT64_C(0x20000)

#define FLAT_CODE 0x10u /* selectors; Linux's __BOOT_CS and __BOOT_DS */
#define FLAT_DATA 0x18u

/* Write the GDT and set the segments of `out`; code is 64-bit or 32-bit. */
bool flat_segments(const struct guestmem *mem, bool code64, struct load_entry *out,
		   struct load_error *err) __attribute__((warn_unused_result));

#endif
