/* tf_explain(): exact counts where tables are built for them; and, over random tables of every
 * format, page size and mode, the same entries in the same order as the model CPU reads with its
 * caches off, the same end as the manuals' oracle gives, and nothing changed.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

#include "hw_walk.h"

#include <twofold/explain.h>

/* A walk of the model CPU without its caches: which entries it reads is in c->ref. */
static void cold_walk(struct hw_cpu *c, uint64_t va, uint32_t flags, struct hw_walk *walk)
{
	c->cold = true;
	c->refs = 0;
	pthread_mutex_lock(&c->guest);
	hw_walk(c, va, flags, true, walk);
	pthread_mutex_unlock(&c->guest);
	c->cold = false;
	if (c->hw->broken[0])
		fail_msg("%s", c->hw->broken);
}

/* ---- exact counts ---- */

static struct tf_explanation explain(struct rig *g, uint64_t va, uint32_t flags)
{
	struct tf_access a = {gva(va), flags};
	struct tf_explanation x;

	tf_explain(g->hw.cpu[0].v, &g->hw.cpu[0].r, &a, &x);
	return x;
}

/* Touch, so that nothing is missing, and explain. */
static struct tf_explanation touched(struct rig *g, uint64_t va)
{
	assert_int_equal(touch(g, 0, va, TF_USER, 0).end, HW_DONE);
	return explain(g, va, TF_USER);
}

static void test_counts_nested(void **state)
{
	struct rig *g = start_in(TF_NESTED, false);

	(void)state;
	/* Small pages on both sides: 4 x (4 + 1) + 4. */
	struct tf_explanation x = touched(g, 0x200000);
	assert_int_equal(x.native, 4);
	assert_int_equal(x.nested, 24);
	assert_int_equal(x.nested_filled, 24);
	assert_true(x.nested_mapped);
	assert_int_equal(x.end, TF_WALK_MAPPED);
	assert_int_equal(x.page_size, 4096);
	/* A 2 MiB page of the guest. */
	x = touched(g, 4 * MIB);
	assert_int_equal(x.native, 3);
	assert_int_equal(x.nested, 3 * 5 + 4);
	assert_int_equal(x.page_size, 2 * MIB);
	end(g);
	g = start_in(TF_NESTED, true);
	/* Nested leaves of 2 MiB: one entry less behind each. */
	x = touched(g, 0x200000);
	assert_int_equal(x.nested, 4 * 4 + 3);
	x = touched(g, 4 * MIB);
	assert_int_equal(x.nested, 15);
	assert_int_equal(x.native, 3);
	end(g);
}

static void test_counts_shadow(void **state)
{
	struct rig *g = start_in(TF_SHADOW, false);

	(void)state;
	struct tf_explanation x = touched(g, 0x200000);
	assert_int_equal(x.shadow_end, TF_SHADOW_MAPPED);
	assert_int_equal(x.shadow_refs, 4);
	assert_int_equal(x.shadow_n, 4);
	x = touched(g, 4 * MIB); /* in pieces */
	assert_int_equal(x.shadow_refs, 4);
	assert_int_equal(x.shadow[3].table, TF_SHADOW_DIRECT);
	end(g);
	g = start_in(TF_SHADOW, true);
	x = touched(g, 4 * MIB);
	assert_int_equal(x.shadow_refs, 3);
	assert_int_equal(x.shadow[2].entry.kind, TF_KIND_LEAF);
	end(g);
}

/* Tables that were read in vain for long are tracked, and then written. */
static void test_tracked(void **state)
{
	struct rig *g = start_in(TF_SHADOW, false);

	(void)state;
	tag_frames(g);
	struct tf_explanation x = touched(g, 0x200000);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(x.shadow[i].table, TF_SHADOW_UNSYNC);
	quiet(g, 0, 0x200000);
	x = touched(g, 0x200000);
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(x.shadow[i].table, TF_SHADOW_TRACKED);
		assert_int_equal(x.shadow[i].frame & TF_FRAME_TRACKED, TF_FRAME_TRACKED);
		assert_false(x.shadow[i].old);
	}
	uint64_t at = entry_of(g, ROOT, 0x200000, 0);
	edit(g, 0, at, 0x201000 | X_P | X_W | X_U | X_A);
	x = explain(g, 0x200000, TF_USER);
	assert_int_equal(x.shadow[3].table, TF_SHADOW_UNSYNC);
	assert_true(x.shadow[3].old); /* until the guest flushes */
	assert_int_equal(x.shadow_end, TF_SHADOW_MAPPED);
	assert_int_equal(x.data.at.v, 0x201000);
	end(g);
}

