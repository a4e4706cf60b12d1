/* A CD image that boots the hypervisor by GRUB, for one run.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_ISO_H
#define CLI_ISO_H

#include "kernel.h"

struct iso {
	int hv; /* open files */
	const struct image *kernel;
	const struct image *initrd; /* NULL: none */
	const char *hv_words;	    /* for the hypervisor */
	const char *guest_words;    /* for the guest, each after a blank */
};

/* The image, open for reading and in no directory any more, or -1 (one line was said). */
int iso_make(const struct iso *iso);

/* The first character of TEXT that GRUB would hand on otherwise than it is; 0: none. */
char iso_odd_character(const char *text);

#endif
