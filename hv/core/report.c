/* The counters, as JSON on COM2.
 *
 * Each vCPU counts in its own struct exit_stats; they are summed here without a lock, so a line may
 * be a few exits old.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/report.h"

#include "boot/acpi.h"
#include "core/cmdline.h"
#include "core/console.h"
#include "core/screen.h"
#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "mem/pages.h"

static const char *const kind_name[KINDS] = {
	[KIND_NPF] = "npf",
	[KIND_PF] = "pf",
	[KIND_MMIO] = "mmio",
	[KIND_CR0] = "cr0_write",
	[KIND_CR3_READ] = "cr3_read",
	[KIND_CR3_WRITE] = "cr3_write",
	[KIND_CR4] = "cr4_write",
	[KIND_CR8] = "cr8_write",
	[KIND_EFER] = "efer",
	[KIND_INVLPG] = "invlpg",
	[KIND_INVPCID] = "invpcid",
	[KIND_INTR] = "intr",
	[KIND_NMI] = "nmi",
	[KIND_IRET] = "iret",
	[KIND_CPUID] = "cpuid",
	[KIND_HLT] = "hlt",
	[KIND_INT] = "int",
	[KIND_IO] = "io",
	[KIND_MSR] = "msr",
	[KIND_MSR_TIMER] = "msr_timer",
	[KIND_MSR_EOI] = "msr_eoi",
	[KIND_MSR_ICR] = "msr_icr",
	[KIND_XSETBV] = "xsetbv",
	[KIND_VMMCALL] = "vmmcall",
	[KIND_WINDOW] = "intr_window",
	[KIND_OTHER] = "other",
};

static uint64_t sum_of(enum exit_kind k, bool cycles)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < vm.made; i++) {
		const struct exit_stats *s = &vm.vcpu[i]->stats;

		sum += __atomic_load_n(cycles ? &s->cycles[k] : &s->count[k], __ATOMIC_RELAXED);
	}
	return sum;
}

static uint64_t exits_total(void)
{
	uint64_t sum = 0;

	for (unsigned int k = 0; k < KINDS; k++)
		sum += sum_of(k, false);
	return sum;
}

static void put_exits(const char *name, bool cycles)
{
	json_open(name);
	for (unsigned int k = 0; k < KINDS; k++)
		json_number(kind_name[k], sum_of(k, cycles));
	json_close();
}

static void put_engine(const struct tf_counters *c)
{
	json_open("engine");
#define PUT(member) json_number(#member, c->member)
	PUT(guest_faults);
	PUT(shadow_faults);
	PUT(nested_faults);
	PUT(device_faults);
	PUT(spurious_faults);
	PUT(shadow_fills);
	PUT(prefills);
	PUT(shadows_made);
	PUT(shadows_zapped);
	PUT(shadows_reclaimed);
	PUT(tracks);
	PUT(unsyncs);
	PUT(resyncs);
	PUT(resync_changes);
	PUT(cr3_writes);
	PUT(cr3_kept);
	PUT(invlpgs);
	PUT(invpcids);
	PUT(full_flushes);
	PUT(remote_flushes);
	PUT(copies);
	PUT(regroups);
	PUT(frames_backed);
	PUT(frames_local);
	PUT(large_backed);
	PUT(huge_backed);
	PUT(nested_4k);
	PUT(nested_2m);
	PUT(nested_1g);
	PUT(nested_1g_cut);
	PUT(nested_tables);
	PUT(shadow_tables);
	PUT(shadow_tables_max);
	PUT(table_pages);
	PUT(lock_wait_cycles);
#undef PUT
	json_close();
}

static const char *const grouping_name[] = {
	[TF_GROUPS_NODE] = "node",
	[TF_GROUPS_ONE] = "one",
	[TF_GROUPS_VCPU] = "vcpu",
};

#define GROUPS_SHOWN 64u /* at most: a line is not to be longer than a reader takes */

/* The groups as they were when a report began: the engine may not be asked while the console's lock
 * is held. vCPU 0's CPU only, or whoever ends the VM. */
