/* The hypervisor's own command line: words name=value.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_CMDLINE_H
#define HV_CORE_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cmdline {
	bool shadow;	   /* mode=shadow */
	uint64_t mem;	   /* mem=, bytes */
	unsigned int cpus; /* cpus=, 0: all */
	bool verbose;
	unsigned int shadow_pages;
};

extern struct cmdline cmdline;

/* Ends the VM with one clear error line on a wrong word. */
void cmdline_parse(const char *text);

#endif
