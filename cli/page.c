/* A history as an HTML page: see page.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "figures.h"
#include "html.h"

enum { TABLE_ROWS_MAX = 1000, TEXT = 32 };

static const char *const mode_names[MODES] = {"nested", "shadow"};

/* ---- text ---- */

static double number_in(const json_t *event, const char *key)
{
	return json_number_value(json_object_get(event, key));
}

static const char *text_in(const json_t *event, const char *key)
{
	const char *text = json_string_value(json_object_get(event, key));

	return text ? text : "-";
}

/* ---- parts of the page ---- */

/* gnuplot's picture has a colour for each role; here it gets the one of the page. */
static void put_style(FILE *f)
{
	for (size_t i = 0; i < COLOURS; i++) {
		unsigned int rgb = charts_colours[i].rgb;
		unsigned int r = rgb >> 16, g = rgb >> 8 & 0xff, b = rgb & 0xff;
		const char *role = charts_colours[i].role;

		fprintf(f,
			"svg [stroke='rgb(%3u, %3u, %3u)']{stroke:var(--%s)}"
			"svg [fill='rgb(%3u, %3u, %3u)'],svg [fill='rgb(%u,%u,%u)']"
			"{fill:var(--%s)}\n",
			r, g, b, role, r, g, b, r, g, b, role);
	}
}

static void put_head(FILE *f, const char *trace)
{
	const char *name = strrchr(trace, '/');
	char *title;

	name = name ? name + 1 : trace;
	if (asprintf(&title, "Twofold: %s", name) < 0)
		abort();
	html_begin(f, title, put_style);
	free(title);
	fputs("<h1>The mode of a guest over time</h1>\n"
	      "<p class=\"faint\">Drawn by <code>twofold report</code> from <code>",
	      f);
	html_put(f, name);
	fputs("</code></p>\n", f);
}

/* The run: its machine, its guest, what chose. */
static void put_facts(FILE *f, const struct history *h)
{
	const json_t *machine = json_object_get(h->run, "machine");
	const char *asked = json_string_value(json_object_get(h->run, "policy_asked"));
	const char *append = json_string_value(json_object_get(h->run, "append"));
	const char *policy = json_string_value(json_object_get(h->last, "policy"));
	const char *grain = json_string_value(json_object_get(h->last, "grain"));

	fputs("<dl>\n", f);
	if (machine)
		html_put_fact(f, "Machine", "%s, %.0f CPUs; %s; Linux %s", text_in(machine, "cpu"),
			      number_in(machine, "cpus"), text_in(machine, "emulator"),
			      text_in(machine, "linux"));
	html_put_fact(f, "Guest", "%.0f vCPU%s, %.0f MiB%s%s", number_in(h->hello, "cpus"),
		      number_in(h->hello, "cpus") == 1 ? "" : "s",
		      number_in(h->hello, "mem") / (1 << 20), append ? "; " : "",
		      append ? append : "");
	html_put_fact(f, "Policy", "%s, for %s",
		      asked    ? asked
		      : policy ? policy
			       : "-",
		      h->by_space || (grain && !strcmp(grain, "space")) ? "each address space"
									: "the whole guest");
	html_put_fact(f, "Time", "%.2f s; %s%s", h->end, h->stopped ? "stopped: " : "ended: ",
		      h->stopped ? h->stopped : text_in(h->last, "reason"));
	html_put_fact(f, "Switches", "%zu", h->changes_n);
	fputs("</dl>\n", f);
}

/* How long the vCPUs ran on each mode's tables. */
static void put_shares(FILE *f, const struct history *h)
{
	const json_t *cycles = json_object_get(h->last, "mode_cycles");
	const json_t *meter = json_object_get(h->last, "meter_cycles");
	double of[MODES], sum = 0;

	for (int m = 0; m < MODES; m++) {
		of[m] = number_in(cycles, mode_names[m]);
		sum += of[m];
	}
	fputs("<h2>Share of time in each mode</h2>\n", f);
	if (sum <= 0) {
		fputs("<p class=\"faint\">Not told in this trace.</p>\n", f);
		return;
	}
	fputs("<div class=\"share\">", f);
	for (int m = 0; m < MODES; m++) {
		if (of[m] > 0)
			fprintf(f, "<span class=\"%s\" style=\"width:%.3f%%\">%s</span>",
				mode_names[m], of[m] / sum * 100,
				of[m] / sum > 0.08 ? mode_names[m] : "");
	}
	fprintf(f,
		"</div>\n<p>Nested %.1f %%, shadow %.1f %% of the time that vCPUs were awake, in "
		"the guest and in exits.",
		of[MODE_NESTED] / sum * 100, of[MODE_SHADOW] / sum * 100);
	if (json_is_number(meter))
		fprintf(f, " The meter itself took %.2f %% of it.",
			json_number_value(meter) / sum * 100);
	fputs("</p>\n", f);
}

static void put_calibration(FILE *f, const struct history *h)
{
	static const struct {
		const char *key, *name;
	} costs[] = {
		{"exit", "an exit"},
		{"miss_nested", "a TLB miss, nested"},
		{"miss_shadow", "a TLB miss, shadow"},
		{"fault", "a fault of the guest"},
		{"cr3", "a CR3 write"},
		{"invlpg", "an INVLPG"},
		{"fill", "a page filled"},
	};
	const json_t *c = h->calibration;

	if (!c)
		c = json_object_get(h->last, "calibration");
	if (!c)
		return;
	fputs("<h2>What things cost on this machine</h2>\n<div class=\"wide\"><table class=\"few\">"
	      "<tr><th></th>",
	      f);
	for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++)
		fprintf(f, "<th>%s</th>", costs[i].name);
	fputs("</tr>\n<tr><td class=\"text\">cycles</td>", f);
	for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++)
		fprintf(f, "<td>%.0f</td>", number_in(c, costs[i].key));
	fputs("</tr>\n<tr><td class=\"text\">ns</td>", f);
	for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++)
		fprintf(f, "<td>%.0f</td>",
			figures_seconds(number_in(c, costs[i].key), h->khz) * 1e9);
	fprintf(f,
		"</tr></table></div>\n<p class=\"faint small\">Measured at boot in %.0f ms, by a "
		"small "
		"guest. The last four are what shadow tables cost more than nested ones.</p>\n",
		figures_seconds(number_in(h->calibration, "cycles"), h->khz) * 1e3);
}

