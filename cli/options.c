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

#define MIB	    (UINT64_C(1) << 20)
#define GIB	    (UINT64_C(1) << 30)
#define MEM_MIN	    (32 * MIB)
#define MEM_MAX	    OPTIONS_MEM_MAX
#define TIMEOUT_MAX 1e9
#define PERIOD_MAX  86400000u /* milliseconds: a day */

enum {
	KEY_NODE = 256,
	KEY_DISTANCE,
	KEY_INSTALL,
	KEY_REGROUP,
	KEY_SWITCH,
	KEY_GRAIN,
	KEY_SEED,
	KEY_MACHINE,
	KEY_BACKING,
	KEY_SILENCE,
};

static const struct argp_option option_list[] = {
	{"kernel", 'k', "FILE", 0,
	 "Guest kernel: a bzImage or a multiboot ELF file (Debian's cloud kernel)", 0},
	{"initrd", 'i', "FILE", 0, "Its initial file system, 'none' for none (a small busybox one)",
	 0},
	{"append", 'a', "TEXT", 0, "Words for its command line", 0},
	{"cpus", 'c', "N", 0, "Virtual CPUs, 1 to 64 (2)", 0},
	{"mem", 'm', "SIZE", 0, "Guest memory, with a suffix K, M, G or T (512M)", 0},
	{"machine", KEY_MACHINE, "MACHINE", 0,
	 "What to run on: AMD's SVM on QEMU (qemu), VMX or SVM on Bochs (bochs-intel, bochs-amd) "
	 "(qemu)",
	 0},
	{"mode", 'M', "MODE", 0,
	 "Page tables: nested, shadow, or chosen as the guest runs: auto (auto)", 0},
	{"policy", 'p', "NAME[,KEY=VAL]", 0,
	 "How auto chooses: by what each mode costs (cost), by published thresholds (dsp; settings "
	 "period=MS, pf=U:L, tlb=U:L, ptt=U:L), or, for tests, by chance (random) (cost)",
	 0},
	{"grain", KEY_GRAIN, "GRAIN", 0,
	 "What auto chooses for: the whole guest (vm), or each of its address spaces (space) "
	 "(space)",
	 0},
	{"seed", KEY_SEED, "N", 0, "Where chance begins in auto's samples", 0},
	{"nodes", 'n', "N", 0, "Split CPUs and memory into N NUMA nodes, 1 to 64 (1)", 0},
	{"node", KEY_NODE, "cpus=LIST,mem=SIZE", 0,
	 "A NUMA node with these CPUs and so much memory; once for each", 0},
	{"distance", KEY_DISTANCE, "A,B=D", 0,
	 "Distance of nodes A and B, 11 to 254 (20); may be given for each direction", 0},
	{"groups", 'g', "GROUPING", 0,
	 "Which CPUs share tables and their lock: those of a node, all (one), none (vcpu) (node)",
	 0},
	{"install", KEY_INSTALL, "HOW", 0,
	 "How a nested fault puts its leaf in: under the lock, or by cas without it (lock)", 0},
	{"backing", KEY_BACKING, "SIZE", 0,
	 "The largest page behind guest memory: 1G, 2M, or 4K for longer walks (2M)", 0},
	{"regroup-every", KEY_REGROUP, "MS", 0,
	 "For tests: merge all groups to one and split them again, every MS milliseconds", 0},
	{"switch-every", KEY_SWITCH, "MS", 0,
	 "For tests: change to the other mode and back, every MS milliseconds", 0},
	{"stats", 's', "FILE", 0, "At the end, write what was counted as one JSON object", 0},
	{"trace", 'T', "FILE", 0,
	 "Write what auto measured and did as JSON lines, while it runs; 'twofold report' draws "
	 "them",
	 0},
	{"timeout", 't', "SEC", 0, "Stop the guest after so many seconds, with status 124", 0},
	{"silence", KEY_SILENCE, "SEC", 0,
	 "Take a machine for hung that runs for so many seconds without a word (60 on Bochs; else "
	 "never)",
	 0},
	{"verbose", 'v', NULL, 0,
	 "Show the hypervisor's own words too, and a line for each change of auto's mode", 0},
	{0},
};

