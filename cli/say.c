/* Words for a person: see say.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "say.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static bool progress_shown;

void say_progress_end(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
}

void say(const char *fmt, ...)
{
	va_list ap;

	say_progress_end();
	fputs("twofold: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void say_progress(const char *fmt, ...)
{
	va_list ap;

	if (!isatty(STDERR_FILENO))
		return;
	say_progress_end();
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fflush(stderr);
	progress_shown = true;
}

const char *say_size(unsigned long long bytes)
{
	static char text[4][32];
	static unsigned int next;
	static const char unit[] = "BKMGTPE";
	unsigned int u = 0;
	unsigned long long tenths = bytes * 10 < bytes ? bytes : bytes * 10;
	char *t = text[next++ % 4];

	while (tenths >= 10240 && u < 6) {
		tenths /= 1024;
		u++;
	}
	if (tenths % 10)
		snprintf(t, sizeof(text[0]), "%llu.%llu%c", tenths / 10, tenths % 10, unit[u]);
	else
		snprintf(t, sizeof(text[0]), "%llu%c", tenths / 10, unit[u]);
	return t;
}
