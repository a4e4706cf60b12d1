/* A walk explained (twofold/explain.h): the guest's entries, the nested walks behind them, and what
 * shadow tables hold for the address.
 *
 * Reads live tables and changes nothing. Takes the group's lock, under which table pages and guest
 * tables stay; each entry is read once.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "format/fmt_legacy.h"
#include "modes/shadow.h"
#include "vm.h"

#include "base/mem.h"

#include <twofold/explain.h>

#define CR4_PSE (UINT64_C(1) << 4)
#define CR4_PGE (UINT64_C(1) << 7)

_Static_assert(TF_LEVELS_MAX == WALK_LEVELS, "one number");

struct explain {
	struct tf_vm *vm;
	struct tf_vcpu *v;
	struct group *g;
	struct walk_cpu cpu;
	struct tf_access a;
	bool sets[TF_LEVELS_MAX]; /* the CPU sets A or D in guest[i] */
	struct walk w;
	struct tf_explanation *out;
};

static const struct fmt *guest_format(const struct tf_regs *r)
{
	switch (walk_levels(r)) {
	case 2:
		return r->cr4 & CR4_PSE ? &fmt_legacy32_pse : &fmt_legacy32;
	case 3:
		return &fmt_pae;
	case 5:
		return &fmt_x86_5;
	default:
		return &fmt_x86_4;
	}
}

static uint8_t bits_of(unsigned int perm)
{
	return (perm & PERM_R ? TF_BIT_R : 0) | (perm & PERM_W ? TF_BIT_W : 0) |
	       (perm & PERM_X ? TF_BIT_X : 0) | (perm & PERM_U ? TF_BIT_U : 0) |
	       (perm & PERM_A ? TF_BIT_A : 0) | (perm & PERM_D ? TF_BIT_D : 0);
}

static struct tf_entry entry_of(const struct fmt *f, unsigned int level, uint64_t at,
				uint64_t value)
{
	enum fmt_kind kind = fmt_kind(f, level, value);
	struct tf_entry e = {.at = at, .value = value, .level = (uint8_t)level};
	e.kind = kind == FMT_EMPTY   ? TF_KIND_EMPTY
		 : kind == FMT_TABLE ? TF_KIND_TABLE
				     : TF_KIND_LEAF;
	e.bits = kind == FMT_EMPTY ? 0 : bits_of(fmt_perm(f, value));
	if (kind == FMT_TABLE)
		e.bits &= (uint8_t)~TF_BIT_D;
	return e;
}

static uint32_t frame_flags(const struct tf_vm *vm, gfn_t f)
{
	const struct frame *fr = memmap_frame(&vm->map, f);
	uint64_t word = fr ? frame_word(fr) : 0;
	uint32_t flags = memmap_has(&vm->map, f) ? TF_FRAME_MEMORY : 0;
	if (!(word & FRAME_BACKED))
		return flags;
	return flags | TF_FRAME_BACKED | (word & FRAME_TRACKED ? TF_FRAME_TRACKED : 0) |
	       ((word & (FRAME_LOG | FRAME_DIRTY)) == FRAME_LOG ? TF_FRAME_LOGGED : 0) |
	       (word & FRAME_GATE ? TF_FRAME_GATE : 0);
}

/* ---- nested ---- */

/* The rights that the access itself needs, or the reads of the guest's entries. */
static unsigned int need_of(const struct explain *x, bool data)
{
	if (!data)
		return PERM_R | (x->vm->conf.nested != TF_EPT_NO_AD ? PERM_W : 0);
	return PERM_R | (x->a.flags & TF_WRITE ? PERM_W : 0) | (x->a.flags & TF_FETCH ? PERM_X : 0);
}

