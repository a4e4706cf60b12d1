/* Which mode the random guest runs in: changes of the whole VM, of one vCPU, of one address space;
 * samples, and readings with a policy behind them.
 *
 * A change for all is asked for and each vCPU takes it by itself at an entry to come, as hosts do;
 * it may come between any two accesses, so between an edit and its flush as well.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "guest.h"

static const char *const mode_name[] = {"nested", "shadow"};

static enum tf_mode some_mode(struct world *w)
{
	return one_in(w, 2) ? TF_SHADOW : TF_NESTED;
}

static void all_to(struct world *w, enum tf_mode m)
{
	world_trace(w, "all to %s", mode_name[m]);
	hw_ask_mode(&w->hw, m);
	w->n.switches++;
}

void op_mode(struct world *w, unsigned int cpu)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];

	if (w->conf.mode != W_MIXED)
		return;
	w->what = "mode switch";
	world_trace(w, "cpu %u to %s", cpu, mode_name[c->want == TF_NESTED]);
	hw_set_mode(c, c->want == TF_NESTED ? TF_SHADOW : TF_NESTED);
	w->n.switches++;
}

static void space_is(struct world *w, unsigned int space, enum tf_mode m)
{
	w->space_mode[space].known = true;
	w->space_mode[space].mode = m;
}

static void space_to(struct world *w, unsigned int space, enum tf_mode m)
{
	/* Only the address counts: PCID and flags do not. */
	uint64_t cr3 = w->root[space] ^ (one_in(w, 2) ? below(w, 4096) : 0);

	world_trace(w, "space %u (CR3 %#llx) to %s", space, (unsigned long long)cr3, mode_name[m]);
	tf_space_set_mode(w->vm, cr3, m);
	space_is(w, space, m);
	w->n.switches++;
}

void gen_disturb(struct world *w)
{
	if (!w->conf.churn || w->failed || !one_in(w, w->conf.churn))
		return;
	if (w->conf.spaces && !one_in(w, 6)) {
		unsigned int cpu = (unsigned int)below(w, w->conf.vcpus);
		bool is_idle = one_in(w, 3);
		space_to(w, is_idle ? (unsigned int)below(w, SPACES) : w->space[cpu], some_mode(w));
	} else if (w->conf.mode == W_MIXED) {
		all_to(w, w->conf.spaces && !one_in(w, 4) ? TF_SHADOW : some_mode(w));
	}
}

bool gen_choice(struct world *w)
{
	struct tf_choice_config c = {
		.policy = tf_policy_find(w->conf.policy ? w->conf.policy : "cost"),
		.grain = w->conf.spaces ? TF_GRAIN_SPACE : TF_GRAIN_VM,
		.costs = {.exit = 2000,
			  .miss_nested = 200,
			  .miss_shadow = 60,
			  .fault = 6000,
			  .cr3 = 3000,
			  .invlpg = 2500,
			  .fill = 2500,
			  .ipkc = 1000},
		.dsp = {.period_ms = 20,
			.pf_upper = 5000,
			.pf_lower = 100,
			.tlb_upper = 100000000,
			.tlb_lower = 1000000,
			.ptt_upper = 200,
			.ptt_lower = 150},
		.clock_khz = 1000,
		.seed = w->conf.seed,
	};

	if (!c.policy) {
		world_fail(w, "there is no policy %s", w->conf.policy);
		return false;
	}
	if (!w->conf.no_fail && one_in(w, 2)) {
		/* Without memory nothing has begun. */
		fakehost_fail(&w->host, 1 + below(w, 3), 1);
		enum tf_status s = tf_choice_start(w->vm, &c);
		fakehost_fail(&w->host, 0, 0);
		if (s == TF_OK)
			w->has_choice = true;
		else if (s != TF_E_NOMEM)
			world_fail(w, "tf_choice_start: %s", tf_status_text(s));
	}
	if (!w->has_choice && tf_choice_start(w->vm, &c) != TF_OK)
		world_fail(w, "tf_choice_start failed");
	for (unsigned int i = 0; i < SPACES; i++)
		space_is(w, i, TF_NESTED);
	w->hw.spaces = w->conf.spaces;
	w->has_choice = true;
	return !w->failed;
}