static struct {
	enum tf_grouping grouping;
	unsigned int now;
	unsigned int n;
	struct {
		unsigned int number;
		unsigned int vcpus;
		struct tf_counters c;
	} group[GROUPS_SHOWN];
} groups;

static void read_groups(void)
{
	unsigned int max = tf_groups_max(vm.mmu), n = 0;

	for (unsigned int g = 0; g < max && n < GROUPS_SHOWN; g++) {
		struct tf_cpuset in;

		if (!tf_group_vcpus(vm.mmu, g, &in) ||
		    !tf_group_counters_read(vm.mmu, g, &groups.group[n].c))
			continue;
		groups.group[n].number = g;
		groups.group[n].vcpus = 0;
		for (unsigned int i = 0; i < vm.made; i++)
			groups.group[n].vcpus += cpuset_has(&in, i);
		n++;
	}
	groups.n = n;
	groups.now = tf_groups(vm.mmu);
	groups.grouping = tf_grouping(vm.mmu);
}

/* What lies in a group's own tables and counters; the rest has a meaning for the VM only. */
static void put_groups(void)
{
	json_open_list("groups");
	for (unsigned int i = 0; i < groups.n; i++) {
		const struct tf_counters *c = &groups.group[i].c;

		json_open(NULL);
		json_number("group", groups.group[i].number);
		json_number("vcpus", groups.group[i].vcpus);
#define PUT(member) json_number(#member, c->member)
		PUT(nested_faults);
		PUT(shadow_faults);
		PUT(shadow_fills);
		PUT(copies);
		PUT(frames_backed);
		PUT(frames_local);
		PUT(nested_tables);
		PUT(shadow_tables);
		PUT(table_pages);
		PUT(lock_wait_cycles);
#undef PUT
		json_close();
	}
	json_close_list();
}

static void put_nodes(void)
{
	struct pages_count sum = {0, 0, 0};

	json_open_list("host_nodes");
	for (unsigned int i = 0; i < acpi.nodes; i++) {
		const struct pages_count c = pages_count(i);

		json_open(NULL);
		json_number("pages_local", c.local);
		json_number("pages_remote", c.remote);
		json_number("free_bytes", c.free * 4096);
		json_close();
		sum.local += c.local;
		sum.remote += c.remote;
	}
	json_close_list();
	json_number("pages_local", sum.local);
	json_number("pages_remote", sum.remote);
	json_text("grouping", grouping_name[cmdline.groups]);
	json_text("install", cmdline.install == TF_INSTALL_CAS ? "cas" : "lock");
	json_number("regroup_ms", cmdline.regroup_ms);
	json_text("backing", cmdline.backing == TF_ORDER_4K   ? "4K"
			     : cmdline.backing == TF_ORDER_2M ? "2M"
							      : "1G");
}

static const char *mode_name(enum tf_mode m)
{
	return m == TF_SHADOW ? "shadow" : "nested";
}

/* The bins that are not empty. */
static void put_stops(enum tf_mode to)
{
	json_open_list(mode_name(to));
	for (unsigned int bin = 0; bin < SPREAD_BINS; bin++) {
		uint64_t n = 0;

		for (unsigned int i = 0; i < vm.made; i++)
			n += __atomic_load_n(&vm.vcpu[i]->switches.stops[to][bin],
					     __ATOMIC_RELAXED);
		if (!n)
			continue;
		json_open(NULL);
		json_number("below", spread_end(bin));
		json_number("count", n);
		json_close();
	}
	json_close_list();
}

