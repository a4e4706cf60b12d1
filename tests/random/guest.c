/* The guest of random histories: see guest.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "guest.h"

#define KERNEL_TOP(w) ((w)->conf.levels == 5 ? 510u : 511u)

/* ---- addresses ---- */

uint64_t guest_level_bits(unsigned int level, uint64_t index)
{
	return index << (12 + 9 * level);
}

/* A user address: few of them, so that tables are shared and reused. */
uint64_t guest_user_va(struct world *w)
{
	uint64_t va = world_top(w, (unsigned int)below(w, 2));

	va |= guest_level_bits(w->conf.levels - 2, below(w, 2));
	return va | guest_level_bits(1, below(w, 2)) | guest_level_bits(0, below(w, 8)) |
	       8 * below(w, WORDS);
}

uint64_t guest_kernel_va(struct world *w)
{
	return world_top(w, KERNEL_TOP(w)) | guest_level_bits(2, below(w, 2)) |
	       guest_level_bits(1, below(w, 2)) | guest_level_bits(0, below(w, 8)) |
	       8 * below(w, WORDS);
}

/* Kernel tables in which every leaf is global, as most of a real kernel's are. */
bool guest_is_global(uint64_t kva)
{
	return kva & guest_level_bits(1, 1);
}

/* Where the self-map shows the entry of `level` for va. */
uint64_t guest_self_va(struct world *w, uint64_t va, unsigned int level)
{
	unsigned int levels = w->conf.levels, shift = 9 * (level + 1);
	uint64_t v = va & (BIT(12 + 9 * levels) - 1);

	v = (v >> shift) & ~UINT64_C(7);
	for (unsigned int k = 0; k <= level; k++)
		v |= guest_level_bits(levels - 1 - k, GUEST_SELF_TOP);
	unsigned int up = 64 - 12 - 9 * levels;
	return (uint64_t)((int64_t)(v << up) >> up);
}

uint64_t guest_some_va(struct world *w)
{
	switch (below(w, 16)) {
	case 0:
	case 1:
	case 2:
		return guest_kernel_va(w);
	case 3:
		return world_direct(w, (DATA_GFN + below(w, 64)) << 12 | 8 * below(w, WORDS));
	case 4:
		return world_direct(w, (B_GFN + below(w, B_N)) << 12 | 8 * below(w, WORDS));
	case 5:
		return guest_self_va(w, guest_user_va(w), (unsigned int)below(w, 3));
	default:
		return guest_user_va(w);
	}
}

/* ---- entries ---- */

uint64_t guest_some_frame(struct world *w)
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

uint64_t guest_flags_of(struct world *w, bool leaf)
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
	if (!w->nxe && one_in(w, 30))
		e |= X_NX;
	return e;
}

/* An entry for a level that maps memory. */
uint64_t guest_some_leaf(struct world *w, unsigned int level)
{
	if (one_in(w, 8))
		return one_in(w, 2) ? 0 : rng_next(&w->rng) & ~X_P;
	uint64_t e = guest_flags_of(w, true);
	if (level == 0)
		return e | guest_some_frame(w) << 12;
	e |= X_PS;
	if (one_in(w, 30))
		e |= BIT(13 + below(w, 5)); /* reserved in a large leaf */
	if (level == 1)
		return e | (B_GFN + 512 * below(w, 3)) << 12; /* the last: no memory */
	return e;					      /* 1 GiB: all of the low slots */
}

/* ---- the guest's writes to its tables ---- */

bool guest_set_entry(struct world *w, unsigned int cpu, uint64_t at, uint64_t val)
{
	if (w->failed)
		return false;
	w->n.edits++;
	if (world_access(w, cpu, world_direct(w, at), TF_WRITE, HW_WRITE, val, NULL) == HW_DONE)
		return true;
	return !w->failed && world_host_write(w, at, &val, 1);
}

bool guest_and_entry(struct world *w, unsigned int cpu, uint64_t at, uint64_t mask)
{
	w->n.edits++;
	return world_access(w, cpu, world_direct(w, at), TF_WRITE, HW_AND, mask, NULL) == HW_DONE;
}

/* A zeroed page for a table; 0: none. */
uint64_t guest_new_table(struct world *w, unsigned int cpu)
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

