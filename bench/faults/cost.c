/* What one fault costs, step by step (see cost.h).
 *
 * Each step runs over the same frames in the same order, in a loop of its own: so the steps are a
 * little cheaper or dearer than inside a fault, and what is left of the whole is called the rest.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "cost.h"

#include "groups/group.h"

#include <stdio.h>
#include <stdlib.h>

#define BYTES (UINT64_C(256) << 20)

static const struct way three = {.threads = 3, .nodes = 1, .grouping = TF_GROUPS_VCPU};

static struct way way_of(enum tf_nested_format nested, enum tf_install install)
{
	struct way w = three;
	w.nested = nested;
	w.install = install;
	w.bytes = BYTES / (3 * 2097152u) * (3 * 2097152u);
	return w;
}

size_t cost_pages(void)
{
	struct way w = way_of(TF_NPT, TF_INSTALL_LOCK);
	w.spread = true;
	return way_pages(&w);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double median(double *v, unsigned int n)
{
	qsort(v, n, sizeof(*v), by_size);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* What the steps work on. */
struct bench {
	struct tf_vm *vm;
	struct tf_vcpu *v[3];
	uint64_t blocks;
	uint64_t sum; /* so that nothing is optimized away */
	bool failed;
};

typedef void step(struct bench *b, gfn_t f);

static void fault(struct bench *b, struct tf_vcpu *v, gfn_t f)
{
	struct tf_outcome out;
	tf_nested_fault(v, gfn_to_gpa(f), TF_WRITE, &out);
	b->failed |= out.end != TF_RESUME;
}

static void fault_first(struct bench *b, gfn_t f)
{
	fault(b, b->v[0], f);
}

static void fault_copy(struct bench *b, gfn_t f)
{
	fault(b, b->v[1], f);
}

static void fault_third(struct bench *b, gfn_t f)
{
	fault(b, b->v[2], f);
}

static void do_op(struct bench *b, gfn_t f)
{
	struct op op;
	(void)f;
	vm_op_begin(&op, b->vm);
	__asm__ volatile("" : : "r"(&op) : "memory");
	vm_op_end(&op, b->vm);
}

/* One operation for all frames. */
static struct op long_op;

static void do_lock(struct bench *b, gfn_t f)
{
	struct group *g = group_of(b->v[2]);
	(void)f;
	group_lock(&long_op, g);
	group_unlock(&long_op, g);
}

static void do_section(struct bench *b, gfn_t f)
{
	(void)f;
	section_enter(b->v[2]);
	section_leave(b->v[2]);
}

static void do_lookup(struct bench *b, gfn_t f)
{
	b->sum += frame_word(memmap_frame(&b->vm->map, f));
}

static void do_back(struct bench *b, gfn_t f)
{
	struct backed did;
	b->failed |= memmap_back(&long_op, &b->vm->map, f, &did) != TF_OK;
}

static void do_alloc(struct bench *b, gfn_t f)
{
	hpa_t a;
	(void)f;
	b->failed |= b->vm->h->page_alloc(b->vm->h, 0, TF_ORDER_4K, TF_USE_FRAME, &a) != TF_OK;
}

static void do_install(struct bench *b, gfn_t f)
{
	const unsigned int perm = PERM_RWX | PERM_A | PERM_D;
	bool fresh;
	b->failed |= table_map(&long_op, &group_of(b->v[2])->nested, f.v << TF_PAGE_SHIFT, 0,
			       (hfn_t){f.v}, perm, NULL, &fresh) != TF_OK;
}

static void do_install_cas(struct bench *b, gfn_t f)
{
	const unsigned int perm = PERM_RWX | PERM_A | PERM_D;
	bool fresh;
	b->failed |= table_map_cas(&group_of(b->v[2])->nested, f.v << TF_PAGE_SHIFT, 0,
				   (hfn_t){f.v}, perm, &fresh) != TF_OK;
}

/* Nanoseconds for each frame: the median of the blocks, so that it does not matter if another
 * process had the CPU during some. */
static __attribute__((noinline)) double run(struct bench *b, step *s)
{
	double ns[BYTES >> 21];
	for (uint64_t block = 0; block < b->blocks; block++) {
		uint64_t began = host_now();
		for (uint64_t i = 1; i < BLOCK_FRAMES; i++)
			s(b, gfn(block * BLOCK_FRAMES + i));
		ns[block] = (double)(host_now() - began) / (BLOCK_FRAMES - 1);
	}
	return median(ns, (unsigned int)b->blocks);
}

/* The first frame of each block: so that its table page and the map's pages are there. */
static void warm(struct bench *b, step *s)
{
	for (uint64_t block = 0; block < b->blocks; block++)
		s(b, gfn(block * BLOCK_FRAMES));
}

static bool begin(struct bench *b, const struct way *w, struct host *h)
{
	*b = (struct bench){.blocks = w->bytes >> 21};
	b->vm = way_vm(w, h, b->v);
	if (!b->vm) {
		fprintf(stderr, "faults: no memory for a VM\n");
		return false;
	}
	vm_op_begin(&long_op, b->vm);
	return true;
}

static bool end(struct bench *b, struct host *h)
{
	tf_vm_destroy(b->vm);
	host_reset(h);
	if (b->failed)
		fprintf(stderr, "faults: a step of a fault failed\n");
	return !b->failed;
}

static bool round_once(struct host *h, const struct way *w, double *ns)
{
	const bool cas = w->install == TF_INSTALL_CAS;
	struct bench b;
	if (!begin(&b, w, h))
		return false;
	warm(&b, fault_first);
	ns[COST_FIRST] = run(&b, fault_first);
	warm(&b, fault_copy);
	ns[COST_COPY] = run(&b, fault_copy);
	ns[COST_OP] = run(&b, do_op);
	ns[COST_LOCK] = run(&b, cas ? do_section : do_lock);
	ns[COST_LOOKUP] = run(&b, do_lookup);
	warm(&b, fault_third);
	ns[COST_INSTALL] = run(&b, cas ? do_install_cas : do_install);
	if (!end(&b, h) || !begin(&b, w, h))
		return false;
	warm(&b, fault_first);
	ns[COST_BACK] = run(&b, do_back);
	ns[COST_ALLOC] = run(&b, do_alloc);
	return end(&b, h);
}

bool cost_measure(struct host *h, enum tf_nested_format nested, enum tf_install install,
		  unsigned int rounds, double ns[COST_KINDS])
{
	static double all[COST_KINDS][COST_ROUNDS_MAX];
	const struct way w = way_of(nested, install);
	host_thread_is(0);
	for (unsigned int r = 0; r < rounds; r++) {
		if (!round_once(h, &w, ns))
			return false;
		for (unsigned int k = 0; k < COST_KINDS; k++)
			all[k][r] = ns[k];
	}
	for (unsigned int k = 0; k < COST_KINDS; k++)
		ns[k] = median(all[k], rounds);
	return true;
}
