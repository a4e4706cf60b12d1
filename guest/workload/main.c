/* workload: what a guest does while it is measured. See --help.
 *
 * Each part prints one JSON object on a line of its own:
 *     {"work":"fork","count":300,"size":0,"seconds":0.2012}
 * Around the timed stretch of part number i (as in --list) it writes the bytes 0x10 + i and 0x90 +
 * i to port 0xf5, where Twofold notes its counters. Elsewhere nothing listens there.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workload.h"

struct settings settings = {.seed = 1, .marks = 1};

/* A part's number is its place here. The counts make 0.1 to 1 s of it on an emulated CPU. */
static struct part parts[] = {
	{"fork", "fork, exit, wait", NULL, 300, 0, fork_run},
	{"exec", "fork, exec, exit, wait", NULL, 100, 0, exec_run},
	{"churn", "mmap, touch each page, munmap", "pages", 60, 1024, churn_run},
	{"mprotect", "protect, read all, unprotect, write all", "pages", 3000, 64, mprotect_run},
	{"chase", "load that depends on the last", "pages", 3000000, 32768, chase_run},
	{"update", "random read, change, write", "pages", 2000000, 32768, update_run},
	{"storm", "map, touch, discard on every CPU at once", "pages", 20, 1024, storm_run},
	{"pipe", "byte there and back", NULL, 3000, 0, pipe_run},
	{"arith", "thousand steps of arithmetic", NULL, 30000, 0, arith_run},
	{"forks", "fork, exit, wait on every CPU at once", "pages", 50, 512, forks_run},
	/* The rest, from number USUAL on, runs only when it is named. Those with a dot are what the
	 * part of the name before it consists of; each can be run alone. */
	{"phased", "rounds of its four phases", NULL, 10, 0, phased_run},
	{"phased.fork", "as fork", NULL, 2000, 0, fork_run},
	{"phased.chase", "as chase", "pages", 4000000, 32768, chase_run},
	{"phased.churn", "as churn", "pages", 180, 1024, churn_run},
	{"phased.update", "as update", "pages", 4000000, 32768, update_run},
	{"pair", "pair.chase beside pair.fork", NULL, 1, 0, pair_run},
	{"pair.chase", "as chase", "pages", 6000000, 32768, chase_run},
	{"pair.fork", "as fork", NULL, 3000, 0, fork_run},
	{"pair-update", "its update beside its fork", NULL, 1, 0, pair_update_run},
	{"pair-update.update", "as update", "pages", 6000000, 32768, update_run},
	{"pair-update.fork", "as fork", NULL, 3000, 0, fork_run},
};
enum { PARTS = sizeof(parts) / sizeof(parts[0]), USUAL = 10 };

static struct part *part_find(const char *name, size_t n)
{
	for (int i = 0; i < PARTS; i++) {
		if (strlen(parts[i].name) == n && !strncmp(parts[i].name, name, n))
			return &parts[i];
	}
	fprintf(stderr, "workload: no part is called '%.*s' (--list tells them)\n", (int)n, name);
	exit(64);
}

static uint64_t number(const char *text, uint64_t least)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || v < least) {
		fprintf(stderr, "workload: '%s' is no number of at least %llu\n", text,
			(unsigned long long)least);
		exit(64);
	}
	return v;
}

const struct part *part_named(const char *name)
{
	return part_find(name, strlen(name));
}

int part_number(const struct part *p)
{
	return (int)(p - parts);
}

/* The member of the part at OFFSET, size or count, becomes what the text says. */
static void member_set(struct part *p, size_t offset, const char *text)
{
	uint64_t v = number(text, 1);

	if (offset == offsetof(struct part, size) && !p->size_unit) {
		fprintf(stderr, "workload: part '%s' has no size\n", p->name);
		exit(64);
	}
	memcpy((char *)p + offset, &v, sizeof(v));
}

/* NAME=N */
static void part_set(const char *text, size_t offset)
{
	size_t n = strcspn(text, "=");

	member_set(part_find(text, n), offset, text[n] ? text + n + 1 : "");
}

static double positive(const char *text, const char *what)
{
	char *end;
	double f = strtod(text, &end);

	if (end == text || *end || !(f > 0 && f < 1e6)) {
		fprintf(stderr, "workload: '%s' is no %s\n", text, what);
		exit(64);
	}
	return f;
}

static void parts_scale(const char *text)
{
	double f = positive(text, "scale");

	for (int i = 0; i < PARTS; i++) {
		parts[i].count = (uint64_t)((double)parts[i].count * f);
		parts[i].count += !parts[i].count;
	}
}

