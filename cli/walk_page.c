/* A walk as an HTML page, with a picture of its two dimensions: see walk.h.
 *
 * Across go the guest's entries, root first, and at last the access itself; down, under each, the
 * nested entries that lead to it. A large nested page ends a column early, a large page of the
 * guest ends the row of columns. The pictures are SVG in the page; their colours are its.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "html.h"
#include "walk.h"

enum {
	WIDTH = 1080,
	LEFT = 74, /* of the first column: names of the rows */
	GUTTER = 22,
	CELL = 66, /* its height */
	GAP = 14,
	HEAD = 46,
	SHADOW_HEIGHT = 132,
};

/* What a cell is like. */
enum cell { CELL_NESTED, CELL_GUEST, CELL_SHADOW, CELL_MISSING };

static const char *const cell_class[] = {"n", "g", "s", "m"};

static const char picture_css[] =
	".walk text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:var(--ink)}\n"
	".walk .mono{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\n"
	".walk .name{font-weight:600}.walk .faint{fill:var(--faint)}\n"
	".walk .box{stroke-width:1.2;fill:var(--panel)}\n"
	".walk .n .box{stroke:var(--nested)}.walk .s .box{stroke:var(--shadow)}\n"
	".walk .g .box{stroke:var(--exits);stroke-width:2}\n"
	".walk .m .box{stroke:var(--faint);stroke-dasharray:4 3;fill:none}\n"
	".walk .leaf .box{stroke-width:2.6}\n"
	".walk .dot{stroke:none}.walk .n .dot{fill:var(--nested)}.walk .g .dot{fill:var(--exits)}\n"
	".walk .s .dot{fill:var(--shadow)}.walk .m .dot{fill:var(--faint)}\n"
	".walk .dot+text{fill:var(--paper);font-weight:600;text-anchor:middle;font-size:11px}\n"
	".walk .go{fill:none;stroke:var(--faint);stroke-width:1.3}\n"
	".walk .tip{fill:var(--faint);stroke:none}\n"
	".walk .data .box{fill:none;stroke:var(--ink)}\n"
	"p.sum{font-size:17px;margin:14px 0}\n"
	".key span{display:inline-block;width:11px;height:11px;border:2px solid;border-radius:3px;"
	"margin:0 5px 0 14px;vertical-align:-1px}\n"
	".key span:first-child{margin-left:0}\n"
	"td.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\n";

static void put_style(FILE *f)
{
	fputs(picture_css, f);
}

/* ---- pieces of the picture ---- */

struct box {
	double x, y, w, h;
};

/* One reference. NUMBER 0: it is not made. */
static void put_cell(FILE *f, struct box b, enum cell kind, unsigned int number, const char *format,
		     const struct walk_entry *e, uint64_t where)
{
	char flags[WALK_TEXT] = "";

	if (e)
		walk_flags(format, e, flags);
	fprintf(f, "<g class=\"%s%s\">", cell_class[kind],
		e && e->there && e->kind == WALK_LEAF ? " leaf" : "");
	fprintf(f,
		"<rect class=\"box\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
		"rx=\"6\"/>",
		b.x, b.y, b.w, b.h);
	if (number)
		fprintf(f,
			"<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"10\"/>"
			"<text x=\"%.1f\" y=\"%.1f\">%u</text>",
			b.x + 2, b.y + 2, b.x + 2, b.y + 6, number);
	if (where)
		fprintf(f,
			"<text class=\"mono faint\" x=\"%.1f\" y=\"%.1f\">at 0x%" PRIx64 "</text>",
			b.x + 16, b.y + 18, where);
	if (e && e->there)
		fprintf(f, "<text class=\"mono\" x=\"%.1f\" y=\"%.1f\">0x%" PRIx64 "</text>",
			b.x + 10, b.y + 37, e->value);
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\">", b.x + 10, b.y + (e && e->there ? 55 : 38));
	html_put(f, e ? flags : "to be filled");
	fputs("</text></g>\n", f);
}

static void put_tip(FILE *f, double x, double y, bool down)
{
	if (down)
		fprintf(f, "<path class=\"tip\" d=\"M%.1f %.1fl-4 -7h8z\"/>\n", x, y);
	else
		fprintf(f, "<path class=\"tip\" d=\"M%.1f %.1fl-7 -4v8z\"/>\n", x, y);
}

