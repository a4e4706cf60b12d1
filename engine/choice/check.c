/* The invariants of docs/mmu.md as plain C: NULL, or the first that is broken.
 *
 * Meant for tests and for assertions of an embedder: it reads everything, under the map's and
 * each group's lock in turn, and changes nothing.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/shadow.h"
#include "tables/cursor.h"

#define CHECK(cond, text)                                                                          \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return text;                                                               \
	} while (0)

static const struct link *link_at(const struct shadow_cache *c, uint32_t id)
{
	return &spte_shadow(c, id)->links[spte_index(id)];
}

/* Is the spte a proper member of the chain that starts at head? */
static bool is_chained(const struct shadow_cache *c, uint32_t head, uint32_t id)
{
	const struct link *l = link_at(c, id);
	if (l->next && link_at(c, l->next)->prev != id)
		return false;
	return l->prev ? link_at(c, l->prev)->next == id : head == id;
}

static const char *check_table_spte(struct tf_vm *vm, struct group *g, struct shadow *s,
				    unsigned int i, uint64_t e)
{
	gfn_t f;
	struct role r;
	shadow_child_key(s, i, s->snap ? s->snap[i] : 0, &f, &r);
	struct shadow *child = shadow_find(vm, g, f, r);
	CHECK(child && child->live, "a shadow entry links to no shadow");
	CHECK(!e || (e & SPTE_ADDR) == child->page[0].v, "a shadow entry links to another page");
	CHECK(is_chained(&g->shadows, child->parents, spte_id(s, i)),
	      "a link is not on its child's chain");
	bool must_visit = e && !r.direct && (!child->tracked || child->kids_n);
	CHECK(must_visit == bit_get(s->kids, i), "an unsync child would not be re-read");
	return NULL;
}

static const char *check_leaf_spte(struct tf_vm *vm, struct group *g, struct shadow *s,
				   unsigned int i, uint64_t e)
{
	unsigned int level = s->role.level;
	uint64_t first = s->role.direct ? s->gfn.v + ((uint64_t)i << (9 * level))
					: (s->snap[i] & SPTE_ADDR) >> TF_PAGE_SHIFT;
	if (level)
		first &= ~(uint64_t)(BLOCK_FRAMES - 1);
	struct block *b = memmap_block(&vm->map, gfn(first));
	CHECK(b && b->frames, "a shadow leaf maps a frame that was never described");
	struct frame *f = block_frame(b, gfn(first));
	uint64_t word = frame_word(f);
	CHECK(word & FRAME_BACKED, "a shadow leaf maps a frame that is not backed");
	CHECK((e & SPTE_ADDR) == word_hpa(word).v, "a shadow leaf maps another frame");
	CHECK(level == 0 || block_is_large(b), "a large shadow leaf over a block in pieces");
	CHECK(!(e & SPTE_W) || word_is_writable(word), "a shadow leaf is writable and must not be");
	if (!s->role.direct) {
		uint64_t need = SPTE_W | SPTE_D;
		CHECK(!(e & SPTE_W) || (s->snap[i] & need) == need,
		      "a shadow leaf is writable and the guest's entry is not");
		CHECK(!(e & SPTE_U) || (s->snap[i] & SPTE_U), "a shadow leaf lets the user in");
		CHECK((e & SPTE_NX) || !(s->snap[i] & SPTE_NX), "a shadow leaf may be executed");
		CHECK(s->snap[i] & SPTE_A, "a shadow leaf of an entry that was not accessed");
	}
	struct gframe *gf = block_gframe(b, g->id, gfn(first));
	CHECK(level || gf, "a shadow leaf on a frame without chains");
	CHECK(is_chained(&g->shadows, level ? *block_rmap(&vm->map, b, g->id) : gf->rmap,
			 spte_id(s, i)),
	      "a leaf is not on its frame's chain");
	return NULL;
}

static const char *check_shadow(struct tf_vm *vm, struct group *g, struct shadow *s)
{
	unsigned int count = 0;
	struct frame *own = memmap_frame(&vm->map, s->gfn);
	CHECK(own, "a shadow of a frame that was never described");
	CHECK(shadow_find(vm, g, s->gfn, s->role) == s, "a shadow is not found by its key");
	CHECK(s->pins == 0, "a shadow is still held");
	CHECK(!s->tracked || (frame_word(own) & FRAME_TRACKED), "a trusted table is not tracked");
	for (unsigned int i = 0; i < SHADOW_ENTRIES; i++) {
		uint64_t e = entry_read(&s->spt[i]);
		CHECK(e == 0 || (e & SPTE_P), "a shadow entry is neither empty nor present");
		/* Of what is there a table's link alone may be closed. */
		CHECK(bit_get(s->present, i) ? e || s->role.level : !e,
		      "present bitmap and sptes differ");
		if (!bit_get(s->present, i))
			continue;
		count++;
		const uint64_t ad = SPTE_A | SPTE_D;
		CHECK(!s->tracked || !((s->snap[i] ^ entry_read(&s->guest[i])) & ~ad),
		      "a tracked table was changed");
		const char *why = spte_is_table(s, e) ? check_table_spte(vm, g, s, i, e)
						      : check_leaf_spte(vm, g, s, i, e);
		if (why)
			return why;
	}
	CHECK(count == s->count, "the count of sptes is wrong");
	return NULL;
}

