/* The guest of a random history, and its host: one random operation after the other.
 *
 * The guest edits its tables by virtual address (the direct map), so that the engine sees the
 * writes as it would a kernel's. It is careless: it forgets flushes, frees tables that others use,
 * maps its tables as data and data as tables, and sets reserved bits. The reference knows what may
 * follow.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "world.h"

#include <string.h>

#define WORDS	      (TF_PAGE_SIZE / 8)
#define KERNEL_TOP(w) ((w)->conf.levels == 5 ? 510u : 511u)
#define SELF_TOP      300u

static uint64_t below(struct world *w, uint64_t n)
{
	return rng_below(&w->rng, n);
}

static bool one_in(struct world *w, uint64_t n)
{
	return rng_one_in(&w->rng, n);
}

/* ---- addresses ---- */

static uint64_t level_bits(unsigned int level, uint64_t index)
{
	return index << (12 + 9 * level);
}

/* A user address: few of them, so that tables are shared and reused. */
static uint64_t user_va(struct world *w)
{
	uint64_t va = world_top(w, (unsigned int)below(w, 2));

	va |= level_bits(w->conf.levels - 2, below(w, 2));
	return va | level_bits(1, below(w, 2)) | level_bits(0, below(w, 8)) | 8 * below(w, WORDS);
}

static uint64_t kernel_va(struct world *w)
{
	return world_top(w, KERNEL_TOP(w)) | level_bits(2, below(w, 2)) |
	       level_bits(1, below(w, 2)) | level_bits(0, below(w, 8)) | 8 * below(w, WORDS);
}

/* Where the self-map shows the entry of `level` for va. */
static uint64_t self_va(struct world *w, uint64_t va, unsigned int level)
{
	unsigned int levels = w->conf.levels, shift = 9 * (level + 1);
	uint64_t v = va & (BIT(12 + 9 * levels) - 1);

	v = (v >> shift) & ~UINT64_C(7);
	for (unsigned int k = 0; k <= level; k++)
		v |= level_bits(levels - 1 - k, SELF_TOP);
	unsigned int up = 64 - 12 - 9 * levels;
	return (uint64_t)((int64_t)(v << up) >> up);
}

static uint64_t some_va(struct world *w)
{
	switch (below(w, 16)) {
	case 0:
	case 1:
	case 2:
		return kernel_va(w);
	case 3:
		return world_direct(w, (DATA_GFN + below(w, 64)) << 12 | 8 * below(w, WORDS));
	case 4:
		return world_direct(w, (B_GFN + below(w, B_N)) << 12 | 8 * below(w, WORDS));
	case 5:
		return self_va(w, user_va(w), (unsigned int)below(w, 3));
	default:
		return user_va(w);
	}
}

/* ---- entries ---- */

static uint64_t some_frame(struct world *w)
{
	switch (below(w, 32)) {
	case 0:
	case 1: {
		uint64_t f = FIRST_TABLE + 24 + below(w, TABLES - 24); /* a table, maybe */
		return f;
	}
	case 2:
		return A_GFN + A_N + below(w, 64); /* nothing there */
	case 3:
		return D_GFN + below(w, D_N);
	case 4:
		return C_GFN + below(w, C_N);
	case 5:
	case 6:
	case 7:
	case 8:
		return B_GFN + below(w, 64);
	default:
		return DATA_GFN + below(w, 32);
	}
}

static uint64_t flags_of(struct world *w, bool leaf)
{
	uint64_t e = X_P;

	if (!one_in(w, 3))
		e |= X_W;
	if (!one_in(w, 5))
		e |= X_U;
	if (!one_in(w, 3))
		e |= X_A;
	if (one_in(w, 2))
		e |= X_D;
	if (w->nxe && one_in(w, 6))
		e |= X_NX;
	if (leaf && one_in(w, 6))
		e |= X_G;
	if (leaf && w->pke && one_in(w, 2))
		e |= below(w, 4) << X_PKEY_SHIFT;
	if (one_in(w, 16))
		e |= BIT(9 + below(w, 3)) | BIT(52 + below(w, 7));
	if (one_in(w, 60))
		e |= BIT(w->maxphyaddr + below(w, 52 - w->maxphyaddr));
	if (!w->nxe && one_in(w, 100))
		e |= X_NX;
	return e;
}

/* An entry for a level that maps memory. */
static uint64_t some_leaf(struct world *w, unsigned int level)
{
	if (one_in(w, 8))
		return one_in(w, 2) ? 0 : rng_next(&w->rng) & ~X_P;
	uint64_t e = flags_of(w, true);
	if (level == 0)
		return e | some_frame(w) << 12;
	e |= X_PS;
	if (one_in(w, 30))
		e |= BIT(13 + below(w, 5)); /* reserved in a large leaf */
	if (level == 1)
		return e | (B_GFN + 512 * below(w, 3)) << 12; /* the last: no memory */
	return e;					      /* 1 GiB: all of the low slots */
}

