/* The life of groups: opened, joined, left, taken apart; and which grouping there is.
 *
 * A change of the grouping opens the groups that are missing, says which are wanted, and tells each
 * vCPU where it belongs. The vCPUs move one by one, each at its next load. A group that is not
 * wanted and that the last vCPU has left is taken apart: some of it at each load of a vCPU that was
 * told, under its lock, and until nothing is left it is visited like any other.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "vm.h"

#include "format/fmt_ept.h"
#include "format/fmt_npt.h"
#include "modes/shadow.h"

#include "base/mem.h"

#define REAP_SHADOWS 64u
#define REST_SHADOWS 16u

_Static_assert(sizeof(struct group) <= TF_PAGE_SIZE, "a group lives in one page");
_Static_assert(TF_MAX_VCPUS * sizeof(struct group *) <= TF_PAGE_SIZE, "pointers to all in one");

unsigned int groups_of(const struct tf_config *c, enum tf_grouping grouping)
{
	switch (grouping) {
	case TF_GROUPS_ONE:
		return 1;
	case TF_GROUPS_NODE:
		return c->nodes;
	case TF_GROUPS_VCPU:
		break;
	}
	return c->vcpus;
}

unsigned int group_of_vcpu(const struct tf_vcpu *v, enum tf_grouping grouping)
{
	switch (grouping) {
	case TF_GROUPS_ONE:
		return 0;
	case TF_GROUPS_NODE:
		return v->node;
	case TF_GROUPS_VCPU:
		break;
	}
	return v->index;
}

/* Each group's share of the bound on shadow tables. */
static uint32_t limit_share(const struct tf_vm *vm, unsigned int groups)
{
	uint32_t share = vm->shadow_limit / groups, least = SHADOWS_LEAST + vm->conf.vcpus;
	return share < least ? least : share;
}

/* Is it open and of no use any more? */
static bool is_spent(const struct group *g)
{
	return g->open && !g->wanted && g->users == 0;
}

static void count_leaving(struct tf_vm *vm, const struct group *g, bool was_spent)
{
	if (is_spent(g) && !was_spent)
		__atomic_fetch_add(&vm->leaving, 1, __ATOMIC_RELEASE);
	else if (was_spent && !is_spent(g))
		__atomic_fetch_sub(&vm->leaving, 1, __ATOMIC_RELEASE);
}

/* The struct, which stays for good. */
static struct group *group_new(struct tf_vm *vm, unsigned int id, unsigned int node)
{
	struct group *g = group_at(vm, id);
	hpa_t a;
	if (g)
		return g;
	g = page_new(vm->h, node, &a);
	if (!g)
		return NULL;
	lock_init(&g->lock, RANK_GROUP);
	g->id = id;
	g->self = a;
	__atomic_store_n(&vm->group[id], g, __ATOMIC_RELEASE);
	return g;
}

/* Nobody walks them any more. */
static void group_free_nested(struct op *op, struct group *g)
{
	table_destroy(op, &g->nested);
	op_flush(op);
	pool_drain(&g->pool);
}

static const struct fmt *const nested_formats[] = {
	[TF_NPT] = &fmt_npt,
	[TF_EPT] = &fmt_ept,
	[TF_EPT_NO_AD] = &fmt_ept_no_ad,
};

static enum tf_status group_make_tables(struct op *op, struct tf_vm *vm, struct group *g,
					unsigned int node)
{
	const struct fmt *f = nested_formats[vm->conf.nested];
	pool_init(&g->pool, vm->h, node);
	enum tf_status s = table_init(op, &g->nested, f, vm->h, &g->pool);
	if (s != TF_OK)
		return s;
	g->nested.grows = vm->conf.install == TF_INSTALL_CAS;
	s = shadow_cache_init(g, vm->h, vm->shadow_limit);
	if (s != TF_OK)
		group_free_nested(op, g);
	return s;
}

enum tf_status group_open(struct op *op, struct tf_vm *vm, unsigned int id, unsigned int node)
{
	struct group *g = group_new(vm, id, node);
	enum tf_status s = TF_OK;
	if (!g)
		return TF_E_NOMEM;
	group_lock(op, g);
	bool was = is_spent(g);
	if (!g->open)
		s = group_make_tables(op, vm, g, node);
	if (s == TF_OK) {
		g->open = true;
		g->wanted = true; /* or it might be taken apart before anybody comes */
		g->gone_below = 0;
		g->pool.node = node;
		count_leaving(vm, g, was);
	}
	group_unlock(op, g);
	return s;
}