static const char doc[] =
	"Boots a guest on Twofold in an emulated machine, its console on standard input and output."
	"\vOn a terminal, Ctrl-A x quits and Ctrl-A Ctrl-A sends a Ctrl-A.\n\n"
	"Exit status: 0 the guest powered off or reset; the guest's own code after a debug exit; "
	"2 the guest crashed (triple fault); 3 the hypervisor stopped; 64 wrong usage; "
	"66 a file is missing or not what it should be; 124 the time limit.";

uint64_t options_overhead(unsigned int node, uint64_t mem)
{
	return (node ? 32 * MIB : 64 * MIB) + mem / 16;
}

uint64_t options_gib_room(const struct options *o, unsigned int node)
{
	uint64_t all = GIB * o->nodes.count;

	if (strcmp(o->backing, "1G") != 0)
		return 0;
	for (unsigned int i = 0; i < o->nodes.count; i++)
		all += o->nodes.node[i].mem + options_overhead(i, o->nodes.node[i].mem);
	/* The first GiB has the hypervisor and the modules; the last one below the machine's hole
	 * for devices, which is there from 3.5 GiB on, ends with the firmware's tables. */
	return node == 0 && all > 3 * GIB + GIB / 4 ? 2 * GIB : GIB;
}

/* With --backing 1G: has a node of the guest a GiB, aligned? (Its hole for devices is one.) */
static int backing_check(const struct options *o)
{
	uint64_t start = 0, end;

	if (strcmp(o->backing, "1G") != 0)
		return 0;
	for (unsigned int i = 0; i < o->nodes.count; i++, start = end) {
		end = start + o->nodes.node[i].mem;
		if ((start + GIB - 1) / GIB < end / GIB)
			return 0;
	}
	say("--backing 1G: no node of the guest has a whole GiB: give more by --mem, at least 1G");
	return EXIT_BAD_USAGE;
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

/* On several nodes: the first check was for one. */
static int mem_check(const struct options *o)
{
	uint64_t machine = machine_memory(), need = 0;

	for (unsigned int i = 0; i < o->nodes.count; i++)
		need += o->nodes.node[i].mem + options_overhead(i, o->nodes.node[i].mem) +
			options_gib_room(o, i);
	if (o->mem < MEM_MIN)
		say("--node: too little memory on all nodes: give at least %s", say_size(MEM_MIN));
	else if (o->mem > MEM_MAX || need > machine)
		say("%s of memory on %u node%s do not fit: with the hypervisor's share it is %s, "
		    "this machine has %s",
		    say_size(o->mem), o->nodes.count, o->nodes.count > 1 ? "s" : "", say_size(need),
		    say_size(machine));
	else
		return 0;
	return EXIT_BAD_USAGE;
}

static int mem_set(struct options *o, const char *arg)
{
	uint64_t machine = machine_memory();
	const char *end;
	uint64_t most, mem;

	/* The largest multiple of 1 MiB that, with its overhead, the machine holds. */
	most = machine > 128 * MIB ? (machine - 64 * MIB) / 17 * 16 / MIB * MIB : 0;
	if (most > MEM_MAX)
		most = MEM_MAX;
	end = nodes_size(arg, &mem);
	if (!end || *end)
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
	if (strcmp(arg, "auto") != 0 && strcmp(arg, "nested") != 0 && strcmp(arg, "shadow") != 0) {
		say("--mode %s: give auto, nested or shadow", arg);
		return EXIT_BAD_USAGE;
	}
	o->mode = arg;
	return 0;
}

static int groups_set(struct options *o, const char *arg)
{
	if (strcmp(arg, "node") != 0 && strcmp(arg, "one") != 0 && strcmp(arg, "vcpu") != 0) {
		say("--groups %s: give node, one or vcpu", arg);
		return EXIT_BAD_USAGE;
	}
	o->groups = arg;
	return 0;
}

static int install_set(struct options *o, const char *arg)
{
	if (strcmp(arg, "lock") != 0 && strcmp(arg, "cas") != 0) {
		say("--install %s: give lock or cas", arg);
		return EXIT_BAD_USAGE;
	}
	o->install = arg;
	return 0;
}

static int backing_set(struct options *o, const char *arg)
{
	if (strcmp(arg, "1G") != 0 && strcmp(arg, "2M") != 0 && strcmp(arg, "4K") != 0) {
		say("--backing %s: give 1G, 2M or 4K", arg);
		return EXIT_BAD_USAGE;
	}
	o->backing = arg;
	return 0;
}

static int period_set(unsigned int *ms, const char *option, const char *arg)
{
	size_t digits = strspn(arg, "0123456789");
	unsigned long n = strtoul(arg, NULL, 10);

	if (!digits || arg[digits] || n < 1 || n > PERIOD_MAX) {
		say("--%s %s: give milliseconds from 1 to %u", option, arg, PERIOD_MAX);
		return EXIT_BAD_USAGE;
	}
	*ms = (unsigned int)n;
	return 0;
}

static int seconds_set(double *seconds, const char *option, const char *arg)
{
	char *end;
	double n = strtod(arg, &end);

	if (!isdigit((unsigned char)*arg) || *end || !(n > 0) || n > TIMEOUT_MAX) {
		say("--%s %s: give a number of seconds above 0", option, arg);
		return EXIT_BAD_USAGE;
	}
	*seconds = n;
	return 0;
}

int options_file(const char **to, const char *option, const char *arg)
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
		status = options_file(&o->kernel, "kernel", arg);
		break;
	case 'i':
		status = options_file(&o->initrd, "initrd", arg);
		break;
	case 's':
		status = options_file(&o->stats, "stats", arg);
		break;
	case 'T':
		status = options_file(&o->trace, "trace", arg);
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
	case 'p':
		status = choice_set_policy(&o->choice, arg);
		break;
	case KEY_GRAIN:
		status = choice_set_grain(&o->choice, arg);
		break;
	case KEY_SILENCE:
		status = seconds_set(&o->silence, "silence", arg);
		break;
	case KEY_MACHINE:
		o->machine = arg;
		break;
	case KEY_SEED:
		status = choice_set_seed(&o->choice, arg);
		break;
	case 'n':
		status = nodes_set_split(&o->nodes, arg);
		break;
	case KEY_NODE:
		status = nodes_add(&o->nodes, arg);
		break;
	case KEY_DISTANCE:
		status = nodes_set_distance(&o->nodes, arg);
		break;
	case 'g':
		status = groups_set(o, arg);
		break;
	case KEY_INSTALL:
		status = install_set(o, arg);
		break;
	case KEY_BACKING:
		status = backing_set(o, arg);
		break;
	case KEY_REGROUP:
		status = period_set(&o->regroup_ms, "regroup-every", arg);
		break;
	case KEY_SWITCH:
		status = period_set(&o->switch_ms, "switch-every", arg);
		break;
	case 't':
		status = seconds_set(&o->timeout, "timeout", arg);
		break;
	case 'v':
		o->verbose = true;
		break;
	case ARGP_KEY_ARG:
		/* The name is "twofold COMMAND". */
		say("%s: what is '%s'? A kernel is given by --kernel FILE",
		    strrchr(state->name, ' ') + 1, arg);
		status = EXIT_BAD_USAGE;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (status)
		exit(status);
	return 0;
}

