/* Single shadow entries and the chains they are on (see shadow.h for the picture).
 *
 * Chains are doubly linked through struct link, so that adding and removing cost the same however
 * long the chain is (the guest's zero page may be mapped ten thousand times). Group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/shadow.h"

static struct link *link_of(const struct shadow_cache *c, uint32_t id)
{
	return &spte_shadow(c, id)->links[spte_index(id)];
}

static void chain_add(const struct shadow_cache *c, uint32_t *head, struct link *l, uint32_t id)
{
	l->prev = 0;
	l->next = *head;
	if (*head)
		link_of(c, *head)->prev = id;
	*head = id;
}

static void chain_remove(const struct shadow_cache *c, uint32_t *head, const struct link *l)
{
	if (l->prev)
		link_of(c, l->prev)->next = l->next;
	else
		*head = l->next;
	if (l->next)
		link_of(c, l->next)->prev = l->prev;
}

/* Must a re-read look at this shadow or below? */
static bool needs_visit(const struct shadow *s)
{
	return !s->role.direct && (!s->tracked || s->kids_n);
}

static void kid_mark(struct group *g, struct shadow *s, unsigned int i);
static void kid_unmark(struct group *g, struct shadow *s, unsigned int i);

/* Tell all tables that link to a shadow what needs_visit() says of it now; those whose link is
 * closed need not know. The depth is bounded by the levels, the work by the links. */
static void tell_parents(struct group *g, struct shadow *s)
{
	bool visit = needs_visit(s);
	for (uint32_t id = s->parents; id; id = link_of(&g->shadows, id)->next) {
		struct shadow *parent = spte_shadow(&g->shadows, id);
		unsigned int i = spte_index(id);
		if (!visit)
			kid_unmark(g, parent, i);
		else if (!spte_is_closed(parent, i))
			kid_mark(g, parent, i);
	}
}

static void kid_mark(struct group *g, struct shadow *s, unsigned int i)
{
	if (bit_get(s->kids, i))
		return;
	bit_set(s->kids, i);
	if (s->kids_n++ == 0 && s->tracked)
		tell_parents(g, s);
}

static void kid_unmark(struct group *g, struct shadow *s, unsigned int i)
{
	if (!bit_get(s->kids, i))
		return;
	bit_clear(s->kids, i);
	if (--s->kids_n == 0 && s->tracked)
		tell_parents(g, s);
}

void shadow_set_tracked(struct group *g, struct shadow *s, bool tracked)
{
	bool before = needs_visit(s);
	s->tracked = tracked;
	if (needs_visit(s) != before)
		tell_parents(g, s);
}

/* The group's chain that a leaf at this level belongs to; there must be one. */
static uint32_t *leaf_chain(struct tf_vm *vm, const struct group *g, unsigned int level, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	return level ? block_rmap(&vm->map, b, g->id) : &block_gframe(b, g->id, f)->rmap;
}

/* The frame that a present leaf maps. Direct shadows know; others have the guest's entry. */
static gfn_t leaf_gfn(const struct shadow *s, unsigned int i)
{
	if (s->role.direct)
		return gfn(s->gfn.v + ((uint64_t)i << (9 * s->role.level)));
	uint64_t f = (s->snap[i] & SPTE_ADDR) >> TF_PAGE_SHIFT;
	return gfn(s->role.level ? f & ~(uint64_t)(BLOCK_FRAMES - 1) : f);
}

__attribute__((hot)) uint64_t spte_leaf(uint64_t gpte, uint64_t word, hpa_t to, bool large)
{
	uint64_t e = SPTE_P | (gpte & (SPTE_U | SPTE_PKEY | SPTE_NX)) | to.v;
	if ((gpte & SPTE_W) && (gpte & SPTE_D) && word_is_writable(word))
		e |= SPTE_W | SPTE_D; /* our D says nothing: spare the CPU the write */
	return large ? e | SPTE_PS : e;
}

