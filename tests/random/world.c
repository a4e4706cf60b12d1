/* The judge of random histories: see world.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "world.h"

#include <stdarg.h>
#include <string.h>

#define WORDS (TF_PAGE_SIZE / 8)

void world_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failed)
		return;
	w->failed = true;
	va_start(ap, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, ap);
	va_end(ap);
}

void world_trace(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->step < w->conf.trace_from)
		return;
	va_start(ap, fmt);
	fprintf(stderr, "%6llu  ", (unsigned long long)w->step);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

void world_trace_path(struct world *w, unsigned int cpu, uint64_t va)
{
	const struct tf_regs *r = &w->ref.cpu[cpu].r;
	uint64_t table = oracle_root(r);

	for (unsigned int level = oracle_levels(r); level-- > 0;) {
		uint64_t at = table + 8 * oracle_index(r, level, va), raw = ref_word(&w->ref, at);
		struct oentry e = oracle_entry(r, w->maxphyaddr, level, raw);
		world_trace(w, "    level %u at %#llx: %#llx", level, (unsigned long long)at,
			    (unsigned long long)raw);
		if (e.kind != O_TABLE)
			return;
		table = e.addr;
	}
}

uint64_t world_top(const struct world *w, unsigned int index)
{
	unsigned int shift = w->conf.levels == 5 ? 48 : 39;
	unsigned int bits = shift + 9;

	return (uint64_t)((int64_t)((uint64_t)index << shift << (64 - bits)) >> (64 - bits));
}

uint64_t world_direct(const struct world *w, uint64_t gpa)
{
	return world_top(w, 272) + gpa;
}

/* ---- what the model hardware does to guest memory ---- */

static void touch(struct world *w, uint64_t gpa, bool write, bool for_sure)
{
	uint8_t *f = ref_flags(&w->ref, gpa >> TF_PAGE_SHIFT);

	if (!f)
		return;
	*f |= REF_BACKED;
	if (write)
		*f |= REF_MAY_DIRTY;
	if (write && for_sure)
		*f |= REF_MUST_DIRTY;
}

static void on_touch(void *arg, uint64_t gpa, bool write)
{
	struct world *w = arg;
	uint8_t *f;

	/* Reads of guest tables count as writes at the nested level; nothing need be logged. */
	touch(w, gpa, write, false);
	f = ref_flags(&w->ref, gpa >> TF_PAGE_SHIFT);
	if (f)
		*f |= REF_MUST_ACC;
}

static void on_hw_ad(void *arg, uint64_t gpa, unsigned int bytes, uint64_t to)
{
	struct world *w = arg;

	(void)bytes;
	ref_write(&w->ref, gpa, to);
	touch(w, gpa, true, true);
}

/* ---- judging ---- */

static uint64_t operated(uint64_t old, enum hw_op op, uint64_t operand)
{
	switch (op) {
	case HW_WRITE:
		return operand;
	case HW_AND:
		return old & operand;
	case HW_OR:
		return old | operand;
	case HW_ZERO:
		return 0;
	default:
		return old;
	}
}

/* What the engine changed in the entries that the access used is taken over, if it may be so.
 * `res`: the access itself may have written to one of them (NULL: it did not). */
static void sync_access(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags, bool done,
			const struct hw_result *res, enum hw_op op, uint64_t operand)
{
	struct ref_answer a;

	ref_ask(&w->ref, cpu, va, flags, false, &a);
	for (unsigned int i = 0; i < a.locs; i++) {
		uint64_t at = a.loc[i].gpa, now;
		uint8_t *f = ref_flags(&w->ref, at >> TF_PAGE_SHIFT);
		if (!f || !(*f & REF_PRESENT))
			continue;
		enum tf_status s = tf_mem_read(w->vm, gpa(at), &now, 8);
		if (s == TF_E_NOMEM)
			continue;
		*f |= REF_BACKED;
		uint64_t was = ref_word(&w->ref, at);
		if (now == was)
			continue;
		if (res && res->end == HW_DONE && op != HW_READ &&
		    operated(res->old, op, operand) == now && (res->old & was) == was)
			now = res->old;
		uint64_t ok = (was & X_P ? X_A : 0) |
			      (a.loc[i].leaf && (flags & TF_WRITE) && done ? X_D : 0);
		if ((now & was) != was || (now & ~was & ~ok)) {
			world_fail(w,
				   "the entry at GPA %#llx was %#llx and is %#llx after an access "
				   "to %#llx (flags %#x) that %s",
				   (unsigned long long)at, (unsigned long long)was,
				   (unsigned long long)now, (unsigned long long)va, flags,
				   done ? "was done" : "faulted");
			return;
		}
		ref_write(&w->ref, at, now);
		touch(w, at, true, true);
	}
}