static void parts_list(void)
{
	for (int i = 0; i < PARTS; i++) {
		const struct part *p = &parts[i];

		printf("%2d %-18s %8llu x (%s)", i, p->name, (unsigned long long)p->count,
		       p->operation);
		if (p->size_unit)
			printf(", %llu %s", (unsigned long long)p->size, p->size_unit);
		putchar('\n');
	}
}

static const char help[] =
	"Usage: workload [OPTION...] [NAME...]\n"
	"Runs the named parts (the first ten of --list) and prints a line of JSON for each.\n"
	"NAME:SIZE and NAME:SIZE:COUNT say on the spot what --size and --count do (SIZE empty: "
	"the\n"
	"size as it is).\n\n"
	"  --list              the parts, their counts and sizes\n"
	"  --scale F           multiplies all counts by F (those set before by --count, too)\n"
	"  --count NAME=N      operations of part NAME\n"
	"  --size NAME=N       pages that part NAME works on\n"
	"  --seconds S         each part again and again until S seconds are over: count is then "
	"all\n"
	"                      that was done, and per_second is told\n"
	"  --seed N            of the random orders (1)\n"
	"  --processes         part storm runs in processes instead of threads (forks always "
	"does)\n"
	"  --pause MS          says when a part begins, and sleeps around it, so that counters\n"
	"                      elsewhere can be read there\n"
	"  --no-marks          leaves port 0xf5 alone\n"
	"Exit status: 0; 1 something failed; 64 wrong usage.\n";

static void options_read(int argc, char **argv)
{
	enum { LIST = 1, SCALE, COUNT, SIZE, SEED, SECONDS, PROCESSES, PAUSE, NO_MARKS, HELP };
	static const struct option options[] = {
		{"list", no_argument, NULL, LIST},
		{"scale", required_argument, NULL, SCALE},
		{"count", required_argument, NULL, COUNT},
		{"size", required_argument, NULL, SIZE},
		{"seconds", required_argument, NULL, SECONDS},
		{"seed", required_argument, NULL, SEED},
		{"processes", no_argument, NULL, PROCESSES},
		{"pause", required_argument, NULL, PAUSE},
		{"no-marks", no_argument, NULL, NO_MARKS},
		{"help", no_argument, NULL, HELP},
		{NULL, 0, NULL, 0},
	};
	int list = 0;

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (o) {
		case LIST:
			list = 1;
			break;
		case SCALE:
			parts_scale(optarg);
			break;
		case COUNT:
			part_set(optarg, offsetof(struct part, count));
			break;
		case SIZE:
			part_set(optarg, offsetof(struct part, size));
			break;
		case SECONDS:
			settings.seconds = positive(optarg, "number of seconds");
			break;
		case SEED:
			settings.seed = number(optarg, 1);
			break;
		case PROCESSES:
			settings.processes = 1;
			break;
		case PAUSE:
			settings.pause_ms = (long)number(optarg, 1);
			break;
		case NO_MARKS:
			settings.marks = 0;
			break;
		case HELP:
			fputs(help, stdout);
			exit(0);
		default:
			exit(64);
		}
	}
	if (list) {
		parts_list();
		exit(0);
	}
}

/* NAME[:[SIZE][:COUNT]], or only a look whether that is right. What it sets holds for this run. */
static void part_run(const char *text, bool run)
{
	size_t n = strcspn(text, ":");
	struct part *p = part_find(text, n), before = *p;
	char *size = strdup(text[n] ? text + n + 1 : ""), *count;

	if (!size)
		die("strdup");
	count = strchr(size, ':');
	if (count)
		*count++ = '\0';
	if (*size)
		member_set(p, offsetof(struct part, size), size);
	if (count)
		member_set(p, offsetof(struct part, count), count);
	free(size);
	if (run)
		p->run(p);
	*p = before;
}

int main(int argc, char **argv)
{
	cpu_set_t set;

	if (argc == 2 && !strcmp(argv[1], "exit"))
		_exit(0); /* what exec_run() executes */
	options_read(argc, argv);
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		die("sched_getaffinity");
	settings.cpus = (unsigned)CPU_COUNT(&set);
	for (int i = optind; i < argc; i++)
		part_run(argv[i], false);
	for (int i = 0; optind == argc && i < USUAL; i++)
		parts[i].run(&parts[i]);
	for (int i = optind; i < argc; i++)
		part_run(argv[i], true);
	return 0;
}
