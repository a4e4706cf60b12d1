/* The table and the JSON (see report.h).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"

#include <stdio.h>
#include <string.h>

static const char *const cost_names[COST_KINDS] = {
	[COST_FIRST] = "first_touch", [COST_COPY] = "copy",	  [COST_OP] = "op",
	[COST_LOCK] = "lock",	      [COST_LOOKUP] = "lookup",	  [COST_BACK] = "back",
	[COST_ALLOC] = "alloc",	      [COST_INSTALL] = "install",
};

const char *install_name(enum tf_install i)
{
	return i == TF_INSTALL_CAS ? "cas" : "lock";
}

static const char *grouping_name(enum tf_grouping g)
{
	return g == TF_GROUPS_ONE ? "one" : g == TF_GROUPS_VCPU ? "vcpu" : "node";
}

const char *way_name(const struct way *w)
{
	static char name[32];
	if (w->grouping != TF_GROUPS_NODE)
		return grouping_name(w->grouping);
	(void)snprintf(name, sizeof(name), "node %u", w->nodes);
	return name;
}

static void machine_name(char *to, size_t n)
{
	char line[256];
	FILE *f = fopen("/proc/cpuinfo", "r");
	(void)snprintf(to, n, "unknown CPU");
	while (f && fgets(line, sizeof(line), f)) {
		char *name = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
		if (!name)
			continue;
		line[strcspn(line, "\n")] = 0;
		(void)snprintf(to, n, "%s", name + 2);
		break;
	}
	if (f)
		(void)fclose(f);
}

void report_begin(struct report *r, uint64_t bytes, enum tf_nested_format nested,
		  unsigned int rounds, bool spread)
{
	machine_name(r->machine, sizeof(r->machine));
	r->cpus = cpu_count();
	r->rounds = rounds;
	r->bytes = bytes;
	r->nested = nested;
	r->spread = spread;
	printf("%s, %u CPUs. %llu MiB of guest memory by 4 KiB (%s), %s; medians of %u rounds.\n\n",
	       r->machine, r->cpus, (unsigned long long)(bytes >> 20),
	       nested == TF_EPT ? "EPT" : "NPT",
	       spread ? "each thread touches all of it" : "each thread touches its part", rounds);
	printf("threads  groups  install  Mfaults/s  (range)        of one        ms   wait  "
	       "nested pages"
	       "  all pages    copies\n");
}

/* The measured way with one group and a lock, for so many threads. */
static const struct measured *one_of(const struct measured *m, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (m[i].way.grouping == TF_GROUPS_ONE && m[i].way.install == TF_INSTALL_LOCK)
			return &m[i];
	return NULL;
}

void report_threads(const struct report *r, unsigned int i, unsigned int n)
{
	const struct measured *one = one_of(r->m + i, n);
	for (const struct measured *m = r->m + i; m < r->m + i + n; m++) {
		char range[32], times[16] = "-";
		(void)snprintf(range, sizeof(range), "(%.2f-%.2f)", m->slowest / 1e6,
			       m->fastest / 1e6);
		if (one)
			(void)snprintf(times, sizeof(times), "%.2f", m->rate / one->rate);
		printf("%7u  %-6s  %-7s  %9.2f  %-13s  %6s  %8.1f  %4.1f%%  %12llu  %9llu  %8llu\n",
		       m->way.threads, way_name(&m->way), install_name(m->way.install),
		       m->rate / 1e6, range, times, m->ms, m->wait * 100,
		       (unsigned long long)m->last.n.nested_tables,
		       (unsigned long long)m->last.n.table_pages,
		       (unsigned long long)m->last.n.copies);
	}
	(void)fflush(stdout);
}

static double rest_of_copy(const double *c)
{
	return c[COST_COPY] - c[COST_OP] - c[COST_LOCK] - c[COST_LOOKUP] - c[COST_INSTALL];
}

/* A first touch looks, backs, and looks again. */
static double rest_of_first(const double *c)
{
	return c[COST_FIRST] - c[COST_OP] - 2 * c[COST_LOCK] - 2 * c[COST_LOOKUP] - c[COST_BACK] -
	       c[COST_INSTALL];
}

