/* One run of a guest, from its options to its end.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "options.h"

/* Before anything else: standard input, output and error are open. */
void run_begin(void);
/* Runs the guest; returns the status to exit with (what went wrong was said). */
int run_guest(const struct options *o);

#endif
