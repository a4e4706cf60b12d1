/* How fast a guest walks over pages, where no counter tells its TLB misses: accessed bits.
 *
 * A sample takes a few leaf tables of the vCPU's address space by chance, a few pages of each, and
 * clears the accessed bits of our leaves for them: of the shadow leaves in shadow mode, of the
 * nested leaves in nested mode, where large ones are split as long as the sample lasts. (Where CPUs
 * keep no such bits in nested leaves, the leaves themselves go and come back.) The guest's own
 * tables are only read. What has its bit set again at the end, scaled to all the guest's
 * accessed pages, is the number of distinct pages that the space touched in between: its TLB misses
 * since a world switch that lost the TLB, as on machines whose CPUs offer no counters (emulators,
 * some nested clouds). A large guest page is one translation; so it is sampled as one, where our
 * leaf for it is as large, and else by one of its pieces.
 *
 * The vCPU's TLB is flushed at the sample's beginning, those of other CPUs are not: their accesses
 * are not meant. None is lost by that: a bit that is cleared is saved in the frame's word, and
 * tf_accessed_read() flushes everybody where it finds one. Takes the group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice/choice.h"

#include "format/fmt.h"
#include "modes/mode.h"
#include "modes/shadow.h"

#define TABLES	   16u /* leaf tables in a sample */
#define PAGES	   4u  /* pages of each */
#define SCAN_MAX   96u /* guest tables that are looked through for them */
#define SET_LASTS  8u  /* samples with the same pages: how many are mapped tells the price */
#define USED_LOOKS 3u  /* ... after which what none has found in use is not counted for it */
#define ENTRIES	   512u

#define X_P  (UINT64_C(1) << 0)
#define X_U  (UINT64_C(1) << 2)
#define X_A  (UINT64_C(1) << 5)
#define X_PS (UINT64_C(1) << 7)

struct page {
	uint64_t gva;
	gfn_t f;
};

/* A leaf table of the guest, or one large page of it. */
struct part {
	uint64_t gva; /* first address */
	gfn_t f;      /* of the table; large: of the page */
	bool large;
	unsigned int n;	       /* accessed entries; large: 1 */
	unsigned int shadowed; /* of these, about */
	bool used;	       /* a sample has found a page of it in use */
	unsigned int pages;
	struct page page[PAGES];
};

struct sampler {
	hpa_t self;
	uint64_t random;
	bool open;
	/* The set: */
	uint64_t cr3, stack;
	unsigned int age, looks; /* samples of it that were begun; that were told */
	struct group *group;
	uint64_t parts_all; /* that the parts were chosen from */
	unsigned int parts;
	struct part part[TABLES];
	struct footprint at;
	/* The sample under way: */
	const struct mmu_mode *mode;
	struct shadow *root;
};

_Static_assert(sizeof(struct sampler) <= TF_PAGE_SIZE, "a sampler lives in one page");

static uint32_t chance(struct sampler *s, uint32_t below)
{
	/* xorshift64* */
	s->random ^= s->random >> 12;
	s->random ^= s->random << 25;
	s->random ^= s->random >> 27;
	return (uint32_t)(((s->random * UINT64_C(0x2545f4914f6cdd1d)) >> 32) * below >> 32);
}

/* ---- the set ---- */

/* The guest's table in a frame, or NULL. It stays while the group's lock is held. */
static const uint64_t *guest_table(const struct tf_vm *vm, uint64_t entry)
{
	struct frame *fr = memmap_frame(&vm->map, gfn((entry & SPTE_ADDR) >> TF_PAGE_SHIFT));
	uint64_t word = fr ? frame_word(fr) : 0;
	return word & FRAME_BACKED ? tf_host_ptr(vm->h, word_hpa(word)) : NULL;
}

