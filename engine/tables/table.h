/* A table of any format that we write: look up, map, unmap, protect, split, collapse.
 *
 * Whoever owns the table owns its lock (a group's lock for its nested table); every call needs it.
 * Hardware sets A and D meanwhile, so entries change by atomic operations and no A or D is lost.
 *
 * Addresses are those that the table translates, below fmt_end(); not sign-extended. Ranges are
 * half-open and page-aligned. What a TLB may still hold is owed to `op`: nobody may rely on a
 * right's removal, or reuse a frame that was unmapped, before op_flush(). Raising rights owes
 * nothing.
 *
 * Every call that may allocate does so before it changes anything: TF_E_NOMEM changed nothing.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef TABLES_TABLE_H
#define TABLES_TABLE_H

#include "base/atomic.h"
#include "base/op.h"
#include "format/fmt.h"
#include "memory/pool.h"

struct table {
	const struct fmt *fmt;
	struct tf_host *h;
	struct pool *pool;
	hpa_t root;
	uint64_t pages; /* of the tables, the root's too; atomic */
	bool grows;	/* table pages stay once they are linked: table_map_cas() may be used */
};

/* What is told of each leaf that a call removed: its first address, level and last value, with the
 * A and D that the hardware set before it went. Embed it in a struct of your own for context. It
 * runs with the table's lock held and may not change the table. */
struct table_sink {
	void (*leaf)(struct table_sink *s, uint64_t at, unsigned int level, uint64_t entry);
};

/* An empty table: one page from the pool. */
enum tf_status table_init(struct op *op, struct table *t, const struct fmt *f, struct tf_host *h,
			  struct pool *p) TF_MUST_CHECK;
/* Retires every page of the table, whatever is mapped. */
void table_destroy(struct op *op, struct table *t);

/* The lowest entry there is for the address, EMPTY or LEAF, and its level. Never NULL. */
uint64_t *table_lookup(const struct table *t, uint64_t at, unsigned int *level);

/* Map one page of a level's size at `at` to `to`, both aligned to it, with PERM_* `perm` (PERM_R
 * among them). Replaces what is there: a larger leaf is split around it; smaller ones go, their
 * tables are retired. The leaves replaced are told to `old` (may be NULL), but for one that maps
 * the same frame at the same level: its rights become `perm`, its A and D stay. was_empty (may be
 * NULL): nothing was mapped at the address. */
enum tf_status table_map(struct op *op, struct table *t, uint64_t at, unsigned int level, hfn_t to,
			 unsigned int perm, struct table_sink *old, bool *was_empty) TF_MUST_CHECK;

/* The same without the lock, beside others that call this and one that has the lock, if the table
 * `grows`: installs where the entry is EMPTY, or adds rights to a leaf that maps the same frame.
 * TF_E_NOENT: it takes more (a table page is missing, or something else is mapped): nothing
 * changed, do it with the lock. */
enum tf_status table_map_cas(struct table *t, uint64_t at, unsigned int level, hfn_t to,
			     unsigned int perm, bool *was_empty) TF_MUST_CHECK;

/* Remove all leaves of the range; large leaves are split at its edges; tables that become empty are
 * retired, unless the table grows. Skips what is empty without looking at each page. `old` may be
 * NULL. */
enum tf_status table_unmap(struct op *op, struct table *t, uint64_t from, uint64_t to,
			   struct table_sink *old) TF_MUST_CHECK;

/* Take rights (PERM_W, PERM_X, PERM_U) from all leaves of the range. A large leaf is split at the
 * range's edges, and only if it has one of the rights. */
enum tf_status table_protect(struct op *op, struct table *t, uint64_t from, uint64_t to,
			     unsigned int perm) TF_MUST_CHECK;

/* Make 512 leaves of the next lower level out of the large leaf at `at`, whatever its level; they
 * inherit rights, A and D. TF_E_NOENT: there is no large leaf. */
enum tf_status table_split(struct op *op, struct table *t, uint64_t at) TF_MUST_CHECK;

/* Make one leaf of `level` (1 or 2) out of the 512 below it. They must all be leaves of equal
 * rights on contiguous frames that begin aligned: else TF_E_INVAL and nothing changed. A and D are
 * OR-ed. */
enum tf_status table_collapse(struct op *op, struct table *t, uint64_t at,
			      unsigned int level) TF_MUST_CHECK;

/* The table's own invariants: leaves aligned and where the format allows them, no table empty but
 * the root, the count of pages right. NULL: all hold; else what is broken. */
const char *table_check(const struct table *t);

#endif