/* ---- the guest's writes to its tables ---- */

static bool set_entry(struct world *w, unsigned int cpu, uint64_t at, uint64_t val)
{
	if (w->failed)
		return false;
	w->n.edits++;
	if (world_access(w, cpu, world_direct(w, at), TF_WRITE, HW_WRITE, val, NULL) == HW_DONE)
		return true;
	return !w->failed && world_host_write(w, at, &val, 1);
}

static bool and_entry(struct world *w, unsigned int cpu, uint64_t at, uint64_t mask)
{
	w->n.edits++;
	return world_access(w, cpu, world_direct(w, at), TF_WRITE, HW_AND, mask, NULL) == HW_DONE;
}

/* A zeroed page for a table; 0: none. */
static uint64_t new_table(struct world *w, unsigned int cpu)
{
	static const uint64_t zero[WORDS];
	uint64_t start = below(w, TABLES);

	for (unsigned int k = 0; k < TABLES; k++) {
		uint64_t f = FIRST_TABLE + (start + k) % TABLES;
		if (w->table_used[f])
			continue;
		if (world_access(w, cpu, world_direct(w, f << 12), TF_WRITE, HW_ZERO, 0, NULL) !=
			    HW_DONE &&
		    (w->failed || !world_host_write(w, f << 12, zero, WORDS)))
			return 0;
		w->table_used[f] = true;
		return f << 12;
	}
	w->pressure = true;
	return 0;
}

static void free_table(struct world *w, uint64_t at)
{
	uint64_t f = at >> 12;

	if (f >= FIRST_TABLE + 24 && f < FIRST_TABLE + TABLES)
		w->table_used[f] = false;
}

/* The entry of `level` for va in memory as it is; 0: there is no table of that level. */
static uint64_t entry_of(struct world *w, uint64_t root, uint64_t va, unsigned int level)
{
	uint64_t table = root;

	for (unsigned int k = w->conf.levels - 1; k > level; k--) {
		uint64_t e = ref_word(&w->ref, table + 8 * (va >> (12 + 9 * k) & 511));
		if (!(e & X_P) || ((e & X_PS) && k <= 2) ||
		    !ref_is_memory(&w->ref, (e & X_ADDR) >> 12))
			return 0;
		table = e & X_ADDR;
	}
	return table + 8 * (va >> (12 + 9 * level) & 511);
}

/* The same, making tables that are missing. */
static uint64_t make_entry(struct world *w, unsigned int cpu, uint64_t root, uint64_t va,
			   unsigned int level)
{
	for (unsigned int k = w->conf.levels - 1; k > level; k--) {
		uint64_t at = entry_of(w, root, va, k);
		if (!at || w->failed)
			return 0;
		if (entry_of(w, root, va, k - 1))
			continue;
		uint64_t t = new_table(w, cpu);
		if (!t || !set_entry(w, cpu, at, t | flags_of(w, false) | X_W | X_U))
			return 0;
	}
	return entry_of(w, root, va, level);
}

static uint64_t some_root(struct world *w, unsigned int cpu)
{
	return w->root[one_in(w, 4) ? below(w, SPACES) : w->space[cpu]];
}

/* ---- flushes ---- */

static uint64_t cr3_of(struct world *w, unsigned int space)
{
	return w->root[space] | (w->pcide ? space % REF_PCIDS : 0);
}

static void do_cr3(struct world *w, unsigned int cpu, unsigned int space, bool keep)
{
	uint64_t val = cr3_of(w, space) | (keep && w->pcide ? BIT(63) : 0);

	world_trace(w, "cpu %u writes CR3 %#llx", cpu, (unsigned long long)val);
	if (!hw_write_cr3(&w->hw.cpu[cpu], val))
		return;
	ref_write_cr3(&w->ref, cpu, val);
	w->space[cpu] = space;
}

static void do_invlpg(struct world *w, unsigned int cpu, uint64_t va)
{
	world_trace(w, "cpu %u INVLPG %#llx", cpu, (unsigned long long)va);
	if (hw_invlpg(&w->hw.cpu[cpu], va))
		ref_invlpg(&w->ref, cpu, va);
}

static void do_cr4(struct world *w, unsigned int cpu, uint64_t val)
{
	world_trace(w, "cpu %u writes CR4 %#llx", cpu, (unsigned long long)val);
	if (hw_write_cr4(&w->hw.cpu[cpu], val))
		ref_write_cr4(&w->ref, cpu, val);
}