static void test_missing(void **state)
{
	struct rig *g = start_in(TF_SHADOW, false);

	(void)state;
	load(g, 0, 0x200000);
	/* Its tables are shadowed, its leaf is not: written pages only are filled without a fault.
	 */
	put(g, entry_of(g, ROOT, 0x3ff000, 0), 0x3ff000 | X_P | X_W | X_U);
	struct tf_explanation x = explain(g, 0x3ff000, TF_USER | TF_WRITE);
	assert_int_equal(x.shadow_end, TF_SHADOW_MENDED);
	assert_int_equal(x.shadow_refs, 4);
	assert_int_equal(x.shadow_filled, 4);
	assert_int_equal(x.shadow[3].entry.kind, TF_KIND_EMPTY);
	/* A kernel address: only the root is there. */
	x = explain(g, KERNEL, 0);
	assert_int_equal(x.shadow_end, TF_SHADOW_MENDED);
	assert_int_equal(x.shadow_refs, 1);
	assert_int_equal(x.shadow_filled, 4);
	assert_int_equal(x.shadow_n, 4);
	assert_int_equal(x.shadow[1].table, TF_SHADOW_MISSING);
	assert_false(x.shadow[1].reached);
	/* Not mapped by the guest; to where nothing is; not canonical. */
	x = explain(g, 1ull << 39, TF_USER);
	assert_int_equal(x.end, TF_WALK_ABSENT);
	assert_int_equal(x.n, 1);
	assert_int_equal(x.shadow_end, TF_SHADOW_INJECTED);
	x = explain(g, HIGH + PAGE, TF_USER);
	assert_int_equal(x.end, TF_WALK_DEVICE);
	assert_int_equal(x.shadow_end, TF_SHADOW_DEVICE);
	x = explain(g, 1ull << 47, 0);
	assert_int_equal(x.end, TF_WALK_NOT_CANONICAL);
	assert_int_equal(x.nested + x.native + x.shadow_refs, 0);
	x = explain(g, KERNEL, TF_USER);
	assert_int_equal(x.end, TF_WALK_DENIED);
	assert_int_equal(x.pfec, TF_PF_P | TF_PF_U);
	end(g);
}

/* What one fault lets go of counts for those after it: four tables are tracked in a block that is
 * one 2 MiB page; when the last of them was written by a nested walk, one leaf maps them all. */
static void test_releases(void **state)
{
	struct rig *g = start_in(TF_SHADOW, true);
	struct hw_walk walk;
	struct tf_access a = {gva(0x200000), TF_USER};
	struct tf_explanation x;

	(void)state;
	quiet(g, 0, 0x200000);
	hw_set_mode(&g->hw.cpu[1], TF_NESTED);
	assert_true(hw_enter(&g->hw.cpu[1]));
	tf_explain(g->hw.cpu[1].v, &g->r, &a, &x);
	assert_false(x.nested_mapped);
	assert_int_equal(x.behind[0].frame & TF_FRAME_TRACKED, TF_FRAME_TRACKED);
	assert_int_equal(x.nested_filled, 4 * 4 + 3);
	assert_int_equal(touch(g, 1, 0x200000, TF_USER, 0).end, HW_DONE);
	cold_walk(&g->hw.cpu[1], 0x200000, TF_USER, &walk);
	assert_int_equal(g->hw.cpu[1].refs, 4 * 4 + 3);
	end(g);
}

