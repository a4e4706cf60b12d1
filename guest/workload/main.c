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
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

enum { MARK_PORT = 0xf5, MARK_BEGIN = 0x10, MARK_END = 0x90 };

struct settings settings = {.seed = 1};

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
};
enum { PARTS = sizeof(parts) / sizeof(parts[0]) };

static int marks = 1;
static long pause_ms;
static struct timespec begun;
static sigjmp_buf mark_failed;

void die(const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void mark_refused(int signal)
{
	(void)signal;
	siglongjmp(mark_failed, 1);
}

/* The right to the port is given back at once: a task with an I/O bitmap is dearer to switch to.
 * Some emulated CPUs fault on the write in spite of that right; then there are no more marks. */
static void mark(int byte)
{
	struct sigaction before;

	if (!marks || ioperm(MARK_PORT, 1, 1) != 0)
		return;
	sigaction(SIGSEGV, &(struct sigaction){.sa_handler = mark_refused}, &before);
	if (sigsetjmp(mark_failed, 1) == 0)
		outb((unsigned char)byte, MARK_PORT);
	else
		marks = 0;
	sigaction(SIGSEGV, &before, NULL);
	ioperm(MARK_PORT, 1, 0);
}

static void pause_here(void)
{
	if (pause_ms)
		usleep((useconds_t)pause_ms * 1000);
}

void part_begin(const struct part *p)
{
	if (pause_ms)
		printf("{\"begin\":\"%s\"}\n", p->name);
	fflush(stdout);
	pause_here();
	mark(MARK_BEGIN + (int)(p - parts));
	clock_gettime(CLOCK_MONOTONIC, &begun);
}

void part_end(const struct part *p)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	mark(MARK_END + (int)(p - parts));
	pause_here();
	printf("{\"work\":\"%s\",\"count\":%llu,\"size\":%llu,\"seconds\":%.6f}\n", p->name,
	       (unsigned long long)p->count, (unsigned long long)p->size,
	       (double)(now.tv_sec - begun.tv_sec) + (double)(now.tv_nsec - begun.tv_nsec) / 1e9);
	fflush(stdout);
	pause_here();
}

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

/* NAME=N: the member of part NAME at OFFSET becomes N. */
static void part_set(const char *text, size_t offset)
{
	size_t n = strcspn(text, "=");
	struct part *p = part_find(text, n);
	uint64_t v = number(text[n] ? text + n + 1 : "", 1);

	if (offset == offsetof(struct part, size) && !p->size_unit) {
		fprintf(stderr, "workload: part '%s' has no size\n", p->name);
		exit(64);
	}
	memcpy((char *)p + offset, &v, sizeof(v));
}

static void parts_scale(const char *text)
{
	char *end;
	double f = strtod(text, &end);

	if (end == text || *end || !(f > 0 && f < 1e6)) {
		fprintf(stderr, "workload: '%s' is no scale\n", text);
		exit(64);
	}
	for (int i = 0; i < PARTS; i++) {
		parts[i].count = (uint64_t)((double)parts[i].count * f);
		parts[i].count += !parts[i].count;
	}
}

static void parts_list(void)
{
	for (int i = 0; i < PARTS; i++) {
		const struct part *p = &parts[i];

		printf("%d %-9s %8llu x (%s)", i, p->name, (unsigned long long)p->count,
		       p->operation);
		if (p->size_unit)
			printf(", %llu %s", (unsigned long long)p->size, p->size_unit);
		putchar('\n');
	}
}

static const char help[] =
	"Usage: workload [OPTION...] [NAME...]\n"
	"Runs the named parts (all, in the order of --list) and prints a line of JSON for each.\n\n"
	"  --list              the parts, their counts and sizes\n"
	"  --scale F           multiplies all counts by F (those set before by --count, too)\n"
	"  --count NAME=N      operations of part NAME\n"
	"  --size NAME=N       pages that part NAME works on\n"
	"  --seed N            of the random orders (1)\n"
	"  --processes         part storm runs in processes instead of threads (forks always "
	"does)\n"
	"  --pause MS          says when a part begins, and sleeps around it, so that counters\n"
	"                      elsewhere can be read there\n"
	"  --no-marks          leaves port 0xf5 alone\n"
	"Exit status: 0; 1 something failed; 64 wrong usage.\n";

static void options_read(int argc, char **argv)
{
	enum { LIST = 1, SCALE, COUNT, SIZE, SEED, PROCESSES, PAUSE, NO_MARKS, HELP };
	static const struct option options[] = {
		{"list", no_argument, NULL, LIST},
		{"scale", required_argument, NULL, SCALE},
		{"count", required_argument, NULL, COUNT},
		{"size", required_argument, NULL, SIZE},
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
		case SEED:
			settings.seed = number(optarg, 1);
			break;
		case PROCESSES:
			settings.processes = 1;
			break;
		case PAUSE:
			pause_ms = (long)number(optarg, 1);
			break;
		case NO_MARKS:
			marks = 0;
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
		part_find(argv[i], strlen(argv[i]));
	for (int i = 0; optind == argc && i < PARTS; i++)
		parts[i].run(&parts[i]);
	for (int i = optind; i < argc; i++) {
		struct part *p = part_find(argv[i], strlen(argv[i]));

		p->run(p);
	}
	return 0;
}
