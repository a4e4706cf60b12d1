/* The hypervisor's stream on COM2: one JSON object a line (docs/protocol.md).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_STREAM_H
#define CLI_STREAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "tail.h"
#include "trace.h"

enum { SWITCHES_MAX = 10000 }; /* that are kept */

struct stream {
	int fd; /* -1: closed */
	bool verbose;
	bool hello;	     /* the hypervisor has spoken */
	bool error;	     /* it told an error (we have passed it on) */
	bool ended;	     /* `last` is the end event */
	json_t *last;	     /* the newest counters or end event; NULL: none yet */
	json_t *walk;	     /* the event; NULL: none */
	json_t *marks;	     /* array of the mark events */
	double khz;	     /* of the clock that the events count in; 0: not told yet */
	json_t *calibration; /* the event; NULL: none */
	json_t *switches;    /* array of the first SWITCHES_MAX switch events */
	size_t switches_seen;
	struct tail tail;    /* the last of it */
	bool heard;	     /* something came; whoever looks takes it back */
	struct trace *trace; /* gets the events that belong there */
	char *line;	     /* what has come of the next line */
	size_t have, room;
};

void stream_open(struct stream *s, int fd, bool verbose, struct trace *trace);
/* Reads what is there, without waiting, and handles each whole line. */
void stream_read(struct stream *s);
/* The guest said (mark 1) that its user space is up. */
bool stream_guest_is_up(const struct stream *s);

#endif
