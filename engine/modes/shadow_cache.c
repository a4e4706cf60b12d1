/* Which shadows there are: found by guest frame and role, made within a bound, dropped.
 *
 * The bound: a shadow costs three pages (a direct one two). When there are `limit`, the coldest go:
 * a clock hand passes over all, spares once whatever was used since its last pass, and never takes
 * a root that a vCPU runs on or a shadow that the operation under way holds. Group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/shadow.h"

#include "base/mem.h"

#define PER_PAGE      (TF_PAGE_SIZE / sizeof(struct shadow))
#define RECLAIM_BATCH 16u

enum tf_status shadow_cache_init(struct group *g, struct tf_host *h, uint32_t limit)
{
	struct shadow_cache *c = &g->shadows;
	memset(c, 0, sizeof(*c));
	c->limit = c->limit_max = limit;
	c->dir_order =
		(limit / PER_PAGE + 2) * sizeof(void *) > TF_PAGE_SIZE ? TF_ORDER_2M : TF_ORDER_4K;
	enum tf_status s = h->page_alloc(h, g->pool.node, c->dir_order, TF_USE_TABLE, &c->dir_page);
	if (s != TF_OK)
		return s;
	c->dir = tf_host_ptr(h, c->dir_page);
	c->pages = UINT64_C(1) << c->dir_order;
	memset(c->dir, 0, (size_t)TF_PAGE_SIZE << c->dir_order);
	return TF_OK;
}

bool shadow_cache_empty(struct op *op, struct tf_vm *vm, struct group *g, unsigned int n)
{
	struct shadow_cache *c = &g->shadows;
	for (uint32_t looked = 0; c->live && n && looked < c->made; looked++) {
		c->hand = c->hand >= c->made ? 1 : c->hand + 1;
		if (!shadow_of(c, c->hand)->live)
			continue;
		shadow_zap(op, vm, g, shadow_of(c, c->hand));
		n--;
	}
	return c->live == 0;
}

void shadow_cache_destroy(struct tf_vm *vm, struct group *g)
{
	struct shadow_cache *c = &g->shadows;
	for (uint32_t i = 0; i <= c->limit_max / PER_PAGE + 1; i++)
		if (c->dir[i])
			vm->h->page_free(vm->h, TF_ORDER_4K,
					 hpa((uintptr_t)c->dir[i] - vm->h->linear));
	vm->h->page_free(vm->h, c->dir_order, c->dir_page);
	c->pages = 0;
	c->dir = NULL;
}

struct shadow *shadow_find(struct tf_vm *vm, struct group *g, gfn_t f, struct role r)
{
	struct gframe *gf = group_frame(vm, g, f);
	for (uint32_t id = gf ? gframe_first(gf) : 0; id;) {
		struct shadow *s = shadow_of(&g->shadows, id);
		if (s->role.level == r.level && s->role.direct == r.direct &&
		    s->role.nxe == r.nxe && s->role.pkey == r.pkey)
			return s;
		id = s->same_gfn;
	}
	return NULL;
}

/* Used since the hand came by last? By the engine, or by the hardware: it set A in a link. */
static bool was_used(struct group *g, struct shadow *s)
{
	bool used = s->touched;
	s->touched = false;
	unsigned int looked = 0;
	for (uint32_t id = s->parents; id && looked < 8; looked++) {
		struct shadow *p = spte_shadow(&g->shadows, id);
		unsigned int i = spte_index(id);
		used |= (entry_and(&p->spt[i], ~SPTE_A) & SPTE_A) != 0;
		id = p->links[i].next;
	}
	return used;
}

/* Take the coldest shadows away. False: none could be. */
static bool reclaim(struct op *op, struct tf_vm *vm, struct group *g)
{
	struct shadow_cache *c = &g->shadows;
	unsigned int taken = 0;
	for (uint32_t looked = 0; looked < 2 * c->made && taken < RECLAIM_BATCH; looked++) {
		c->hand = c->hand >= c->made ? 1 : c->hand + 1;
		struct shadow *s = shadow_of(c, c->hand);
		if (!s->live || s->roots || s->pins)
			continue;
		if (was_used(g, s))
			continue;
		shadow_zap(op, vm, g, s);
		g->n.shadows_reclaimed++;
		taken++;
	}
	return taken > 0;
}

/* The directory's page for an id. False: no memory. */
static bool dir_grow(struct tf_vm *vm, struct group *g, uint32_t id)
{
	struct shadow_cache *c = &g->shadows;
	hpa_t a;
	if (c->dir[id / PER_PAGE])
		return true;
	struct shadow *page = page_new(vm->h, g->pool.node, &a);
	if (!page)
		return false;
	c->dir[id / PER_PAGE] = page;
	c->pages++;
	return true;
}

enum tf_status shadow_reserve(struct op *op, struct tf_vm *vm, struct group *g)
{
	struct shadow_cache *c = &g->shadows;
	/* A bound that was lowered is reached in steps. */
	for (unsigned int i = 0; i < 4 && c->live + WALK_LEVELS > c->limit; i++)
		if (!reclaim(op, vm, g))
			break;
	if (c->live + WALK_LEVELS > c->limit_max)
		return TF_E_NOMEM;
	if (!dir_grow(vm, g, c->made + WALK_LEVELS) || !dir_grow(vm, g, c->made + 1))
		return TF_E_NOMEM;
	return pool_fill(&g->pool, 3 * WALK_LEVELS);
}