static void flush(struct world *w, unsigned int cpu, uint64_t va)
{
	uint64_t cr4 = w->ref.cpu[cpu].r.cr4;

	switch (below(w, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
		do_invlpg(w, cpu, va);
		break;
	case 6:
	case 7:
	case 8:
		do_cr3(w, cpu, w->space[cpu], false);
		break;
	case 9:
		do_cr4(w, cpu, cr4 ^ X_CR4_PGE);
		if (one_in(w, 4))
			return;
		cr4 = w->ref.cpu[cpu].r.cr4;
		if (!(cr4 & X_CR4_PGE))
			do_cr4(w, cpu, cr4 | X_CR4_PGE);
		break;
	default: {
		unsigned int type = (unsigned int)below(w, 4);
		uint16_t pcid = w->pcide ? (uint16_t)below(w, REF_PCIDS) : 0;
		world_trace(w, "cpu %u INVPCID type %u pcid %u va %#llx", cpu, type, pcid,
			    (unsigned long long)va);
		if (hw_invpcid(&w->hw.cpu[cpu], type, pcid, va))
			ref_invpcid(&w->ref, cpu, type, pcid, va);
		break;
	}
	}
}

/* ---- operations ---- */

/* The guest's page-fault handler: map something, perhaps flush, and try again. */
static void mend(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags)
{
	bool user = va < world_top(w, 2), kernel = va >= world_top(w, KERNEL_TOP(w));

	if (!user && !kernel)
		return;
	uint64_t root = w->root[w->space[cpu]];
	for (unsigned int k = w->conf.levels - 1; k > 0; k--) {
		/* Tables that were corrupted are given up. */
		uint64_t at = entry_of(w, root, va, k);
		uint64_t e = at ? ref_word(&w->ref, at) : 0;
		struct oentry d = oracle_entry(&w->ref.cpu[cpu].r, w->maxphyaddr, k, e);
		if (at && e &&
		    (d.kind != O_TABLE || !d.w || (user && !d.u) || d.nx ||
		     d.addr >> 12 >= FIRST_TABLE + TABLES))
			set_entry(w, cpu, at, 0);
		if (w->failed)
			return;
	}
	uint64_t at = make_entry(w, cpu, root, va, 0);
	if (!at || w->failed)
		return;
	uint64_t old = ref_word(&w->ref, at);
	uint64_t e = (old & X_P) && !one_in(w, 2) ? old & (X_ADDR | 0xf7f) : some_frame(w) << 12;
	e |= X_P | (one_in(w, 2) ? X_A : 0) | (one_in(w, 2) ? X_A | X_D : 0);
	if ((flags & TF_WRITE) || one_in(w, 2))
		e |= X_W;
	if (kernel)
		e = (e & ~X_U) | (one_in(w, 2) ? X_G : 0);
	else
		e |= X_U;
	if (!set_entry(w, cpu, at, e) || w->failed)
		return;
	/* A kernel maps the pages around it as well. */
	for (unsigned int k = 0; k < 4 && one_in(w, 3) && !w->failed; k++) {
		uint64_t next = (at & ~UINT64_C(63)) | 8 * below(w, 8);
		if (!(ref_word(&w->ref, next) & X_P))
			set_entry(w, cpu, next, e ^ below(w, 16) << 12);
	}
	if (one_in(w, 3) && !w->failed)
		flush(w, cpu, va);
	if (!w->failed)
		world_access(w, cpu, va, flags, flags & TF_WRITE ? HW_WRITE : HW_READ,
			     rng_next(&w->rng), NULL);
}

static void op_access(struct world *w, unsigned int cpu)
{
	uint64_t va = some_va(w);
	uint32_t flags = 0;
	enum hw_op op = HW_READ;

	if (!one_in(w, 3))
		flags |= TF_USER;
	else if (one_in(w, 6))
		flags |= TF_AC;
	else if (one_in(w, 12))
		flags |= TF_IMPLICIT;
	if (one_in(w, 8)) {
		flags |= TF_FETCH;
		flags &= ~(uint32_t)(TF_IMPLICIT);
	} else if (one_in(w, 2)) {
		flags |= TF_WRITE;
		op = HW_WRITE;
	}
	w->what = "access";
	/* What lands in a page that is a table should often look like an entry. */
	uint64_t val = one_in(w, 2) ? rng_next(&w->rng) : some_leaf(w, 0);
	unsigned int times = 1 + (one_in(w, 4) ? (unsigned int)below(w, 3) : 0);
	for (unsigned int k = 0; k < times && !w->failed; k++)
		if (world_access(w, cpu, va ^ (8 * k), flags, op, val + k, NULL) == HW_FAULT &&
		    !one_in(w, 4) && !w->failed)
			mend(w, cpu, va ^ (8 * k), flags);
}

static void op_edit_leaf(struct world *w, unsigned int cpu)
{
	bool kernel = one_in(w, 8);
	uint64_t va = kernel ? kernel_va(w) : user_va(w);
	uint64_t root = some_root(w, cpu);
	uint64_t at = one_in(w, 3) ? entry_of(w, root, va, 0) : make_entry(w, cpu, root, va, 0);

	w->what = "leaf edit";
	if (!at || w->failed)
		return;
	/* Used before it is edited, so that caches and shadows hold it. */
	if (!one_in(w, 3))
		world_access(w, cpu, va, kernel ? 0 : TF_USER, HW_READ, 0, NULL);
	if (w->failed)
		return;
	unsigned int n = one_in(w, 4) ? 1 + (unsigned int)below(w, 6) : 1;
	for (unsigned int k = 0; k < n && !w->failed; k++) {
		uint64_t e = some_leaf(w, 0);
		if (kernel && (e & X_P))
			e = (e & ~(one_in(w, 2) ? X_U : 0)) | (one_in(w, 2) ? X_G : 0);
		set_entry(w, cpu, (at & ~UINT64_C(63)) | ((at + 8 * k) & 63), e);
	}
	if (one_in(w, 2) && !w->failed)
		flush(w, cpu, va);
	if (one_in(w, 2) && !w->failed)
		world_access(w, cpu, va, TF_USER | (one_in(w, 2) ? TF_WRITE : 0), HW_OR, 0, NULL);
}

static void op_edit_upper(struct world *w, unsigned int cpu)
{
	uint64_t va = one_in(w, 8) ? kernel_va(w) : user_va(w);
	uint64_t root = some_root(w, cpu);
	unsigned int level = 1 + (unsigned int)below(w, w->conf.levels - 1);
	uint64_t at = make_entry(w, cpu, root, va, level);

	w->what = "upper edit";
	if (!at || w->failed)
		return;
	uint64_t old = ref_word(&w->ref, at), e = old;
	switch (below(w, 10)) {
	case 0:
		e = 0;
		if ((old & X_P) && one_in(w, 2))
			free_table(w, old & X_ADDR);
		break;
	case 1:
	case 2:
	case 3: { /* a new table in place of the old one, perhaps with its content */
		uint64_t t = new_table(w, cpu);
		if (!t)
			return;
		for (unsigned int k = 0; k < 8 && one_in(w, 2) && !w->failed; k++)
			set_entry(w, cpu, t + 8 * k,
				  level == 1 ? some_leaf(w, 0)
					     : ref_word(&w->ref, (old & X_ADDR) + 8 * k));
		e = t | flags_of(w, false) | (one_in(w, 2) ? X_W | X_U : 0);
		if (old & X_P)
			free_table(w, old & X_ADDR);
		break;
	}
	case 4:
	case 5: /* a large page, or back to a table */
		if (level > 2)
			return;
		if ((old & X_P) && (old & X_PS)) {
			uint64_t t = new_table(w, cpu);
			if (!t)
				return;
			uint64_t big[WORDS];
			uint64_t step = BIT(12 + 9 * (level - 1));
			for (unsigned int k = 0; k < WORDS; k++)
				big[k] = (old & ~(level == 1 ? X_PS : 0) & ~(BIT(21) - 1)) +
					 k * step + (old & (level == 1 ? 0xf7f : 0xfff));
			if (!world_host_write(w, t, big, WORDS))
				return;
			e = t | (old & 0x67) | X_W | X_U;
		} else {
			e = some_leaf(w, level);
			if (old & X_P)
				free_table(w, old & X_ADDR);
		}
		break;
	case 6: /* rights */
		e = old ^ (one_in(w, 2) ? X_W : X_U);
		break;
	case 7: /* any frame as a table; itself, another level, data, nothing */
		e = some_frame(w) << 12 | flags_of(w, false);
		break;
	case 8:
		e = (at & X_ADDR) | flags_of(w, false);
		break;
	default:
		and_entry(w, cpu, at, ~(one_in(w, 2) ? X_A : X_W));
		return;
	}
	if (!w->failed)
		set_entry(w, cpu, at, e);
	if (one_in(w, 2) && !w->failed)
		flush(w, cpu, va);
}

static void op_age(struct world *w, unsigned int cpu)
{
	uint64_t va = user_va(w);
	unsigned int level = one_in(w, 4) ? 1 : 0;
	uint64_t at = entry_of(w, some_root(w, cpu), va, level);

	w->what = "A/D/W clearing";
	if (!at)
		return;
	static const uint64_t masks[] = {X_A, X_D, X_A | X_D, X_W, X_W | X_D};
	if (one_in(w, 2))
		world_access(w, cpu, va, TF_USER | (one_in(w, 2) ? TF_WRITE : 0), HW_OR, 0, NULL);
	if (w->failed)
		return;
	and_entry(w, cpu, at, ~masks[below(w, 5)]);
	if (one_in(w, 2) && !w->failed)
		flush(w, cpu, va);
	if (!w->failed)
		world_access(w, cpu, va, TF_USER | (one_in(w, 2) ? TF_WRITE : 0), HW_OR, 0, NULL);
}

static void op_self_edit(struct world *w, unsigned int cpu)
{
	uint64_t va = user_va(w);
	unsigned int level = (unsigned int)below(w, 2);

	w->what = "edit by the self-map";
	if (!entry_of(w, w->root[w->space[cpu]], va, level))
		return;
	world_access(w, cpu, self_va(w, va, level), TF_WRITE, HW_WRITE,
		     level ? some_leaf(w, 1) : some_leaf(w, 0), NULL);
}

static void op_fork(struct world *w, unsigned int cpu)
{
	unsigned int from = w->space[cpu], to = (unsigned int)below(w, SPACES);

	w->what = "fork";
	if (from == to)
		return;
	for (unsigned int k = 0; k < 3 && !w->failed; k++) {
		uint64_t va = user_va(w);
		uint64_t src = entry_of(w, w->root[from], va, 0);
		if (!src)
			continue;
		uint64_t dst = make_entry(w, cpu, w->root[to], va, 0);
		if (!dst || src == dst)
			continue;
		src &= X_ADDR;
		dst &= X_ADDR;
		for (unsigned int i = 0; i < 8 && !w->failed; i++) {
			uint64_t e = ref_word(&w->ref, src + 8 * i);
			if (!(e & X_P))
				continue;
			if (e & X_W)
				and_entry(w, cpu, src + 8 * i, ~X_W);
			if (!w->failed)
				set_entry(w, cpu, dst + 8 * i, e & ~(X_W | X_D | X_A));
		}
	}
	if (!w->failed && !one_in(w, 4))
		do_cr3(w, cpu, from, false);
	/* The parent writes to what is now shared, then the child. */
	for (unsigned int k = 0; k < 4 && !w->failed; k++) {
		if (k == 2)
			do_cr3(w, cpu, to, w->pcide && one_in(w, 2));
		if (!w->failed)
			world_access(w, cpu, user_va(w), TF_USER | TF_WRITE, HW_OR, 0, NULL);
	}
}

static void op_exit(struct world *w, unsigned int cpu)
{
	unsigned int dead = (unsigned int)below(w, SPACES);

	w->what = "exit";
	for (unsigned int i = 0; i < w->conf.vcpus; i++)
		if (w->space[i] == dead && (i == cpu || !one_in(w, 8)))
			return;
	for (unsigned int top = 0; top < 2; top++)
		for (unsigned int k = 0; k < 4; k++)
			for (unsigned int level = 1; level < w->conf.levels; level++) {
				uint64_t va = world_top(w, top) |
					      level_bits(w->conf.levels - 2, k & 1) |
					      level_bits(1, k >> 1);
				uint64_t at = entry_of(w, w->root[dead], va, level);
				uint64_t e = at ? ref_word(&w->ref, at) : 0;
				if ((e & X_P) && !(e & X_PS))
					free_table(w, e & X_ADDR);
			}
	for (unsigned int top = 0; top < 2 && !w->failed; top++)
		set_entry(w, cpu, w->root[dead] + 8 * top, 0);
}

static void op_switch(struct world *w, unsigned int cpu)
{
	w->what = "CR3 write";
	do_cr3(w, cpu, (unsigned int)below(w, SPACES), one_in(w, 2));
}

static void op_regs(struct world *w, unsigned int cpu)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];
	uint64_t cr4 = c->r.cr4, cr0 = c->r.cr0;

	w->what = "control state";
	switch (below(w, 6)) {
	case 0:
		do_cr4(w, cpu, cr4 ^ X_CR4_SMEP);
		break;
	case 1:
		do_cr4(w, cpu, cr4 ^ X_CR4_SMAP);
		break;
	case 2:
		if (w->pke)
			do_cr4(w, cpu, cr4 ^ X_CR4_PKE);
		break;
	case 3:
		hw_write_pkru(c, (uint32_t)(rng_next(&w->rng) & rng_next(&w->rng)));
		w->ref.cpu[cpu].r.pkru = c->r.pkru;
		break;
	case 4:
		world_trace(w, "cpu %u writes CR0 %#llx", cpu,
			    (unsigned long long)(cr0 ^ X_CR0_WP));
		if (hw_write_cr0(c, cr0 ^ X_CR0_WP))
			ref_write_cr0(&w->ref, cpu, cr0 ^ X_CR0_WP);
		break;
	default: {
		struct tf_regs r = c->r;
		unsigned int space = (unsigned int)below(w, SPACES);
		r.cr3 = cr3_of(w, space);
		r.cr0 |= X_CR0_WP;
		world_trace(w, "cpu %u: all registers set, CR3 %#llx", cpu,
			    (unsigned long long)r.cr3);
		hw_set_regs(c, &r);
		ref_set_regs(&w->ref, cpu, &r);
		w->space[cpu] = space;
		break;
	}
	}
}

