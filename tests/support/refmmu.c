/* The reference MMU: see refmmu.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "refmmu.h"

#include <stdlib.h>
#include <string.h>

#define FOREVER (~UINT64_C(0))
#define WORDS	(TF_PAGE_SIZE / 8)

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

/* ---- memory ---- */

static struct ref_region *region_of(struct ref *r, uint64_t gfn)
{
	for (unsigned int i = 0; i < r->regions; i++)
		if (gfn >= r->region[i].gfn && gfn < r->region[i].gfn + r->region[i].n)
			return &r->region[i];
	return NULL;
}

uint8_t *ref_flags(struct ref *r, uint64_t gfn)
{
	struct ref_region *g = region_of(r, gfn);
	return g ? &g->flags[gfn - g->gfn] : NULL;
}

bool ref_is_memory(struct ref *r, uint64_t gfn)
{
	uint8_t *f = ref_flags(r, gfn);
	return f && (*f & REF_PRESENT);
}

/* The word's index; *g is NULL where there is no memory now. */
static uint64_t word_at(struct ref *r, uint64_t gpa, struct ref_region **g)
{
	*g = region_of(r, gpa >> TF_PAGE_SHIFT);
	if (!*g)
		return 0;
	return (gpa - ((*g)->gfn << TF_PAGE_SHIFT)) / 8;
}

uint64_t ref_word(struct ref *r, uint64_t gpa)
{
	struct ref_region *g;
	uint64_t i = word_at(r, gpa, &g);

	return g && ref_is_memory(r, gpa >> TF_PAGE_SHIFT) ? g->word[i] : FOREVER;
}

static void set_word(struct ref *r, struct ref_region *g, uint64_t i, uint64_t value)
{
	uint64_t old = g->word[i];

	if (old == value)
		return;
	/* Only what a CPU may have cached is remembered. */
	if ((old & X_P) && (old & X_A)) {
		struct ref_past *p = need(malloc(sizeof(*p)));
		*p = (struct ref_past){old, g->since[i], r->now, g->past[i]};
		g->past[i] = p;
	}
	g->word[i] = value;
	g->since[i] = r->now;
}

void ref_write(struct ref *r, uint64_t gpa, uint64_t value)
{
	struct ref_region *g;
	uint64_t i = word_at(r, gpa, &g);

	r->now++;
	if (g)
		set_word(r, g, i, value);
}

static void fill(struct ref *r, uint64_t gfn, uint64_t n, uint64_t value, bool present)
{
	r->now++;
	for (uint64_t f = gfn; f < gfn + n; f++) {
		struct ref_region *g = region_of(r, f);
		if (!g)
			continue;
		uint64_t k = f - g->gfn;
		for (unsigned int w = 0; w < WORDS; w++)
			set_word(r, g, k * WORDS + w, value);
		g->flags[k] = present ? REF_PRESENT : 0;
	}
}

void ref_add(struct ref *r, uint64_t gfn, uint64_t n)
{
	if (!region_of(r, gfn)) {
		if (r->regions == REF_REGIONS)
			abort();
		struct ref_region *g = &r->region[r->regions++];
		*g = (struct ref_region){.gfn = gfn, .n = n};
		g->word = need(calloc(n * WORDS, 8));
		g->since = need(calloc(n * WORDS, 8));
		g->past = need(calloc(n * WORDS, sizeof(*g->past)));
		g->flags = need(malloc(n));
		memset(g->flags, REF_PRESENT, n); /* and all words are zero */
		r->now++;
		return;
	}
	fill(r, gfn, n, 0, true);
}

void ref_remove(struct ref *r, uint64_t gfn, uint64_t n)
{
	fill(r, gfn, n, FOREVER, false);
}

void ref_discard(struct ref *r, uint64_t gfn, uint64_t n)
{
	fill(r, gfn, n, 0, true);
}

/* ---- what vCPUs flush ---- */

static uint16_t pcid_of(const struct tf_regs *g)
{
	return g->cr4 & X_CR4_PCIDE ? g->cr3 % REF_PCIDS : 0;
}

