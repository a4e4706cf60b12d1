/* What the guest's workload tells of itself on the console, picked out as it passes by.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_WORK_H
#define CLI_WORK_H

#include <jansson.h>
#include <stddef.h>

#include "trace.h"

struct work {
	json_t *all;	     /* array of the objects told, in their order */
	char line[512];	     /* what has come of the next line */
	struct trace *trace; /* gets each, too */
	size_t n;	     /* beyond sizeof(line): too long to be one of ours */
};

void work_open(struct work *w, struct trace *trace);
/* N more bytes that the guest wrote. */
void work_see(struct work *w, const char *bytes, size_t n);

#endif