void report_end(const struct report *r, const bool *install)
{
	printf("\nOne thread, a group for each of 8 nodes against one group:\n");
	for (unsigned int i = 0; i < 2; i++)
		if (install[i])
			printf("  %-4s  %.3f against %.3f Mfaults/s: %+.1f %%\n",
			       install_name((enum tf_install)i), r->single[i][1].rate / 1e6,
			       r->single[i][0].rate / 1e6,
			       (r->single[i][1].rate / r->single[i][0].rate - 1) * 100);
	printf("\nOne fault, alone, its table page present, ns:\n"
	       "  install                  whole    op  lock  look up  back (alloc)  install  "
	       "rest\n");
	for (unsigned int i = 0; i < 2; i++) {
		const double *c = r->cost[i];
		const char *name = install_name((enum tf_install)i);
		if (!install[i])
			continue;
		printf("  %-4s  frame is backed    %5.0f  %4.0f  %4.0f  %7.0f  %12s  %7.0f  "
		       "%4.0f\n",
		       name, c[COST_COPY], c[COST_OP], c[COST_LOCK], c[COST_LOOKUP], "-",
		       c[COST_INSTALL], rest_of_copy(c));
		printf("  %-4s  it is to be backed %5.0f  %4.0f  %4.0f  %7.0f  %5.0f (%4.0f)  %7.0f"
		       "  %4.0f\n",
		       name, c[COST_FIRST], c[COST_OP], 2 * c[COST_LOCK], 2 * c[COST_LOOKUP],
		       c[COST_BACK], c[COST_ALLOC], c[COST_INSTALL], rest_of_first(c));
	}
}

/* ---- JSON ---- */

static void json_way(FILE *f, const struct measured *m)
{
	const struct way *w = &m->way;
	const struct tf_counters *n = &m->last.n;
	fprintf(f,
		"{\"threads\": %u, \"grouping\": \"%s\", \"nodes\": %u, \"groups\": %u, "
		"\"install\": \"%s\", \"bytes\": %llu, ",
		w->threads, grouping_name(w->grouping), w->nodes, way_groups(w),
		install_name(w->install), (unsigned long long)w->bytes);
	fprintf(f,
		"\"faults\": %llu, \"faults_per_s\": %.0f, \"slowest\": %.0f, \"fastest\": %.0f, "
		"\"ms\": %.3f, "
		"\"lock_wait\": %.5f, ",
		(unsigned long long)m->last.faults, m->rate, m->slowest, m->fastest, m->ms,
		m->wait);
	fprintf(f,
		"\"nested_tables\": %llu, \"table_pages\": %llu, \"copies\": %llu, "
		"\"frames_local\": %llu}",
		(unsigned long long)n->nested_tables, (unsigned long long)n->table_pages,
		(unsigned long long)n->copies, (unsigned long long)n->frames_local);
}

static void json_costs(FILE *f, const double *c)
{
	for (unsigned int k = 0; k < COST_KINDS; k++)
		fprintf(f, "%s\"%s\": %.1f", k ? ", " : "{", cost_names[k], c[k]);
	fprintf(f, "}");
}

static void json_install(FILE *f, const struct report *r, unsigned int i)
{
	fprintf(f, "\"%s\": {\"one\": ", install_name((enum tf_install)i));
	json_way(f, &r->single[i][0]);
	fprintf(f, ", \"node\": ");
	json_way(f, &r->single[i][1]);
	fprintf(f, ", \"fault_ns\": ");
	json_costs(f, r->cost[i]);
	fprintf(f, "}");
}

bool report_json(const struct report *r, const bool *install, const char *file)
{
	FILE *f = fopen(file, "w");
	if (!f)
		return false;
	fprintf(f,
		"{\"machine\": \"%s\", \"cpus\": %u, \"rounds\": %u, \"bytes\": %llu, "
		"\"format\": \"%s\", \"spread\": %s,\n\"runs\": [\n",
		r->machine, r->cpus, r->rounds, (unsigned long long)r->bytes,
		r->nested == TF_EPT ? "ept" : "npt", r->spread ? "true" : "false");
	for (unsigned int i = 0; i < r->n; i++) {
		json_way(f, &r->m[i]);
		fprintf(f, "%s\n", i + 1 < r->n ? "," : "");
	}
	fprintf(f, "],\n\"single\": {");
	bool first = true;
	for (unsigned int i = 0; i < 2; i++) {
		if (!install[i])
			continue;
		fprintf(f, "%s", first ? "" : ",\n");
		json_install(f, r, i);
		first = false;
	}
	fprintf(f, "}}\n");
	return fclose(f) == 0;
}