void world_sync(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags, bool done)
{
	sync_access(w, cpu, va, flags, done, NULL, HW_READ, 0);
}

/* Does tf_mem_read at the GPA's page see the host frame? Proven by a word written behind its back.
 */
static bool same_frame(struct world *w, uint64_t at_gpa, uint64_t at_hpa)
{
	struct hw_frame *f = &w->hw.frame[fakehost_frame(hpa(at_hpa))];
	uint64_t gfn = at_gpa >> TF_PAGE_SHIFT;

	if (f->gfn != ~UINT64_C(0))
		return f->gfn == gfn;
	w->n.probes++;
	uint64_t *p = fakehost_ptr(&w->host, hpa(at_hpa & ~UINT64_C(7)), 8, "probe");
	uint64_t saved = *p, magic = rng_next(&w->rng), seen = 0;
	*p = magic;
	enum tf_status s = tf_mem_read(w->vm, gpa(at_gpa & ~UINT64_C(7)), &seen, 8);
	*p = saved;
	if (s != TF_OK || seen != magic)
		return false;
	for (uint64_t i = 0; i < w->host.frames; i++)
		if (w->hw.frame[i].gfn == gfn)
			world_fail(w, "guest frame %#llx is at two host frames",
				   (unsigned long long)gfn);
	f->gfn = gfn;
	return true;
}

static const char *list(const struct ref_answer *a, char *to, size_t n)
{
	size_t k = 0;

	to[0] = 0;
	for (unsigned int i = 0; i < a->gpas && k < n; i++)
		k += (size_t)snprintf(to + k, n - k, " gpa %#llx", (unsigned long long)a->gpa[i]);
	for (unsigned int i = 0; i < a->pfecs && k < n; i++)
		k += (size_t)snprintf(to + k, n - k, " #PF(%#x)", a->pfec[i]);
	return to;
}

/* The GPA among the permitted ones that the access reached; ~0: none. */
static uint64_t reached(struct world *w, const struct hw_result *res, const struct ref_answer *a)
{
	for (unsigned int i = 0; i < a->gpas; i++) {
		if (res->end == HW_DEVICE) {
			if (a->gpa[i] == res->gpa && !ref_is_memory(&w->ref, res->gpa >> 12))
				return res->gpa;
			continue;
		}
		if (!ref_is_memory(&w->ref, a->gpa[i] >> 12))
			continue;
		if (!res->was_shadow && a->gpa[i] != res->gpa)
			continue;
		if (same_frame(w, a->gpa[i], res->hpa))
			return a->gpa[i];
	}
	return ~UINT64_C(0);
}

static void apply(struct world *w, uint64_t at, enum hw_op op, uint64_t operand)
{
	uint64_t word = at & ~UINT64_C(7), old = ref_word(&w->ref, word);

	switch (op) {
	case HW_WRITE:
		ref_write(&w->ref, word, operand);
		break;
	case HW_AND:
		ref_write(&w->ref, word, old & operand);
		break;
	case HW_OR:
		ref_write(&w->ref, word, old | operand);
		break;
	case HW_ZERO:
		for (unsigned int i = 0; i < WORDS; i++)
			ref_write(&w->ref, (at & ~UINT64_C(4095)) + 8 * i, 0);
		break;
	case HW_READ:
		break;
	}
}

static void judge_done(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags,
		       enum hw_op op, uint64_t operand, const struct hw_result *res)
{
	struct ref_answer a;
	char text[256];

	ref_ask(&w->ref, cpu, va, flags, false, &a);
	uint64_t at = reached(w, res, &a);
	if (at == ~UINT64_C(0)) {
		w->n.deep++;
		ref_ask(&w->ref, cpu, va, flags, true, &a);
		at = reached(w, res, &a);
	}
	if (at == ~UINT64_C(0)) {
		struct hw_frame *f =
			res->end == HW_DONE ? &w->hw.frame[fakehost_frame(hpa(res->hpa))] : NULL;
		world_fail(w,
			   "CPU %u %s: %#llx flags %#x %s %s%#llx (frame of gfn %#llx); "
			   "permitted:%s",
			   cpu, res->was_shadow ? "shadow" : "nested", (unsigned long long)va,
			   flags, res->end == HW_DONE ? "reached" : "ended at a device,",
			   res->from_tlb ? "by TLB hpa " : "",
			   (unsigned long long)(res->end == HW_DONE ? res->hpa : res->gpa),
			   (unsigned long long)(f ? f->gfn : 0), list(&a, text, sizeof(text)));
		return;
	}
	if (res->end == HW_DEVICE)
		return;
	if (res->old != ref_word(&w->ref, at & ~UINT64_C(7))) {
		world_fail(w, "CPU %u %s: %#llx (GPA %#llx) holds %#llx, must hold %#llx", cpu,
			   res->was_shadow ? "shadow" : "nested", (unsigned long long)va,
			   (unsigned long long)at, (unsigned long long)res->old,
			   (unsigned long long)ref_word(&w->ref, at & ~UINT64_C(7)));
		return;
	}
	touch(w, at, flags & TF_WRITE, true);
	*ref_flags(&w->ref, at >> 12) |= REF_MUST_ACC;
	apply(w, at, op, operand);
}

