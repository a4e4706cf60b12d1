/* The reference MMU: what a real CPU with a TLB could have shown the guest.
 *
 * It keeps the guest's memory as it must be, every value that a paging-structure entry has had and
 * when, and for each vCPU when it flushed what. An access may end in any way for which there is a
 * chain of entries, root to leaf, each valid at some time t0 <= t1 <= ... that no flush separates:
 *
 *	time ---------------------------------------------------------->
 *	PML4E  |==== value A ====|== value B =========================
 *	PDPTE       |======= value C ======|
 *	            t0  t1                  ^ a flush here forbids A..C afterwards
 *
 * Rules (Intel SDM vol. 3, 4.10; AMD APM vol. 2, 5.5): only present, unreserved entries with A set
 * are cached, a writable use needs D; paging-structure caches live until INVLPG or a flush of their
 * PCID, so all times lie in one epoch between such events, and in the parts of it in which the PCID
 * was in CR3, for entries are loaded for the current PCID alone (SDM 4.10.1); a TLB entry lives
 *until its address or its PCID is flushed; a global one until INVLPG, or a full flush. A fault
 *flushes its address (so that it does not recur), INVLPG all of a large page, in however many
 *pieces it is cached. What is not permitted by this is forbidden.
 *
 * One allowance: a global leaf may be one that the vCPU could have cached had it been on its
 * present root since its last flush of globals, without the faults that it took on others. An
 * operating system's globals are the same in all address spaces, so for it this is no difference;
 * only a guest that makes private pages global can tell (strict_globals forbids it).
 *
 * Long mode (4 and 5 levels) only. One thread.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef SUPPORT_REFMMU_H
#define SUPPORT_REFMMU_H

#include "oracle.h"

#define REF_CPUS    4
#define REF_PCIDS   8 /* the guest uses PCIDs 0 .. REF_PCIDS - 1 */
#define REF_REGIONS 16

struct ref_past { /* a value that an entry had in [start, end) */
	uint64_t value, start, end;
	struct ref_past *older;
};

/* A run of guest frames that were memory at some time. */
struct ref_region {
	uint64_t gfn, n;
	uint64_t *word;		/* contents */
	uint64_t *since;	/* since when, by word */
	struct ref_past **past; /* by word */
	uint8_t *flags;		/* by frame: REF_* */
};

#define REF_PRESENT    1 /* in a slot now */
#define REF_BACKED     2 /* has been touched */
#define REF_MUST_DIRTY 4 /* written in this round of the dirty log */
#define REF_MAY_DIRTY  8
#define REF_MUST_ACC   16

struct ref_segment { /* a root was in CR3 during [start, end) */
	uint64_t root, start, end;
};

struct ref_epoch { /* of one PCID, between flushes of its paging-structure caches */
	uint64_t start, end;
	struct ref_segment *seg;
	unsigned int segs, room;
};

struct ref_flush { /* of one address */
	uint64_t time, va;
	uint16_t pcid;
	bool globals;  /* INVLPG: globals too, and every upper entry of the PCID */
	bool fault;    /* a #PF: of the 4 KiB around the address alone, whatever the page's size */
	uint64_t root; /* under which it was */
};

struct ref_pcid {
	struct ref_epoch *epoch;
	unsigned int epochs, room;
	uint64_t flushed; /* all but globals */
};

struct ref_cpu {
	struct tf_regs r;
	struct ref_pcid pcid[REF_PCIDS];
	uint64_t flushed_all; /* globals too */
	struct ref_flush *log;
	unsigned int logs, room;
};

struct ref {
	unsigned int maxphyaddr, cpus;
	bool strict_globals;
	uint64_t now;
	struct ref_region region[REF_REGIONS];
	unsigned int regions;
	struct ref_cpu cpu[REF_CPUS];
};

#define REF_ANSWERS 16
#define REF_LOCS    64

struct ref_answer {
	unsigned int gpas, pfecs, locs;
	uint64_t gpa[REF_ANSWERS];
	uint32_t pfec[REF_ANSWERS];
	struct {
		uint64_t gpa;
		bool leaf;
	} loc[REF_LOCS];
};

void ref_init(struct ref *r, unsigned int maxphyaddr, unsigned int cpus);
void ref_fini(struct ref *r);

/* Memory that appears (zeroed), goes away, or becomes zero. */
void ref_add(struct ref *r, uint64_t gfn, uint64_t n);
void ref_remove(struct ref *r, uint64_t gfn, uint64_t n);
void ref_discard(struct ref *r, uint64_t gfn, uint64_t n);

/* The frame's flags, or NULL if it was never memory. */
uint8_t *ref_flags(struct ref *r, uint64_t gfn);
bool ref_is_memory(struct ref *r, uint64_t gfn);
/* The aligned word at gpa; all ones without memory. */
uint64_t ref_word(struct ref *r, uint64_t gpa);
void ref_write(struct ref *r, uint64_t gpa, uint64_t value);

void ref_set_regs(struct ref *r, unsigned int cpu, const struct tf_regs *regs);
void ref_write_cr0(struct ref *r, unsigned int cpu, uint64_t val);
void ref_write_cr3(struct ref *r, unsigned int cpu, uint64_t val);
void ref_write_cr4(struct ref *r, unsigned int cpu, uint64_t val);
void ref_invlpg(struct ref *r, unsigned int cpu, uint64_t va);
void ref_invpcid(struct ref *r, unsigned int cpu, unsigned int type, uint16_t pcid, uint64_t va);
void ref_fault(struct ref *r, unsigned int cpu, uint64_t va);

/* How may this access end: at these GPAs (with A, and D for a write, in place), or with these error
 * codes. loc[]: entries that are on some permitted path. deep: search old epochs of globals too. */
void ref_ask(struct ref *r, unsigned int cpu, uint64_t va, uint32_t flags, bool deep,
	     struct ref_answer *a);
/* What memory alone says now. True: allowed, at *gpa. */
bool ref_walk_now(struct ref *r, unsigned int cpu, uint64_t va, uint32_t flags, uint64_t *gpa,
		  uint32_t *pfec);

#endif