static void put_switches(void)
{
	uint64_t count = 0, cycles = 0, stop = 0, most = 0;

	for (unsigned int i = 0; i < vm.made; i++) {
		const struct switch_stats *s = &vm.vcpu[i]->switches;
		uint64_t max = __atomic_load_n(&s->cycles_max, __ATOMIC_RELAXED);

		count += __atomic_load_n(&s->count, __ATOMIC_RELAXED);
		cycles += __atomic_load_n(&s->cycles, __ATOMIC_RELAXED);
		stop += __atomic_load_n(&s->stop_cycles, __ATOMIC_RELAXED);
		most = max > most ? max : most;
	}
	json_text("mode_now", mode_name(__atomic_load_n(&vm.mode_wanted, __ATOMIC_RELAXED)));
	json_number("switch_ms", cmdline.switch_ms);
	json_number("switches", __atomic_load_n(&vm.switch_count, __ATOMIC_RELAXED));
	json_number("vcpu_switches", count);
	json_number("switch_cycles", cycles);
	json_number("switch_cycles_max", most);
	json_number("switch_stop_cycles", stop);
	json_open("switch_stops");
	put_stops(TF_NESTED);
	put_stops(TF_SHADOW);
	json_close();
}

/* As the VM was started. */
static const char *mode_asked(void)
{
	return cmdline.automatic ? "auto" : mode_name(vm.mode);
}

static void put_costs(void)
{
	json_number("cycles", vm.calibration_cycles);
#define PUT(member) json_number(#member, vm.costs.member)
	PUT(exit);
	PUT(miss_nested);
	PUT(miss_shadow);
	PUT(fault);
	PUT(cr3);
	PUT(invlpg);
	PUT(fill);
	PUT(ipkc);
#undef PUT
}

static void put_choice(void)
{
	uint64_t mode[2] = {0, 0}, cycles = 0, samples = 0, windows = 0, entries = 0;
	uint64_t stolen = 0;

	for (unsigned int i = 0; i < vm.made; i++) {
		const struct vcpu *v = vm.vcpu[i];

		for (unsigned int k = 0; k < 2; k++)
			mode[k] += __atomic_load_n(&v->mode_cycles[k], __ATOMIC_RELAXED);
		cycles += __atomic_load_n(&v->meter.pace.spent, __ATOMIC_RELAXED);
		stolen += __atomic_load_n(&v->meter.stolen, __ATOMIC_RELAXED);
		samples += __atomic_load_n(&v->meter.sample_count, __ATOMIC_RELAXED);
		entries += __atomic_load_n(&v->space_entries, __ATOMIC_RELAXED);
		windows += __atomic_load_n(&v->meter.window_count, __ATOMIC_RELAXED);
	}
	json_open("mode_cycles");
	json_number("nested", mode[TF_NESTED]);
	json_number("shadow", mode[TF_SHADOW]);
	json_close();
	if (!vm.automatic)
		return;
	json_text("policy", tf_policy_name(cmdline.policy));
	json_text("grain", cmdline.grain == TF_GRAIN_SPACE ? "space" : "vm");
	/* Any vCPU's: all CPUs are of one make. */
	if (vm.vcpu[0]->meter.source)
		json_text("meter_source", vm.vcpu[0]->meter.source->name);
	json_number("meter_cycles", cycles);
	json_number("meter_stolen_cycles", stolen);
	json_number("meter_samples", samples);
	json_number("meter_windows", windows);
	json_number("space_entries", entries);
	json_open("calibration");
	put_costs();
	json_close();
}

static void put_mended(void)
{
	uint64_t undone = 0, rechecked = 0;

	for (unsigned int i = 0; i < vm.made; i++) {
		undone += __atomic_load_n(&vm.vcpu[i]->undone, __ATOMIC_RELAXED);
		rechecked += __atomic_load_n(&vm.vcpu[i]->rechecked, __ATOMIC_RELAXED);
	}
	json_number("undone", undone);
	json_number("rechecked", rechecked);
}

/* What was asked of the CPUs, by what had to go. */
static void put_flushes(void)
{
	static const char *const name[FLUSH_KINDS] = {
		"linear",
		"nested",
	};

	json_open("flushes");
	for (unsigned int k = 0; k < FLUSH_KINDS; k++) {
		uint64_t sum = 0;

		for (unsigned int i = 0; i < vm.made; i++)
			sum += __atomic_load_n(&vm.vcpu[i]->flushes[k], __ATOMIC_RELAXED);
		json_number(name[k], sum);
	}
	json_close();
}

