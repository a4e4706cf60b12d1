/* Which loader a guest kernel takes. See load.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "load/load.h"

#include "load/bzimage.h"
#include "load/multiboot.h"

bool load_guest(const struct guestmem *mem, const struct load_input *in, struct load_entry *out,
		struct load_error *err)
{
	const struct load_module *k = &in->kernel;

	if (k->bytes == 0)
		return load_fail(err, "the kernel is an empty file: a Linux bzImage or a multiboot "
				      "ELF kernel is wanted");
	if (in->has_initrd && in->initrd.bytes == 0)
		return load_fail(err, "the initrd is an empty file: give a cpio archive, or none");
	if (bzimage_is(k->data, k->bytes))
		return bzimage_load(mem, in, out, err);
	if (multiboot_is(k->data, k->bytes))
		return multiboot_load(mem, in, out, err);
	return load_fail(err,
			 "the kernel (%lu bytes) is neither a Linux bzImage nor a multiboot "
			 "kernel",
			 (unsigned long)k->bytes);
}