/* The nested walk for an address, with the rights (PERM_*) that it needs. */
static void nested_walk(const struct explain *x, gpa_t at, unsigned int need,
			struct tf_nested_walk *n)
{
	const struct table *t = &x->g->nested;
	const struct fmt *f = t->fmt;
	unsigned int level = f->levels, perm = PERM_RWX;
	uint64_t table = t->root.v, value = 0;
	enum fmt_kind kind = at.v < fmt_end(f) ? FMT_TABLE : FMT_EMPTY;
	const struct frame *fr = memmap_frame(&x->vm->map, gpa_to_gfn(at));
	uint64_t word = fr ? frame_word(fr) : 0;
	n->at = at;
	if (word & FRAME_BACKED)
		n->to = hpa(word_hpa(word).v | (at.v & TF_PAGE_MASK));
	n->frame = frame_flags(x->vm, gpa_to_gfn(at));
	while (kind == FMT_TABLE) {
		uint64_t where = table + fmt_index(f, at.v, --level) * UINT64_C(8);
		value = entry_read(tf_host_ptr(t->h, hpa(where)));
		n->entry[n->n++] = entry_of(f, level, where, value);
		kind = fmt_kind(f, level, value);
		perm &= fmt_perm(f, value);
		table = fmt_table(f, value);
	}
	if (kind == FMT_EMPTY)
		n->end = TF_NESTED_EMPTY;
	else if (need & ~perm)
		n->end = TF_NESTED_DENIED;
	else
		n->to = hpa(fmt_leaf(f, level, value) | (at.v & (fmt_size(f, level) - 1)));
	n->filled = n->n;
}

/* ---- the guest's tables ---- */

/* The CPU sets these bits in the guest's entry i, if they are not set. Where its nested tables have
 * no A and D, only that needs write access to the entry (SDM vol. 3, 29.3.3.2). */
static void sets(struct explain *x, struct tf_explanation *out, unsigned int i, uint64_t bits)
{
	struct tf_nested_walk *n = &out->behind[i];
	uint8_t all = TF_BIT_W;
	if ((out->guest[i].value & bits) == bits)
		return;
	x->sets[i] = true;
	for (unsigned int k = 0; k < n->n; k++)
		all &= n->entry[k].bits;
	if (n->end == TF_NESTED_MAPPED && !all)
		n->end = TF_NESTED_READ_ONLY;
}

/* The walk's steps, root first, each with the nested walk behind it. */
static void explain_guest(struct explain *x, struct tf_explanation *out)
{
	const struct fmt *f = guest_format(&x->cpu.r);
	const struct walk *w = &x->w;
	out->format = w->levels ? f->name : "none";
	out->first_is_register = w->levels == 3 && x->vm->conf.nested != TF_NPT;
	for (unsigned int level = w->levels; level-- > w->stop;) {
		const struct walk_step *s = &w->step[level];
		if (level + 1u < w->levels || !out->first_is_register)
			nested_walk(x, s->at, need_of(x, false), &out->behind[out->n]);
		if (!memmap_has(&x->vm->map, gpa_to_gfn(s->at))) {
			out->end = TF_WALK_NO_TABLE;
			return;
		}
		struct tf_entry *e = &out->guest[out->n++];
		*e = entry_of(f, level, s->at.v, s->entry);
		if (w->levels == 3 && level == 2 && e->kind == TF_KIND_TABLE)
			e->bits = TF_BIT_R | TF_BIT_W | TF_BIT_X | TF_BIT_U; /* it has none */
		else if (e->kind == TF_KIND_TABLE && level > w->stop)
			sets(x, out, out->n - 1, X86_A);
		if (e->kind == TF_KIND_LEAF && (s->entry & X86_G) && (x->cpu.r.cr4 & CR4_PGE))
			e->bits |= TF_BIT_G;
		out->native += w->levels != 3 || level < 2;
	}
}

/* How it ended, and at what. `allowed`: what the walker said. */
static void explain_end(struct explain *x, bool allowed, struct tf_explanation *out)
{
	const struct walk *w = &x->w;
	const struct fmt *f = guest_format(&x->cpu.r);
	out->pfec = allowed ? 0 : w->pfec;
	if (out->end == TF_WALK_NO_TABLE)
		return;
	if (w->stop == WALK_LEVELS) {
		out->end = TF_WALK_NOT_CANONICAL;
		return;
	}
	if (!allowed && (w->pfec & TF_PF_RSVD)) {
		out->end = TF_WALK_RESERVED;
		out->guest[out->n - 1].kind = TF_KIND_RESERVED;
		out->guest[out->n - 1].bits = 0;
		return;
	}
	if (!allowed && !(w->pfec & TF_PF_P)) {
		out->end = TF_WALK_ABSENT;
		return;
	}
	out->page_size = w->levels ? fmt_size(f, w->leaf) : 0;
	out->bits = TF_BIT_R | (w->writable ? TF_BIT_W : 0) | (w->nx ? 0 : TF_BIT_X) |
		    (w->user ? TF_BIT_U : 0) | (w->global ? TF_BIT_G : 0);
	if (out->n)
		out->bits |= out->guest[out->n - 1].bits & (TF_BIT_A | TF_BIT_D);
	if (!allowed) {
		out->end = TF_WALK_DENIED;
		return;
	}
	if (out->n)
		sets(x, out, out->n - 1, X86_A | (x->a.flags & TF_WRITE ? X86_D : 0));
	bool memory = memmap_has(&x->vm->map, gpa_to_gfn(w->gpa));
	out->end = memory ? TF_WALK_MAPPED : TF_WALK_DEVICE;
	nested_walk(x, w->gpa, need_of(x, true), &out->data);
}

