/* A history and its charts as one HTML page that needs nothing else.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_PAGE_H
#define CLI_PAGE_H

#include <stdio.h>

#include "charts.h"
#include "history.h"

/* TRACE: the name of the file that it was read from. */
void page_put(FILE *f, const struct history *h, const struct charts *c, const char *trace);

#endif
