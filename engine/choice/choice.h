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
#include "groups/group.h"

struct unit {
	uint64_t key;	/* CR3's frame number plus one; 0: free */
	uint64_t seen;	/* when it was noted last */
	uint64_t stack; /* the guest's highest user entry: tells a space from a later one at its CR3
			 */
	enum tf_mode mode;
	uint64_t met; /* vCPUs, by index modulo 64, that ran on it since its mode changed */
	struct rates rates;
	struct footprint at;
	uint32_t skip;	  /* readings to come that a change of mode fell into */
	uint64_t to_fill; /* faults that the last change may still cost, in 256ths */
	uint64_t fill;	  /* predicted cycles of one */
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
	uint64_t shared[POLICY_STATE]; /* the policy's, of all units */
	uint64_t stop[2];	       /* cycles to go over to each mode, as it was lately */
	uint64_t predicted, actual;    /* of all units: what a new one begins with */
	uint64_t fill_predicted, fill_actual;
	uint32_t generation;   /* of the spaces' modes; atomic */
	uint32_t shadow_units; /* spaces that want shadow tables; atomic */
	struct unit *space[SPACE_BUCKETS];
	hpa_t space_page[SPACE_BUCKETS];
};

/* Does the vCPU's address space want shadow tables? Asked at each load in shadow mode. */
bool space_wants_shadow(struct tf_vcpu *v);

/* The vCPU goes over for its address space. True: for the first time since the space's mode
 * changed. */
bool space_meet(struct tf_vcpu *v);
/* Remember whether a load in shadow mode could give a space that wants shadow tables such a root.
 */
void space_note_load(struct tf_vcpu *v, bool shadow);
/* Is the frame the root of a space that wants shadow tables? Not one that the vCPU came to and
 * could not have them for: it would come to the gate for ever. */
bool space_has_gate(struct tf_vcpu *v, gfn_t root);
/* Does any? */
bool spaces_any_shadow(const struct tf_vm *vm);

/* What a sample found: distinct pages touched, scaled to the whole space, in so many cycles. */
void choice_sampled(struct tf_vcpu *v, uint64_t cr3, uint64_t stack, uint64_t pages,
		    uint64_t cycles, const struct footprint *at);

void choice_destroy(struct tf_vm *vm);

/* ---- space.c; the choice's lock held ---- */

/* The unit of a space, made if it is missing: the one noted longest ago makes room. */
struct unit *space_get(struct choice *c, uint64_t cr3, uint64_t now);
/* NULL: not there. */
struct unit *space_find(struct choice *c, uint64_t cr3);
/* Another space has come to its CR3. */
void space_forget(struct choice *c, struct unit *u);
void space_set_mode(struct choice *c, struct unit *u, enum tf_mode m);

/* ---- sample.c ---- */

void sampler_destroy(struct tf_vcpu *v);

#endif
