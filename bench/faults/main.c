/* faults: how many first-touch faults a second the engine takes, by threads, groupings and ways to
 * install (docs/groups.md tells what is measured and how).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "cost.h"
#include "report.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (UINT64_C(2) << 20)
#define EX_USAGE    64
#define EX_OSERR    71

static const char usage_text[] =
	"usage: build/bench/faults [OPTION...]\n"
	"  --mem MIB         guest memory, touched once in each round (default 2048)\n"
	"  --threads LIST    such as 1,2,4 (default: 1, 2, 4 ... CPUs ... twice the CPUs)\n"
	"  --nodes LIST      for the grouping by nodes (default 2,4,8)\n"
	"  --install WHICH   lock, cas or both (default both)\n"
	"  --format WHICH    npt or ept (default npt)\n"
	"  --rounds N        of which the medians are told (default 5)\n"
	"  --spread          each thread touches all the memory: every group maps every page\n"
	"  --quick           few and small rounds, and their counts are checked: the test\n"
	"  --json FILE       writes what was measured there, too\n";

struct options {
	uint64_t bytes;
	unsigned int threads[LIST_MAX], threads_n;
	unsigned int nodes[LIST_MAX], nodes_n;
	bool install[2]; /* by enum tf_install */
	enum tf_nested_format nested;
	unsigned int rounds;
	bool spread, quick;
	const char *json;
};

static _Noreturn void refuse(const char *what, const char *value)
{
	fprintf(stderr, "faults: %s: %s\n", what, value);
	exit(EX_USAGE);
}

static unsigned int number(const char *option, const char *s, unsigned int least, unsigned int most)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);
	char what[96];
	(void)snprintf(what, sizeof(what), "%s wants numbers from %u to %u", option, least, most);
	if (*s < '0' || *s > '9' || (*end && *end != ',') || n < least || n > most)
		refuse(what, s);
	return (unsigned int)n;
}

static unsigned int list(const char *option, const char *s, unsigned int most, unsigned int *out)
{
	unsigned int n = 0;
	for (;;) {
		if (n == LIST_MAX)
			refuse("too many numbers", option);
		out[n++] = number(option, s, 1, most);
		s = strchr(s, ',');
		if (!s)
			return n;
		s++;
	}
}

static unsigned int one(const char *option, const char *s, unsigned int least, unsigned int most)
{
	if (strchr(s, ','))
		refuse("one number only", option);
	return number(option, s, least, most);
}

/* Index of a word in a list; refuses others. */
static unsigned int word(const char *option, const char *s, const char *const *words)
{
	for (unsigned int i = 0; words[i]; i++)
		if (strcmp(words[i], s) == 0)
			return i;
	refuse(option, s);
}

static struct options parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"mem", 1, NULL, 'm'},	   {"threads", 1, NULL, 't'}, {"nodes", 1, NULL, 'n'},
		{"install", 1, NULL, 'i'}, {"format", 1, NULL, 'f'},  {"rounds", 1, NULL, 'r'},
		{"spread", 0, NULL, 's'},  {"quick", 0, NULL, 'q'},   {"json", 1, NULL, 'j'},
		{"help", 0, NULL, 'h'},	   {NULL, 0, NULL, 0},
	};
	static const char *const installs[] = {"lock", "cas", "both", NULL};
	static const char *const formats[] = {"npt", "ept", NULL};
	struct options o = {.bytes = UINT64_C(2) << 30,
			    .nodes = {2, 4, 8},
			    .nodes_n = 3,
			    .install = {true, true},
			    .rounds = 5};
	unsigned int which;
	int c;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'm':
			o.bytes = (uint64_t)one("--mem", optarg, 2, 1u << 20) << 20;
			break;
		case 't':
			o.threads_n = list("--threads", optarg, TF_MAX_VCPUS, o.threads);
			break;
		case 'n':
			o.nodes_n = list("--nodes", optarg, TF_MAX_NODES, o.nodes);
			break;
		case 'i':
			which = word("--install is lock, cas or both", optarg, installs);
			o.install[TF_INSTALL_LOCK] = which != 1;
			o.install[TF_INSTALL_CAS] = which != 0;
			break;
		case 'f':
			o.nested =
				word("--format is npt or ept", optarg, formats) ? TF_EPT : TF_NPT;
			break;
		case 'r':
			o.rounds = one("--rounds", optarg, 1, COST_ROUNDS_MAX / 3);
			break;
		case 's':
			o.spread = true;
			break;
		case 'q':
			o.quick = true;
			break;
		case 'j':
			o.json = optarg;
			break;
		case 'h':
			fputs(usage_text, stdout);
			exit(0);
		default: /* getopt has said what is wrong */
			exit(EX_USAGE);
		}
	}
	if (optind < argc)
		refuse("what is this for", argv[optind]);
	return o;
}

/* 1, 2, 4 ... up to twice the CPUs, with the CPUs themselves and half as many again. */
static void default_threads(struct options *o)
{
	const unsigned int cpus = cpu_count();
	for (unsigned int t = 1; t <= 2 * cpus && t <= TF_MAX_VCPUS && o->threads_n < LIST_MAX - 2;
	     t++) {
		bool power = (t & (t - 1)) == 0;
		if (power || t == cpus || 2 * t == 3 * cpus || t == 2 * cpus)
			o->threads[o->threads_n++] = t;
	}
}