static void put_all(const struct tf_counters *c)
{
	uint64_t now = x86_rdtsc();

	json_text("mode", mode_asked());
	json_text("virtualization", vendor ? vendor->name : "none");
	json_number("cpus", vm.cpus);
	json_number("mem", vm.mem);
	json_number("tsc_khz", vm.tsc_khz);
	json_number("start_tsc", vm.start_tsc);
	json_number("boot_cycles", vm.boot_cycles);
	json_number("guest_cycles", vm.start_tsc ? now - vm.start_tsc : 0);
	json_number("exits_total", exits_total());
	put_exits("exits", false);
	put_exits("exit_cycles", true);
	put_flushes();
	put_mended();
	json_number("unknown_port_reads", vm.ports.unknown_in);
	json_number("unknown_port_writes", vm.ports.unknown_out);
	json_number("unknown_msr_reads", vm.msr.unknown_reads);
	json_number("unknown_msr_writes", vm.msr.unknown_writes);
	json_number("free_bytes", pages_free_bytes());
	put_switches();
	put_choice();
	put_nodes();
	if (!c)
		return;
	json_text("grouping_now", grouping_name[groups.grouping]);
	json_number("groups_now", groups.now);
	put_groups();
	put_engine(c);
}

void report_hello(void)
{
	json_begin("hello");
	json_number("cpus", vm.cpus);
	json_number("mem", vm.mem);
	json_text("mode", mode_asked());
	json_number("tsc_khz", vm.tsc_khz);
	json_end();
}

void report_calibration(void)
{
	json_begin("calibration");
	put_costs();
	json_end();
}

/* What a reading was judged by. */
static void put_verdict(const struct tf_verdict *d)
{
	json_text("grain", d->is_space ? "space" : "vm");
	if (d->is_space)
		json_number("space", d->space);
#define PUT(member) json_number(#member, d->member)
	PUT(misses_per_s);
	PUT(faults_per_s);
	PUT(cr3_per_s);
	PUT(exits_per_s);
	PUT(nested_ppm);
	PUT(shadow_ppm);
	PUT(regret);
	PUT(price);
	PUT(resident);
#undef PUT
}

void report_switch(unsigned int cpu, const struct tf_verdict *d)
{
	json_begin_later("switch");
	json_number("tsc", x86_rdtsc() - vm.start_tsc);
	json_number("cpu", cpu);
	json_text("from", mode_name(d->from));
	json_text("to", mode_name(d->to));
	json_text("why", d->why);
	put_verdict(d);
	json_end();
}

void report_sample(unsigned int cpu, const struct tf_verdict *d, uint64_t meter_ppm)
{
	json_begin_later("sample");
	json_number("tsc", x86_rdtsc() - vm.start_tsc);
	json_number("cpu", cpu);
	json_text("mode", mode_name(d->unit_mode));
	put_verdict(d);
	json_number("meter_ppm", meter_ppm);
	json_end();
}

/* The engine is asked before the console's lock is taken: it has locks of its own. */

void report_counters(void)
{
	struct tf_counters c;

	tf_counters_read(vm.mmu, &c);
	read_groups();
	json_begin("counters");
	put_all(&c);
	json_end();
}

void report_alive(void)
{
	json_begin("alive");
	json_end();
}

void report_mark(uint8_t mark)
{
	struct tf_counters c;
	uint64_t now = x86_rdtsc() - vm.start_tsc;

	if (!vm.boot_cycles)
		vm.boot_cycles = now;
	tf_counters_read(vm.mmu, &c);
	json_begin("mark");
	json_number("mark", mark);
	json_number("tsc", now);
	json_number("exits_total", exits_total());
	put_exits("exits", false);
	put_engine(&c);
	json_end();
}

void report_end(const char *reason, unsigned int code, bool with_engine)
{
	struct tf_counters c;
	char line[80];

	if (with_engine && vm.mmu) {
		tf_counters_read(vm.mmu, &c);
		read_groups();
	}
	json_begin("end");
	json_text("reason", reason);
	json_number("code", code);
	put_all(with_engine && vm.mmu ? &c : NULL);
	json_end();
	snprintf(line, sizeof(line), "the end: %s, code %u", reason, code);
	screen_line(line);
}
