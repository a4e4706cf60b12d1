/* How loaders reach guest memory, and how they fail.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_LOAD_GUESTMEM_H
#define HV_LOAD_GUESTMEM_H

#include <twofold/status.h>
#include <twofold/types.h>

/* tf_mem_write() behind a pointer, so that the loaders can be tested alone. Fresh guest memory
 * reads as zeroes: loaders do not clear. */
struct guestmem {
	void *ctx;
	enum tf_status (*write)(void *ctx, uint64_t gpa, const void *from, size_t n);
};

/* One clear line for a person: what is wrong, and what would be right. */
struct load_error {
	char text[200];
};

/* Put a formatted text into err; always false, to be returned. */
bool load_fail(struct load_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Write, or say why not. */
bool load_write(const struct guestmem *mem, uint64_t gpa, const void *from, size_t n,
		struct load_error *err) __attribute__((warn_unused_result));

#endif
