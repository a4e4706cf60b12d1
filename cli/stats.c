/* The JSON object that --stats writes: see stats.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "args.h"
#include "commands.h"
#include "figures.h"
#include "say.h"

void *stats_open(const char *path)
{
	/* Not truncated yet: an old file stays whole until there is something to write. */
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (!f)
		say("--stats %s: cannot write it: %s", path, strerror(errno));
	return f;
}

json_t *stats_machine(const struct machine_kind *k, const char *version)
{
	char line[256], model[256] = "unknown";
	FILE *f = fopen("/proc/cpuinfo", "r");
	struct utsname u;
	char *emulator;
	json_t *machine;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "model name : %255[^\n]", model) == 1)
			break;
	}
	if (f)
		fclose(f);
	uname(&u);
	emulator = text_of("%s %s (%s)", k->name, version, k->how);
	machine = json_pack("{s:s, s:I, s:s, s:s, s:s, s:s*}", "cpu", model, "cpus",
			    (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "linux", u.release, "kind",
			    k->option, "emulator", emulator, "qemu",
			    k == &machine_qemu ? version : NULL);
	free(emulator);
	return machine;
}

static double seconds_of(const json_t *event, const char *cycles)
{
	return figures_seconds(json_number_value(json_object_get(event, cycles)),
			       json_number_value(json_object_get(event, "tsc_khz")));
}

/* Members that are always there, so that a reader need not ask: null where nothing was told. */
static const char *const promised[] = {
	"guest_seconds",
	"boot_seconds",
	"start_tsc",
	"boot_cycles",
	"guest_cycles",
	"tsc_khz",
	"exits",
	"flushes",
	"virtualization",
	"guest_faults",
	"shadow_faults",
	"nested_faults",
	"unsyncs",
	"resyncs",
	"table_pages",
	"copies",
	"regroups",
	"frames_local",
	"groups",
	"groups_now",
	"pages_local",
	"pages_remote",
	"host_nodes",
	"mode_now",
	"switches",
	"vcpu_switches",
	"switch_cycles",
	"switch_cycles_max",
	"switch_stop_cycles",
	"switch_stops",
	"switch_stop_median",
	"policy",
	"grain",
	"mode_cycles",
	"mode_share",
	"calibration",
	"meter_cycles",
	"meter_share",
	"meter_samples",
	"meter_windows",
	"meter_source",
	"meter_stolen_cycles",
	"space_entries",
};

/* The guest's nodes as they were given to it. */
static json_t *nodes_describe(const struct nodes *n)
{
	json_t *all = json_array();

	for (unsigned int i = 0; i < n->count; i++) {
		json_t *distances = json_array();
		char *cpus = NULL;
		size_t size;
		FILE *f = open_memstream(&cpus, &size);

		if (!f)
			abort();
		nodes_put_cpus(f, n->node[i].cpus);
		fclose(f);
		for (unsigned int k = 0; k < n->count; k++)
			json_array_append_new(distances, json_integer(n->distance[i][k]));
		json_array_append_new(all, json_pack("{s:s, s:I, s:o}", "cpus", cpus, "mem",
						     (json_int_t)n->node[i].mem, "distances",
						     distances));
		free(cpus);
	}
	return all;
}

/* The switch events, with their time in seconds. */
static json_t *switches_describe(const struct stream *s)
{
	json_t *all = json_array(), *event;
	size_t i;

	json_array_foreach(s->switches, i, event)
	{
		double cycles = json_number_value(json_object_get(event, "tsc"));
		json_t *one = json_pack("{s:f}", "seconds", figures_seconds(cycles, s->khz));

		json_object_update(one, event);
		json_object_del(one, "ev");
		json_array_append_new(all, one);
	}
	return all;
}

/* Parts of all the time that the vCPUs were awake: on each mode's tables, and for the meter. */
static void shares_add(json_t *all)
{
	json_t *cycles = json_object_get(all, "mode_cycles"), *share = json_object(), *value;
	const json_t *meter = json_object_get(all, "meter_cycles");
	const char *key;
	double sum = 0;

	json_object_foreach(cycles, key, value) sum += json_number_value(value);
	if (sum > 0) {
		json_object_foreach(cycles, key, value)
			json_object_set_new(share, key, json_real(json_number_value(value) / sum));
		json_object_set(all, "mode_share", share);
		if (json_is_number(meter))
			json_object_set_new(all, "meter_share",
					    json_real(json_number_value(meter) / sum));
	}
	json_decref(share);
}

