/* A history as charts: see charts.h.
 *
 * From top to bottom: a row for each CPU (or address space) with the mode it was in, the costs of
 * both modes (for each of the busiest address spaces), rates. Where there are more samples than
 * columns of the picture, each column gets the mean, and a band from the lowest to the highest; a
 * column of a row is divided as its time was.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "charts.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"
#include "say.h"

enum {
	WIDTH = 1080,
	LEFT = 122,
	RIGHT = 16,
	COLUMNS = 940, /* about a pixel each */
	ROW_HEIGHT = 20,
	CHART_HEIGHT = 150,
	TITLE_HEIGHT = 44,
	AXIS_HEIGHT = 54,
	ROWS_MAX = 16,
	COST_CHARTS_MAX = 4,
	NAME_MAX_LENGTH = 24,
	STROKES_MAX = 100, /* switches that are drawn over the whole height of a panel */
};

enum { INK, FAINT, GRID, NESTED, SHADOW, MISSES, FAULTS, CR3, EXITS };

const struct colour charts_colours[COLOURS] = {
	[INK] = {"ink", 0x010203},	 [FAINT] = {"faint", 0x020304},
	[GRID] = {"grid", 0x030405},	 [NESTED] = {"nested", 0x040506},
	[SHADOW] = {"shadow", 0x050607}, [MISSES] = {"misses", 0x060708},
	[FAULTS] = {"faults", 0x070809}, [CR3] = {"cr3", 0x08090a},
	[EXITS] = {"exits", 0x090a0b},
};

/* ---- what a column holds ---- */

struct column {
	size_t n;
	double sum, low, high;
};

/* Time of a row, in seconds: by mode; asleep or not. */
struct cell {
	double time[MODES][2];
};

struct drawing {
	const struct history *h;
	struct charts *c;
	FILE *f; /* gnuplot's script */
	unsigned int rows;
	unsigned int top; /* of the next panel, in pixels from the picture's top */
};

static unsigned int column_of(const struct history *h, double t)
{
	double at = t / h->end * COLUMNS;

	return at >= COLUMNS ? COLUMNS - 1 : (unsigned int)at;
}

/* Names come from guests: only what is plain in gnuplot's strings passes. */
static void name_put(FILE *f, const char *name)
{
	for (size_t i = 0; name[i] && i < NAME_MAX_LENGTH; i++) {
		bool plain = (name[i] >= '0' && name[i] <= '9') ||
			     (name[i] >= 'a' && name[i] <= 'z') ||
			     (name[i] >= 'A' && name[i] <= 'Z') || strchr(" _-+.:/", name[i]);

		putc(plain ? name[i] : '?', f);
	}
}

/* ---- lines ---- */

/* The samples of a line: those for SPACE, or all. */
static bool is_on_line(const struct sample *s, const uint64_t *space)
{
	return !space || s->space == *space;
}

/* A line on its way into a datablock. */
struct pen {
	FILE *f;
	double floor, gap; /* least value; a longer time without a point interrupts the line */
	double last[4];	   /* the newest point: time, mean, lowest, highest */
	size_t n;	   /* points since the last interruption */
};

static void pen_put(const struct pen *p, const double *point)
{
	fprintf(p->f, "%.6g %.6g %.6g %.6g\n", point[0], fmax(point[1], p->floor),
		fmax(point[2], p->floor), fmax(point[3], p->floor));
}

/* Ends a stretch of the line. A point alone would not be seen: it gets as long as the time that it
 * stands for at least. */
static void pen_lift(struct pen *p)
{
	if (p->n == 1) {
		p->last[0] += p->gap / 10;
		pen_put(p, p->last);
	}
	if (p->n)
		putc('\n', p->f);
	p->n = 0;
}

static void pen_move(struct pen *p, double t, double mean, double low, double high)
{
	double point[4] = {t, mean, low, high};

	if (p->n && t - p->last[0] > p->gap)
		pen_lift(p);
	pen_put(p, point);
	memcpy(p->last, point, sizeof(point));
	p->n++;
}

/* One datablock "$NAME" with lines of time, mean, lowest, highest; returns the highest of all. The
 * samples themselves, or, if there are more than that, the means over one of COLUMNS_N equal parts
 * of the time. */