/* The same on a shadow root: the write itself ends the tracking that is left. */
static void test_releases_shadow(void **state)
{
	const uint64_t large = 8 * MIB;
	struct rig *g = start_in(TF_SHADOW, true);
	struct tf_explanation x;
	struct hw_walk walk;

	(void)state;
	map(g, ROOT, large, 1, X_P | X_W | X_U | X_A | X_D | X_PS);
	quiet(g, 0, 0x200000);
	for (unsigned int level = 0; level < 3; level++) /* all but the root */
		edit(g, 0, (entry_of(g, ROOT, 0x200000, level) & ~(PAGE - 1)) + 8 * 500, 0);
	x = explain(g, large + ROOT + 8 * 500, TF_USER | TF_WRITE);
	assert_int_equal(x.data.frame & TF_FRAME_TRACKED, TF_FRAME_TRACKED);
	assert_int_equal(x.shadow_filled, 3);
	store(g, 0, large + ROOT + 8 * 500, 0);
	cold_walk(&g->hw.cpu[0], large + ROOT + 8 * 500, TF_USER | TF_WRITE, &walk);
	assert_int_equal(g->hw.cpu[0].refs, 3);
	end(g);
}

/* ---- random worlds ---- */

#define FRAMES_A 2048u /* 8 MiB at 0 */
#define B_GFN	 4096u /* 2 MiB at 16 MiB */
#define FIRST	 256u  /* tables */
#define TABLES	 24u

struct world {
	struct fakehost f;
	struct hw hw;
	struct tf_vm *vm;
	struct rng rng;
	struct tf_regs r;
	unsigned int levels, bytes;
	uint64_t frames; /* at 0: FRAMES_A, or a GiB that is backed as one */
	bool huge, logged;
	uint64_t checks, mended, large, by_nested, by_shadow, predicted;
};

static struct world world;

static uint64_t below(struct world *w, uint64_t n)
{
	return rng_below(&w->rng, n);
}

static uint64_t some_page(struct world *w)
{
	switch (below(w, 16)) {
	case 0:
		return FIRST + below(w, TABLES);
	case 1:
		return w->frames + below(w, 1024); /* nothing there */
	case 2:
	case 3:
		return B_GFN + below(w, 512);
	default:
		return 512 + below(w, FRAMES_A - 512);
	}
}

static uint64_t some_entry(struct world *w, unsigned int level)
{
	uint64_t e = below(w, 10) ? X_P : 0;
	bool large = level > 0 && level < 3 && below(w, 4) == 0;

	e |= below(w, 4) ? X_W : 0;
	e |= below(w, 6) ? X_U : 0;
	e |= below(w, 2) ? X_A : 0;
	e |= below(w, 2) ? X_D : 0;
	e |= below(w, 8) ? 0 : X_G;
	if (w->bytes == 8 && below(w, 40) == 0)
		e |= BIT(45);
	if (w->bytes == 8 && below(w, 10) == 0)
		e |= X_NX;
	if (level == 0)
		return e | some_page(w) << 12;
	if (!large)
		return (e & ~X_G) | (FIRST + below(w, TABLES)) << 12;
	if (level == 2)
		return e | X_PS | (below(w, 8) ? 0 : BIT(30));
	if (w->bytes == 4)
		return e | X_PS | below(w, 5) << 22;
	return e | X_PS | below(w, 10) << 21;
}

/* The four entries of a table that addresses lead over. */
static unsigned int some_index(struct world *w, unsigned int level)
{
	unsigned int n = w->levels == 3 && level == 2 ? 4 : w->bytes == 4 ? 1024 : 512;
	const unsigned int index[4] = {0, 1, 2, n - 1};

	return index[below(w, 4)];
}

static void poke(struct world *w)
{
	unsigned int level = (unsigned int)below(w, w->levels ? w->levels : 1);
	uint64_t e = some_entry(w, level);
	uint64_t at = (FIRST + below(w, TABLES)) << 12;

	at += (uint64_t)w->bytes * some_index(w, level);
	assert_int_equal(tf_mem_write(w->vm, gpa(at), &e, w->bytes), TF_OK);
}

static uint64_t some_va(struct world *w)
{
	unsigned int bits = w->bytes == 4 ? 10 : 9;
	uint64_t va = 8 * below(w, 512);

	if (!w->levels)
		return va | below(w, 24 * MIB / PAGE) << 12;
	for (unsigned int k = 0; k < w->levels; k++)
		va |= (uint64_t)some_index(w, k) << (12 + bits * k);
	if (w->levels < 4)
		return va;
	unsigned int up = w->levels == 5 ? 7 : 16;
	va = (uint64_t)((int64_t)(va << up) >> up);
	return below(w, 100) ? va : va ^ BIT(62);
}

