/* Larger operations of a random guest: upper entries, large pages, the shared kernel half, address
 * spaces that fork and die.
 *
 * The guest is careless: it forgets flushes, frees tables that others use, maps its tables as data
 * and data as tables, and sets reserved bits. The reference knows what may follow.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "guest.h"

/* A shared kernel page changes under one root; another root, or CPU, uses it. */
void op_kernel(struct world *w, unsigned int cpu)
{
	uint64_t va = guest_kernel_va(w);
	unsigned int other = (unsigned int)below(w, w->conf.vcpus);
	unsigned int first = w->space[cpu];

	w->what = "kernel edit";
	uint64_t at = guest_make_entry(w, cpu, w->root[0], va, 0);
	if (!at || w->failed)
		return;
	guest_use(w, cpu, va, 0);
	if (!w->failed && one_in(w, 2))
		guest_cr3(w, cpu, (unsigned int)below(w, SPACES), false);
	uint64_t e = (DATA_GFN + below(w, 64)) << 12 | X_P | X_A |
		     (!guest_is_global(va) && one_in(w, 4) ? 0 : X_G) |
		     (one_in(w, 2) ? X_W | X_D : 0);
	if (!w->failed)
		guest_set_entry(w, cpu, at, one_in(w, 4) ? 0 : e);
	if (!w->failed)
		guest_flush(w, cpu, va);
	if (!w->failed && other != cpu && one_in(w, 2))
		guest_flush(w, other, va);
	if (!w->failed && one_in(w, 2))
		guest_cr3(w, cpu, first, false);
	guest_use(w, cpu, va, 0);
	guest_use(w, other, va, one_in(w, 2) ? TF_WRITE : 0);
}

/* A large page of the user's: read, then written, with D and W taken away between. */
void op_large(struct world *w, unsigned int cpu)
{
	uint64_t va = guest_user_va(w), base = va & ~(BIT(21) - 1);
	uint64_t root = w->root[w->space[cpu]];
	uint64_t at = guest_make_entry(w, cpu, root, va, 1);

	w->what = "large page";
	if (!at || w->failed)
		return;
	uint64_t old = ref_word(&w->ref, at);
	if ((old & X_P) && !(old & X_PS))
		guest_free_table(w, old & X_ADDR);
	uint64_t e = (B_GFN + 512 * below(w, 2)) << 12 | X_P | X_U | X_PS |
		     (one_in(w, 4) ? 0 : X_W) | (one_in(w, 2) ? X_A : 0) |
		     (one_in(w, 4) ? X_D : 0) | (one_in(w, 4) ? X_G : 0) |
		     (one_in(w, 40) ? BIT(13) : 0);
	if (!guest_set_entry(w, cpu, at, e) || w->failed)
		return;
	guest_flush(w, cpu, one_in(w, 2) ? va : base | below(w, 512) << 12);
	for (unsigned int k = 0; k < 4 && !w->failed; k++) {
		guest_use(w, cpu, base | below(w, 64) << 12 | 8 * below(w, WORDS),
			  TF_USER | (k && one_in(w, 2) ? TF_WRITE : 0));
		if (one_in(w, 4) && !w->failed)
			guest_and_entry(w, cpu, at, ~(one_in(w, 2) ? X_D : X_W));
		if (one_in(w, 3) && !w->failed)
			guest_flush(w, cpu, base | below(w, 512) << 12);
	}
}

