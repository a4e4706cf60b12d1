/* Linux by its 64-bit boot protocol (Documentation/arch/x86/boot.rst, section "64-bit Boot
 * Protocol").
 *
 * Where things go: zero page, GDT, identity page tables and the command line between 64 KiB and
 * 640 KiB; the kernel at its preferred address (or as its alignment allows); the initrd as high as
 * RAM below 4 GiB and the kernel's own limit allow.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_LOAD_BZIMAGE_H
#define HV_LOAD_BZIMAGE_H

#include "load/load.h"

/* Is there a Linux setup header? (Only the magic is looked at.) */
bool bzimage_is(const void *data, size_t bytes);
bool bzimage_load(const struct guestmem *mem, const struct load_input *in, struct load_entry *out,
		  struct load_error *err) __attribute__((warn_unused_result));

#endif