void guest_free_table(struct world *w, uint64_t at)
{
	uint64_t f = at >> 12;

	if (f >= FIRST_TABLE + 24 && f < FIRST_TABLE + TABLES)
		w->table_used[f] = false;
}

/* The entry of `level` for va in memory as it is; 0: there is no table of that level. */
uint64_t guest_entry_of(struct world *w, uint64_t root, uint64_t va, unsigned int level)
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
uint64_t guest_make_entry(struct world *w, unsigned int cpu, uint64_t root, uint64_t va,
			  unsigned int level)
{
	for (unsigned int k = w->conf.levels - 1; k > level; k--) {
		uint64_t at = guest_entry_of(w, root, va, k);
		if (!at || w->failed)
			return 0;
		if (guest_entry_of(w, root, va, k - 1))
			continue;
		uint64_t t = guest_new_table(w, cpu);
		if (!t || !guest_set_entry(w, cpu, at, t | guest_flags_of(w, false) | X_W | X_U))
			return 0;
	}
	return guest_entry_of(w, root, va, level);
}

uint64_t guest_some_root(struct world *w, unsigned int cpu)
{
	return w->root[one_in(w, 4) ? below(w, SPACES) : w->space[cpu]];
}

/* One access that changes nothing but A and D. */
void guest_use(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags)
{
	if (!w->failed)
		world_access(w, cpu, va, flags, flags & TF_WRITE ? HW_OR : HW_READ, 0, NULL);
}

/* ---- flushes ---- */

bool guest_has_pcids(const struct world *w, unsigned int cpu)
{
	return w->ref.cpu[cpu].r.cr4 & X_CR4_PCIDE;
}

uint64_t guest_cr3_of(struct world *w, unsigned int cpu, unsigned int space)
{
	return w->root[space] | (guest_has_pcids(w, cpu) ? space % w->pcids : 0);
}

void guest_cr3(struct world *w, unsigned int cpu, unsigned int space, bool keep)
{
	uint64_t val = guest_cr3_of(w, cpu, space);

	if (keep && guest_has_pcids(w, cpu))
		val |= BIT(63);

	world_trace(w, "cpu %u writes CR3 %#llx", cpu, (unsigned long long)val);
	if (!hw_write_cr3(&w->hw.cpu[cpu], val))
		return;
	ref_write_cr3(&w->ref, cpu, val);
	w->space[cpu] = space;
}

void guest_invlpg(struct world *w, unsigned int cpu, uint64_t va)
{
	world_trace(w, "cpu %u INVLPG %#llx", cpu, (unsigned long long)va);
	if (hw_invlpg(&w->hw.cpu[cpu], va))
		ref_invlpg(&w->ref, cpu, va);
}

void guest_cr4(struct world *w, unsigned int cpu, uint64_t val)
{
	world_trace(w, "cpu %u writes CR4 %#llx", cpu, (unsigned long long)val);
	if (hw_write_cr4(&w->hw.cpu[cpu], val))
		ref_write_cr4(&w->ref, cpu, val);
}

void guest_invpcid(struct world *w, unsigned int cpu, unsigned int type, uint16_t pcid, uint64_t va)
{
	world_trace(w, "cpu %u INVPCID type %u pcid %u va %#llx", cpu, type, pcid,
		    (unsigned long long)va);
	if (hw_invpcid(&w->hw.cpu[cpu], type, pcid, va))
		ref_invpcid(&w->ref, cpu, type, pcid, va);
}

void guest_toggle_pcids(struct world *w, unsigned int cpu)
{
	/* It may be set only while CR3 names PCID 0. */
	if (!guest_has_pcids(w, cpu))
		guest_cr3(w, cpu, w->space[cpu], false);
	guest_cr4(w, cpu, w->ref.cpu[cpu].r.cr4 ^ X_CR4_PCIDE);
}

