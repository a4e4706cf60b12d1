/* The options of `twofold run`: see options.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "say.h"

enum { MAX_CPUS = 64 };

#define MIB	    (UINT64_C(1) << 20)
#define MEM_MIN	    (32 * MIB)
#define MEM_MAX	    (UINT64_C(1) << 39) /* the guest's E820 and ACPI tables are laid out for this */
#define TIMEOUT_MAX 1e9

static const struct argp_option option_list[] = {
	{"kernel", 'k', "FILE", 0,
	 "Guest kernel: a bzImage or a multiboot ELF file (Debian's cloud kernel)", 0},
	{"initrd", 'i', "FILE", 0, "Its initial file system, 'none' for none (a small busybox one)",
	 0},
	{"append", 'a', "TEXT", 0, "Words for its command line", 0},
	{"cpus", 'c', "N", 0, "Virtual CPUs, 1 to 64 (2)", 0},
	{"mem", 'm', "SIZE", 0, "Guest memory, with a suffix K, M, G or T (512M)", 0},
	{"mode", 'M', "MODE", 0, "Page tables: nested or shadow (nested)", 0},
	{"stats", 's', "FILE", 0, "At the end, write what was counted as one JSON object", 0},
	{"timeout", 't', "SEC", 0, "Stop the guest after so many seconds, with status 124", 0},
	{"verbose", 'v', NULL, 0, "Show the hypervisor's own words too", 0},
	{0},
};

static const char doc[] =
	"Boots a guest on Twofold under QEMU, its console on standard input and output."
	"\vOn a terminal, Ctrl-A x quits and Ctrl-A Ctrl-A sends a Ctrl-A.\n\n"
	"Exit status: 0 the guest powered off or reset; the guest's own code after a debug exit; "
	"2 the guest crashed (triple fault); 3 the hypervisor stopped; 64 wrong usage; "
	"66 a file is missing or not what it should be; 124 the time limit.";

/* A whole number with a suffix; beyond 64 bits it is UINT64_MAX. False: it is no size. */
static bool size_parse(const char *text, uint64_t *bytes)
{
	static const char unit[] = "KMGTPE";
	size_t digits = strspn(text, "0123456789");
	const char *u;

	if (!digits || !text[digits] || text[digits + 1])
		return false;
	u = strchr(unit, toupper((unsigned char)text[digits]));
	if (!u)
		return false;
	*bytes = strtoull(text, NULL, 10); /* ULLONG_MAX when it is beyond */
	for (int i = 0; i <= u - unit; i++)
		*bytes = *bytes > UINT64_MAX / 1024 ? UINT64_MAX : *bytes * 1024;
	return true;
}

uint64_t options_overhead(uint64_t mem)
{
	return 64 * MIB + mem / 16;
}

/* What this process may use: the machine's memory, or less where a control group says so. */
static uint64_t machine_memory(void)
{
	uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	FILE *f = fopen("/sys/fs/cgroup/memory.max", "r");
	unsigned long long limit;

	if (f) {
		if (fscanf(f, "%llu", &limit) == 1 && limit < all)
			all = limit;
		fclose(f);
	}
	return all;
}

static int mem_set(struct options *o, const char *arg)
{
	uint64_t machine = machine_memory();
	uint64_t most, mem;

	/* The largest multiple of 1 MiB that, with its overhead, the machine holds. */
	most = machine > 128 * MIB ? (machine - 64 * MIB) / 17 * 16 / MIB * MIB : 0;
	if (most > MEM_MAX)
		most = MEM_MAX;
	if (!size_parse(arg, &mem))
		say("--mem %s: not a size: give a number with a suffix, for example 512M", arg);
	else if (mem < MEM_MIN)
		say("--mem %s: too little: give at least %s", arg, say_size(MEM_MIN));
	else if (mem > most)
		say("--mem %s: does not fit: this machine has %s, so give at most %s", arg,
		    say_size(machine), say_size(most));
	else if (mem % MIB)
		say("--mem %s: give a multiple of 1M", arg);
	else {
		o->mem = mem;
		return 0;
	}
	return EXIT_BAD_USAGE;
}

static int cpus_set(struct options *o, const char *arg)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(arg, &end, 10);
	if (!*arg || *end || errno || n < 1 || n > MAX_CPUS) {
		say("--cpus %s: give a number from 1 to %d", arg, MAX_CPUS);
		return EXIT_BAD_USAGE;
	}
	o->cpus = (unsigned int)n;
	return 0;
}

static int mode_set(struct options *o, const char *arg)
{
	if (strcmp(arg, "nested") != 0 && strcmp(arg, "shadow") != 0) {
		say("--mode %s: give nested or shadow", arg);
		return EXIT_BAD_USAGE;
	}
	o->mode = arg;
	return 0;
}

static int timeout_set(struct options *o, const char *arg)
{
	char *end;
	double n = strtod(arg, &end);

	if (!isdigit((unsigned char)*arg) || *end || !(n > 0) || n > TIMEOUT_MAX) {
		say("--timeout %s: give a number of seconds above 0", arg);
		return EXIT_BAD_USAGE;
	}
	o->timeout = n;
	return 0;
}

static int file_set(const char **to, const char *option, const char *arg)
{
	if (!*arg) {
		say("--%s: the file name is empty", option);
		return EXIT_BAD_USAGE;
	}
	*to = arg;
	return 0;
}

static int append_set(struct options *o, const char *arg)
{
	for (const char *c = arg; *c; c++) {
		if (iscntrl((unsigned char)*c)) {
			say("--append: a control character (%d) in it: give one line of words", *c);
			return EXIT_BAD_USAGE;
		}
	}
	o->append = arg;
	return 0;
}

static error_t option_take(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	int status = 0;

	switch (key) {
	case 'k':
		status = file_set(&o->kernel, "kernel", arg);
		break;
	case 'i':
		status = file_set(&o->initrd, "initrd", arg);
		break;
	case 's':
		status = file_set(&o->stats, "stats", arg);
		break;
	case 'a':
		status = append_set(o, arg);
		break;
	case 'c':
		status = cpus_set(o, arg);
		break;
	case 'm':
		status = mem_set(o, arg);
		break;
	case 'M':
		status = mode_set(o, arg);
		break;
	case 't':
		status = timeout_set(o, arg);
		break;
	case 'v':
		o->verbose = true;
		break;
	case ARGP_KEY_ARG:
		say("run: what is '%s'? A kernel is given by --kernel FILE", arg);
		status = EXIT_BAD_USAGE;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (status)
		exit(status);
	return 0;
}

int options_parse(int argc, char **argv, struct options *o)
{
	static const struct argp argp = {option_list, option_take, NULL, doc, NULL, NULL, NULL};

	*o = (struct options){.mode = "nested", .cpus = 2};
	argp_err_exit_status = EXIT_BAD_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, o) != 0)
		return EXIT_BAD_USAGE;
	return o->mem ? 0 : mem_set(o, "512M");
}
