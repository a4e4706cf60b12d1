/* Slots, the descriptors' tree, backing and release of frames (see memmap.h).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "memory/memmap.h"

#include "memory/pool.h"

#include "base/mem.h"

_Static_assert(sizeof(struct frame) * BLOCK_FRAMES == TF_PAGE_SIZE, "a block's frames: a page");
_Static_assert(sizeof(struct gframe) * BLOCK_FRAMES == TF_PAGE_SIZE, "a group's part: a page");
_Static_assert(sizeof(struct block) + TF_MAX_VCPUS * (sizeof(void *) + 4) <= TF_PAGE_SIZE,
	       "a block with a group for each vCPU fits a page");
_Static_assert(sizeof(struct block) + 2 * (sizeof(void *) + 4) == 64, "a block with two groups");

#define GIBS_IN_PAGE (TF_PAGE_SIZE / sizeof(struct gib))

static void *tree_page_new(struct memmap *m, unsigned int node)
{
	hpa_t a;
	void *p = page_new(m->h, node, &a);
	if (p)
		__atomic_fetch_add(&m->pages, 1, __ATOMIC_RELAXED);
	return p;
}

static void page_free(struct memmap *m, void *p)
{
	__atomic_fetch_sub(&m->pages, 1, __ATOMIC_RELAXED);
	m->h->page_free(m->h, TF_ORDER_4K, hpa((uintptr_t)p - m->h->linear));
}

enum tf_status memmap_init(struct memmap *m, struct tf_host *h, unsigned int maxphyaddr,
			   unsigned int order, unsigned int groups)
{
	lock_init(&m->lock, RANK_MAP);
	m->h = h;
	m->groups = groups;
	m->block_shift = 6;
	while (sizeof(struct block) + groups * (sizeof(void *) + sizeof(uint32_t)) >
	       (size_t)1 << m->block_shift)
		m->block_shift++;
	/* Two levels of pointers, a page of blocks, 512 frames each. Addresses past the tree's
	 * reach are simply not memory. */
	unsigned int reach = 9 + 9 + (TF_PAGE_SHIFT - m->block_shift) + 9;
	if (reach > maxphyaddr - TF_PAGE_SHIFT)
		reach = maxphyaddr - TF_PAGE_SHIFT;
	m->max_gfn = UINT64_C(1) << reach;
	m->large = order >= TF_ORDER_2M;
	m->gibs = NULL;
	m->slots_n = 0;
	m->pages = 0;
	m->block_wait = 0;
	m->dir = tree_page_new(m, 0);
	if (m->dir && order >= TF_ORDER_1G)
		m->gibs = tree_page_new(m, 0);
	if (m->dir && (m->gibs || order < TF_ORDER_1G))
		return TF_OK;
	if (m->dir)
		page_free(m, m->dir);
	return TF_E_NOMEM;
}

static void block_destroy(struct memmap *m, struct block *b)
{
	if (b->large.v)
		m->h->page_free(m->h, TF_ORDER_2M, b->large);
	for (unsigned int i = 0; b->frames && !b->large.v && i < BLOCK_FRAMES; i++)
		if (b->frames[i].word & FRAME_BACKED)
			m->h->page_free(m->h, TF_ORDER_4K, word_hpa(b->frames[i].word));
	if (b->frames)
		page_free(m, b->frames);
	for (unsigned int g = 0; g < m->groups; g++)
		if (b->gframes[g])
			page_free(m, b->gframes[g]);
}

void memmap_destroy(struct memmap *m)
{
	for (unsigned int i = 0; i < 512; i++) {
		void **mid = m->dir[i];
		if (!mid)
			continue;
		for (unsigned int j = 0; j < 512; j++) {
			char *page = mid[j];
			if (!page)
				continue;
			for (size_t at = 0; at < TF_PAGE_SIZE; at += (size_t)1 << m->block_shift)
				block_destroy(m, (struct block *)(page + at));
			page_free(m, page);
		}
		page_free(m, mid);
	}
	for (unsigned int i = 0; m->gibs && i < TF_PAGE_SIZE / sizeof(*m->gibs); i++)
		if (m->gibs[i])
			page_free(m, m->gibs[i]);
	if (m->gibs)
		page_free(m, m->gibs);
	page_free(m, m->dir);
}

/* ---- slots ---- */

static void slots_change(struct memmap *m)
{
	__atomic_fetch_add(&m->slots_seq, 1, __ATOMIC_SEQ_CST);
}

