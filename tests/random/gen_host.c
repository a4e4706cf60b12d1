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

void op_dirty(struct world *w)
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
		if (!one_in(w, 8))
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

void op_slot(struct world *w)
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