static struct tf_regs some_regs(struct world *w, unsigned int levels)
{
	struct tf_regs r = {.cr0 = X_CR0_PE | X_CR0_PG | (below(w, 6) ? X_CR0_WP : 0),
			    .cr3 = (FIRST + below(w, 3)) << 12};

	r.cr0 &= levels ? ~UINT64_C(0) : ~X_CR0_PG;
	r.cr4 = levels > 2 ? X_CR4_PAE : below(w, 4) ? X_CR4_PSE : 0;
	r.cr4 |= X_CR4_PGE | (levels == 5 ? X_CR4_LA57 : 0);
	r.efer = below(w, 4) ? X_EFER_NXE : 0;
	r.efer |= levels > 3 ? X_EFER_LME | X_EFER_LMA : 0;
	return r;
}

static void world_start(struct world *w, unsigned int n, bool huge)
{
	static const unsigned int levels[] = {4, 5, 4, 3, 2, 4, 0};
	const struct tf_config conf = {
		.mode = n % 2 ? TF_SHADOW : TF_NESTED,
		.nested =
			(enum tf_nested_format[]){TF_NPT, TF_EPT, TF_NPT, TF_EPT_NO_AD}[n / 2 % 4],
		.maxphyaddr = 40,
		.vcpus = 2,
		.nodes = 1,
		.grouping = n / 4 % 2 ? TF_GROUPS_VCPU : TF_GROUPS_ONE,
		.install = n / 3 % 2 ? TF_INSTALL_CAS : TF_INSTALL_LOCK,
		.large_backing = n / 5 % 3 != 0 || huge,
		.huge_backing = huge,
	};

	memset(w, 0, sizeof(*w));
	w->rng.s = n;
	w->levels = levels[n % 7];
	w->bytes = w->levels == 2 ? 4 : 8;
	w->huge = huge;
	w->frames = huge ? GIB / PAGE : FRAMES_A;
	fakehost_init_huge(&w->f, 64 * MIB, huge ? 1 : 0);
	hw_init(&w->hw, &w->f, &conf, conf.vcpus);
	assert_int_equal(tf_vm_create(&w->f.host, &conf, &w->vm), TF_OK);
	assert_int_equal(tf_mem_add(w->vm, gpa(0), w->frames * PAGE, 0), TF_OK);
	if (!huge)
		assert_int_equal(tf_mem_add(w->vm, gpa(B_GFN * PAGE), 2 * MIB, 0), TF_OK);
	w->r = some_regs(w, w->levels);
	assert_int_equal(hw_attach(&w->hw, w->vm, &w->r, n), TF_OK);
	for (unsigned int i = 0; i < 300; i++)
		poke(w);
}

static void world_end(struct world *w)
{
	assert_null(tf_check(w->vm));
	tf_vm_destroy(w->vm);
	assert_int_equal(fakehost_leaks(&w->f), 0);
	hw_fini(&w->hw);
	fakehost_fini(&w->f);
}

/* Of all that is allocated, guest memory and tables alike; of a GiB what the guest may touch. */
static uint64_t sum_of_memory(struct world *w)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < w->f.frames; i++) {
		hpa_t a = hpa(FAKEHOST_BASE + i * PAGE);
		if (!fakehost_is_allocated(&w->f, a) ||
		    (i >= w->f.small && i % (GIB / PAGE) >= FRAMES_A))
			continue;
		const uint64_t *p = fakehost_ptr(&w->f, a, PAGE, "sum");
		for (unsigned int k = 0; k < PAGE / 8; k++)
			sum = sum * 31 + p[k];
	}
	return sum + w->f.allocs + w->f.frees + w->f.flushes;
}

static unsigned int add_walk(uint64_t *to, unsigned int n, const struct tf_nested_walk *walk)
{
	for (unsigned int i = 0; i < walk->n; i++)
		to[n++] = walk->entry[i].at;
	return n;
}

