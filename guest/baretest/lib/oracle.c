/* The reference for accesses (oracle.h): pure functions of entries and CPU state.
 * APM vol. 2, 5.3 to 5.6; SDM vol. 3, 4.6 and 4.7. SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

/* One entry's reserved bits, given that it is present. */
static bool is_reserved(uint64_t e, unsigned int level, bool leaf, const struct state *s)
{
	uint64_t bits = PTE_ADDR & -(1ull << cpu_has.maxphyaddr);

	if (!s->nxe)
		bits |= PTE_NX;
	if (leaf && level > 0)
		bits |= (1ull << (12 + 9 * level)) - 1 - 0x1fff;
	if (level == 3)
		bits |= PTE_PS;
	return e & bits;
}

struct verdict oracle_entries(const uint64_t e[4], unsigned int leaf, const struct state *s,
			      const struct kind *k, uint32_t pkru)
{
	bool write = k->what == USER_WRITE || k->what == USER_OR, fetch = k->what == USER_FETCH;
	uint32_t err = (write ? PF_W : 0) | (k->user ? PF_U : 0) |
		       (fetch && (s->nxe || s->smep) ? PF_I : 0);
	uint64_t all = ~0ull, nx = 0;
	bool wp = s->wp || k->user, refused = false;

	for (int l = 3; l >= (int)leaf; l--) {
		if (!(e[l] & PTE_P))
			return (struct verdict){true, err};
		if (is_reserved(e[l], (unsigned int)l, l == (int)leaf, s))
			return (struct verdict){true, err | PF_P | PF_RSVD};
		all &= e[l];
		nx |= e[l] & PTE_NX;
	}
	if (k->user)
		refused |= !(all & PTE_U);
	else if (all & PTE_U)
		refused |= fetch ? s->smep : s->smap && !k->ac;
	refused |= write && wp && !(all & PTE_W);
	refused |= fetch && nx;
	err |= PF_P;
	if (s->pke && (all & PTE_U) && !fetch) {
		uint32_t rights = pkru >> 2 * (e[leaf] >> 59 & 15) & 3;

		if ((rights & 1) || (write && wp && (rights & 2))) {
			refused = true;
			err |= PF_PK;
		}
	}
	return (struct verdict){refused, refused ? err : 0};
}

struct verdict oracle_walk(uint64_t root, uint64_t va, const struct state *s, const struct kind *k,
			   uint64_t *pa, pte_t *entry[4], unsigned int *leaf)
{
	uint64_t e[4] = {0}, table = root;
	struct verdict v;
	unsigned int l = 3;

	for (;; l--) {
		entry[l] = (pte_t *)at(table) + entry_index(va, l);
		e[l] = *entry[l];
		if (l == 0 || !(e[l] & PTE_P) || (l < 3 && (e[l] & PTE_PS)) ||
		    is_reserved(e[l], l, false, s))
			break;
		table = e[l] & PTE_ADDR;
	}
	*leaf = l;
	v = oracle_entries(e, l, s, k, 0);
	if (!v.fault) {
		uint64_t in_page = (PAGE << 9 * l) - 1;

		*pa = (e[l] & PTE_ADDR & ~in_page) | (va & in_page);
	}
	return v;
}