static void slot_put(struct memmap *m, unsigned int i, struct slot s)
{
	__atomic_store_n(&m->slot[i].start.v, s.start.v, __ATOMIC_RELEASE);
	__atomic_store_n(&m->slot[i].end.v, s.end.v, __ATOMIC_RELEASE);
	__atomic_store_n(&m->slot[i].node, s.node, __ATOMIC_RELEASE);
}

static void slots_set_n(struct memmap *m, unsigned int n)
{
	__atomic_store_n(&m->slots_n, n, __ATOMIC_RELEASE);
}

enum tf_status memmap_add(struct memmap *m, gfn_t start, gfn_t end, unsigned int node)
{
	if (start.v >= end.v || end.v > m->max_gfn)
		return TF_E_INVAL;
	unsigned int at = 0;
	while (at < m->slots_n && m->slot[at].end.v <= start.v)
		at++;
	if (at < m->slots_n && m->slot[at].start.v < end.v)
		return TF_E_EXISTS;
	if (m->slots_n == MEMMAP_SLOTS)
		return TF_E_NOMEM;
	slots_change(m);
	for (unsigned int i = m->slots_n; i > at; i--)
		slot_put(m, i, m->slot[i - 1]);
	slot_put(m, at, (struct slot){start, end, node});
	slots_set_n(m, m->slots_n + 1);
	slots_change(m);
	return TF_OK;
}

static const struct slot *slot_of(const struct memmap *m, gfn_t f)
{
	for (unsigned int i = 0; i < m->slots_n; i++)
		if (f.v >= m->slot[i].start.v && f.v < m->slot[i].end.v)
			return &m->slot[i];
	return NULL;
}

/* The slot of a frame, for who does not hold the map's lock. */
static bool slot_read(const struct memmap *m, gfn_t f, struct slot *out)
{
	for (;;) {
		uint32_t seq = __atomic_load_n(&m->slots_seq, __ATOMIC_SEQ_CST);
		unsigned int n = __atomic_load_n(&m->slots_n, __ATOMIC_ACQUIRE);
		bool has = false;
		/* Each load orders what follows it: the second look at slots_seq comes last. */
		for (unsigned int i = 0; i < n && i < MEMMAP_SLOTS && !has; i++) {
			out->end.v = __atomic_load_n(&m->slot[i].end.v, __ATOMIC_ACQUIRE);
			if (f.v >= out->end.v)
				continue;
			out->start.v = __atomic_load_n(&m->slot[i].start.v, __ATOMIC_ACQUIRE);
			out->node = __atomic_load_n(&m->slot[i].node, __ATOMIC_ACQUIRE);
			has = f.v >= out->start.v;
		}
		if (!(seq & 1) && seq == __atomic_load_n(&m->slots_seq, __ATOMIC_SEQ_CST))
			return has;
	}
}

bool memmap_has(const struct memmap *m, gfn_t f)
{
	struct slot s;
	return slot_read(m, f, &s);
}

bool memmap_covers(const struct memmap *m, gfn_t start, gfn_t end)
{
	while (start.v < end.v) {
		const struct slot *s = slot_of(m, start);
		if (!s)
			return false;
		start = s->end;
	}
	return true;
}

bool memmap_can_cut(const struct memmap *m, gfn_t start, gfn_t end)
{
	const struct slot *s = slot_of(m, start);
	bool splits = s && s->start.v < start.v && end.v < s->end.v;
	return !splits || m->slots_n < MEMMAP_SLOTS;
}

void memmap_cut(struct memmap *m, gfn_t start, gfn_t end)
{
	slots_change(m);
	for (unsigned int i = 0; i < m->slots_n;) {
		struct slot s = m->slot[i];
		if (s.end.v <= start.v || s.start.v >= end.v) {
			i++;
		} else if (s.start.v < start.v && s.end.v > end.v) {
			for (unsigned int j = m->slots_n; j > i; j--)
				slot_put(m, j, m->slot[j - 1]);
			slots_set_n(m, m->slots_n + 1);
			slot_put(m, i, (struct slot){s.start, start, s.node});
			slot_put(m, i + 1, (struct slot){end, s.end, s.node});
			i += 2;
		} else if (s.start.v < start.v) {
			slot_put(m, i++, (struct slot){s.start, start, s.node});
		} else if (s.end.v > end.v) {
			slot_put(m, i++, (struct slot){end, s.end, s.node});
		} else {
			slots_set_n(m, m->slots_n - 1);
			for (unsigned int j = i; j < m->slots_n; j++)
				slot_put(m, j, m->slot[j + 1]);
		}
	}
	slots_change(m);
}

