/* What all machines share: see machine.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "say.h"
#include "walk.h"

#define MIB (UINT64_C(1) << 20)

const struct machine_kind *machine_find(const char *option)
{
	static const struct machine_kind *const kinds[] = {&machine_qemu, &machine_bochs_intel,
							   &machine_bochs_amd};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!strcmp(option, kinds[i]->option))
			return kinds[i];
	}
	say("--machine %s: give qemu, bochs-intel or bochs-amd", option);
	return NULL;
}

unsigned int machine_spare(const struct machine_kind *k, const struct options *o)
{
	return o->cpus > 1 ? k->spare : 0;
}

unsigned long long machine_node_mib(const struct load *l, unsigned int i)
{
	uint64_t mem = l->options->nodes.node[i].mem;
	uint64_t files = i ? 0 : l->kernel->file.size + (l->initrd ? l->initrd->size : 0);

	/* The files lie in memory twice until the guest has its copy. */
	uint64_t room = options_gib_room(l->options, i);

	return ((mem + options_overhead(i, mem) + files + room) / MIB + 2) / 2 * 2;
}

unsigned long long machine_mib(const struct load *l)
{
	unsigned long long all = 0;

	for (unsigned int i = 0; i < l->options->nodes.count; i++)
		all += machine_node_mib(l, i);
	return all;
}

char *machine_words(const struct machine_kind *k, const struct options *o)
{
	const struct nodes *n = &o->nodes;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		abort();
	fprintf(f, "mode=%s mem=%lluM", o->mode, (unsigned long long)(o->mem / MIB));
	for (unsigned int i = 0; n->count > 1 && i < n->count; i++) {
		fputs(" node=", f);
		nodes_put_cpus(f, n->node[i].cpus);
		fprintf(f, ":%lluM", (unsigned long long)(n->node[i].mem / MIB));
	}
	for (unsigned int i = 0; n->distances && i < n->count; i++) {
		for (unsigned int j = 0; j < n->count; j++)
			fprintf(f, j ? ",%u" : " distance=%u:%u", j ? n->distance[i][j] : i,
				n->distance[i][j]);
	}
	if (machine_spare(k, o))
		fputs(" spare=1 recheck=1", f);
	if (strcmp(o->groups, "node") != 0)
		fprintf(f, " groups=%s", o->groups);
	if (strcmp(o->install, "lock") != 0)
		fprintf(f, " install=%s", o->install);
	if (strcmp(o->backing, "2M") != 0)
		fprintf(f, " backing=%s", o->backing);
	if (o->walk)
		fprintf(f, " walk=%s walk_when=%s walk_as=%s", o->walk->where, o->walk->when,
			o->walk->access);
	if (o->regroup_ms)
		fprintf(f, " regroup=%u", o->regroup_ms);
	if (o->switch_ms)
		fprintf(f, " switch=%u", o->switch_ms);
	choice_put_words(f, &o->choice);
	if (o->trace)
		fputs(" trace=1", f);
	if (o->verbose)
		fputs(" verbose=1", f);
	fclose(f);
	return text;
}

char *machine_guest_words(const struct load *l)
{
	const char *append = l->options->append ? l->options->append : "";
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		abort();
	/* A stock kernel needs to be told of the serial line only. */
	if (l->kernel->kind == KERNEL_BZIMAGE && !strstr(append, "console="))
		fputs(" console=ttyS0", f);
	if (*append)
		fprintf(f, " %s", append);
	fclose(f);
	return text;
}
