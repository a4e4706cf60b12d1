/* Building and changing tables of any format (table.h). The lock is the caller's.
 *
 * A table page is filled before one entry links it, so a walk by the hardware finds each address
 * mapped as before or as after. A table page that goes is unlinked first; its leaves are then taken
 * by atomic swaps, so that a CPU which still reaches it through a paging-structure cache (APM vol.
 * 2, 5.5; SDM vol. 3, 4.10.3) can set A or D only before we read them. It is retired: freed after
 * the flush.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "tables/cursor.h"

_Static_assert(FMT_ENTRIES * sizeof(uint64_t) == TF_PAGE_SIZE, "a table fills its page");

static void assert_range(const struct table *t, uint64_t from, uint64_t to)
{
	TF_ASSERT(t->h, ((from | to) & TF_PAGE_MASK) == 0 && from <= to && to <= fmt_end(t->fmt));
}

enum tf_status table_init(struct op *op, struct table *t, const struct fmt *f, struct tf_host *h,
			  struct pool *p)
{
	TF_ASSERT(op->h, f->writable);
	enum tf_status s = pool_fill(p, 1);
	if (s != TF_OK)
		return s;
	*t = (struct table){.fmt = f, .h = h, .pool = p, .root = pool_get(p), .pages = 1};
	return TF_OK;
}

/* The lock's holder changes it, anybody reads it. */
static void count_pages(struct table *t, int by)
{
	__atomic_store_n(&t->pages, t->pages + (uint64_t)by, __ATOMIC_RELAXED);
}

static void retire(struct op *op, struct table *t, uint64_t page)
{
	count_pages(t, -1);
	pool_retire(t->pool, op, hpa(page), t->fmt->flush);
}

/* Retire an unlinked table page and all under it. `level` is its entries', `at` what its first one
 * maps. The depth of the recursion is the table's. */
static void reap(struct op *op, struct table *t, uint64_t page, unsigned int level, uint64_t at,
		 struct table_sink *old)
{
	uint64_t *p = table_page(t, page);
	const unsigned int n = level || old ? FMT_ENTRIES : 0; /* there are leaves only */
	for (unsigned int i = 0; i < n; i++, at += fmt_size(t->fmt, level)) {
		uint64_t e = entry_read(&p[i]);
		enum fmt_kind kind = fmt_kind(t->fmt, level, e);
		if (kind == FMT_TABLE)
			reap(op, t, fmt_table(t->fmt, e), level - 1, at, old);
		else if (kind == FMT_LEAF && old)
			old->leaf(old, at, level, entry_swap(&p[i], 0));
	}
	retire(op, t, page);
}

void table_destroy(struct op *op, struct table *t)
{
	reap(op, t, t->root.v, t->fmt->levels - 1u, 0, NULL);
	TF_ASSERT(t->h, t->pages == 0);
}

uint64_t *table_lookup(const struct table *t, uint64_t at, unsigned int *level)
{
	const struct fmt *f = t->fmt;
	uint64_t page = t->root.v;
	for (unsigned int l = f->levels - 1u;; l--) {
		uint64_t *entry = table_page(t, page) + fmt_index(f, at, l);
		uint64_t e = entry_read(entry);
		if (fmt_kind(f, l, e) != FMT_TABLE) {
			*level = l;
			return entry;
		}
		page = fmt_table(f, e);
	}
}

/* ---- splitting ---- */

/* Split one large leaf; the page is at hand. */
static void split_leaf(struct op *op, struct table *t, uint64_t *entry, unsigned int level)
{
	const struct fmt *f = t->fmt;
	uint64_t page = pool_get(t->pool).v;
	uint64_t *p = table_page(t, page);
	uint64_t e = entry_read(entry);
	do { /* again if the hardware set A or D in between */
		for (unsigned int i = 0; i < FMT_ENTRIES; i++)
			p[i] = fmt_split_leaf(f, level, e, i);
	} while (!entry_cas(entry, &e, fmt_make_table(f, page)));
	count_pages(t, 1);
	/* Some CPUs stop when they find one address in the TLB in two sizes. */
	op_owe_flush(op, t->fmt->flush);
}

/* Is there a leaf across `at`, with one of these rights (0: any leaf)? */
static bool is_across(const struct table *t, uint64_t at, unsigned int perm, uint64_t **entry,
		      unsigned int *level)
{
	const struct fmt *f = t->fmt;
	*entry = table_lookup(t, at, level);
	uint64_t e = entry_read(*entry);
	return (at & (fmt_size(f, *level) - 1)) && fmt_kind(f, *level, e) == FMT_LEAF &&
	       (!perm || fmt_allows_any(f, e, perm));
}