static void op_mode(struct world *w, unsigned int cpu)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];

	if (w->conf.mode != W_MIXED)
		return;
	w->what = "mode switch";
	world_trace(w, "cpu %u to %s", cpu, c->want == TF_NESTED ? "shadow" : "nested");
	hw_set_mode(c, c->want == TF_NESTED ? TF_SHADOW : TF_NESTED);
}

static void op_walk(struct world *w, unsigned int cpu)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];
	uint64_t va = some_va(w), at = 0;
	uint32_t pfec = 0;
	struct tf_access a = {.at = gva(va),
			      .flags =
				      (one_in(w, 2) ? TF_USER : 0) | (one_in(w, 2) ? TF_WRITE : 0)};
	struct tf_translation t;
	struct tf_outcome o;
	bool set = one_in(w, 2);

	w->what = "tf_walk";
	if (c->want == TF_NESTED || !c->entered || c->load.mode == TF_NESTED) {
		hw_set_regs(c, &c->r);
		ref_set_regs(&w->ref, cpu, &c->r);
	} else {
		tf_write_pkru(c->v, c->r.pkru);
	}
	bool ok = ref_walk_now(&w->ref, cpu, va, a.flags, &at, &pfec);
	world_trace(w, "cpu %u tf_walk %#llx flags %#x set %d", cpu, (unsigned long long)va,
		    a.flags, set);
	enum tf_status s = tf_walk(c->v, &a, set, &t, &o);
	if (s == TF_E_NOMEM)
		return;
	world_trace_path(w, cpu, va);
	world_sync(w, cpu, va, a.flags, ok && set);
	if (ok && (s != TF_OK || t.gpa.v != at))
		world_fail(w, "tf_walk %#llx flags %#x: %s, GPA %#llx, must be %#llx",
			   (unsigned long long)va, a.flags, tf_status_text(s),
			   (unsigned long long)t.gpa.v, (unsigned long long)at);
	if (!ok && (s != TF_E_FAULT || o.end != TF_INJECT || o.pfec != pfec || o.cr2.v != va))
		world_fail(w, "tf_walk %#llx flags %#x: %s, #PF(%#x), must be #PF(%#x)",
			   (unsigned long long)va, a.flags, tf_status_text(s), o.pfec, pfec);
}

