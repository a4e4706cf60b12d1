/* What is chosen for, and what is remembered of it.
 *
 *	struct choice (one for the VM) --- whole: the VM's own unit (grain vm)
 *	                              `--- spaces: a unit for each address space seen lately (grain
 *	                                   space), in buckets by CR3; one not there runs nested
 *
 * A unit holds the rates that the meter found last, what its predictions were worth, and its
 * policy's state. All of it belongs to the choice's lock (rank 5: taken with no other held).
 * `generation` and `shadow_units` are also read without it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CHOICE_CHOICE_H
#define CHOICE_CHOICE_H

#include "base/lock.h"
#include "choice/policy.h"

struct tf_vm;
struct tf_vcpu;

/* Events and the cycles of work in which they were counted: sums, in which what is older counts for
 * less. (A mean of rates would give a short stretch the weight of a long one.) */
struct rates {
	uint64_t misses, miss_cycles;
	uint64_t faults, cr3_writes, invlpgs, event_cycles;
};

struct unit {
	uint64_t key;	/* CR3's frame number plus one; 0: free */
	uint64_t seen;	/* when it was noted last */
	uint64_t stack; /* the guest's highest user entry: tells a space from a later one at its CR3
			 */
	enum tf_mode mode;
	struct rates rates;
	uint64_t resident, shadowed; /* pages: mapped by the guest, and by shadow leaves */
	uint32_t skip;		     /* readings to come that a change of mode fell into */
	uint64_t filling;	     /* cycles of the last change's price still to be paid */
	/* Shadow mode's exits as predicted from the rates and as they were. */
	uint64_t predicted, actual;
	uint64_t state[POLICY_STATE];
};

#define SPACE_BUCKETS 16u
#define SPACE_BUCKET  (TF_PAGE_SIZE / sizeof(struct unit))

struct choice {
	struct lock lock;
	struct tf_choice_config conf;
	hpa_t self;
	struct unit whole;
	uint64_t stop[2];	    /* cycles to go over to each mode, as it was lately */
	uint64_t predicted, actual; /* of all units: what a new one begins with */
	uint64_t watch_loss;   /* what watching costs spaces that run nested, less what it gains */
	uint32_t generation;   /* of the spaces' modes; atomic */
	uint32_t shadow_units; /* spaces that want shadow tables; atomic */
	struct unit *space[SPACE_BUCKETS];
	hpa_t space_page[SPACE_BUCKETS];
};

/* A vCPU's part: its own CPU only. */
struct chooser {
	struct rates rates; /* grain vm: of this vCPU */
	uint64_t resident, shadowed;
	/* grain space, what the last load found: */
	uint64_t key;
	uint32_t generation;
	bool shadow;
};

/* Does the vCPU's address space want shadow tables? Asked at each load in shadow mode. */
bool space_wants_shadow(struct tf_vcpu *v);

/* What a sample found: distinct pages touched, scaled to the whole space, in so many cycles. */
void choice_sampled(struct tf_vcpu *v, uint64_t cr3, uint64_t stack, uint64_t pages,
		    uint64_t cycles, uint64_t resident, uint64_t shadowed);

void choice_destroy(struct tf_vm *vm);

/* ---- space.c; the choice's lock held ---- */

/* The unit of a space, made if it is missing: the one noted longest ago makes room. */
struct unit *space_get(struct choice *c, uint64_t cr3, uint64_t now);
/* NULL: not there. */
struct unit *space_find(struct choice *c, uint64_t cr3);
/* Another space has come to its CR3. */
void space_forget(struct choice *c, struct unit *u);
void space_set_mode(struct choice *c, struct unit *u, enum tf_mode m);
/* Every space to nested mode. */
void spaces_retire(struct choice *c);

/* ---- sample.c ---- */

void sampler_destroy(struct tf_vcpu *v);

#endif