/* ---- nested: what faults would mend, and the sum ---- */

#define ROWS (TF_LEVELS_MAX + 1u)

/* The nested walks of one walk in the hardware's order, and the faults that mend them. */
struct rows {
	unsigned int n;
	struct {
		struct tf_nested_walk *walk;
		gfn_t f;
		bool write; /* or is written when it can be read */
		bool entry; /* an entry of the guest's is read after it */
		bool faults;
		unsigned int level; /* of the leaf that the fault installs; 0 without one */
	} row[ROWS];
};

/* Lie two frames under one entry of this level? */
static bool same_entry(gfn_t a, gfn_t b, unsigned int level)
{
	return a.v >> (9 * level) == b.v >> (9 * level);
}

static void row_add(struct rows *rows, struct tf_nested_walk *walk, bool write, bool entry)
{
	unsigned int i = rows->n++;
	rows->row[i].walk = walk;
	rows->row[i].f = gpa_to_gfn(walk->at);
	rows->row[i].write = write;
	rows->row[i].entry = entry;
}

/* Mend row i, as the engine will after it has mended those before: a fault before may have mapped
 * it too, or have let go of its block. */
static void row_mend(const struct explain *x, struct rows *rows, unsigned int i)
{
	const unsigned int levels = x->g->nested.fmt->levels;
	struct tf_nested_walk *walk = rows->row[i].walk;
	/* Without A and D in nested tables what is missing is read first. */
	bool first_read = walk->end == TF_NESTED_EMPTY && walk != &x->out->data &&
			  !(need_of(x, false) & PERM_W);
	const gfn_t f = rows->row[i].f;
	bool write = rows->row[i].write, same = false;
	struct nested_after after = {.cut = NESTED_UNCUT};
	struct nested_leaf leaf = {.level = 0};
	if (walk->end == TF_NESTED_MAPPED || !(walk->frame & TF_FRAME_MEMORY))
		return;
	for (unsigned int j = 0; j < i; j++) {
		const gfn_t other = rows->row[j].f;
		const bool in_block = same_entry(f, other, 1);
		if (!same_entry(f, other, 2) || !rows->row[j].faults)
			continue;
		if (rows->row[j].level && same_entry(f, other, rows->row[j].level))
			return;
		if (after.cut)
			after.cut = in_block ? 0 : 1;
		if (other.v == f.v) {
			same = same || rows->row[j].write || !write;
			write = write || rows->row[j].write;
			continue;
		}
		bool counted = false;
		for (unsigned int k = 0; k < j; k++)
			counted = counted ||
				  (rows->row[k].faults && rows->row[k].f.v == rows->row[j].f.v);
		const struct frame *fr = memmap_frame(&x->vm->map, other);
		if (counted || !fr)
			continue;
		unsigned int n = nested_releases(frame_word(fr), rows->row[j].write);
		after.gib_released += n;
		after.block_released += in_block ? n : 0;
	}
	walk->filled = levels;
	if (same)
		return;
	rows->row[i].faults = true;
	if (nested_plan(x->vm, x->g, f, write && !first_read, &after, &leaf))
		rows->row[i].level = leaf.level;
}