/* ---- the host ---- */

static void dirty_clear(struct world *w)
{
	for (uint64_t f = w->dirty_gfn; f < w->dirty_gfn + w->dirty_n; f++)
		*ref_flags(&w->ref, f) &= (uint8_t) ~(REF_MUST_DIRTY | REF_MAY_DIRTY);
}

static void op_dirty(struct world *w)
{
	uint64_t bits[B_N / 64 + 1];

	w->what = "dirty log";
	if (!w->dirty_on) {
		if (one_in(w, 2)) {
			w->dirty_gfn = A_GFN + below(w, 100);
			w->dirty_n = 1 + below(w, A_N - w->dirty_gfn);
		} else {
			w->dirty_gfn = B_GFN + (one_in(w, 2) ? below(w, 600) : 0);
			w->dirty_n = 1 + below(w, B_GFN + B_N - w->dirty_gfn);
		}
		enum tf_status s = tf_dirty_start(w->vm, gpa(w->dirty_gfn << 12), w->dirty_n << 12);
		world_trace(w, "dirty log of %#llx + %llu: %s", (unsigned long long)w->dirty_gfn,
			    (unsigned long long)w->dirty_n, tf_status_text(s));
		if (s == TF_E_NOMEM)
			return;
		if (s != TF_OK) {
			world_fail(w, "tf_dirty_start: %s", tf_status_text(s));
			return;
		}
		w->dirty_on = true;
		dirty_clear(w);
		return;
	}
	world_trace(w, "dirty log read");
	memset(bits, 0xcc, sizeof(bits));
	enum tf_status s = tf_dirty_read(w->vm, gpa(w->dirty_gfn << 12), w->dirty_n << 12, bits);
	if (s == TF_E_NOMEM)
		return;
	if (s != TF_OK) {
		world_fail(w, "tf_dirty_read: %s", tf_status_text(s));
		return;
	}
	for (uint64_t k = 0; k < w->dirty_n; k++) {
		uint8_t f = *ref_flags(&w->ref, w->dirty_gfn + k);
		bool is = bits[k / 64] >> (k % 64) & 1;
		if ((f & REF_MUST_DIRTY) && !is)
			world_fail(w, "the dirty log lost a write to frame %#llx",
				   (unsigned long long)(w->dirty_gfn + k));
		if (is && !(f & REF_MAY_DIRTY))
			w->n.dirty_extra++;
	}
	dirty_clear(w);
	if (one_in(w, 3)) {
		tf_dirty_stop(w->vm, gpa(w->dirty_gfn << 12), w->dirty_n << 12);
		w->dirty_on = false;
	}
}

