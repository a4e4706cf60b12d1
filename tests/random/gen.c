/* One random operation after the other: accesses, leaf edits, flushes, control state; the rest is
 * in gen_tables.c and gen_host.c.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "guest.h"

static void op_access(struct world *w, unsigned int cpu)
{
	uint64_t va = guest_some_va(w);
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
	uint64_t val = one_in(w, 2) ? rng_next(&w->rng) : guest_some_leaf(w, 0);
	unsigned int times = 1 + (one_in(w, 4) ? (unsigned int)below(w, 3) : 0);
	for (unsigned int k = 0; k < times && !w->failed; k++)
		if (world_access(w, cpu, va ^ (8 * k), flags, op, val + k, NULL) == HW_FAULT &&
		    !one_in(w, 4) && !w->failed)
			guest_mend(w, cpu, va ^ (8 * k), flags);
}

static void op_edit_leaf(struct world *w, unsigned int cpu)
{
	bool kernel = one_in(w, 8);
	uint64_t va = kernel ? guest_kernel_va(w) : guest_user_va(w);
	uint64_t root = guest_some_root(w, cpu);
	uint64_t at = one_in(w, 3) ? guest_entry_of(w, root, va, 0)
				   : guest_make_entry(w, cpu, root, va, 0);

	w->what = "leaf edit";
	if (!at || w->failed)
		return;
	/* Used before it is edited, so that caches and shadows hold it. */
	if (!one_in(w, 3))
		guest_use(w, cpu, va, kernel ? 0 : TF_USER);
	if (w->failed)
		return;
	unsigned int n = one_in(w, 4) ? 1 + (unsigned int)below(w, 6) : 1;
	for (unsigned int k = 0; k < n && !w->failed; k++) {
		uint64_t e = guest_some_leaf(w, 0);
		if (kernel && (e & X_P))
			e = (e & ~(one_in(w, 2) ? X_U : 0)) |
			    (guest_is_global(va) || one_in(w, 2) ? X_G : 0);
		guest_set_entry(w, cpu, (at & ~UINT64_C(63)) | ((at + 8 * k) & 63), e);
	}
	if (one_in(w, 2) && !w->failed)
		guest_flush(w, cpu, va);
	for (unsigned int k = 0; k < 2; k++)
		guest_use(w, cpu, va ^ (k ? below(w, 8) << 12 : 0),
			  (kernel && one_in(w, 2) ? 0 : TF_USER) | (one_in(w, 2) ? TF_WRITE : 0));
}

static void op_age(struct world *w, unsigned int cpu)
{
	uint64_t va = guest_user_va(w);
	unsigned int level = one_in(w, 4) ? 1 : 0;
	uint64_t at = guest_entry_of(w, guest_some_root(w, cpu), va, level);

	w->what = "A/D/W clearing";
	if (!at)
		return;
	static const uint64_t masks[] = {X_A, X_D, X_A | X_D, X_W, X_W | X_D};
	if (one_in(w, 2))
		guest_use(w, cpu, va, TF_USER | (one_in(w, 2) ? TF_WRITE : 0));
	if (w->failed)
		return;
	guest_and_entry(w, cpu, at, ~masks[below(w, 5)]);
	if (one_in(w, 2) && !w->failed)
		guest_flush(w, cpu, va);
	guest_use(w, cpu, va, TF_USER | (one_in(w, 2) ? TF_WRITE : 0));
}

static void op_self_edit(struct world *w, unsigned int cpu)
{
	uint64_t va = guest_user_va(w);
	unsigned int level = (unsigned int)below(w, 2);

	w->what = "edit by the self-map";
	if (!guest_entry_of(w, w->root[w->space[cpu]], va, level))
		return;
	world_access(w, cpu, guest_self_va(w, va, level), TF_WRITE, HW_WRITE,
		     level ? guest_some_leaf(w, 1) : guest_some_leaf(w, 0), NULL);
}

static void op_switch(struct world *w, unsigned int cpu)
{
	w->what = "CR3 write";
	guest_cr3(w, cpu, (unsigned int)below(w, SPACES), one_in(w, 2));
}

