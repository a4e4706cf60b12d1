/* The guest's NUMA nodes: see nodes.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "nodes.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "say.h"

#define MIB (UINT64_C(1) << 20)
/* Borders of nodes lie on borders of large pages. */
#define STEP (2 * MIB)
/* Less memory Linux does not take for a node, or cannot run on. */
#define NODE_MIN (8 * MIB)

enum { DISTANCE_MAX = 254 };

const char *nodes_size(const char *text, uint64_t *bytes)
{
	static const char unit[] = "KMGTPE";
	size_t digits = strspn(text, "0123456789");
	const char *u;

	if (!digits || !text[digits])
		return NULL;
	u = strchr(unit, toupper((unsigned char)text[digits]));
	if (!u)
		return NULL;
	*bytes = strtoull(text, NULL, 10); /* ULLONG_MAX when it is beyond */
	for (int i = 0; i <= u - unit; i++)
		*bytes = *bytes > UINT64_MAX / 1024 ? UINT64_MAX : *bytes * 1024;
	return text + digits + 1;
}

/* A plain number up to MAX; returns what follows it, NULL: it is none. */
static const char *number(const char *text, unsigned long max, unsigned int *out)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long n = strtoul(text, NULL, 10);

	if (!digits || n > max)
		return NULL;
	*out = (unsigned int)n;
	return text + digits;
}

int nodes_set_split(struct nodes *n, const char *arg)
{
	const char *end = number(arg, MAX_NODES, &n->split);

	if (end && !*end && n->split)
		return 0;
	say("--nodes %s: give a number from 1 to %d", arg, MAX_NODES);
	return EXIT_BAD_USAGE;
}

/* ---- --node cpus=LIST,mem=SIZE ---- */

/* "0-1,4", up to where no number follows a comma. NULL: it is wrong. */
static const char *cpus_parse(const char *s, uint64_t *set)
{
	unsigned int first, last;

	for (;;) {
		s = number(s, MAX_CPUS - 1, &first);
		last = first;
		if (s && *s == '-')
			s = number(s + 1, MAX_CPUS - 1, &last);
		if (!s || last < first)
			return NULL;
		for (; first <= last; first++)
			*set |= UINT64_C(1) << first;
		if (s[0] != ',' || !isdigit((unsigned char)s[1]))
			return s;
		s++;
	}
}

/* What is wrong with the node, or NULL. */
static const char *node_parse(const char *s, struct node *node)
{
	bool has_cpus = false, has_mem = false;

	for (;;) {
		if (!strncmp(s, "cpus=", 5) && !has_cpus) {
			has_cpus = true;
			s = cpus_parse(s + 5, &node->cpus);
			if (!s)
				return "cpus= takes a list such as 0-1,4 of CPUs below 64";
		} else if (!strncmp(s, "mem=", 4) && !has_mem) {
			has_mem = true;
			s = nodes_size(s + 4, &node->mem);
			if (!s)
				return "mem= takes a number with a suffix, for example 256M";
		} else {
			return "give cpus=LIST,mem=SIZE";
		}
		if (!*s)
			break;
		if (*s++ != ',')
			return "give cpus=LIST,mem=SIZE";
	}
	if (!has_mem)
		return "give its memory too: mem=SIZE";
	if (node->mem < NODE_MIN)
		return "too little memory: give at least 8M";
	if (node->mem > OPTIONS_MEM_MAX)
		return "too much memory: give at most 512G";
	return node->mem % STEP ? "give its memory as a multiple of 2M" : NULL;
}

int nodes_add(struct nodes *n, const char *arg)
{
	struct node node = {0, 0};
	const char *wrong = node_parse(arg, &node);

	if (n->listed == MAX_NODES)
		wrong = "there are 64 nodes already";
	if (wrong) {
		say("--node %s: %s", arg, wrong);
		return EXIT_BAD_USAGE;
	}
	for (unsigned int i = 0; i < n->listed; i++) {
		uint64_t both = n->node[i].cpus & node.cpus;

		if (!both)
			continue;
		say("--node %s: CPU %d is in node %u already", arg, __builtin_ctzll(both), i);
		return EXIT_BAD_USAGE;
	}
	n->node[n->listed++] = node;
	return 0;
}

/* ---- --distance A,B=D ---- */

int nodes_set_distance(struct nodes *n, const char *arg)
{
	unsigned int from, to, d;
	const char *s = number(arg, MAX_NODES - 1, &from);

	if (s)
		s = *s == ',' ? number(s + 1, MAX_NODES - 1, &to) : NULL;
	if (s)
		s = *s == '=' ? number(s + 1, UINT32_MAX, &d) : NULL;
	if (!s || *s)
		say("--distance %s: give NODE,NODE=DISTANCE with nodes below %d, for example "
		    "0,1=21",
		    arg, MAX_NODES);
	else if (from == to && d != NEAR)
		say("--distance %s: from a node to itself it is %d", arg, NEAR);
	else if (from != to && (d <= NEAR || d > DISTANCE_MAX))
		say("--distance %s: between nodes it is from %d to %d", arg, NEAR + 1,
		    DISTANCE_MAX);
	else if (n->distance[from][to] && n->distance[from][to] != d)
		say("--distance %s: it was %u before", arg, n->distance[from][to]);
	else {
		n->distance[from][to] = (uint8_t)d;
		n->distances = true;
		return 0;
	}
	return EXIT_BAD_USAGE;
}