static double line_put(struct drawing *d, const char *name, const uint64_t *space,
		       enum figure figure, double floor, unsigned int columns_n)
{
	const struct history *h = d->h;
	struct column column[COLUMNS] = {{0}};
	double highest = floor, width = h->end / columns_n;
	struct pen pen = {.f = d->f, .floor = floor, .gap = CHARTS_GAP};
	size_t n = 0;

	for (size_t i = 0; i < h->samples_n; i++)
		n += is_on_line(&h->samples[i], space);
	fprintf(d->f, "$%s << EOD\n", name);
	for (size_t i = 0; i < h->samples_n; i++) {
		const struct sample *s = &h->samples[i];
		struct column *c = &column[column_of(h, s->t) * columns_n / COLUMNS];
		double x = s->figure[figure];

		if (!is_on_line(s, space))
			continue;
		highest = fmax(highest, x);
		c->low = c->n ? fmin(c->low, x) : x;
		c->high = c->n ? fmax(c->high, x) : x;
		c->sum += x;
		c->n++;
		if (n <= columns_n)
			pen_move(&pen, s->t, x, x, x);
	}
	pen.gap = n > columns_n ? fmax(CHARTS_GAP, 1.5 * width) : pen.gap;
	for (unsigned int i = 0; n > columns_n && i < columns_n; i++) {
		if (column[i].n)
			pen_move(&pen, (i + 0.5) * width, column[i].sum / (double)column[i].n,
				 column[i].low, column[i].high);
	}
	pen_lift(&pen);
	fputs("EOD\n", d->f);
	d->c->thinned |= n > COLUMNS && columns_n == COLUMNS;
	return highest;
}

/* ---- rows ---- */

static void span_add(const struct history *h, struct cell *cells, double from, double to,
		     enum mode mode, bool asleep)
{
	double width = h->end / COLUMNS;

	for (unsigned int i = column_of(h, from); from < to && i < COLUMNS; i++) {
		double until = i + 1 < COLUMNS ? fmin(to, (i + 1) * width) : to;

		if (until > from) {
			cells[i].time[mode][asleep] += until - from;
			from = until;
		}
	}
}

/* Row number ROW is the one of a unit, or of a CPU where the whole VM has one mode. */
static bool is_in_row(const struct history *h, unsigned int row, const struct sample *s)
{
	return h->by_space ? s->space == h->units[row].space : s->cpu == row;
}

static bool is_change_in_row(const struct history *h, unsigned int row, const struct change *c)
{
	return c->space == (h->by_space ? h->units[row].space : 0);
}

/* Takes the row's changes up to the time T into its cells, from *FROM on, which becomes T. */
static void changes_add(const struct history *h, unsigned int row, struct cell *cells, size_t *next,
			double *from, double t, enum mode *mode, bool asleep)
{
	for (; *next < h->changes_n && h->changes[*next].t <= t; (*next)++) {
		const struct change *c = &h->changes[*next];

		if (!is_change_in_row(h, row, c) || c->from == c->to)
			continue;
		if (c->t > *from) {
			span_add(h, cells, *from, c->t, *mode, asleep);
			*from = c->t;
		}
		*mode = c->to;
	}
	span_add(h, cells, *from, t, *mode, asleep);
	*from = t;
}

/* The mode that the row begins with: what its first change was from, or its first sample in. */
static enum mode mode_first(const struct history *h, unsigned int row, const struct sample *s)
{
	for (size_t i = 0; i < h->changes_n && h->changes[i].t <= s->t; i++) {
		if (is_change_in_row(h, row, &h->changes[i]) &&
		    h->changes[i].from != h->changes[i].to)
			return h->changes[i].from;
	}
	return s->mode;
}

static void row_fill(const struct history *h, unsigned int row, struct cell *cells)
{
	enum mode mode = MODE_NESTED;
	double from = 0;
	size_t next = 0;
	bool begun = false;

	for (size_t i = 0; i < h->samples_n; i++) {
		const struct sample *s = &h->samples[i];

		if (!is_in_row(h, row, s))
			continue;
		if (!begun) {
			mode = mode_first(h, row, s);
			/* The VM is there from the start, an address space is not. */
			from = h->by_space ? s->t : 0;
			begun = true;
		}
		changes_add(h, row, cells, &next, &from, s->t, &mode, s->t - from > CHARTS_GAP);
		mode = s->mode;
	}
	if (begun && !h->by_space)
		changes_add(h, row, cells, &next, &from, h->end, &mode, h->end - from > CHARTS_GAP);
}

