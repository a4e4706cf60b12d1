/* The guest walker: what a CPU does with the guest's own tables for one access.
 *
 * Implements AMD APM vol. 2, ch. 5 and Intel SDM vol. 3, ch. 4: 32-bit, PAE, 4 and 5 levels; large
 * and global pages; CR0.WP, EFER.NXE, SMEP, SMAP with AC, protection keys; reserved bits by
 * MAXPHYADDR; canonical addresses; accessed and dirty bits by atomic compare-and-swap.
 * It knows nothing of shadows, slots or locks: memory comes through struct walk_mem.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef TABLES_WALK_H
#define TABLES_WALK_H

#include <twofold/twofold.h>

#define WALK_LEVELS 5

/* Guest memory as the walker sees it. */
struct walk_mem {
	/* Pointer to the naturally aligned entry at `at`, or NULL where there is no memory: the
	 * entry then reads as all ones and cannot be written. */
	void *(*entry)(struct walk_mem *m, gpa_t at);
	/* The walker changed an entry (A or D) of the page at that gfn; may be NULL. */
	void (*dirtied)(struct walk_mem *m, gfn_t table);
};

/* What the guest runs with. The host keeps CPUID's word in `maxphyaddr`. */
struct walk_cpu {
	struct tf_regs r;
	unsigned int maxphyaddr;
};

/* How many levels the guest's tables have: 0 without paging, 2, 3, 4 or 5. */
unsigned int walk_levels(const struct tf_regs *r);

struct walk_step {
	gpa_t at;	/* of the entry */
	uint64_t entry; /* as read, or as written back with A/D */
};

struct walk {
	unsigned int levels; /* of the guest's tables; 0: no paging, .gpa is the identity */
	unsigned int leaf;   /* level of the leaf: 0 = 4 KiB, 1 = 2 or 4 MiB, 2 = 1 GiB */
	unsigned int stop;   /* lowest level whose step[] was read (== leaf on success) */
	struct walk_step step[WALK_LEVELS]; /* by level; [levels-1] is the root table's entry */
	gpa_t gpa;			    /* of the access */
	bool writable, user, nx;	    /* over all levels */
	bool global;			    /* of the leaf, with CR4.PGE */
	bool dirty;			    /* of the leaf */
	uint8_t pkey;
	uint32_t pfec; /* the fault's error code when the walk failed */
};

/* Walk for one access. true: allowed. false: w->pfec is the #PF's error code (CR2 is the address).
 * set_ad: set A on every step and, on a write, D on the leaf, as the CPU would, only when the
 * access is allowed; a race with a writer restarts the walk, at most 64 times (then the access is
 * allowed and w->dirty and the steps tell what is set: the guest may try again). A non-canonical
 * address fails with pfec 0 and w->stop == WALK_LEVELS (the CPU raises #GP, not #PF). */
bool walk_gva(struct walk_mem *m, const struct walk_cpu *cpu, const struct tf_access *a,
	      bool set_ad, struct walk *w) TF_MUST_CHECK;

/* Do the rights that a walk found, over all levels, allow the access? If not, w->pfec. */
bool walk_allows(const struct walk_cpu *cpu, uint32_t flags, struct walk *w) TF_MUST_CHECK;

/* The rights that the entries above a leaf table gave: what a paging-structure cache keeps. */
struct walk_upper {
	unsigned int levels;
	uint64_t all, any; /* bits set in all of them, in any of them */
};

/* What a finished long-mode walk found above level 0. */
struct walk_upper walk_upper_of(const struct walk *w);

/* The last step of a long-mode walk, for a level 0 entry that the caller read: as walk_gva()
 * without set_ad, but that w->step[] has this entry alone, without its address. */
bool walk_last(const struct walk_cpu *cpu, const struct tf_access *a, const struct walk_upper *u,
	       uint64_t entry, struct walk *w) TF_MUST_CHECK;

#endif