/* A struct shadow by id, growing the directory. NULL: no memory. */
static struct shadow *shadow_struct(struct tf_vm *vm, struct group *g)
{
	struct shadow_cache *c = &g->shadows;
	if (c->free) {
		struct shadow *s = shadow_of(c, c->free);
		c->free = s->same_gfn;
		return s;
	}
	uint32_t id = c->made + 1;
	if (!dir_grow(vm, g, id))
		return NULL;
	c->made = id;
	struct shadow *s = shadow_of(c, id);
	s->id = id;
	return s;
}

struct shadow *shadow_get(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f, struct role r)
{
	struct shadow_cache *c = &g->shadows;
	struct shadow *s = shadow_find(vm, g, f, r);
	if (s) {
		s->touched = true;
		return s;
	}
	if (c->live >= c->limit && !reclaim(op, vm, g) && c->live >= c->limit_max)
		return NULL;
	struct frame *fr = memmap_frame(&vm->map, f);
	unsigned int pages = r.direct ? 2 : 3;
	uint64_t word = fr ? frame_word(fr) : 0;
	if (!r.direct && !(word & FRAME_BACKED))
		return NULL;
	struct gframe *gf = fr ? group_frame_get(vm, g, f) : NULL;
	if (!gf || pool_fill(&g->pool, pages) != TF_OK)
		return NULL;
	s = shadow_struct(vm, g);
	if (!s)
		return NULL;
	uint32_t id = s->id;
	memset(s, 0, sizeof(*s));
	s->id = id;
	for (unsigned int i = 0; i < pages; i++)
		s->page[i] = pool_get(&g->pool);
	s->spt = tf_host_ptr(vm->h, s->page[0]);
	s->links = tf_host_ptr(vm->h, s->page[1]);
	s->snap = r.direct ? NULL : tf_host_ptr(vm->h, s->page[2]);
	s->guest = r.direct ? NULL : tf_host_ptr(vm->h, word_hpa(word));
	s->gfn = f;
	s->role = r;
	s->live = s->touched = true;
	s->patience = SHADOW_PATIENCE;
	s->same_gfn = gframe_first(gf);
	gframe_set(gf, id, gframe_trusts(gf));
	c->live++;
	c->pages += pages;
	g->n.shadows_made++;
	if (c->live > g->n.shadow_tables_max)
		g->n.shadow_tables_max = c->live;
	return s;
}

static void unlink_from_frame(struct tf_vm *vm, struct group *g, struct shadow *s)
{
	struct gframe *gf = group_frame(vm, g, s->gfn);
	if (gframe_first(gf) == s->id) {
		gframe_set(gf, s->same_gfn, gframe_trusts(gf));
	} else {
		uint32_t *at = &shadow_of(&g->shadows, gframe_first(gf))->same_gfn;
		while (*at != s->id)
			at = &shadow_of(&g->shadows, *at)->same_gfn;
		*at = s->same_gfn;
	}
	shadow_maybe_unmark(vm, g, s->gfn);
}

static void zap_entries(struct tf_vm *vm, struct group *g, struct shadow *s)
{
	for (unsigned int w = 0; w < SHADOW_ENTRIES / 64; w++)
		while (s->present[w])
			spte_drop(vm, g, s, w * 64 + (unsigned int)__builtin_ctzll(s->present[w]));
}

void shadow_zap(struct op *op, struct tf_vm *vm, struct group *g, struct shadow *s)
{
	struct shadow_cache *c = &g->shadows;
	TF_ASSERT(vm->h, s->live && !s->pins);
	while (s->parents) {
		uint32_t p = s->parents;
		spte_drop(vm, g, spte_shadow(c, p), spte_index(p));
	}
	zap_entries(vm, g, s);
	/* A vCPU that runs on it as a root finds its root again before it enters; until the flush
	 * it walks the (now empty) page. */
	for (unsigned int i = 0; s->roots && i < vm->conf.vcpus; i++) {
		struct tf_vcpu *v = cpuset_has(&g->vcpus, i) ? vm->vcpu[i] : NULL;
		if (v && v->root == s) {
			v->root = NULL;
			__atomic_store_n(&v->resync, true, __ATOMIC_RELEASE);
			s->roots--;
		}
	}
	unlink_from_frame(vm, g, s);
	unsigned int pages = s->role.direct ? 2 : 3;
	pool_retire(&g->pool, op, s->page[0], TF_FLUSH_LINEAR);
	for (unsigned int i = 1; i < pages; i++) /* the hardware never walked these */
		pool_put(&g->pool, s->page[i]);
	s->live = false;
	s->ticket = 0;
	s->same_gfn = c->free;
	c->free = s->id;
	c->live--;
	c->pages -= pages;
	g->n.shadows_zapped++;
}

/* Bounded by the four levels below a root. */
static void zap_orphans(struct op *op, struct tf_vm *vm, struct group *g, struct shadow *s)
{
	for (unsigned int i = 0; s->role.level && i < SHADOW_ENTRIES; i++) {
		if (!bit_get(s->present, i) || !spte_is_table(s, entry_read(&s->spt[i])))
			continue;
		struct shadow *child = shadow_child(vm, g, s, i);
		spte_drop(vm, g, s, i);
		if (!child->parents && !child->roots && !child->pins) {
			zap_orphans(op, vm, g, child);
			shadow_zap(op, vm, g, child);
		}
	}
}

void shadow_zap_tree(struct op *op, struct tf_vm *vm, struct group *g, struct shadow *s)
{
	zap_orphans(op, vm, g, s);
	shadow_zap(op, vm, g, s);
}

void shadow_zap_frame(struct op *op, struct tf_vm *vm, struct group *g, gfn_t f)
{
	struct gframe *gf = group_frame(vm, g, f);
	while (gf && gframe_first(gf))
		shadow_zap(op, vm, g, shadow_of(&g->shadows, gframe_first(gf)));
}
