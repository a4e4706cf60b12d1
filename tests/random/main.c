/* Random histories of a guest, judged step by step; the seed replays.
 *
 * Without --seed it runs a fixed list of short histories in every mode. A failure prints the
 * command that repeats it; --replay finds how few steps already fail and prints the last ones.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "world.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct world world; /* large */
static const char *const mode_name[] = {"nested", "shadow", "mixed"};
static const char *const grouping_name[] = {"node", "one", "vcpu"};
static const char *const install_name[] = {"lock", "cas"};
static const char *const format_name[] = {
	[TF_NPT] = "npt", [TF_EPT] = "ept", [TF_EPT_NO_AD] = "ept-no-ad"};

static void print_command(const struct world_conf *c, uint64_t steps)
{
	printf("  build/tests/random --seed %llu --steps %llu --vcpus %u --mode %s --levels %u "
	       "--format %s --nodes %u --grouping %s --install %s --check %u%s%s",
	       (unsigned long long)c->seed, (unsigned long long)steps, c->vcpus, mode_name[c->mode],
	       c->levels, format_name[c->format], c->nodes, grouping_name[c->grouping],
	       install_name[c->install], c->check_every, c->regroup ? " --regroup" : "",
	       c->no_fail ? " --no-fail" : "");
	if (c->shadow_pages)
		printf(" --shadow-pages %u", c->shadow_pages);
	if (c->churn)
		printf(" --churn %u", c->churn);
	printf("%s%s%s", c->spaces ? " --spaces" : "", c->sample ? " --sample" : "",
	       c->huge ? " --huge" : "");
	if (c->policy)
		printf(" --policy %s", c->policy);
	putchar('\n');
}

