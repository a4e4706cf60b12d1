/* The invariants of docs/mmu.md as plain C: NULL, or the first that is broken.
 *
 * Meant for tests and for assertions of an embedder: it reads everything, under the map's and the
 * group's lock, and changes nothing.
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
	CHECK((e & SPTE_ADDR) == child->page[0].v, "a shadow entry links to another page");
	CHECK(is_chained(&g->shadows, child->parents, spte_id(s, i)),
	      "a link is not on its child's chain");
	bool must_visit = !r.direct && (!child->tracked || child->kids_n);
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
	CHECK(b && b->half[0], "a shadow leaf maps a frame that was never described");
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
	CHECK(is_chained(&g->shadows, level ? b->rmap : f->rmap, spte_id(s, i)),
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
		CHECK(bit_get(s->present, i) == ((e & SPTE_P) != 0),
		      "present bitmap and sptes differ");
		if (!(e & SPTE_P)) {
			CHECK(e == 0, "a shadow entry is neither empty nor present");
			continue;
		}
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
		if (vm->vcpu[i] && vm->vcpu[i]->root) {
			CHECK(vm->vcpu[i]->root->live, "a vCPU's root is gone");
			runs++;
		}
	CHECK(live == c->live && live <= c->limit,
	      "the count of shadows is wrong or past its bound");
	CHECK(roots == runs, "the count of roots is wrong");
	return NULL;
}

static const char *check_block(struct tf_vm *vm, struct group *g, struct block *b)
{
	uint32_t live = 0, held = 0;
	(void)vm;
	for (unsigned int i = 0; i < BLOCK_FRAMES; i++) {
		struct frame *f = &b->half[i / 256][i % 256];
		uint64_t word = frame_word(f);
		bool trusted = false;
		live += (word & FRAME_BACKED) != 0;
		held += ((word & FRAME_TRACKED) != 0) + ((word & FRAME_LOG) != 0);
		for (uint32_t id = f->shadows; id; id = shadow_of(&g->shadows, id)->same_gfn)
			trusted |= shadow_of(&g->shadows, id)->tracked;
		CHECK(trusted == ((word & FRAME_TRACKED) != 0), "a frame is tracked for nobody");
		CHECK((word & FRAME_BACKED) || !f->rmap, "a frame that is not backed is mapped");
		CHECK(!b->large.v || !(word & FRAME_BACKED) ||
			      word_hpa(word).v == b->large.v + (uint64_t)i * TF_PAGE_SIZE,
		      "a block's frames are not contiguous");
	}
	CHECK(live == b->live, "a block's count of backed frames is wrong");
	CHECK(held == b->held, "a block's count of held frames is wrong");
	CHECK(held == 0 || !b->rmap, "a block with held frames has a large leaf");
	return NULL;
}

static const char *check_map(struct tf_vm *vm, struct group *g)
{
	for (unsigned int i = 0; i < 512; i++)
		for (unsigned int j = 0; vm->map.dir[i] && j < 512; j++)
			for (unsigned int k = 0; vm->map.dir[i][j] && k < 64; k++) {
				struct block *b = &vm->map.dir[i][j][k];
				if (!b->half[0] || !b->half[1])
					continue;
				const char *why = check_block(vm, g, b);
				if (why)
					return why;
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
	CHECK(b && b->half[0], "a nested leaf maps a frame that was never described");
	CHECK(level <= 1, "a nested leaf is larger than a block");
	CHECK(level == 0 || (b->large.v && b->held == 0 && b->live == BLOCK_FRAMES),
	      "a large nested leaf over a block in pieces");
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

const char *tf_check(struct tf_vm *vm)
{
	struct group *g = &vm->group;
	struct op op;
	vm_op_begin(&op, vm);
	lock_take(&op, &vm->map.lock);
	lock_take(&op, &g->lock);
	const char *why = check_map(vm, g);
	if (!why)
		why = check_shadows(vm, g);
	if (!why)
		why = check_nested(vm, g);
	lock_drop(&op, &g->lock);
	lock_drop(&op, &vm->map.lock);
	vm_op_end(&op, vm);
	return why;
}
