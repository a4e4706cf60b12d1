/* `twofold table`: runs side by side, one column for each --stats file.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "say.h"

enum { RUNS_MAX = 8, NAME_WIDTH = 30, COLUMN_WIDTH = 14 };

struct table {
	json_t *run[RUNS_MAX];
	int runs;
};

static const char doc[] =
	"Prints what was measured in runs of 'twofold run --stats FILE', side by side."
	"\vEach FILE is one column. Exit status: 0; 64 wrong usage; 66 a file is missing or holds "
	"no "
	"such numbers.";

static error_t option_take(int key, char *arg, struct argp_state *state)
{
	struct table *t = state->input;
	json_error_t e;

	switch (key) {
	case ARGP_KEY_ARG:
		if (t->runs == RUNS_MAX) {
			say("table: at most %d files", RUNS_MAX);
			exit(EXIT_BAD_USAGE);
		}
		t->run[t->runs] = json_load_file(arg, 0, &e);
		if (!json_is_string(json_object_get(t->run[t->runs], "mode"))) {
			say("table: %s: %s", arg, t->run[t->runs] ? "no --stats file" : e.text);
			exit(EXIT_BAD_FILE);
		}
		t->runs++;
		return 0;
	case ARGP_KEY_END:
		if (t->runs)
			return 0;
		say("table: name at least one file that --stats wrote");
		exit(EXIT_BAD_USAGE);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* The width that TEXT takes is its characters' (ASCII only). */
static void cell(const char *text)
{
	printf("%*s", COLUMN_WIDTH, text);
}

static void cell_count(json_int_t n)
{
	char plain[32], grouped[48];
	size_t len, to = 0;

	snprintf(plain, sizeof(plain), "%lld", (long long)n);
	len = strlen(plain);
	for (size_t i = 0; i < len; i++) {
		grouped[to++] = plain[i];
		if ((len - i) % 3 == 1 && i + 1 < len && plain[i] != '-')
			grouped[to++] = ',';
	}
	grouped[to] = 0;
	cell(grouped);
}

static void cell_value(const json_t *v, const char *fmt)
{
	char text[48];

	if (!json_is_number(v)) {
		cell("-");
	} else if (fmt) {
		snprintf(text, sizeof(text), fmt, json_number_value(v));
		cell(text);
	} else {
		cell_count(json_integer_value(v));
	}
}

static void heading(const char *text)
{
	printf("\n%s\n", text);
}

/* One line: member KEY of each run's object IN (NULL: of the run itself). */
static void row(const struct table *t, const char *name, const char *in, const char *key,
		const char *fmt)
{
	printf("  %-*s", NAME_WIDTH - 2, name);
	for (int i = 0; i < t->runs; i++) {
		const json_t *o = in ? json_object_get(t->run[i], in) : t->run[i];

		cell_value(json_object_get(o, key), fmt);
	}
	putchar('\n');
}

/* As --machine names it. */
static const char *machine_kind_of(const json_t *run)
{
	const char *kind =
		json_string_value(json_object_get(json_object_get(run, "machine"), "kind"));

	return kind ? kind : "";
}

static void head(const struct table *t)
{
	const json_t *m = json_object_get(t->run[0], "machine");
	bool one = true;
	char text[32];

	for (int i = 1; i < t->runs; i++)
		one &= !strcmp(machine_kind_of(t->run[0]), machine_kind_of(t->run[i]));

	printf("On %s (%lld CPUs), %s, Linux %s\n\n", json_string_value(json_object_get(m, "cpu")),
	       (long long)json_integer_value(json_object_get(m, "cpus")),
	       one ? json_string_value(json_object_get(m, "emulator")) : "several machines",
	       json_string_value(json_object_get(m, "linux")));
	if (!one) {
		printf("%-*s", NAME_WIDTH, "");
		for (int i = 0; i < t->runs; i++)
			cell(machine_kind_of(t->run[i]));
		putchar('\n');
	}
	printf("%-*s", NAME_WIDTH, "");
	for (int i = 0; i < t->runs; i++)
		cell(json_string_value(json_object_get(t->run[i], "mode")));
	printf("\n%-*s", NAME_WIDTH, "");
	for (int i = 0; i < t->runs; i++) {
		snprintf(text, sizeof(text), "%lld CPUs, %lldM",
			 (long long)json_integer_value(json_object_get(t->run[i], "cpus")),
			 (long long)json_integer_value(json_object_get(t->run[i], "mem")) >> 20);
		cell(text);
	}
	putchar('\n');
}

static json_int_t nodes_of(const json_t *run)
{
	return (json_int_t)json_array_size(json_object_get(run, "nodes"));
}