/* The time that half of the stops in such bins were below. NULL: there was none. */
static json_t *median_of(const json_t *bins)
{
	json_int_t all = 0, seen = 0;
	const json_t *bin;
	size_t i;

	json_array_foreach(bins, i, bin) all += json_integer_value(json_object_get(bin, "count"));
	json_array_foreach(bins, i, bin)
	{
		seen += json_integer_value(json_object_get(bin, "count"));
		if (2 * seen >= all)
			return json_incref(json_object_get(bin, "below"));
	}
	return NULL;
}

/* How long half of the vCPUs' changes to each mode stopped them. */
static void stops_add(json_t *all)
{
	json_t *stops = json_object_get(all, "switch_stops"), *bins, *half;
	const char *mode;

	if (!stops)
		return;
	half = json_object();
	json_object_foreach(stops, mode, bins)
		json_object_set_new(half, mode, median_of(bins) ?: json_null());
	json_object_set_new(all, "switch_stop_median", half);
}

/* What was chosen while the guest ran, and what for. */
static void choice_add(json_t *all, const struct options *o, const struct stream *s)
{
	json_t *calibration;

	json_object_set_new(all, "policy_asked",
			    o->choice.asked ? json_string(o->choice.asked) : json_null());
	json_object_set_new(all, "seed",
			    o->choice.seeded ? json_integer((json_int_t)o->choice.seed)
					     : json_null());
	json_object_set_new(all, "switch_list", switches_describe(s));
	json_object_set_new(
		all, "switches_unlisted",
		json_integer((json_int_t)(s->switches_seen - json_array_size(s->switches))));
	if (s->calibration && !json_object_get(all, "calibration")) {
		calibration = json_copy(s->calibration);
		json_object_del(calibration, "ev");
		json_object_set_new(all, "calibration", calibration);
	}
	shares_add(all);
	stops_add(all);
}

static json_t *stats_object(const struct options *o, const struct stream *s,
			    const struct run_facts *r)
{
	json_t *all = json_pack("{s:s, s:s, s:I, s:I, s:s, s:s?, s:s?, s:s, s:i, s:f}", "twofold",
				TWOFOLD_VERSION, "mode", o->mode, "cpus", (json_int_t)o->cpus,
				"mem", (json_int_t)o->mem, "kernel", r->kernel, "initrd", r->initrd,
				"append", o->append, "reason", r->reason, "status", r->status,
				"wall_seconds", r->wall_seconds);

	json_object_set_new(all, "machine", stats_machine(r->machine, r->version));
	json_object_set_new(all, "nodes", nodes_describe(&o->nodes));
	json_object_set_new(all, "grouping", json_string(o->groups));
	json_object_set_new(all, "install", json_string(o->install));
	json_object_set_new(all, "backing", json_string(o->backing));
	json_object_set_new(all, "regroup_ms", json_integer(o->regroup_ms));
	json_object_set_new(all, "switch_ms", json_integer(o->switch_ms));
	if (s->last) {
		json_object_set_new(all, "guest_seconds",
				    json_real(seconds_of(s->last, "guest_cycles")));
		if (json_number_value(json_object_get(s->last, "boot_cycles")) > 0)
			json_object_set_new(all, "boot_seconds",
					    json_real(seconds_of(s->last, "boot_cycles")));
		json_object_update_missing(all, json_object_get(s->last, "engine"));
		json_object_update_missing(all, s->last);
		json_object_del(all, "engine");
		json_object_del(all, "ev");
	}
	choice_add(all, o, s);
	for (size_t i = 0; i < sizeof(promised) / sizeof(promised[0]); i++) {
		if (!json_object_get(all, promised[i]))
			json_object_set_new(all, promised[i], json_null());
	}
	json_object_set(all, "work", r->work);
	json_object_set(all, "marks", s->marks);
	return all;
}

bool stats_write(void *file, const struct options *o, const struct stream *s,
		 const struct run_facts *r)
{
	json_t *all = stats_object(o, s, r);
	FILE *f = file;
	bool ok;

	/* A device such as /dev/null or a pipe cannot be truncated, and need not be. */
	(void)!ftruncate(fileno(f), 0);
	ok = all && json_dumpf(all, f, JSON_INDENT(2)) == 0 && fputc('\n', f) != EOF;
	ok &= fclose(f) == 0;
	if (!ok)
		say("--stats %s: not written: %s", o->stats, strerror(errno));
	json_decref(all);
	return ok;
}