static const char *check_shadows(struct tf_vm *vm, struct group *g)
{
	struct shadow_cache *c = &g->shadows;
	uint32_t live = 0, roots = 0, runs = 0;
	for (uint32_t id = 1; id <= c->made; id++) {
		struct shadow *s = shadow_of(c, id);
		if (!s->live)
			continue;
		live++;
		roots += s->roots;
		const char *why = check_shadow(vm, g, s);
		if (why)
			return why;
	}
	for (unsigned int i = 0; i < vm->conf.vcpus; i++)
		if (cpuset_has(&g->vcpus, i) && vm->vcpu[i]->root) {
			CHECK(vm->vcpu[i]->root->live, "a vCPU's root is gone");
			runs++;
		}
	CHECK(live == c->live && live <= c->limit_max,
	      "the count of shadows is wrong or past its bound");
	CHECK(roots == runs, "the count of roots is wrong");
	return NULL;
}

/* One group's part of a frame; *trusts: has it a shadow that it trusts? */
static const char *check_gframe(struct group *g, const struct gframe *gf, uint64_t word,
				bool *trusts)
{
	bool here = false;
	for (uint32_t id = gframe_first(gf); id; id = shadow_of(&g->shadows, id)->same_gfn)
		here |= shadow_of(&g->shadows, id)->tracked;
	*trusts |= here;
	CHECK(here == gframe_trusts(gf), "a group does not say that it trusts a table");
	CHECK((word & FRAME_BACKED) || !gf->rmap, "a frame that is not backed is mapped");
	return NULL;
}

static const char *check_frame(struct tf_vm *vm, const struct block *b, unsigned int i)
{
	gfn_t f = gfn(block_first(b).v + i);
	uint64_t word = frame_word(block_frame(b, f));
	bool trusts = false;
	unsigned int groups = 0;
	for (unsigned int id = 0; id < vm->groups_max; id++) {
		struct gframe *gf = block_gframe(b, id, f);
		const char *why = NULL;
		if (gf && group_at(vm, id)->open)
			why = check_gframe(group_at(vm, id), gf, word, &trusts);
		else
			CHECK(!gf || (!gf->rmap && !gf->shadows), "a closed group maps a frame");
		if (why)
			return why;
		groups += group_at(vm, id) != NULL;
	}
	/* With several groups a mark may outlast the trust: a write takes it away. */
	CHECK(!trusts || (word & FRAME_TRACKED), "a trusted frame is not tracked");
	CHECK(!(word & FRAME_TRACKED) || trusts || groups > 1, "a frame is tracked for nobody");
	CHECK(!(word & (FRAME_UNTRACKING | FRAME_LEAVING)), "a frame's change was not finished");
	CHECK(!b->large.v || !(word & FRAME_BACKED) ||
		      word_hpa(word).v == b->large.v + (uint64_t)i * TF_PAGE_SIZE,
	      "a block's frames are not contiguous");
	return NULL;
}

static const char *check_block(struct tf_vm *vm, struct block *b)
{
	uint32_t live = 0, held = 0;
	for (unsigned int i = 0; i < BLOCK_FRAMES; i++) {
		uint64_t word = frame_word(&b->frames[i]);
		const char *why = check_frame(vm, b, i);
		if (why)
			return why;
		live += (word & FRAME_BACKED) != 0;
		held += ((word & FRAME_TRACKED) != 0) + ((word & FRAME_LOG) != 0) +
			((word & FRAME_GATE) != 0);
	}
	CHECK(live == b->live, "a block's count of backed frames is wrong");
	CHECK(!b->is_part || b->large.v, "a part of a GiB's page that is not there");
	CHECK(held == b->held, "a block's count of held frames is wrong");
	for (unsigned int id = 0; id < vm->groups_max; id++)
		CHECK(held == 0 || !*block_rmap(&vm->map, b, id),
		      "a block with held frames has a large leaf");
	return NULL;
}

