/* Tracking, which binds the groups: a guest table is write-protected for the whole VM before any
 * group trusts it, and trusted by none before anybody may write to it again.
 *
 * TRACKED in the frame's word forbids writable entries, in whatever group. To track: each shadow
 * gets a ticket, the mark is published, the groups are visited one by one to take write access
 * away, every vCPU is flushed, and then a shadow that still has its ticket is read once more and
 * trusted. To untrack: UNTRACKING keeps new marks off, the groups are visited to take trust and
 * tickets away, and only then both marks go.
 *
 * So between a mark and the trust that rests on it, nobody can have ended the tracking unseen: who
 * did came by our group and took the ticket, or found no shadow there, and then the ticket went
 * with it. docs/locking.md draws it; tests/spin checks it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/mode.h"
#include "modes/shadow.h"

/* Does another group trust the table in that frame, or is about to? What it finds may be old by
 * then, but not older than an UNTRACKING that was set before: whoever marks the frame has said so
 * first. */
static bool others_trust(struct tf_vm *vm, const struct group *g, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	for (unsigned int id = 0; id < vm->groups_max; id++) {
		struct gframe *gf = id == g->id ? NULL : block_gframe(b, id, f);
		if (gf && gframe_trusts(gf))
			return true;
	}
	return false;
}

/* Forbid writable entries. False: there is no such frame now, or its trust is being ended. */
static bool mark(struct tf_vm *vm, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = block_frame(b, f);
	uint64_t word = frame_word(fr);
	block_hold(b);
	do {
		if (!(word & FRAME_BACKED) || (word & FRAME_UNTRACKING)) {
			block_unhold(b);
			return false;
		}
	} while (!entry_cas(&fr->word, &word, word | FRAME_TRACKED));
	if (word & FRAME_TRACKED)
		block_unhold(b); /* it is held already */
	return true;
}

/* Own the end of the frame's trust. False: it is not tracked, or somebody else is at it. */
static bool unmark_begin(struct frame *fr)
{
	uint64_t word = frame_word(fr);
	do {
		if (!(word & FRAME_TRACKED) || (word & FRAME_UNTRACKING))
			return false;
	} while (!entry_cas(&fr->word, &word, word | FRAME_UNTRACKING));
	return true;
}

static void unmark(struct block *b, struct frame *fr)
{
	entry_and(&fr->word, ~(FRAME_TRACKED | FRAME_UNTRACKING));
	block_unhold(b);
}

void frame_untrack(struct op *op, struct tf_vm *vm, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = block_frame(b, f);
	if (!unmark_begin(fr)) {
		__builtin_ia32_pause();
		return;
	}
	for (unsigned int id = 0; id < vm->groups_max; id++) {
		struct gframe *gf = block_gframe(b, id, f);
		struct group *g = gf && gframe_trusts(gf) ? group_at(vm, id) : NULL;
		if (!g)
			continue;
		group_lock(op, g);
		shadow_distrust(op, vm, g, f);
		group_unlock(op, g);
	}
	unmark(b, fr);
	op_flush(op);
}

void shadow_maybe_unmark(struct tf_vm *vm, struct group *g, gfn_t f)
{
	struct block *b = memmap_block(&vm->map, f);
	struct frame *fr = block_frame(b, f);
	struct gframe *gf = block_gframe(b, g->id, f);
	if (!gframe_trusts(gf) && !(frame_word(fr) & FRAME_TRACKED))
		return;
	for (uint32_t id = gframe_first(gf); id; id = shadow_of(&g->shadows, id)->same_gfn)
		if (shadow_of(&g->shadows, id)->tracked)
			return;
	bool mine = unmark_begin(fr);
	/* Who is about to trust will not: with the mark goes the ticket. */
	for (uint32_t id = gframe_first(gf); id; id = shadow_of(&g->shadows, id)->same_gfn)
		shadow_of(&g->shadows, id)->ticket = 0;
	gframe_set(gf, gframe_first(gf), false);
	if (!mine)
		return;
	if (others_trust(vm, g, f))
		entry_and(&fr->word, ~FRAME_UNTRACKING); /* the mark is theirs */
	else
		unmark(b, fr);
}

void shadow_wants_tracking(struct tf_vm *vm, struct group *g, struct tracking *t, struct shadow *s)
{
	if (t->n == TRACK_BATCH || s->ticket)
		return;
	if (++g->shadows.tickets == 0)
		g->shadows.tickets = 1;
	s->ticket = g->shadows.tickets;
	struct gframe *gf = group_frame(vm, g, s->gfn);
	gframe_set(gf, gframe_first(gf), true); /* before the mark: see others_trust() */
	t->want[t->n++] = (struct track){s, s->gfn, s->ticket};
}

/* Does the shadow that was chosen still wait for what we do? Group's lock. */
static bool is_waiting(const struct track *w)
{
	return w->s->live && w->s->ticket == w->ticket;
}

void shadow_track(struct op *op, struct tf_vm *vm, struct group *own, struct tracking *t)
{
	bool marked[TRACK_BATCH];
	if (t->n == 0)
		return;
	for (unsigned int k = 0; k < t->n; k++)
		marked[k] = mark(vm, t->want[k].f);
	vm_grace(vm);
	for (struct group *g = NULL; (g = group_visit_next(op, vm, g));)
		for (unsigned int k = 0; k < t->n; k++)
			if (marked[k]) {
				mode_nested.protect(op, vm, g, t->want[k].f);
				mode_shadow.protect(op, vm, g, t->want[k].f);
			}
	/* Also a translation whose entry is gone may still be writable. */
	op_owe_flush_all(op, TF_FLUSH_ALL);
	op_flush(op);
	group_lock(op, own);
	for (unsigned int k = 0; k < t->n; k++) {
		struct shadow *s = t->want[k].s;
		if (!is_waiting(&t->want[k]))
			continue;
		s->ticket = 0;
		if (!marked[k])
			continue;
		shadow_reread(vm, own, s);
		shadow_set_tracked(own, s, true);
		own->n.tracks++;
	}
	for (unsigned int k = 0; k < t->n; k++)
		if (group_frame(vm, own, t->want[k].f))
			shadow_maybe_unmark(vm, own, t->want[k].f);
	group_unlock(op, own);
}

bool shadow_rest(struct op *op, struct tf_vm *vm, struct group *g, unsigned int n)
{
	struct shadow_cache *c = &g->shadows;
	while (c->rested < c->made && n) {
		struct shadow *s = shadow_of(c, ++c->rested);
		if (!s->live || !(s->tracked || s->ticket))
			continue;
		s->ticket = 0;
		shadow_set_tracked(g, s, false);
		shadow_maybe_unmark(vm, g, s->gfn);
		nested_relax(op, vm, g, s->gfn);
		n--;
	}
	return c->rested >= c->made;
}