void op_edit_upper(struct world *w, unsigned int cpu)
{
	uint64_t va = one_in(w, 8) ? guest_kernel_va(w) : guest_user_va(w);
	uint64_t root = guest_some_root(w, cpu);
	unsigned int level = 1 + (unsigned int)below(w, w->conf.levels - 1);
	uint64_t at = guest_make_entry(w, cpu, root, va, level);

	w->what = "upper edit";
	if (!at || w->failed)
		return;
	if (one_in(w, 2))
		guest_use(w, cpu, va, TF_USER);
	if (w->failed)
		return;
	uint64_t old = ref_word(&w->ref, at), e = old;
	switch (below(w, 10)) {
	case 0:
		e = 0;
		if ((old & X_P) && one_in(w, 2))
			guest_free_table(w, old & X_ADDR);
		break;
	case 1:
	case 2:
	case 3: { /* a new table in place of the old one, perhaps with its content */
		uint64_t t = guest_new_table(w, cpu);
		if (!t)
			return;
		for (unsigned int k = 0; k < 8 && one_in(w, 2) && !w->failed; k++)
			guest_set_entry(w, cpu, t + 8 * k,
					level == 1 ? guest_some_leaf(w, 0)
						   : ref_word(&w->ref, (old & X_ADDR) + 8 * k));
		e = t | guest_flags_of(w, false) | (one_in(w, 2) ? X_W | X_U : 0);
		if (old & X_P)
			guest_free_table(w, old & X_ADDR);
		break;
	}
	case 4:
	case 5: /* a large page, or back to a table */
		if (level > 2)
			return;
		if ((old & X_P) && (old & X_PS)) {
			uint64_t t = guest_new_table(w, cpu);
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
			e = guest_some_leaf(w, level);
			if (old & X_P)
				guest_free_table(w, old & X_ADDR);
		}
		break;
	case 6: /* rights */
		e = old ^ (one_in(w, 2) ? X_W : X_U);
		break;
	case 7: /* any frame as a table; itself, another level, data, nothing */
		e = guest_some_frame(w) << 12 | guest_flags_of(w, false);
		break;
	case 8:
		e = (at & X_ADDR) | guest_flags_of(w, false);
		break;
	default:
		guest_and_entry(w, cpu, at, ~(one_in(w, 2) ? X_A : X_W));
		return;
	}
	if (!w->failed)
		guest_set_entry(w, cpu, at, e);
	if (one_in(w, 2) && !w->failed)
		guest_flush(w, cpu, one_in(w, 2) ? va : guest_user_va(w));
	/* The table that is gone changes still: nothing cached may lead there after the flush. */
	if (level == 1 && (old & X_P) && !(old & X_PS) && !w->failed && one_in(w, 2) &&
	    ref_is_memory(&w->ref, (old & X_ADDR) >> 12) && old >> 12 < FIRST_TABLE + TABLES)
		guest_set_entry(w, cpu, (old & X_ADDR) + 8 * (va >> 12 & 511),
				guest_some_leaf(w, 0));
	guest_use(w, cpu, va, TF_USER);
}

void op_fork(struct world *w, unsigned int cpu)
{
	unsigned int from = w->space[cpu], to = (unsigned int)below(w, SPACES);

	w->what = "fork";
	if (from == to)
		return;
	for (unsigned int k = 0; k < 3 && !w->failed; k++) {
		uint64_t va = guest_user_va(w);
		uint64_t src = guest_entry_of(w, w->root[from], va, 0);
		if (!src)
			continue;
		uint64_t dst = guest_make_entry(w, cpu, w->root[to], va, 0);
		if (!dst || src == dst)
			continue;
		src &= X_ADDR;
		dst &= X_ADDR;
		for (unsigned int i = 0; i < 8 && !w->failed; i++) {
			uint64_t e = ref_word(&w->ref, src + 8 * i);
			if (!(e & X_P))
				continue;
			if (e & X_W)
				guest_and_entry(w, cpu, src + 8 * i, ~X_W);
			if (!w->failed)
				guest_set_entry(w, cpu, dst + 8 * i, e & ~(X_W | X_D | X_A));
		}
	}
	if (!w->failed && !one_in(w, 4))
		guest_cr3(w, cpu, from, false);
	/* The parent writes to what is now shared, then the child. */
	for (unsigned int k = 0; k < 4 && !w->failed; k++) {
		if (k == 2)
			guest_cr3(w, cpu, to, w->pcide && one_in(w, 2));
		guest_use(w, cpu, guest_user_va(w), TF_USER | TF_WRITE);
	}
}

void op_exit(struct world *w, unsigned int cpu)
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
					      guest_level_bits(w->conf.levels - 2, k & 1) |
					      guest_level_bits(1, k >> 1);
				uint64_t at = guest_entry_of(w, w->root[dead], va, level);
				uint64_t e = at ? ref_word(&w->ref, at) : 0;
				if ((e & X_P) && !(e & X_PS))
					guest_free_table(w, e & X_ADDR);
			}
	for (unsigned int top = 0; top < 2 && !w->failed; top++)
		guest_set_entry(w, cpu, w->root[dead] + 8 * top, 0);
}

