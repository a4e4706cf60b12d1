/* One round of faults (see round.h).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "round.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_BYTES (UINT64_C(2) << 20)
#define LEVEL_BITS  9u

struct worker {
	const struct way *w;
	struct tf_vcpu *v;
	pthread_t thread;
	pthread_barrier_t *start;
	unsigned int index;
	bool failed;
	uint64_t root; /* spread: of its group's nested table */
	uint64_t faults, began, ended, cycles;
} __attribute__((aligned(128)));

/* ---- CPUs ---- */

static cpu_set_t usable;

unsigned int cpu_count(void)
{
	if (CPU_COUNT(&usable) == 0 && sched_getaffinity(0, sizeof(usable), &usable) != 0)
		return 1;
	return (unsigned int)CPU_COUNT(&usable);
}

void cpu_pin(unsigned int n)
{
	cpu_set_t one;
	unsigned int left = n % cpu_count();
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &usable) || left-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		(void)sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/* ---- what a way is ---- */

static unsigned int node_of(const struct way *w, unsigned int thread)
{
	return (unsigned int)((uint64_t)thread * w->nodes / w->threads);
}

static unsigned int group_of_thread(const struct way *w, unsigned int thread)
{
	switch (w->grouping) {
	case TF_GROUPS_ONE:
		return 0;
	case TF_GROUPS_NODE:
		return node_of(w, thread);
	case TF_GROUPS_VCPU:
		break;
	}
	return thread;
}

/* Threads of one group follow one another, and so do nodes. */
unsigned int way_groups(const struct way *w)
{
	unsigned int n = 1;
	for (unsigned int t = 1; t < w->threads; t++)
		n += group_of_thread(w, t) != group_of_thread(w, t - 1);
	return n;
}

/* Tables of one level that [from, to) needs, whose entries map 2^shift bytes each. */
static uint64_t tables_for(uint64_t from, uint64_t to, unsigned int shift)
{
	return ((to - 1) >> (shift + LEVEL_BITS)) - (from >> (shift + LEVEL_BITS)) + 1;
}

uint64_t way_nested_tables(const struct way *w)
{
	uint64_t n = 0;
	for (unsigned int first = 0, next; first < w->threads; first = next) {
		next = first + 1;
		while (next < w->threads && group_of_thread(w, next) == group_of_thread(w, first))
			next++;
		uint64_t from = w->spread ? 0 : way_slice(w, first);
		uint64_t to = w->spread ? w->bytes : way_slice(w, next);
		for (unsigned int shift = TF_PAGE_SHIFT; shift < 48; shift += LEVEL_BITS)
			n += tables_for(from, to, shift);
	}
	return n;
}

size_t way_pages(const struct way *w)
{
	const uint64_t blocks = w->bytes / BLOCK_BYTES;
	/* The memory map: words of each block, blocks of up to a page, pointers; then what a VM, a
	 * vCPU and a group have. A race for a page of the map may cost each thread one of them. */
	return (size_t)(way_nested_tables(w) + 2 * blocks + blocks / 256 + 64) +
	       (size_t)w->threads * (128 + blocks / 256);
}

struct tf_vm *way_vm(const struct way *w, struct host *h, struct tf_vcpu **vcpus)
{
	const struct tf_config c = {
		.mode = TF_NESTED,
		.nested = w->nested,
		.maxphyaddr = 48,
		.vcpus = w->threads,
		.shadow_pages = 1,
		.nodes = w->nodes,
		.grouping = w->grouping,
		.install = w->install,
	};
	struct tf_vm *vm;
	if (tf_vm_create(&h->h, &c, &vm) != TF_OK)
		return NULL;
	bool ok = true;
	for (unsigned int t = 0, next; t < w->threads && ok; t = next) {
		next = t + 1;
		while (next < w->threads && node_of(w, next) == node_of(w, t))
			next++;
		ok = tf_mem_add(vm, gpa(way_slice(w, t)), way_slice(w, next) - way_slice(w, t),
				node_of(w, t)) == TF_OK;
	}
	for (unsigned int t = 0; t < w->threads && ok; t++) {
		struct tf_load load;
		ok = tf_vcpu_create(vm, t, node_of(w, t), &vcpus[t]) == TF_OK &&
		     tf_vcpu_load(vcpus[t], &load) == TF_OK;
	}
	if (ok)
		return vm;
	tf_vm_destroy(vm);
	return NULL;
}

/* ---- the threads ---- */

/* Does the hardware find an entry? Both formats have bit 0 set in what is present here. */
static bool is_mapped(uint64_t root, uint64_t at)
{
	const uint64_t addr = UINT64_C(0x000ffffffffff000);
	uint64_t e = root | 1;
	for (unsigned int shift = 39;; shift -= LEVEL_BITS) {
		const uint64_t *table = (const uint64_t *)(uintptr_t)(e & addr);
		e = __atomic_load_n(&table[at >> shift & 511], __ATOMIC_ACQUIRE);
		if (!(e & 1) || shift == TF_PAGE_SHIFT)
			return e & 1;
	}
}