/* A mode that is fixed, or changed by the clock, leaves nothing to choose. */
static int mode_settle(struct options *o)
{
	const char *option = choice_option(&o->choice);

	if (!option && o->trace)
		option = "trace";
	if (!o->mode)
		o->mode = o->switch_ms ? "nested" : "auto";
	if (!strcmp(o->mode, "auto") && o->switch_ms)
		say("--switch-every: with --mode auto the mode is chosen: give --mode nested or "
		    "shadow, to begin with");
	else if (strcmp(o->mode, "auto") != 0 && option)
		say("--%s: it is for --mode auto, and here the mode is %s", option, o->mode);
	else
		return 0;
	return EXIT_BAD_USAGE;
}

const struct argp options_argp = {option_list, option_take, NULL, NULL, NULL, NULL, NULL};

void options_init(struct options *o)
{
	*o = (struct options){
		.machine = "qemu", .groups = "node", .install = "lock", .backing = "2M"};
}

int options_settle(struct options *o)
{
	int status;

	if (o->regroup_ms && !strcmp(o->groups, "one")) {
		say("--regroup-every: with --groups one there is nothing to merge and split");
		return EXIT_BAD_USAGE;
	}
	status = mode_settle(o);
	if (!status)
		status = nodes_settle(&o->nodes, &o->cpus, &o->mem);
	if (!status)
		status = backing_check(o);
	return status ? status : mem_check(o);
}

int options_parse(int argc, char **argv, struct options *o)
{
	struct argp argp = options_argp;

	argp.doc = doc;
	options_init(o);
	argp_err_exit_status = EXIT_BAD_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, o) != 0)
		return EXIT_BAD_USAGE;
	return options_settle(o);
}