static void group_want(struct op *op, struct tf_vm *vm, unsigned int id, bool wanted,
		       uint32_t limit)
{
	struct group *g = group_at(vm, id);
	if (!g)
		return;
	group_lock(op, g);
	bool was = is_spent(g);
	g->wanted = wanted;
	if (wanted && g->open) {
		g->shadows.limit = limit;
		g->gone_below = 0;
	}
	count_leaving(vm, g, was);
	group_unlock(op, g);
}

void groups_want(struct op *op, struct tf_vm *vm, enum tf_grouping grouping)
{
	struct tf_cpuset ids = {{0}};
	unsigned int n = 0;
	for (unsigned int i = 0; i < vm->conf.vcpus; i++) {
		unsigned int id = vm->vcpu[i] ? group_of_vcpu(vm->vcpu[i], grouping) : 0;
		if (!vm->vcpu[i] || cpuset_has(&ids, id))
			continue;
		cpuset_add(&ids, id);
		n++;
	}
	for (unsigned int id = 0; id < vm->groups_max; id++)
		group_want(op, vm, id, cpuset_has(&ids, id), limit_share(vm, n));
}

/* ---- moving ---- */

/* Group's lock held. */
static void count_mode(struct tf_vcpu *v, struct group *g, bool shadow)
{
	if (v->counted == shadow)
		return;
	v->counted = shadow;
	g->shadow_users += shadow ? 1u : -1u;
	g->resting = g->shadow_users == 0;
	g->shadows.rested = 0;
	if (g->resting)
		__atomic_store_n(&v->chores, true, __ATOMIC_RELAXED);
}

void group_count_mode(struct op *op, struct tf_vcpu *v, bool shadow)
{
	if (v->counted == shadow)
		return;
	group_lock(op, v->group);
	count_mode(v, v->group, shadow);
	group_unlock(op, v->group);
}

static void leave(struct op *op, struct tf_vcpu *v)
{
	struct group *g = v->group;
	struct tf_cpuset self = {{0}};
	cpuset_add(&self, v->index);
	group_lock(op, g);
	bool was = is_spent(g);
	if (v->running)
		v->running->leave(v);
	v->running = NULL;
	count_mode(v, g, false);
	g->users--;
	g->vcpus.w[v->index / 64] &= ~(UINT64_C(1) << (v->index % 64));
	count_leaving(v->vm, g, was);
	group_unlock(op, g);
	v->group = NULL;
	v->flush = TF_FLUSH_ALL;
	/* Nobody flushes it for this group's sake any more. */
	op_owe(op, &self, TF_FLUSH_ALL);
	op_flush(op);
}

void group_join(struct op *op, struct tf_vcpu *v)
{
	struct tf_vm *vm = v->vm;
	if (v->group) {
		leave(op, v);
		count_add(&v->n.regroups, 1);
	}
	for (;;) {
		/* A group that closed before we came is not wanted any more: look again. */
		struct group *g = group_at(vm, __atomic_load_n(&v->wanted, __ATOMIC_ACQUIRE));
		group_lock(op, g);
		bool open = g->open, was = is_spent(g);
		if (open) {
			g->users++;
			g->gone_below = 0; /* from now on its table fills again */
			cpuset_add(&g->vcpus, v->index);
			v->group = g;
			v->joined = g->id;
			count_leaving(vm, g, was);
		}
		group_unlock(op, g);
		if (open)
			return;
	}
}

/* ---- taking apart ---- */

static void reap_some(struct op *op, struct tf_vm *vm, struct group *g)
{
	if (!shadow_cache_empty(op, vm, g, REAP_SHADOWS) || !nested_reap(op, vm, g))
		return;
	shadow_cache_destroy(vm, g);
	group_free_nested(op, g);
	g->open = false;
	g->gone_below = 0;
	__atomic_fetch_sub(&vm->leaving, 1, __ATOMIC_RELEASE);
}

