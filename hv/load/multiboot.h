/* Multiboot (version 0.6.96) kernels in 32-bit ELF files or with address fields in their header.
 *
 * The boot information, memory map, module list and strings go below 640 KiB; an initrd becomes the one module,
 * page-aligned, at the top of RAM below 3 GiB.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_LOAD_MULTIBOOT_H
#define HV_LOAD_MULTIBOOT_H

#include "load/load.h"

bool multiboot_is(const void *data, size_t bytes);
bool multiboot_load(const struct guestmem *mem, const struct load_input *in,
		    struct load_entry *out, struct load_error *err)
	__attribute__((warn_unused_result));

#endif
