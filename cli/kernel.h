/* Is this file a kernel that the hypervisor can load, whole, into the memory that there is?
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_KERNEL_H
#define CLI_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

enum kernel_kind {
	KERNEL_BZIMAGE,
	KERNEL_MULTIBOOT,
};

struct image {
	const char *path;
	int fd; /* open for reading; closed on exec unless the caller changes that */
	uint64_t size;
};

struct kernel {
	struct image file;
	enum kernel_kind kind;
	uint64_t needs;		  /* bytes of guest memory that it takes while it starts */
	unsigned int cmdline_max; /* characters */
};

/* 0, or the status to exit with (one line was said). WHAT names the option for messages. */
int image_open(struct image *im, const char *what, const char *path);
int kernel_open(struct kernel *k, const char *path);

#endif