/* What the sanitizers find ends in an abort, too. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "abort_on_error=1:handle_abort=0";
}

/* An abort (engine panic, sanitizer) must tell the seed, too. */
static void on_abort(int sig)
{
	printf("\nFAILED in step %llu (%s)\n", (unsigned long long)world.step,
	       world.what ? world.what : "start");
	print_command(&world.conf, world.step + 1);
	fflush(stdout);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* The step that failed, or conf->steps. */
static uint64_t run(const struct world_conf *conf, bool quiet)
{
	struct world *w = &world;
	uint64_t at = conf->steps;

	if (world_init(w, conf)) {
		for (w->step = 0; w->step < conf->steps && !w->failed; w->step++) {
			gen_step(w);
			if (w->step % conf->check_every == 0)
				world_check(w);
			if (w->step % 64 == 0 && !w->failed)
				world_compare(w);
			if (w->failed)
				break;
		}
		if (!w->failed) {
			w->what = "end";
			world_check(w);
			world_compare(w);
		}
	}
	if (w->failed)
		at = w->step;
	struct tf_counters n = {0};
	uint64_t gates = 0;
	for (unsigned int i = 0; i < conf->vcpus; i++)
		gates += w->hw.cpu[i].gates;
	if (w->vm)
		tf_counters_read(w->vm, &n);
	world_fini(w);
	if (w->failed && at == conf->steps)
		at = conf->steps - 1;
	if (w->failed && !quiet) {
		printf("FAILED in step %llu (%s): %s\n", (unsigned long long)at,
		       w->what ? w->what : "start", w->why);
		print_command(conf, at + 1);
	} else if (!quiet) {
		printf("ok  seed %llu %s %u vcpus %u levels %s, %u nodes, groups %s%s, %s: %llu "
		       "accesses, %llu done, %llu "
		       "faults, "
		       "%llu devices, %llu out of memory, %llu by old entries, %llu edits\n",
		       (unsigned long long)conf->seed, mode_name[conf->mode], conf->vcpus,
		       conf->levels, format_name[conf->format], conf->nodes,
		       grouping_name[conf->grouping], conf->regroup ? " and back" : "",
		       install_name[conf->install], (unsigned long long)w->n.accesses,
		       (unsigned long long)w->n.done, (unsigned long long)w->n.faults,
		       (unsigned long long)w->n.devices, (unsigned long long)w->n.nomem,
		       (unsigned long long)w->n.deep, (unsigned long long)w->n.edits);
		if (conf->churn || conf->spaces || conf->sample || conf->policy)
			printf("    modes: %s%s%s, %llu switches, %llu gates, %llu samples, %llu "
			       "readings\n",
			       conf->spaces ? "by space" : "of all",
			       conf->policy ? ", policy " : "", conf->policy ? conf->policy : "",
			       (unsigned long long)w->n.switches, (unsigned long long)gates,
			       (unsigned long long)w->n.samples, (unsigned long long)w->n.notes);
		printf("    engine: %llu nested, %llu shadow faults mended, %llu fills (%llu "
		       "before), "
		       "%llu unsyncs, %llu resyncs, %llu zapped (%llu reclaimed), %llu tracks, "
		       "%llu+%llu+%llu large, %llu extra dirty, %llu copies, %llu vCPUs regrouped, "
		       "%llu leaves of 1 GiB, %llu cut\n",
		       (unsigned long long)n.nested_faults, (unsigned long long)n.shadow_faults,
		       (unsigned long long)n.shadow_fills, (unsigned long long)n.prefills,
		       (unsigned long long)n.unsyncs, (unsigned long long)n.resyncs,
		       (unsigned long long)n.shadows_zapped,
		       (unsigned long long)n.shadows_reclaimed, (unsigned long long)n.tracks,
		       (unsigned long long)n.frames_backed, (unsigned long long)n.large_backed,
		       (unsigned long long)n.huge_backed, (unsigned long long)w->n.dirty_extra,
		       (unsigned long long)n.copies, (unsigned long long)n.regroups,
		       (unsigned long long)n.nested_1g, (unsigned long long)n.nested_1g_cut);
	}
	fflush(stdout);
	return w->failed ? at : conf->steps;
}

/* Every mode meets every grouping and each way to install. */
static struct world_conf plain_history(uint64_t seed, unsigned int k)
{
	return (struct world_conf){
		.seed = seed + k,
		.vcpus = (unsigned int[]){4, 2, 4, 3, 1, 4, 2}[k % 7],
		.mode = (enum world_mode[]){W_SHADOW, W_MIXED, W_NESTED, W_SHADOW, W_MIXED,
					    W_SHADOW}[k % 6],
		.levels = k % 5 == 4 ? 5 : 4,
		.format = (enum tf_nested_format[]){TF_NPT, TF_EPT, TF_EPT_NO_AD, TF_EPT,
						    TF_NPT}[(k + k / 5) % 5],
		.nodes = 1 + (k + k / 6) % WORLD_NODES,
		.grouping = (enum tf_grouping[]){TF_GROUPS_NODE, TF_GROUPS_VCPU,
						 TF_GROUPS_ONE}[(k + k / 3) % 3],
		.install = k / 2 % 2 ? TF_INSTALL_CAS : TF_INSTALL_LOCK,
		.regroup = k % 3 != 2,
		.check_every = 1,
		.trace_from = ~UINT64_C(0),
	};
}

/* The mode changes between any two accesses: of all, of one space, by a policy; samples between. */
static struct world_conf choice_history(uint64_t seed, unsigned int k)
{
	struct world_conf c = plain_history(seed, k);

	c.mode = W_MIXED;
	c.churn = (unsigned int[]){3, 40, 8, 1, 100}[k % 5];
	c.spaces = k % 4 != 0;
	c.sample = k % 3 == 1;
	c.policy = (const char *[]){NULL, "random", NULL, "cost", "dsp", NULL, "random"}[k % 7];
	if (c.policy)
		c.churn *= 20; /* the policy's modes last a while */
	return c;
}

/* A GiB of memory that is mapped as one as long as nothing is watched in it. */
static struct world_conf huge_history(uint64_t seed, unsigned int k)
{
	struct world_conf c = k % 3 == 2 ? choice_history(seed, k) : plain_history(seed, k);

	c.huge = true;
	c.check_every = 16; /* it looks at each frame */
	return c;
}

static bool suite(uint64_t steps, uint64_t first_seed, unsigned int rounds)
{
	bool good = true;

	for (unsigned int k = 0; k < rounds * 10; k++) {
		struct world_conf c = k < rounds * 6 ? plain_history(first_seed, k)
						     : choice_history(first_seed, k);
		c.steps = steps;
		if (run(&c, false) != c.steps)
			good = false;
	}
	for (unsigned int k = 0; k < rounds; k++) {
		struct world_conf c = huge_history(first_seed, k);
		c.steps = steps;
		if (run(&c, false) != c.steps)
			good = false;
	}
	return good;
}

static void usage(const char *me)
{
	fprintf(stderr,
		"usage: %s [--seed N] [--steps N] [--vcpus 1..4] [--mode nested|shadow|mixed]\n"
		"       [--levels 4|5] [--format npt|ept|ept-no-ad] [--check N]\n"
		"       [--shadow-pages N] [--no-fail]\n"
		"       [--nodes 1..4] [--grouping node|one|vcpu] [--install lock|cas] "
		"[--regroup]\n"
		"       [--spaces] [--sample] [--policy NAME] [--churn N] [--huge]\n"
		"       [--trace FROM_STEP] [--replay] [--rounds N]\n",
		me);
	exit(64);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"steps", required_argument, NULL, 'n'},
		{"vcpus", required_argument, NULL, 'v'},
		{"mode", required_argument, NULL, 'm'},
		{"levels", required_argument, NULL, 'l'},
		{"format", required_argument, NULL, 'f'},
		{"check", required_argument, NULL, 'c'},
		{"shadow-pages", required_argument, NULL, 'p'},
		{"nodes", required_argument, NULL, 'N'},
		{"grouping", required_argument, NULL, 'g'},
		{"install", required_argument, NULL, 'i'},
		{"regroup", no_argument, NULL, 'G'},
		{"spaces", no_argument, NULL, 'S'},
		{"sample", no_argument, NULL, 'a'},
		{"huge", no_argument, NULL, 'H'},
		{"policy", required_argument, NULL, 'P'},
		{"churn", required_argument, NULL, 'C'},
		{"no-fail", no_argument, NULL, 'x'},
		{"trace", required_argument, NULL, 't'},
		{"replay", no_argument, NULL, 'r'},
		{"rounds", required_argument, NULL, 'k'},
		{NULL, 0, NULL, 0},
	};
	struct world_conf c = {.vcpus = 2,
			       .mode = W_MIXED,
			       .levels = 4,
			       .nodes = 1,
			       .check_every = 1,
			       .trace_from = ~UINT64_C(0)};
	bool seeded = false, replay = false;
	unsigned int rounds = 8;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 's':
			c.seed = strtoull(optarg, NULL, 0);
			seeded = true;
			break;
		case 'n':
			c.steps = strtoull(optarg, NULL, 0);
			break;
		case 'v':
			c.vcpus = (unsigned int)atoi(optarg);
			break;
		case 'm':
			c.mode = !strcmp(optarg, "nested")   ? W_NESTED
				 : !strcmp(optarg, "shadow") ? W_SHADOW
							     : W_MIXED;
			break;
		case 'l':
			c.levels = (unsigned int)atoi(optarg);
			break;
		case 'f':
			c.format = !strcmp(optarg, "ept")	  ? TF_EPT
				   : !strcmp(optarg, "ept-no-ad") ? TF_EPT_NO_AD
								  : TF_NPT;
			break;
		case 'c':
			c.check_every = (unsigned int)atoi(optarg);
			break;
		case 'p':
			c.shadow_pages = (unsigned int)atoi(optarg);
			break;
		case 'N':
			c.nodes = (unsigned int)atoi(optarg);
			break;
		case 'g':
			c.grouping = !strcmp(optarg, "one")    ? TF_GROUPS_ONE
				     : !strcmp(optarg, "vcpu") ? TF_GROUPS_VCPU
							       : TF_GROUPS_NODE;
			break;
		case 'i':
			c.install = !strcmp(optarg, "cas") ? TF_INSTALL_CAS : TF_INSTALL_LOCK;
			break;
		case 'G':
			c.regroup = true;
			break;
		case 'S':
			c.spaces = true;
			break;
		case 'a':
			c.sample = true;
			break;
		case 'H':
			c.huge = true;
			break;
		case 'P':
			c.policy = optarg;
			break;
		case 'C':
			c.churn = (unsigned int)atoi(optarg);
			break;
		case 'x':
			c.no_fail = true;
			break;
		case 't':
			c.trace_from = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			replay = true;
			break;
		case 'k':
			rounds = (unsigned int)atoi(optarg);
			break;
		default:
			usage(argv[0]);
		}
	}
	if (c.vcpus < 1 || c.vcpus > REF_CPUS || (c.levels != 4 && c.levels != 5) || c.nodes < 1 ||
	    c.nodes > WORLD_NODES || !c.check_every)
		usage(argv[0]);
	signal(SIGABRT, on_abort);
	if (!seeded)
		return suite(c.steps ? c.steps : 2000, 1, rounds) ? 0 : 1;
	if (!c.steps)
		c.steps = 4000;
	uint64_t at = run(&c, replay);
	if (replay && at != c.steps) {
		/* The same seed does the same up to there: show how it came to pass. */
		c.steps = at + 1;
		c.trace_from = at > 12 ? at - 12 : 0;
		run(&c, false);
	}
	return at == c.steps && !world.failed ? 0 : 1;
}