static bool touch(struct worker *k, uint64_t from, uint64_t to)
{
	struct tf_outcome out;
	for (uint64_t at = from; at < to; at += TF_PAGE_SIZE) {
		if (k->root && is_mapped(k->root, at))
			continue;
		tf_nested_fault(k->v, gpa(at), TF_WRITE, &out);
		k->faults++;
		if (out.end != TF_RESUME)
			return false;
	}
	return true;
}

static void *work(void *arg)
{
	struct worker *k = arg;
	const struct way *w = k->w;
	host_thread_is(k->index + 1);
	cpu_pin(k->index);
	uint64_t from = way_slice(w, k->index), to = way_slice(w, k->index + 1);
	(void)pthread_barrier_wait(k->start);
	k->began = host_now();
	uint64_t c = host_cycles();
	if (w->spread)
		k->failed = !touch(k, from, w->bytes) || !touch(k, 0, from);
	else
		k->failed = !touch(k, from, to);
	k->cycles = host_cycles() - c;
	k->ended = host_now();
	return NULL;
}

static void join(struct worker *k, unsigned int n, struct result *r, bool *failed)
{
	uint64_t began = ~UINT64_C(0), ended = 0;
	*r = (struct result){0};
	for (unsigned int t = 0; t < n; t++) {
		(void)pthread_join(k[t].thread, NULL);
		*failed |= k[t].failed;
		r->faults += k[t].faults;
		r->cycles += k[t].cycles;
		if (k[t].began < began)
			began = k[t].began;
		if (k[t].ended > ended)
			ended = k[t].ended;
	}
	r->ns = ended - began;
}

bool round_run(const struct way *w, struct host *h, struct result *r)
{
	struct tf_vcpu *v[TF_MAX_VCPUS];
	pthread_barrier_t start;
	struct worker *k = aligned_alloc(128, w->threads * sizeof(*k));
	host_thread_is(0);
	struct tf_vm *vm = k ? way_vm(w, h, v) : NULL;
	if (!vm) {
		fprintf(stderr, "faults: no memory for a VM\n");
		free(k);
		return false;
	}
	bool failed = false;
	(void)pthread_barrier_init(&start, NULL, w->threads);
	for (unsigned int t = 0; t < w->threads; t++) {
		struct tf_load load = {.root = {0}};
		if (w->spread)
			failed |= tf_vcpu_load(v[t], &load) != TF_OK;
		k[t] = (struct worker){
			.w = w, .v = v[t], .start = &start, .index = t, .root = load.root.v};
		if (pthread_create(&k[t].thread, NULL, work, &k[t]) != 0) {
			perror("faults: pthread_create");
			exit(71); /* others wait at the barrier */
		}
	}
	join(k, w->threads, r, &failed);
	(void)pthread_barrier_destroy(&start);
	free(k);
	tf_counters_read(vm, &r->n);
	r->frames = host_frames_out(h);
	r->tables = host_tables_out(h);
	const char *broken = w->check ? tf_check(vm) : NULL;
	if (broken)
		fprintf(stderr, "faults: %s\n", broken);
	tf_vm_destroy(vm);
	if (host_frames_out(h) || host_tables_out(h)) {
		fprintf(stderr, "faults: %lld frames and %lld table pages were not given back\n",
			(long long)host_frames_out(h), (long long)host_tables_out(h));
		failed = true;
	}
	host_reset(h);
	return !failed && !broken;
}

const char *round_check(const struct way *w, const struct result *r)
{
	const uint64_t pages = w->bytes / TF_PAGE_SIZE, groups = way_groups(w);
	if (r->n.frames_backed != pages || (uint64_t)r->frames != pages)
		return "not each page was backed once";
	if (r->n.nested_faults != r->faults)
		return "the engine counts other faults than were taken";
	if (!w->spread && (r->faults != pages || r->n.copies != 0))
		return "not one fault for each page";
	if (!w->spread && r->n.frames_local != pages)
		return "a frame was backed by a vCPU of another node";
	/* Two threads of a group may fault on one page at once. Then one installs what the other
	 * has backed, which counts as a copy, and the other finds nothing to do. */
	if (w->spread && (r->faults < pages * groups || r->n.copies > r->faults - pages))
		return "not one fault for each page and group";
	if (r->n.nested_tables != way_nested_tables(w))
		return "not as many nested tables as the memory needs";
	if (r->n.table_pages < r->n.nested_tables + pages / 512 ||
	    (uint64_t)r->tables < r->n.table_pages)
		return "the table pages do not add up";
	return NULL;
}
