/* The meter: what each vCPU does with its time, told to the engine, which chooses the mode by it.
 *
 * Lock: none. A vCPU's meter belongs to its own CPU; the report reads its sums from another.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VIRT_METER_H
#define HV_VIRT_METER_H

#include <twofold/choice.h>

#include "cpu/pmc.h"
#include "virt/pace.h"

struct vcpu;

/* Where the number of TLB misses comes from. */
struct meter_source {
	const char *name;
	/* Begin a measurement with this entry, until end(); false: there is nothing to measure.
	 * NULL: this source needs none. */
	bool (*begin)(struct vcpu *v);
	/* The guest ran for so many cycles since begin(). */
	void (*end)(struct vcpu *v, uint64_t cycles);
	/* Tell what was counted since the last call, or NULL. False: it counts nothing; another
	 * source is to be taken. */
	bool (*read)(struct vcpu *v, struct tf_reading *r);
};

/* Sums at the beginning of a reading; what a reading tells is the difference to those at its end.
 */
struct meter_sums {
	uint64_t now;
	uint64_t exits, exit_cycles;
	uint64_t shadow_exits, shadow_cycles; /* of kinds that nested mode has not */
	uint64_t cr3_writes, invlpgs, faults;
	uint64_t fills, fill_cycles;
	uint64_t spent;
	uint64_t guest;
};

/* Of the vCPU's exits, what is the meter's. */
struct meter_part {
	uint64_t exits, cycles;
	uint64_t shadow_exits, shadow_cycles;
};

struct meter {
	uint64_t look; /* vcpu_awake() at which meter_exit() has something to do; 0: always */
	const struct meter_source *source;
	struct pace pace;
	struct window window; /* its clock, and all times below unless they say otherwise: `now` */

	/* The clock at the beginning of the exit that it looked at last; that exit, by its TSC; and
	 * of the sums below, what they were then. */
	uint64_t now;
	uint64_t exit_tsc;
	uint64_t exit_spent, exit_stolen;
	struct meter_part exit_work;

	bool own;	     /* the current exit is the meter's alone */
	bool samples;	     /* a sample is under way */
	uint8_t begins;	     /* what begins with the next entry */
	bool waits;	     /* a sample is to begin when the guest comes back to waits_for */
	uint64_t waits_for;  /* an address space */
	unsigned int writes; /* of CR3, since then */
	bool follows;	     /* a window was cut short by one, and begins anew */
	bool followed;	     /* ... and had done so already */
	bool armed;	     /* the real timer is set to `timer` */
	uint64_t timer;	     /* host TSC, for guests that do not exit; 0: none */
	unsigned int skip;   /* exits to let pass before the next sample */
	uint64_t random;

	uint64_t due;	    /* the reading ends */
	uint64_t period;    /* of the next one */
	uint64_t known_ppm; /* what nested tables lose, by the last one */
	unsigned int hurry; /* samples that do not wait for the budget, */
	uint64_t hurried;   /* and when they were granted last */
	/* Of what no reading was told yet. On nested tables the next one stands for that time, on
	 * shadow tables, where all is counted, this is a part of it. */
	uint64_t untold;
	struct tf_reading left;
	struct meter_sums base;
	uint64_t covered;   /* how long its window counted; 0: it had none yet */
	bool quiet;	    /* the last reading told of next to no TLB misses */
	uint64_t window_at; /* the next window, sample: not before */
	uint64_t sample_at;
	uint64_t sample_began; /* or it waits since then */
	uint64_t sample_guest; /* v->guest_cycles, and the number of exits, when it began */
	uint64_t sample_exits;
	struct pmc pmc;
	uint64_t event_cost;	   /* of an exit in a window, about */
	uint64_t traced_tsc;	   /* when the last `sample` event was sent */
	struct tf_verdict verdict; /* of the last reading */
	bool tells;		   /* it is to be told at the next exit */

	uint64_t gates, gate_cycles; /* exits by which an address space went to shadow tables */
	uint64_t fills, fill_cycles; /* #PF on shadow roots that were not the guest's */
	uint64_t faults;	     /* ... that were */
	uint64_t sent;		     /* cycles for sending events; in no other sum */
	uint64_t stolen; /* cycles of metering and of exits while the machine was taken away; as
			    that */
	struct meter_part cut;	    /* of these, what was in exits; only the cycles */
	uint64_t told_work;	    /* work.cycles at the last entry */
	struct meter_part own_sums; /* exits that were the meter's alone */
	struct meter_part work;	    /* within other exits; only the cycles */
	uint64_t sample_count, window_count;
};

/* Before its first entry; own CPU, as all that follow. */
void meter_start(struct vcpu *v);
/* Tell what is to be told of the last reading, and send some of what waits on the console. */
void meter_send(struct vcpu *v);
/* An exit was handled, and v->awake >= look. */
void meter_exit(struct vcpu *v);
/* Right before an entry, and `begins`. */
void meter_enter(struct vcpu *v);
/* The current exit was made by the meter's timer. */
void meter_timed(struct vcpu *v);
/* An exit ends by an entry, after so many cycles. */
void meter_entry(struct vcpu *v, uint64_t cycles);
/* It goes to sleep; it woke up. */
void meter_sleep(struct vcpu *v);
void meter_wake(struct vcpu *v);
/* A page fault, a write of CR3, an INVLPG of the guest on a nested root: all but the writes of CR3
 * of a watched vCPU exit for the meter alone. */
void meter_event(struct vcpu *v, enum window_event e);
/* CR3 is about to be written. */
void meter_cr3(struct vcpu *v, uint64_t from, uint64_t to);
/* It goes over to a root of the other kind. */
void meter_root(struct vcpu *v);
/* What the meter wants to see: INTERCEPT_*. */
uint8_t meter_intercepts(const struct vcpu *v);

#endif