uint64_t spte_link(uint64_t gpte, const struct shadow *child)
{
	uint64_t e = SPTE_P | (gpte & (SPTE_U | SPTE_NX)) | child->page[0].v;
	/* A large guest page in pieces: its D gates writing, since the pieces are all writable. */
	if ((gpte & SPTE_W) && (!child->role.direct || (gpte & SPTE_D) || !(gpte & SPTE_PS)))
		e |= SPTE_W;
	return e;
}

__attribute__((hot)) bool spte_set_leaf(struct tf_vm *vm, struct group *g, struct shadow *s,
					unsigned int i, uint64_t spte, uint64_t snap, gfn_t f)
{
	if (!s->role.direct && !(snap & SPTE_G))
		s->local = true;
	shadow_note_change(g, s, i);
	if (bit_get(s->present, i)) {
		uint64_t old = entry_read(&s->spt[i]);
		if (!spte_is_table(s, old) && !((old ^ spte) & SPTE_ADDR)) {
			/* Same frame, other rights: the chain stays, the frame's A must too. */
			if (s->snap)
				s->snap[i] = snap;
			old = entry_swap(&s->spt[i], spte);
			if (old & ~spte & SPTE_A)
				entry_or(&s->spt[i], SPTE_A);
			return true;
		}
		spte_drop(vm, g, s, i);
	}
	if (s->role.level == 0 && !group_frame_get(vm, g, f))
		return false;
	if (s->snap)
		s->snap[i] = snap;
	chain_add(&g->shadows, leaf_chain(vm, g, s->role.level, f), &s->links[i], spte_id(s, i));
	bit_set(s->present, i);
	s->count++;
	entry_write(&s->spt[i], spte);
	g->n.shadow_fills++;
	return true;
}

void spte_set_table(struct group *g, struct shadow *s, unsigned int i, struct shadow *child,
		    uint64_t spte, uint64_t snap)
{
	TF_ASSERT(g->nested.h, !bit_get(s->present, i));
	shadow_note_change(g, s, i);
	if (s->snap)
		s->snap[i] = snap;
	chain_add(&g->shadows, &child->parents, &s->links[i], spte_id(s, i));
	bit_set(s->present, i);
	s->count++;
	if (needs_visit(child))
		kid_mark(g, s, i);
	entry_write(&s->spt[i], spte);
}

void spte_close(struct group *g, struct shadow *s, unsigned int i)
{
	entry_write(&s->spt[i], 0);
	kid_unmark(g, s, i);
}

void spte_open(struct group *g, struct shadow *s, unsigned int i, struct shadow *child,
	       uint64_t spte, uint64_t snap)
{
	shadow_note_change(g, s, i);
	s->snap[i] = snap;
	entry_write(&s->spt[i], spte);
	if (needs_visit(child))
		kid_mark(g, s, i);
}

/* Guest frame and role of the child that a guest entry at s[i] asks for. */
void shadow_child_key(const struct shadow *s, unsigned int i, uint64_t gpte, gfn_t *f,
		      struct role *r)
{
	unsigned int level = s->role.level - 1u;
	*r = (struct role){.level = (uint8_t)level, .nxe = s->role.nxe};
	if (s->role.direct) {
		*f = gfn(s->gfn.v + ((uint64_t)i << (9 * s->role.level)));
		r->direct = 1;
		r->pkey = s->role.pkey;
	} else if (gpte & SPTE_PS) {
		uint64_t frames = UINT64_C(1) << (9 * s->role.level);
		*f = gfn(((gpte & SPTE_ADDR) >> TF_PAGE_SHIFT) & ~(frames - 1));
		r->direct = 1;
		r->pkey = (uint8_t)((gpte & SPTE_PKEY) >> 59);
	} else {
		*f = gfn((gpte & SPTE_ADDR) >> TF_PAGE_SHIFT);
	}
}

struct shadow *shadow_child(struct tf_vm *vm, struct group *g, const struct shadow *s,
			    unsigned int i)
{
	gfn_t f;
	struct role r;
	shadow_child_key(s, i, s->snap ? s->snap[i] : 0, &f, &r);
	struct shadow *child = shadow_find(vm, g, f, r);
	TF_ASSERT(vm->h, child);
	return child;
}

