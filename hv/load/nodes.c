/* The guest's NUMA nodes: see nodes.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "load/nodes.h"

#include "core/string.h"

#define DISTANCE_MAX 254u /* 255: no way there, which RAM does not have */
#define APIC_IDS     255u /* the last one of a byte means all */
#define NOWHERE	     0xffu

const char *nodes_number(const char *s, bool suffix, uint64_t *out)
{
	uint64_t v = 0;
	unsigned int shift = 0;

	if (*s < '0' || *s > '9')
		return NULL;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (v > UINT64_MAX / 16)
			return NULL;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	if (suffix && *s) {
		switch (*s | 0x20) {
		case 'k':
			shift = 10;
			break;
		case 'm':
			shift = 20;
			break;
		case 'g':
			shift = 30;
			break;
		}
		s += shift != 0;
	}
	if (v > (UINT64_MAX >> shift))
		return NULL;
	*out = v << shift;
	return s;
}

/* One item of a list, "3" or "0-2"; what follows it, NULL: it is wrong. */
static const char *add_cpus(struct tf_cpuset *set, const char *s)
{
	uint64_t first, last;

	s = nodes_number(s, false, &first);
	last = first;
	if (s && *s == '-')
		s = nodes_number(s + 1, false, &last);
	if (!s || first > last || last >= TF_MAX_VCPUS)
		return NULL;
	for (; first <= last; first++)
		cpuset_add(set, (unsigned int)first);
	return s;
}

bool nodes_add(struct nodes_spec *spec, const char *text, struct load_error *err)
{
	const char *s = text;

	if (spec->count == TF_MAX_NODES)
		return load_fail(err, "more than %u nodes", TF_MAX_NODES);
	while (s && *s != ':') {
		s = add_cpus(&spec->node[spec->count].cpus, s);
		if (s && *s == ',' && s[1] != ':')
			s++;
		else if (s && *s != ':')
			s = NULL;
	}
	if (s)
		s = nodes_number(s + 1, true, &spec->node[spec->count].mem);
	if (!s || *s)
		return load_fail(err, "node=%s: not CPUS:SIZE as in 0-1:256M", text);
	spec->count++;
	return true;
}

bool nodes_add_distances(struct nodes_spec *spec, const char *text, struct load_error *err)
{
	uint64_t node = 0, d = 0;
	const char *s = nodes_number(text, false, &node);

	if (s && node < TF_MAX_NODES && *s == ':') {
		for (unsigned int to = 0; s && to < TF_MAX_NODES; to++) {
			s = nodes_number(s + 1, false, &d);
			if (!s || d > DISTANCE_MAX || (d == NODES_NEAR) != (node == to) ||
			    d < NODES_NEAR)
				break;
			spec->distance[node][to] = (uint8_t)d;
			if (!*s)
				return true;
			if (*s != ',')
				break;
		}
	}
	return load_fail(err, "distance=%s: not NODE:D,D,... (10 to itself, others 11 to %u)", text,
			 DISTANCE_MAX);
}

/* Which node has which CPU, and the sum of all memory. */
static bool place_cpus(struct nodes *n, const struct nodes_spec *spec, struct load_error *err)
{
	memset(n->of_cpu, NOWHERE, sizeof(n->of_cpu));
	for (unsigned int i = 0; i < spec->count; i++) {
		uint64_t mem = spec->node[i].mem;

		for (unsigned int c = 0; c < TF_MAX_VCPUS; c++) {
			if (!cpuset_has(&spec->node[i].cpus, c))
				continue;
			if (n->of_cpu[c] != NOWHERE)
				return load_fail(err, "CPU %u lies in nodes %u and %u", c,
						 n->of_cpu[c], i);
			n->of_cpu[c] = (uint8_t)i;
			n->cpus++;
		}
		if (!mem || mem >> 52 || (mem & TF_PAGE_MASK) ||
		    (i + 1 < spec->count && mem % NODES_MEM_STEP))
			return load_fail(err, "the memory of node %u is no multiple of 2M", i);
		n->mem += mem;
	}
	for (unsigned int c = 0; c < n->cpus; c++)
		if (n->of_cpu[c] == NOWHERE)
			return load_fail(err, "CPU %u lies in no node", c);
	return n->cpus || load_fail(err, "no node has a CPU");
}

