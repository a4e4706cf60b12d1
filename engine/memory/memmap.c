/* Slots, the descriptors' tree, backing and release of frames (see memmap.h).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "memory/memmap.h"

#include "base/mem.h"

_Static_assert(sizeof(struct frame) == 16, "256 frames a page");
_Static_assert(sizeof(struct block) == 64 || sizeof(void *) != 8, "64 blocks a page");

static void *page_new(struct memmap *m)
{
	hpa_t a;
	if (m->h->page_alloc(m->h, 0, TF_ORDER_4K, TF_USE_TABLE, &a) != TF_OK)
		return NULL;
	void *p = tf_host_ptr(m->h, a);
	memset(p, 0, TF_PAGE_SIZE);
	m->pages++;
	return p;
}

static void page_free(struct memmap *m, void *p)
{
	m->pages--;
	m->h->page_free(m->h, TF_ORDER_4K, hpa((uintptr_t)p - m->h->linear));
}

enum tf_status memmap_init(struct memmap *m, struct tf_host *h, unsigned int maxphyaddr, bool large)
{
	lock_init(&m->lock, RANK_MAP);
	m->h = h;
	/* The tree's reach is 32 TiB; addresses past it are simply not memory. */
	m->max_gfn = UINT64_C(1) << ((maxphyaddr < 45 ? maxphyaddr : 45) - TF_PAGE_SHIFT);
	m->large = large;
	m->slots_n = 0;
	m->pages = 0;
	m->frames_backed = m->large_backed = 0;
	m->dir = page_new(m);
	return m->dir ? TF_OK : TF_E_NOMEM;
}

static void block_destroy(struct memmap *m, struct block *b)
{
	if (b->large.v)
		m->h->page_free(m->h, TF_ORDER_2M, b->large);
	for (unsigned int half = 0; half < 2; half++) {
		struct frame *f = b->half[half];
		if (!f)
			continue;
		for (unsigned int i = 0; !b->large.v && i < BLOCK_FRAMES / 2; i++)
			if (f[i].word & FRAME_BACKED)
				m->h->page_free(m->h, TF_ORDER_4K, word_hpa(f[i].word));
		page_free(m, f);
	}
}

