/* A walk, explained: each entry that the hardware reads for one access, in order, and what either
 * kind of tables lacks for it.
 *
 * On a nested root the hardware walks in two dimensions: before it can read an entry of the guest's
 * tables it translates that entry's guest-physical address through the nested tables, and at the
 * end the address of the access itself:
 *
 *	guest's entry   PML4E   PDPTE    PDE     PTE    access
 *	                  |       |       |       |       |
 *	nested PML4E      1       6      11      16      21
 *	nested PDPTE      2       7      12      17      22
 *	nested PDE        3       8      13      18      23
 *	nested PTE        4       9      14      19      24
 *	                  |       |       |       |       |
 *	the entry         5      10      15      20     data
 *
 * On a shadow root it reads one entry for each level. Large pages make either walk shorter. Caches
 * are left out: it is the walk of a CPU whose TLB and paging-structure caches are empty. Writes of
 * accessed and dirty bits are not counted.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef TWOFOLD_EXPLAIN_H
#define TWOFOLD_EXPLAIN_H

#include <twofold/twofold.h>

#define TF_LEVELS_MAX	     5u
#define TF_NESTED_LEVELS_MAX 4u

enum tf_kind {
	TF_KIND_EMPTY, /* nothing there: the walk ends */
	TF_KIND_TABLE,
	TF_KIND_LEAF,
	TF_KIND_RESERVED, /* present, but a reserved bit is set: the walk ends */
};

/* What an entry says, whatever its format. */
enum {
	TF_BIT_R = 1u << 0,
	TF_BIT_W = 1u << 1,
	TF_BIT_X = 1u << 2,
	TF_BIT_U = 1u << 3, /* not of nested tables */
	TF_BIT_A = 1u << 4,
	TF_BIT_D = 1u << 5, /* of leaves */
	TF_BIT_G = 1u << 6, /* of leaves of the guest, with CR4.PGE */
};

/* One entry of a table. */
struct tf_entry {
	uint64_t at; /* the guest's: a GPA; nested and shadow ones: an HPA */
	uint64_t value;
	uint8_t level; /* 0: that of 4 KiB pages */
	uint8_t kind;  /* enum tf_kind */
	uint8_t bits;  /* TF_BIT_*; of EMPTY and RESERVED: 0 */
};

/* What the memory map says of a frame. */
enum {
	TF_FRAME_MEMORY = 1u << 0,  /* it lies in a slot */
	TF_FRAME_BACKED = 1u << 1,  /* it has a host frame */
	TF_FRAME_TRACKED = 1u << 2, /* a shadowed guest table: nobody may write it unseen */
	TF_FRAME_LOGGED = 1u << 3,  /* the log waits for its next write */
	TF_FRAME_GATE = 1u << 4,    /* nested tables leave it out (twofold/choice.h) */
};

enum tf_nested_end {
	TF_NESTED_MAPPED,
	TF_NESTED_EMPTY, /* no leaf: a nested fault */
	/* A leaf without the right that is needed: a nested fault. Reads of the guest's entries
	 * need write access where nested tables have A and D (APM vol. 2, 15.25.6; SDM vol. 3,
	 * 29.3.3.2). */
	TF_NESTED_DENIED,
	TF_NESTED_READ_ONLY, /* the guest's entry is read, A or D cannot be set in it: likewise */
};

/* The nested walk for one guest-physical address. */
struct tf_nested_walk {
	gpa_t at;
	uint32_t frame; /* TF_FRAME_* of the address */
	unsigned int n; /* entries read now */
	struct tf_entry entry[TF_NESTED_LEVELS_MAX];
	enum tf_nested_end end;
	hpa_t to; /* of the address: as mapped, else as it will be; 0: it is not backed */
	/* Entries that are read once the fault is mended; n where none is needed, or where no
	 * memory is. At most that many for a frame that is not backed yet. */
	unsigned int filled;
};