/* What the hardware should read on the root that it has: host-physical addresses. */
static unsigned int expected(const struct tf_explanation *x, enum tf_mode on, uint64_t *to)
{
	unsigned int n = 0;

	for (unsigned int i = 0; on == TF_SHADOW && i < x->shadow_n; i++)
		if (x->shadow[i].reached)
			to[n++] = x->shadow[i].entry.at;
	if (on == TF_SHADOW)
		return n;
	for (unsigned int i = x->first_is_register; i < x->n; i++) {
		enum tf_nested_end end = x->behind[i].end;
		n = add_walk(to, n, &x->behind[i]);
		if (end != TF_NESTED_MAPPED && end != TF_NESTED_READ_ONLY)
			return n;
		to[n++] = x->behind[i].to.v;
		if (end == TF_NESTED_READ_ONLY)
			return n;
	}
	if (x->end == TF_WALK_NO_TABLE)
		return add_walk(to, n, &x->behind[x->n]);
	if (x->end == TF_WALK_MAPPED || x->end == TF_WALK_DEVICE)
		n = add_walk(to, n, &x->data);
	return n;
}

/* The guest's walk as the manuals have it, by entries read from memory. */
static void judge_guest(struct world *w, const struct tf_regs *r, const struct tf_explanation *x)
{
	const unsigned int bytes = oracle_entry_bytes(r);
	uint64_t va = x->access.at.v, table = oracle_root(r);
	struct orights ri = oracle_start();
	struct oentry e = {.kind = O_LEAF, .shift = 0, .addr = 0};
	uint32_t pfec = 0;
	unsigned int n = 0;

	assert_int_equal(x->levels, oracle_levels(r));
	if (!oracle_is_canonical(r, va)) {
		assert_int_equal(x->end, TF_WALK_NOT_CANONICAL);
		return;
	}
	for (unsigned int level = x->levels; level-- > 0;) {
		uint64_t at = table + (uint64_t)bytes * oracle_index(r, level, va), raw = 0;
		if (tf_mem_read(w->vm, gpa(at), &raw, bytes) != TF_OK) {
			assert_int_equal(x->end, TF_WALK_NO_TABLE);
			assert_int_equal(x->n, n);
			return;
		}
		assert_int_equal(x->guest[n].at, at);
		assert_int_equal(x->guest[n].value, raw);
		assert_int_equal(x->guest[n++].level, level);
		e = oracle_entry(r, 40, level, raw);
		if (e.kind == O_ABSENT || e.kind == O_RESERVED) {
			assert_int_equal(x->end,
					 e.kind == O_ABSENT ? TF_WALK_ABSENT : TF_WALK_RESERVED);
			assert_int_equal(x->pfec,
					 oracle_pfec(r, x->access.flags, e.kind != O_ABSENT,
						     e.kind != O_ABSENT));
			assert_int_equal(x->n, n);
			return;
		}
		oracle_add(&ri, &e);
		if (e.kind == O_LEAF)
			break;
		table = e.addr;
	}
	assert_int_equal(x->n, n);
	assert_int_equal(x->native, x->levels == 3 ? n - 1 : n);
	if (x->levels && !oracle_allows(r, x->access.flags, &ri, &pfec)) {
		assert_int_equal(x->end, TF_WALK_DENIED);
		assert_int_equal(x->pfec, pfec);
		return;
	}
	uint64_t at = x->levels ? e.addr | (va & (BIT(e.shift) - 1)) : va;
	assert_int_equal(x->data.at.v, at);
	assert_int_equal(x->page_size, x->levels ? BIT(e.shift) : 0);
	assert_int_equal(!!(x->bits & TF_BIT_W), !x->levels || ri.w);
	assert_int_equal(!!(x->bits & TF_BIT_U), !x->levels || ri.u);
	assert_int_equal(!!(x->bits & TF_BIT_X), !x->levels || !ri.nx);
	bool memory = at < w->frames * PAGE || (at >= B_GFN * PAGE && at < B_GFN * PAGE + 2 * MIB);
	assert_int_equal(x->end, memory ? TF_WALK_MAPPED : TF_WALK_DEVICE);
}

