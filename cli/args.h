/* The arguments of a program that is to be started, built up one by one. Kept until we end.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stddef.h>

struct args {
	char **v; /* ended by NULL, once there is one */
	size_t n;
};

/* An allocated text; never NULL. */
char *text_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The text is kept, not copied. */
void arg_add(struct args *a, const char *text);
void option_add(struct args *a, const char *option, const char *value);

#endif
