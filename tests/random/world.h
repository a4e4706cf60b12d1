/* One random history: a VM on the engine, the model hardware that runs it, the reference MMU that
 * judges it, and the guest operating system that the generator plays.
 *
 * Guest-physical memory:
 *	   0 ..  1 MiB  slot A: frames 1..159 are for tables, the rest for data
 *	   2 ..  6 MiB  slot B: large pages, data
 *	   8 MiB + 256K slot D: comes and goes
 *	   4 GiB + 256K slot C
 * In a world of huge pages A, B, D and what lies between are one slot, the first GiB.
 * Which node a slot belongs to, and which one each vCPU is of, goes by the seed.
 * Guest-virtual, by index at the top level: 0, 1 user; 272 the direct map; 300 the self-map;
 * 511 (5 levels: 510) shared kernel pages.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef RANDOM_WORLD_H
#define RANDOM_WORLD_H

#include <stdio.h>

#include "hw.h"
#include "refmmu.h"

#include <twofold/choice.h>
#include <twofold/explain.h>

#define SPACES	    5
#define WORLD_NODES 4

#define A_GFN UINT64_C(0)
#define A_N   UINT64_C(256)
#define B_GFN UINT64_C(512)
#define B_N   UINT64_C(1024)
#define C_GFN UINT64_C(0x100000)
#define C_N   UINT64_C(64)
#define D_GFN UINT64_C(2048)
#define D_N   UINT64_C(64)

#define HUGE_N (UINT64_C(1) << 18) /* frames of a GiB, from 0 */

#define FIRST_TABLE 1
#define TABLES	    159
#define DATA_GFN    176 /* and 64 more: small data pages */

enum world_mode {
	W_NESTED,
	W_SHADOW,
	W_MIXED,
};

struct world_conf {
	uint64_t seed, steps;
	unsigned int vcpus, levels;
	enum world_mode mode;
	enum tf_nested_format format;
	unsigned int nodes; /* 1..WORLD_NODES */
	enum tf_grouping grouping;
	enum tf_install install;
	bool huge;		   /* memory is backed by 1 GiB where that is possible */
	bool regroup;		   /* the grouping changes now and then */
	bool spaces;		   /* a mode for each address space */
	bool sample;		   /* accessed bits are sampled */
	const char *policy;	   /* readings are noted, by chance; NULL: none */
	unsigned int churn;	   /* modes change before one in n accesses; 0: seldom */
	unsigned int check_every;  /* tf_check after every n-th step */
	unsigned int shadow_pages; /* 0: by seed */
	bool no_fail;		   /* no failing allocations */
	uint64_t trace_from;	   /* print operations from this step on */
};

struct world {
	struct world_conf conf;
	struct rng rng;
	struct fakehost host;
	struct hw hw;
	struct ref ref;
	struct tf_vm *vm;
	unsigned int maxphyaddr;
	bool nxe, pcide, pke;
	unsigned int pcids; /* in use; with as many as spaces each root has its own */

	/* The guest OS. */
	uint64_t root[SPACES];
	bool table_used[TABLES + FIRST_TABLE];
	unsigned int space[REF_CPUS]; /* which one each vCPU runs */
	bool d_present;
	unsigned int node[4]; /* of slots A to D */
	enum tf_grouping grouping;
	bool pressure; /* tables ran out: a space must die */

	/* The choice of modes. */
	bool has_choice;
	struct {
		bool known;
		enum tf_mode mode;
	} space_mode[SPACES]; /* that the engine should give */
	bool sampling[REF_CPUS];
	unsigned int sampled[REF_CPUS]; /* the space of the sample */

	/* The dirty log: one range at a time. */
	bool dirty_on;
	uint64_t dirty_gfn, dirty_n;

	uint64_t step;
	const char *what; /* the operation under way */
	bool failed;
	char why[512];
	struct {
		uint64_t accesses, done, faults, devices, nomem, deep, dirty_extra, edits, probes,
			regroups, switches, samples, notes;
	} n;
};

bool world_init(struct world *w, const struct world_conf *c);
void world_fini(struct world *w);
void world_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void world_trace(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Print the entries that memory has for an address now. */
void world_trace_path(struct world *w, unsigned int cpu, uint64_t va);

/* One access by a vCPU, judged. Returns how it ended. */
enum hw_end world_access(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags,
			 enum hw_op op, uint64_t operand, uint64_t *old);
/* The host's own write of whole words. False: no memory for it. */
bool world_host_write(struct world *w, uint64_t gpa, const uint64_t *words, unsigned int n);
/* All of guest memory against the reference; each frame must lie on its slot's node. */
void world_compare(struct world *w);
void world_check(struct world *w);
/* Set A and D where a walk of our own (tf_walk) or the engine may have. */
void world_sync(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags, bool done);

/* Where things are mapped. */
uint64_t world_top(const struct world *w, unsigned int index);
uint64_t world_direct(const struct world *w, uint64_t gpa);

/* Modes change, now and then; before any access (gen_choice.c). */
void gen_disturb(struct world *w);
/* The choice begins (gen_choice.c). */
bool gen_choice(struct world *w);
/* One random operation (gen.c). */
void gen_step(struct world *w);
/* The tables that the guest starts with (gen.c). */
void gen_build(struct world *w);

#endif