/* Pages that split_at() needs: one for each level that is not aligned. */
static unsigned int split_pages(const struct table *t, uint64_t at, unsigned int perm)
{
	uint64_t *entry;
	unsigned int level, n = 0;
	if (!is_across(t, at, perm, &entry, &level))
		return 0;
	while (at & (fmt_size(t->fmt, level - n) - 1))
		n++;
	return n;
}

/* Make `at` an edge between leaves. */
static void split_at(struct op *op, struct table *t, uint64_t at, unsigned int perm)
{
	uint64_t *entry;
	unsigned int level;
	while (is_across(t, at, perm, &entry, &level))
		split_leaf(op, t, entry, level);
}

/* Both edges of a range, or nothing. */
static enum tf_status split_edges(struct op *op, struct table *t, uint64_t from, uint64_t to,
				  unsigned int perm)
{
	unsigned int n = split_pages(t, from, perm) + split_pages(t, to, perm);
	enum tf_status s = pool_fill(t->pool, n);
	if (s != TF_OK || n == 0)
		return s;
	split_at(op, t, from, perm);
	split_at(op, t, to, perm);
	return TF_OK;
}

enum tf_status table_split(struct op *op, struct table *t, uint64_t at)
{
	unsigned int level;
	uint64_t *entry = table_lookup(t, at, &level);
	if (level == 0 || fmt_kind(t->fmt, level, entry_read(entry)) != FMT_LEAF)
		return TF_E_NOENT;
	enum tf_status s = pool_fill(t->pool, 1);
	if (s == TF_OK)
		split_leaf(op, t, entry, level);
	return s;
}

/* ---- mapping ---- */

/* A leaf where there is one already. */
static void replace_leaf(struct op *op, struct table *t, uint64_t *entry, unsigned int level,
			 uint64_t at, uint64_t leaf, struct table_sink *old)
{
	const struct fmt *f = t->fmt;
	uint64_t e = entry_read(entry);
	if (fmt_leaf(f, level, e) != fmt_leaf(f, level, leaf)) {
		e = entry_swap(entry, leaf);
		op_owe_flush(op, t->fmt->flush);
		if (old)
			old->leaf(old, at, level, e);
		return;
	}
	while (!entry_cas(entry, &e, leaf | (e & (f->a | f->d))))
		;
	if (fmt_perm(f, e) & ~fmt_perm(f, leaf) & (PERM_W | PERM_X | PERM_U))
		op_owe_flush(op, t->fmt->flush);
}

/* Put a leaf at its level's entry, whatever is there. False: somebody changed it meanwhile. */
static bool put_leaf(struct op *op, struct table *t, uint64_t *entry, unsigned int level,
		     uint64_t at, uint64_t leaf, struct table_sink *old, bool *was_empty)
{
	const struct fmt *f = t->fmt;
	uint64_t e = entry_read(entry);
	switch (fmt_kind(f, level, e)) {
	case FMT_EMPTY:
		*was_empty = true;
		return entry_cas(entry, &e, leaf);
	case FMT_LEAF:
		replace_leaf(op, t, entry, level, at, leaf, old);
		break;
	case FMT_TABLE:
		TF_ASSERT(t->h, !t->grows);
		entry_write(entry, leaf);
		reap(op, t, fmt_table(f, e), level - 1, at, old);
		break;
	}
	return true;
}

/* The tables between an EMPTY entry and the leaf's level, linked when they are complete. False:
 * the entry is EMPTY no more. */
static bool link_chain(struct table *t, uint64_t *entry, unsigned int above, uint64_t at,
		       unsigned int level, uint64_t leaf)
{
	uint64_t e = leaf, empty = entry_read(entry);
	hpa_t pages[FMT_LEVELS_MAX];
	unsigned int n = 0;
	for (unsigned int l = level; l < above; l++) {
		pages[n] = pool_get(t->pool);
		table_page(t, pages[n].v)[fmt_index(t->fmt, at, l)] = e;
		e = fmt_make_table(t->fmt, pages[n++].v);
	}
	if (fmt_kind(t->fmt, above, empty) == FMT_EMPTY && entry_cas(entry, &empty, e)) {
		count_pages(t, (int)n);
		return true;
	}
	while (n)
		pool_put(t->pool, pages[--n]);
	return false;
}

