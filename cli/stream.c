/* The hypervisor's stream on COM2: see stream.h.
 *
 * A line that is no JSON object is not ours (firmware, or a hypervisor that died while it wrote):
 * it is shown with --verbose and otherwise dropped.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "stream.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "figures.h"
#include "say.h"

enum { LINE_MAX_BYTES = 1 << 20 };

void stream_open(struct stream *s, int fd, bool verbose, struct trace *trace)
{
	*s = (struct stream){
		.fd = fd,
		.verbose = verbose,
		.marks = json_array(),
		.switches = json_array(),
		.trace = trace,
	};
}

static const char *text_in(const json_t *event)
{
	const char *text = json_string_value(json_object_get(event, "text"));

	return text ? text : "";
}

static void event_take(struct stream *s, json_t *event)
{
	const char *ev = json_string_value(json_object_get(event, "ev"));

	if (!ev)
		return;
	if (!strcmp(ev, "hello")) {
		s->hello = true;
		s->khz = json_number_value(json_object_get(event, "tsc_khz"));
	} else if (!strcmp(ev, "log")) {
		if (s->verbose)
			say("hv: %s", text_in(event));
	} else if (!strcmp(ev, "error")) {
		s->error = true;
		say("%s", text_in(event));
	} else if (!strcmp(ev, "calibration")) {
		json_decref(s->calibration);
		s->calibration = json_incref(event);
		if (s->verbose)
			figures_say_calibration(event, s->khz);
	} else if (!strcmp(ev, "switch")) {
		if (s->switches_seen++ < SWITCHES_MAX)
			json_array_append(s->switches, event);
		if (s->verbose)
			figures_say_switch(event, s->khz);
	} else if (!strcmp(ev, "walk")) {
		json_decref(s->walk);
		s->walk = json_incref(event);
	} else if (!strcmp(ev, "mark")) {
		json_array_append(s->marks, event);
	} else if (!strcmp(ev, "counters") || !strcmp(ev, "end")) {
		json_decref(s->last);
		s->last = json_incref(event);
		s->ended = !strcmp(ev, "end");
	}
}

/* The trace gets the line of an event that tells of the choice as it is; of a mark only when it
 * was.
 */
static void event_trace(const struct stream *s, const json_t *event, const char *line, size_t n)
{
	static const char *const kept[] = {"hello", "calibration", "sample", "switch", "end"};
	const char *ev = json_string_value(json_object_get(event, "ev"));
	json_t *mark;

	if (!s->trace->file || !ev)
		return;
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		if (!strcmp(ev, kept[i]))
			trace_put_line(s->trace, line, n);
	}
	if (strcmp(ev, "mark") != 0)
		return;
	mark = json_pack("{s:s, s:O?, s:O?}", "ev", ev, "mark", json_object_get(event, "mark"),
			 "tsc", json_object_get(event, "tsc"));
	trace_put(s->trace, mark);
	json_decref(mark);
}

static void line_take(struct stream *s, char *line, size_t n)
{
	json_t *event;

	while (n && isspace((unsigned char)line[n - 1]))
		n--;
	if (!n)
		return;
	event = json_loadb(line, n, 0, NULL);
	if (json_is_object(event)) {
		event_take(s, event);
		event_trace(s, event, line, n);
	} else if (s->verbose) {
		for (size_t i = 0; i < n; i++) {
			if (!isprint((unsigned char)line[i]))
				line[i] = '?';
		}
		say("hv: (no JSON) %.*s", (int)n, line);
	}
	json_decref(event);
}

static void lines_take(struct stream *s)
{
	char *at = s->line, *end = s->line + s->have, *nl;

	while ((nl = memchr(at, '\n', (size_t)(end - at)))) {
		line_take(s, at, (size_t)(nl - at));
		at = nl + 1;
	}
	s->have = (size_t)(end - at);
	memmove(s->line, at, s->have);
	if (s->have >= LINE_MAX_BYTES)
		s->have = 0; /* nothing of ours is that long */
}

void stream_read(struct stream *s)
{
	ssize_t n;

	while (s->fd >= 0) {
		if (s->room - s->have < 4096) {
			s->room += 16384;
			s->line = realloc(s->line, s->room);
			if (!s->line)
				abort();
		}
		n = read(s->fd, s->line + s->have, s->room - s->have);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			line_take(s, s->line, s->have);
			s->have = 0;
			close(s->fd);
			s->fd = -1;
			return;
		}
		s->heard = true;
		tail_add(&s->tail, s->line + s->have, (size_t)n);
		s->have += (size_t)n;
		lines_take(s);
	}
}

bool stream_guest_is_up(const struct stream *s)
{
	json_t *mark;
	size_t i;

	json_array_foreach(s->marks, i, mark)
	{
		if (json_integer_value(json_object_get(mark, "mark")) == 1)
			return true;
	}
	return false;
}