/* One more that may be chosen: each is kept with equal chance. */
static void offer(struct sampler *s, uint64_t va, uint64_t entry, bool large)
{
	uint64_t i = s->parts_all++;
	if (i >= TABLES)
		i = chance(s, (uint32_t)s->parts_all);
	if (i >= TABLES)
		return;
	if (s->parts < TABLES)
		s->parts++;
	s->part[i] = (struct part){.gva = va, .f = gfn((entry & SPTE_ADDR) >> TF_PAGE_SHIFT)};
	s->part[i].large = large;
}

/* Offer what hangs under the user half of the guest's tables. Starts anywhere, for a guest may have
 * more tables than it is worth to look through. */
static void scan(struct tf_vm *vm, struct sampler *s, const uint64_t *table, unsigned int level,
		 uint64_t va, unsigned int *left)
{
	const unsigned int entries = level == 3 ? ENTRIES / 2 : ENTRIES;
	const unsigned int from = level > 1 ? chance(s, entries) : 0;
	for (unsigned int k = 0; k < entries; k++) {
		unsigned int i = (from + k) & (entries - 1);
		uint64_t e = entry_read(&table[i]);
		uint64_t at = va | (uint64_t)i << (TF_PAGE_SHIFT + 9 * level);
		if ((e & (X_P | X_U)) != (X_P | X_U))
			continue;
		if (level == 3)
			s->stack = s->stack > i ? s->stack : i;
		if (level == 1) {
			if (!(e & X_PS) || (e & X_A))
				offer(s, at, e, e & X_PS);
			continue;
		}
		const uint64_t *next = e & X_PS ? NULL : guest_table(vm, e);
		if (!next || !*left)
			continue;
		--*left;
		scan(vm, s, next, level - 1, at, left); /* levels bound the depth */
	}
}

/* Choose pages of a part, of those that the guest's entries call accessed. */
static void choose_pages(struct tf_vm *vm, struct sampler *s, struct part *p)
{
	if (p->large) {
		uint32_t piece = chance(s, ENTRIES);
		p->page[0].gva = p->gva + (uint64_t)piece * TF_PAGE_SIZE;
		p->page[0].f = gfn((p->f.v & ~(uint64_t)(ENTRIES - 1)) + piece);
		p->n = p->pages = 1;
		return;
	}
	const uint64_t *table = guest_table(vm, p->f.v << TF_PAGE_SHIFT);
	if (!table)
		return;
	for (unsigned int i = 0; i < ENTRIES; i++) {
		uint64_t e = entry_read(&table[i]);
		if ((e & (X_P | X_U | X_A)) != (X_P | X_U | X_A))
			continue;
		uint32_t k = p->n++;
		if (k >= PAGES)
			k = chance(s, p->n);
		if (k >= PAGES)
			continue;
		if (p->pages < PAGES)
			p->pages++;
		p->page[k].gva = p->gva + (uint64_t)i * TF_PAGE_SIZE;
		p->page[k].f = gfn((e & SPTE_ADDR) >> TF_PAGE_SHIFT);
	}
}

/* Give large leaves back; also where another's sample had cut them up before. */
static void set_release(struct op *op, struct tf_vm *vm, struct group *g, struct sampler *s)
{
	if (s->group == g)
		for (unsigned int i = 0; i < s->parts; i++)
			for (unsigned int k = 0; k < s->part[i].pages; k++)
				nested_relax(op, vm, g, s->part[i].page[k].f);
	s->parts = 0;
	s->cr3 = 0;
}

/* How many leaves the shadow of a part has. */
static unsigned int count_shadowed(struct tf_vm *vm, struct group *g, const struct shadow *s,
				   const struct part *p)
{
	while (s && s->role.level > 0 && !s->role.direct) {
		unsigned int i = gva_index(gva(p->gva), s->role.level);
		if (!bit_get(s->present, i))
			return 0;
		if (!spte_is_table(s, entry_read(&s->spt[i])))
			return 1;
		s = shadow_child(vm, g, s, i);
	}
	return s ? s->count : 0;
}

