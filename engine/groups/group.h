/* A group: vCPUs with their lock, page pool, nested table and shadow cache, by the guest's nodes;
 * and the VM and the vCPU that hold the groups together.
 *
 * Which vCPU is in which group is a matter of speed alone: each group's tables are right by
 * themselves. So a vCPU moves by itself, and a group that nobody is in any more is taken apart bit
 * by bit (vm_groups.c). Its struct stays until the VM ends, its tables need not: `open`.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef GROUPS_GROUP_H
#define GROUPS_GROUP_H

#include "base/lock.h"
#include "memory/memmap.h"
#include "memory/pool.h"
#include "tables/table.h"
#include "tables/walk.h"

struct shadow;
struct mmu_mode;
struct choice;
struct sampler;

/* Entries [from, to) of a shadow were made or changed (modes/shadow_keep.c). */
struct shadow_change {
	uint32_t id;
	uint16_t from, to;
};

#define SHADOW_CHANGES 64u

/* The shadow tables of a group: a directory of struct shadow by id, and the ids that are free.
 * Id 0 is none. Protected by the group's lock. */
struct shadow_cache {
	struct shadow **dir; /* pages of struct shadow; a page (or two) of pointers */
	hpa_t dir_page;
	unsigned int dir_order;
	uint32_t limit;	    /* bound on live shadows; what there is above it is reclaimed in time */
	uint32_t limit_max; /* that the directory has room for */
	uint32_t tickets;   /* drawn for tracking */
	uint32_t rested;    /* ids up to this one are let go */
	uint32_t made;	    /* ids 1..made exist */
	uint32_t free;	    /* chain of free ids */
	uint32_t live;
	uint32_t hand;	/* the reclaim clock's hand: an id */
	uint32_t epoch; /* of the last re-read; written under the lock, atomic */
	uint64_t pages; /* pages of struct shadow, of the directory, of tables and bookkeeping */
	/* Changes and how often one was begun or grew; written under the lock, atomic. */
	uint64_t changed, noted;
	bool change_open;			      /* the last one may still grow */
	struct shadow_change changes[SHADOW_CHANGES]; /* the last ones, by number */
};

struct group {
	struct lock lock;
	unsigned int id;
	hpa_t self;
	/* Under the lock: */
	bool open;   /* it has tables: whoever changes the memory map must visit it */
	bool wanted; /* the grouping has it; else it is taken apart when nobody is in it */
	unsigned int users;
	unsigned int shadow_users; /* of these, who should run on shadow tables */
	bool resting;		   /* nobody should: what is tracked is let go, bit by bit */
	struct tf_cpuset vcpus;	   /* who is in it: whom a flush of its tables must reach */
	uint32_t samples;	   /* of accessed bits, under way; also read without the lock */
	uint64_t gone_below;	   /* taking apart: the nested table is empty below this address */
	struct pool pool;
	struct table nested;
	struct shadow_cache shadows;
	struct tf_counters n;
};

struct tf_vm {
	struct tf_host *h;
	struct tf_config conf;
	hpa_t self; /* the page that this struct lives in */
	struct tf_cpuset vcpus;
	struct tf_vcpu **vcpu; /* by index; a page of pointers */
	hpa_t vcpu_page;
	struct memmap map;
	struct group **group; /* by id, grown under the map's lock; a page of pointers */
	hpa_t group_page;
	unsigned int groups_max;
	uint32_t shadow_limit;	   /* for all groups together */
	uint32_t arrival;	   /* entries re-read on arrival, of one group */
	enum tf_grouping grouping; /* under the map's lock, or atomic */
	uint32_t leaving;	   /* groups to be taken apart; atomic */
	hpa_t empty; /* an empty table: the root when CR3 names no memory; reads as zeroes */
	/* Atomic; not by a vCPU's fault. */
	uint64_t remote_flushes, frames_backed, large_backed, huge_backed;
	struct choice *choice; /* NULL: modes are the host's to set; set once */
};

/* A paging-structure cache: the leaf table behind 2 MiB of addresses, as a walk found it. Good
 * until the vCPU's next flush (SDM vol. 3, 4.10.3) and while no shadow was dropped. */
struct psc {
	uint64_t tag; /* address >> 21, plus one; 0: empty */
	struct shadow *s;
	uint64_t drops; /* the cache's count of dropped shadows then */
	bool refused;	/* it refused its last access */
	struct walk_upper upper;
};

#define PSC_ENTRIES 4u

#define KEPT_PCIDS     16u /* Linux uses 12 with KPTI */
#define KEPT_ADDRESSES 8u

/* The tree under this root is what a PCID may have cached since its last flush, but for the group's
 * changes from number `since` on, and for some addresses (modes/shadow_keep.c). */
struct kept {
	gfn_t root;
	uint64_t since;
	uint16_t pcid;
	bool valid;
	uint8_t addresses;
	gva_t address[KEPT_ADDRESSES]; /* flushed since */
};

/* Events and the cycles of work in which they were counted: sums, in which what is older counts for
 * less. (A mean of rates would give a short stretch the weight of a long one.) */
struct rates {
	uint64_t misses, miss_cycles;
	uint64_t faults, cr3_writes, invlpgs, event_cycles;
};

/* The user half of an address space, as a sample saw it. */
struct footprint {
	uint64_t resident; /* pages that the guest maps and has accessed */
	uint64_t tables;   /* leaf tables, and large pages, that these are in */
	/* What of it is in use, as far as samples tell: */
	uint64_t tables_used;
	uint64_t missing; /* pages that no shadow leaf maps */
};