/* ---- the tree ---- */

/* Follow one pointer of the tree, growing it. Who loses a race gives its page back. */
static void *child_of(struct memmap *m, void **at, unsigned int node)
{
	void *there = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	if (there)
		return there;
	void *page = tree_page_new(m, node);
	if (!page)
		return NULL;
	if (__atomic_compare_exchange_n(at, &there, page, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return page;
	page_free(m, page);
	return there;
}

/* The GiB's sums; NULL: no memory for them. */
static struct gib *gib_grow(struct memmap *m, gfn_t f, unsigned int node)
{
	uint64_t i = f.v / GIB_FRAMES;
	struct gib *page = child_of(m, (void **)&m->gibs[i / GIBS_IN_PAGE], node);
	return page ? &page[i % GIBS_IN_PAGE] : NULL;
}

static struct block *block_grow(struct memmap *m, gfn_t f, unsigned int node)
{
	const unsigned int per = TF_PAGE_SHIFT - m->block_shift;
	void **mid = child_of(m, (void **)&m->dir[f.v >> (18 + per) & 511], node);
	if (!mid || !child_of(m, &mid[f.v >> (9 + per) & 511], node))
		return NULL;
	struct block *b = memmap_block(m, f);
	if (block_first(b).v != (f.v & ~(uint64_t)(BLOCK_FRAMES - 1)))
		__atomic_store_n(&b->index, (uint32_t)(f.v >> 9), __ATOMIC_RELAXED);
	if (m->gibs && !__atomic_load_n(&b->gib, __ATOMIC_RELAXED)) {
		struct gib *g = gib_grow(m, f, node);
		if (!g)
			return NULL;
		/* Only once: from then on it is read like a constant. */
		struct gib *none = NULL;
		(void)__atomic_compare_exchange_n(&b->gib, &none, g, false, __ATOMIC_RELAXED,
						  __ATOMIC_RELAXED);
	}
	return child_of(m, (void **)&b->frames, node) ? b : NULL;
}

enum tf_status memmap_describe(struct memmap *m, gfn_t f)
{
	struct slot s = {.node = 0};
	if (f.v >= m->max_gfn)
		return TF_E_NOENT;
	(void)slot_read(m, f, &s);
	return block_grow(m, f, s.node) ? TF_OK : TF_E_NOMEM;
}

struct gframe *memmap_gframe(struct memmap *m, struct block *b, unsigned int g, unsigned int node,
			     gfn_t f)
{
	return child_of(m, (void **)&b->gframes[g], node) ? block_gframe(b, g, f) : NULL;
}

/* ---- backing ---- */

/* So many more of its frames are backed, or less. Block's lock held. */
static void block_count(struct block *b, int by)
{
	__atomic_store_n(&b->live, (uint16_t)(b->live + by), __ATOMIC_RELEASE);
	if (b->gib)
		__atomic_fetch_add(&b->gib->live, (uint32_t)by, __ATOMIC_ACQ_REL);
}

/* Block's lock held; its caller counts it. */
static void frame_set(struct block *b, gfn_t f, hpa_t a)
{
	struct frame *fr = block_frame(b, f);
	uint64_t old = frame_word(fr), piece = b->large.v ? FRAME_PIECE : 0;
	while (!entry_cas(&fr->word, &old, a.v | FRAME_BACKED | piece | (old & FRAME_LOG)))
		;
}

/* Does the slot have all of the `frames` (a power of two) around f? */
static bool slot_has_around(const struct slot *s, gfn_t f, uint64_t frames)
{
	uint64_t first = f.v & ~(frames - 1);
	return first >= s->start.v && first + frames <= s->end.v;
}

/* May the block be backed as a whole? Block's lock held. */
static bool block_is_free(const struct block *b, const struct slot *s)
{
	return !b->live && !b->large.v && slot_has_around(s, block_first(b), BLOCK_FRAMES);
}

/* By this 2 MiB page. Block's lock held. */
static void block_set(struct block *b, hpa_t a)
{
	gfn_t first = block_first(b);
	__atomic_store_n(&b->large.v, a.v, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < BLOCK_FRAMES; i++)
		frame_set(b, gfn(first.v + i), hpa(a.v + (uint64_t)i * TF_PAGE_SIZE));
	block_count(b, BLOCK_FRAMES);
}

/* Block's lock held. */
static bool back_large(struct memmap *m, struct block *b, const struct slot *s)
{
	hpa_t a;
	if (!block_is_free(b, s) ||
	    m->h->page_alloc(m->h, s->node, TF_ORDER_2M, TF_USE_FRAME, &a) != TF_OK)
		return false;
	block_set(b, a);
	return true;
}

/* Give a block its part of the GiB's page. False: it is backed already, or its slot is cut: each
 * look at the slots under the block's lock is the last word, as in back_locked(). */
static bool back_part(struct op *op, struct memmap *m, struct block *b, hpa_t part)
{
	struct slot s;
	block_lock(op, m, b);
	bool ok = slot_read(m, block_first(b), &s) && block_is_free(b, &s);
	if (ok) {
		b->is_part = true;
		__atomic_fetch_add(&b->gib->parts, 1, __ATOMIC_ACQ_REL);
		block_set(b, part);
	}
	block_unlock(op, b);
	return ok;
}

/* Back all blocks of the GiB around f, of which none is yet, by one page of the slot's node. What
 * meanwhile is backed otherwise stays so. Returns the frames backed. */
static unsigned int back_gib_locked(struct op *op, struct memmap *m, const struct slot *s, gfn_t f)
{
	const gfn_t first = gfn(f.v & ~(uint64_t)(GIB_FRAMES - 1));
	unsigned int parts = 0;
	hpa_t a;
	if (m->h->page_alloc(m->h, s->node, TF_ORDER_1G, TF_USE_FRAME, &a) != TF_OK)
		return 0;
	for (unsigned int i = 0; i < GIB_BLOCKS; i++) {
		struct block *b = block_grow(m, gfn(first.v + (uint64_t)i * BLOCK_FRAMES), s->node);
		hpa_t part = hpa(a.v + (uint64_t)i * BLOCK_FRAMES * TF_PAGE_SIZE);
		if (b && back_part(op, m, b, part))
			parts++;
		else
			m->h->page_free(m->h, TF_ORDER_2M, part);
	}
	return parts * BLOCK_FRAMES;
}

static bool gib_is_free(const struct gib *g)
{
	return !__atomic_load_n(&g->live, __ATOMIC_ACQUIRE) &&
	       !__atomic_load_n(&g->parts, __ATOMIC_ACQUIRE);
}

/* The same, if nothing of it is backed and the slot has all of it; no more than the map's lock
 * held. Others that touch the GiB meanwhile wait until all its blocks have their parts: who backed
 * a block by itself would break it. */
static void back_gib(struct op *op, struct memmap *m, const struct slot *s, struct block *b,
		     struct backed *did)
{
	if (!b->gib || !slot_has_around(s, block_first(b), GIB_FRAMES))
		return;
	if (!gib_is_free(b->gib) && !__atomic_load_n(&b->gib->lock, __ATOMIC_ACQUIRE))
		return;
	uint64_t waited = lock_word_take(op, &b->gib->lock, RANK_GIB);
	if (gib_is_free(b->gib))
		did->frames = back_gib_locked(op, m, s, block_first(b));
	lock_word_drop(op, &b->gib->lock, RANK_GIB);
	if (waited)
		__atomic_fetch_add(&m->block_wait, waited, __ATOMIC_RELAXED);
	did->huge = did->frames != 0;
	did->node = s->node;
}

enum attempt { BACKED, LEAVING, NO_MEMORY, NO_SLOT };

/* One try under the block's lock, with a page at hand (0: none). A slot that goes is cut before the
 * removal takes this lock: so the look at the slots here is the last word. */
static enum attempt back_locked(struct memmap *m, struct block *b, gfn_t f, hpa_t *page,
				struct backed *did)
{
	struct slot s;
	uint64_t word = frame_word(block_frame(b, f));
	if (word & FRAME_BACKED)
		return BACKED;
	if (word & FRAME_LEAVING)
		return LEAVING;
	if (!slot_read(m, f, &s))
		return NO_SLOT;
	did->node = s.node;
	if (m->large && back_large(m, b, &s)) {
		did->frames += BLOCK_FRAMES;
		did->large = true;
		return BACKED;
	}
	hpa_t a = *page;
	if (b->large.v) { /* its own part of a 2 MiB page that is still partly in use */
		a = hpa(b->large.v + (f.v & (BLOCK_FRAMES - 1)) * TF_PAGE_SIZE);
		memset(tf_host_ptr(m->h, a), 0, TF_PAGE_SIZE);
	} else if (!a.v) {
		return NO_MEMORY;
	} else {
		*page = hpa(0);
	}
	frame_set(b, f, a);
	block_count(b, 1);
	did->frames++;
	return BACKED;
}

/* May a 2 MiB page do for the frame? Then no small one is fetched before the lock is taken. */
static bool wants_large(const struct memmap *m, const struct block *b)
{
	return m->large && __atomic_load_n(&b->live, __ATOMIC_RELAXED) == 0;
}

enum tf_status memmap_back(struct op *op, struct memmap *m, gfn_t f, struct backed *did)
{
	struct slot s;
	enum attempt r;
	hpa_t page = hpa(0);
	*did = (struct backed){0};
	if (f.v >= m->max_gfn || !slot_read(m, f, &s))
		return TF_E_NOENT;
	struct block *b = block_grow(m, f, s.node);
	if (!b)
		return TF_E_NOMEM;
	back_gib(op, m, &s, b, did);
	bool tried = false, fetch = !wants_large(m, b);
	for (;;) {
		if (frame_is_backed(block_frame(b, f))) {
			r = BACKED;
			break;
		}
		/* Fetched, and cleared by the host, before the lock is taken. */
		if (fetch && !tried) {
			if (m->h->page_alloc(m->h, s.node, TF_ORDER_4K, TF_USE_FRAME, &page) !=
			    TF_OK)
				page = hpa(0);
			tried = true;
		}
		block_lock(op, m, b);
		r = back_locked(m, b, f, &page, did);
		block_unlock(op, b);
		if (r == LEAVING)
			__builtin_ia32_pause();
		else if (r == NO_MEMORY && !tried)
			fetch = true; /* no large page after all */
		else
			break;
	}
	if (page.v)
		m->h->page_free(m->h, TF_ORDER_4K, page);
	if (r == NO_SLOT)
		return TF_E_NOENT;
	return r == BACKED ? TF_OK : TF_E_NOMEM;
}

uint64_t memmap_take(struct op *op, struct memmap *m, gfn_t f)
{
	struct block *b = memmap_block(m, f);
	struct frame *fr = b ? block_frame(b, f) : NULL;
	const uint64_t keep = FRAME_TRACKED | FRAME_UNTRACKING | FRAME_LOG | FRAME_GATE;
	if (!fr)
		return 0;
	/* No look without the lock: who has it may have seen the slot before it was cut. */
	block_lock(op, m, b);
	uint64_t old = frame_word(fr);
	if (old & FRAME_BACKED) {
		block_hold(b);
		while (!entry_cas(&fr->word, &old, (old & keep) | FRAME_LEAVING))
			;
	}
	block_unlock(op, b);
	return old;
}

void memmap_gone(struct op *op, struct memmap *m, gfn_t f, uint64_t old_word)
{
	struct block *b = memmap_block(m, f);
	struct frame *fr = block_frame(b, f);
	hpa_t large = hpa(0);
	block_lock(op, m, b);
	/* Who is ending the frame's trust needs group locks only, so this wait ends. */
	uint64_t word = frame_word(fr);
	while ((word & FRAME_UNTRACKING) || !entry_cas(&fr->word, &word, word & FRAME_LOG)) {
		__builtin_ia32_pause();
		word = frame_word(fr);
	}
	/* First it is not whole, then not held: see block_is_large(). */
	block_count(b, -1);
	if (word & FRAME_TRACKED)
		block_unhold(b);
	if (word & FRAME_GATE)
		block_unhold(b);
	block_unhold(b);
	if (b->live == 0 && b->large.v) {
		large = b->large;
		__atomic_store_n(&b->large.v, 0, __ATOMIC_RELEASE);
		if (b->is_part)
			__atomic_fetch_sub(&b->gib->parts, 1, __ATOMIC_ACQ_REL);
		b->is_part = false;
	}
	block_unlock(op, b);
	if (!(old_word & FRAME_PIECE))
		m->h->page_free(m->h, TF_ORDER_4K, word_hpa(old_word));
	else if (large.v)
		m->h->page_free(m->h, TF_ORDER_2M, large);
}