static void set_choose(struct op *op, struct tf_vcpu *v, const struct tf_regs *r, struct sampler *s)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	const uint64_t *root = guest_table(vm, r->cr3);
	unsigned int left = SCAN_MAX;
	set_release(op, vm, g, s);
	s->parts_all = s->stack = 0;
	s->at = (struct footprint){0};
	if (!root)
		return;
	s->group = g;
	s->cr3 = r->cr3;
	s->age = s->looks = 0;
	scan(vm, s, root, 3, 0, &left);
	s->stack = entry_read(&root[s->stack]) & SPTE_ADDR;
	const struct shadow *top = shadow_find(vm, g, shadow_root_frame(r), shadow_root_role(r));
	uint64_t n = 0;
	for (unsigned int i = 0; i < s->parts; i++) {
		choose_pages(vm, s, &s->part[i]);
		s->part[i].shadowed = count_shadowed(vm, g, top, &s->part[i]);
		n += s->part[i].n;
	}
	s->at.tables = s->parts_all;
	if (s->parts)
		s->at.resident = s->parts_all * n / s->parts;
}

/* ---- the bits ---- */

/* The nested leaf for a page, or NULL: then it was not accessed. What is no memory has none (the
 * guest's entry may hold any address). */
static uint64_t *nested_leaf(struct op *op, struct tf_vm *vm, struct group *g,
			     const struct part *part, struct page *p, bool may_split,
			     unsigned int *level)
{
	const uint64_t at = p->f.v << TF_PAGE_SHIFT;
	if (!frame_is_backed(memmap_frame(&vm->map, p->f)))
		return NULL;
	uint64_t *e = table_lookup(&g->nested, at, level);
	if (fmt_kind(g->nested.fmt, *level, entry_read(e)) != FMT_LEAF)
		return NULL;
	while (*level > (part->large ? 1u : 0u) && may_split) {
		if (table_split(op, &g->nested, at) != TF_OK)
			return NULL;
		g->n.nested_1g_cut += *level > 1;
		e = table_lookup(&g->nested, at, level);
	}
	return e;
}

/* The shadow that holds the leaf for a page, or NULL. What the leaf maps need not be what the
 * guest's entry says by now. */
static struct shadow *shadow_of_leaf(struct tf_vcpu *v, const struct page *p, unsigned int *i)
{
	struct shadow *s = v->root;
	while (s) {
		*i = gva_index(gva(p->gva), s->role.level);
		if (!bit_get(s->present, *i))
			return NULL;
		if (!spte_is_table(s, entry_read(&s->spt[*i])))
			return s;
		s = shadow_child(v->vm, group_of(v), s, *i);
	}
	return NULL;
}

static void clear(struct op *op, struct tf_vcpu *v, struct part *part, struct page *p)
{
	struct group *g = group_of(v);
	unsigned int level, i;
	if (v->running == &mode_shadow) {
		struct shadow *s = shadow_of_leaf(v, p, &i);
		if (s)
			spte_age(v->vm, s, i);
		return;
	}
	uint64_t *e = nested_leaf(op, v->vm, g, part, p, true, &level);
	const uint64_t a = g->nested.fmt->a;
	if (e && !a) /* whoever accesses it next makes it anew */
		mode_nested.unmap(op, v->vm, g, p->f);
	else if (e && (entry_and(e, ~a) & a))
		frame_save_accessed(v->vm, p->f, level);
}

static bool is_accessed(struct op *op, struct tf_vcpu *v, struct part *part, struct page *p)
{
	struct group *g = group_of(v);
	unsigned int level, i;
	if (v->running == &mode_shadow) {
		const struct shadow *s = shadow_of_leaf(v, p, &i);
		return s && (entry_read(&s->spt[i]) & SPTE_A);
	}
	const uint64_t *e = nested_leaf(op, v->vm, g, part, p, false, &level);
	return e && fmt_is_accessed(g->nested.fmt, entry_read(e));
}

/* ---- the calls ---- */