static void put_down(FILE *f, double x, double from, double to)
{
	fprintf(f, "<path class=\"go\" d=\"M%.1f %.1fV%.1f\"/>", x, from, to - 6);
	put_tip(f, x, to, true);
}

/* ---- the two-dimensional walk ---- */

struct grid {
	const struct walk *w;
	FILE *f;
	unsigned int columns, rows; /* rows: of nested entries */
	double cell;		    /* width of a column without its gutter */
	unsigned int number;	    /* of the reference drawn last */
};

static double column_x(const struct grid *g, unsigned int i)
{
	return LEFT + i * (g->cell + GUTTER);
}

static double row_y(unsigned int row)
{
	return HEAD + row * (CELL + GAP);
}

static void put_heads(const struct grid *g)
{
	for (unsigned int i = 0; i < g->columns; i++) {
		const struct walk_step *s = &g->w->step[i];
		double x = column_x(g, i);

		fprintf(g->f, "<text class=\"name\" x=\"%.1f\" y=\"16\">", x);
		if (s->has_entry)
			fprintf(g->f, "the guest's %s", walk_name(s->entry.level));
		else
			fputs(strcmp(g->w->end, "no_table") != 0 ? "the access" : "the next entry",
			      g->f);
		fprintf(g->f,
			"</text><text class=\"mono faint\" x=\"%.1f\" y=\"33\">guest's 0x%" PRIx64
			"</text>\n",
			x, s->has_nested ? s->nested.at : s->entry.at);
	}
	for (unsigned int row = 0; row < g->rows; row++)
		fprintf(g->f,
			"<text x=\"0\" y=\"%.1f\">%s</text><text x=\"0\" y=\"%.1f\">%s</text>\n",
			row_y(row) + 28, walk_nested_word(g->w), row_y(row) + 44,
			walk_name(WALK_NESTED_LEVELS - 1 - row));
	fprintf(g->f,
		"<text x=\"0\" y=\"%.1f\">guest's</text><text x=\"0\" y=\"%.1f\">entry</text>\n",
		row_y(g->rows) + 28, row_y(g->rows) + 44);
}

static void put_nested(struct grid *g, unsigned int i, const struct walk_nested *n)
{
	unsigned int most = n->n > n->filled ? n->n : n->filled;
	double x = column_x(g, i);

	for (unsigned int row = 0; row < most; row++) {
		struct box b = {x, row_y(row), g->cell, CELL};
		const struct walk_entry *e = row < n->n ? &n->entry[row] : NULL;
		bool there = e && (e->kind == WALK_TABLE || e->kind == WALK_LEAF);

		if (row < n->filled)
			g->number++;
		put_cell(g->f, b, there ? CELL_NESTED : CELL_MISSING,
			 row < n->filled ? g->number : 0, g->w->nested_format, e, e ? e->at : 0);
		put_down(g->f, x + g->cell / 2, b.y + CELL,
			 row + 1 < most ? row_y(row + 1) : row_y(g->rows));
	}
}

/* From the guest's entry to the next column's top. */
static void put_way(const struct grid *g, unsigned int i)
{
	double x = column_x(g, i) + g->cell, y = row_y(g->rows) + CELL / 2.0;
	double to = column_x(g, i + 1) + g->cell / 2;

	fprintf(g->f, "<path class=\"go\" d=\"M%.1f %.1fH%.1fV%dH%.1fV%d\"/>", x, y,
		x + GUTTER / 2.0, HEAD - 8, to, HEAD - 6);
	put_tip(g->f, to, HEAD, true);
}

