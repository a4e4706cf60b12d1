/* Shadow tables: what one is, and the calls that the files of this mode share.
 *
 * A struct shadow is one shadow page table of one guest table page in one role. For each of its 512
 * entries there may be an spte, known by its id (shadow id << 9 | index):
 *
 *	struct shadow --spt--->  [512 sptes]     walked by the hardware (x86-64 format, GVA to HPA)
 *	       |------snap-->    [512 entries]   the guest entry that each present spte came from
 *	       |------links->    [512 x 8 bytes] chain of the frame (leaf) or of the child (table)
 *	       |------present    bitmap of present sptes; a re-read looks at these alone
 *	       `------kids       bitmap of children with something unsync in or below them
 *
 * Every spte is on one chain: a 4 KiB leaf on its frame's rmap, a 2 MiB leaf on its block's rmap, a
 * table on its child's parents. A guest table that is tracked cannot be written without a fault;
 * one that is not is unsync: the guest writes it freely, and the guest's next flush re-reads it.
 * Tracking is for the whole VM, trust (`tracked` here) for each group: track.c.
 *
 * A link to a table may be closed: the hardware finds nothing there (the spte is zero), but its bit
 * in `present`, snap and chain stay. What is below need not be fresh: no re-read comes there. The
 * fault that needs the link reads first, and opens it.
 *
 * A direct shadow stands for no guest table: it maps the memory of one large guest page in smaller
 * pieces, all permissive; the rights are in the spte above it.
 *
 * Everything here is protected by the group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef MODES_SHADOW_H
#define MODES_SHADOW_H

#include "groups/group.h"

#define SPTE_P	  (UINT64_C(1) << 0)
#define SPTE_W	  (UINT64_C(1) << 1)
#define SPTE_U	  (UINT64_C(1) << 2)
#define SPTE_A	  (UINT64_C(1) << 5)
#define SPTE_D	  (UINT64_C(1) << 6)
#define SPTE_PS	  (UINT64_C(1) << 7)
#define SPTE_G	  (UINT64_C(1) << 8)
#define SPTE_PKEY (UINT64_C(15) << 59)
#define SPTE_NX	  (UINT64_C(1) << 63)
#define SPTE_ADDR UINT64_C(0x000ffffffffff000)

#define GPTE_P SPTE_P
#define GPTE_A SPTE_A

#define SHADOW_SHIFT   9
#define SHADOW_ENTRIES 512u

/* Entries re-read in vain before a table is tracked: about what one exit costs. A write to a
 * tracked table doubles its patience, up to the limit. */
#define SHADOW_PATIENCE	    2048u
#define SHADOW_PATIENCE_MAX 65536u
/* Entries that the vCPUs of a group together re-read when they come from nested mode, where nothing
 * was tracked for them: the top of the tree and little more. The rest waits for faults, each of
 * which may read so many times as much, about what its exit cost: so the stop is short, and so is
 * every fault. (Nobody has looked at these tables for long: an entry costs several times what it
 * costs where they are read at each flush.) */
#define SHADOW_ARRIVAL (SHADOW_PATIENCE / SHADOW_OPENING)
#define SHADOW_OPENING 4u

/* Entries, aligned: the neighbours of a fault in a table that is in use. */
#define SHADOW_WINDOW 16u

/* What else than the guest frame a shadow depends on. */
struct role {
	uint8_t level;	/* 0: maps 4 KiB pages */
	uint8_t direct; /* stands for a large guest page */
	uint8_t nxe;	/* EFER.NXE: bit 63 is not reserved */
	uint8_t pkey;	/* direct only: the large page's key */
};

struct link {
	uint32_t prev, next; /* spte ids; prev 0: first of its chain */
};

struct shadow {
	uint64_t *spt, *snap, *guest; /* guest: the guest's own table */
	struct link *links;
	hpa_t page[3]; /* spt, links, snap */
	gfn_t gfn;     /* of the guest table; direct: the first frame mapped */
	struct role role;
	uint32_t id;
	uint32_t parents;  /* chain of sptes that link here */
	uint32_t same_gfn; /* next shadow of the same gfn (also the free chain) */
	uint16_t roots;	   /* vCPUs that run on it as a root */
	uint16_t pins;	   /* held by the operation under way */
	uint32_t epoch;	   /* of the re-read that visited it last */
	uint32_t read;	   /* epoch of the last re-read of all its entries */
	uint32_t quiet;	   /* entries re-read in vain since the last change */
	uint32_t patience; /* how many of them before it is tracked */
	uint32_t ticket;   /* being tracked: which attempt; 0: none, or it was in vain */
	bool live, tracked, touched;
	bool local;	 /* has held a leaf that is not global */
	uint16_t count;	 /* of present sptes */
	uint16_t kids_n; /* bits set in kids */
	uint64_t present[SHADOW_ENTRIES / 64];
	uint64_t kids[SHADOW_ENTRIES / 64];
};