static struct sampler *sampler_get(struct tf_vcpu *v)
{
	hpa_t a;
	if (v->sampler)
		return v->sampler;
	struct sampler *s = page_new(v->vm->h, v->node, &a);
	if (!s)
		return NULL;
	s->self = a;
	s->random = (v->vm->choice->conf.seed + v->index + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	v->sampler = s;
	return s;
}

void sampler_destroy(struct tf_vcpu *v)
{
	if (v->sampler)
		v->vm->h->page_free(v->vm->h, TF_ORDER_4K, v->sampler->self);
}

static void sample_open(struct sampler *s)
{
	s->open = true;
	__atomic_fetch_add(&s->group->samples, 1, __ATOMIC_RELAXED);
}

static void sample_close(struct sampler *s)
{
	if (!s->open)
		return;
	s->open = false;
	__atomic_fetch_sub(&s->group->samples, 1, __ATOMIC_RELAXED);
}

bool tf_sample_begin(struct tf_vcpu *v, const struct tf_regs *r)
{
	struct tf_vm *vm = v->vm;
	struct op op;
	if (!vm->choice || !v->running || !shadow_is_possible(r) || walk_levels(r) != 4)
		return false;
	struct sampler *s = sampler_get(v);
	if (!s)
		return false;
	struct group *g = group_of(v);
	sample_close(s);
	vm_op_begin(&op, vm);
	group_lock(&op, g);
	if (s->cr3 != r->cr3 || s->group != g || ++s->age > SET_LASTS || !s->parts)
		set_choose(&op, v, r, s);
	for (unsigned int i = 0; i < s->parts; i++)
		for (unsigned int k = 0; k < s->part[i].pages; k++)
			clear(&op, v, &s->part[i], &s->part[i].page[k]);
	s->mode = v->running;
	s->root = v->root;
	if (s->parts)
		sample_open(s);
	group_unlock(&op, g);
	vm_op_end(&op, vm);
	v->flush |= v->running == &mode_shadow ? TF_FLUSH_LINEAR : g->nested.fmt->flush;
	return s->open;
}

/* What shadow tables would have to be filled for: all that is there, until some samples have found
 * nothing of a part in use. */
static void footprint_of_used(struct sampler *s)
{
	uint64_t parts = 0, missing = 0;
	for (unsigned int i = 0; i < s->parts; i++) {
		const struct part *p = &s->part[i];
		if (s->looks >= USED_LOOKS && !p->used)
			continue;
		parts++;
		missing += p->n > p->shadowed ? p->n - p->shadowed : 0;
	}
	s->at.tables_used = s->parts ? s->parts_all * parts / s->parts : 0;
	s->at.missing = s->parts ? s->parts_all * missing / s->parts : 0;
}

void tf_sample_end(struct tf_vcpu *v, uint64_t cycles)
{
	struct sampler *s = v->sampler;
	struct group *g = group_of(v);
	uint64_t pages = 0;
	struct op op;
	if (!s || !s->open)
		return;
	/* Else the bits that were cleared are not those that the vCPU has used since. */
	const bool counts =
		s->group == g && s->mode == v->running && s->root == v->root && cycles != 0;
	vm_op_begin(&op, v->vm);
	group_lock(&op, g);
	s->looks += counts;
	for (unsigned int i = 0; i < s->parts && counts; i++) {
		struct part *p = &s->part[i];
		uint64_t touched = 0;
		for (unsigned int k = 0; k < p->pages; k++)
			touched += is_accessed(&op, v, p, &p->page[k]);
		if (p->pages)
			pages += p->n * touched * s->parts_all / (p->pages * s->parts);
		p->used |= touched != 0;
	}
	if (counts)
		footprint_of_used(s);
	sample_close(s);
	group_unlock(&op, g);
	vm_op_end(&op, v->vm);
	if (counts)
		choice_sampled(v, s->cr3, s->stack, pages, cycles, &s->at);
}
