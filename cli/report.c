/* `twofold report`: draws what a --trace file holds.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "charts.h"
#include "commands.h"
#include "history.h"
#include "page.h"
#include "say.h"

struct report {
	const char *trace, *page;
};

static const struct argp_option option_list[] = {
	{"output", 'o', "FILE.html", 0, "Where the page is to go", 0},
	{0},
};

static const char doc[] =
	"Draws a run that 'twofold run --trace FILE' wrote down: the mode, what each mode costs, "
	"faults and exits over time, and each switch with its figures; one HTML page that needs "
	"nothing else."
	"\vExit status: 0; 64 wrong usage, or the page cannot be written; 66 the trace is missing "
	"or not what it should be, or gnuplot is missing.";

static error_t option_take(int key, char *arg, struct argp_state *state)
{
	struct report *r = state->input;

	switch (key) {
	case 'o':
		if (!*arg) {
			say("report: --output: the file name is empty");
			exit(EXIT_BAD_USAGE);
		}
		r->page = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (r->trace) {
			say("report: one trace at a time: what is '%s'?", arg);
			exit(EXIT_BAD_USAGE);
		}
		r->trace = arg;
		return 0;
	case ARGP_KEY_END:
		if (r->trace && r->page)
			return 0;
		say(r->trace ? "report: say where the page is to go: -o FILE.html"
			     : "report: name the file that --trace wrote, and where the page is to "
			       "go: -o FILE.html");
		exit(EXIT_BAD_USAGE);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int page_write(const struct report *r, const struct history *h, const struct charts *c)
{
	struct stat a, b;
	FILE *f;
	bool ok;

	if (stat(r->trace, &a) == 0 && stat(r->page, &b) == 0 && a.st_dev == b.st_dev &&
	    a.st_ino == b.st_ino) {
		say("report: -o %s: that is the trace itself", r->page);
		return EXIT_BAD_USAGE;
	}
	f = fopen(r->page, "we");
	if (!f) {
		say("report: -o %s: cannot write it: %s", r->page, strerror(errno));
		return EXIT_BAD_USAGE;
	}
	page_put(f, h, c, r->trace);
	ok = !ferror(f);
	ok &= fclose(f) == 0;
	if (ok)
		return 0;
	say("report: -o %s: not written: %s", r->page, strerror(errno));
	return EXIT_BAD_FILE;
}

int command_report(int argc, char **argv)
{
	static const struct argp argp = {option_list, option_take, "TRACE", doc, NULL, NULL, NULL};
	struct report r = {NULL, NULL};
	struct history h;
	struct charts c;
	int status;

	argp_err_exit_status = EXIT_BAD_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &r) != 0)
		return EXIT_BAD_USAGE;
	status = history_read(&h, r.trace);
	if (!status && !charts_draw(&c, &h))
		status = EXIT_BAD_FILE;
	return status ? status : page_write(&r, &h, &c);
}