/* The walk explained is the one that memory has now. */
static void judge_explanation(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];
	const struct tf_access a = {gva(va), flags};
	struct tf_explanation x;
	uint64_t at = 0;
	uint32_t pfec = 0;
	bool ok = ref_walk_now(&w->ref, cpu, va, flags, &at, &pfec), same;

	tf_explain(c->v, &c->r, &a, &x);
	if (ok)
		same = x.data.at.v == at &&
		       x.end ==
			       (ref_is_memory(&w->ref, at >> 12) ? TF_WALK_MAPPED : TF_WALK_DEVICE);
	else
		same = x.end > TF_WALK_DEVICE && x.end < TF_WALK_NOT_CANONICAL && x.pfec == pfec;
	if (!same)
		world_fail(
			w,
			"explained: %#llx flags %#x ends with %d, #PF(%#x), GPA %#llx; must be %d, "
			"#PF(%#x), GPA %#llx",
			(unsigned long long)va, flags, x.end, x.pfec,
			(unsigned long long)x.data.at.v, ok, pfec, (unsigned long long)at);
}

enum hw_end world_access(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags,
			 enum hw_op op, uint64_t operand, uint64_t *old)
{
	char text[256];
	struct hw_cpu *c = &w->hw.cpu[cpu];

	for (unsigned int turn = 0;; turn++) {
		gen_disturb(w);
		if (w->n.accesses % 4 == 0)
			judge_explanation(w, cpu, va, flags);
		uint64_t failed = w->host.failed;
		struct hw_result res = hw_access(c, va, flags, op, operand);
		w->n.accesses++;
		world_trace(w,
			    "cpu %u %s va %#llx flags %#x op %d operand %#llx -> end %d pfec %#x "
			    "old %#llx hpa %#llx",
			    cpu, res.was_shadow ? "shadow" : "nested", (unsigned long long)va,
			    flags, op, (unsigned long long)operand, res.end, res.pfec,
			    (unsigned long long)res.old, (unsigned long long)res.hpa);
		if (w->hw.broken[0]) {
			world_fail(w, "%s", w->hw.broken);
			return HW_BROKEN;
		}
		sync_access(w, cpu, va, flags, res.end == HW_DONE || res.end == HW_DEVICE, &res, op,
			    operand);
		world_trace_path(w, cpu, va);
		if (w->failed)
			return HW_BROKEN;
		if (old)
			*old = res.old;
		switch (res.end) {
		case HW_DONE:
		case HW_DEVICE:
			judge_done(w, cpu, va, flags, op, operand, &res);
			if (res.end == HW_DONE)
				w->n.done++;
			else
				w->n.devices++;
			return res.end;
		case HW_NOMEM:
			w->n.nomem++;
			if (w->host.failed == failed && !w->host.limit_frames)
				world_fail(w, "no memory, though no allocation failed");
			return res.end;
		case HW_GP:
			world_fail(w, "#GP for a canonical address %#llx", (unsigned long long)va);
			return res.end;
		case HW_FAULT:
			break;
		default:
			world_fail(w, "the access to %#llx went wrong", (unsigned long long)va);
			return res.end;
		}
		w->n.faults++;
		struct ref_answer a;
		bool ok = false;
		for (int deep = 0; deep < 2 && !ok; deep++) {
			ref_ask(&w->ref, cpu, va, flags, deep, &a);
			for (unsigned int i = 0; i < a.pfecs; i++)
				ok = ok || a.pfec[i] == res.pfec;
		}
		if (!ok || res.cr2 != va) {
			world_fail(w,
				   "CPU %u %s: %#llx flags %#x got #PF(%#x) with CR2 %#llx; "
				   "permitted:%s",
				   cpu, res.was_shadow ? "shadow" : "nested",
				   (unsigned long long)va, flags, res.pfec,
				   (unsigned long long)res.cr2, list(&a, text, sizeof(text)));
			return HW_BROKEN;
		}
		ref_fault(&w->ref, cpu, va);
		uint64_t at;
		uint32_t pfec;
		if (!ref_walk_now(&w->ref, cpu, va, flags, &at, &pfec))
			return HW_FAULT;
		if (turn) {
			world_fail(w, "CPU %u: #PF(%#x) at %#llx again, though the tables allow it",
				   cpu, res.pfec, (unsigned long long)va);
			return HW_BROKEN;
		}
	}
}