static struct ref_epoch *last_epoch(struct ref_pcid *p)
{
	return p->epochs ? &p->epoch[p->epochs - 1] : NULL;
}

/* The root leaves CR3. */
static void end_segment(struct ref *r, struct ref_cpu *c)
{
	struct ref_epoch *e = last_epoch(&c->pcid[pcid_of(&c->r)]);

	if (e && e->segs && e->seg[e->segs - 1].end == FOREVER)
		e->seg[e->segs - 1].end = r->now;
}

static void begin_segment(struct ref *r, struct ref_cpu *c)
{
	struct ref_pcid *p = &c->pcid[pcid_of(&c->r)];
	struct ref_epoch *e = last_epoch(p);

	if (!e || e->end != FOREVER) {
		if (p->epochs == p->room) {
			p->room = p->room ? 2 * p->room : 8;
			p->epoch = need(realloc(p->epoch, p->room * sizeof(*p->epoch)));
		}
		e = &p->epoch[p->epochs++];
		*e = (struct ref_epoch){.start = r->now, .end = FOREVER};
	}
	if (e->segs == e->room) {
		e->room = e->room ? 2 * e->room : 2;
		e->seg = need(realloc(e->seg, e->room * sizeof(*e->seg)));
	}
	e->seg[e->segs++] = (struct ref_segment){oracle_root(&c->r), r->now, FOREVER};
}

/* The PCID's paging-structure caches are empty. */
static void end_epoch(struct ref *r, struct ref_cpu *c, uint16_t pcid)
{
	struct ref_epoch *e = last_epoch(&c->pcid[pcid]);

	if (!e || e->end != FOREVER)
		return;
	if (e->segs && e->seg[e->segs - 1].end == FOREVER)
		e->seg[e->segs - 1].end = r->now;
	e->end = r->now;
}

/* The PCID in CR3 always has an open epoch with an open segment. */
static void reopen(struct ref *r, struct ref_cpu *c)
{
	struct ref_epoch *e = last_epoch(&c->pcid[pcid_of(&c->r)]);

	if (!e || e->end != FOREVER || !e->segs || e->seg[e->segs - 1].end != FOREVER)
		begin_segment(r, c);
}

static void flush_pcid(struct ref *r, struct ref_cpu *c, uint16_t pcid)
{
	end_epoch(r, c, pcid);
	c->pcid[pcid].flushed = r->now;
}

static void forget_epochs(struct ref_pcid *p)
{
	for (unsigned int i = 0; i < p->epochs; i++)
		free(p->epoch[i].seg);
	p->epochs = 0;
}

static void flush_all(struct ref *r, struct ref_cpu *c)
{
	for (unsigned int i = 0; i < REF_PCIDS; i++) {
		forget_epochs(&c->pcid[i]);
		c->pcid[i].flushed = r->now;
	}
	c->flushed_all = r->now;
	c->logs = 0;
}

void ref_set_regs(struct ref *r, unsigned int cpu, const struct tf_regs *regs)
{
	struct ref_cpu *c = &r->cpu[cpu];

	r->now++;
	flush_all(r, c);
	c->r = *regs;
	reopen(r, c);
}

void ref_write_cr0(struct ref *r, unsigned int cpu, uint64_t val)
{
	struct ref_cpu *c = &r->cpu[cpu];

	r->now++;
	if ((c->r.cr0 ^ val) & X_CR0_PG)
		flush_all(r, c);
	c->r.cr0 = val;
	reopen(r, c);
}

void ref_write_cr3(struct ref *r, unsigned int cpu, uint64_t val)
{
	struct ref_cpu *c = &r->cpu[cpu];
	bool pcide = c->r.cr4 & X_CR4_PCIDE;

	r->now++;
	end_segment(r, c);
	c->r.cr3 = pcide ? val & ~BIT(63) : val;
	if (!pcide || !(val & BIT(63)))
		flush_pcid(r, c, pcid_of(&c->r));
	begin_segment(r, c);
}

