/* The guest walker (walk.h). Owns nothing; needs no lock of its own.
 *
 * AMD APM vol. 2, 5.2 to 5.6; Intel SDM vol. 3, 4.3 to 4.7. The order of faults: an entry that is
 * not present, then one with a reserved bit, then, at the end of a whole walk, the rights over all
 * levels.
 *
 * Where the manuals differ this is AMD's CPU: bit 8 of a PML4E and of a PML5E is reserved; 4 MiB
 * pages reach 40 physical bits whatever the CPU; a PDPTE of PAE is read at every walk, so that a
 * bad one is a #PF and not a #GP at the load of CR3 (APM 15.25.10 permits it).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "tables/walk.h"

#include "base/atomic.h"
#include "format/fmt_legacy.h"

#define CR0_WP	 (UINT64_C(1) << 16)
#define CR0_PG	 (UINT64_C(1) << 31)
#define CR4_PSE	 (UINT64_C(1) << 4)
#define CR4_PAE	 (UINT64_C(1) << 5)
#define CR4_PGE	 (UINT64_C(1) << 7)
#define CR4_LA57 (UINT64_C(1) << 12)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define CR4_PKE	 (UINT64_C(1) << 22)
#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_NXE (UINT64_C(1) << 11)

/* Races with writers of the same entries before we stop setting A and D. A hostile guest could
 * otherwise hold us, and the lock that our caller has, for ever. */
#define WALK_TRIES 64u

/* [from, to) */
#define BITS(from, to) ((UINT64_C(1) << (to)) - (UINT64_C(1) << (from)))

/* Reserved in a PDPTE of PAE, above the address too. Bit 5 is reserved by the manuals, but there
 * are CPUs (QEMU's) that set it as they walk. */
#define PDPTE_RESERVED (BITS(1, 3) | BITS(6, 9) | BITS(52, 63) | X86_NX)

/* By level, in long mode and PAE: reserved always, and reserved in a large leaf. */
static const uint64_t reserved_always[WALK_LEVELS] = {0, 0, 0, X86_PS | X86_G, X86_PS | X86_G};
static const uint64_t reserved_large[WALK_LEVELS] = {0, BITS(13, 21), BITS(13, 30), 0, 0};

unsigned int walk_levels(const struct tf_regs *r)
{
	if (!(r->cr0 & CR0_PG))
		return 0;
	if (!(r->cr4 & CR4_PAE))
		return 2;
	if (!(r->efer & EFER_LMA))
		return 3;
	return r->cr4 & CR4_LA57 ? 5 : 4;
}

/* The bits of an error code that the access alone decides. */
static uint32_t access_pfec(const struct tf_regs *r, uint32_t flags)
{
	uint32_t c = flags & TF_WRITE ? TF_PF_W : 0;
	c |= flags & TF_USER ? TF_PF_U : 0;
	bool tells_fetch = (r->cr4 & CR4_SMEP) || ((r->cr4 & CR4_PAE) && (r->efer & EFER_NXE));
	c |= (flags & TF_FETCH) && tells_fetch ? TF_PF_I : 0;
	return c;
}

/* Does the leaf's protection key forbid it? Only user pages have a key, and only for data. */
static bool key_forbids(const struct tf_regs *r, uint32_t flags, const struct walk *w)
{
	if (!(r->cr4 & CR4_PKE) || w->levels < 4 || !w->user || (flags & TF_FETCH))
		return false;
	uint32_t key = r->pkru >> (2u * w->pkey);
	if (key & 1)
		return true;
	return (key & 2) && (flags & TF_WRITE) && ((flags & TF_USER) || (r->cr0 & CR0_WP));
}

static bool rights_forbid(const struct tf_regs *r, uint32_t flags, const struct walk *w)
{
	if (flags & TF_USER)
		return !w->user || ((flags & TF_WRITE) && !w->writable) ||
		       ((flags & TF_FETCH) && w->nx);
	if (flags & TF_FETCH)
		return w->nx || (w->user && (r->cr4 & CR4_SMEP));
	if (w->user && (r->cr4 & CR4_SMAP) && (flags & (TF_AC | TF_IMPLICIT)) != TF_AC)
		return true;
	return (flags & TF_WRITE) && !w->writable && (r->cr0 & CR0_WP);
}

__attribute__((hot)) bool walk_allows(const struct walk_cpu *cpu, uint32_t flags, struct walk *w)
{
	bool key = key_forbids(&cpu->r, flags, w);
	if (!key && !rights_forbid(&cpu->r, flags, w))
		return true;
	w->pfec = TF_PF_P | access_pfec(&cpu->r, flags) | (key ? TF_PF_PK : 0);
	return false;
}

