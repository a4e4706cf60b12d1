/* Walks of the model hardware: shadow tables, and guest tables through nested ones.
 *
 * Formats from AMD APM vol. 2, 5.3 and 15.25, Intel SDM vol. 3, 29.3. NPT: every read of a guest
 * table entry counts as a write at the nested level (APM 15.25.6); EPT does the same when its A and
 * D bits are on (SDM 29.3.3.2). Written without a look at the engine's formats.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "hw_walk.h"

#include <stdarg.h>
#include <stdio.h>

void hw_break(struct hw *h, const char *fmt, ...)
{
	va_list ap;

	if (__atomic_exchange_n(&h->breaking, true, __ATOMIC_SEQ_CST))
		return;
	va_start(ap, fmt);
	vsnprintf(h->broken, sizeof(h->broken), fmt, ap);
	va_end(ap);
	__atomic_store_n(&h->is_broken, true, __ATOMIC_SEQ_CST);
}

uint32_t hw_gen(struct hw *h, uint64_t at)
{
	uint64_t i = fakehost_frame(hpa(at));

	return at >= FAKEHOST_BASE && i < h->f->frames
		       ? __atomic_load_n(&h->frame[i].gen, __ATOMIC_RELAXED)
		       : 0;
}

uint32_t hw_gen_of(struct hw *h, uint64_t at, unsigned int shift)
{
	uint32_t sum = 0;

	if (shift <= 21)
		return hw_gen(h, at);
	for (uint64_t part = 0; part < BIT(shift); part += BIT(21))
		sum += hw_gen(h, at + part);
	return sum;
}

static void frame_is(struct hw *h, uint64_t at, enum hw_owner as)
{
	static const char *const name[] = {"unknown", "a table", "guest memory"};

	if (!fakehost_is_allocated(h->f, hpa(at))) {
		hw_break(h, "a walk reached frame %#llx as %s, which is not allocated",
			 (unsigned long long)at, name[as]);
		return;
	}
	if (!h->checks)
		return;
	struct hw_frame *f = &h->frame[fakehost_frame(hpa(at))];
	if (f->owner == HW_UNKNOWN)
		f->owner = (uint8_t)as;
	else if (f->owner != as)
		hw_break(h, "frame %#llx is used as %s and as %s", (unsigned long long)at,
			 name[f->owner], name[as]);
}

void hw_frame_is_table(struct hw *h, uint64_t at)
{
	frame_is(h, at, HW_TABLE);
}

void hw_frame_is_data(struct hw *h, uint64_t at)
{
	frame_is(h, at, HW_DATA);
}

/* Do the nested tables have A and D? */
static bool keeps_ad(const struct hw *h)
{
	return h->conf.nested != TF_EPT_NO_AD;
}

/* What a walk of the nested tables found. */
struct nested {
	uint64_t hpa;
	unsigned int shift;
	bool w, x, dirty;
};

#define EPT_HOST_BITS 46 /* the machine's physical addresses; above them bits are reserved */