/* Add up the references: now, to the first fault; and when all are mended. */
static void count_nested(const struct explain *x, struct tf_explanation *out)
{
	struct rows rows = {.n = 0};
	bool now = true;
	bool writes = need_of(x, false) & PERM_W;
	for (unsigned int i = out->first_is_register; i < out->n; i++)
		row_add(&rows, &out->behind[i], writes || x->sets[i], true);
	if (out->end == TF_WALK_NO_TABLE)
		row_add(&rows, &out->behind[out->n], writes, false);
	if (out->end == TF_WALK_MAPPED || out->end == TF_WALK_DEVICE)
		row_add(&rows, &out->data, x->a.flags & TF_WRITE, false);
	for (unsigned int i = 0; i < rows.n; i++)
		row_mend(x, &rows, i);
	for (unsigned int i = 0; i < rows.n; i++) {
		struct tf_nested_walk *walk = rows.row[i].walk;
		unsigned int level = 0; /* of the largest leaf that these faults map it by */
		for (unsigned int j = 0; j < rows.n; j++)
			if (rows.row[j].level > level &&
			    same_entry(rows.row[i].f, rows.row[j].f, rows.row[j].level))
				level = rows.row[j].level;
		if (level)
			walk->filled = x->g->nested.fmt->levels - level;
		out->nested_filled += walk->filled + rows.row[i].entry;
		out->nested += now ? walk->n : 0;
		now = now && (walk->end == TF_NESTED_MAPPED || walk->end == TF_NESTED_READ_ONLY);
		out->nested += now && rows.row[i].entry;
		now = now && walk->end == TF_NESTED_MAPPED;
	}
	out->nested_mapped = now;
}

/* ---- shadow ---- */

static bool same_role(struct role a, struct role b)
{
	return a.level == b.level && a.direct == b.direct && a.nxe == b.nxe && a.pkey == b.pkey;
}

/* What the table of a level is to be the shadow of, by the guest's entries now. */
static void shadow_key(const struct explain *x, unsigned int level, gfn_t *f, struct role *r)
{
	const struct walk *w = &x->w;
	*r = (struct role){.level = (uint8_t)level, .nxe = (x->cpu.r.efer >> 11) & 1};
	if (level + 1u == w->levels) {
		*f = shadow_root_frame(&x->cpu.r);
	} else if (level >= w->leaf) {
		*f = gfn((w->step[level + 1].entry & SPTE_ADDR) >> TF_PAGE_SHIFT);
	} else {
		uint64_t frames = UINT64_C(1) << (9 * (level + 1));
		*f = gfn(gpa_to_gfn(w->gpa).v & ~(frames - 1));
		r->direct = 1;
		r->pkey = w->pkey;
	}
}

/* The level of the leaf that a fault would install. */
static unsigned int shadow_leaf_level(const struct explain *x)
{
	gfn_t f = gpa_to_gfn(x->w.gpa);
	const struct block *b = memmap_block(&x->vm->map, f);
	const struct frame *fr = b ? block_frame(b, f) : NULL;
	if (x->w.leaf == 0 || !frame_is_backed(fr))
		return 0;
	/* A write ends the tracking, which holds the block. */
	bool untracks = (x->a.flags & TF_WRITE) && (frame_word(fr) & FRAME_TRACKED);
	return block_is_large_but(b, untracks ? 1 : 0) ? 1 : 0;
}

/* One level of a table, or of where it will be. */
static void shadow_step(const struct explain *x, const struct shadow *s, unsigned int level,
			gfn_t of, struct tf_shadow_step *out)
{
	out->entry.level = (uint8_t)level;
	out->of = of;
	out->frame = frame_flags(x->vm, of);
	if (!s)
		return;
	unsigned int i = gva_index(x->a.at, level);
	out->entry =
		entry_of(&fmt_x86_4, level, s->page[0].v + i * UINT64_C(8), entry_read(&s->spt[i]));
	out->table = s->role.direct ? TF_SHADOW_DIRECT
		     : s->tracked   ? TF_SHADOW_TRACKED
				    : TF_SHADOW_UNSYNC;
	out->present = s->count;
	if (!s->role.direct && bit_get(s->present, i))
		out->old = (entry_read(&s->guest[i]) ^ s->snap[i]) & ~(SPTE_A | SPTE_D);
}

static struct shadow *shadow_root_now(const struct explain *x, gfn_t f, struct role r)
{
	struct shadow *root = x->v->running == &mode_shadow ? x->v->root : NULL;
	if (root && root->gfn.v == f.v && same_role(root->role, r))
		return root;
	return shadow_find(x->vm, x->g, f, r);
}

/* The hardware's walk of the shadow tables. Returns the level at which it ended without a leaf, or
 * WALK_LEVELS: it came to one, and the rights over all levels are in *found. */