enum tf_status table_map(struct op *op, struct table *t, uint64_t at, unsigned int level, hfn_t to,
			 unsigned int perm, struct table_sink *old, bool *was_empty)
{
	const struct fmt *f = t->fmt;
	const uint64_t target = hfn_to_hpa(to).v;
	bool fresh = false;
	TF_ASSERT(t->h, (perm & PERM_R) && fmt_can_leaf(f, level) && at < fmt_end(f));
	TF_ASSERT(t->h, ((at | target) & (fmt_size(f, level) - 1)) == 0);
	const uint64_t leaf = fmt_make_leaf(f, level, target, perm);
	unsigned int l = f->levels - 1u;
	uint64_t *entry = table_page(t, t->root.v) + fmt_index(f, at, l);
	for (;;) {
		uint64_t e = entry_read(entry);
		if (l == level) {
			fresh = false;
			if (put_leaf(op, t, entry, level, at, leaf, old, &fresh))
				break;
			continue;
		}
		enum fmt_kind kind = fmt_kind(f, l, e);
		if (kind != FMT_TABLE) {
			enum tf_status s = pool_fill(t->pool, l - level);
			if (s != TF_OK)
				return s;
			if (kind == FMT_LEAF)
				split_leaf(op, t, entry, l);
			else if (link_chain(t, entry, l, at, level, leaf)) {
				fresh = true;
				break;
			}
			continue;
		}
		l--;
		entry = table_page(t, fmt_table(f, e)) + fmt_index(f, at, l);
	}
	if (was_empty)
		*was_empty = fresh;
	return TF_OK;
}

enum tf_status table_map_cas(struct table *t, uint64_t at, unsigned int level, hfn_t to,
			     unsigned int perm, bool *was_empty)
{
	const struct fmt *f = t->fmt;
	const uint64_t leaf = fmt_make_leaf(f, level, hfn_to_hpa(to).v, perm);
	unsigned int l = f->levels - 1u;
	uint64_t *entry = table_page(t, t->root.v) + fmt_index(f, at, l);
	TF_ASSERT(t->h, t->grows);
	for (;;) {
		uint64_t e = entry_read(entry);
		enum fmt_kind kind = fmt_kind(f, l, e);
		if (l > level) {
			if (kind != FMT_TABLE)
				return TF_E_NOENT;
			l--;
			entry = table_page(t, fmt_table(f, e)) + fmt_index(f, at, l);
			continue;
		}
		*was_empty = kind == FMT_EMPTY;
		if (kind == FMT_EMPTY) {
			if (entry_cas(entry, &e, leaf))
				return TF_OK;
			continue;
		}
		if (kind != FMT_LEAF || fmt_leaf(f, level, e) != fmt_leaf(f, level, leaf) ||
		    (fmt_perm(f, e) & ~fmt_perm(f, leaf) & (PERM_W | PERM_X | PERM_U)))
			return TF_E_NOENT;
		if (entry_cas(entry, &e, leaf | (e & (f->a | f->d))))
			return TF_OK;
	}
}

/* ---- unmapping and protecting ---- */

/* Is nothing in this table page? Starts at entry `i`: neighbours come and go together. */
static bool is_table_empty(const struct table *t, uint64_t page, unsigned int i)
{
	const uint64_t *p = table_page(t, page);
	for (unsigned int k = 0; k < FMT_ENTRIES; k++)
		if (entry_read(&p[(i + k) % FMT_ENTRIES]) & t->fmt->present)
			return false;
	return true;
}

/* The cursor went up to this entry: retire the table below if nothing is left in it. */
static void prune(struct op *op, struct table *t, struct cursor *c)
{
	uint64_t page = fmt_table(t->fmt, c->value);
	unsigned int i = (unsigned int)(c->slot[c->level - 1] - table_page(t, page));
	if (t->grows || !is_table_empty(t, page, i))
		return;
	entry_write(c->slot[c->level], 0);
	cursor_reload(c);
	retire(op, t, page);
}

/* The range lies in one entry, and that is EMPTY. */
static bool is_hole(const struct table *t, uint64_t from, uint64_t to)
{
	unsigned int level;
	uint64_t e = entry_read(table_lookup(t, from, &level));
	return fmt_kind(t->fmt, level, e) == FMT_EMPTY &&
	       (from ^ (to - 1)) >> fmt_shift(t->fmt, level) == 0;
}

enum tf_status table_unmap(struct op *op, struct table *t, uint64_t from, uint64_t to,
			   struct table_sink *old)
{
	struct cursor c;
	bool removed = false;
	assert_range(t, from, to);
	if (from == to || is_hole(t, from, to))
		return TF_OK;
	enum tf_status s = split_edges(op, t, from, to, 0);
	if (s != TF_OK)
		return s;
	(void)cursor_start(&c, t, from, to);
	for (;;) {
		if (cursor_down(&c))
			continue;
		if (cursor_kind(&c) == FMT_LEAF) {
			uint64_t e = entry_swap(c.slot[c.level], 0);
			op_owe_flush(op, t->fmt->flush);
			removed = true;
			if (old)
				old->leaf(old, c.at, c.level, e);
		}
		while (!cursor_side(&c)) {
			if (!cursor_up(&c))
				return TF_OK;
			if (removed)
				prune(op, t, &c);
		}
	}
}