/* One direction stands for both unless the other was given too. */
static int distances_settle(struct nodes *n)
{
	for (unsigned int a = 0; a < MAX_NODES; a++) {
		for (unsigned int b = 0; b < MAX_NODES; b++) {
			unsigned int beyond = a > b ? a : b;

			if (!n->distance[a][b] || beyond < n->count)
				continue;
			say("--distance %u,%u=%u: there is no node %u: the last one is %u", a, b,
			    n->distance[a][b], beyond, n->count - 1);
			return EXIT_BAD_USAGE;
		}
	}
	for (unsigned int a = 0; a < n->count; a++) {
		for (unsigned int b = 0; b < a; b++) {
			uint8_t *ab = &n->distance[a][b], *ba = &n->distance[b][a];

			if (!*ab)
				*ab = *ba ? *ba : FAR;
			if (!*ba)
				*ba = *ab;
		}
		n->distance[a][a] = NEAR;
	}
	return 0;
}

/* ---- all together ---- */

/* CPUs in equal shares, the first nodes getting one more each; memory in equal shares of whole
 * large pages, what is left over for the last. */
static int split_evenly(struct nodes *n, unsigned int cpus, uint64_t mem)
{
	uint64_t share = mem / n->count / STEP * STEP;
	unsigned int next = 0;

	if (n->count > cpus) {
		say("--nodes %u: more nodes than CPUs (%u): one without CPUs is given by --node "
		    "mem=SIZE",
		    n->count, cpus);
		return EXIT_BAD_USAGE;
	}
	if (n->count > 1 && share < NODE_MIN) {
		say("--nodes %u: too little memory for each of them: give at least --mem %s",
		    n->count, say_size(NODE_MIN * n->count));
		return EXIT_BAD_USAGE;
	}
	for (unsigned int i = 0; i < n->count; i++) {
		unsigned int take = cpus / n->count + (i < cpus % n->count);

		for (; take; take--)
			n->node[i].cpus |= UINT64_C(1) << next++;
		n->node[i].mem = share;
	}
	n->node[n->count - 1].mem = mem - share * (n->count - 1);
	return 0;
}

static int check_listed(const struct nodes *n, unsigned int *cpus, uint64_t *mem)
{
	uint64_t all = 0, sum = 0;
	unsigned int most, has, missing;

	for (unsigned int i = 0; i < n->count; i++) {
		all |= n->node[i].cpus;
		sum += n->node[i].mem;
	}
	if (!all) {
		say("--node: no node has a CPU: give one cpus=LIST");
		return EXIT_BAD_USAGE;
	}
	most = 64 - (unsigned int)__builtin_clzll(all);
	has = *cpus ? *cpus : most;
	missing = ~all ? (unsigned int)__builtin_ctzll(~all) : MAX_CPUS;
	if (most > has)
		say("--node: CPU %u is in a node, but --cpus %u has none of that number", most - 1,
		    has);
	else if (missing < has)
		say("--node: CPU %u is in no node", missing);
	else if (*mem && *mem != sum)
		say("--mem %s: the nodes have %s together", say_size(*mem), say_size(sum));
	else {
		*cpus = has;
		*mem = sum;
		return 0;
	}
	return EXIT_BAD_USAGE;
}

int nodes_settle(struct nodes *n, unsigned int *cpus, uint64_t *mem)
{
	int status;

	if (n->split && n->listed && n->split != n->listed) {
		say("--nodes %u: but --node was given %u times", n->split, n->listed);
		return EXIT_BAD_USAGE;
	}
	n->count = n->listed ? n->listed : n->split ? n->split : 1;
	if (n->listed) {
		status = check_listed(n, cpus, mem);
	} else {
		*cpus = *cpus ? *cpus : OPTIONS_CPUS;
		*mem = *mem ? *mem : OPTIONS_MEM;
		status = split_evenly(n, *cpus, *mem);
	}
	return status ? status : distances_settle(n);
}

void nodes_put_cpus(FILE *f, uint64_t cpus)
{
	const char *comma = "";

	for (unsigned int i = 0; i < MAX_CPUS; i++) {
		unsigned int last = i;

		if (!(cpus >> i & 1))
			continue;
		while (last + 1 < MAX_CPUS && (cpus >> (last + 1) & 1))
			last++;
		fprintf(f, last > i ? "%s%u-%u" : "%s%u", comma, i, last);
		comma = ",";
		i = last;
	}
}