static void op_accessed(struct world *w)
{
	static const uint64_t where[3][2] = {{A_GFN, A_N}, {B_GFN, B_N}, {C_GFN, C_N}};
	unsigned int i = (unsigned int)below(w, 3);
	uint64_t bits[B_N / 64 + 1];

	w->what = "accessed bits";
	memset(bits, 0xcc, sizeof(bits));
	enum tf_status s = tf_accessed_read(w->vm, gpa(where[i][0] << 12), where[i][1] << 12, bits);
	world_trace(w, "accessed bits of %#llx: %s", (unsigned long long)where[i][0],
		    tf_status_text(s));
	if (s == TF_E_NOMEM)
		return;
	if (s != TF_OK) {
		world_fail(w, "tf_accessed_read: %s", tf_status_text(s));
		return;
	}
	for (uint64_t k = 0; k < where[i][1]; k++) {
		uint8_t *f = ref_flags(&w->ref, where[i][0] + k);
		if ((*f & REF_MUST_ACC) && !(bits[k / 64] >> (k % 64) & 1))
			world_fail(w, "an access to frame %#llx was lost",
				   (unsigned long long)(where[i][0] + k));
		*f &= (uint8_t)~REF_MUST_ACC;
	}
}

/* The frames must have come back to the host (large blocks may wait for their neighbours). */
static void forget(struct world *w, uint64_t first, uint64_t n, bool strict)
{
	for (uint64_t i = 0; i < w->host.frames; i++) {
		struct hw_frame *f = &w->hw.frame[i];
		if (f->gfn < first || f->gfn >= first + n)
			continue;
		if (strict && w->host.state[i] == FAKE_SMALL)
			world_fail(w, "the frame of gfn %#llx was not given back",
				   (unsigned long long)f->gfn);
		f->gfn = ~UINT64_C(0);
		f->owner = HW_UNKNOWN;
	}
}