/* Two columns that look the same: all in one mode, and both asleep or both not. */
static bool looks_same(const struct cell *a, const struct cell *b)
{
	for (int m = 0; m < MODES; m++) {
		for (int asleep = 0; asleep < 2; asleep++) {
			if ((a->time[m][asleep] > 0) != (b->time[m][asleep] > 0))
				return false;
		}
	}
	return !(a->time[MODE_NESTED][0] + a->time[MODE_NESTED][1] > 0 &&
		 a->time[MODE_SHADOW][0] + a->time[MODE_SHADOW][1] > 0);
}

/* Boxes of MODE, "t y t0 t1 y0 y1": rows count from the top, at y -1, -2 and so on. */
static void row_boxes(struct drawing *d, unsigned int row, const struct cell *cells, enum mode mode,
		      bool asleep)
{
	double width = d->h->end / COLUMNS, y = -1.0 - row, high = 0.76;
	unsigned int end;

	for (unsigned int i = 0; i < COLUMNS; i = end) {
		double mine[MODES], all;

		for (end = i + 1; end < COLUMNS && looks_same(&cells[i], &cells[end]);)
			end++;
		for (int m = 0; m < MODES; m++)
			mine[m] = cells[i].time[m][0] + cells[i].time[m][1];
		all = mine[MODE_NESTED] + mine[MODE_SHADOW];
		if (mine[mode] <= 0 || asleep != (cells[i].time[mode][1] > cells[i].time[mode][0]))
			continue;
		/* The shadow's share lies below, the nested one's above. */
		double cut = y - high / 2 + high * mine[MODE_SHADOW] / all;

		fprintf(d->f, "%.6g %g %.6g %.6g %.4g %.4g\n", i * width, y, i * width, end * width,
			mode == MODE_SHADOW ? y - high / 2 : cut,
			mode == MODE_SHADOW ? cut : y + high / 2);
	}
}

/* Datablocks $modeMA: the boxes of all rows, by mode and sleep. */
static void rows_put(struct drawing *d)
{
	struct cell *cells = calloc((size_t)d->rows * COLUMNS, sizeof(*cells));

	if (!cells)
		abort();
	for (unsigned int row = 0; row < d->rows; row++)
		row_fill(d->h, row, cells + (size_t)row * COLUMNS);
	for (int m = 0; m < MODES; m++) {
		for (int asleep = 0; asleep < 2; asleep++) {
			fprintf(d->f, "$mode%d%d << EOD\n", m, asleep);
			for (unsigned int row = 0; row < d->rows; row++)
				row_boxes(d, row, cells + (size_t)row * COLUMNS, m, asleep);
			/* (Out of sight: a block must not be empty.) */
			fputs("-1 -1 -1 -1 -1 -1\nEOD\n", d->f);
		}
	}
	free(cells);
}

/* ---- switches ---- */

/* Datablock "$NAME" with the times of the switches to MODE, of SPACE or of all: one for each column
 * at most, for more cannot be seen. */
static void changes_put(struct drawing *d, const char *name, const uint64_t *space, enum mode mode)
{
	const struct history *h = d->h;
	unsigned int last = COLUMNS;

	fprintf(d->f, "$%s%d << EOD\n", name, mode);
	for (size_t i = 0; i < h->changes_n; i++) {
		const struct change *c = &h->changes[i];

		if (c->to != mode || c->from == mode || (space && c->space != *space) ||
		    column_of(h, c->t) == last)
			continue;
		last = column_of(h, c->t);
		fprintf(d->f, "%.6g\n", c->t);
	}
	fputs("-1\nEOD\n", d->f);
}

/* From LOW to HIGH on an axis of powers; where they are many, short ones at its top. */
static void changes_plot(struct drawing *d, const char *name, double low, double high)
{
	if (d->h->changes_n > STROKES_MAX && low > 0)
		low = high * pow(low / high, 0.06);
	for (int m = 0; m < MODES; m++)
		fprintf(d->f,
			"%s$%s%d using 1:(%g):(0):(%g) with vectors nohead lc rgb \"#%06x\" lw 1 "
			"dt %d notitle",
			m ? ", " : "", name, m, low, high - low,
			charts_colours[m == MODE_SHADOW ? SHADOW : NESTED].rgb,
			d->h->changes_n > STROKES_MAX ? 1 : 3);
}

/* ---- panels ---- */

static unsigned int chart_height(unsigned int rows)
{
	return rows ? rows * ROW_HEIGHT + 8 : CHART_HEIGHT;
}

