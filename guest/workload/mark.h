/* Marks: bytes to port 0xf5, where Twofold notes its time and counters. Elsewhere nothing listens
 * there.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef WORKLOAD_MARK_H
#define WORKLOAD_MARK_H

#include <stdbool.h>

/* A part's end is its beginning plus 0x80. */
enum { MARK_BEGIN = 0x10, MARK_END = 0x90 };

/* False: there is no writing to that port here; it need not be tried again. */
bool mark_write(int byte);

#endif
