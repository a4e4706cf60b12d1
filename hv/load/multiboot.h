/* Multiboot (version 0.6.96) kernels in 32-bit ELF files or with address fields in their header.
 *
 * The boot information, memory map, module list and strings go below 640 KiB (load/flat.h); an
 * initrd becomes the one module, page-aligned, right behind the kernel. The command line begins
 * with the word "kernel", as loaders begin it with the file's name.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_LOAD_MULTIBOOT_H
#define HV_LOAD_MULTIBOOT_H

#include "load/load.h"

bool multiboot_is(const void *data, size_t bytes);
bool multiboot_load(const struct guestmem *mem, const struct load_input *in, struct load_entry *out,
		    struct load_error *err) __attribute__((warn_unused_result));

#endif