/* Begins a panel of HEIGHT pixels under a title. */
static void panel_begin(struct drawing *d, const char *title, unsigned int height, bool is_last)
{
	double all = d->c->height;

	d->top += TITLE_HEIGHT;
	fprintf(d->f,
		"unset label\nunset ytics\nunset logscale\n"
		"set tmargin at screen %.6f\nset bmargin at screen %.6f\n"
		"set label 1 '%s' at screen %.6f, screen %.6f left font \",14\" textcolor rgb "
		"\"#%06x\"\n"
		"set format x '%s'\n",
		1 - d->top / all, 1 - (d->top + height) / all, title, 8.0 / WIDTH,
		1 - (d->top - 16) / all, charts_colours[INK].rgb, is_last ? "%g" : "");
	fprintf(d->f,
		"set key at screen %.6f, screen %.6f right center horizontal reverse Left samplen "
		"1.5\n",
		1 - (double)RIGHT / WIDTH, 1 - (d->top - 16) / all);
	if (is_last)
		fprintf(d->f,
			"set label 2 'seconds since the guest began' at graph 0.5, screen %.6f "
			"center textcolor rgb \"#%06x\"\n",
			12 / all, charts_colours[FAINT].rgb);
	d->top += height;
}

/* From FLOOR to a power of ten above HIGHEST. Returns that. */
static double log_axis(struct drawing *d, double floor, double highest, const char *format)
{
	double top = pow(10, ceil(log10(fmax(highest, floor * 100)) - 1e-9));

	fprintf(d->f, "set logscale y\nset yrange [%g:%g]\nset ytics nomirror\nset format y '%s'\n",
		floor, top, format);
	return top;
}

struct part {
	double from, to;
	const char *name; /* NULL: it did not tell */
	unsigned int byte;
};

/* The workload's parts write a byte in 0x10..0x8f before and that plus 0x80 after; when each is
 * done, it tells of itself. */
static size_t parts_find(const struct history *h, struct part *parts)
{
	size_t n = 0;
	bool open = false;

	for (size_t i = 0; i < h->marks_n; i++) {
		const struct mark *m = &h->marks[i];

		if (m->byte >= 0x10 && m->byte < 0x90) {
			parts[n++] = (struct part){m->t, h->end, NULL, m->byte};
			open = true;
		} else if (open && m->byte == parts[n - 1].byte + 0x80) {
			parts[n - 1].to = m->t;
			open = false;
		}
	}
	for (size_t i = 0; i < n && i < json_array_size(h->works); i++)
		parts[i].name =
			json_string_value(json_object_get(json_array_get(h->works, i), "work"));
	return n;
}

/* The parts as a row of their own above the others, at y 0. */
static void parts_put(struct drawing *d)
{
	const struct history *h = d->h;
	struct part *parts = calloc(h->marks_n + 1, sizeof(*parts));
	size_t n;

	if (!parts)
		abort();
	n = parts_find(h, parts);
	d->c->parts = n;
	fputs("$parts << EOD\n", d->f);
	for (size_t i = 0; i < n; i++)
		fprintf(d->f, "%.6g 0 %.6g %.6g -0.38 0.38\n", parts[i].from, parts[i].from,
			parts[i].to);
	fputs("-1 -1 -1 -1 -1 -1\nEOD\n", d->f);
	for (size_t i = 0; i < n; i++) {
		double pixels = (parts[i].to - parts[i].from) / h->end * COLUMNS;
		char number[16];
		const char *name = parts[i].name;

		snprintf(number, sizeof(number), "0x%02x", parts[i].byte);
		name = name ? name : number;
		if (pixels < 7.0 * (double)strnlen(name, NAME_MAX_LENGTH))
			continue;
		fprintf(d->f, "set label %zu '", 10 + i);
		name_put(d->f, name);
		fprintf(d->f,
			"' at first %.6g, first 0 center font \",11\" textcolor rgb \"#%06x\"\n",
			(parts[i].from + parts[i].to) / 2, charts_colours[INK].rgb);
	}
	free(parts);
}