/* What a GiB sums up is what its blocks have. */
static const char *check_gib(const struct memmap *m, const struct block *any)
{
	const gfn_t first = gfn(block_first(any).v & ~(uint64_t)(GIB_FRAMES - 1));
	uint32_t live = 0, held = 0, parts = 0;
	hpa_t page = hpa(0);
	for (unsigned int i = 0; i < GIB_BLOCKS; i++) {
		const struct block *b = memmap_block(m, gfn(first.v + i * BLOCK_FRAMES));
		if (!b || !b->frames)
			continue;
		CHECK(b->gib == any->gib, "blocks of a GiB with different sums");
		live += b->live;
		held += b->held;
		parts += b->is_part;
		if (!b->is_part)
			continue;
		hpa_t base = hpa(b->large.v - i * (uint64_t)BLOCK_FRAMES * TF_PAGE_SIZE);
		CHECK(!page.v || page.v == base.v, "a GiB with parts of different pages");
		page = base;
	}
	CHECK(live == any->gib->live, "a GiB's count of backed frames is wrong");
	CHECK(held == any->gib->held, "a GiB's count of held frames is wrong");
	CHECK(parts == any->gib->parts, "a GiB's count of parts is wrong");
	return NULL;
}

static const char *check_map(struct tf_vm *vm)
{
	const struct memmap *m = &vm->map;
	const struct gib *last = NULL;
	for (unsigned int i = 0; i < 512; i++)
		for (unsigned int j = 0; m->dir[i] && j < 512; j++) {
			char *page = ((void **)m->dir[i])[j];
			for (size_t at = 0; page && at < TF_PAGE_SIZE;
			     at += (size_t)1 << m->block_shift) {
				struct block *b = (struct block *)(page + at);
				const char *why = b->frames ? check_block(vm, b) : NULL;
				if (!why && b->frames && b->gib && b->gib != last) {
					last = b->gib;
					why = check_gib(m, b);
				}
				if (why)
					return why;
			}
		}
	return NULL;
}

/* What the nested table maps is what the memory map says, with no right too many. */
static const char *check_nested_leaf(struct tf_vm *vm, struct group *g, uint64_t addr,
				     unsigned int level, uint64_t e)
{
	const struct fmt *fmt = g->nested.fmt;
	gfn_t first = gfn(addr >> TF_PAGE_SHIFT);
	struct block *b = memmap_block(&vm->map, first);
	CHECK(b && b->frames, "a nested leaf maps a frame that was never described");
	CHECK(level <= 2, "a nested leaf is larger than a GiB");
	CHECK(level == 0 || (b->large.v && b->held == 0 && b->live == BLOCK_FRAMES),
	      "a large nested leaf over a block in pieces");
	CHECK(level < 2 || (b->gib && b->gib->held == 0 && b->gib->live == GIB_FRAMES &&
			    b->gib->parts == GIB_BLOCKS),
	      "a nested leaf of a GiB over a GiB in pieces");
	uint64_t word = frame_word(block_frame(b, first));
	CHECK(word & FRAME_BACKED, "a nested leaf maps a frame that is not backed");
	CHECK(fmt_leaf(fmt, level, e) == word_hpa(word).v, "a nested leaf maps another frame");
	CHECK(!(fmt_perm(fmt, e) & PERM_W) || level || word_is_writable(word),
	      "a nested leaf is writable and must not be");
	return NULL;
}

static const char *check_nested(struct tf_vm *vm, struct group *g)
{
	struct cursor c;
	const char *why = table_check(&g->nested);
	if (why)
		return why;
	bool more = cursor_start(&c, &g->nested, 0, fmt_end(g->nested.fmt));
	for (; more; more = cursor_next(&c)) {
		if (cursor_kind(&c) == FMT_LEAF)
			why = check_nested_leaf(vm, g, c.at, c.level, c.value);
		if (why)
			return why;
	}
	return NULL;
}

/* Each vCPU is in one group, where it should be or on its way there. */
static const char *check_members(struct tf_vm *vm)
{
	for (unsigned int i = 0; i < vm->conf.vcpus; i++) {
		unsigned int in = 0;
		for (unsigned int id = 0; id < vm->groups_max; id++) {
			struct group *g = group_at(vm, id);
			if (g && cpuset_has(&g->vcpus, i)) {
				in++;
				CHECK(g->open && vm->vcpu[i]->group == g,
				      "a vCPU in a wrong group");
			}
		}
		CHECK(in == (vm->vcpu[i] != NULL), "a vCPU in no group, or in two");
	}
	return NULL;
}

const char *tf_check(struct tf_vm *vm)
{
	struct op op;
	vm_op_begin(&op, vm);
	lock_take(&op, &vm->map.lock);
	const char *why = check_members(vm);
	if (!why)
		why = check_map(vm);
	for (struct group *g = NULL; (g = group_visit_next(&op, vm, g));) {
		if (!why)
			why = check_shadows(vm, g);
		if (!why)
			why = check_nested(vm, g);
	}
	lock_drop(&op, &vm->map.lock);
	vm_op_end(&op, vm);
	return why;
}