/* Long mode's paging with CR0.WP: else shadow tables are not to be had. */
static bool is_shadowable(const struct tf_regs *r)
{
	const uint64_t on = X_CR0_PG | X_CR0_WP;

	return (r->cr0 & on) == on && (r->efer & X_EFER_LMA);
}

/* The vCPU asks again, and must be given what its address space is to run on. */
static void look_at_mode(struct world *w, unsigned int cpu)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];
	unsigned int space = w->space[cpu];

	hw_leave(c);
	if (!hw_enter(c) || w->hw.broken[0])
		return;
	enum tf_mode given = c->load.mode, asked = c->asked;
	if (!is_shadowable(&c->r) || (asked == TF_NESTED && !w->conf.spaces)) {
		if (given == TF_SHADOW)
			world_fail(w, "CPU %u was given a shadow root where it cannot be", cpu);
	} else if (!w->conf.spaces) {
		if (given == TF_NESTED)
			world_fail(w, "CPU %u in shadow mode was given the nested root", cpu);
	} else if (asked == TF_SHADOW && !w->space_mode[space].known) {
		space_is(w, space, given);
	} else if (given != w->space_mode[space].mode &&
		   (asked == TF_SHADOW || given == TF_SHADOW) && w->space_mode[space].known) {
		world_fail(w, "CPU %u in space %u runs %s, must run %s", cpu, space,
			   mode_name[given], mode_name[w->space_mode[space].mode]);
	}
}

static void vcpu_to(struct world *w, unsigned int cpu, enum tf_mode m)
{
	if (w->conf.spaces)
		space_to(w, w->space[cpu], m);
	if (!w->conf.spaces || m == TF_SHADOW)
		hw_set_mode(&w->hw.cpu[cpu], m);
	else
		hw_leave(&w->hw.cpu[cpu]);
}

static void write_protect(struct world *w, unsigned int cpu, bool on)
{
	uint64_t cr0 = (w->hw.cpu[cpu].r.cr0 & ~X_CR0_WP) | (on ? X_CR0_WP : 0);

	world_trace(w, "cpu %u writes CR0 %#llx", cpu, (unsigned long long)cr0);
	if (hw_write_cr0(&w->hw.cpu[cpu], cr0))
		ref_write_cr0(&w->ref, cpu, cr0);
}

/* Shadow tables know an address and one beside it; then the vCPU is on the nested root for a while,
 * edits what maps it and flushes, of which the engine is not told; and comes back, perhaps into
 * another space, perhaps to the other address first. */
void op_away(struct world *w, unsigned int cpu)
{
	const uint64_t va = one_in(w, 3) ? guest_user_va(w) : guest_kernel_va(w);
	const uint64_t beside = va ^ guest_level_bits(0, 1 + below(w, 7));
	const uint32_t how = va >> 63 ? 0 : TF_USER;
	const unsigned int home = w->space[cpu], other = (unsigned int)below(w, SPACES);
	const bool by_cr0 = one_in(w, 3);

	if (w->conf.mode != W_MIXED)
		return;
	w->what = "away from shadow tables";
	write_protect(w, cpu, true);
	for (unsigned int k = 0; k < 3 && !w->failed; k++) {
		if (k)
			guest_cr3(w, cpu, k == 1 ? other : home, false);
		vcpu_to(w, cpu, TF_SHADOW);
		guest_use(w, cpu, beside, how);
		guest_use(w, cpu, va, how);
	}
	if (by_cr0)
		write_protect(w, cpu, false);
	else
		vcpu_to(w, cpu, TF_NESTED);
	uint64_t at = w->failed ? 0 : guest_make_entry(w, cpu, w->root[home], va, 0);
	if (!at || w->failed)
		return;
	guest_use(w, cpu, va, how);
	uint64_t e = (DATA_GFN + below(w, 64)) << 12 | X_P | X_A | X_W | (how ? X_U : X_G);
	guest_set_entry(w, cpu, at, e);
	if (!w->failed && one_in(w, 3))
		guest_cr3(w, cpu, one_in(w, 2) ? other : home, false);
	if (!w->failed && !one_in(w, 4))
		guest_invlpg(w, cpu, va);
	guest_use(w, cpu, va, how);
	if (w->failed)
		return;
	if (by_cr0)
		write_protect(w, cpu, true);
	else if (!w->conf.spaces || one_in(w, 2))
		vcpu_to(w, cpu, TF_SHADOW);
	else
		guest_cr3(w, cpu, w->space[cpu] == home ? other : home, false);
	if (one_in(w, 2))
		guest_use(w, cpu, beside, how);
	guest_use(w, cpu, va, how);
	if (!w->failed)
		guest_cr3(w, cpu, w->space[cpu] == home ? other : home, false);
	guest_use(w, cpu, va, how);
}

