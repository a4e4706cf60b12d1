/* What our HTML pages share: one look, in light and in dark, and no other file.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_HTML_H
#define CLI_HTML_H

#include <stdio.h>

/* Up to the page's content. MORE adds to the style; colours are var(--ROLE), the roles are in
 * html.c. */
void html_begin(FILE *f, const char *title, void (*more)(FILE *f));
void html_end(FILE *f);

/* Text, with what HTML would read otherwise escaped. */
void html_put(FILE *f, const char *text);
/* One line of a list of facts (<dl>). */
void html_put_fact(FILE *f, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