static void op_discard(struct world *w)
{
	uint64_t first, n = 1;

	w->what = "discard";
	switch (below(w, 4)) {
	case 0:
		first = B_GFN + below(w, 64);
		n = w->conf.lax & 8 ? 1 : 1 + below(w, 4);
		break;
	case 1:
		first = C_GFN + below(w, C_N - 8);
		n = 1 + below(w, 8);
		break;
	case 2:
		if (!one_in(w, 8) || (w->conf.lax & 8))
			return;
		first = B_GFN + (one_in(w, 2) ? 512 : 0);
		n = 512;
		break;
	default:
		first = DATA_GFN + below(w, 64);
		n = 1 + below(w, 3);
		break;
	}
	enum tf_status s = tf_mem_discard(w->vm, gpa(first << 12), n << 12);
	world_trace(w, "discard of %#llx + %llu: %s", (unsigned long long)first,
		    (unsigned long long)n, tf_status_text(s));
	if (s == TF_E_NOMEM)
		return;
	if (s != TF_OK) {
		world_fail(w, "tf_mem_discard: %s", tf_status_text(s));
		return;
	}
	ref_discard(&w->ref, first, n);
	forget(w, first, n, true);
}

static void op_slot(struct world *w)
{
	uint64_t first = D_GFN, n = D_N;
	enum tf_status s;

	w->what = "slot";
	if (w->d_present) {
		s = tf_mem_remove(w->vm, gpa(first << 12), n << 12);
		world_trace(w, "slot D removed: %s", tf_status_text(s));
		if (s == TF_E_NOMEM)
			return;
		ref_remove(&w->ref, first, n);
		forget(w, first, n, true);
	} else {
		s = tf_mem_add(w->vm, gpa(first << 12), n << 12, 0);
		world_trace(w, "slot D added: %s", tf_status_text(s));
		if (s == TF_E_NOMEM)
			return;
		ref_add(&w->ref, first, n);
	}
	if (s != TF_OK)
		world_fail(w, "slot D: %s", tf_status_text(s));
	w->d_present = !w->d_present;
}

static void op_host_write(struct world *w, unsigned int cpu)
{
	uint64_t at = 0, e = some_leaf(w, 0);

	w->what = "host write";
	if (one_in(w, 2))
		at = entry_of(w, some_root(w, cpu), user_va(w), 0);
	if (!at)
		at = (DATA_GFN + below(w, 64)) << 12 | 8 * below(w, WORDS);
	world_host_write(w, at, &e, 1);
}