static void judge_end(const struct tf_explanation *x, enum tf_mode on, const struct hw_walk *walk)
{
	const struct tf_nested_walk *first = &x->data;

	switch (walk->end) {
	case HW_W_OK:
		if (on == TF_SHADOW) {
			assert_int_equal(x->shadow_end, TF_SHADOW_MAPPED);
			assert_int_equal(x->shadow_to.v, walk->hpa);
			return;
		}
		assert_true(x->nested_mapped);
		assert_int_equal(x->end, TF_WALK_MAPPED);
		assert_int_equal(x->data.to.v, walk->hpa);
		assert_int_equal(x->data.at.v, walk->gpa);
		return;
	case HW_W_EXIT:
		assert_in_range(x->shadow_end, TF_SHADOW_MENDED, TF_SHADOW_INJECTED);
		return;
	case HW_W_FAULT:
		assert_true(x->nested_mapped);
		assert_in_range(x->end, TF_WALK_ABSENT, TF_WALK_DENIED);
		assert_int_equal(x->pfec, walk->pfec);
		return;
	case HW_W_NESTED:
		assert_false(x->nested_mapped);
		for (unsigned int i = x->n + (x->end == TF_WALK_NO_TABLE); i-- > 0;)
			if (x->behind[i].end != TF_NESTED_MAPPED &&
			    (i > 0 || !x->first_is_register))
				first = &x->behind[i];
		assert_int_equal(first->at.v, walk->gpa);
		assert_int_not_equal(first->end, TF_NESTED_MAPPED);
		return;
	default:
		assert_int_equal(x->end, TF_WALK_NOT_CANONICAL);
	}
}

/* The model reads PAE's first level from memory on EPT too, which a CPU does not: leave it out.
 * False: it faulted there. */
static bool skip_register(struct hw_cpu *c, const struct hw_walk *walk,
			  const struct tf_explanation *x, unsigned int n)
{
	if (!x->first_is_register)
		return true;
	if ((walk->end == HW_W_NESTED && walk->gpa == x->guest[0].at) || c->refs < n + 2)
		return false;
	memmove(c->ref, c->ref + (c->refs - n), n * sizeof(c->ref[0]));
	c->refs = n;
	return true;
}

