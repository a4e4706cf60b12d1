/* Fuzzing the guest walker: any tables, any registers, any access.
 *
 * The input is the registers, the access and a list of stores to a small guest memory. The walker
 * must agree with the manuals' rules (support/oracle.c), change nothing but A and D of the entries
 * that it used, and stay within the memory that it was given (ASan).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "tables/walk.h"

#define PAGES 6

struct head {
	uint8_t cr0, cr4, efer, width, flags, set, root, spare;
	uint32_t pkru;
	uint64_t va;
} __attribute__((packed));

struct store {
	uint8_t page;
	uint16_t index;
	uint64_t value;
} __attribute__((packed));

struct mem {
	struct walk_mem m;
	uint8_t *page; /* PAGES of them, on the heap so that ASan sees the edges */
};

static void *entry_at(struct walk_mem *m, gpa_t at)
{
	struct mem *g = (struct mem *)m;
	return at.v < PAGES * TF_PAGE_SIZE ? g->page + at.v : NULL;
}

static uint64_t read_at(const struct mem *g, unsigned int bytes, uint64_t at)
{
	uint64_t e = 0;

	if (at >= PAGES * TF_PAGE_SIZE)
		return bytes == 4 ? 0xffffffff : ~UINT64_C(0);
	memcpy(&e, g->page + at, bytes);
	return e;
}

static void require(bool cond)
{
	if (!cond)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct head h;
	struct mem g = {.m = {.entry = entry_at}};

	if (size < sizeof(h))
		return 0;
	memcpy(&h, data, sizeof(h));
	data += sizeof(h);
	size -= sizeof(h);

	struct walk_cpu cpu = {.maxphyaddr = 32 + h.width % 21};
	struct tf_regs *r = &cpu.r;
	r->cr0 = X_CR0_PE | (h.cr0 & 1 ? 0 : X_CR0_PG) | (h.cr0 & 2 ? X_CR0_WP : 0);
	r->cr4 = (h.cr4 & 1 ? 0 : X_CR4_PAE) | (h.cr4 & 2 ? X_CR4_PSE : 0) |
		 (h.cr4 & 4 ? X_CR4_PGE : 0) | (h.cr4 & 8 ? X_CR4_LA57 : 0) |
		 (h.cr4 & 16 ? X_CR4_SMEP : 0) | (h.cr4 & 32 ? X_CR4_SMAP : 0) |
		 (h.cr4 & 64 ? X_CR4_PKE : 0);
	r->efer = (h.efer & 1 ? 0 : X_EFER_LME) | (h.efer & 2 ? X_EFER_NXE : 0);
	if ((r->efer & X_EFER_LME) && (r->cr0 & X_CR0_PG)) {
		r->efer |= X_EFER_LMA;
		r->cr4 |= X_CR4_PAE;
	}
	r->cr3 = (uint64_t)(h.root & 7) << 12;
	r->pkru = h.pkru;
	struct tf_access a = {.at = gva(h.va)};
	static const uint32_t kinds[] = {0,
					 TF_WRITE,
					 TF_FETCH,
					 TF_USER,
					 TF_USER | TF_WRITE,
					 TF_USER | TF_FETCH,
					 TF_IMPLICIT,
					 TF_IMPLICIT | TF_WRITE};
	a.flags = kinds[h.flags & 7] | (h.flags & 8 ? TF_AC : 0);
	if (oracle_levels(r) < 4)
		a.at.v &= 0xffffffff;
	else if (!(h.flags & 16)) /* mostly canonical */
		a.at.v = (uint64_t)((int64_t)(h.va << 16) >> 16);

	g.page = calloc(PAGES, TF_PAGE_SIZE);
	uint8_t *before = malloc(PAGES * TF_PAGE_SIZE);
	require(g.page && before);
	/* Stores; a small value of `page` and the address's own indices are likely to matter. */
	for (; size >= sizeof(struct store);
	     data += sizeof(struct store), size -= sizeof(struct store)) {
		struct store s;
		memcpy(&s, data, sizeof(s));
		unsigned int bytes = oracle_levels(r) == 2 ? 4 : 8;
		unsigned int i = s.index;
		if (s.page & 0x80)
			i = oracle_index(r, s.index % 5, a.at.v);
		uint64_t at = (s.page & 0x7f) % PAGES * (uint64_t)TF_PAGE_SIZE +
			      i % (TF_PAGE_SIZE / bytes) * bytes;
		memcpy(g.page + at, &s.value, bytes);
	}
	memcpy(before, g.page, PAGES * TF_PAGE_SIZE);

	struct walk w;
	bool ok = walk_gva(&g.m, &cpu, &a, h.set & 1, &w);
	unsigned int levels = oracle_levels(r), bytes = oracle_entry_bytes(r);
	require(w.levels == levels);
	if (!levels) {
		require(ok && w.gpa.v == a.at.v);
		goto unchanged;
	}
	if (!oracle_is_canonical(r, a.at.v)) {
		require(!ok && w.pfec == 0 && w.stop == WALK_LEVELS);
		goto unchanged;
	}
	/* The same by the manuals, on memory as it was. */
	struct mem old = {.page = before};
	uint64_t table = oracle_root(r), at[5];
	struct orights ri = oracle_start();
	bool want = false;
	uint32_t pfec = 0;
	uint64_t to = 0;
	unsigned int level = levels - 1;
	for (;; level--) {
		at[level] = table + (uint64_t)bytes * oracle_index(r, level, a.at.v);
		struct oentry e =
			oracle_entry(r, cpu.maxphyaddr, level, read_at(&old, bytes, at[level]));
		if (e.kind == O_ABSENT || e.kind == O_RESERVED) {
			pfec = oracle_pfec(r, a.flags, e.kind == O_RESERVED, e.kind == O_RESERVED);
			break;
		}
		oracle_add(&ri, &e);
		if (e.kind == O_LEAF) {
			want = oracle_allows(r, a.flags, &ri, &pfec);
			to = e.addr | (a.at.v & (BIT(e.shift) - 1));
			break;
		}
		table = e.addr;
	}
	require(w.stop == level);
	if ((h.set & 1) && want) {
		/* A walk may go through one entry twice (a table that points at itself): then what
		 * it sets for one level may matter to another, and bits may only be added. */
		for (unsigned int i = 0; i < PAGES * TF_PAGE_SIZE; i += bytes) {
			uint64_t was = read_at(&old, bytes, i), is = read_at(&g, bytes, i);
			if (was == is)
				continue;
			bool used = false, leaf = false;
			for (unsigned int k = level; k < levels; k++) {
				used = used || (at[k] == i && !(levels == 3 && k == 2));
				leaf = leaf || (at[k] == i && k == level);
			}
			require(used);
			require((is & ~was & ~(X_A | (leaf && (a.flags & TF_WRITE) ? X_D : 0))) ==
				0);
			require((was & ~is) == 0);
		}
	}
	require(ok == want);
	if (ok)
		require(w.gpa.v == to && w.leaf == level && w.writable == ri.w && w.user == ri.u &&
			w.nx == ri.nx);
	else
		require(w.pfec == pfec);
	if ((h.set & 1) && want)
		goto out;
unchanged:
	require(!memcmp(before, g.page, PAGES * TF_PAGE_SIZE));
out:
	free(before);
	free(g.page);
	return 0;
}