/* How the walk of the guest's own tables ends. */
enum tf_walk_end {
	TF_WALK_MAPPED,
	TF_WALK_DEVICE, /* mapped to where no memory is */
	/* These are faults of the guest, #PF but for the last: */
	TF_WALK_ABSENT,	  /* its last entry is not present */
	TF_WALK_RESERVED, /* its last entry has a reserved bit set */
	TF_WALK_DENIED,	  /* mapped, but not for this access */
	TF_WALK_NO_TABLE, /* its next entry lies where no memory is */
	TF_WALK_NOT_CANONICAL,
};

enum tf_shadow_table {
	TF_SHADOW_MISSING,
	TF_SHADOW_UNSYNC,  /* the guest may write the table behind it; re-read at flushes */
	TF_SHADOW_TRACKED, /* a write to the table behind it faults; trusted until then */
	TF_SHADOW_DIRECT,  /* stands for a large guest page, in smaller pieces */
};

/* One level of shadow tables. */
struct tf_shadow_step {
	struct tf_entry entry; /* .at is 0 if the table is missing */
	enum tf_shadow_table table;
	gfn_t of;	      /* the guest table behind it; DIRECT: the first frame mapped */
	uint32_t frame;	      /* TF_FRAME_* of that */
	unsigned int present; /* entries that are there in the table */
	bool reached;	      /* the hardware's walk reads this entry */
	bool old;	      /* made from a guest entry that has changed since */
};

enum tf_shadow_end {
	TF_SHADOW_NONE,	    /* such a guest (32-bit, PAE, no paging, CR0.WP = 0) runs nested */
	TF_SHADOW_MAPPED,   /* the access goes through, though it may do so by an old entry */
	TF_SHADOW_MENDED,   /* a #PF, which fills what is missing */
	TF_SHADOW_DEVICE,   /* a #PF, which ends at a device */
	TF_SHADOW_INJECTED, /* a #PF, which is the guest's own */
};

struct tf_explanation {
	struct tf_access access;
	enum tf_mode running; /* whose tables the vCPU's hardware walks now */

	/* ---- the guest's tables ---- */
	const char *format; /* of them */
	unsigned int levels;
	unsigned int n; /* entries read */
	struct tf_entry guest[TF_LEVELS_MAX];
	/* PAE on EPT: guest[0] is in a register since CR3 was loaded: no reference. */
	bool first_is_register;
	enum tf_walk_end end;
	uint32_t pfec;	    /* of a #PF */
	uint64_t page_size; /* MAPPED, DEVICE, DENIED: of the guest's leaf; 0 without paging */
	uint8_t bits;	    /* ... TF_BIT_* over all levels; A and D of the leaf */
	/* References of a CPU that runs these tables by itself. (It has PAE's first level in
	 * registers.) */
	unsigned int native;

	/* ---- on a nested root ---- */
	const char *nested_format;
	struct tf_nested_walk behind[TF_LEVELS_MAX]; /* guest[i]'s address; n of them, or one more
						      * with TF_WALK_NO_TABLE */
	struct tf_nested_walk data;		     /* MAPPED, DEVICE: the access's own address */
	unsigned int nested;	    /* references now, up to the first nested fault */
	unsigned int nested_filled; /* when all those faults are mended */
	bool nested_mapped;	    /* there is no such fault */

	/* ---- on a shadow root ---- */
	enum tf_shadow_end shadow_end;
	unsigned int shadow_n;
	struct tf_shadow_step shadow[TF_LEVELS_MAX]; /* those that the hardware reads, then those
						      * that would be filled */
	hpa_t shadow_to;			     /* SHADOW_MAPPED */
	unsigned int shadow_refs;		     /* references now */
	unsigned int shadow_filled;		     /* when the fault is mended; else as now */
};

/* Explain the walk for an access of a guest with these registers. Changes nothing: no accessed bit,
 * no fill, no counter. From the vCPU's own CPU, out of the guest. */
void tf_explain(struct tf_vcpu *v, const struct tf_regs *r, const struct tf_access *a,
		struct tf_explanation *out);

#endif