static void clear_rights(struct op *op, struct table *t, uint64_t *entry, uint64_t e,
			 unsigned int perm)
{
	const struct fmt *f = t->fmt;
	if (!fmt_allows_any(f, e, perm))
		return;
	uint64_t clear = (perm & PERM_W ? f->w : 0) | (perm & PERM_X ? f->x : 0) |
			 (perm & PERM_U ? f->u : 0);
	uint64_t set = perm & PERM_X ? f->nx : 0;
	while (!entry_cas(entry, &e, (e & ~clear) | set))
		;
	op_owe_flush(op, t->fmt->flush);
}

enum tf_status table_protect(struct op *op, struct table *t, uint64_t from, uint64_t to,
			     unsigned int perm)
{
	struct cursor c;
	assert_range(t, from, to);
	TF_ASSERT(t->h, (perm & ~(unsigned int)(PERM_W | PERM_X | PERM_U)) == 0);
	if (from == to || perm == 0 || is_hole(t, from, to))
		return TF_OK;
	enum tf_status s = split_edges(op, t, from, to, perm);
	if (s != TF_OK)
		return s;
	for (bool more = cursor_start(&c, t, from, to); more; more = cursor_next(&c))
		if (cursor_kind(&c) == FMT_LEAF)
			clear_rights(op, t, c.slot[c.level], c.value, perm);
	return TF_OK;
}

/* ---- collapsing ---- */

/* The one leaf that these 512 amount to, A and D OR-ed; 0: they do not. */
static uint64_t collapsed(const struct table *t, uint64_t page, unsigned int level)
{
	const struct fmt *f = t->fmt;
	const uint64_t ad = f->a | f->d;
	const uint64_t *p = table_page(t, page);
	uint64_t first = entry_read(&p[0]);
	uint64_t to = fmt_leaf(f, level - 1, first);
	if (fmt_kind(f, level - 1, first) != FMT_LEAF || (to & (fmt_size(f, level) - 1)))
		return 0;
	uint64_t big = (first & ~f->addr) | f->large | to;
	for (unsigned int i = 0; i < FMT_ENTRIES; i++) {
		uint64_t e = entry_read(&p[i]);
		if ((e ^ fmt_split_leaf(f, level, big, i)) & ~ad)
			return 0;
		big |= e & ad;
	}
	return big;
}

enum tf_status table_collapse(struct op *op, struct table *t, uint64_t at, unsigned int level)
{
	const struct fmt *f = t->fmt;
	struct cursor c;
	TF_ASSERT(t->h, level >= 1 && at < fmt_end(f) && (at & (fmt_size(f, level) - 1)) == 0);
	(void)cursor_start(&c, t, at, at + TF_PAGE_SIZE);
	while (c.level > level && cursor_down(&c))
		;
	if (c.level != level || cursor_kind(&c) != FMT_TABLE || !fmt_can_leaf(f, level))
		return TF_E_INVAL;
	uint64_t page = fmt_table(f, c.value);
	uint64_t big = collapsed(t, page, level);
	if (!big)
		return TF_E_INVAL;
	entry_write(c.slot[level], big);
	/* From here on nobody sets A or D in an old leaf once we have taken it. */
	uint64_t late = 0, *p = table_page(t, page);
	for (unsigned int i = 0; i < FMT_ENTRIES; i++)
		late |= entry_swap(&p[i], 0);
	(void)entry_or(c.slot[level], late & (f->a | f->d));
	retire(op, t, page);
	return TF_OK;
}

/* ---- checking ---- */

static const char *check_leaf(const struct fmt *f, unsigned int level, uint64_t e)
{
	if (!fmt_can_leaf(f, level))
		return "a leaf at a level that has none";
	if (e & f->addr & (fmt_size(f, level) - 1))
		return "a leaf whose frame is not aligned to its size";
	if ((e & f->leaf_bits) != f->leaf_bits || !(e & f->r))
		return "a leaf without the bits that every leaf has";
	return NULL;
}

const char *table_check(const struct table *t)
{
	const struct fmt *f = t->fmt;
	struct cursor c;
	uint64_t pages = 1;
	for (bool more = cursor_start(&c, t, 0, fmt_end(f)); more; more = cursor_next(&c)) {
		const char *why = NULL;
		if (cursor_kind(&c) == FMT_LEAF) {
			why = check_leaf(f, c.level, c.value);
		} else if (cursor_kind(&c) == FMT_TABLE) {
			/* A table entry that walks have set A in is the same entry. */
			if ((c.value & ~f->a & ~f->addr) != (f->table_bits & ~f->a))
				why = "a table entry that is not permissive";
			else if (!t->grows && is_table_empty(t, fmt_table(f, c.value), 0))
				why = "an empty table that was not retired";
			if (++pages > t->pages)
				why = "more tables than were counted";
		}
		if (why)
			return why;
	}
	return pages == t->pages ? NULL : "fewer tables than were counted";
}
