/* The model CPU's walks: between hw.c and hw_walk.c.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef SUPPORT_HW_WALK_H
#define SUPPORT_HW_WALK_H

#include "hw.h"

enum hw_walk_end {
	HW_W_OK,
	HW_W_FAULT,  /* #PF that the guest gets (nested) */
	HW_W_EXIT,   /* #PF that exits (shadow) */
	HW_W_NESTED, /* nested fault */
	HW_W_GP,
};

struct hw_walk {
	enum hw_walk_end end;
	uint64_t hpa, gpa; /* of the access; HW_W_NESTED: gpa of the fault */
	uint32_t pfec, nested_flags;
	bool absent;   /* HW_W_EXIT: no table held a present entry */
	bool in_table; /* HW_W_NESTED: while reading a guest table */
	bool from_tlb;
};

/* Translate one access. `quiet`: speculatively, no faults count. cpu->guest is held. */
void hw_walk(struct hw_cpu *c, uint64_t va, uint32_t flags, bool quiet, struct hw_walk *w);

/* The PCID that entries are tagged with now. */
uint16_t hw_pcid(const struct hw_cpu *c);
/* What INVLPG does to the caches. */
void hw_drop_va(struct hw_cpu *c, uint64_t va, int pcid, bool globals);

/* Note the first broken rule. */
void hw_break(struct hw *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hw_frame_is_table(struct hw *h, uint64_t at);
void hw_frame_is_data(struct hw *h, uint64_t at);
/* How often a frame was freed; the same of what a translation of this size maps, whose parts of
 * 2 MiB go each at its own time. */
uint32_t hw_gen(struct hw *h, uint64_t at);
uint32_t hw_gen_of(struct hw *h, uint64_t at, unsigned int shift);

#endif