void spte_drop(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int i)
{
	if (!bit_get(s->present, i))
		return;
	uint64_t old = entry_swap(&s->spt[i], 0);
	bit_clear(s->present, i);
	s->count--;
	if (spte_is_table(s, old)) {
		struct shadow *child = shadow_child(vm, g, s, i);
		chain_remove(&g->shadows, &child->parents, &s->links[i]);
		kid_unmark(g, s, i);
		return;
	}
	gfn_t f = leaf_gfn(s, i);
	if (old & SPTE_A)
		frame_save_accessed(vm, f, s->role.level);
	chain_remove(&g->shadows, leaf_chain(vm, g, s->role.level, f), &s->links[i]);
}

static void chain_zap(struct op *op, struct tf_vm *vm, struct group *g, const uint32_t *head)
{
	while (*head) {
		spte_drop(vm, g, spte_shadow(&g->shadows, *head), spte_index(*head));
		op_owe_flush(op, TF_FLUSH_LINEAR);
	}
}

void rmap_zap_frame(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	struct gframe *gf = b ? block_gframe(b, g->id, f) : NULL;
	if (!b)
		return;
	chain_zap(op, vm, g, block_rmap(&vm->map, b, g->id));
	if (gf)
		chain_zap(op, vm, g, &gf->rmap);
}

void rmap_protect_frame(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	struct gframe *gf = block_gframe(b, g->id, f);
	chain_zap(op, vm, g, block_rmap(&vm->map, b, g->id));
	for (uint32_t id = gf ? gf->rmap : 0; id; id = link_of(&g->shadows, id)->next) {
		struct shadow *s = spte_shadow(&g->shadows, id);
		if (entry_and(&s->spt[spte_index(id)], ~SPTE_W) & SPTE_W)
			op_owe_flush(op, TF_FLUSH_LINEAR);
	}
}

static void save_accessed(struct frame *fr)
{
	if (!(frame_word(fr) & FRAME_ACCESSED)) /* most have it, and an atomic OR is dear */
		entry_or(&fr->word, FRAME_ACCESSED);
}

/* Save an accessed bit in the words of all frames that an entry at this level maps. */
void frame_save_accessed(struct tf_vm *vm, gfn_t f, unsigned int level)
{
	uint64_t n = UINT64_C(1) << (9 * level);
	const gfn_t first = gfn(f.v & ~(n - 1));
	for (uint64_t done = 0; done < n;) { /* all are described */
		struct frame *fr = memmap_frame(&vm->map, gfn(first.v + done));
		uint64_t k = 0;
		for (; k < BLOCK_FRAMES && done < n; k++, done++)
			save_accessed(&fr[k]);
	}
}

void spte_age(struct tf_vm *vm, struct shadow *s, unsigned int i)
{
	if (entry_and(&s->spt[i], ~SPTE_A) & SPTE_A)
		frame_save_accessed(vm, leaf_gfn(s, i), s->role.level);
}

static bool chain_age(struct group *g, uint32_t head)
{
	bool was = false;
	for (uint32_t id = head; id; id = link_of(&g->shadows, id)->next) {
		struct shadow *s = spte_shadow(&g->shadows, id);
		was |= (entry_and(&s->spt[spte_index(id)], ~SPTE_A) & SPTE_A) != 0;
	}
	return was;
}

void rmap_age_frame(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	struct gframe *gf = block_gframe(b, g->id, f);
	if (chain_age(g, *block_rmap(&vm->map, b, g->id))) {
		frame_save_accessed(vm, f, 1);
		op_owe_flush(op, TF_FLUSH_LINEAR);
	}
	if (gf && chain_age(g, gf->rmap)) {
		frame_save_accessed(vm, f, 0);
		op_owe_flush(op, TF_FLUSH_LINEAR);
	}
}