void memmap_destroy(struct memmap *m)
{
	for (unsigned int i = 0; i < 512; i++) {
		struct block **mid = m->dir[i];
		if (!mid)
			continue;
		for (unsigned int j = 0; j < 512; j++) {
			if (!mid[j])
				continue;
			for (unsigned int k = 0; k < 64; k++)
				block_destroy(m, &mid[j][k]);
			page_free(m, mid[j]);
		}
		page_free(m, mid);
	}
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
	m->slot[i].node = s.node;
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

bool memmap_has(const struct memmap *m, gfn_t f)
{
	for (;;) {
		uint32_t seq = __atomic_load_n(&m->slots_seq, __ATOMIC_SEQ_CST);
		unsigned int n = __atomic_load_n(&m->slots_n, __ATOMIC_ACQUIRE);
		bool has = false;
		/* Each load orders what follows it: the second look at slots_seq comes last. */
		for (unsigned int i = 0; i < n && i < MEMMAP_SLOTS && !has; i++)
			has = f.v >= __atomic_load_n(&m->slot[i].start.v, __ATOMIC_ACQUIRE) &&
			      f.v < __atomic_load_n(&m->slot[i].end.v, __ATOMIC_ACQUIRE);
		if (!(seq & 1) && seq == __atomic_load_n(&m->slots_seq, __ATOMIC_SEQ_CST))
			return has;
	}
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

/* ---- backing ---- */

/* Follow one pointer of the tree, growing it. */
static void *child_of(struct memmap *m, void **at)
{
	if (!*at)
		__atomic_store_n(at, page_new(m), __ATOMIC_RELEASE);
	return *at;
}

static struct block *block_grow(struct memmap *m, gfn_t f)
{
	struct block **mid = child_of(m, (void **)&m->dir[f.v >> 24 & 511]);
	if (!mid)
		return NULL;
	struct block *page = child_of(m, (void **)&mid[f.v >> 15 & 511]);
	if (!page)
		return NULL;
	struct block *b = &page[f.v >> 9 & 63];
	b->index = (uint32_t)(f.v >> 9);
	if (!child_of(m, (void **)&b->half[0]) || !child_of(m, (void **)&b->half[1]))
		return NULL;
	return b;
}

enum tf_status memmap_describe(struct memmap *m, gfn_t f)
{
	if (f.v >= m->max_gfn)
		return TF_E_NOENT;
	return block_grow(m, f) ? TF_OK : TF_E_NOMEM;
}

static void frame_set(struct memmap *m, struct block *b, gfn_t f, hpa_t a)
{
	struct frame *fr = block_frame(b, f);
	uint64_t keep = fr->word & FRAME_LOG;
	__atomic_store_n(&fr->word, a.v | FRAME_BACKED | (b->large.v ? FRAME_PIECE : 0) | keep,
			 __ATOMIC_RELEASE);
	__atomic_store_n(&b->live, b->live + 1, __ATOMIC_RELEASE);
	m->frames_backed++;
}

static bool back_large(struct memmap *m, struct block *b, const struct slot *s)
{
	gfn_t first = gfn((uint64_t)b->index << 9);
	if (!m->large || b->live || first.v < s->start.v || first.v + BLOCK_FRAMES > s->end.v)
		return false;
	hpa_t a;
	if (m->h->page_alloc(m->h, s->node, TF_ORDER_2M, TF_USE_FRAME, &a) != TF_OK)
		return false;
	memset(tf_host_ptr(m->h, a), 0, (size_t)TF_PAGE_SIZE << TF_ORDER_2M);
	b->large = a;
	for (unsigned int i = 0; i < BLOCK_FRAMES; i++)
		frame_set(m, b, gfn(first.v + i), hpa(a.v + (uint64_t)i * TF_PAGE_SIZE));
	m->large_backed++;
	return true;
}

enum tf_status memmap_back_locked(struct memmap *m, gfn_t f)
{
	const struct slot *s = slot_of(m, f);
	if (!s)
		return TF_E_NOENT;
	struct block *b = block_grow(m, f);
	if (!b)
		return TF_E_NOMEM;
	if (frame_is_backed(block_frame(b, f)))
		return TF_OK;
	if (!b->large.v && back_large(m, b, s))
		return TF_OK;
	hpa_t a;
	if (b->large.v) /* its own part of a 2 MiB page that is still partly in use */
		a = hpa(b->large.v + (f.v & (BLOCK_FRAMES - 1)) * TF_PAGE_SIZE);
	else if (m->h->page_alloc(m->h, s->node, TF_ORDER_4K, TF_USE_FRAME, &a) != TF_OK)
		return TF_E_NOMEM;
	memset(tf_host_ptr(m->h, a), 0, TF_PAGE_SIZE);
	frame_set(m, b, f, a);
	return TF_OK;
}

enum tf_status memmap_back(struct op *op, struct memmap *m, gfn_t f)
{
	if (f.v >= m->max_gfn)
		return TF_E_NOENT;
	lock_take(op, &m->lock);
	enum tf_status s = memmap_back_locked(m, f);
	lock_drop(op, &m->lock);
	return s;
}

uint64_t memmap_take(struct memmap *m, gfn_t f)
{
	struct block *b = memmap_block(m, f);
	struct frame *fr = b ? block_frame(b, f) : NULL;
	if (!frame_is_backed(fr))
		return 0;
	uint64_t old = entry_and(&fr->word, FRAME_TRACKED | FRAME_LOG);
	__atomic_store_n(&b->live, b->live - 1, __ATOMIC_RELEASE);
	m->frames_backed--;
	return old;
}

void memmap_release(struct op *op, struct memmap *m, gfn_t f, uint64_t old_word)
{
	struct block *b = memmap_block(m, f);
	if (!(old_word & FRAME_PIECE)) {
		op_owe_page(op, word_hpa(old_word), TF_ORDER_4K);
		return;
	}
	op_owe_flush(op);
	if (b->live == 0 && b->large.v) {
		op_owe_page(op, b->large, TF_ORDER_2M);
		b->large = hpa(0);
	}
}