static void add_range(struct nodes *n, uint64_t start, uint64_t end, unsigned int node)
{
	if (start < end)
		n->range[n->ranges++] = (struct acpi_range){start, end - start, node};
}

/* `at` runs over the RAM as if there were no hole. */
static void place_memory(struct nodes *n, const struct nodes_spec *spec)
{
	const uint64_t shift = GUEST_HIGH_BASE - GUEST_LOW_MAX;
	uint64_t at = 0;

	for (unsigned int i = 0; i < n->count; i++) {
		uint64_t end = at + (spec->count ? spec->node[i].mem : n->mem);
		uint64_t low_end = end < GUEST_LOW_MAX ? end : GUEST_LOW_MAX;
		uint64_t high = at > GUEST_LOW_MAX ? at : GUEST_LOW_MAX;

		add_range(n, at, low_end, i);
		add_range(n, high + shift, end + shift, i);
		at = end;
	}
}

static unsigned int bits_for(unsigned int count)
{
	return count > 1 ? 32 - (unsigned int)__builtin_clz(count - 1) : 0;
}

/* A package for each node with CPUs, in the order of their first CPUs: so CPU 0 has id 0. */
static void number_cpus(struct nodes *n)
{
	uint8_t package[TF_MAX_NODES], in_package[TF_MAX_NODES] = {0}, rank[TF_MAX_VCPUS];
	unsigned int bits;

	memset(package, NOWHERE, sizeof(package));
	for (unsigned int c = 0; c < n->cpus; c++) {
		unsigned int node = n->of_cpu[c];

		if (package[node] == NOWHERE)
			package[node] = (uint8_t)n->packages++;
		rank[c] = in_package[node]++;
		if (rank[c] + 1u > n->package_cpus)
			n->package_cpus = rank[c] + 1u;
	}
	bits = bits_for(n->package_cpus);
	if (n->packages > 1 && n->packages << bits > APIC_IDS) {
		n->packages = n->cpus;
		n->package_cpus = 1;
		for (unsigned int c = 0; c < n->cpus; c++)
			n->apic_id[c] = (uint8_t)c;
		return;
	}
	for (unsigned int c = 0; c < n->cpus; c++)
		n->apic_id[c] = (uint8_t)(package[n->of_cpu[c]] << bits | rank[c]);
}

static bool set_distances(struct nodes *n, const struct nodes_spec *spec, struct load_error *err)
{
	for (unsigned int i = 0; i < TF_MAX_NODES; i++) {
		for (unsigned int k = 0; k < TF_MAX_NODES; k++) {
			uint8_t d = spec->distance[i][k];

			if (i < n->count && k < n->count)
				n->distance[i * n->count + k] = d	 ? d
								: i == k ? NODES_NEAR
									 : NODES_FAR;
			else if (d)
				return load_fail(err,
						 "a distance of node %u to node %u: there are "
						 "only %u nodes",
						 i, k, n->count);
		}
	}
	return true;
}

bool nodes_build(struct nodes *n, const struct nodes_spec *spec, unsigned int cpus, uint64_t mem,
		 struct load_error *err)
{
	memset(n, 0, sizeof(*n));
	n->count = spec->count ? spec->count : 1;
	if (spec->count) {
		if (!place_cpus(n, spec, err))
			return false;
		if (cpus && cpus != n->cpus)
			return load_fail(err, "cpus=%u, but the nodes have %u", cpus, n->cpus);
		if (mem && mem != n->mem)
			return load_fail(err, "mem= is not the sum of the nodes' memory");
	} else {
		n->cpus = cpus;
		n->mem = mem;
	}
	place_memory(n, spec);
	number_cpus(n);
	return set_distances(n, spec, err);
}