bool world_host_write(struct world *w, uint64_t at, const uint64_t *words, unsigned int n)
{
	enum tf_status s = tf_mem_write(w->vm, gpa(at), words, 8 * n);

	world_trace(w, "host write of %u words at GPA %#llx: %s", n, (unsigned long long)at,
		    tf_status_text(s));
	if (s == TF_E_NOMEM)
		return false;
	if (s != TF_OK) {
		world_fail(w, "tf_mem_write at %#llx: %s", (unsigned long long)at,
			   tf_status_text(s));
		return false;
	}
	for (unsigned int i = 0; i < n; i++) {
		ref_write(&w->ref, at + 8 * i, words[i]);
		touch(w, at + 8 * i, true, true);
	}
	return true;
}

/* Every host frame that is known to back a guest frame was asked from the slot's node. */
static void compare_nodes(struct world *w)
{
	static const uint64_t slot[4][2] = {{A_GFN, A_N}, {B_GFN, B_N}, {C_GFN, C_N}, {D_GFN, D_N}};

	for (uint64_t i = 0; i < w->host.frames; i++) {
		uint64_t gfn = w->hw.frame[i].gfn;
		for (unsigned int k = 0; k < 4; k++)
			if (gfn - slot[k][0] < slot[k][1] && w->host.node[i] != w->node[k])
				world_fail(w, "the frame of gfn %#llx lies on node %u, not on %u",
					   (unsigned long long)gfn, w->host.node[i], w->node[k]);
	}
}

void world_compare(struct world *w)
{
	static uint64_t page[WORDS];

	compare_nodes(w);

	for (unsigned int k = 0; k < w->ref.regions && !w->failed; k++) {
		struct ref_region *g = &w->ref.region[k];
		for (uint64_t i = 0; i < g->n; i++) {
			if (!(g->flags[i] & REF_PRESENT) || !(g->flags[i] & REF_BACKED))
				continue;
			uint64_t at = (g->gfn + i) << TF_PAGE_SHIFT;
			enum tf_status s = tf_mem_read(w->vm, gpa(at), page, sizeof(page));
			if (s == TF_E_NOMEM)
				continue;
			if (s != TF_OK) {
				world_fail(w, "tf_mem_read at %#llx: %s", (unsigned long long)at,
					   tf_status_text(s));
				return;
			}
			for (unsigned int j = 0; j < WORDS; j++)
				if (page[j] != g->word[i * WORDS + j]) {
					world_fail(w,
						   "guest memory at GPA %#llx is %#llx, must be "
						   "%#llx",
						   (unsigned long long)(at + 8 * j),
						   (unsigned long long)page[j],
						   (unsigned long long)g->word[i * WORDS + j]);
					return;
				}
		}
	}
}

void world_check(struct world *w)
{
	const char *broken = tf_check(w->vm);
	struct tf_counters n;

	if (broken)
		world_fail(w, "tf_check: %s", broken);
	if (w->hw.broken[0])
		world_fail(w, "%s", w->hw.broken);
	if (tf_grouping(w->vm) != w->grouping)
		world_fail(w, "tf_grouping() is not what was asked for");
	tf_counters_read(w->vm, &n);
	/* Each group has room for its roots and one walk; those that are left keep theirs a while.
	 */
	uint64_t bound = (uint64_t)tf_groups_max(w->vm) * (16 + w->conf.vcpus);
	if (bound < w->hw.conf.shadow_pages)
		bound = w->hw.conf.shadow_pages;
	if (w->conf.regroup)
		bound *= 2;
	if (w->hw.conf.shadow_pages && n.shadow_tables > bound)
		world_fail(w, "%llu shadow tables, the bound is %llu",
			   (unsigned long long)n.shadow_tables, (unsigned long long)bound);
}

/* ---- beginning and end ---- */

static bool add_slot(struct world *w, uint64_t gfn, uint64_t n, unsigned int node)
{
	enum tf_status s = tf_mem_add(w->vm, gpa(gfn << 12), n << 12, node);

	if (s != TF_OK) {
		world_fail(w, "tf_mem_add: %s", tf_status_text(s));
		return false;
	}
	ref_add(&w->ref, gfn, n);
	return true;
}