/* Where any run is not as it is by default: what makes the difference. */
static void head_groups(const struct table *t)
{
	bool differs = false;

	for (int i = 0; i < t->runs; i++) {
		const char *by = json_string_value(json_object_get(t->run[i], "grouping"));
		const char *how = json_string_value(json_object_get(t->run[i], "install"));

		differs |= nodes_of(t->run[i]) > 1 || (by && strcmp(by, "node") != 0) ||
			   (how && strcmp(how, "lock") != 0);
	}
	if (!differs)
		return;
	printf("%-*s", NAME_WIDTH, "nodes");
	for (int i = 0; i < t->runs; i++)
		cell_count(nodes_of(t->run[i]));
	printf("\n%-*s", NAME_WIDTH, "groups by, install by");
	for (int i = 0; i < t->runs; i++) {
		const char *by = json_string_value(json_object_get(t->run[i], "grouping"));
		const char *how = json_string_value(json_object_get(t->run[i], "install"));
		char text[32];

		snprintf(text, sizeof(text), "%s, %s", by ? by : "-", how ? how : "-");
		cell(text);
	}
	putchar('\n');
}

/* The seconds that the workload told of part NAME in one run. */
static const json_t *work_seconds(const json_t *run, const char *name)
{
	const json_t *w;
	size_t i;

	json_array_foreach(json_object_get(run, "work"), i, w)
	{
		if (!strcmp(json_string_value(json_object_get(w, "work")), name))
			return json_object_get(w, "seconds");
	}
	return NULL;
}

static void times(const struct table *t)
{
	const json_t *w;
	size_t i;

	heading("time, seconds");
	row(t, "kernel up to /init", NULL, "boot_seconds", "%.2f");
	json_array_foreach(json_object_get(t->run[0], "work"), i, w)
	{
		const char *name = json_string_value(json_object_get(w, "work"));

		printf("  %-*s", NAME_WIDTH - 2, name);
		for (int r = 0; r < t->runs; r++)
			cell_value(work_seconds(t->run[r], name), "%.3f");
		putchar('\n');
	}
	row(t, "guest, from start to end", NULL, "guest_seconds", "%.2f");
	row(t, "all, with firmware", NULL, "wall_seconds", "%.2f");
}

static json_int_t mark_of(const json_t *told)
{
	return json_integer_value(json_object_get(told, "mark"));
}

/* Pairs of marks, a byte and that plus 0x80, of the part with this one: how many; and the exits in
 * those from FROM to before TO. */
static size_t pairs_count(const json_t *run, json_int_t mark, size_t from, size_t to,
			  json_int_t *exits)
{
	const json_t *m;
	json_int_t begin = -1, byte, at;
	size_t k, n = 0;

	*exits = 0;
	json_array_foreach(json_object_get(run, "marks"), k, m)
	{
		byte = json_integer_value(json_object_get(m, "mark"));
		at = json_integer_value(json_object_get(m, "exits_total"));
		if (byte == mark) {
			begin = at;
		} else if (begin >= 0 && byte == mark + 0x80) {
			*exits += n >= from && n < to ? at - begin : 0;
			begin = -1;
			n++;
		}
	}
	return n;
}

/* Exits between the marks around what line I of the run's work tells of. Where a part has several
 * pairs of marks (the rounds of a phase), the lines that name its mark share them, in order. -1:
 * none. */
static json_int_t part_exits(const json_t *run, size_t i)
{
	const json_t *work = json_object_get(run, "work"), *told;
	json_int_t mark = mark_of(json_array_get(work, i)), exits;
	size_t k, lines = 0, before = 0, pairs;

	json_array_foreach(work, k, told)
	{
		before += k < i && mark_of(told) == mark;
		lines += mark_of(told) == mark;
	}
	pairs = pairs_count(run, mark, 0, 0, &exits);
	if (!mark || !pairs || !lines)
		return -1;
	pairs_count(run, mark, pairs * before / lines, pairs * (before + 1) / lines, &exits);
	return exits;
}

static int any_marked(const json_t *run)
{
	size_t n = json_array_size(json_object_get(run, "work"));

	for (size_t i = 0; i < n; i++) {
		if (part_exits(run, i) >= 0)
			return 1;
	}
	return 0;
}

static int same_work(const json_t *a, const json_t *b)
{
	return b && json_equal(json_object_get(a, "work"), json_object_get(b, "work"));
}

static void part_rates(const struct table *t)
{
	const json_t *w;
	size_t i;

	if (!any_marked(t->run[0]))
		return;
	heading("exits for one operation of each part, all CPUs");
	json_array_foreach(json_object_get(t->run[0], "work"), i, w)
	{
		printf("  %-*s", NAME_WIDTH - 2, json_string_value(json_object_get(w, "work")));
		for (int r = 0; r < t->runs; r++) {
			const json_t *told = json_array_get(json_object_get(t->run[r], "work"), i);
			double count = json_number_value(json_object_get(told, "count"));
			json_int_t n = same_work(w, told) ? part_exits(t->run[r], i) : -1;
			char text[32];

			snprintf(text, sizeof(text), "%.4g", (double)n / count);
			cell(n >= 0 && count > 0 ? text : "-");
		}
		putchar('\n');
	}
}

static json_int_t exits_sum(const json_t *run)
{
	json_t *exits = json_object_get(run, "exits");
	const char *key;
	json_t *value;
	json_int_t sum = 0;

	json_object_foreach(exits, key, value) sum += json_integer_value(value);
	return sum;
}

struct exit_row {
	const char *name;
	json_int_t most; /* in any run */
};