__attribute__((hot)) static bool fault(const struct walk_cpu *cpu, uint32_t flags, struct walk *w,
				       unsigned int level, uint32_t why)
{
	w->stop = level;
	w->pfec = why | access_pfec(&cpu->r, flags);
	return false;
}

/* Read the entries of long mode and PAE down to the leaf. */
static bool read64(struct walk_mem *m, const struct walk_cpu *cpu, const struct tf_access *a,
		   struct walk *w, void *ptr[WALK_LEVELS])
{
	const struct tf_regs *r = &cpu->r;
	const bool pae = w->levels == 3;
	const uint64_t va = pae ? (uint32_t)a->at.v : a->at.v;
	uint64_t reserved = X86_ADDR & ~((UINT64_C(1) << cpu->maxphyaddr) - 1);
	uint64_t all = ~UINT64_C(0), any = 0; /* bits set at all levels, at any level */
	uint64_t table = pae ? r->cr3 & UINT64_C(0xffffffe0) : r->cr3 & X86_ADDR;
	unsigned int level = w->levels;
	uint64_t e;
	if (!(r->efer & EFER_NXE))
		reserved |= X86_NX;
	for (;;) {
		unsigned int shift = TF_PAGE_SHIFT + 9 * --level;
		gpa_t at = gpa(table + (va >> shift & 511) * 8);
		ptr[level] = m->entry(m, at);
		e = ptr[level] ? entry_read(ptr[level]) : ~UINT64_C(0);
		w->step[level] = (struct walk_step){at, e};
		if (!(e & X86_P))
			return fault(cpu, a->flags, w, level, 0);
		if (pae && level == 2) {
			/* No rights, no A: only an address. */
			if (e & (reserved | PDPTE_RESERVED))
				return fault(cpu, a->flags, w, level, TF_PF_P | TF_PF_RSVD);
			reserved |= BITS(52, 63);
			table = e & X86_ADDR;
			continue;
		}
		bool leaf = level == 0 || (e & X86_PS);
		if (e & (reserved | reserved_always[level] | (leaf ? reserved_large[level] : 0)))
			return fault(cpu, a->flags, w, level, TF_PF_P | TF_PF_RSVD);
		all &= e;
		any |= e;
		if (leaf)
			break;
		table = e & X86_ADDR;
	}
	uint64_t offset = (UINT64_C(1) << (TF_PAGE_SHIFT + 9 * level)) - 1;
	w->leaf = w->stop = level;
	w->gpa = gpa((e & X86_ADDR & ~offset) | (va & offset));
	w->writable = all & X86_W;
	w->user = all & X86_U;
	w->nx = any & X86_NX;
	w->global = (e & X86_G) && (r->cr4 & CR4_PGE);
	w->dirty = e & X86_D;
	w->pkey = pae ? 0 : e >> X86_PKEY_SHIFT & 15;
	return walk_allows(cpu, a->flags, w);
}

/* Reserved bits of a 4 MiB leaf: bit 21, and the high address bits that the CPU does not have. */
static uint64_t pse36_reserved(unsigned int maxphyaddr)
{
	unsigned int bits = maxphyaddr > 40 ? 40 : maxphyaddr < 32 ? 32 : maxphyaddr;
	return BITS(bits - 19, 22);
}

/* Read the entries of 32-bit paging down to the leaf. */
static bool read32(struct walk_mem *m, const struct walk_cpu *cpu, const struct tf_access *a,
		   struct walk *w, void *ptr[WALK_LEVELS])
{
	const struct tf_regs *r = &cpu->r;
	const struct fmt *f = r->cr4 & CR4_PSE ? &fmt_legacy32_pse : &fmt_legacy32;
	const uint64_t va = (uint32_t)a->at.v;
	uint64_t all = ~UINT64_C(0);
	uint64_t table = r->cr3 & f->addr;
	unsigned int level = w->levels;
	enum fmt_kind kind;
	uint64_t e;
	do {
		level--;
		gpa_t at = gpa(table + fmt_index(f, va, level) * 4);
		ptr[level] = m->entry(m, at);
		e = ptr[level] ? entry_read32(ptr[level]) : UINT32_MAX;
		w->step[level] = (struct walk_step){at, e};
		kind = fmt_kind(f, level, e);
		if (kind == FMT_EMPTY)
			return fault(cpu, a->flags, w, level, 0);
		if (kind == FMT_LEAF && level && (e & pse36_reserved(cpu->maxphyaddr)))
			return fault(cpu, a->flags, w, level, TF_PF_P | TF_PF_RSVD);
		all &= e;
		table = fmt_table(f, e);
	} while (kind == FMT_TABLE);
	w->leaf = w->stop = level;
	w->gpa = gpa(fmt_leaf(f, level, e) + (va & (fmt_size(f, level) - 1)));
	w->writable = all & X86_W;
	w->user = all & X86_U;
	w->nx = false;
	w->global = (e & X86_G) && (r->cr4 & CR4_PGE);
	w->dirty = e & X86_D;
	w->pkey = 0;
	return walk_allows(cpu, a->flags, w);
}

