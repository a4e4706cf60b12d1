/* Arguments of a program: see args.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "args.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

char *text_of(const char *fmt, ...)
{
	va_list ap;
	char *t;

	va_start(ap, fmt);
	if (vasprintf(&t, fmt, ap) < 0)
		abort();
	va_end(ap);
	return t;
}

void arg_add(struct args *a, const char *text)
{
	a->v = realloc(a->v, (a->n + 2) * sizeof(*a->v));
	if (!a->v)
		abort();
	a->v[a->n++] = (char *)text;
	a->v[a->n] = NULL;
}

void option_add(struct args *a, const char *option, const char *value)
{
	arg_add(a, option);
	arg_add(a, value);
}