static int exit_row_compare(const void *a, const void *b)
{
	const struct exit_row *x = a, *y = b;

	return x->most != y->most ? (x->most < y->most) - (x->most > y->most)
				  : strcmp(x->name, y->name);
}

/* Every exit reason that any run saw, the most frequent first. */
static void exits(const struct table *t)
{
	json_t *most = json_object();
	struct exit_row *rows;
	const char *key;
	json_t *value;
	size_t n = 0;

	for (int i = 0; i < t->runs; i++) {
		json_object_foreach(json_object_get(t->run[i], "exits"), key, value)
		{
			if (json_integer_value(value) >
			    json_integer_value(json_object_get(most, key)))
				json_object_set(most, key, value);
		}
	}
	rows = calloc(json_object_size(most) + 1, sizeof(*rows));
	if (!rows)
		abort();
	json_object_foreach(most, key, value) rows[n++] =
		(struct exit_row){key, json_integer_value(value)};
	qsort(rows, n, sizeof(*rows), exit_row_compare);

	heading("exits");
	for (size_t i = 0; i < n; i++)
		row(t, rows[i].name, "exits", rows[i].name, NULL);
	printf("  %-*s", NAME_WIDTH - 2, "all");
	for (int i = 0; i < t->runs; i++)
		cell_count(exits_sum(t->run[i]));
	putchar('\n');
	free(rows);
	json_decref(most);
}

/* Where the mode changed in any run. */
static void switches(const struct table *t)
{
	json_int_t most = 0;

	for (int i = 0; i < t->runs; i++) {
		json_int_t n = json_integer_value(json_object_get(t->run[i], "switches"));

		most = n > most ? n : most;
	}
	if (!most)
		return;
	heading("changes of the mode");
	row(t, "changes", NULL, "switches", NULL);
	row(t, "of them, each CPU's", NULL, "vcpu_switches", NULL);
	row(t, "cycles until they ran", NULL, "switch_cycles", NULL);
	row(t, "the longest one's", NULL, "switch_cycles_max", NULL);
	row(t, "stop to shadow, median", "switch_stop_median", "shadow", NULL);
	row(t, "stop to nested, median", "switch_stop_median", "nested", NULL);
	row(t, "share of time on shadow", "mode_share", "shadow", "%.3f");
	row(t, "share of time for metering", NULL, "meter_share", "%.4f");
}

static void tables(const struct table *t)
{
	static const struct {
		const char *name, *key;
	} rows[] = {
		{"#PF handed to the guest", "guest_faults"},
		{"shadow faults mended", "shadow_faults"},
		{"nested faults mended", "nested_faults"},
		{"shadow leaves filled", "shadow_fills"},
		{"of these without a fault", "prefills"},
		{"guest tables made unsync", "unsyncs"},
		{"re-read at a flush", "resyncs"},
		{"shadow tables, most", "shadow_tables_max"},
		{"pages of all tables, at end", "table_pages"},
	};

	heading("page tables");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		row(t, rows[i].name, NULL, rows[i].key, NULL);
}

/* Group number I of one run, as it was at the end, or NULL. */
static const json_t *group_of(const json_t *run, size_t i)
{
	return json_array_get(json_object_get(run, "groups"), i);
}

/* Where any run had several nodes or groups. */
static void groups(const struct table *t)
{
	static const struct {
		const char *name, *key;
	} rows[] = {
		{"nested faults mended", "nested_faults"},
		{"shadow faults mended", "shadow_faults"},
		{"pages of its tables", "table_pages"},
		{"cycles waiting for locks", "lock_wait_cycles"},
	};
	size_t most = 0;
	bool nodes = false;
	char text[48];

	for (int r = 0; r < t->runs; r++) {
		size_t n = json_array_size(json_object_get(t->run[r], "groups"));

		most = n > most ? n : most;
		nodes |= nodes_of(t->run[r]) > 1;
	}
	if (most < 2 && !nodes)
		return;
	heading("nodes and groups");
	row(t, "leaves for known frames", NULL, "copies", NULL);
	row(t, "CPUs that changed the group", NULL, "regroups", NULL);
	row(t, "pages from the right node", NULL, "pages_local", NULL);
	row(t, "pages from another node", NULL, "pages_remote", NULL);
	row(t, "cycles waiting for locks", NULL, "lock_wait_cycles", NULL);
	for (size_t g = 0; g < most; g++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			snprintf(text, sizeof(text), "%zu: %s", g, rows[i].name);
			printf("  %-*s", NAME_WIDTH - 2, text);
			for (int r = 0; r < t->runs; r++)
				cell_value(json_object_get(group_of(t->run[r], g), rows[i].key),
					   NULL);
			putchar('\n');
		}
	}
}

int command_table(int argc, char **argv)
{
	static const struct argp argp = {NULL, option_take, "FILE...", doc, NULL, NULL, NULL};
	struct table t = {.runs = 0};

	argp_err_exit_status = EXIT_BAD_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &t) != 0)
		return EXIT_BAD_USAGE;
	head(&t);
	head_groups(&t);
	times(&t);
	exits(&t);
	part_rates(&t);
	switches(&t);
	tables(&t);
	groups(&t);
	return 0;
}