static unsigned int shadow_hardware(const struct explain *x, struct shadow *s, struct walk *found,
				    struct tf_explanation *out)
{
	*found = (struct walk){.levels = x->w.levels, .writable = true, .user = true};
	for (;;) {
		struct tf_shadow_step *step = &out->shadow[out->shadow_n++];
		unsigned int level = s->role.level;
		shadow_step(x, s, level, s->gfn, step);
		step->reached = true;
		out->shadow_refs++;
		if (step->entry.kind == TF_KIND_EMPTY)
			return level;
		found->writable = found->writable && (step->entry.bits & TF_BIT_W);
		found->user = found->user && (step->entry.bits & TF_BIT_U);
		found->nx = found->nx || !(step->entry.bits & TF_BIT_X);
		if (step->entry.kind == TF_KIND_LEAF) {
			uint64_t value = step->entry.value;
			found->pkey = value >> X86_PKEY_SHIFT & 15;
			out->shadow_to = hpa(fmt_leaf(&fmt_x86_4, level, value) |
					     (x->a.at.v & (fmt_size(&fmt_x86_4, level) - 1)));
			return WALK_LEVELS;
		}
		s = shadow_child(x->vm, x->g, s, gva_index(x->a.at, level));
	}
}

static void explain_shadow(const struct explain *x, struct tf_explanation *out)
{
	const unsigned int levels = x->w.levels;
	bool fills = out->end == TF_WALK_MAPPED;
	unsigned int ended = levels;
	struct walk found;
	struct role r;
	gfn_t f;
	if (!shadow_is_possible(&x->cpu.r))
		return;
	if (out->end == TF_WALK_NOT_CANONICAL) {
		out->shadow_end = TF_SHADOW_INJECTED; /* #GP, before any walk */
		return;
	}
	shadow_key(x, levels - 1, &f, &r);
	struct shadow *s = shadow_root_now(x, f, r);
	if (s)
		ended = shadow_hardware(x, s, &found, out);
	else if (x->v->running == &mode_shadow && x->v->root_page.v == x->vm->empty.v)
		out->shadow_refs = 1; /* CR3 names no memory: the root's entry reads as zero */
	out->shadow_filled = out->shadow_refs;
	if (s && ended == WALK_LEVELS && walk_allows(&x->cpu, x->a.flags, &found)) {
		out->shadow_end = TF_SHADOW_MAPPED;
		return;
	}
	out->shadow_end = fills			       ? TF_SHADOW_MENDED
			  : out->end == TF_WALK_DEVICE ? TF_SHADOW_DEVICE
						       : TF_SHADOW_INJECTED;
	if (!fills)
		return;
	unsigned int leaf = shadow_leaf_level(x);
	out->shadow_filled = levels - leaf;
	/* A leaf is there, with too few rights: it is replaced. */
	if (s && ended == WALK_LEVELS)
		return;
	while (ended-- > leaf) {
		shadow_key(x, ended, &f, &r);
		shadow_step(x, shadow_find(x->vm, x->g, f, r), ended, f,
			    &out->shadow[out->shadow_n++]);
		if (r.direct)
			out->shadow[out->shadow_n - 1].table = TF_SHADOW_DIRECT;
	}
}

void tf_explain(struct tf_vcpu *v, const struct tf_regs *r, const struct tf_access *a,
		struct tf_explanation *out)
{
	struct group_mem gm;
	struct op op;
	struct explain x = {
		.vm = v->vm,
		.v = v,
		.g = group_of(v),
		.cpu = {*r, v->vm->conf.maxphyaddr},
		.a = *a,
		.out = out,
	};
	memset(out, 0, sizeof(*out));
	out->access = *a;
	out->running = v->running ? v->running->mode : TF_NESTED;
	out->nested_format = x.g->nested.fmt->name;
	group_mem_init(&gm, x.vm);
	vm_op_begin(&op, x.vm);
	group_lock(&op, x.g);
	bool allowed = walk_gva(&gm.m, &x.cpu, a, false, &x.w);
	out->levels = x.w.levels;
	explain_guest(&x, out);
	explain_end(&x, allowed, out);
	count_nested(&x, out);
	explain_shadow(&x, out);
	group_unlock(&op, x.g);
	vm_op_end(&op, x.vm);
}
