/* What the manuals say about one paging-structure entry and one access, as pure functions.
 *
 * Written from the Intel SDM vol. 3, 4.4 to 4.7 and the AMD APM vol. 2, 5.3 to 5.6, and not from
 * the engine: the tests' model CPU, the reference MMU and the access matrix all judge by it. Where
 * the two vendors differ (bit 8 of a PML4E or PML5E is reserved) it is AMD's.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef SUPPORT_ORACLE_H
#define SUPPORT_ORACLE_H

#include <twofold/twofold.h>

#define BIT(n) (UINT64_C(1) << (n))

/* Control-register bits. */
#define X_CR0_PE    BIT(0)
#define X_CR0_WP    BIT(16)
#define X_CR0_PG    BIT(31)
#define X_CR4_PSE   BIT(4)
#define X_CR4_PAE   BIT(5)
#define X_CR4_PGE   BIT(7)
#define X_CR4_LA57  BIT(12)
#define X_CR4_PCIDE BIT(17)
#define X_CR4_SMEP  BIT(20)
#define X_CR4_SMAP  BIT(21)
#define X_CR4_PKE   BIT(22)
#define X_EFER_LME  BIT(8)
#define X_EFER_LMA  BIT(10)
#define X_EFER_NXE  BIT(11)

/* Entry bits. */
#define X_P	     BIT(0)
#define X_W	     BIT(1)
#define X_U	     BIT(2)
#define X_A	     BIT(5)
#define X_D	     BIT(6)
#define X_PS	     BIT(7)
#define X_G	     BIT(8)
#define X_NX	     BIT(63)
#define X_PKEY_SHIFT 59
#define X_ADDR	     UINT64_C(0x000ffffffffff000)

enum okind {
	O_ABSENT,
	O_RESERVED, /* present, a reserved bit is set */
	O_TABLE,
	O_LEAF,
};

struct oentry {
	enum okind kind;
	uint64_t addr;	    /* table or page frame, a guest-physical address */
	unsigned int shift; /* leaf: log2 of the page's size */
	bool w, u, nx, g, a, d;
	uint8_t pkey;
};

/* Rights over all levels of a walk. */
struct orights {
	bool w, u, nx;
	uint8_t pkey; /* the leaf's */
};

/* Levels of paging: 0 without, 2 (32-bit), 3 (PAE), 4, 5. */
unsigned int oracle_levels(const struct tf_regs *r);
/* Bytes of one entry: 4 for 32-bit paging, else 8; and of which index at which level. */
unsigned int oracle_entry_bytes(const struct tf_regs *r);
unsigned int oracle_index(const struct tf_regs *r, unsigned int level, uint64_t va);
/* The root table's address in CR3. */
uint64_t oracle_root(const struct tf_regs *r);
bool oracle_is_canonical(const struct tf_regs *r, uint64_t va);

/* Decode an entry of a level (0: the lowest). */
struct oentry oracle_entry(const struct tf_regs *r, unsigned int maxphyaddr, unsigned int level,
			   uint64_t raw);
static inline struct orights oracle_start(void)
{
	return (struct orights){.w = true, .u = true};
}
/* Add one level's rights. */
void oracle_add(struct orights *to, const struct oentry *e);

/* The error code of a fault that found no translation: absent or reserved. */
uint32_t oracle_pfec(const struct tf_regs *r, uint32_t flags, bool present, bool reserved);
/* Does a finished walk with these rights allow the access? If not, *pfec is the error code. */
bool oracle_allows(const struct tf_regs *r, uint32_t flags, const struct orights *ri,
		   uint32_t *pfec);

#endif