/* One of the things that happen between two switches of op_two_roots(). */
static void one_of_two_roots(struct world *w, unsigned int cpu, const unsigned int space[2],
			     uint64_t va, unsigned int level)
{
	unsigned int other = (unsigned int)below(w, w->conf.vcpus), by = one_in(w, 3) ? other : cpu;
	bool user = va < world_top(w, 2);
	uint64_t at = guest_entry_of(w, w->root[space[below(w, 2)]], va, level);
	uint64_t e = at ? ref_word(&w->ref, at) : 0;
	uint16_t pcid =
		guest_has_pcids(w, cpu) ? (uint16_t)(space[below(w, 2)] % w->pcids) : (uint16_t)0;

	switch (below(w, 10)) {
	case 0:
	case 1:
	case 2:
		if (!at)
			return;
		if (level == 0)
			e = guest_some_frame(w) << 12 | X_P | X_A | X_D |
			    (user		   ? X_U
			     : guest_is_global(va) ? X_G
						   : 0);
		else
			e ^= one_in(w, 2) ? X_W : X_P;
		guest_set_entry(w, by, at, e | (one_in(w, 2) ? X_W : 0));
		break;
	case 3: /* the one table for the other, which is as it is */
		at = guest_make_entry(w, cpu, w->root[space[below(w, 2)]], va, 1);
		if (at && !w->failed) {
			uint64_t t = guest_entry_of(w, w->root[below(w, SPACES)], va ^ BIT(21), 1);
			e = t ? ref_word(&w->ref, t) : 0;
			if ((e & X_P) && !(e & X_PS))
				guest_set_entry(w, by, at, e | X_A);
		}
		break;
	case 4:
		guest_flush(w, by, va);
		break;
	case 5:
		if (!one_in(w, 3))
			guest_invpcid(w, cpu, (unsigned int)below(w, 2), pcid, va);
		else
			guest_invpcid(w, cpu, (unsigned int)below(w, 4), pcid, guest_user_va(w));
		break;
	case 6:
		guest_cr3(w, other, space[below(w, 2)], !one_in(w, 3));
		break;
	default:
		guest_use(w, by, va ^ (one_in(w, 4) ? below(w, 8) << 12 : 0),
			  (user ? TF_USER : 0) | (one_in(w, 3) ? TF_WRITE : 0));
		break;
	}
}

/* To and fro between two roots that share tables, as KPTI's do, mostly with bit 63; entries of what
 * they share change meanwhile, under either root and by other vCPUs, and one side is flushed of
 * them, or both, or none. */
void op_two_roots(struct world *w, unsigned int cpu)
{
	const unsigned int space[2] = {one_in(w, 4) ? (unsigned int)below(w, SPACES) : 0,
				       one_in(w, 4) ? (unsigned int)below(w, SPACES) : SPACES - 1};
	uint64_t va = one_in(w, 6) ? guest_kernel_va(w) : guest_user_va(w);
	bool user = va < world_top(w, 2);
	unsigned int turns = 2 + (unsigned int)below(w, one_in(w, 4) ? 30 : 6);

	w->what = "two roots";
	for (unsigned int k = 0; k < 2 && !w->failed; k++) {
		guest_make_entry(w, cpu, w->root[space[k]], va, 0);
		if (w->failed)
			return;
		guest_cr3(w, cpu, space[k], one_in(w, 2));
		guest_use(w, cpu, va, user ? TF_USER : 0);
	}
	for (unsigned int k = 0; k < turns && !w->failed; k++) {
		for (unsigned int n = (unsigned int)below(w, 4); n > 0 && !w->failed; n--)
			one_of_two_roots(w, cpu, space, va, one_in(w, 4) ? 1 : 0);
		if (w->failed)
			return;
		if (!one_in(w, 8))
			guest_cr3(w, cpu, space[k % 2], !one_in(w, 8));
		else
			guest_cr4(w, cpu,
				  w->ref.cpu[cpu].r.cr4 ^ (one_in(w, 2) ? X_CR4_PGE : X_CR4_SMEP));
		if (one_in(w, 2))
			guest_use(w, cpu, va, (user ? TF_USER : 0) | (one_in(w, 3) ? TF_WRITE : 0));
	}
}