static void mode_panel(struct drawing *d)
{
	const struct history *h = d->h;
	unsigned int above = h->marks_n ? 1 : 0;

	panel_begin(d,
		    h->by_space ? "Mode of each address space" : "Mode, as each vCPU was sampled",
		    chart_height(d->rows + above), false);
	parts_put(d);
	rows_put(d);
	changes_put(d, "all", NULL, MODE_NESTED);
	changes_put(d, "all", NULL, MODE_SHADOW);
	fprintf(d->f, "set yrange [%g:%g]\nset format y '%%g'\nset ytics scale 0 nomirror (",
		-0.5 - d->rows, above ? 0.5 : -0.5);
	fputs(d->c->parts ? "'work' 0" : "'' 1", d->f);
	for (unsigned int row = 0; row < d->rows; row++) {
		if (!h->by_space)
			fprintf(d->f, ", 'vCPU %u' %d", row, -1 - (int)row);
		else if (h->units[row].space)
			fprintf(d->f, ", '%#llx' %d", (unsigned long long)h->units[row].space,
				-1 - (int)row);
		else
			fprintf(d->f, ", 'vm' %d", -1 - (int)row);
	}
	fprintf(d->f,
		")\nplot $parts using 1:2:3:4:5:6 with boxxyerror fc rgb \"#%06x\" fs solid 0.35 "
		"border lc rgb \"#%06x\" notitle",
		charts_colours[GRID].rgb, charts_colours[FAINT].rgb);
	for (int m = 0; m < MODES; m++) {
		for (int asleep = 0; asleep < 2; asleep++)
			fprintf(d->f,
				", $mode%d%d using 1:2:3:4:5:6 with boxxyerror fc rgb \"#%06x\" fs "
				"solid %s noborder %s",
				m, asleep, charts_colours[m == MODE_SHADOW ? SHADOW : NESTED].rgb,
				asleep ? "0.25" : "0.85",
				asleep		   ? "notitle"
				: m == MODE_SHADOW ? "title 'shadow'"
						   : "title 'nested'");
	}
	if (!h->by_space && h->changes_n <= STROKES_MAX) {
		fputs(", ", d->f);
		changes_plot(d, "all", -0.5 - d->rows, above ? 0.5 : -0.5);
	}
	putc('\n', d->f);
}

struct line {
	const char *name, *title;
	enum figure figure;
	int colour;
	bool has_band;
};

static void lines_plot(struct drawing *d, const struct line *lines, size_t n, const char *scale)
{
	for (size_t i = 0; i < n; i++) {
		if (lines[i].has_band && d->c->thinned)
			fprintf(d->f,
				"$%s using 1:($3%s):($4%s) with filledcurves fc rgb \"#%06x\" fs "
				"transparent solid 0.2 noborder notitle, ",
				lines[i].name, scale, scale, charts_colours[lines[i].colour].rgb);
		fprintf(d->f, "$%s using 1:($2%s) with lines lw 1.6 lc rgb \"#%06x\" title '%s', ",
			lines[i].name, scale, charts_colours[lines[i].colour].rgb, lines[i].title);
	}
}

/* What each mode costs, of one unit. */
static void cost_panel(struct drawing *d, const struct unit *u)
{
	static const struct line lines[] = {
		{"nested", "on nested tables: TLB misses", FIGURE_NESTED, NESTED, true},
		{"shadow", "on shadow tables: exits", FIGURE_SHADOW, SHADOW, true},
	};
	const uint64_t *space = d->h->by_space ? &u->space : NULL;
	double highest = 0, top;
	char title[64] = "Cost of each mode";

	if (u->space)
		snprintf(title, sizeof(title), "Cost, space %#llx", (unsigned long long)u->space);
	panel_begin(d, title, CHART_HEIGHT, false);
	for (size_t i = 0; i < 2; i++)
		highest = fmax(highest, line_put(d, lines[i].name, space, lines[i].figure,
						 CHARTS_COST_FLOOR, COLUMNS));
	changes_put(d, "here", space, MODE_NESTED);
	changes_put(d, "here", space, MODE_SHADOW);
	top = log_axis(d, CHARTS_COST_FLOOR / 1e4, highest / 1e4, "%g %%");
	fputs("plot ", d->f);
	lines_plot(d, lines, 2, "/1e4");
	changes_plot(d, "here", CHARTS_COST_FLOOR / 1e4, top);
	putc('\n', d->f);
}

