/* A group: the vCPUs of one guest node, with their lock, page pool, nested table and shadow cache;
 * and the VM and the vCPU that hold them together.
 *
 * There is one group for now: group_of() is the one place that knows it.
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

/* The shadow tables of a group: a directory of struct shadow by id, and the ids that are free.
 * Id 0 is none. Protected by the group's lock. */
struct shadow_cache {
	struct shadow **dir; /* pages of struct shadow; a page (or two) of pointers */
	hpa_t dir_page;
	unsigned int dir_order;
	uint32_t limit; /* bound on live shadows */
	uint32_t made;	/* ids 1..made exist */
	uint32_t free;	/* chain of free ids */
	uint32_t live;
	uint32_t hand;	/* the reclaim clock's hand: an id */
	uint32_t epoch; /* of the last re-read */
	uint64_t pages; /* pages of struct shadow, of the directory, of tables and bookkeeping */
};

struct group {
	struct lock lock;
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
	struct group group;
	hpa_t empty; /* an empty table: the root when CR3 names no memory; reads as zeroes */
	uint64_t remote_flushes, device_faults; /* atomic */
};

/* A paging-structure cache: the leaf table behind 2 MiB of addresses, as a walk found it. Good
 * until the vCPU's next flush (SDM vol. 3, 4.10.3) and while no shadow was dropped. */
struct psc {
	uint64_t tag; /* address >> 21, plus one; 0: empty */
	struct shadow *s;
	uint64_t drops; /* the cache's count of dropped shadows then */
	struct walk_upper upper;
};

#define PSC_ENTRIES 4u

struct tf_vcpu {
	struct tf_vm *vm;
	struct group *group;
	unsigned int index;
	enum tf_mode mode;		/* asked for */
	struct walk_cpu cpu;		/* the guest's control state */
	const struct mmu_mode *running; /* whose root it loaded last, or NULL */
	hpa_t root_page;		/* that root */
	struct shadow *root;		/* the shadow behind it, or NULL */
	bool flush;			/* its translations must go before it enters */
	bool resync;	    /* the root must be found again and what is unsync under it re-read */
	bool resync_global; /* globals too */
	uint32_t global_epoch; /* of its last flush that covered globals */
	hpa_t self;
	struct psc psc[PSC_ENTRIES];
	uint64_t last_page; /* of the last fault that the psc answered, and how: not twice the same
			     */
	bool last_refused;
};

static inline struct group *group_of(struct tf_vcpu *v)
{
	return v->group;
}

enum tf_status group_init(struct op *op, struct group *g, struct tf_vm *vm,
			  unsigned int node) TF_MUST_CHECK;
void group_destroy(struct op *op, struct group *g);

/* Guest memory for the walker, read and written under the group's lock. */
struct group_mem {
	struct walk_mem m;
	struct tf_vm *vm;
};

void group_mem_init(struct group_mem *gm, struct tf_vm *vm);

/* Begin and end an operation of the VM: end does what is owed. */
void vm_op_begin(struct op *op, struct tf_vm *vm);
void vm_op_end(struct op *op, struct tf_vm *vm);

#endif