void gen_step(struct world *w)
{
	unsigned int cpu = (unsigned int)below(w, w->conf.vcpus);
	struct hw_cpu *c = &w->hw.cpu[cpu];
	bool failing = !w->conf.no_fail && one_in(w, 40);

	if (failing)
		fakehost_fail(&w->host, 1 + below(w, 6), 1 + below(w, 3));
	if (one_in(w, 8))
		hw_evict(c);
	if (one_in(w, 6))
		hw_speculate(c, some_va(w), one_in(w, 2) ? TF_USER : 0);
	/* CR0.WP is seldom off for long. */
	if (!(c->r.cr0 & X_CR0_WP) && one_in(w, 6)) {
		uint64_t cr0 = c->r.cr0 | X_CR0_WP;
		if (hw_write_cr0(c, cr0))
			ref_write_cr0(&w->ref, cpu, cr0);
	}
	unsigned int what = (unsigned int)below(w, 64);
	if (w->pressure && one_in(w, 2)) {
		w->pressure = false;
		op_exit(w, cpu);
		what = 54; /* and go elsewhere */
	}
	switch (what) {
	case 0 ... 27:
		op_access(w, cpu);
		break;
	case 28 ... 38:
		op_edit_leaf(w, cpu);
		break;
	case 39:
	case 40:
		op_kernel(w, cpu);
		break;
	case 41:
		op_large(w, cpu);
		break;
	case 42 ... 44:
		op_edit_upper(w, cpu);
		break;
	case 45 ... 48:
		op_age(w, cpu);
		break;
	case 49 ... 51:
		w->what = "flush";
		flush(w, cpu, some_va(w));
		break;
	case 52 ... 54:
		op_switch(w, cpu);
		break;
	case 55:
		op_fork(w, cpu);
		break;
	case 56:
		if (one_in(w, 2))
			op_exit(w, cpu);
		else
			op_self_edit(w, cpu);
		break;
	case 57:
		op_dirty(w);
		break;
	case 58:
		if (one_in(w, 2)) {
			op_discard(w);
			break;
		}
		op_accessed(w);
		for (unsigned int k = 0; k < 4 && !w->failed; k++)
			op_access(w, cpu);
		if (one_in(w, 2) && !w->failed)
			op_accessed(w);
		break;
	case 59:
		if (one_in(w, 4))
			op_slot(w);
		break;
	case 60:
		op_host_write(w, cpu);
		break;
	case 61:
		op_mode(w, cpu);
		break;
	case 62:
		if (one_in(w, 2))
			op_regs(w, cpu);
		break;
	default:
		op_walk(w, cpu);
		break;
	}
	if (failing)
		fakehost_fail(&w->host, 0, 0);
}

/* ---- the beginning ---- */

static uint64_t built_table(struct world *w)
{
	for (unsigned int f = FIRST_TABLE; f < FIRST_TABLE + TABLES; f++)
		if (!w->table_used[f]) {
			static const uint64_t zero[WORDS];
			w->table_used[f] = true;
			world_host_write(w, (uint64_t)f << 12, zero, WORDS);
			return (uint64_t)f << 12;
		}
	return 0;
}

static void built(struct world *w, uint64_t root, uint64_t va, unsigned int level, uint64_t e)
{
	uint64_t table = root;

	for (unsigned int k = w->conf.levels - 1; k > level; k--) {
		uint64_t at = table + 8 * (va >> (12 + 9 * k) & 511);
		uint64_t up = ref_word(&w->ref, at);
		if (!(up & X_P)) {
			up = built_table(w) | X_P | X_W | X_U | X_A;
			world_host_write(w, at, &up, 1);
		}
		table = up & X_ADDR;
	}
	world_host_write(w, table + 8 * (va >> (12 + 9 * level) & 511), &e, 1);
}

void gen_build(struct world *w)
{
	const uint64_t kernel = X_P | X_W | X_A | X_D | X_G;

	/* The direct map first, so that its tables are the lowest frames, which nothing else maps.
	 */
	uint64_t kroot = w->root[0] = built_table(w);
	for (uint64_t f = A_GFN; f < A_GFN + A_N; f++)
		built(w, kroot, world_direct(w, f << 12), 0, f << 12 | kernel);
	for (uint64_t f = B_GFN; f < B_GFN + B_N; f += 512)
		built(w, kroot, world_direct(w, f << 12), 1, f << 12 | kernel | X_PS);
	for (uint64_t f = C_GFN; f < C_GFN + C_N; f++)
		built(w, kroot, world_direct(w, f << 12), 0, f << 12 | kernel);
	for (uint64_t f = D_GFN; f < D_GFN + D_N; f++)
		built(w, kroot, world_direct(w, f << 12), 0, f << 12 | kernel);
	for (unsigned int k = 0; k < 12; k++)
		built(w, kroot, kernel_va(w), 0, (DATA_GFN + below(w, 32)) << 12 | kernel);
	for (unsigned int s = 1; s < SPACES; s++)
		w->root[s] = built_table(w);
	for (unsigned int s = 0; s < SPACES; s++) {
		uint64_t self = w->root[s] | X_P | X_W | X_A | X_D;
		for (unsigned int i = 256; i < 512 && s; i++) {
			uint64_t e = ref_word(&w->ref, kroot + 8 * i);
			if (e)
				world_host_write(w, w->root[s] + 8 * i, &e, 1);
		}
		world_host_write(w, w->root[s] + 8 * SELF_TOP, &self, 1);
	}
	/* Two roots for one process, as KPTI has: the last space shares all of space 0's user half.
	 */
	for (unsigned int s = 0; s < SPACES - 1; s++)
		for (unsigned int k = 0; k < 6; k++)
			built(w, w->root[s], user_va(w), 0, some_leaf(w, 0) | X_U);
	for (unsigned int top = 0; top < 2; top++) {
		uint64_t e = ref_word(&w->ref, w->root[0] + 8 * top);
		world_host_write(w, w->root[SPACES - 1] + 8 * top, &e, 1);
	}
}