void ref_write_cr4(struct ref *r, unsigned int cpu, uint64_t val)
{
	struct ref_cpu *c = &r->cpu[cpu];
	uint64_t change = c->r.cr4 ^ val;

	r->now++;
	if ((change & (X_CR4_PGE | X_CR4_PAE)) || (change & ~val & X_CR4_PCIDE))
		flush_all(r, c);
	else if (change & val & X_CR4_SMEP)
		flush_pcid(r, c, pcid_of(&c->r));
	c->r.cr4 = val;
	reopen(r, c);
}

static void log_flush(struct ref *r, struct ref_cpu *c, uint64_t va, uint16_t pcid, bool globals,
		      bool fault)
{
	if (c->logs == c->room) {
		c->room = c->room ? 2 * c->room : 16;
		c->log = need(realloc(c->log, c->room * sizeof(*c->log)));
	}
	c->log[c->logs++] =
		(struct ref_flush){r->now, va, pcid, globals, fault, oracle_root(&c->r)};
}

void ref_invlpg(struct ref *r, unsigned int cpu, uint64_t va)
{
	struct ref_cpu *c = &r->cpu[cpu];

	r->now++;
	end_epoch(r, c, pcid_of(&c->r));
	reopen(r, c);
	log_flush(r, c, va, pcid_of(&c->r), true, false);
}

void ref_fault(struct ref *r, unsigned int cpu, uint64_t va)
{
	struct ref_cpu *c = &r->cpu[cpu];

	r->now++;
	log_flush(r, c, va, pcid_of(&c->r), true, true);
}

void ref_invpcid(struct ref *r, unsigned int cpu, unsigned int type, uint16_t pcid, uint64_t va)
{
	struct ref_cpu *c = &r->cpu[cpu];

	r->now++;
	pcid %= REF_PCIDS;
	switch (type) {
	case 0:
		log_flush(r, c, va, pcid, false, false);
		break;
	case 1:
		flush_pcid(r, c, pcid);
		break;
	case 2:
		flush_all(r, c);
		break;
	default:
		for (unsigned int i = 0; i < REF_PCIDS; i++)
			flush_pcid(r, c, (uint16_t)i);
		break;
	}
	reopen(r, c);
}

/* ---- asking ---- */

struct search {
	struct ref *r;
	struct ref_cpu *c;
	unsigned int cpu;
	uint64_t va, end; /* times lie before end */
	uint32_t flags;
	uint16_t pcid; /* that the entries were loaded under */
	bool current;  /* the epoch is the one that goes on now */
	bool globals_only;
	bool one_root; /* as if the vCPU had been on its present root all the time */
	const struct ref_epoch *epoch; /* entries are loaded in its segments, while it has a root */
	struct ref_answer *a;
};

static void add_gpa(struct ref_answer *a, uint64_t gpa)
{
	for (unsigned int i = 0; i < a->gpas; i++)
		if (a->gpa[i] == gpa)
			return;
	if (a->gpas < REF_ANSWERS)
		a->gpa[a->gpas++] = gpa;
}

static void add_pfec(struct ref_answer *a, uint32_t pfec)
{
	for (unsigned int i = 0; i < a->pfecs; i++)
		if (a->pfec[i] == pfec)
			return;
	if (a->pfecs < REF_ANSWERS)
		a->pfec[a->pfecs++] = pfec;
}

static void add_loc(struct ref_answer *a, uint64_t gpa, bool leaf)
{
	for (unsigned int i = 0; i < a->locs; i++)
		if (a->loc[i].gpa == gpa) {
			a->loc[i].leaf = a->loc[i].leaf || leaf;
			return;
		}
	if (a->locs < REF_LOCS) {
		a->loc[a->locs].gpa = gpa;
		a->loc[a->locs++].leaf = leaf;
	}
}

