/* From a guest walk to installed shadow entries, and the neighbours filled along the way.
 *
 * A fault costs an exit, which costs as much as some thousand instructions; so each fault installs
 * all levels, and fills the neighbours that the guest has marked accessed already (a CPU may load
 * such translations whenever it likes). What is linked anew must be as fresh as the walk: an unsync
 * subtree is re-read before it is linked. Group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/shadow.h"

bool shadow_is_possible(const struct tf_regs *r)
{
	const uint64_t cr0_wp = UINT64_C(1) << 16, cr0_pg = UINT64_C(1) << 31;
	const uint64_t efer_lma = UINT64_C(1) << 10;
	return (r->cr0 & (cr0_wp | cr0_pg)) == (cr0_wp | cr0_pg) && (r->efer & efer_lma);
}

__attribute__((hot)) bool gpte_is_plain(const struct tf_vm *vm, struct role r, uint64_t gpte)
{
	if ((gpte & (GPTE_P | GPTE_A)) != (GPTE_P | GPTE_A))
		return false;
	uint64_t reserved = SPTE_ADDR & ~((UINT64_C(1) << vm->conf.maxphyaddr) - 1);
	if (!r.nxe)
		reserved |= SPTE_NX;
	if (r.level > 0 && (gpte & SPTE_PS)) {
		if (r.level > 2)
			return false;
		/* Address bits below the page's size, but bit 12, which is PAT. */
		reserved |=
			((UINT64_C(1) << (TF_PAGE_SHIFT + 9 * r.level)) - 1) & ~UINT64_C(0x1fff);
	}
	if (r.level > 2)
		reserved |= SPTE_G;
	return !(gpte & reserved);
}

/* The walk's path, held so that reclaim does not take it. */
struct path {
	struct shadow *s[WALK_LEVELS];
	unsigned int n;
};

static void path_add(struct path *p, struct shadow *s)
{
	s->pins++;
	s->touched = true;
	p->s[p->n++] = s;
}

static void path_drop(struct path *p)
{
	while (p->n)
		p->s[--p->n]->pins--;
}

__attribute__((hot)) void shadow_prefill(struct tf_vm *vm, struct group *g, struct shadow *s,
					 unsigned int from, unsigned int to)
{
	for (unsigned int i = from; i < to; i++) {
		uint64_t gpte = entry_read(&s->guest[i]);
		if (!(gpte & GPTE_P) || bit_get(s->present, i) || !gpte_is_plain(vm, s->role, gpte))
			continue;
		gfn_t f = gfn((gpte & SPTE_ADDR) >> TF_PAGE_SHIFT);
		struct frame *fr = memmap_frame(&vm->map, f);
		uint64_t word = fr ? frame_word(fr) : 0;
		if (!(word & FRAME_BACKED))
			continue;
		if (spte_set_leaf(vm, g, s, i, spte_leaf(gpte, word, word_hpa(word), false), gpte,
				  f))
			g->n.prefills++;
	}
}

/* The guest entry that stands for a piece of a large page: the rights are above it. */
static uint64_t piece_gpte(const struct shadow *s)
{
	return SPTE_P | SPTE_W | SPTE_U | SPTE_A | SPTE_D | (uint64_t)s->role.pkey << 59;
}

static void prefill_pieces(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int from,
			   unsigned int to)
{
	for (unsigned int i = from; i < to; i++) {
		gfn_t f = gfn(s->gfn.v + i);
		struct frame *fr = memmap_frame(&vm->map, f);
		uint64_t word = fr ? frame_word(fr) : 0;
		if (bit_get(s->present, i) || !(word & FRAME_BACKED))
			continue;
		if (spte_set_leaf(vm, g, s, i,
				  spte_leaf(piece_gpte(s), word, word_hpa(word), false), 0, f))
			g->n.prefills++;
	}
}

/* Link what is shadowed already, re-read before unless it is left to the caller, and map the large
 * pages, of a table that is new. */
static void prefill_tables(struct tf_vm *vm, struct group *g, struct shadow *s, bool unread)
{
	for (unsigned int i = 0; i < SHADOW_ENTRIES; i++) {
		uint64_t gpte = entry_read(&s->guest[i]);
		if (!(gpte & GPTE_P) || bit_get(s->present, i) || !gpte_is_plain(vm, s->role, gpte))
			continue;
		gfn_t f;
		struct role r;
		if ((gpte & SPTE_PS) && s->role.level == 1) {
			f = gfn((gpte & SPTE_ADDR) >> TF_PAGE_SHIFT);
			f = gfn(f.v & ~(uint64_t)(BLOCK_FRAMES - 1));
			struct block *b = memmap_block(&vm->map, f);
			if (b && block_is_large(b)) {
				if (spte_set_leaf(vm, g, s, i, spte_leaf(gpte, 0, b->large, true),
						  gpte, f))
					g->n.prefills++;
				continue;
			}
		}
		shadow_child_key(s, i, gpte, &f, &r);
		struct shadow *child = shadow_find(vm, g, f, r);
		if (child && child != s) {
			if (!unread)
				shadow_freshen(vm, g, child);
			spte_set_table(g, s, i, child, spte_link(gpte, child), gpte);
		}
	}
}

