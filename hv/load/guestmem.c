/* What both loaders need: writing with an error text, flat descriptor tables. See guestmem.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "load/guestmem.h"

#include <stdarg.h>

#include "core/string.h"

bool load_fail(struct load_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return false;
}

bool load_write(const struct guestmem *mem, uint64_t gpa, const void *from, size_t n,
		struct load_error *err)
{
	if (n == 0 || mem->write(mem->ctx, gpa, from, n) == TF_OK)
		return true;
	return load_fail(err,
			 "cannot write %lu bytes of guest memory at 0x%lx: the machine has no "
			 "memory left for the guest",
			 (unsigned long)n, (unsigned long)gpa);
}