void guest_flush(struct world *w, unsigned int cpu, uint64_t va)
{
	uint64_t cr4 = w->ref.cpu[cpu].r.cr4;

	switch (below(w, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
		guest_invlpg(w, cpu, va);
		break;
	case 6:
	case 7:
	case 8:
		guest_cr3(w, cpu, w->space[cpu], false);
		break;
	case 9:
		guest_cr4(w, cpu, cr4 ^ X_CR4_PGE);
		if (one_in(w, 4))
			return;
		cr4 = w->ref.cpu[cpu].r.cr4;
		if (!(cr4 & X_CR4_PGE))
			guest_cr4(w, cpu, cr4 | X_CR4_PGE);
		break;
	default: {
		unsigned int type = (unsigned int)below(w, 4);
		uint16_t pcid = guest_has_pcids(w, cpu) ? (uint16_t)below(w, w->pcids) : 0;
		guest_invpcid(w, cpu, type, pcid, va);
		break;
	}
	}
}

/* The guest's page-fault handler: map something, perhaps flush, and try again. */
void guest_mend(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags)
{
	bool user = va < world_top(w, 2), kernel = va >= world_top(w, KERNEL_TOP(w));

	if (!user && !kernel)
		return;
	uint64_t root = w->root[w->space[cpu]];
	for (unsigned int k = w->conf.levels - 1; k > 0; k--) {
		/* Tables that were corrupted are given up. */
		uint64_t at = guest_entry_of(w, root, va, k);
		uint64_t e = at ? ref_word(&w->ref, at) : 0;
		struct oentry d = oracle_entry(&w->ref.cpu[cpu].r, w->maxphyaddr, k, e);
		if (at && e &&
		    (d.kind != O_TABLE || !d.w || (user && !d.u) || d.nx ||
		     d.addr >> 12 >= FIRST_TABLE + TABLES))
			guest_set_entry(w, cpu, at, 0);
		if (w->failed)
			return;
	}
	uint64_t at = guest_make_entry(w, cpu, root, va, 0);
	if (!at || w->failed)
		return;
	uint64_t old = ref_word(&w->ref, at);
	uint64_t e =
		(old & X_P) && !one_in(w, 2) ? old & (X_ADDR | 0xf7f) : guest_some_frame(w) << 12;
	e |= X_P | (one_in(w, 2) ? X_A : 0) | (one_in(w, 2) ? X_A | X_D : 0);
	if ((flags & TF_WRITE) || one_in(w, 2))
		e |= X_W;
	if (kernel)
		e = (e & ~X_U) | (guest_is_global(va) || one_in(w, 2) ? X_G : 0);
	else
		e |= X_U;
	if (!guest_set_entry(w, cpu, at, e) || w->failed)
		return;
	/* A kernel maps the pages around it as well. */
	for (unsigned int k = 0; k < 4 && one_in(w, 3) && !w->failed; k++) {
		uint64_t next = (at & ~UINT64_C(63)) | 8 * below(w, 8);
		if (!(ref_word(&w->ref, next) & X_P))
			guest_set_entry(w, cpu, next, e ^ below(w, 16) << 12);
	}
	if (one_in(w, 3) && !w->failed)
		guest_flush(w, cpu, va);
	if (!w->failed)
		world_access(w, cpu, va, flags, flags & TF_WRITE ? HW_WRITE : HW_READ,
			     rng_next(&w->rng), NULL);
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
		built(w, kroot, guest_kernel_va(w), 0, (DATA_GFN + below(w, 32)) << 12 | kernel);
	for (unsigned int s = 1; s < SPACES; s++)
		w->root[s] = built_table(w);
	for (unsigned int s = 0; s < SPACES; s++) {
		uint64_t self = w->root[s] | X_P | X_W | X_A | X_D;
		for (unsigned int i = 256; i < 512 && s; i++) {
			uint64_t e = ref_word(&w->ref, kroot + 8 * i);
			if (e)
				world_host_write(w, w->root[s] + 8 * i, &e, 1);
		}
		world_host_write(w, w->root[s] + 8 * GUEST_SELF_TOP, &self, 1);
	}
	/* Two roots for one process, as KPTI has: the last space shares all of space 0's user half.
	 */
	for (unsigned int s = 0; s < SPACES - 1; s++)
		for (unsigned int k = 0; k < 6; k++)
			built(w, w->root[s], guest_user_va(w), 0, guest_some_leaf(w, 0) | X_U);
	for (unsigned int top = 0; top < 2; top++) {
		uint64_t e = ref_word(&w->ref, w->root[0] + 8 * top);
		world_host_write(w, w->root[SPACES - 1] + 8 * top, &e, 1);
	}
}