/* Since when may the TLB hold a translation of the address by a page of that size? */
static uint64_t tlb_since(const struct search *s, unsigned int shift, bool global)
{
	const struct ref_cpu *c = s->c;
	uint64_t t = global ? c->flushed_all : c->pcid[s->pcid].flushed;

	if (t < c->flushed_all)
		t = c->flushed_all;
	for (unsigned int i = c->logs; i-- > 0 && c->log[i].time > t;) {
		const struct ref_flush *f = &c->log[i];
		unsigned int reach = f->fault ? 12 : shift;
		if (f->va >> reach != s->va >> reach)
			continue;
		if (s->one_root && f->fault && f->root != oracle_root(&c->r))
			continue;
		if (f->globals ? (global || f->pcid == s->pcid) : (!global && f->pcid == s->pcid))
			t = f->time;
	}
	return t;
}

static void step(struct search *s, unsigned int level, uint64_t table, uint64_t from,
		 struct orights ri, bool has_a);

/* The first time from `t` on at which the PCID was in CR3, and so entries could be loaded for it.
 */
static uint64_t in_segment(const struct ref_epoch *e, uint64_t t)
{
	unsigned int low = 0, high = e->segs;

	while (low < high) {
		unsigned int mid = (low + high) / 2;
		if (e->seg[mid].end <= t)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == e->segs)
		return FOREVER;
	return e->seg[low].start > t ? e->seg[low].start : t;
}

/* One value that the entry had during [start, end). */
static void try_value(struct search *s, unsigned int level, uint64_t loc, uint64_t raw,
		      uint64_t start, uint64_t end, uint64_t from, struct orights ri, bool has_a)
{
	bool is_now = end == FOREVER;
	uint64_t t = in_segment(s->epoch, start > from ? start : from);
	uint64_t stop = end < s->end ? end : s->end;
	struct oentry e = oracle_entry(&s->c->r, s->r->maxphyaddr, level, raw);

	if (t >= stop)
		return;
	if (e.kind == O_ABSENT || e.kind == O_RESERVED) {
		/* Never cached, so it was read just now. */
		if (is_now && s->current)
			add_pfec(s->a, oracle_pfec(&s->c->r, s->flags, e.kind == O_RESERVED,
						   e.kind == O_RESERVED));
		return;
	}
	oracle_add(&ri, &e);
	has_a = has_a && e.a;
	add_loc(s->a, loc, e.kind == O_LEAF);
	if (e.kind == O_TABLE) {
		step(s, level - 1, e.addr, t, ri, has_a);
		return;
	}
	bool global = e.g && (s->c->r.cr4 & X_CR4_PGE);
	bool read_now = is_now && s->current;
	if (s->globals_only && !global)
		return;
	uint64_t since = read_now ? t : tlb_since(s, e.shift, global);
	if (in_segment(s->epoch, t > since ? t : since) >= stop)
		return;
	uint32_t pfec;
	if (!oracle_allows(&s->c->r, s->flags, &ri, &pfec)) {
		add_pfec(s->a, pfec);
		return;
	}
	if (has_a && (e.d || !(s->flags & TF_WRITE)))
		add_gpa(s->a, e.addr | (s->va & (BIT(e.shift) - 1)));
}

static void step(struct search *s, unsigned int level, uint64_t table, uint64_t from,
		 struct orights ri, bool has_a)
{
	uint64_t loc = table + 8 * oracle_index(&s->c->r, level, s->va);
	struct ref_region *g;
	uint64_t i = word_at(s->r, loc, &g);

	if (!g) {
		try_value(s, level, loc, FOREVER, 0, FOREVER, from, ri, has_a);
		return;
	}
	try_value(s, level, loc, ref_word(s->r, loc), g->since[i], FOREVER, from, ri, has_a);
	for (struct ref_past *p = g->past[i]; p && p->end > from; p = p->older)
		try_value(s, level, loc, p->value, p->start, p->end, from, ri, has_a);
}

static void search_epoch(struct search *s, const struct ref_epoch *e, uint64_t from)
{
	s->epoch = e;
	s->current = e->end == FOREVER && s->pcid == pcid_of(&s->c->r);
	s->end = e->end == FOREVER ? s->r->now + 1 : e->end;
	if (from < e->start)
		from = e->start;
	for (unsigned int i = e->segs; i-- > 0;) {
		const struct ref_segment *g = &e->seg[i];
		if (g->end <= from)
			continue;
		step(s, oracle_levels(&s->c->r) - 1, g->root, g->start > from ? g->start : from,
		     oracle_start(), true);
	}
}

