/* The last lines of something that may have to be shown when it goes no further.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_TAIL_H
#define CLI_TAIL_H

#include <stddef.h>

enum { TAIL_BYTES = 4096 };

struct tail {
	char bytes[TAIL_BYTES]; /* the last TO of what was added */
	size_t to;
};

void tail_add(struct tail *t, const char *bytes, size_t n);
/* Says the last LINES lines, each after NAME; what is not printable as '?'. */
void tail_say(const struct tail *t, const char *name, unsigned int lines);

#endif