static void put_last(const struct grid *g, unsigned int i, const struct walk_nested *n)
{
	double x = column_x(g, i), y = row_y(g->rows);
	bool table = !strcmp(g->w->end, "no_table");

	fprintf(g->f,
		"<g class=\"data\"><rect class=\"box\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
		"height=\"%d\" rx=\"6\"/><text class=\"name\" x=\"%.1f\" y=\"%.1f\">%s</text>",
		x, y, g->cell, CELL, x + 10, y + 26,
		table				     ? "no memory is there"
		: !strcmp(g->w->end, "device")	     ? "a device, or nothing"
		: n->to || !strcmp(n->end, "mapped") ? "the data"
						     : "never touched");
	if (n->to)
		fprintf(g->f, "<text class=\"mono\" x=\"%.1f\" y=\"%.1f\">at 0x%" PRIx64 "</text>",
			x + 10, y + 46, n->to);
	fputs("</g>\n", g->f);
}

static unsigned int rows_of(const struct walk *w)
{
	unsigned int rows = 0;

	for (unsigned int i = 0; i < w->n; i++) {
		const struct walk_nested *n = &w->step[i].nested;

		rows = w->step[i].has_nested && n->n > rows ? n->n : rows;
		rows = w->step[i].has_nested && n->filled > rows ? n->filled : rows;
	}
	return rows;
}

static void put_grid(FILE *f, const struct walk *w)
{
	struct grid g = {.w = w, .f = f, .columns = w->n, .rows = rows_of(w)};
	double least = (WIDTH - LEFT) / 5.0 - GUTTER;

	if (!g.columns)
		return;
	g.cell = (double)(WIDTH - LEFT) / g.columns - GUTTER;
	g.cell = g.cell > least ? least : g.cell;
	fprintf(f,
		"<div class=\"wide\"><svg class=\"walk\" viewBox=\"-12 0 %d %.0f\" role=\"img\" "
		"aria-label=\"The two-dimensional walk: a column of nested entries for each entry "
		"of "
		"the guest's tables\">\n",
		WIDTH + 12, row_y(g.rows) + CELL + 8);
	put_heads(&g);
	for (unsigned int i = 0; i < g.columns; i++) {
		const struct walk_step *s = &w->step[i];
		struct box b = {column_x(&g, i), row_y(g.rows), g.cell, CELL};

		if (s->has_nested)
			put_nested(&g, i, &s->nested);
		if (!s->has_entry) {
			put_last(&g, i, &s->nested);
			continue;
		}
		g.number += s->has_nested;
		put_cell(f, b, CELL_GUEST, s->has_nested ? g.number : 0, w->format, &s->entry,
			 s->nested.to);
		if (i + 1 < g.columns)
			put_way(&g, i);
	}
	fputs("</svg></div>\n", f);
}

/* ---- shadow tables ---- */

static void put_shadow(FILE *f, const struct walk *w)
{
	char text[WALK_TEXT * 2];
	double cell = (WIDTH - LEFT) / 5.0 - GUTTER;
	unsigned int number = 0;

	fputs("<h2>The same on shadow tables</h2>\n", f);
	walk_shadow_verdict(w, text);
	fputs("<p>", f);
	html_put(f, text);
	fputs("</p>\n", f);
	if (!w->shadow_n)
		return;
	fprintf(f,
		"<div class=\"wide\"><svg class=\"walk\" viewBox=\"-12 0 %d %d\" role=\"img\" "
		"aria-label=\"The walk of shadow tables\">\n",
		WIDTH + 12, SHADOW_HEIGHT);
	for (unsigned int i = 0; i < w->shadow_n; i++) {
		const struct walk_shadow *s = &w->shadow_step[i];
		struct box b = {LEFT + i * (cell + GUTTER), HEAD, cell, CELL};
		bool there = s->entry.there && s->entry.kind != WALK_EMPTY;

		number += !strcmp(w->shadow_end, "mended") || s->reached;
		fprintf(f,
			"<text class=\"name\" x=\"%.1f\" y=\"16\">%s: %s</text>"
			"<text class=\"mono faint\" x=\"%.1f\" y=\"33\">for guest's 0x%" PRIx64
			"</text>\n",
			b.x, walk_name(s->entry.level), s->table, b.x, s->of);
		put_cell(f, b, there ? CELL_SHADOW : CELL_MISSING,
			 !strcmp(w->shadow_end, "mended") || s->reached ? number : 0, "x86-64",
			 s->entry.there ? &s->entry : NULL, s->entry.at);
		if (i + 1 == w->shadow_n)
			continue;
		fprintf(f, "<path class=\"go\" d=\"M%.1f %.1fh%d\"/>", b.x + cell, b.y + CELL / 2.0,
			GUTTER - 12);
		put_tip(f, b.x + cell + GUTTER - 10, b.y + CELL / 2.0, false);
	}
	fputs("</svg></div>\n<ul class=\"small\">\n", f);
	for (unsigned int i = 0; i < w->shadow_n; i++) {
		walk_table_state(&w->shadow_step[i], text);
		fprintf(f, "<li>%s: ", walk_name(w->shadow_step[i].entry.level));
		html_put(f, text);
		fputs("</li>\n", f);
	}
	fputs("</ul>\n", f);
}

