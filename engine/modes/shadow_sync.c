/* Guest tables that change under their shadows: trust and distrust, and the re-read at a flush.
 *
 * The rule is the TLB's (APM vol. 2, 5.5; SDM vol. 3, 4.10): a shadow may keep what a TLB could
 * have kept. So a guest table may be written freely (unsync) until the guest flushes; then every
 * present spte is compared with the guest entry that it came from. Re-reading costs time in
 * proportion to the entries; a fault for the first write costs an exit. As in the ski-rental
 * problem a table is write-protected (tracked, track.c) when re-reading it in vain has cost as much
 * as the exit would. Group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/mode.h"
#include "modes/shadow.h"

void shadow_distrust(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	struct gframe *gf = group_frame(vm, g, f);
	bool trusted = false;
	for (uint32_t id = gframe_first(gf); id;) {
		struct shadow *s = shadow_of(&g->shadows, id);
		id = s->same_gfn;
		s->ticket = 0;
		if (!s->tracked)
			continue;
		trusted = true;
		shadow_set_tracked(g, s, false);
		s->quiet = 0;
		if (s->patience < SHADOW_PATIENCE_MAX)
			s->patience *= 2;
	}
	gframe_set(gf, gframe_first(gf), false);
	if (!trusted)
		return;
	g->n.unsyncs++;
	/* A table that nothing leads to and that is written: its address space is gone. */
	for (uint32_t id = gframe_first(gf); id;) {
		struct shadow *s = shadow_of(&g->shadows, id);
		id = s->same_gfn;
		if (!s->role.direct && !s->parents && !s->roots && !s->pins) {
			shadow_zap_tree(op, vm, g, s);
			id = gframe_first(gf); /* the tree may have held others of this frame */
		}
	}
}

/* The guest entry behind a present spte is not what it was. */
static void update_entry(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int i,
			 uint64_t gpte)
{
	uint64_t old = entry_read(&s->spt[i]);
	g->n.resync_changes++;
	if (!gpte_is_plain(vm, s->role, gpte)) {
		spte_drop(vm, g, s, i);
		return;
	}
	if (spte_is_table(s, old)) {
		gfn_t was, now;
		struct role was_role, now_role;
		shadow_child_key(s, i, s->snap[i], &was, &was_role);
		shadow_child_key(s, i, gpte, &now, &now_role);
		if (was.v != now.v || was_role.direct != now_role.direct ||
		    was_role.pkey != now_role.pkey) {
			spte_drop(vm, g, s, i);
			return;
		}
		/* Other rights above old leaves would be a translation that no walk ever gave: the
		 * next fault links it anew, with leaves as fresh as the link. */
		if ((spte_link(gpte, shadow_child(vm, g, s, i)) ^ old) & ~SPTE_A)
			spte_drop(vm, g, s, i);
		else
			s->snap[i] = gpte;
		return;
	}
	bool is_page = s->role.level == 0 || (gpte & SPTE_PS);
	gfn_t f = gfn((gpte & SPTE_ADDR) >> TF_PAGE_SHIFT);
	struct block *b = is_page ? memmap_block(&vm->map, f) : NULL;
	if (s->role.level == 0) {
		struct frame *fr = b ? block_frame(b, f) : NULL;
		uint64_t word = fr ? frame_word(fr) : 0;
		if ((word & FRAME_BACKED) &&
		    spte_set_leaf(vm, g, s, i, spte_leaf(gpte, word, word_hpa(word), false), gpte,
				  f))
			return;
	} else if (b && block_is_large(b)) {
		f = gfn(f.v & ~(uint64_t)(BLOCK_FRAMES - 1));
		if (spte_set_leaf(vm, g, s, i, spte_leaf(gpte, 0, b->large, true), gpte, f))
			return;
	}
	spte_drop(vm, g, s, i);
}

/* Do any of eight entries differ from what they were? */
static bool differ8(const uint64_t *guest, const uint64_t *snap)
{
	return (entry_read(&guest[0]) ^ snap[0]) | (entry_read(&guest[1]) ^ snap[1]) |
	       (entry_read(&guest[2]) ^ snap[2]) | (entry_read(&guest[3]) ^ snap[3]) |
	       (entry_read(&guest[4]) ^ snap[4]) | (entry_read(&guest[5]) ^ snap[5]) |
	       (entry_read(&guest[6]) ^ snap[6]) | (entry_read(&guest[7]) ^ snap[7]);
}

/* Eight at a time where all are present: tables are mostly dense and mostly unchanged, and all the
 * time that a re-read takes is here. */
__attribute__((hot)) bool shadow_reread_some(struct tf_vm *vm, struct group *g, struct shadow *s,
					     unsigned int from, unsigned int to)
{
	bool changed = false;
	for (from &= ~7u; from < to; from += 8) {
		unsigned int bits = s->present[from / 64] >> (from % 64) & 0xff;
		if (bits == 0xff && !differ8(&s->guest[from], &s->snap[from]))
			continue;
		for (; bits; bits &= bits - 1) {
			unsigned int i = from + (unsigned int)__builtin_ctz(bits);
			uint64_t gpte = entry_read(&s->guest[i]);
			if (gpte == s->snap[i])
				continue;
			update_entry(vm, g, s, i, gpte);
			changed = true;
		}
	}
	g->n.resyncs++;
	return changed;
}

