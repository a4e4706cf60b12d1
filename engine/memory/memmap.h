/* The memory map: the one truth about GPA to HPA for a VM.
 *
 * Slots say where there is memory and which guest node it belongs to; a frame is backed at first
 * touch, zeroed, 2 MiB at once where slot and host allow, or 1 GiB. A radix tree holds a word for
 * each frame and a struct block for each 2 MiB; a block has room for what each group hangs on it:
 *
 *	memmap.dir[512] -> page of 512 pointers -> page of blocks -> word: page of 512 struct frame
 *	                                                          -> by group: page of 512
 *	                                                             struct gframe, and a chain
 *
 * A block takes 64 bytes for up to two groups, more for more: so the tree reaches 32 TiB with two
 * groups, and 512 GiB with 256. Where memory may be backed by 1 GiB, the blocks of a GiB share a
 * struct gib, which sums up what they have, so that one look tells whether one leaf can map it.
 *
 * Locks. Slots, and ranges while they are removed or logged: the map's lock (rank 10). Backing a
 * frame and taking it away: the block's (rank 15); backing needs no other, but for a whole GiB the
 * GiB's (rank 13), under which each of its blocks is locked in turn. The tree grows by
 * compare-and-swap and never shrinks while the VM lives, so anybody may follow it. What a group
 * hangs on a block belongs to the group's lock.
 *
 * A frame's life is in its word, which is the generation that a fault checks:
 *
 *	empty --(back)--> BACKED --(take)--> LEAVING --(gone)--> empty
 *
 * Who installs an entry reads the word under its group's lock. A removal first makes the word
 * LEAVING and then visits each group under its lock, so what was installed from an old word is
 * found; the frame cannot be backed anew until every group was visited and flushed. A reader reads
 * the word once: a second look may find the address gone.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMORY_MEMMAP_H
#define MEMORY_MEMMAP_H

#include "base/atomic.h"
#include "base/lock.h"

#include <twofold/twofold.h>

#define BLOCK_FRAMES 512u
#define GIB_BLOCKS   512u
#define GIB_FRAMES   (GIB_BLOCKS * BLOCK_FRAMES)

/* frame.word: host frame address and these. */
#define FRAME_BACKED	 (UINT64_C(1) << 0)
#define FRAME_TRACKED	 (UINT64_C(1) << 1) /* a shadowed guest table, trusted to be unchanged */
#define FRAME_LOG	 (UINT64_C(1) << 2) /* in a dirty-logged range */
#define FRAME_DIRTY	 (UINT64_C(1) << 3) /* written in this round of the log */
#define FRAME_ACCESSED	 (UINT64_C(1) << 4) /* an accessed bit saved from an entry that went away */
#define FRAME_PIECE	 (UINT64_C(1) << 5) /* of a 2 MiB page that goes back as a whole */
#define FRAME_UNTRACKING (UINT64_C(1) << 6) /* somebody visits the groups to end the trust */
#define FRAME_LEAVING	 (UINT64_C(1) << 7) /* taken away; some CPU may still use it */
#define FRAME_GATE	 (UINT64_C(1) << 8) /* nested tables leave it out: modes/gate.c */
#define FRAME_ADDR	 UINT64_C(0x000ffffffffff000)

struct frame {
	uint64_t word;
};

/* What one group hangs on a frame. */
struct gframe {
	uint32_t rmap;	  /* 4 KiB shadow leaves that map it: chain of spte ids */
	uint32_t shadows; /* shadow tables of the guest table in it: chain of shadow ids, and: */
};

#define GFRAME_TRUST 0x80000000u /* one of them trusts the table, or is about to */

/* A GiB of guest memory: sums over its blocks. A 1 GiB page may be given back in parts of 2 MiB; it
 * has a leaf of its own while it is complete. */
struct gib {
	uint32_t lock;	/* rank 13 */
	uint32_t parts; /* blocks whose 2 MiB are their part of the GiB's page; atomic */
	uint32_t live;	/* atomic */
	uint32_t held;	/* atomic */
};

struct block {
	struct frame *frames; /* 512 */
	struct gib *gib;      /* NULL: nothing is backed by 1 GiB; set before `frames` */
	hpa_t large;	      /* the 2 MiB page behind it, or 0 (block lock) */
	uint16_t live;	      /* frames that are backed or leaving (block lock) */
	bool is_part;	      /* `large` is its part of the GiB's page (block lock) */
	uint32_t held;	/* reasons, atomic, to map it by 4 KiB: tracked, gate, logged, leaving */
	uint32_t index; /* of the block: gfn >> 9; atomic, set before `frames` */
	uint32_t lock;	/* rank 15 */
	/* By group: pointers to 512 struct gframe, then heads of chains of 2 MiB shadow leaves. */
	struct gframe *gframes[];
};

