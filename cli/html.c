/* What our HTML pages share: see html.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "html.h"

#include <stdarg.h>
#include <stdlib.h>

/* The colours of each role, on light and on dark ground. */
static const struct {
	const char *role, *light, *dark;
} palette[] = {
	{"paper", "#ffffff", "#15181c"},  {"panel", "#f5f6f8", "#1e2227"},
	{"ink", "#1d2329", "#e4e7ea"},	  {"faint", "#69737d", "#949ea8"},
	{"grid", "#d9dde1", "#343a41"},	  {"nested", "#1b6ca8", "#5aa9e6"},
	{"shadow", "#c0392b", "#f0776b"}, {"misses", "#1b6ca8", "#5aa9e6"},
	{"faults", "#c0392b", "#f0776b"}, {"cr3", "#c27a00", "#e6ac4c"},
	{"exits", "#2e7d4f", "#63c08b"},
};

static const char css[] =
	"body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,"
	"-apple-system,'Segoe UI',sans-serif}\n"
	"main{max-width:1080px;margin:0 auto;padding:28px 24px 60px}\n"
	"h1{font-size:24px;line-height:1.25;margin:0 0 4px}\n"
	"h2{font-size:17px;margin:36px 0 10px}\n"
	"p{margin:6px 0}.faint{color:var(--faint)}.small{font-size:13px}\n"
	"dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:18px 0 0}\n"
	"dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}\n"
	".share{display:flex;height:26px;margin:8px 0 4px;border-radius:5px;overflow:hidden;"
	"font-size:13px;line-height:26px;color:var(--paper)}\n"
	".share span{padding:0 8px;box-sizing:border-box;overflow:hidden;white-space:nowrap}\n"
	".share .nested{background:var(--nested)}.share .shadow{background:var(--shadow)}\n"
	".wide{overflow-x:auto}svg{display:block;width:100%;min-width:720px;height:auto}\n"
	"table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;"
	"width:100%}\n"
	"th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--grid);"
	"white-space:nowrap}\n"
	"th{font-weight:600;color:var(--faint);vertical-align:bottom}\n"
	"td.text,th.text{text-align:left}td.why{white-space:normal;min-width:200px}\n"
	"td.nested{color:var(--nested)}td.shadow{color:var(--shadow)}\n"
	"table.few{width:auto}\n"
	"@media print{main{max-width:none;padding:0}}\n";

void html_put(FILE *f, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		case '\'':
			fputs("&#39;", f);
			break;
		default:
			putc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, f);
		}
	}
}

void html_put_fact(FILE *f, const char *name, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	fprintf(f, "<dt>%s</dt><dd>", name);
	html_put(f, text);
	fputs("</dd>\n", f);
	free(text);
}

void html_begin(FILE *f, const char *title, void (*more)(FILE *f))
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
	      f);
	html_put(f, title);
	fputs("</title>\n<style>\n:root{color-scheme:light dark", f);
	for (size_t i = 0; i < sizeof(palette) / sizeof(palette[0]); i++)
		fprintf(f, ";--%s:%s", palette[i].role, palette[i].light);
	fputs("}\n@media(prefers-color-scheme:dark){:root{", f);
	for (size_t i = 0; i < sizeof(palette) / sizeof(palette[0]); i++)
		fprintf(f, "%s--%s:%s", i ? ";" : "", palette[i].role, palette[i].dark);
	fputs("}}\n", f);
	fputs(css, f);
	more(f);
	fputs("</style>\n</head>\n<body>\n<main>\n", f);
}

void html_end(FILE *f)
{
	fputs("</main>\n</body>\n</html>\n", f);
}