bool shadow_reread(struct tf_vm *vm, struct group *g, struct shadow *s)
{
	s->read = g->shadows.epoch;
	return shadow_reread_some(vm, g, s, 0, SHADOW_ENTRIES);
}

uint32_t shadow_epoch(const struct group *g)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&g->shadows.epoch, __ATOMIC_RELAXED);
}

uint32_t shadow_epoch_next(struct group *g)
{
	/* A full barrier: what was done before anybody saw the last number, the reads to come see.
	 */
	return __atomic_add_fetch(&g->shadows.epoch, 1, __ATOMIC_SEQ_CST);
}

/* One re-read of a tree under way. */
struct pass {
	struct tf_vm *vm;
	struct group *g;
	unsigned int lowest; /* level at which to stop */
	uint32_t entries;    /* that may still be read; then links are closed instead */
	struct resync how;
};

static void visit(struct pass *p, struct shadow *s);

static void visit_kids(struct pass *p, struct shadow *s)
{
	for (unsigned int w = 0; w < SHADOW_ENTRIES / 64; w++) {
		for (uint64_t bits = s->kids[w]; bits; bits &= bits - 1) {
			unsigned int i = w * 64 + (unsigned int)__builtin_ctzll(bits);
			if (p->entries)
				visit(p, shadow_child(p->vm, p->g, s, i));
			else
				spte_close(p->g, s, i);
		}
	}
}

/* Was it read after that epoch? */
static bool read_after(const struct shadow *s, uint32_t epoch)
{
	return (int32_t)(s->read - epoch) > 0;
}

static bool needs_reading(const struct pass *p, const struct shadow *s)
{
	if (s->tracked || read_after(s, p->how.left))
		return false;
	return s->role.level > 0 || p->how.global || s->local || !read_after(s, p->how.since - 1);
}

/* Depth is bounded by the levels; a shadow is visited once a pass, however often it is linked. */
static void visit(struct pass *p, struct shadow *s)
{
	if (s->epoch == p->g->shadows.epoch || s->role.direct)
		return;
	s->epoch = p->g->shadows.epoch;
	s->touched = true;
	if (needs_reading(p, s)) {
		p->entries = p->entries > 8u + s->count ? p->entries - 8u - s->count : 0;
		if (shadow_reread(p->vm, p->g, s)) {
			s->quiet = 0;
		} else {
			s->quiet += 8u + s->count;
			if (p->how.quiet && s->quiet >= s->patience)
				shadow_wants_tracking(p->vm, p->g, p->how.quiet, s);
		}
	}
	if (s->role.level > p->lowest)
		visit_kids(p, s);
}

/* Of everything under s down to a level. What remains of `most`. */
static uint32_t read_all(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int lowest,
			 struct tracking *quiet, uint32_t most)
{
	struct pass p = {.vm = vm, .g = g, .lowest = lowest, .entries = most};
	p.how = (struct resync){.global = true, .left = shadow_epoch_next(g), .quiet = quiet};
	visit(&p, s);
	return p.entries;
}

void shadow_resync_root(struct tf_vm *vm, struct group *g, struct shadow *root,
			const struct resync *how)
{
	struct pass p = {.vm = vm, .g = g, .entries = how->most, .how = *how};
	(void)shadow_epoch_next(g);
	visit(&p, root);
}

void shadow_freshen(struct tf_vm *vm, struct group *g, struct shadow *s)
{
	(void)read_all(vm, g, s, 0, NULL, UINT32_MAX);
}

static uint32_t open_link(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int i,
			  uint64_t gpte, uint32_t entries)
{
	struct shadow *child = shadow_child(vm, g, s, i);
	entries = read_all(vm, g, child, 0, NULL, entries);
	spte_open(g, s, i, child, spte_link(gpte, child), gpte);
	return entries;
}

void shadow_open(struct tf_vm *vm, struct group *g, struct shadow *s, unsigned int i, uint64_t gpte)
{
	const unsigned int end = (i | (SHADOW_WINDOW - 1)) + 1;
	uint32_t entries = open_link(vm, g, s, i, gpte, SHADOW_OPENING * vm->arrival);
	while (++i < end && entries) {
		/* As a CPU could walk it now: the guest's entry is what the link was made from. */
		gpte = s->snap[i];
		if (spte_is_closed(s, i) && entry_read(&s->guest[i]) == gpte)
			entries = open_link(vm, g, s, i, gpte, entries);
	}
}

/* INVLPG drops the address's translation, and every paging-structure cache entry of the PCID: so
 * all tables above the leaves are re-read, and of the leaves the one entry. */
void shadow_invlpg(struct tf_vm *vm, struct group *g, struct shadow *root, gva_t at,
		   struct tracking *quiet)
{
	(void)read_all(vm, g, root, 1, quiet, UINT32_MAX);
	shadow_drop_stale(vm, g, root, at);
}

void shadow_drop_stale(struct tf_vm *vm, struct group *g, struct shadow *root, gva_t at)
{
	struct shadow *s = root;
	for (;;) {
		unsigned int i = gva_index(at, s->role.level);
		if (!bit_get(s->present, i))
			return;
		uint64_t gpte = entry_read(&s->guest[i]);
		if (!s->tracked && gpte != s->snap[i])
			update_entry(vm, g, s, i, gpte);
		if (!bit_get(s->present, i) || !spte_is_table(s, entry_read(&s->spt[i])))
			return;
		s = shadow_child(vm, g, s, i);
		if (s->role.direct)
			return;
	}
}