/* ---- the page ---- */

static void put_facts(FILE *f, const struct walk *w)
{
	char text[WALK_TEXT * 2];

	fputs("<dl>\n", f);
	html_put_fact(f, "Access", "%s of 0x%" PRIx64 "%s%s%s by %s", w->access, w->at,
		      strncmp(w->where, "0x", 2) != 0 ? " (" : "",
		      strncmp(w->where, "0x", 2) != 0 ? w->where : "",
		      strncmp(w->where, "0x", 2) != 0 ? ")" : "",
		      w->user ? "the user" : "the kernel");
	walk_moment(w, text);
	html_put_fact(f, "Stopped", "vCPU %u, %s; RIP 0x%" PRIx64 ", CPL %u", w->cpu, text, w->rip,
		      w->cpl);
	html_put_fact(f, "Tables", "the guest's: %s, %u levels, CR3 0x%" PRIx64 "; nested: %s",
		      w->format, w->levels, w->cr3, w->nested_format);
	walk_verdict(w, text);
	html_put_fact(f, "Result", "%s", text);
	fputs("</dl>\n", f);
}

static void put_sum(FILE *f, const struct walk *w)
{
	fprintf(f, "<p class=\"sum\"><b>%u</b> references on nested tables%s", w->filled,
		w->nested_mapped ? "" : ", when nothing is missing");
	if (!w->nested_mapped)
		fprintf(f, " (now %u, then a nested fault)", w->references);
	fprintf(f, "; <b>%u</b> without a hypervisor", w->native);
	if (walk_has_shadow(w))
		fprintf(f, "; <b>%u</b> on shadow tables", w->shadow_filled);
	fprintf(f, ". The hardware walks %s tables now.</p>\n", w->shadow ? "shadow" : "nested");
}

static void put_troubles(FILE *f, const struct walk *w)
{
	char text[WALK_TEXT];

	if (w->nested_mapped)
		return;
	fputs("<ul class=\"small\">\n", f);
	for (unsigned int i = 0; i < w->n; i++) {
		if (!w->step[i].has_nested)
			continue;
		walk_trouble(w, &w->step[i].nested, text);
		if (!*text)
			continue;
		fprintf(f, "<li>Guest's 0x%" PRIx64 ": ", w->step[i].nested.at);
		html_put(f, text);
		fputs("</li>\n", f);
	}
	fputs("</ul>\n", f);
}

void walk_put_page(FILE *f, const struct walk *w)
{
	char *title;

	if (asprintf(&title, "Twofold: the walk of 0x%" PRIx64, w->at) < 0)
		abort();
	html_begin(f, title, put_style);
	free(title);
	fprintf(f,
		"<h1>How 0x%" PRIx64 " is translated</h1>\n"
		"<p class=\"faint\">Drawn by <code>twofold walk</code>: each memory reference of a "
		"walk with empty caches, in the hardware's order.</p>\n",
		w->at);
	put_facts(f, w);
	put_sum(f, w);
	fputs("<h2>The walk in two dimensions</h2>\n<p class=\"faint small key\">"
	      "<span style=\"border-color:var(--nested)\"></span>nested entry"
	      "<span style=\"border-color:var(--exits)\"></span>guest's entry"
	      "<span style=\"border-color:var(--faint);border-style:dashed\"></span>missing: a "
	      "fault "
	      "fills it; a thick frame is a leaf</p>\n",
	      f);
	put_grid(f, w);
	put_troubles(f, w);
	put_shadow(f, w);
	html_end(f);
}
