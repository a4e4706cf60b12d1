/* The memory map: the one truth about GPA to HPA for a VM.
 *
 * Slots say where there is memory and which guest node it belongs to; a frame is backed at first
 * touch, zeroed, 2 MiB at once where slot and host allow. A radix tree holds a descriptor for each
 * frame and for each 2 MiB block:
 *
 *	memmap.dir[512] -> page of 512 pointers -> page of 64 struct block -> 2 pages of struct
 *frame (32 TiB)            (64 GiB each)          (128 MiB each)              (2 MiB a block)
 *
 * Locks. Slots, the tree's growth, backing and removal: the map's lock (rank 10). A reader under a
 * group's lock may follow the tree and read frame.word without the map's lock: the tree never
 * shrinks while the VM lives, and a removal first clears the word and then visits the group under
 * its lock, so what a reader installs from an old word is found and removed. A reader reads the
 *word once: a second look may find the address gone. The other members of frame and block belong to
 *the group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMORY_MEMMAP_H
#define MEMORY_MEMMAP_H

#include "base/atomic.h"
#include "base/lock.h"

#include <twofold/twofold.h>

#define BLOCK_FRAMES 512u

/* frame.word: host frame address and these. */
#define FRAME_BACKED   (UINT64_C(1) << 0)
#define FRAME_TRACKED  (UINT64_C(1) << 1) /* a shadowed guest table, trusted to be unchanged */
#define FRAME_LOG      (UINT64_C(1) << 2) /* in a dirty-logged range */
#define FRAME_DIRTY    (UINT64_C(1) << 3) /* written in this round of the log */
#define FRAME_ACCESSED (UINT64_C(1) << 4) /* an accessed bit saved from an entry that went away */
#define FRAME_PIECE    (UINT64_C(1) << 5) /* of a 2 MiB page that goes back as a whole */
#define FRAME_ADDR     UINT64_C(0x000ffffffffff000)

struct frame {
	uint64_t word;
	uint32_t rmap;	  /* 4 KiB shadow leaves that map it: chain of spte ids */
	uint32_t shadows; /* shadow tables of the guest table in it: chain of shadow ids */
};

struct block {
	struct frame *half[2]; /* of 256 frames each; both or none */
	hpa_t large;	       /* the 2 MiB page behind it, or 0 */
	uint32_t live;	       /* backed frames (map's lock) */
	uint32_t rmap;	       /* 2 MiB shadow leaves that map it */
	uint32_t held;	       /* frames that must be mapped by 4 KiB: tracked or logged */
	uint32_t index;	       /* of the block: gfn >> 9 */
	uint64_t spare[3];
};

struct slot {
	gfn_t start, end;
	unsigned int node;
};

#define MEMMAP_SLOTS 64

struct memmap {
	struct lock lock;
	struct tf_host *h;
	uint64_t max_gfn; /* first frame number past MAXPHYADDR */
	bool large;
	uint32_t slots_seq; /* odd while the slots change: readers without the lock try again */
	unsigned int slots_n;
	struct slot slot[MEMMAP_SLOTS]; /* sorted, disjoint */
	struct block ***dir;		/* one page */
	uint64_t pages;			/* of the tree */
	uint64_t frames_backed, large_backed;
};

enum tf_status memmap_init(struct memmap *m, struct tf_host *h, unsigned int maxphyaddr,
			   bool large) TF_MUST_CHECK;
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

/* Make the descriptor of a frame, memory or not. Map's lock held. */
enum tf_status memmap_describe(struct memmap *m, gfn_t f) TF_MUST_CHECK;

/* Back the frame if it is memory and not backed yet. Takes the map's lock.
 * TF_E_NOENT: no memory there. TF_E_NOMEM: nothing changed. */
enum tf_status memmap_back(struct op *op, struct memmap *m, gfn_t f) TF_MUST_CHECK;
/* The same with the map's lock held. */
enum tf_status memmap_back_locked(struct memmap *m, gfn_t f) TF_MUST_CHECK;

/* Removal, in three steps with the map's lock held throughout: take the frame's word away (returns
 * it; FRAME_BACKED clear: nothing was there), visit the group, then owe the page to op, which must
 * be flushed before the map's lock is dropped. */
uint64_t memmap_take(struct memmap *m, gfn_t f);
void memmap_release(struct op *op, struct memmap *m, gfn_t f, uint64_t old_word);

static inline struct block *memmap_block(const struct memmap *m, gfn_t f)
{
	if (f.v >= m->max_gfn)
		return NULL;
	struct block ***dir = __atomic_load_n(&m->dir, __ATOMIC_ACQUIRE);
	struct block **mid = __atomic_load_n(&dir[f.v >> 24 & 511], __ATOMIC_ACQUIRE);
	if (!mid)
		return NULL;
	struct block *b = __atomic_load_n(&mid[f.v >> 15 & 511], __ATOMIC_ACQUIRE);
	return b ? &b[f.v >> 9 & 63] : NULL;
}

static inline struct frame *block_frame(const struct block *b, gfn_t f)
{
	struct frame *half = __atomic_load_n(&b->half[f.v >> 8 & 1], __ATOMIC_ACQUIRE);
	return half ? &half[f.v & 255] : NULL;
}

/* The frame's descriptor, or NULL where none was ever needed. */
static inline struct frame *memmap_frame(const struct memmap *m, gfn_t f)
{
	struct block *b = memmap_block(m, f);
	return b ? block_frame(b, f) : NULL;
}

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

/* Can the whole block be mapped by one 2 MiB entry? Group's lock held. */
static inline bool block_is_large(const struct block *b)
{
	return b->large.v && __atomic_load_n(&b->live, __ATOMIC_ACQUIRE) == BLOCK_FRAMES &&
	       b->held == 0;
}

#endif