static inline uint32_t spte_id(const struct shadow *s, unsigned int i)
{
	return s->id << SHADOW_SHIFT | i;
}

static inline struct shadow *shadow_of(const struct shadow_cache *c, uint32_t id)
{
	const unsigned int per_page = TF_PAGE_SIZE / sizeof(struct shadow);
	return &c->dir[id / per_page][id % per_page];
}

static inline struct shadow *spte_shadow(const struct shadow_cache *c, uint32_t spte)
{
	return shadow_of(c, spte >> SHADOW_SHIFT);
}

static inline unsigned int spte_index(uint32_t spte)
{
	return spte & (SHADOW_ENTRIES - 1);
}

static inline bool bit_get(const uint64_t *map, unsigned int i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static inline void bit_set(uint64_t *map, unsigned int i)
{
	map[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void bit_clear(uint64_t *map, unsigned int i)
{
	map[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* The first shadow of the table in a frame. */
static inline uint32_t gframe_first(const struct gframe *gf)
{
	return gf->shadows & ~GFRAME_TRUST;
}

static inline void gframe_set(struct gframe *gf, uint32_t first, bool trust)
{
	__atomic_store_n(&gf->shadows, first | (trust ? GFRAME_TRUST : 0), __ATOMIC_RELEASE);
}

/* Has one of them trust or a ticket? May be asked without the lock. */
static inline bool gframe_trusts(const struct gframe *gf)
{
	return __atomic_load_n(&gf->shadows, __ATOMIC_ACQUIRE) & GFRAME_TRUST;
}

/* A link that the hardware does not see. */
static inline bool spte_is_closed(const struct shadow *s, unsigned int i)
{
	return bit_get(s->present, i) && entry_read(&s->spt[i]) == 0;
}

static inline bool spte_is_table(const struct shadow *s, uint64_t e)
{
	return s->role.level > 0 && !(e & SPTE_PS);
}

static inline unsigned int gva_index(gva_t at, unsigned int level)
{
	return at.v >> (TF_PAGE_SHIFT + 9 * level) & (SHADOW_ENTRIES - 1);
}

/* ---- shadow_cache.c: which shadows there are ---- */

/* `limit`: the bound, and the most that shadows.limit may ever be. */
enum tf_status shadow_cache_init(struct group *g, struct tf_host *h, uint32_t limit) TF_MUST_CHECK;
/* Drop up to `n` shadows. True: none is left. */
bool shadow_cache_empty(struct op *op, struct tf_vm *vm, struct group *g, unsigned int n);
/* Of an empty cache. */
void shadow_cache_destroy(struct tf_vm *vm, struct group *g);
struct shadow *shadow_find(struct tf_vm *vm, struct group *g, gfn_t f, struct role r);
/* Find or make. NULL: no memory. A new one is empty and unsync. The frame must be backed. */
struct shadow *shadow_get(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f, struct role r);
/* Have what shadow_get() may need for all levels of one walk, so that it cannot fail: pages,
 * structs, room below the bound. */
enum tf_status shadow_reserve(struct op *op, struct tf_vm *vm, struct group *g) TF_MUST_CHECK;
/* Drop one shadow: its sptes, the sptes that link to it, its pages (after op's flush). */
void shadow_zap(struct op *op, struct tf_vm *vm, struct group *g, struct shadow *s);
/* Drop it and every shadow that only it led to. */
void shadow_zap_tree(struct op *op, struct tf_vm *vm, struct group *g, struct shadow *s);
/* Drop every shadow of the guest table in that frame. */
void shadow_zap_frame(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f);

/* ---- spte.c: single entries and their chains ---- */

/* Guest frame and role of the child that the guest entry gpte at s[i] asks for. */
void shadow_child_key(const struct shadow *s, unsigned int i, uint64_t gpte, gfn_t *f,
		      struct role *r);
/* The child that the present table spte s[i] links to. */
struct shadow *shadow_child(struct tf_vm *vm, struct group *g, const struct shadow *s,
			    unsigned int i);

/* Install a leaf that maps frame f (role.level 0) or the block of f (level 1). False: no memory for
 * its chain, and nothing is there. */
bool spte_set_leaf(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int i,
		   uint64_t spte, uint64_t snap, gfn_t f) TF_MUST_CHECK;
void spte_set_table(struct group *g, struct shadow *s, unsigned int i, struct shadow *child,
		    uint64_t spte, uint64_t snap);
/* Hide a link from the hardware until a fault needs it. Owes no flush: what a TLB has of it, it may
 * keep as long as of an unsync table. */
void spte_close(struct group *g, struct shadow *s, unsigned int i);
/* Show it again; what is below has been re-read. */
void spte_open(struct group *g, struct shadow *s, unsigned int i, struct shadow *child,
	       uint64_t spte, uint64_t snap);
/* Remove whatever is there. The flush is the caller's (guest's or ours). */
void spte_drop(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int i);
/* Remove every leaf that maps the frame, 2 MiB ones included. Owes a flush if there was any. */
void rmap_zap_frame(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f);
/* Take write access from every leaf that maps the frame; 2 MiB ones are removed. */
void rmap_protect_frame(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f);
/* Move A of the leaves that map the frame into its word (of all its block's, for 2 MiB leaves). */
void rmap_age_frame(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f);
/* Move A of one present leaf into the words of the frames that it maps. */
void spte_age(struct tf_vm *vm, struct shadow *s, unsigned int i);
/* Set FRAME_ACCESSED for all frames that an entry at this level maps. */
void frame_save_accessed(struct tf_vm *vm, gfn_t f, unsigned int level);
/* From now on trusted, or not; the tables above learn whether a re-read must come here. */
void shadow_set_tracked(struct group *g, struct shadow *s, bool tracked);
/* The leaf that a guest entry gives for a frame (write access as the frame's word allows). */
uint64_t spte_leaf(uint64_t gpte, uint64_t word, hpa_t to, bool large);
/* The link that a guest table entry gives to a child. */
uint64_t spte_link(uint64_t gpte, const struct shadow *child);

/* ---- track.c: what binds the groups ---- */

#define TRACK_BATCH 32u

/* Shadows chosen to be tracked by an operation, which does it when it has dropped the lock. */
struct track {
	struct shadow *s;
	gfn_t f;
	uint32_t ticket;
};

struct tracking {
	unsigned int n;
	struct track want[TRACK_BATCH];
};

/* Give it a ticket and put it on the list, if there is room and nobody else is at it. */
void shadow_wants_tracking(struct tf_vm *vm, struct group *g, struct tracking *t, struct shadow *s);
/* Track what is on the list: write-protect it in every group, flush, read it again, trust it. The
 * operation that chose it; no lock held. */
void shadow_track(struct op *op, struct tf_vm *vm, struct group *g, struct tracking *t);
/* A shadow of the frame went, or is not trusted any more: if no other is, and no other group trusts
 * one or is about to, writes to the frame need not fault any more. */
void shadow_maybe_unmark(struct tf_vm *vm, struct group *g, gfn_t f);

/* Nobody runs on this group's shadows any more: stop to trust up to n of them, so that writes to
 * their tables need not fault. True: that was the last. Group's lock. */
bool shadow_rest(struct op *op, struct tf_vm *vm, struct group *g, unsigned int n);

/* ---- shadow_sync.c: distrust, and re-reading what is not trusted ---- */

/* No shadow of the frame in this group is trusted any more, nor about to be. */
void shadow_distrust(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f);
/* Compare every present spte with its guest entry. True: something changed. */
bool shadow_reread(struct tf_vm *vm, struct group *g, struct shadow *s);
/* The same of entries from..to - 1 alone, and their neighbours in the same eight. */
bool shadow_reread_some(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int from,
			unsigned int to);
/* The number of the last re-read; it may be asked without the lock. A table that was read by a
 * later one was read after everything that was done before the question. */
uint32_t shadow_epoch(const struct group *g);
/* Begin a re-read: its number. */
uint32_t shadow_epoch_next(struct group *g);

/* What a vCPU's flush asks of a re-read. */
struct resync {
	/* Leaf tables of globals alone are passed over if not `global` and if they were read since
	 * epoch `since`: the vCPU's last flush that covered globals may have been under another
	 * root. */
	bool global;
	uint32_t since;
	/* The epoch when the vCPU had left the guest: what was read later is fresh. */
	uint32_t left;
	struct tracking *quiet; /* where tables go that were quiet for long enough; NULL: nowhere */
	uint32_t most;		/* about so many entries are read; then links are closed instead */
};

/* Re-read all that is unsync in and under a root, as far as links are open. */
void shadow_resync_root(struct tf_vm *vm, struct group *g, struct shadow *root,
			const struct resync *how);
/* The same of all before a shadow is linked. */
void shadow_freshen(struct tf_vm *vm, struct group *g, struct shadow *s);
/* Open the closed link s[i], after re-reading what is below it; and some closed ones after it, for
 * about what the exit cost. */
void shadow_open(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int i,
		 uint64_t gpte);
/* What INVLPG must do under a root of that many levels. */
void shadow_invlpg(struct tf_vm *vm, struct group *g, struct shadow *root, gva_t at,
		   struct tracking *quiet);

/* What a fault drops: the address's own entries, if they are not what the guest's tables say now.
 */
void shadow_drop_stale(struct tf_vm *vm, struct group *g, struct shadow *root, gva_t at);

/* ---- shadow_keep.c: PCIDs that are kept over CR3 writes with bit 63 ---- */

/* s[i] was made or changed: who left the tree must look again when he comes back. */
void shadow_note_change(struct group *g, const struct shadow *s, unsigned int i);
/* The current one. */
uint16_t kept_pcid(const struct tf_vcpu *v);
/* Nothing is kept of any PCID, or of one. The vCPU's own CPU, as all of these. */
void kept_forget(struct tf_vcpu *v);
void kept_forget_pcid(struct tf_vcpu *v, uint16_t pcid);
/* Or of an address of a PCID that is not current. */
void kept_forget_address(struct tf_vcpu *v, uint16_t pcid, gva_t at);
/* Is something kept of CR3's PCID, and for its root? */
bool kept_has_current(struct tf_vcpu *v);
/* CR3 is about to be written: what others do from now on is news for the PCID that it has. */
void kept_leave(struct tf_vcpu *v);
/* The vCPU goes from the root that it has loaded; it has loaded CR3's, and what is there is fresh.
 * Group's lock. */
void kept_left(struct tf_vcpu *v);
void kept_enter(struct tf_vcpu *v);
/* Re-read what has changed since the vCPU left CR3's PCID. False: there was too much, all has to be
 * read. Group's lock. */
bool kept_refresh(struct tf_vcpu *v);
/* INVLPG: the address's globals are dropped under all roots. Group's lock. */
void kept_flush_global(struct tf_vcpu *v, gva_t at);

/* ---- shadow_fill.c: from a guest walk to installed entries ---- */

/* May the guest entry be shadowed without a walk of its own: present, accessed, nothing reserved?
 */
bool gpte_is_plain(const struct tf_vm *vm, struct role r, uint64_t gpte);
/* Install all levels for a walk that succeeded; `word`: of the frame that it ended at. TF_E_NOENT:
 * the frame of one of its tables is gone, walk again. TF_E_NOMEM: nothing wrong is installed. */
enum tf_status shadow_fill(struct op *op, struct tf_vcpu *v, const struct walk *w, gva_t at,
			   uint64_t word) TF_MUST_CHECK;
/* The root shadow for the vCPU's CR3; NULL in *out when CR3 names no memory. What hangs under a new
 * one is fresh, unless the caller is about to read it: `unread`. */
enum tf_status shadow_root(struct op *op, struct tf_vcpu *v, bool unread,
			   struct shadow **out) TF_MUST_CHECK;

/* ---- shadow_psc.c: faults that the paging-structure cache answers ---- */

enum psc_answer { PSC_NONE, PSC_DONE, PSC_FAULTS };
/* Answer a fault from the vCPU's cache, if it can be: no walk, no allocation. PSC_FAULTS: w->pfec.
 */
enum psc_answer psc_fault(struct tf_vcpu *v, const struct tf_access *a, struct walk *w);
/* Remember what a walk found; s is the shadow of the leaf table. */
void psc_put(struct tf_vcpu *v, const struct walk *w, gva_t at, struct shadow *s);
void psc_drop(struct tf_vcpu *v, gva_t at);
void psc_clear(struct tf_vcpu *v);
/* Fill the entries of [from, to) that are not there and that the guest has marked accessed. */
void shadow_prefill(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int from,
		    unsigned int to);

/* CR3's frame, and the role of the shadow that it has as a root. */
static inline gfn_t shadow_root_frame(const struct tf_regs *r)
{
	return gfn((r->cr3 & SPTE_ADDR) >> TF_PAGE_SHIFT);
}
struct role shadow_root_role(const struct tf_regs *r);
/* Can the vCPU run on shadow tables: long mode with paging and CR0.WP? */
bool shadow_is_possible(const struct tf_regs *r);

#endif