static bool set_bits(uint64_t *p, uint64_t *e, uint64_t bits)
{
	if ((*e & bits) == bits)
		return true;
	uint64_t want = *e | bits;
	if (!__atomic_compare_exchange_n(p, e, want, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	*e = want;
	return true;
}

/* An entry is read. */
static void note_ref(struct hw_cpu *c, uint64_t at_hpa)
{
	if (c->cold && c->refs < HW_REFS)
		c->ref[c->refs++] = at_hpa;
}

/* ---- caches ---- */

static struct hw_tlb *tlb_find(struct hw_cpu *c, uint64_t va)
{
	uint16_t pcid = hw_pcid(c);

	for (unsigned int i = 0; i < HW_TLB; i++) {
		struct hw_tlb *t = &c->tlb[i];
		if (t->valid && t->shadow == (c->load.mode == TF_SHADOW) &&
		    va >> t->shift == t->va >> t->shift && (t->global || t->pcid == pcid))
			return t;
	}
	return NULL;
}

static void tlb_add(struct hw_cpu *c, const struct hw_tlb *n)
{
	for (unsigned int i = 0; i < HW_TLB; i++) {
		struct hw_tlb *t = &c->tlb[i];
		if (t->valid && t->shadow == n->shadow && t->shift == n->shift && t->va == n->va &&
		    t->pcid == n->pcid) {
			*t = *n;
			return;
		}
	}
	c->tlb[rng_below(&c->rng, HW_TLB)] = *n;
}

/* The deepest cached table for the address; NULL: start at the root. */
static struct hw_psc *psc_find(struct hw_cpu *c, uint64_t va, bool nested)
{
	struct hw_psc *best = NULL;
	uint16_t pcid = nested ? 0 : hw_pcid(c);
	bool shadow = c->load.mode == TF_SHADOW;

	if (c->cold || rng_one_in(&c->rng, 3))
		return NULL;
	for (unsigned int i = 0; i < HW_PSC; i++) {
		struct hw_psc *p = &c->psc[i];
		unsigned int shift = 21 + 9 * p->level;
		if (p->valid && p->nested == nested && p->shadow == shadow && p->pcid == pcid &&
		    va >> shift == p->va >> shift && (!best || p->level < best->level))
			best = p;
	}
	return best;
}

/* A nested or a shadow table lies where its address says (NULL), the guest's where `at` says. */
static void psc_add(struct hw_cpu *c, uint64_t va, unsigned int level, uint64_t table, bool nested,
		    const struct nested *at, struct orights ri)
{
	uint16_t pcid = nested ? 0 : hw_pcid(c);
	unsigned int shift = 21 + 9 * level;
	bool shadow = c->load.mode == TF_SHADOW;

	if (rng_one_in(&c->rng, 2))
		return;
	struct hw_psc *to = &c->psc[rng_below(&c->rng, HW_PSC)];
	for (unsigned int i = 0; i < HW_PSC; i++) {
		struct hw_psc *p = &c->psc[i];
		if (p->valid && p->nested == nested && p->shadow == shadow && p->pcid == pcid &&
		    p->level == level && va >> shift == p->va >> shift)
			to = p;
	}
	*to = (struct hw_psc){.valid = true,
			      .nested = nested,
			      .shadow = shadow,
			      .level = (uint8_t)level,
			      .pcid = pcid,
			      .va = va,
			      .table = table,
			      .hpa = at ? at->hpa & X_ADDR : table,
			      .w = at && at->w,
			      .rights = ri,
			      .gen = hw_gen(c->hw, at ? at->hpa & X_ADDR : table)};
}

/* ---- shadow ---- */

static const uint64_t sane = X_P | X_W | X_U | BIT(3) | BIT(4) | X_A | X_D | X_PS | X_G | BIT(9) |
			     BIT(10) | BIT(11) | X_ADDR | UINT64_C(0xfff) << 52;

static void shadow_walk(struct hw_cpu *c, uint64_t va, uint32_t flags, struct hw_walk *w)
{
	struct hw *h = c->hw;
	struct tf_regs r = c->r;
	struct orights ri;
	uint32_t pfec;

	/* The host runs shadow roots with these on, whatever the guest has. */
	r.cr0 |= X_CR0_WP | X_CR0_PG | X_CR0_PE;
	r.cr4 |= X_CR4_PAE;
	r.efer |= X_EFER_NXE | X_EFER_LMA | X_EFER_LME;
	w->end = HW_W_EXIT;
again:
	ri = oracle_start();
	unsigned int level = oracle_levels(&r) - 1;
	uint64_t table = c->load.root.v & X_ADDR;
	struct hw_psc *p = psc_find(c, va, false);
	if (p) {
		level = p->level;
		table = p->table;
		ri = p->rights;
	}
	for (;; level--) {
		hw_frame_is_table(h, table);
		if (hw_is_broken(h))
			return;
		uint64_t where = table + 8 * (va >> (12 + 9 * level) & 511);
		uint64_t *at = fakehost_ptr(h->f, hpa(where), 8, "shadow walk");
		note_ref(c, where);
		uint64_t e = __atomic_load_n(at, __ATOMIC_SEQ_CST);
		if (!(e & X_P)) {
			w->absent = true;
			return;
		}
		if (e & ~sane)
			hw_break(h, "shadow entry %#llx has reserved bits", (unsigned long long)e);
		bool leaf = level == 0 || ((level == 1 || level == 2) && (e & X_PS));
		if (level >= 3 && (e & X_PS))
			hw_break(h, "shadow entry %#llx at level %u has PS", (unsigned long long)e,
				 level);
		ri.w = ri.w && (e & X_W);
		ri.u = ri.u && (e & X_U);
		ri.nx = ri.nx || (e & X_NX);
		ri.pkey = e >> X_PKEY_SHIFT & 15;
		if (!leaf) {
			if (!set_bits(at, &e, X_A))
				goto again;
			table = e & X_ADDR;
			psc_add(c, va, level - 1, table, false, NULL, ri);
			continue;
		}
		if (!oracle_allows(&r, flags, &ri, &pfec))
			return;
		if (!set_bits(at, &e, X_A | (flags & TF_WRITE ? X_D : 0)))
			goto again;
		unsigned int shift = 12 + 9 * level;
		uint64_t base = e & X_ADDR;
		if (shift > 12)
			base &= ~BIT(12); /* PAT */
		if (base & (BIT(shift) - 1))
			hw_break(h, "shadow leaf %#llx at level %u is not aligned",
				 (unsigned long long)e, level);
		w->hpa = base | (va & (BIT(shift) - 1));
		hw_frame_is_data(h, w->hpa);
		if (hw_is_broken(h))
			return;
		struct hw_tlb t = {.valid = true,
				   .shadow = true,
				   .shift = (uint8_t)shift,
				   .va = va & ~(BIT(shift) - 1),
				   .hpa = base,
				   .rights = ri,
				   .dirty = e & X_D,
				   .n_w = true,
				   .n_x = true,
				   .gen = hw_gen_of(h, base, shift)};
		tlb_add(c, &t);
		w->end = HW_W_OK;
		return;
	}
}

/* ---- nested ---- */

/* An EPT entry that is present must be none that ends in a misconfiguration (SDM 29.3.3.1), and no
 * bit may be in use whose meaning depends on a control that the host might set. */
static void ept_check(struct hw *h, uint64_t e, unsigned int level)
{
	static const char *const what[] = {"writable but not readable", "reserved bits",
					   "a bad memory type", "guest memory not write-back",
					   "a bit that the engine has no use for"};
	const bool leaf = level == 0 || (level <= 2 && (e & BIT(7)));
	const unsigned int type = e >> 3 & 7;
	int bad = -1;

	if ((e & 3) == 2 || (e & 7) == 4)
		bad = 0;
	else if (!leaf && (e & (level == 3 ? 0xf8 : 0x78)))
		bad = 1;
	else if (e & 0xfffffffffffff & ~(BIT(EPT_HOST_BITS) - 1))
		bad = 1;
	else if (leaf && level && (e & (BIT(12 + 9 * level) - 1) & X_ADDR))
		bad = 1;
	else if (leaf && (type == 2 || type == 3 || type == 7))
		bad = 2;
	else if (leaf && (type != 6 || !(e & BIT(6))))
		bad = 3;
	else if (e & (UINT64_C(0xfff) << 52 | BIT(10) | BIT(11)))
		bad = 4;
	if (bad >= 0)
		hw_break(h, "EPT entry %#llx at level %u: %s", (unsigned long long)e, level,
			 what[bad]);
}

/* GPA to HPA. False: a nested fault. */
static bool nested_walk(struct hw_cpu *c, uint64_t at_gpa, bool write, bool fetch, struct nested *n)
{
	struct hw *h = c->hw;
	bool ept = h->conf.nested != TF_NPT;
	bool ad = keeps_ad(h);

	if (at_gpa >> 48)
		return false;
	if (!c->cold && !rng_one_in(&c->rng, 8))
		for (unsigned int i = 0; i < HW_NTLB; i++) {
			struct hw_ntlb *t = &c->ntlb[i];
			if (!t->valid || at_gpa >> t->shift != t->gpa >> t->shift)
				continue;
			if ((write && !(t->w && (t->dirty || !ad))) || (fetch && !t->x))
				continue;
			*n = (struct nested){.hpa = t->hpa | (at_gpa & (BIT(t->shift) - 1)),
					     .shift = t->shift,
					     .w = t->w,
					     .x = t->x,
					     .dirty = t->dirty};
			return true;
		}
again:;
	struct orights ri = oracle_start();
	unsigned int level = 3;
	uint64_t table = c->load.root.v & X_ADDR;
	struct hw_psc *p = psc_find(c, at_gpa, true);
	if (p) {
		level = p->level;
		table = p->table;
		ri = p->rights;
	}
	for (;; level--) {
		hw_frame_is_table(h, table);
		if (hw_is_broken(h))
			return false;
		uint64_t where = table + 8 * (at_gpa >> (12 + 9 * level) & 511);
		uint64_t *at = fakehost_ptr(h->f, hpa(where), 8, "nested walk");
		note_ref(c, where);
		uint64_t e = __atomic_load_n(at, __ATOMIC_SEQ_CST);
		if (ept ? !(e & 7) : !(e & X_P))
			return false;
		if (ept)
			ept_check(h, e, level);
		else if (e & ~sane)
			hw_break(h, "NPT entry %#llx has reserved bits", (unsigned long long)e);
		bool leaf = level == 0 || ((level == 1 || level == 2) && (e & X_PS));
		if (level == 3 && (e & X_PS))
			hw_break(h, "nested entry %#llx at level 3 has PS", (unsigned long long)e);
		ri.w = ri.w && (e & X_W);
		ri.u = ri.u && (ept || (e & X_U));
		ri.nx = ri.nx || (ept ? !(e & 4) : !!(e & X_NX));
		uint64_t a = !ad ? 0 : ept ? BIT(8) : X_A;
		uint64_t d = !ad ? 0 : ept ? BIT(9) : X_D;
		if (!leaf) {
			if (!set_bits(at, &e, a))
				goto again;
			table = e & X_ADDR;
			psc_add(c, at_gpa, level - 1, table, true, NULL, ri);
			continue;
		}
		if ((write && !ri.w) || !ri.u || (fetch && ri.nx))
			return false;
		if (!set_bits(at, &e, a | (write ? d : 0)))
			goto again;
		unsigned int shift = 12 + 9 * level;
		uint64_t base = e & X_ADDR;
		if (shift > 12 && !ept)
			base &= ~BIT(12);
		if (base & (BIT(shift) - 1))
			hw_break(h, "nested leaf %#llx at level %u is not aligned",
				 (unsigned long long)e, level);
		*n = (struct nested){.hpa = base | (at_gpa & (BIT(shift) - 1)),
				     .shift = shift,
				     .w = ri.w,
				     .x = !ri.nx,
				     .dirty = !ad || (e & d)};
		hw_frame_is_data(h, n->hpa);
		if (hw_is_broken(h))
			return false;
		c->ntlb[rng_below(&c->rng, HW_NTLB)] =
			(struct hw_ntlb){.valid = true,
					 .w = n->w,
					 .x = n->x,
					 .dirty = n->dirty,
					 .shift = (uint8_t)shift,
					 .gpa = at_gpa & ~(BIT(shift) - 1),
					 .hpa = base,
					 .gen = hw_gen_of(h, base, shift)};
		return true;
	}
}

/* May the entry that was just read be written? It is no other walk. */
static bool nested_writes(struct hw_cpu *c, uint64_t at_gpa, struct nested *n)
{
	unsigned int refs = c->refs;
	bool ok = n->w || nested_walk(c, at_gpa, true, false, n);

	c->refs = refs;
	return ok;
}

static void nested_fault(struct hw_walk *w, uint64_t at_gpa, bool write, bool fetch, bool in_table)
{
	w->end = HW_W_NESTED;
	w->gpa = at_gpa;
	w->nested_flags = (write ? TF_WRITE : 0) | (fetch ? TF_FETCH : 0);
	w->in_table = in_table;
}

/* Compare-and-swap of a guest entry of 4 or 8 bytes. */
static bool guest_set(struct hw *h, uint64_t at_hpa, uint64_t at_gpa, unsigned int bytes,
		      uint64_t *e, uint64_t bits)
{
	if ((*e & bits) == bits)
		return true;
	if (bytes == 8) {
		if (!set_bits(fakehost_ptr(h->f, hpa(at_hpa), 8, "guest A/D"), e, bits))
			return false;
	} else {
		uint32_t *p = fakehost_ptr(h->f, hpa(at_hpa), 4, "guest A/D");
		uint32_t old = (uint32_t)*e, want = old | (uint32_t)bits;
		if (!__atomic_compare_exchange_n(p, &old, want, false, __ATOMIC_SEQ_CST,
						 __ATOMIC_SEQ_CST))
			return false;
		*e = want;
	}
	if (h->on_ad)
		h->on_ad(h->arg, at_gpa, bytes, *e);
	return true;
}

static void guest_walk(struct hw_cpu *c, uint64_t va, uint32_t flags, bool quiet, struct hw_walk *w)
{
	struct hw *h = c->hw;
	const struct tf_regs *r = &c->r;
	unsigned int levels = oracle_levels(r), bytes = oracle_entry_bytes(r);
	bool walk_writes = keeps_ad(h);
	bool write = flags & TF_WRITE, fetch = flags & TF_FETCH;
	unsigned int tries = 0;
	struct orights ri;
	struct nested n;
	struct oentry e = {.w = true, .u = true};
	unsigned int shift = 12;
	uint64_t e_hpa = 0, e_gpa = 0, raw = 0;

	if (!oracle_is_canonical(r, va)) {
		w->end = HW_W_GP;
		return;
	}
again:
	ri = oracle_start();
	if (++tries > 1000) {
		hw_break(h, "a walk of the guest's tables never ends");
		return;
	}
	uint64_t at = va;
	if (levels) {
		unsigned int level = levels - 1;
		uint64_t table = oracle_root(r);
		struct hw_psc *p = levels >= 4 ? psc_find(c, va, false) : NULL;
		bool known = p;
		if (p) {
			level = p->level;
			table = p->table;
			ri = p->rights;
			n = (struct nested){.hpa = p->hpa, .w = p->w};
		}
		for (;; level--) {
			e_gpa = table + (uint64_t)bytes * oracle_index(r, level, va);
			if (known) {
				n.hpa |= e_gpa & TF_PAGE_MASK;
			} else if (!nested_walk(c, e_gpa, walk_writes, false, &n)) {
				nested_fault(w, e_gpa, walk_writes, false, true);
				return;
			} else if (levels >= 4 && level < levels - 1) {
				psc_add(c, va, level, table, false, &n, ri);
			}
			known = false;
			if (h->on_touch)
				h->on_touch(h->arg, e_gpa, walk_writes);
			e_hpa = n.hpa;
			note_ref(c, e_hpa);
			raw = bytes == 8
				      ? __atomic_load_n((uint64_t *)fakehost_ptr(h->f, hpa(e_hpa),
										 8, "guest walk"),
							__ATOMIC_SEQ_CST)
				      : __atomic_load_n((uint32_t *)fakehost_ptr(h->f, hpa(e_hpa),
										 4, "guest walk"),
							__ATOMIC_SEQ_CST);
			e = oracle_entry(r, h->conf.maxphyaddr, level, raw);
			if (e.kind == O_ABSENT || e.kind == O_RESERVED) {
				w->end = HW_W_FAULT;
				w->pfec = oracle_pfec(r, flags, e.kind == O_RESERVED,
						      e.kind == O_RESERVED);
				return;
			}
			oracle_add(&ri, &e);
			if (e.kind == O_LEAF)
				break;
			bool pdpte = levels == 3 && level == 2;
			if (!pdpte && !(raw & X_A) && !nested_writes(c, e_gpa, &n)) {
				nested_fault(w, e_gpa, true, false, true);
				return;
			}
			if (!pdpte && !guest_set(h, e_hpa, e_gpa, bytes, &raw, X_A))
				goto again;
			table = e.addr;
		}
		if (!oracle_allows(r, flags, &ri, &w->pfec)) {
			w->end = HW_W_FAULT;
			return;
		}
		uint64_t ad = X_A | (write ? X_D : 0);
		if ((raw & ad) != ad && !nested_writes(c, e_gpa, &n)) {
			nested_fault(w, e_gpa, true, false, true);
			return;
		}
		if (!guest_set(h, e_hpa, e_gpa, bytes, &raw, ad))
			goto again;
		shift = e.shift;
		at = e.addr | (va & (BIT(shift) - 1));
	}
	if (!nested_walk(c, at, write, fetch, &n)) {
		nested_fault(w, at, write, fetch, false);
		return;
	}
	unsigned int guest_shift = shift;
	if (n.shift < shift || !levels)
		shift = n.shift;
	struct hw_tlb t = {.valid = true,
			   .shift = (uint8_t)shift,
			   .guest_shift = (uint8_t)guest_shift,
			   .va = va & ~(BIT(shift) - 1),
			   .hpa = n.hpa & ~(BIT(shift) - 1),
			   .gpa = at & ~(BIT(shift) - 1),
			   .pcid = hw_pcid(c),
			   .rights = ri,
			   .global = levels && e.g && (r->cr4 & X_CR4_PGE),
			   .dirty = (!levels || (raw & X_D)) && n.dirty,
			   .n_w = n.w,
			   .n_x = n.x,
			   .gen = hw_gen_of(h, n.hpa & ~(BIT(shift) - 1), shift)};
	tlb_add(c, &t);
	w->hpa = n.hpa;
	w->gpa = at;
	w->end = HW_W_OK;
	(void)quiet;
}

void hw_walk(struct hw_cpu *c, uint64_t va, uint32_t flags, bool quiet, struct hw_walk *w)
{
	*w = (struct hw_walk){.end = HW_W_EXIT};
	c->walks++;
	struct hw_tlb *t = c->cold || rng_one_in(&c->rng, 8) ? NULL : tlb_find(c, va);
	if (t) {
		struct tf_regs r = c->r;
		uint32_t pfec = 0;
		bool write = flags & TF_WRITE;
		if (c->load.mode == TF_SHADOW) {
			r.cr0 |= X_CR0_WP;
			r.efer |= X_EFER_NXE;
		}
		bool ok = oracle_levels(&r) == 0 || oracle_allows(&r, flags, &t->rights, &pfec);
		if (write && !(t->dirty && t->n_w))
			ok = false;
		if ((flags & TF_FETCH) && !t->n_x)
			ok = false;
		if (ok) {
			c->hits++;
			w->hpa = t->hpa | (va & (BIT(t->shift) - 1));
			w->gpa = t->gpa | (va & (BIT(t->shift) - 1));
			w->from_tlb = true;
			w->end = HW_W_OK;
			if (t->gen != hw_gen_of(c->hw, t->hpa, t->shift))
				hw_break(c->hw,
					 "CPU %u uses a TLB entry of a freed frame: %#llx to "
					 "%#llx",
					 c->index, (unsigned long long)va,
					 (unsigned long long)t->hpa);
			return;
		}
		/* A shadow fault may be raised from a stale entry; the tables decide otherwise. */
		if (c->load.mode == TF_SHADOW && !quiet && rng_one_in(&c->rng, 2) &&
		    !(write && t->rights.w && !t->dirty)) {
			t->valid = false;
			return;
		}
		t->valid = false;
	}
	if (c->load.mode == TF_SHADOW) {
		if (!oracle_is_canonical(&c->r, va)) {
			w->end = HW_W_GP;
			return;
		}
		shadow_walk(c, va, flags, w);
	} else {
		guest_walk(c, va, flags, quiet, w);
	}
}