/* The child behind entry i of s for a guest entry, found, made or kept. NULL: no memory. */
static struct shadow *descend(struct op *op, struct tf_vm *vm, struct group *g, struct shadow *s,
			      unsigned int i, uint64_t gpte)
{
	gfn_t f;
	struct role r;
	shadow_child_key(s, i, gpte, &f, &r);
	if (bit_get(s->present, i)) {
		uint64_t old = entry_read(&s->spt[i]);
		uint64_t was = s->snap ? s->snap[i] : gpte;
		if (spte_is_table(s, old)) {
			struct shadow *child = shadow_child(vm, g, s, i);
			if (child->gfn.v == f.v && child->role.direct == r.direct &&
			    child->role.pkey == r.pkey) {
				if (!old) {
					shadow_open(vm, g, s, i, gpte);
				} else if (was != gpte) {
					if ((spte_link(gpte, child) ^ old) & ~SPTE_A) {
						shadow_freshen(vm, g, child);
						shadow_note_change(g, s, i);
					}
					entry_write(&s->spt[i], spte_link(gpte, child));
					s->snap[i] = gpte;
				}
				return child;
			}
		}
		spte_drop(vm, g, s, i);
	}
	struct shadow *child = shadow_find(vm, g, f, r);
	if (child) {
		child->pins++;
		shadow_freshen(vm, g, child);
		child->pins--;
	} else {
		child = shadow_get(op, vm, g, f, r);
		if (!child)
			return NULL;
		if (!r.direct && r.level > 0) {
			child->pins++;
			prefill_tables(vm, g, child, false);
			child->pins--;
		}
	}
	spte_set_table(g, s, i, child, spte_link(gpte, child), gpte);
	return child;
}

/* Install the leaf for the frame of the walk in s (level 0, or 1 for a large one). */
static enum tf_status leaf(struct tf_vcpu *v, struct group *g, struct shadow *s, gva_t at, gfn_t f,
			   uint64_t gpte, uint64_t word)
{
	struct tf_vm *vm = v->vm;
	unsigned int i = gva_index(at, s->role.level);
	bool large = s->role.level > 0;
	struct block *b = memmap_block(&vm->map, f);
	if (large)
		f = gfn(f.v & ~(uint64_t)(BLOCK_FRAMES - 1));
	uint64_t e = spte_leaf(gpte, large ? 0 : word, large ? b->large : word_hpa(word), large) |
		     SPTE_A;
	if (bit_get(s->present, i) && !((entry_read(&s->spt[i]) ^ e) & ~(SPTE_A | SPTE_D))) {
		g->n.spurious_faults++; /* a stale TLB entry, or another vCPU was faster */
		v->flush |= TF_FLUSH_LINEAR;
	}
	bool fresh = s->count == 0;
	if (!spte_set_leaf(vm, g, s, i, e, gpte, f))
		return TF_E_NOMEM;
	if (large)
		return TF_OK;
	unsigned int from = fresh ? 0 : i & ~(SHADOW_WINDOW - 1),
		     to = fresh ? SHADOW_ENTRIES : from + SHADOW_WINDOW;
	if (s->role.direct)
		prefill_pieces(vm, g, s, from, to);
	else
		shadow_prefill(vm, g, s, from, to);
	return TF_OK;
}

/* Was the frame of the table below this level's entry taken away since the walk? */
static bool table_is_gone(const struct tf_vm *vm, const struct walk *w, unsigned int level)
{
	gfn_t f = gfn((w->step[level].entry & SPTE_ADDR) >> TF_PAGE_SHIFT);
	return level > w->leaf && !frame_is_backed(memmap_frame(&vm->map, f));
}

enum tf_status shadow_fill(struct op *op, struct tf_vcpu *v, const struct walk *w, gva_t at,
			   uint64_t word)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	struct shadow *s = v->root;
	gfn_t f = gpa_to_gfn(w->gpa);
	enum tf_status st = TF_OK;
	struct path path = {.n = 0};
	path_add(&path, s);
	while (s->role.level > 0) {
		unsigned int level = s->role.level;
		uint64_t gpte = s->role.direct ? piece_gpte(s) : w->step[level].entry;
		bool page = s->role.direct || (gpte & SPTE_PS);
		if (page && level == 1 && block_is_large(memmap_block(&vm->map, f)))
			break;
		s = descend(op, vm, g, s, gva_index(at, level), gpte);
		if (!s) {
			/* With the reserve it is the frame of a table that went, not memory. */
			st = table_is_gone(vm, w, level) ? TF_E_NOENT : TF_E_NOMEM;
			break;
		}
		path_add(&path, s);
	}
	if (st == TF_OK)
		st = leaf(v, g, s, at, f,
			  s->role.direct ? piece_gpte(s) : w->step[s->role.level].entry, word);
	if (st == TF_OK && s->role.level == 0 && !s->role.direct)
		psc_put(v, w, at, s);
	path_drop(&path);
	return st;
}

struct role shadow_root_role(const struct tf_regs *r)
{
	return (struct role){
		.level = (uint8_t)(walk_levels(r) - 1),
		.nxe = (r->efer >> 11) & 1,
	};
}

enum tf_status shadow_root(struct op *op, struct tf_vcpu *v, bool unread, struct shadow **out)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	gfn_t f = shadow_root_frame(&v->cpu.r);
	*out = NULL;
	if (!frame_is_backed(memmap_frame(&vm->map, f)))
		return TF_E_NOENT;
	struct role r = shadow_root_role(&v->cpu.r);
	struct shadow *s = shadow_find(vm, g, f, r);
	if (!s) {
		s = shadow_get(op, vm, g, f, r);
		if (!s)
			return frame_is_backed(memmap_frame(&vm->map, f)) ? TF_E_NOMEM : TF_E_NOENT;
		s->pins++;
		prefill_tables(vm, g, s, unread);
		s->pins--;
	}
	*out = s;
	return TF_OK;
}