/* The last event that took every cached entry of this address in this PCID. */
static uint64_t address_since(const struct search *s)
{
	const struct ref_cpu *c = s->c;
	uint64_t t = c->pcid[s->pcid].flushed;

	for (unsigned int i = c->logs; i-- > 0 && c->log[i].time > t;)
		if (c->log[i].va >> 12 == s->va >> 12 && c->log[i].pcid == s->pcid)
			t = c->log[i].time;
	return t;
}

void ref_ask(struct ref *r, unsigned int cpu, uint64_t va, uint32_t flags, bool deep,
	     struct ref_answer *a)
{
	struct ref_cpu *c = &r->cpu[cpu];
	struct search s = {.r = r,
			   .c = c,
			   .cpu = cpu,
			   .va = va,
			   .flags = flags,
			   .a = a,
			   .pcid = pcid_of(&c->r)};

	memset(a, 0, sizeof(*a));
	r->now++;
	uint64_t from = address_since(&s);
	struct ref_pcid *p = &c->pcid[s.pcid];
	for (unsigned int i = p->epochs; i-- > 0 && p->epoch[i].end > from;)
		search_epoch(&s, &p->epoch[i], from);
	if (!deep || !(c->r.cr4 & X_CR4_PGE))
		return;
	s.globals_only = true;
	for (unsigned int k = 0; k < REF_PCIDS; k++) {
		s.pcid = (uint16_t)k;
		p = &c->pcid[k];
		for (unsigned int i = p->epochs; i-- > 0;)
			search_epoch(&s, &p->epoch[i], 0);
	}
	if (r->strict_globals)
		return;
	/* The allowance: refmmu.h says why. */
	s.one_root = true;
	struct ref_segment seg = {oracle_root(&c->r), 0, FOREVER};
	struct ref_epoch always = {.start = 0, .end = FOREVER, .seg = &seg, .segs = 1};
	s.pcid = pcid_of(&c->r);
	search_epoch(&s, &always, 0);
}

bool ref_walk_now(struct ref *r, unsigned int cpu, uint64_t va, uint32_t flags, uint64_t *gpa,
		  uint32_t *pfec)
{
	const struct tf_regs *g = &r->cpu[cpu].r;
	uint64_t table = oracle_root(g);
	struct orights ri = oracle_start();

	for (unsigned int level = oracle_levels(g) - 1;; level--) {
		struct oentry e = oracle_entry(g, r->maxphyaddr, level,
					       ref_word(r, table + 8 * oracle_index(g, level, va)));
		if (e.kind == O_ABSENT || e.kind == O_RESERVED) {
			*pfec = oracle_pfec(g, flags, e.kind == O_RESERVED, e.kind == O_RESERVED);
			return false;
		}
		oracle_add(&ri, &e);
		if (e.kind == O_TABLE) {
			table = e.addr;
			continue;
		}
		*gpa = e.addr | (va & (BIT(e.shift) - 1));
		return oracle_allows(g, flags, &ri, pfec);
	}
}

void ref_init(struct ref *r, unsigned int maxphyaddr, unsigned int cpus)
{
	memset(r, 0, sizeof(*r));
	r->maxphyaddr = maxphyaddr;
	r->cpus = cpus;
	r->now = 1;
}

void ref_fini(struct ref *r)
{
	for (unsigned int k = 0; k < r->regions; k++) {
		struct ref_region *g = &r->region[k];
		for (uint64_t i = 0; i < g->n * WORDS; i++)
			while (g->past[i]) {
				struct ref_past *p = g->past[i];
				g->past[i] = p->older;
				free(p);
			}
		free(g->word);
		free(g->since);
		free(g->past);
		free(g->flags);
	}
	for (unsigned int k = 0; k < REF_CPUS; k++) {
		for (unsigned int i = 0; i < REF_PCIDS; i++) {
			forget_epochs(&r->cpu[k].pcid[i]);
			free(r->cpu[k].pcid[i].epoch);
		}
		free(r->cpu[k].log);
	}
}
