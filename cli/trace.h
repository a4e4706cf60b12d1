/* The file that --trace writes: JSON lines, as they come (docs/stats.md).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_TRACE_H
#define CLI_TRACE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct trace {
	const char *path;
	FILE *file; /* NULL: none is wanted */
	bool begun; /* a line was written */
	int error;  /* of the first write that failed; 0: none did */
};

/* Makes sure, before the run, that the file can be written; what it holds stays until the first
 * line. False: it cannot be (one line was said). */
bool trace_open(struct trace *t, const char *path);

/* Adds a line: an object, or the N bytes of one as they came. */
void trace_put(struct trace *t, const json_t *object);
void trace_put_line(struct trace *t, const char *line, size_t n);

/* Closes it. False (one line was said) if not all of it was written. */
bool trace_close(struct trace *t);

#endif