/* Set bits of one entry that read as `*e`. False: something else than A or D changed meanwhile. */
static bool set_bits(void *ptr, bool wide, uint64_t *e, uint64_t bits)
{
	const uint64_t ad = X86_A | X86_D;
	uint64_t old = *e;
	while ((old & bits) != bits) {
		bool done;
		if (wide) {
			done = entry_cas(ptr, &old, old | bits);
		} else {
			uint32_t old32 = (uint32_t)old;
			done = entry_cas32(ptr, &old32, (uint32_t)(old | bits));
			old = old32;
		}
		if (done)
			old |= bits;
		else if ((old ^ *e) & ~ad)
			return false;
	}
	*e = old;
	return true;
}

/* Set A on every step and, for a write, D on the leaf. False: walk again. An entry where there is
 * no memory reads as all ones and never gets here. */
static bool set_accessed(struct walk_mem *m, bool write, struct walk *w, void *ptr[WALK_LEVELS])
{
	for (unsigned int level = w->levels; level-- > w->leaf;) {
		uint64_t bits = X86_A | (write && level == w->leaf ? X86_D : 0);
		struct walk_step *s = &w->step[level];
		if ((s->entry & bits) == bits || (w->levels == 3 && level == 2))
			continue;
		if (!set_bits(ptr[level], w->levels > 2, &s->entry, bits))
			return false;
		if (m->dirtied)
			m->dirtied(m, gpa_to_gfn(s->at));
	}
	w->dirty = w->step[w->leaf].entry & X86_D;
	return true;
}

static bool is_canonical(uint64_t va, unsigned int levels)
{
	unsigned int unused = levels == 5 ? 7 : 16;
	return (uint64_t)((int64_t)(va << unused) >> unused) == va;
}

static void walk_identity(const struct tf_access *a, struct walk *w)
{
	w->leaf = w->stop = 0;
	w->gpa = gpa((uint32_t)a->at.v);
	w->writable = w->user = w->dirty = true;
	w->nx = w->global = false;
	w->pkey = 0;
}

bool walk_gva(struct walk_mem *m, const struct walk_cpu *cpu, const struct tf_access *a,
	      bool set_ad, struct walk *w)
{
	void *ptr[WALK_LEVELS];
	unsigned int levels = walk_levels(&cpu->r);
	w->levels = levels;
	w->pfec = 0;
	if (levels == 0) {
		walk_identity(a, w);
		return true;
	}
	if (levels >= 4 && !is_canonical(a->at.v, levels)) {
		w->stop = WALK_LEVELS;
		return false;
	}
	for (unsigned int tries = 0; tries < WALK_TRIES; tries++) {
		bool allowed = levels == 2 ? read32(m, cpu, a, w, ptr) : read64(m, cpu, a, w, ptr);
		if (!allowed || !set_ad)
			return allowed;
		if (set_accessed(m, a->flags & TF_WRITE, w, ptr))
			break;
	}
	return true;
}

struct walk_upper walk_upper_of(const struct walk *w)
{
	struct walk_upper u = {.levels = w->levels, .all = ~UINT64_C(0), .any = 0};
	for (unsigned int l = 1; l < w->levels; l++) {
		u.all &= w->step[l].entry;
		u.any |= w->step[l].entry;
	}
	return u;
}

__attribute__((hot)) bool walk_last(const struct walk_cpu *cpu, const struct tf_access *a,
				    const struct walk_upper *u, uint64_t entry, struct walk *w)
{
	uint64_t reserved = X86_ADDR & ~((UINT64_C(1) << cpu->maxphyaddr) - 1);
	if (!(cpu->r.efer & EFER_NXE))
		reserved |= X86_NX;
	w->levels = u->levels;
	w->leaf = w->stop = 0;
	w->step[0].entry = entry;
	if (!(entry & X86_P))
		return fault(cpu, a->flags, w, 0, 0);
	if (entry & reserved)
		return fault(cpu, a->flags, w, 0, TF_PF_P | TF_PF_RSVD);
	w->gpa = gpa((entry & X86_ADDR) | (a->at.v & TF_PAGE_MASK));
	w->writable = u->all & entry & X86_W;
	w->user = u->all & entry & X86_U;
	w->nx = (u->any | entry) & X86_NX;
	w->global = (entry & X86_G) && (cpu->r.cr4 & CR4_PGE);
	w->dirty = entry & X86_D;
	w->pkey = entry >> X86_PKEY_SHIFT & 15;
	return walk_allows(cpu, a->flags, w);
}