/* A vCPU's part of the choice of modes. */
struct chooser {
	struct rates rates;  /* grain vm: of this vCPU */
	struct footprint at; /* of the address space sampled last */
	/* grain space, what the last load found: */
	uint64_t key;
	uint32_t generation;
	bool shadow;
	bool fresh;	  /* the vCPU was not on it since its mode changed */
	bool stays;	  /* the next load does not look: it ends the exit that chose */
	uint64_t refused; /* key of the space that should run on shadow tables and could not */
};

struct tf_vcpu {
	struct tf_vm *vm;
	struct group *group; /* changed by its own CPU, in tf_vcpu_load */
	uint32_t wanted;     /* id of the group that it should be in; atomic */
	uint32_t joined;     /* group's id, where `wanted` is compared at each load */
	bool chores;	     /* look what there is to do besides; atomic */
	uint32_t section;    /* odd while it installs an entry without the lock; atomic */
	unsigned int index, node;
	struct tf_counters n;		/* what it did; written by its own CPU */
	enum tf_mode mode;		/* asked for; atomic */
	bool counted;			/* among its group's shadow_users */
	struct walk_cpu cpu;		/* the guest's control state */
	const struct mmu_mode *running; /* whose root it loaded last, or NULL */
	hpa_t root_page;		/* that root */
	struct shadow *root;		/* the shadow behind it, or NULL */
	uint32_t flush;			/* TF_FLUSH_* that must go before it enters */
	bool resync;	    /* the root must be found again and what is unsync under it re-read */
	bool resync_global; /* globals too */
	bool keep;	    /* CR3 was written with bit 63, and what is kept of its PCID is good */
	struct kept kept[KEPT_PCIDS];
	struct kept *kept_now;	/* of the PCID that it was loaded with last, or NULL */
	bool kept_leaving;	/* CR3 was written since */
	uint64_t kept_noted;	/* the group's count then */
	unsigned int kept_next; /* whose place a new one takes */
	bool arrived;		/* it comes from nested mode: it need not re-read all at once */
	uint32_t global_epoch;	/* of its last flush that covered globals */
	uint32_t left; /* its group's epoch when it had left the guest, before this load waited */
	hpa_t self;
	struct psc psc[PSC_ENTRIES];
	uint64_t last_page; /* of the last fault that the psc answered, and how: not twice the same
			     */
	bool last_refused;
	gfn_t gate; /* to be closed at the next load; 0: none */
	struct chooser chooser;
	struct sampler *sampler; /* NULL: it has not sampled yet */
};

static inline struct group *group_of(struct tf_vcpu *v)
{
	return v->group;
}

/* The group's lock, and with it whom its flushes reach. */
static inline void group_lock(struct op *op, struct group *g)
{
	lock_take(op, &g->lock);
	op->reach = &g->vcpus;
}

static inline void group_unlock(struct op *op, struct group *g)
{
	op->reach = op->all;
	lock_drop(op, &g->lock);
}

static inline struct group *group_at(const struct tf_vm *vm, unsigned int id)
{
	return __atomic_load_n(&vm->group[id], __ATOMIC_ACQUIRE);
}

/* The same for any number. NULL: there is none. */
static inline struct group *group_find(const struct tf_vm *vm, unsigned int id)
{
	return id < vm->groups_max ? group_at(vm, id) : NULL;
}

/* Visit the open groups one after another: unlocks g (NULL: none yet), locks and returns the next,
 * or NULL after the last. Never more than one lock is held. */
struct group *group_visit_next(struct op *op, struct tf_vm *vm, struct group *g);

/* What the group hangs on a frame; NULL: nothing ever. Group's lock. */
static inline struct gframe *group_frame(const struct tf_vm *vm, const struct group *g, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	return b ? block_gframe(b, g->id, f) : NULL;
}

/* The same, made if it is missing; the frame must be described. NULL: no memory. Group's lock. */
static inline struct gframe *group_frame_get(struct tf_vm *vm, struct group *g, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	struct gframe *gf = block_gframe(b, g->id, f);
	return gf ? gf : memmap_gframe(&vm->map, b, g->id, g->pool.node, f);
}

/* ---- sections: entries installed without the lock ---- */

/* A section is to a change of the memory map what holding the group's lock is: it is over before
 * the change visits the group (vm_grace). It takes no lock and waits for nothing. */
static inline void section_enter(struct tf_vcpu *v)
{
	__atomic_store_n(&v->section, v->section + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* before any word is read */
}

static inline void section_leave(struct tf_vcpu *v)
{
	__atomic_store_n(&v->section, v->section + 1, __ATOMIC_RELEASE);
}

/* Wait until every section that was under way is over. Between changing words and visiting groups.
 */
void vm_grace(struct tf_vm *vm);

/* Guest memory for the walker, read and written under the group's lock. */
struct group_mem {
	struct walk_mem m;
	struct tf_vm *vm;
};

void group_mem_init(struct group_mem *gm, struct tf_vm *vm);

/* Back a frame, counted for the vCPU (NULL: the host's own access). At most the map's lock held. */
enum tf_status vm_back(struct op *op, struct tf_vm *vm, struct tf_vcpu *v, gfn_t f) TF_MUST_CHECK;

/* Begin and end an operation of the VM: end does what is owed. */
void vm_op_begin(struct op *op, struct tf_vm *vm);
void vm_op_end(struct op *op, struct tf_vm *vm);

#endif