static void op_regs(struct world *w, unsigned int cpu)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];
	uint64_t cr4 = c->r.cr4, cr0 = c->r.cr0;

	w->what = "control state";
	switch (below(w, 7)) {
	case 0:
		guest_cr4(w, cpu, cr4 ^ X_CR4_SMEP);
		break;
	case 5:
		if (w->pcide)
			guest_toggle_pcids(w, cpu);
		break;
	case 1:
		guest_cr4(w, cpu, cr4 ^ X_CR4_SMAP);
		break;
	case 2:
		if (w->pke)
			guest_cr4(w, cpu, cr4 ^ X_CR4_PKE);
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
		r.cr3 = guest_cr3_of(w, cpu, space);
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

static void op_walk(struct world *w, unsigned int cpu)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];
	uint64_t va = guest_some_va(w), at = 0;
	uint32_t pfec = 0;
	struct tf_access a = {.at = gva(va),
			      .flags =
				      (one_in(w, 2) ? TF_USER : 0) | (one_in(w, 2) ? TF_WRITE : 0)};
	struct tf_translation t;
	struct tf_outcome o;
	bool set = one_in(w, 2);

	w->what = "tf_walk";
	if (c->want == TF_NESTED) {
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

/* vCPU `by` keeps a writable translation of a table in its TLB, of which no entry tells any more:
 * the host takes D from the guest's entry, and cpu flushes for itself. */
static void hold_writable(struct world *w, unsigned int cpu, unsigned int by, uint64_t table)
{
	uint64_t va = world_direct(w, table), at = guest_entry_of(w, w->root[0], va, 0);

	if (by == cpu || !at)
		return;
	guest_and_entry(w, by, table, ~UINT64_C(0));
	uint64_t e = ref_word(&w->ref, at) & ~X_D;
	if (!w->failed)
		world_host_write(w, at, &e, 1);
	if (!w->failed)
		guest_invlpg(w, cpu, va);
}

/* A change of the entry that maps va, by anybody. */
static void change_trusted(struct world *w, unsigned int by, uint64_t at)
{
	uint64_t e = guest_some_leaf(w, 0), table = at >> 12;

	if (one_in(w, 8) && table >= FIRST_TABLE + 24 && table < FIRST_TABLE + TABLES)
		host_discard(w, table, 1);
	else if (!one_in(w, 3))
		guest_set_entry(w, by, at, e);
	else
		world_host_write(w, at, &e, 1);
}

/* Many flushes with little change between, so that tables become trusted, by the group of one vCPU
 * or by those of two; then a change by any vCPU or by the host, which all must learn of. The second
 * time that one table alone has to be trusted anew. */
static void op_quiet(struct world *w, unsigned int cpu)
{
	unsigned int who[2] = {cpu, one_in(w, 2) ? (unsigned int)below(w, w->conf.vcpus) : cpu};
	unsigned int n = who[1] != cpu ? 2 : 1, rounds = 1 + one_in(w, 2);
	unsigned int turns = rounds == 2 || one_in(w, 2) ? 400 : 24;
	uint64_t va[4], root = w->root[w->space[cpu]];

	w->what = "quiet time";
	for (unsigned int k = 0; k < 4; k++)
		va[k] = k == 3 ? guest_kernel_va(w) : guest_user_va(w);
	for (unsigned int k = 0; k < 2 && !w->failed; k++) {
		uint64_t gpa;
		uint32_t pfec;
		if (!ref_walk_now(&w->ref, cpu, va[k], TF_USER | TF_WRITE, &gpa, &pfec))
			guest_mend(w, cpu, va[k], TF_USER | TF_WRITE);
	}
	for (unsigned int r = 0; r < rounds && !w->failed; r++) {
		unsigned int by = (unsigned int)below(w, w->conf.vcpus);
		uint64_t at = guest_entry_of(w, root, va[0], 0);
		if (at && (r || one_in(w, 2)))
			hold_writable(w, cpu, by, at & X_ADDR);
		for (unsigned int k = 0; k < turns * n && !w->failed; k++) {
			guest_use(w, who[k % n], va[k / n & 3], TF_USER);
			if (!w->failed)
				guest_cr3(w, who[k % n], w->space[cpu], false);
		}
		at = w->failed ? 0 : guest_entry_of(w, root, va[0], 0);
		if (!at || !(ref_word(&w->ref, at) & X_P))
			return;
		change_trusted(w, by, at);
		for (unsigned int k = 0; k < n && !w->failed; k++) {
			guest_flush(w, who[k], va[0]);
			guest_use(w, who[k], va[0], TF_USER);
		}
	}
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
		hw_speculate(c, guest_some_va(w), one_in(w, 2) ? TF_USER : 0);
	/* CR0.WP and PCIDs are seldom off for long. */
	if (w->pcide && !guest_has_pcids(w, cpu) && one_in(w, 6))
		guest_toggle_pcids(w, cpu);
	if (!(c->r.cr0 & X_CR0_WP) && one_in(w, 6)) {
		uint64_t cr0 = c->r.cr0 | X_CR0_WP;
		if (hw_write_cr0(c, cr0))
			ref_write_cr0(&w->ref, cpu, cr0);
	}
	if (w->has_choice)
		op_choice(w, cpu);
	if (w->failed)
		return;
	unsigned int what = (unsigned int)below(w, 68);
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
		guest_flush(w, cpu, guest_some_va(w));
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
		/* The same addresses before and after, so that TLBs hold them meanwhile. */
		uint64_t va[4];
		uint32_t how = one_in(w, 2) ? TF_USER : 0;
		unsigned int turns = one_in(w, 2) ? 2 : 1;
		for (unsigned int k = 0; k < 4; k++)
			va[k] = guest_some_va(w);
		for (unsigned int t = 0; t < turns; t++) {
			for (unsigned int k = 0; k < 4; k++)
				guest_use(w, cpu, va[k], how);
			for (unsigned int k = 0; k < 3 && !w->failed; k++)
				op_accessed(w, k);
		}
		break;
	case 59:
		if (w->conf.huge || one_in(w, 4))
			op_slot(w);
		break;
	case 60:
		op_host_write(w, cpu);
		break;
	case 61:
		if (one_in(w, 3))
			op_quiet(w, cpu);
		else if (one_in(w, 2))
			op_mode(w, cpu);
		else
			op_away(w, cpu);
		break;
	case 62:
		if (one_in(w, 2))
			op_regs(w, cpu);
		break;
	case 63:
		if (one_in(w, 2))
			op_stale(w, cpu);
		break;
	case 64:
		if (w->conf.regroup)
			op_regroup(w);
		break;
	case 65:
	case 66:
		op_two_roots(w, cpu);
		break;
	default:
		op_walk(w, cpu);
		break;
	}
	if (failing)
		fakehost_fail(&w->host, 0, 0);
}
