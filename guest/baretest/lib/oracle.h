/* What a CPU must answer to an access, computed from the entries: the reference that the tests
 * compare the machine with. SPDX-License-Identifier: BSD-2-Clause */
#ifndef BARETEST_ORACLE_H
#define BARETEST_ORACLE_H

#include "paging.h"

struct state {
	bool wp, nxe, smep, smap, pke;
};

struct kind {
	enum user_access what;
	bool user, ac;
};

struct verdict {
	bool fault;
	uint32_t err;
};

/* From the entries of one walk, e[3] the root's, e[leaf] the leaf. */
struct verdict oracle_entries(const uint64_t e[4], unsigned int leaf, const struct state *s,
			      const struct kind *k, uint32_t pkru);

/* Walk tables in identity-mapped memory, in 4 levels, changing nothing. *pa is set when there is no
 * fault; at[] gets pointers to the entries from the root's, [3], down to at[*leaf]. */
struct verdict oracle_walk(uint64_t root, uint64_t va, const struct state *s, const struct kind *k,
			   uint64_t *pa, pte_t *at[4], unsigned int *leaf);

#endif