static void set_bytes(struct way *w, uint64_t bytes)
{
	const uint64_t unit = w->threads * BLOCK_BYTES;
	w->bytes = bytes < unit ? unit : bytes / unit * unit;
}

/* All ways for a number of threads: one, each number of nodes, vcpu; each by lock and by cas. */
static unsigned int ways_for(const struct options *o, unsigned int threads, struct way *w)
{
	unsigned int n = 0;
	for (unsigned int i = 0; i < 2; i++) {
		struct way base = {.threads = threads,
				   .nodes = 1,
				   .grouping = TF_GROUPS_ONE,
				   .install = (enum tf_install)i,
				   .nested = o->nested,
				   .spread = o->spread,
				   .check = o->quick};
		set_bytes(&base, o->bytes);
		if (!o->install[i])
			continue;
		w[n++] = base;
		base.grouping = TF_GROUPS_NODE;
		for (unsigned int k = 0; k < o->nodes_n; k++) {
			base.nodes = o->nodes[k];
			if (base.nodes <= threads)
				w[n++] = base;
		}
		base.nodes = 1;
		base.grouping = TF_GROUPS_VCPU;
		if (threads > 1)
			w[n++] = base;
	}
	return n;
}

/* Rounds of several ways, one after another in each round: what disturbs the machine for a while
 * disturbs all of them. */
static bool measure(struct host *h, const struct way *w, unsigned int n, unsigned int rounds,
		    struct measured *m)
{
	static double rate[WAYS_MAX][COST_ROUNDS_MAX], wait[WAYS_MAX][COST_ROUNDS_MAX],
		ms[WAYS_MAX][COST_ROUNDS_MAX];
	for (unsigned int r = 0; r < rounds; r++) {
		for (unsigned int i = 0; i < n; i++) {
			struct result *res = &m[i].last;
			if (!round_run(&w[i], h, res))
				return false;
			const char *wrong = round_check(&w[i], res);
			if (wrong) {
				fprintf(stderr, "faults: %u threads, %s, %s: %s\n", w[i].threads,
					way_name(&w[i]), install_name(w[i].install), wrong);
				return false;
			}
			rate[i][r] = (double)res->faults * 1e9 / (double)res->ns;
			ms[i][r] = (double)res->ns / 1e6;
			wait[i][r] = (double)res->n.lock_wait_cycles / (double)res->cycles;
		}
	}
	for (unsigned int i = 0; i < n; i++) {
		m[i].way = w[i];
		m[i].rate = median(rate[i], rounds);
		m[i].slowest = rate[i][0]; /* sorted now */
		m[i].fastest = rate[i][rounds - 1];
		m[i].ms = median(ms[i], rounds);
		m[i].wait = median(wait[i], rounds);
	}
	return true;
}

/* One thread alone: a group for each of eight nodes against one group. */
static bool measure_single(struct host *h, const struct options *o, struct report *rep)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct way w[2] = {{.threads = 1,
				    .nodes = 8,
				    .grouping = TF_GROUPS_ONE,
				    .install = (enum tf_install)i,
				    .nested = o->nested}};
		set_bytes(&w[0], o->bytes);
		w[1] = w[0];
		w[1].grouping = TF_GROUPS_NODE;
		if (o->install[i] &&
		    !measure(h, w, 2, o->quick ? 1 : 3 * o->rounds, rep->single[i]))
			return false;
	}
	return true;
}

static bool measure_all(struct host *h, const struct options *o, struct report *rep)
{
	struct way w[WAYS_MAX];
	for (unsigned int i = 0; i < o->threads_n; i++) {
		unsigned int n = ways_for(o, o->threads[i], w);
		if (!measure(h, w, n, o->rounds, rep->m + rep->n))
			return false;
		report_threads(rep, rep->n, n);
		rep->n += n;
	}
	if (!measure_single(h, o, rep))
		return false;
	for (unsigned int i = 0; i < 2; i++)
		if (o->install[i] && !cost_measure(h, o->nested, (enum tf_install)i,
						   o->quick ? 1 : 3 * o->rounds, rep->cost[i]))
			return false;
	return true;
}

/* The most table pages that any way needs. */
static size_t pages_for(const struct options *o)
{
	struct way w[WAYS_MAX];
	size_t most = cost_pages();
	for (unsigned int i = 0; i < o->threads_n; i++) {
		unsigned int n = ways_for(o, o->threads[i], w);
		for (unsigned int k = 0; k < n; k++)
			if (way_pages(&w[k]) > most)
				most = way_pages(&w[k]);
	}
	return most;
}

int main(int argc, char **argv)
{
	static struct host host;
	static struct report rep;
	struct options o = parse(argc, argv);
	if (o.quick) {
		o.bytes = UINT64_C(64) << 20;
		o.rounds = 1;
	}
	if (!o.threads_n)
		default_threads(&o);
	if (!host_init(&host, pages_for(&o))) {
		fprintf(stderr, "faults: no memory for %zu table pages\n", pages_for(&o));
		return EX_OSERR;
	}
	report_begin(&rep, o.bytes, o.nested, o.rounds, o.spread);
	bool ok = measure_all(&host, &o, &rep);
	if (ok)
		report_end(&rep, o.install);
	if (ok && o.json && !report_json(&rep, o.install, o.json)) {
		perror(o.json);
		ok = false;
	}
	host_destroy(&host);
	return ok ? 0 : 1;
}
