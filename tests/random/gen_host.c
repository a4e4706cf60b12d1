/* What the host does to a random guest: logs, accessed bits, memory that comes and goes.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "guest.h"

#include <string.h>

static void dirty_clear(struct world *w)
{
	for (uint64_t f = w->dirty_gfn; f < w->dirty_gfn + w->dirty_n; f++)
		*ref_flags(&w->ref, f) &= (uint8_t) ~(REF_MUST_DIRTY | REF_MAY_DIRTY);
}

static void dirty_start(struct world *w, uint64_t gfn, uint64_t n)
{
	enum tf_status s = tf_dirty_start(w->vm, gpa(gfn << 12), n << 12);

	world_trace(w, "dirty log of %#llx + %llu: %s", (unsigned long long)gfn,
		    (unsigned long long)n, tf_status_text(s));
	if (s == TF_E_NOMEM)
		return;
	if (s != TF_OK) {
		world_fail(w, "tf_dirty_start: %s", tf_status_text(s));
		return;
	}
	w->dirty_on = true;
	w->dirty_gfn = gfn;
	w->dirty_n = n;
	dirty_clear(w);
}

static void dirty_stop(struct world *w)
{
	tf_dirty_stop(w->vm, gpa(w->dirty_gfn << 12), w->dirty_n << 12);
	w->dirty_on = false;
}

static void dirty_read(struct world *w)
{
	uint64_t bits[B_N / 64 + 1];

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
}

void op_dirty(struct world *w)
{
	w->what = "dirty log";
	if (w->dirty_on) {
		dirty_read(w);
		if (!one_in(w, 3))
			return;
		dirty_stop(w);
		/* What was read-only is written again; large pages come together. */
		for (unsigned int k = 0; k < 4; k++)
			guest_use(w, (unsigned int)below(w, w->conf.vcpus),
				  world_direct(w, (w->dirty_gfn + below(w, w->dirty_n)) << 12),
				  TF_WRITE);
	} else if (one_in(w, 2)) {
		uint64_t f = A_GFN + below(w, 100);
		dirty_start(w, f, 1 + below(w, A_N - f));
	} else {
		uint64_t f = B_GFN + (one_in(w, 2) ? below(w, 600) : 0);
		dirty_start(w, f, 1 + below(w, B_GFN + B_N - f));
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

void host_discard(struct world *w, uint64_t first, uint64_t n)
{
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

/* Where va leads for a user's write; ~0: nowhere. */
static uint64_t goes_to(struct world *w, unsigned int cpu, uint64_t va)
{
	uint64_t at;
	uint32_t pfec;

	return ref_walk_now(&w->ref, cpu, va, TF_USER | TF_WRITE, &at, &pfec) ? at >> 12
									      : ~UINT64_C(0);
}

/* One vCPU has a writable translation in its TLB; another, whose tables may be the same, drops the
 * entry that it came from and flushes for itself alone, as the architecture lets it. Then a round
 * of the log begins, or accessed bits are read, or the frame goes: every vCPU must be flushed,
 * though no entry shows why. */
void op_stale(struct world *w, unsigned int cpu)
{
	unsigned int other = (unsigned int)below(w, w->conf.vcpus);
	const uint32_t how = TF_USER | TF_WRITE;
	uint64_t va = guest_user_va(w);

	w->what = "stale translation";
	if (other == cpu)
		return;
	guest_cr3(w, other, w->space[cpu], false);
	if (!w->failed && goes_to(w, other, va) == ~UINT64_C(0))
		guest_mend(w, other, va, how);
	uint64_t f, at = guest_entry_of(w, w->root[w->space[cpu]], va, 0);
	if (at && !w->failed && one_in(w, 2)) { /* a frame that little else maps */
		f = one_in(w, 2) ? C_GFN + below(w, C_N) : B_GFN + 64 + below(w, 400);
		guest_set_entry(w, other, at, f << 12 | X_P | X_W | X_U | X_A | X_D);
		guest_invlpg(w, other, va);
	}
	if (w->failed)
		return;
	f = goes_to(w, other, va);
	if (!at || f == ~UINT64_C(0) || !ref_is_memory(&w->ref, f))
		return;
	bool logged = f - A_GFN < A_N || f - B_GFN < B_N, started = one_in(w, 2);
	if (w->dirty_on && logged && !one_in(w, 3))
		dirty_stop(w);
	if (!w->dirty_on && logged && started)
		dirty_start(w, f, 1);
	guest_use(w, cpu, va, TF_USER);
	guest_use(w, other, va, how);
	if (one_in(w, 3))
		guest_set_entry(w, cpu, at, one_in(w, 2) ? 0 : guest_some_leaf(w, 0));
	else
		guest_and_entry(w, cpu, at, ~(one_in(w, 2) ? X_W : X_D));
	if (w->failed)
		return;
	guest_invlpg(w, cpu, va);
	if (one_in(w, 2))
		guest_use(w, cpu, va, TF_USER);
	if (w->failed)
		return;
	unsigned int slot = f - A_GFN < A_N ? 0 : f - B_GFN < B_N ? 1 : 2;
	bool ages = (logged || f - C_GFN < C_N) && one_in(w, 3);
	if (ages)
		op_accessed(w, slot);
	else if (!logged || (f >= DATA_GFN && one_in(w, 2)))
		host_discard(w, f, 1);
	else if (w->dirty_on)
		dirty_read(w);
	else
		dirty_start(w, f, 1);
	for (unsigned int k = 0; k < 3; k++)
		guest_use(w, other, va, how);
	if (!w->failed && ages)
		op_accessed(w, slot);
	if (!w->failed && w->dirty_on)
		dirty_read(w);
}

void op_accessed(struct world *w, unsigned int i)
{
	static const uint64_t where[3][2] = {{A_GFN, A_N}, {B_GFN, B_N}, {C_GFN, C_N}};
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

void op_discard(struct world *w)
{
	uint64_t first, n = 1;

	w->what = "discard";
	switch (below(w, 5)) {
	case 0:
		first = B_GFN + below(w, 64);
		n = 1 + below(w, 4);
		break;
	case 1:
		first = C_GFN + below(w, C_N - 8);
		n = 1 + below(w, 8);
		break;
	case 2:
		if (!one_in(w, w->conf.huge ? 64 : 8)) /* it would be in pieces for good */
			return;
		first = B_GFN + (one_in(w, 2) ? 512 : 0);
		n = 512;
		break;
	case 3: /* a table, perhaps: what was in it is gone */
		if (one_in(w, 2))
			return;
		first = FIRST_TABLE + 24 + below(w, TABLES - 24);
		break;
	default:
		first = DATA_GFN + below(w, 64);
		n = 1 + below(w, 3);
		break;
	}
	host_discard(w, first, n);
}

/* Nothing is missing in the GiB and none of it is logged; then a fault. */
static void make_whole(struct world *w)
{
	unsigned int cpu = (unsigned int)below(w, w->conf.vcpus);
	uint64_t word, f = DATA_GFN + below(w, 64);

	if (w->dirty_on)
		dirty_stop(w);
	for (uint64_t k = 0; k < D_GFN + D_N; k++)
		if (tf_mem_read(w->vm, gpa(k << 12), &word, 8) != TF_OK)
			return;
	for (unsigned int k = 0; k < 2 && !w->failed; k++) {
		guest_use(w, cpu, world_direct(w, f << 12), k ? TF_WRITE : 0);
		if (!k && !w->failed)
			host_discard(w, f, 1);
	}
}

void op_slot(struct world *w)
{
	uint64_t first = D_GFN, n = D_N;
	enum tf_status s;

	w->what = "slot";
	if (w->conf.huge) { /* cut once the GiB would stay so */
		make_whole(w);
		return;
	}
	if (w->d_present) {
		s = tf_mem_remove(w->vm, gpa(first << 12), n << 12);
		world_trace(w, "slot D removed: %s", tf_status_text(s));
		if (s == TF_E_NOMEM)
			return;
		ref_remove(&w->ref, first, n);
		forget(w, first, n, true);
	} else {
		unsigned int node = (unsigned int)below(w, w->conf.nodes);
		s = tf_mem_add(w->vm, gpa(first << 12), n << 12, node);
		world_trace(w, "slot D added on node %u: %s", node, tf_status_text(s));
		if (s == TF_E_NOMEM)
			return;
		w->node[3] = node;
		ref_add(&w->ref, first, n);
	}
	if (s != TF_OK)
		world_fail(w, "slot D: %s", tf_status_text(s));
	w->d_present = !w->d_present;
}

void op_host_write(struct world *w, unsigned int cpu)
{
	uint64_t at = 0, e = guest_some_leaf(w, 0);

	uint64_t va = one_in(w, 4) ? guest_kernel_va(w) : guest_user_va(w);

	w->what = "host write";
	if (one_in(w, 2))
		at = guest_entry_of(w, w->root[w->space[cpu]], va, 0);
	if (at)
		guest_use(w, cpu, va, TF_USER);
	if (w->failed)
		return;
	if (!at)
		at = (DATA_GFN + below(w, 64)) << 12 | 8 * below(w, WORDS);
	world_host_write(w, at, &e, 1);
	if (!w->failed && one_in(w, 2))
		guest_flush(w, cpu, va);
	guest_use(w, cpu, va, TF_USER);
}

/* The vCPUs' groups change; each moves at its next load. */
void op_regroup(struct world *w)
{
	enum tf_grouping to = (enum tf_grouping)below(w, 3);

	w->what = "regrouping";
	enum tf_status s = tf_regroup(w->vm, to);
	world_trace(w, "groups by %u: %s", to, tf_status_text(s));
	if (s == TF_E_NOMEM)
		return;
	if (s != TF_OK) {
		world_fail(w, "tf_regroup: %s", tf_status_text(s));
		return;
	}
	w->grouping = to;
	w->n.regroups++;
}