static void sample(struct world *w, unsigned int cpu)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];

	hw_leave(c);
	if (!w->sampling[cpu] || one_in(w, 8)) { /* one that is begun may be dropped */
		w->sampling[cpu] = tf_sample_begin(c->v, &c->r);
		w->sampled[cpu] = w->space[cpu];
		world_trace(w, "cpu %u begins a sample: %d", cpu, w->sampling[cpu]);
		w->n.samples += w->sampling[cpu];
		return;
	}
	world_trace(w, "cpu %u ends its sample", cpu);
	tf_sample_end(c->v, below(w, 100000));
	w->sampling[cpu] = false;
	/* It may have found that another space has come to the CR3. */
	w->space_mode[w->sampled[cpu]].known = false;
}

static uint64_t some_count(struct world *w, uint64_t most)
{
	return one_in(w, 4) ? 0 : below(w, BIT(below(w, most) + 1));
}

static void note(struct world *w, unsigned int cpu)
{
	struct hw_cpu *c = &w->hw.cpu[cpu];
	struct tf_reading r = {
		.cycles = some_count(w, 32),
		.exits = some_count(w, 16),
		.exit_cycles = some_count(w, 30),
		.event_cycles = some_count(w, 32),
		.faults = some_count(w, 16),
		.cr3_writes = some_count(w, 16),
		.invlpgs = some_count(w, 16),
	};
	struct tf_verdict v;

	if (one_in(w, 2)) {
		r.counted_cycles = some_count(w, 32);
		r.tlb_misses = some_count(w, 24);
		r.instructions = some_count(w, 32);
	}
	if (c->want == TF_SHADOW) {
		r.shadow_exits = some_count(w, 16);
		r.shadow_cycles = some_count(w, 30);
	}
	hw_leave(c);
	tf_choice_note(c->v, &c->r, &r, &v);
	w->n.notes++;
	world_trace(w, "cpu %u notes: %s, all %s (%s)", cpu, mode_name[v.unit_mode],
		    mode_name[v.mode], v.why);
	if (!v.why || v.is_space != w->conf.spaces)
		world_fail(w, "a verdict without a reason, or of the wrong grain");
	if (v.is_space && v.space != w->root[w->space[cpu]])
		world_fail(w, "a verdict on space %#llx", (unsigned long long)v.space);
	if (v.is_space && v.mode == TF_NESTED)
		for (unsigned int i = 0; i < SPACES; i++)
			space_is(w, i, TF_NESTED);
	if (v.is_space)
		space_is(w, w->space[cpu], v.unit_mode);
	if (v.is_space && v.switched) { /* its next load is as the last one was */
		(void)hw_enter(c);
		hw_leave(c);
	}
	if ((!v.is_space || v.mode == TF_NESTED) && v.unit_mode != v.mode)
		world_fail(w, "a verdict says two modes");
	for (unsigned int i = 0; i < w->conf.vcpus; i++)
		if (__atomic_load_n(&w->hw.cpu[i].asked, __ATOMIC_RELAXED) != v.mode) {
			all_to(w, v.mode);
			break;
		}
	if (one_in(w, 4))
		tf_choice_switched(c->v, below(w, 100000));
}

void op_choice(struct world *w, unsigned int cpu)
{
	w->what = "choice";
	if (w->conf.sample && one_in(w, 3))
		sample(w, cpu);
	if (w->conf.policy && one_in(w, 4))
		note(w, cpu);
	if (!w->failed && one_in(w, 3))
		look_at_mode(w, cpu);
}