struct slot {
	gfn_t start, end;
	unsigned int node;
};

#define MEMMAP_SLOTS 96 /* 64 nodes, one of them across a hole, and room to cut */

struct memmap {
	struct lock lock;
	struct tf_host *h;
	uint64_t max_gfn; /* first frame number past MAXPHYADDR, or past the tree's reach */
	bool large;
	struct gib **gibs;  /* a page of pointers to pages of them; NULL: none is wanted */
	uint32_t slots_seq; /* odd while the slots change: readers without the lock try again */
	unsigned int slots_n;
	struct slot slot[MEMMAP_SLOTS]; /* sorted, disjoint */
	unsigned int groups;		/* that a block has room for */
	unsigned int block_shift;	/* log2 of a block's bytes */
	void ***dir;			/* one page */
	uint64_t pages;			/* of the tree; atomic */
	uint64_t block_wait;		/* cycles spent waiting for blocks; atomic */
};

/* `order`: of the largest pages that frames are backed by. */
enum tf_status memmap_init(struct memmap *m, struct tf_host *h, unsigned int maxphyaddr,
			   unsigned int order, unsigned int groups) TF_MUST_CHECK;
/* Free the tree and every backing frame; no vCPU runs. */
void memmap_destroy(struct memmap *m);

/* Slots; the map's lock is held. */
enum tf_status memmap_add(struct memmap *m, gfn_t start, gfn_t end,
			  unsigned int node) TF_MUST_CHECK;
/* Is [start, end) all in slots? */
bool memmap_covers(const struct memmap *m, gfn_t start, gfn_t end);
/* Would cutting [start, end) out of the slots fit into the table? */
bool memmap_can_cut(const struct memmap *m, gfn_t start, gfn_t end);
void memmap_cut(struct memmap *m, gfn_t start, gfn_t end);

/* Is there memory? May be asked without the map's lock. */
bool memmap_has(const struct memmap *m, gfn_t f);

/* Make the descriptor of a frame, memory or not. */
enum tf_status memmap_describe(struct memmap *m, gfn_t f) TF_MUST_CHECK;

/* What backing a frame did, for the counters. */
struct backed {
	unsigned int frames; /* 0: somebody else was faster */
	bool large, huge;    /* all of a block at once; a GiB */
	unsigned int node;
};

/* Back the frame if it is memory and not backed yet; waits while its last frame is leaving. At most
 * the map's lock may be held. TF_E_NOENT: no memory there. TF_E_NOMEM: nothing changed. */
enum tf_status memmap_back(struct op *op, struct memmap *m, gfn_t f,
			   struct backed *did) TF_MUST_CHECK;

/* Removal, with the map's lock held throughout: take the frame (returns its word; FRAME_BACKED
 * clear: nothing was there), visit the groups, flush every vCPU, then let it be gone: given back to
 * the host, and free to be backed anew. */
uint64_t memmap_take(struct op *op, struct memmap *m, gfn_t f);
void memmap_gone(struct op *op, struct memmap *m, gfn_t f, uint64_t old_word);

/* Call with the block's lock held: the frame stays. */
static inline void block_lock(struct op *op, struct memmap *m, struct block *b)
{
	uint64_t waited = lock_word_take(op, &b->lock, RANK_BLOCK);
	if (__builtin_expect(waited != 0, 0))
		__atomic_fetch_add(&m->block_wait, waited, __ATOMIC_RELAXED);
}

static inline void block_unlock(struct op *op, struct block *b)
{
	lock_word_drop(op, &b->lock, RANK_BLOCK);
}

static inline struct block *memmap_block(const struct memmap *m, gfn_t f)
{
	if (f.v >= m->max_gfn)
		return NULL;
	const unsigned int per = TF_PAGE_SHIFT - m->block_shift; /* log2 of the blocks in a page */
	void **mid = __atomic_load_n(&m->dir[f.v >> (18 + per) & 511], __ATOMIC_ACQUIRE);
	if (!mid)
		return NULL;
	char *page = __atomic_load_n(&mid[f.v >> (9 + per) & 511], __ATOMIC_ACQUIRE);
	if (!page)
		return NULL;
	return (struct block *)(page + ((f.v >> 9 & ((1u << per) - 1)) << m->block_shift));
}

static inline gfn_t block_first(const struct block *b)
{
	return gfn((uint64_t)__atomic_load_n(&b->index, __ATOMIC_RELAXED) << 9);
}