static void groups_reap(struct op *op, struct tf_vm *vm)
{
	for (unsigned int id = 0; id < vm->groups_max; id++) {
		struct group *g = group_at(vm, id);
		if (!g)
			continue;
		group_lock(op, g);
		bool spent = is_spent(g);
		if (spent)
			reap_some(op, vm, g);
		group_unlock(op, g);
		if (spent)
			return;
	}
}

void group_chores(struct op *op, struct tf_vcpu *v)
{
	struct tf_vm *vm = v->vm;
	struct group *g = v->group;
	bool more = false;
	if (!__atomic_exchange_n(&v->chores, false, __ATOMIC_ACQ_REL))
		return;
	group_lock(op, g);
	if (g->resting) {
		g->resting = !shadow_rest(op, vm, g, REST_SHADOWS);
		more = g->resting;
	}
	group_unlock(op, g);
	if (__atomic_load_n(&vm->leaving, __ATOMIC_ACQUIRE)) {
		groups_reap(op, vm);
		more = true;
	}
	if (more)
		__atomic_store_n(&v->chores, true, __ATOMIC_RELAXED);
}

void groups_destroy(struct op *op, struct tf_vm *vm)
{
	for (unsigned int id = 0; id < vm->groups_max; id++) {
		struct group *g = group_at(vm, id);
		if (!g)
			continue;
		group_lock(op, g);
		if (g->open) {
			(void)shadow_cache_empty(op, vm, g, ~0u);
			op_flush(op);
			shadow_cache_destroy(vm, g);
			group_free_nested(op, g);
		}
		group_unlock(op, g);
		op_flush(op);
		vm->h->page_free(vm->h, TF_ORDER_4K, g->self);
	}
}

/* ---- the facade ---- */

enum tf_status tf_regroup(struct tf_vm *vm, enum tf_grouping grouping)
{
	struct op op;
	enum tf_status s = TF_OK;
	if (!vm->conf.regroup || grouping > TF_GROUPS_VCPU)
		return TF_E_INVAL;
	vm_op_begin(&op, vm);
	lock_take(&op, &vm->map.lock);
	for (unsigned int i = 0; i < vm->conf.vcpus && s == TF_OK; i++) {
		struct tf_vcpu *v = vm->vcpu[i];
		if (v)
			s = group_open(&op, vm, group_of_vcpu(v, grouping), v->node);
	}
	/* Without memory: what was opened is not wanted after all. */
	groups_want(&op, vm, s == TF_OK ? grouping : vm->grouping);
	if (s == TF_OK)
		__atomic_store_n(&vm->grouping, grouping, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < vm->conf.vcpus; i++) {
		struct tf_vcpu *v = vm->vcpu[i];
		if (!v)
			continue;
		if (s == TF_OK)
			__atomic_store_n(&v->wanted, group_of_vcpu(v, grouping), __ATOMIC_RELEASE);
		__atomic_store_n(&v->chores, true, __ATOMIC_RELEASE);
		vm->h->kick(vm->h, i);
	}
	lock_drop(&op, &vm->map.lock);
	vm_op_end(&op, vm);
	return s;
}

enum tf_grouping tf_grouping(const struct tf_vm *vm)
{
	return __atomic_load_n(&vm->grouping, __ATOMIC_RELAXED);
}

bool tf_group_vcpus(struct tf_vm *vm, unsigned int group, struct tf_cpuset *out)
{
	struct group *g = group_find(vm, group);
	struct op op;
	if (!g)
		return false;
	vm_op_begin(&op, vm);
	group_lock(&op, g);
	*out = g->vcpus;
	group_unlock(&op, g);
	vm_op_end(&op, vm);
	return true;
}

unsigned int tf_groups_max(const struct tf_vm *vm)
{
	return vm->groups_max;
}

unsigned int tf_groups(const struct tf_vm *vm)
{
	unsigned int n = 0;
	for (unsigned int id = 0; id < vm->groups_max; id++) {
		const struct group *g = group_at(vm, id);
		n += g && __atomic_load_n(&g->open, __ATOMIC_RELAXED) &&
		     __atomic_load_n(&g->wanted, __ATOMIC_RELAXED);
	}
	return n;
}
