/* A cursor over a table: stands on one entry, steps down, side or up. Pre-order.
 *
 *	for (bool more = cursor_start(&c, t, from, to); more; more = cursor_next(&c))
 *		... c.at, c.level, c.value, cursor_kind(&c) ...
 *
 * It visits every entry that overlaps the range, EMPTY ones too; what lies under an EMPTY entry is
 * not visited. The table's lock is held all the while; the caller may change the entry under the
 * cursor and calls cursor_reload() if it made or removed a table there.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef TABLES_CURSOR_H
#define TABLES_CURSOR_H

#include "tables/table.h"

struct cursor {
	const struct table *t;
	uint64_t from, to;		/* the range */
	uint64_t at;			/* first address of the entry; may lie before `from` */
	uint64_t value;			/* of the entry, when it was read */
	uint64_t *slot[FMT_LEVELS_MAX]; /* by level: the entries from the root to here */
	unsigned int level;
};

static inline void cursor_reload(struct cursor *c)
{
	c->value = entry_read(c->slot[c->level]);
}

static inline enum fmt_kind cursor_kind(const struct cursor *c)
{
	return fmt_kind(c->t->fmt, c->level, c->value);
}

static inline uint64_t *table_page(const struct table *t, uint64_t page)
{
	return tf_host_ptr(t->h, hpa(page));
}

/* Stand on the root's entry for `from`. False: the range is empty. */
static inline bool cursor_start(struct cursor *c, const struct table *t, uint64_t from, uint64_t to)
{
	const struct fmt *f = t->fmt;
	c->t = t;
	c->from = from;
	c->to = to;
	c->level = f->levels - 1u;
	c->at = from & ~(fmt_size(f, c->level) - 1);
	c->slot[c->level] = table_page(t, t->root.v) + fmt_index(f, from, c->level);
	cursor_reload(c);
	return from < to;
}

/* To the first entry of the range in the table below. False: there is no table below. */
static inline bool cursor_down(struct cursor *c)
{
	const struct fmt *f = c->t->fmt;
	if (cursor_kind(c) != FMT_TABLE)
		return false;
	if (c->at < c->from)
		c->at = c->from;
	uint64_t *page = table_page(c->t, fmt_table(f, c->value));
	c->level--;
	c->slot[c->level] = page + fmt_index(f, c->at, c->level);
	c->at &= ~(fmt_size(f, c->level) - 1);
	cursor_reload(c);
	return true;
}

/* To the next entry of the same table. False: that was the last of the table or of the range. */
static inline bool cursor_side(struct cursor *c)
{
	const struct fmt *f = c->t->fmt;
	uint64_t next = c->at + fmt_size(f, c->level);
	if (next >= c->to || fmt_index(f, next, c->level) == 0)
		return false;
	c->at = next;
	c->slot[c->level]++;
	cursor_reload(c);
	return true;
}

/* To the entry that holds this table. False: this is the root table. */
static inline bool cursor_up(struct cursor *c)
{
	if (c->level + 1u == c->t->fmt->levels)
		return false;
	c->level++;
	c->at &= ~(fmt_size(c->t->fmt, c->level) - 1);
	cursor_reload(c);
	return true;
}

/* To the next entry in pre-order, not going below this one. */
static inline bool cursor_skip(struct cursor *c)
{
	do {
		if (cursor_side(c))
			return true;
	} while (cursor_up(c));
	return false;
}

/* To the next entry in pre-order. */
static inline bool cursor_next(struct cursor *c)
{
	return cursor_down(c) || cursor_skip(c);
}

#endif