static inline struct frame *block_frame(const struct block *b, gfn_t f)
{
	struct frame *all = __atomic_load_n(&b->frames, __ATOMIC_ACQUIRE);
	return all ? &all[f.v & (BLOCK_FRAMES - 1)] : NULL;
}

/* The frame's descriptor, or NULL where none was ever needed. */
static inline struct frame *memmap_frame(const struct memmap *m, gfn_t f)
{
	struct block *b = memmap_block(m, f);
	return b ? block_frame(b, f) : NULL;
}

/* What group g hangs on the frame, or NULL where it never hung anything. */
static inline struct gframe *block_gframe(const struct block *b, unsigned int g, gfn_t f)
{
	struct gframe *all = __atomic_load_n(&b->gframes[g], __ATOMIC_ACQUIRE);
	return all ? &all[f.v & (BLOCK_FRAMES - 1)] : NULL;
}

/* The chain of the group's 2 MiB shadow leaves that map the block. */
static inline uint32_t *block_rmap(const struct memmap *m, struct block *b, unsigned int g)
{
	return (uint32_t *)&b->gframes[m->groups] + g;
}

/* Make what block_gframe() looks for. NULL: no memory. Group's lock held, the block described. */
struct gframe *memmap_gframe(struct memmap *m, struct block *b, unsigned int g, unsigned int node,
			     gfn_t f);

static inline uint64_t frame_word(const struct frame *f)
{
	return __atomic_load_n(&f->word, __ATOMIC_ACQUIRE);
}

static inline bool frame_is_backed(const struct frame *f)
{
	return f && (frame_word(f) & FRAME_BACKED);
}

/* The flags of a frame as they are now with the address that was read before: a removal may have
 * taken the address meanwhile, but keeps the frame until it has had the group's lock. Group's lock
 * held since `word` was read. */
static inline uint64_t frame_word_again(const struct frame *f, uint64_t word)
{
	return (word & (FRAME_ADDR | FRAME_BACKED)) |
	       (frame_word(f) & ~(FRAME_ADDR | FRAME_BACKED));
}

static inline hpa_t word_hpa(uint64_t word)
{
	return hpa(word & FRAME_ADDR);
}

/* May an entry that maps the frame be writable? (A dirty-logged frame only once it is dirty.) */
static inline bool word_is_writable(uint64_t word)
{
	if (word & FRAME_TRACKED)
		return false;
	return !(word & FRAME_LOG) || (word & FRAME_DIRTY);
}

/* Could the whole block be mapped by one 2 MiB entry, if it were not for so many holds? Group's
 * lock held, or in a section. `held` is read first: a frame that was leaving lets go of it when the
 * block is not whole any more. */
static inline bool block_is_large_but(const struct block *b, uint32_t holds)
{
	return __atomic_load_n(&b->held, __ATOMIC_ACQUIRE) == holds &&
	       __atomic_load_n(&b->live, __ATOMIC_ACQUIRE) == BLOCK_FRAMES &&
	       __atomic_load_n(&b->large.v, __ATOMIC_ACQUIRE);
}

/* Can it be? */
static inline bool block_is_large(const struct block *b)
{
	return block_is_large_but(b, 0);
}

/* Could one 1 GiB entry map all of the block's GiB, if it were not for so many holds on its blocks?
 * As above: and its parts are told before the frames that make it whole are. */
static inline bool block_is_huge_but(const struct block *b, uint32_t holds)
{
	const struct gib *g = b->gib;
	return g && __atomic_load_n(&g->held, __ATOMIC_ACQUIRE) == holds &&
	       __atomic_load_n(&g->live, __ATOMIC_ACQUIRE) == GIB_FRAMES &&
	       __atomic_load_n(&g->parts, __ATOMIC_ACQUIRE) == GIB_BLOCKS;
}

/* The 1 GiB page, where block_is_huge_but() says that there is one. */
static inline hpa_t block_huge(const struct block *b)
{
	return hpa(b->large.v & ~(((uint64_t)GIB_FRAMES << TF_PAGE_SHIFT) - 1));
}

static inline void block_hold(struct block *b)
{
	struct gib *g = b->gib;
	__atomic_fetch_add(&b->held, 1, __ATOMIC_ACQ_REL);
	if (g)
		__atomic_fetch_add(&g->held, 1, __ATOMIC_ACQ_REL);
}

static inline void block_unhold(struct block *b)
{
	struct gib *g = b->gib;
	__atomic_fetch_sub(&b->held, 1, __ATOMIC_ACQ_REL);
	if (g)
		__atomic_fetch_sub(&g->held, 1, __ATOMIC_ACQ_REL);
}

#endif
