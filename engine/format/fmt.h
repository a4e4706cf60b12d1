/* A page-table format as data, and what every format answers about one entry.
 *
 * An entry is EMPTY, a TABLE or a LEAF; level 0 is always the leaf level, so that one cursor serves
 * every format. Formats are const structs, one header each. No lock: values only; whoever reads a
 * live entry reads it once (base/atomic.h) and asks about the value.
 *
 *	level   4 (57 bits)   3 (512 GiB)   2 (1 GiB)   1 (2 MiB)   0 (4 KiB)
 *	kinds   E T           E T           E T L       E T L       E L
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef FORMAT_FMT_H
#define FORMAT_FMT_H

#include <twofold/host.h>

#define FMT_LEVELS_MAX 5u
#define FMT_ENTRIES    512u /* of a table of a format that we write */

/* What a leaf allows. Formats that cannot tell ignore the bit. A leaf always has PERM_R. */
enum {
	PERM_R = 1u << 0,
	PERM_W = 1u << 1,
	PERM_X = 1u << 2,
	PERM_U = 1u << 3, /* x86: at CPL 3; nested formats have no such bit to vary */
	PERM_A = 1u << 4, /* the leaf is made accessed: spares the CPU a write when it will be */
	PERM_D = 1u << 5, /* likewise dirty */
	PERM_RWX = PERM_R | PERM_W | PERM_X,
};

enum fmt_kind {
	FMT_EMPTY,
	FMT_TABLE,
	FMT_LEAF,
};

struct fmt {
	const char *name;
	uint8_t levels;
	uint8_t index_bits;   /* of an address, for each level */
	uint8_t address_bits; /* that the tables translate */
	uint8_t entry_bytes;
	uint8_t leaves;	     /* bit l: a leaf may be at level l */
	bool writable;	     /* we build such tables; the others are only read */
	bool pse36;	     /* leaf bits 20:13 at level 1 are address bits 39:32 */
	uint64_t present;    /* any of these: not EMPTY */
	uint64_t large;	     /* tells a LEAF above level 0 from a TABLE */
	uint64_t addr;	     /* address bits of a table entry and of a 4 KiB leaf */
	uint64_t r, w, x, u; /* set: allowed; 0: no such bit */
	uint64_t nx;	     /* set: not executable */
	uint64_t a, d;	     /* accessed, dirty; 0: CPUs keep none */
	uint64_t table_bits; /* of every table entry: all permissive */
	uint64_t leaf_bits;  /* of every leaf: memory type and the like */
	uint32_t flush;	     /* TF_FLUSH_*: what CPUs cache of it */
};

/* log2 of the bytes that one entry of a level maps. */
static inline unsigned int fmt_shift(const struct fmt *f, unsigned int level)
{
	return TF_PAGE_SHIFT + f->index_bits * level;
}

static inline uint64_t fmt_size(const struct fmt *f, unsigned int level)
{
	return UINT64_C(1) << fmt_shift(f, level);
}

/* One past the last address that the tables translate. */
static inline uint64_t fmt_end(const struct fmt *f)
{
	return UINT64_C(1) << f->address_bits;
}

static inline unsigned int fmt_index(const struct fmt *f, uint64_t at, unsigned int level)
{
	uint64_t low = at & (fmt_end(f) - 1);
	return (unsigned int)(low >> fmt_shift(f, level)) & ((1u << f->index_bits) - 1);
}

static inline bool fmt_can_leaf(const struct fmt *f, unsigned int level)
{
	return f->leaves >> level & 1;
}

static inline enum fmt_kind fmt_kind(const struct fmt *f, unsigned int level, uint64_t e)
{
	if (!(e & f->present))
		return FMT_EMPTY;
	if (level == 0 || ((e & f->large) && fmt_can_leaf(f, level)))
		return FMT_LEAF;
	return FMT_TABLE;
}

/* Where a TABLE entry leads. */
static inline uint64_t fmt_table(const struct fmt *f, uint64_t e)
{
	return e & f->addr;
}

/* The first address that a LEAF maps to. */
static inline uint64_t fmt_leaf(const struct fmt *f, unsigned int level, uint64_t e)
{
	uint64_t base = e & f->addr & ~(fmt_size(f, level) - 1);
	if (f->pse36 && level == 1)
		base |= (e >> 13 & 0xff) << 32;
	return base;
}

static inline uint64_t fmt_make_table(const struct fmt *f, uint64_t table)
{
	return table | f->table_bits;
}

static inline uint64_t fmt_make_leaf(const struct fmt *f, unsigned int level, uint64_t to,
				     unsigned int perm)
{
	uint64_t e = to | f->leaf_bits | (level ? f->large : 0);
	e |= perm & PERM_R ? f->r : 0;
	e |= perm & PERM_W ? f->w : 0;
	e |= perm & PERM_X ? f->x : f->nx;
	e |= perm & PERM_U ? f->u : 0;
	e |= perm & PERM_A ? f->a : 0;
	e |= perm & PERM_D ? f->d : 0;
	return e;
}

/* What an entry that is not EMPTY allows, with PERM_A and PERM_D. */
static inline unsigned int fmt_perm(const struct fmt *f, uint64_t e)
{
	bool x = f->nx ? !(e & f->nx) : (e & f->x) != 0;
	return (e & f->r ? PERM_R : 0) | (e & f->w ? PERM_W : 0) | (x ? PERM_X : 0) |
	       (e & f->u ? PERM_U : 0) | (e & f->a ? PERM_A : 0) | (e & f->d ? PERM_D : 0);
}

/* Does a leaf allow any of these (PERM_W, PERM_X, PERM_U)? */
static inline bool fmt_allows_any(const struct fmt *f, uint64_t e, unsigned int perm)
{
	return fmt_perm(f, e) & perm;
}

/* May somebody have accessed what the leaf maps, since it was made or since A was last cleared? */
static inline bool fmt_is_accessed(const struct fmt *f, uint64_t e)
{
	return !f->a || (e & f->a);
}

/* The same leaf one level lower: piece `i` of it. Rights, accessed and dirty stay. */
static inline uint64_t fmt_split_leaf(const struct fmt *f, unsigned int level, uint64_t e,
				      unsigned int i)
{
	uint64_t keep = e & ~f->addr & ~f->large;
	return keep | (fmt_leaf(f, level, e) + i * fmt_size(f, level - 1)) |
	       (level > 1 ? f->large : 0);
}

#endif