static void check_walk(struct world *w)
{
	struct hw_cpu *c = &w->hw.cpu[below(w, 2)];
	const uint32_t
		flags = (uint32_t[]){0,	      TF_WRITE,		  TF_FETCH,
				     TF_USER, TF_USER | TF_WRITE, TF_USER | TF_FETCH}[below(w, 6)];
	const struct tf_access a = {gva(some_va(w)), flags};
	bool sums = w->checks++ % 64 == 0;
	uint64_t sum = 0, want[HW_REFS];
	struct tf_counters before, after;
	struct tf_explanation x;
	struct hw_walk walk;

	/* What a change of mode left for later entries is done when it comes to be foretold. */
	for (unsigned int k = 0; k < 8; k++) {
		assert_true(hw_enter(c));
		hw_leave(c);
	}
	assert_true(hw_enter(c));
	tf_counters_read(w->vm, &before);
	if (sums)
		sum = sum_of_memory(w);
	memset(&x, 0xee, sizeof(x));
	tf_explain(c->v, &c->r, &a, &x);
	if (sums)
		assert_int_equal(sum, sum_of_memory(w));
	tf_counters_read(w->vm, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(x.running, c->load.mode);

	unsigned int n = expected(&x, c->load.mode, want);
	cold_walk(c, a.at.v, flags, &walk);
	if (!skip_register(c, &walk, &x, n))
		return;
	judge_end(&x, c->load.mode, &walk);
	assert_int_equal(n, c->load.mode == TF_SHADOW ? x.shadow_refs : x.nested);
	assert_int_equal(n, c->refs);
	assert_memory_equal(want, c->ref, n * sizeof(want[0]));

	/* The guest's entries may have got A and D meanwhile: explain anew. */
	tf_explain(c->v, &c->r, &a, &x);
	judge_guest(w, &c->r, &x);

	/* Let faults mend what is missing: as many entries as were foretold. */
	tf_explain(c->v, &c->r, &a, &x);
	enum tf_mode on = c->load.mode;
	bool backed = x.data.frame & TF_FRAME_BACKED;
	bool missing = on == TF_SHADOW ? x.shadow_end != TF_SHADOW_MAPPED : !x.nested_mapped;
	struct hw_result res = hw_access(c, a.at.v, flags, flags & TF_WRITE ? HW_OR : HW_READ, 0);
	if (w->hw.broken[0])
		fail_msg("%s", w->hw.broken);
	if (res.end != HW_DONE || x.end != TF_WALK_MAPPED || !hw_enter(c) || c->load.mode != on)
		return;
	cold_walk(c, a.at.v, flags, &walk);
	if (!skip_register(c, &walk, &x, x.nested_filled))
		return;
	unsigned int filled = on == TF_SHADOW ? x.shadow_filled : x.nested_filled;
	w->mended += missing;
	w->large += c->refs < (on == TF_SHADOW ? x.levels : x.n * 5 + 4u);
	w->by_nested += on == TF_NESTED;
	w->by_shadow += on == TF_SHADOW;
	if (backed) {
		assert_int_equal(c->refs, filled);
		w->predicted += missing;
	} else {
		assert_true(c->refs <= filled);
	}
}

static void disturb(struct world *w)
{
	struct hw_cpu *c = &w->hw.cpu[below(w, 2)];
	uint64_t from = 512 + 64 * below(w, 24);
	struct tf_regs r;

	switch (below(w, 12)) {
	case 0:
		hw_set_mode(c, below(w, 2) ? TF_SHADOW : TF_NESTED);
		break;
	case 1:
		r = some_regs(w, w->levels);
		hw_set_regs(c, &r);
		break;
	case 2:
	case 3:
		(void)hw_write_cr3(c, c->r.cr3);
		break;
	case 4:
		if (w->logged)
			tf_dirty_stop(w->vm, gpa(0), FRAMES_A * PAGE);
		else
			assert_int_equal(tf_dirty_start(w->vm, gpa(from * PAGE), 64 * PAGE), TF_OK);
		w->logged = !w->logged;
		break;
	case 5:
		assert_int_equal(tf_mem_discard(w->vm, gpa(from * PAGE), 8 * PAGE), TF_OK);
		for (uint64_t f = from; f < from + 8; f++)
			hw_forget_gfn(&w->hw, f);
		break;
	case 6:
		if (w->huge) { /* nothing of the GiB is missing then */
			uint64_t word;
			for (uint64_t f = 0; f < FRAMES_A; f++)
				assert_int_equal(tf_mem_read(w->vm, gpa(f * PAGE), &word, 8),
						 TF_OK);
		} else if (below(w, 8) == 0) {
			assert_int_equal(tf_mem_discard(w->vm, gpa(4 * MIB), 4 * MIB), TF_OK);
			for (uint64_t f = 1024; f < 2048; f++)
				hw_forget_gfn(&w->hw, f);
		}
		break;
	case 7:
		(void)hw_invlpg(c, some_va(w));
		break;
	case 8: /* flushed in vain until tables are trusted */
		for (unsigned int i = 0; i < 300; i++) {
			(void)hw_access(c, some_va(w), TF_USER, HW_READ, 0);
			(void)hw_write_cr3(c, c->r.cr3);
		}
		break;
	default:
		poke(w);
	}
}

static void test_random(void **state)
{
	uint64_t checks = 0, mended = 0, large = 0, nested = 0, shadow = 0, predicted = 0;

	(void)state;
	for (unsigned int n = 1; n <= 112; n++) {
		struct world *w = &world;
		world_start(w, n, n > 84);
		for (unsigned int i = 0; i < 400; i++) {
			if (below(w, 3))
				check_walk(w);
			else
				disturb(w);
		}
		checks += w->checks;
		mended += w->mended;
		large += w->large;
		nested += w->by_nested;
		shadow += w->by_shadow;
		predicted += w->predicted;
		world_end(w);
	}
	print_message(
		"%llu walks, %llu of them mended (%llu by the number foretold), %llu with large "
		"leaves; mapped: %llu nested, %llu shadow\n",
		(unsigned long long)checks, (unsigned long long)mended,
		(unsigned long long)predicted, (unsigned long long)large,
		(unsigned long long)nested, (unsigned long long)shadow);
	/* It saw what it is there for. */
	assert_true(predicted > 500 && large > 500 && nested > 500 && shadow > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_nested), cmocka_unit_test(test_counts_shadow),
		cmocka_unit_test(test_tracked),	      cmocka_unit_test(test_missing),
		cmocka_unit_test(test_releases),      cmocka_unit_test(test_releases_shadow),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
