/* Last lines: see tail.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "tail.h"

#include <ctype.h>
#include <string.h>

#include "say.h"

enum { WIDTH = 200 };

void tail_add(struct tail *t, const char *bytes, size_t n)
{
	if (n > TAIL_BYTES) {
		bytes += n - TAIL_BYTES;
		n = TAIL_BYTES;
	}
	if (t->to + n > TAIL_BYTES) {
		size_t away = t->to + n - TAIL_BYTES;

		t->to -= away;
		memmove(t->bytes, t->bytes + away, t->to);
	}
	memcpy(t->bytes + t->to, bytes, n);
	t->to += n;
}

static void line_say(const char *name, const char *at, size_t n)
{
	char line[WIDTH + 1];
	size_t to = 0;

	while (n && isspace((unsigned char)at[n - 1]))
		n--;
	for (size_t i = 0; i < n && to < WIDTH; i++)
		line[to++] = isprint((unsigned char)at[i]) ? at[i] : '?';
	line[to] = 0;
	if (to)
		say("%s: %s%s", name, line, n > WIDTH ? " ..." : "");
}

void tail_say(const struct tail *t, const char *name, unsigned int lines)
{
	size_t from = t->to;

	while (from && (t->bytes[from - 1] != '\n' || from == t->to || --lines))
		from--;
	while (from < t->to) {
		const char *at = t->bytes + from, *nl = memchr(at, '\n', t->to - from);
		size_t n = nl ? (size_t)(nl - at) : t->to - from;

		line_say(name, at, n);
		from += n + 1;
	}
}