static void rate_panel(struct drawing *d)
{
	static const struct line lines[] = {
		{"misses", "TLB misses", FIGURE_MISSES, MISSES, false},
		{"faults", "guest page faults", FIGURE_FAULTS, FAULTS, false},
		{"cr3", "CR3 writes", FIGURE_CR3, CR3, false},
		{"exits", "exits", FIGURE_EXITS, EXITS, false},
	};
	double highest = 0, top, columns = COLUMNS;

	/* Address spaces that take turns would make the lines jump from one's rates to the next's.
	 */
	if (d->h->by_space)
		columns = fmin(columns, fmax(1, floor(d->h->end / CHARTS_MEAN)));
	panel_begin(d, "Rates, a second", CHART_HEIGHT + 30, true);
	for (size_t i = 0; i < 4; i++)
		highest = fmax(highest, line_put(d, lines[i].name, NULL, lines[i].figure,
						 CHARTS_RATE_FLOOR, (unsigned int)columns));
	top = log_axis(d, CHARTS_RATE_FLOOR, highest, "%.0s%c");
	fputs("plot ", d->f);
	lines_plot(d, lines, 4, "");
	changes_plot(d, "all", CHARTS_RATE_FLOOR, top);
	putc('\n', d->f);
}

static void script_put(struct drawing *d)
{
	const struct history *h = d->h;

	fprintf(d->f,
		"set terminal svg size %u,%u dynamic font 'system-ui,sans-serif,12'\n"
		"set termoption noenhanced\nset encoding utf8\nset multiplot\n"
		"set lmargin at screen %.6f\nset rmargin at screen %.6f\n"
		"set xrange [0:%.9g]\nset border 3 lc rgb \"#%06x\"\n"
		"set xtics nomirror out scale 0.5 textcolor rgb \"#%06x\"\n"
		"set ytics textcolor rgb \"#%06x\"\n"
		"set grid xtics ytics lc rgb \"#%06x\" lw 1 dt 1\n"
		"set key textcolor rgb \"#%06x\"\n",
		d->c->width, d->c->height, (double)LEFT / WIDTH, 1 - (double)RIGHT / WIDTH, h->end,
		charts_colours[FAINT].rgb, charts_colours[FAINT].rgb, charts_colours[FAINT].rgb,
		charts_colours[GRID].rgb, charts_colours[INK].rgb);
	mode_panel(d);
	for (unsigned int i = 0; i < d->c->cost_charts; i++)
		cost_panel(d, &h->units[i]);
	rate_panel(d);
	fputs("unset multiplot\n", d->f);
}

/* What gnuplot drew, without its head and without the names that it gives to things. */
static bool svg_take(struct charts *c, char *text)
{
	char *from = strstr(text, "<g id=\"gnuplot_canvas\">"), *to, *at;

	to = from ? strstr(from, "</svg>") : NULL;
	if (!to) {
		say("report: gnuplot drew something that is no SVG");
		return false;
	}
	*to = 0;
	c->svg = from;
	while ((at = strstr(from, "<title>"))) {
		char *end = strstr(at, "</title>");

		if (!end)
			break;
		end += strlen("</title>");
		memmove(at, end, strlen(end) + 1);
		from = at;
	}
	return true;
}

bool charts_draw(struct charts *c, const struct history *h)
{
	struct drawing d = {.h = h, .c = c};
	char *gnuplot = program_find("gnuplot"), *script = NULL, *drawn;
	unsigned int rows = h->by_space ? (unsigned int)h->units_n : h->cpus;
	size_t script_n, n;
	bool ok;

	if (!gnuplot) {
		say("report: no gnuplot in PATH: install Debian's package gnuplot-nox "
		    "(scripts/setup.sh does)");
		return false;
	}
	d.f = open_memstream(&script, &script_n);
	if (!d.f)
		abort();
	d.rows = rows > ROWS_MAX ? ROWS_MAX : rows;
	*c = (struct charts){.width = WIDTH, .column = h->end / COLUMNS};
	c->rows_left_out = rows - d.rows;
	c->cost_charts = !h->by_space ? 1 : d.rows < COST_CHARTS_MAX ? d.rows : COST_CHARTS_MAX;
	c->height = 3 * TITLE_HEIGHT + chart_height(d.rows + (h->marks_n ? 1 : 0)) +
		    c->cost_charts * CHART_HEIGHT + (c->cost_charts - 1) * TITLE_HEIGHT +
		    CHART_HEIGHT + 30 + AXIS_HEIGHT;
	script_put(&d);
	fclose(d.f);
	ok = program_run(gnuplot, script, script_n, &drawn, &n);
	free(script);
	free(gnuplot);
	return ok && svg_take(c, drawn);
}