bool world_init(struct world *w, const struct world_conf *c)
{
	memset(w, 0, sizeof(*w));
	w->conf = *c;
	w->rng.s = c->seed * 7919 + 1;
	w->nxe = !rng_one_in(&w->rng, 4);
	w->pcide = rng_one_in(&w->rng, 2);
	w->pcids = SPACES - rng_one_in(&w->rng, 3);
	w->pke = rng_one_in(&w->rng, 3);
	w->maxphyaddr = 36 + (unsigned int)rng_below(&w->rng, 12);
	fakehost_init_huge(&w->host, UINT64_C(48) << 20, c->huge ? 1 : 0);
	for (unsigned int k = 0; k < 4; k++)
		w->node[k] = (unsigned int)rng_below(&w->rng, c->nodes);
	if (c->huge)
		w->node[1] = w->node[3] = w->node[0];
	w->grouping = c->grouping;

	const bool is_chosen = c->spaces || c->sample || c->policy;
	static const unsigned int bounds[] = {0, 24, 32, 48, 64, 128};
	static const unsigned int arrivals[] = {0, 1, 50, 400};
	struct tf_config conf = {
		.mode = c->mode == W_NESTED || is_chosen ? TF_NESTED : TF_SHADOW,
		.nested = c->format,
		.maxphyaddr = w->maxphyaddr,
		.vcpus = c->vcpus,
		.shadow_pages = c->shadow_pages ? c->shadow_pages : bounds[rng_below(&w->rng, 6)],
		.large_backing = rng_one_in(&w->rng, 2) || c->huge,
		.huge_backing = c->huge,
		.nodes = c->nodes,
		.grouping = c->grouping,
		.install = c->install,
		.regroup = c->regroup,
		.arrival = arrivals[c->seed / 5 % 4],
	};
	hw_init(&w->hw, &w->host, &conf, c->vcpus);
	for (unsigned int i = 0; i < c->vcpus && rng_one_in(&w->rng, 2); i++)
		w->hw.node[i] = (unsigned int)rng_below(&w->rng, c->nodes);
	w->hw.arg = w;
	w->hw.on_ad = on_hw_ad;
	w->hw.on_touch = on_touch;
	ref_init(&w->ref, w->maxphyaddr, c->vcpus);
	enum tf_status s = tf_vm_create(&w->host.host, &conf, &w->vm);
	if (s != TF_OK) {
		world_fail(w, "tf_vm_create: %s", tf_status_text(s));
		return false;
	}
	if (!add_slot(w, C_GFN, C_N, w->node[2]))
		return false;
	if (c->huge ? !add_slot(w, 0, HUGE_N, w->node[0])
		    : !add_slot(w, A_GFN, A_N, w->node[0]) ||
			      !add_slot(w, B_GFN, B_N, w->node[1]) ||
			      !add_slot(w, D_GFN, D_N, w->node[3]))
		return false;
	w->d_present = true;
	gen_build(w);

	struct tf_regs r = {
		.cr0 = X_CR0_PE | X_CR0_PG | X_CR0_WP,
		.cr3 = w->root[0],
		.cr4 = X_CR4_PAE | (rng_one_in(&w->rng, 4) ? 0 : X_CR4_PGE) |
		       (w->pcide ? X_CR4_PCIDE : 0) | (w->pke ? X_CR4_PKE : 0) |
		       (c->levels == 5 ? X_CR4_LA57 : 0),
		.efer = X_EFER_LME | X_EFER_LMA | (w->nxe ? X_EFER_NXE : 0),
	};
	s = hw_attach(&w->hw, w->vm, &r, c->seed ^ 0x5eed);
	if (s != TF_OK) {
		world_fail(w, "tf_vcpu_create: %s", tf_status_text(s));
		return false;
	}
	if (is_chosen && !gen_choice(w))
		return false;
	for (unsigned int i = 0; i < c->vcpus; i++) {
		ref_set_regs(&w->ref, i, &r);
		if (c->mode == W_MIXED)
			hw_set_mode(&w->hw.cpu[i], i % 2 ? TF_NESTED : TF_SHADOW);
		else if (c->mode == W_SHADOW)
			hw_set_mode(&w->hw.cpu[i], TF_SHADOW);
	}
	return !w->failed;
}

void world_fini(struct world *w)
{
	if (w->vm)
		tf_vm_destroy(w->vm);
	if (!w->failed && fakehost_leaks(&w->host))
		world_fail(w, "tf_vm_destroy left pages behind");
	if (!w->failed)
		fakehost_check(&w->host);
	hw_fini(&w->hw);
	ref_fini(&w->ref);
	fakehost_fini(&w->host);
}