static void put_charts(FILE *f, const struct history *h, const struct charts *c)
{
	fprintf(f,
		"<h2>Over time</h2>\n<div class=\"wide\"><svg viewBox=\"0 0 %u %u\" role=\"img\" "
		"aria-label=\"Charts of the mode, of what each mode costs, and of rates, over "
		"time\" xmlns:xlink=\"http://www.w3.org/1999/xlink\">\n",
		c->width, c->height);
	fputs(c->svg, f);
	fputs("</svg></div>\n<div class=\"faint small\">\n", f);
	if (c->thinned)
		fprintf(f,
			"<p>Thinned: %zu samples are more than the picture has columns. Each "
			"column "
			"of %.3g ms shows the mean of its samples; the pale band of a cost reaches "
			"from the lowest to the highest one.</p>\n",
			h->samples_n, c->column * 1e3);
	else
		fprintf(f, "<p>%zu samples; nothing is thinned.</p>\n", h->samples_n);
	fprintf(f,
		"<p>Pale parts of a row: no sample for more than %.0f ms, for the %s. Where the "
		"mode "
		"changed within a column, the column is divided as its time was. Dotted lines: "
		"switches, in the colour of the mode switched to (where they are many, short "
		"strokes). Costs below %.1f %% and rates "
		"below "
		"%.0f are drawn there.</p>\n",
		CHARTS_GAP * 1e3, h->by_space ? "space was not running" : "vCPU slept",
		CHARTS_COST_FLOOR / 1e4, CHARTS_RATE_FLOOR);
	if (c->rows_left_out)
		fprintf(f, "<p>%u more %s, sampled %s, have no row.</p>\n", c->rows_left_out,
			h->by_space ? "address spaces" : "vCPUs",
			h->by_space ? "less often" : "likewise");
	if (h->by_space)
		fprintf(f,
			"<p>Costs are of the %u address spaces that were sampled most often; rates "
			"of "
			"all, as means of %.0f ms.</p>\n",
			c->cost_charts, fmax(CHARTS_MEAN, c->column) * 1e3);
	fputs("</div>\n", f);
}

static void put_count(FILE *f, double x)
{
	char text[TEXT];

	figures_count(x, text, sizeof(text));
	fprintf(f, "<td>%s</td>", text);
}

static void put_change(FILE *f, const struct history *h, const struct change *c)
{
	fprintf(f, "<tr><td>%.3f</td>", c->t);
	if (h->by_space && c->space)
		fprintf(f, "<td class=\"text\">%#llx</td>", (unsigned long long)c->space);
	else if (h->by_space)
		fputs("<td class=\"text\">vm</td>", f);
	fprintf(f, "<td class=\"text %s\">%s</td><td class=\"text %s\">%s</td>",
		mode_names[c->from], mode_names[c->from], mode_names[c->to], mode_names[c->to]);
	fprintf(f, "<td>%.1f %%</td><td>%.1f %%</td>", c->figure[FIGURE_NESTED] / 1e4,
		c->figure[FIGURE_SHADOW] / 1e4);
	put_count(f, c->figure[FIGURE_MISSES]);
	put_count(f, c->figure[FIGURE_FAULTS]);
	put_count(f, c->figure[FIGURE_CR3]);
	put_count(f, c->figure[FIGURE_EXITS]);
	fprintf(f, "<td>%.1f</td><td>%.1f</td><td class=\"text why\">", c->regret * 1e3,
		c->price * 1e3);
	html_put(f, c->why);
	fputs("</td></tr>\n", f);
}

static void put_changes(FILE *f, const struct history *h)
{
	size_t n = h->changes_n < TABLE_ROWS_MAX ? h->changes_n : TABLE_ROWS_MAX;

	fputs("<h2>Switches</h2>\n", f);
	if (!n) {
		fputs("<p>The mode was never changed.</p>\n", f);
		return;
	}
	if (n < h->changes_n)
		fprintf(f, "<p class=\"faint\">The first %zu of %zu.</p>\n", n, h->changes_n);
	fprintf(f,
		"<div class=\"wide\"><table><tr><th>at, s</th>%s<th class=\"text\">from</th>"
		"<th class=\"text\">to</th><th>nested<br>costs</th><th>shadow<br>costs</th>"
		"<th>TLB<br>misses/s</th><th>faults/s</th><th>CR3<br>writes/s</th><th>exits/s</th>"
		"<th>regret,<br>ms</th><th>price,<br>ms</th><th class=\"text\">why</th></tr>\n",
		h->by_space ? "<th class=\"text\">space</th>" : "");
	for (size_t i = 0; i < n; i++)
		put_change(f, h, &h->changes[i]);
	fputs("</table></div>\n", f);
}

void page_put(FILE *f, const struct history *h, const struct charts *c, const char *trace)
{
	put_head(f, trace);
	put_facts(f, h);
	put_shares(f, h);
	put_charts(f, h, c);
	put_changes(f, h);
	put_calibration(f, h);
	html_end(f);
}
