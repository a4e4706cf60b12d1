/* The facade's vCPU calls: registers, what to load, faults, flushes, walks.
 *
 * A vCPU's own members belong to the CPU that runs it, except `wanted` (tf_regroup sets it), and
 * `root` and `resync`, which belong to the group's lock once it has run in shadow mode (reclaim may
 * take its root away; the host's flush makes it come back through tf_vcpu_load).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice/choice.h"
#include "modes/shadow.h"
#include "vm.h"

#include "base/mem.h"

#define CR0_WP_PG ((UINT64_C(1) << 16) | (UINT64_C(1) << 31))
#define CR4_PAGING                                                                                 \
	((UINT64_C(1) << 4) | (UINT64_C(1) << 5) | (UINT64_C(1) << 7) | (UINT64_C(1) << 12) |      \
	 (UINT64_C(1) << 17) | (UINT64_C(1) << 20) | (UINT64_C(1) << 21) | (UINT64_C(1) << 22))
#define EFER_PAGING ((UINT64_C(1) << 8) | (UINT64_C(1) << 10) | (UINT64_C(1) << 11))

_Static_assert(sizeof(struct tf_vcpu) <= TF_PAGE_SIZE, "a vCPU lives in one page");

enum tf_status tf_vcpu_create(struct tf_vm *vm, unsigned int index, unsigned int node,
			      struct tf_vcpu **out)
{
	if (index >= vm->conf.vcpus || node >= vm->conf.nodes)
		return TF_E_INVAL;
	hpa_t a;
	struct op op;
	struct tf_vcpu *v = page_new(vm->h, node, &a);
	if (!v)
		return TF_E_NOMEM;
	v->vm = vm;
	v->index = index;
	v->node = node;
	v->mode = vm->conf.mode;
	v->cpu.maxphyaddr = vm->conf.maxphyaddr;
	v->flush = TF_FLUSH_ALL;
	v->resync = v->resync_global = true;
	v->self = a;
	vm_op_begin(&op, vm);
	lock_take(&op, &vm->map.lock);
	enum tf_status s = vm->vcpu[index] ? TF_E_EXISTS : TF_OK;
	v->wanted = group_of_vcpu(v, vm->grouping);
	if (s == TF_OK)
		s = group_open(&op, vm, v->wanted, node);
	if (s == TF_OK) {
		cpuset_add(&vm->vcpus, index);
		__atomic_store_n(&vm->vcpu[index], v, __ATOMIC_RELEASE);
		groups_want(&op, vm, vm->grouping);
		group_join(&op, v);
		*out = v;
	}
	lock_drop(&op, &vm->map.lock);
	vm_op_end(&op, vm);
	if (s != TF_OK)
		vm->h->page_free(vm->h, TF_ORDER_4K, a);
	return s;
}

void tf_vcpu_set_mode(struct tf_vcpu *v, enum tf_mode m)
{
	__atomic_store_n(&v->mode, m, __ATOMIC_RELAXED);
}

/* The root is found again at the next load, with no old translations in the CPU. */
static void root_at_load(struct tf_vcpu *v)
{
	v->flush |= TF_FLUSH_LINEAR;
	psc_clear(v);
	__atomic_store_n(&v->resync, true, __ATOMIC_RELEASE);
}

/* Everything that the vCPU could have cached for the current PCID goes then, too. */
static void flush_at_load(struct tf_vcpu *v, bool global)
{
	kept_forget_pcid(v, kept_pcid(v));
	root_at_load(v);
	if (global)
		v->resync_global = true;
}

/* For all PCIDs. */
static void flush_all_at_load(struct tf_vcpu *v, bool global)
{
	kept_forget(v);
	flush_at_load(v, global);
}

static bool has_globals(const struct tf_vcpu *v)
{
	const uint64_t cr4_pge = UINT64_C(1) << 7;
	return v->cpu.r.cr4 & cr4_pge;
}

void tf_vcpu_set_regs(struct tf_vcpu *v, const struct tf_regs *r)
{
	v->cpu.r = *r;
	flush_all_at_load(v, true);
}

const struct tf_regs *tf_vcpu_regs(const struct tf_vcpu *v)
{
	return &v->cpu.r;
}

/* Is it in the right group and mode, and nothing to be re-read? */
static bool is_loaded(const struct tf_vcpu *v, const struct mmu_mode *m)
{
	return !__atomic_load_n(&v->resync, __ATOMIC_ACQUIRE) && v->running == m &&
	       !__atomic_load_n(&v->chores, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&v->wanted, __ATOMIC_RELAXED) == v->joined;
}

/* Leave the mode that it ran in for another one. `met`: its address space's mode is no news. */
static void change_mode(struct op *op, struct tf_vcpu *v, const struct mmu_mode *m, bool met)
{
	group_lock(op, v->group);
	if (v->running)
		v->running->leave(v);
	/* Who comes and goes with its address space reads all that is unsync each time: so it is
	 * trusted soon, and coming back costs next to nothing. */
	if (spaces_any_shadow(v->vm) && met)
		v->arrived = false;
	v->running = m;
	v->flush |= TF_FLUSH_LINEAR;
	group_unlock(op, v->group);
}

/* CR3 names no memory: run on a root of zeroes. */
static void load_empty(struct op *op, struct tf_vcpu *v, hpa_t *root)
{
	group_lock(op, v->group);
	v->running->leave(v);
	__atomic_store_n(&v->resync, false, __ATOMIC_RELAXED);
	v->flush |= TF_FLUSH_LINEAR;
	group_unlock(op, v->group);
	*root = v->vm->empty;
}

/* See to the gates of what it leaves and of what it comes to; not while it is stopped for its mode.
 */
static void see_to_gates(struct op *op, struct tf_vcpu *v, const struct mmu_mode *m, bool stopped)
{
	struct tf_vm *vm = v->vm;
	const gfn_t root = shadow_root_frame(&v->cpu.r);
	if (v->gate.v && !stopped) {
		gate_close(op, vm, v->gate);
		v->gate = gfn(0);
	}
	if (m != &mode_shadow || !spaces_any_shadow(vm))
		return;
	if (!stopped) {
		gate_close(op, vm, root);
		return;
	}
	v->gate = root;
	__atomic_store_n(&v->chores, true, __ATOMIC_RELAXED);
}

static enum tf_status load(struct tf_vcpu *v, const struct mmu_mode *m, struct tf_load *out)
{
	struct tf_vm *vm = v->vm;
	hpa_t *root = &v->root_page;
	struct op op;
	enum tf_status s;
	out->switched = v->running != m && space_meet(v);
	vm_op_begin(&op, vm);
	if (__atomic_load_n(&v->wanted, __ATOMIC_ACQUIRE) != v->joined)
		group_join(&op, v);
	v->left = shadow_epoch(v->group);
	group_count_mode(&op, v,
			 __atomic_load_n(&v->mode, __ATOMIC_RELAXED) == TF_SHADOW ||
				 spaces_any_shadow(vm));
	if (v->running != m)
		change_mode(&op, v, m, !out->switched);
	else
		group_chores(&op, v); /* not while it is stopped for its mode */
	for (;;) {
		s = m->load(&op, v, root);
		if (s != TF_E_NOENT)
			break;
		s = vm_back(&op, vm, v, shadow_root_frame(&v->cpu.r));
		if (s == TF_OK)
			continue;
		if (s == TF_E_NOENT) {
			load_empty(&op, v, root);
			s = TF_OK;
		}
		break;
	}
	if (s == TF_OK)
		see_to_gates(&op, v, m, out->switched);
	if (__atomic_load_n(&v->mode, __ATOMIC_RELAXED) == TF_SHADOW && spaces_any_shadow(vm))
		space_note_load(v, m == &mode_shadow);
	vm_op_end(&op, vm);
	return s;
}

__attribute__((hot)) enum tf_status tf_vcpu_load(struct tf_vcpu *v, struct tf_load *out)
{
	bool shadow = __atomic_load_n(&v->mode, __ATOMIC_RELAXED) == TF_SHADOW &&
		      shadow_is_possible(&v->cpu.r) && space_wants_shadow(v);
	const struct mmu_mode *m = shadow ? &mode_shadow : &mode_nested;
	out->switched = false;
	v->chooser.stays = false;
	/* Most often there is nothing to do but to hand out the root again, without the lock. */
	if (!is_loaded(v, m)) {
		enum tf_status s = load(v, m, out);
		if (s != TF_OK)
			return s;
	}
	out->mode = m->mode;
	out->root = v->root_page;
	out->flush = v->flush;
	v->flush = 0;
	return TF_OK;
}

/* A control register that paging depends on by these bits alone. */
static void write_control(struct tf_vcpu *v, uint64_t *reg, uint64_t val, uint64_t bits)
{
	uint64_t changed = *reg ^ val;
	*reg = val;
	if (changed & bits) {
		count_add(&v->n.full_flushes, 1);
		flush_all_at_load(v, true);
	}
}

void tf_write_cr0(struct tf_vcpu *v, uint64_t val)
{
	write_control(v, &v->cpu.r.cr0, val, CR0_WP_PG);
}

void tf_write_cr4(struct tf_vcpu *v, uint64_t val)
{
	write_control(v, &v->cpu.r.cr4, val, CR4_PAGING);
}

void tf_write_efer(struct tf_vcpu *v, uint64_t val)
{
	write_control(v, &v->cpu.r.efer, val, EFER_PAGING);
}

void tf_write_cr3(struct tf_vcpu *v, uint64_t val)
{
	const uint64_t cr4_pcide = UINT64_C(1) << 17, cr3_keep = UINT64_C(1) << 63;
	bool keep = (v->cpu.r.cr4 & cr4_pcide) && (val & cr3_keep);
	kept_leave(v);
	v->cpu.r.cr3 = keep ? val & ~cr3_keep : val;
	count_add(&v->n.cr3_writes, 1);
	v->keep = keep && kept_has_current(v);
	if (v->keep)
		root_at_load(v);
	else
		flush_at_load(v, !has_globals(v));
}

void tf_write_pkru(struct tf_vcpu *v, uint32_t val)
{
	v->cpu.r.pkru = val;
}

void tf_invlpg(struct tf_vcpu *v, gva_t at)
{
	/* CR3's root is not the loaded one yet: let the load see to its address. */
	if (v->keep)
		kept_forget_pcid(v, kept_pcid(v));
	shadow_flush_address(v, at);
}

void tf_invpcid(struct tf_vcpu *v, unsigned int type, uint16_t pcid, gva_t at)
{
	uint16_t current = kept_pcid(v);
	count_add(&v->n.invpcids, 1);
	if (type == 0 && pcid == current)
		tf_invlpg(v, at);
	else if (type == 0)
		kept_forget_address(v, pcid, at);
	else if (type == 1 && pcid == current)
		flush_at_load(v, !has_globals(v));
	else if (type == 1)
		kept_forget_pcid(v, pcid);
	else
		flush_all_at_load(v, type == 2 || !has_globals(v));
}

__attribute__((hot)) void tf_shadow_fault(struct tf_vcpu *v, const struct tf_access *a,
					  struct tf_outcome *out)
{
	shadow_fault(v, a, out);
}

void tf_nested_fault(struct tf_vcpu *v, gpa_t at, uint32_t flags, struct tf_outcome *out)
{
	nested_fault(v, at, flags, out);
	if (out->end == TF_GATE && !space_has_gate(v, gpa_to_gfn(at)))
		nested_fault(v, at, flags & ~(uint32_t)TF_WALK, out);
}

enum tf_status tf_walk(struct tf_vcpu *v, const struct tf_access *a, bool set_ad,
		       struct tf_translation *tr, struct tf_outcome *out)
{
	struct group *g = v->group;
	struct group_mem gm;
	struct walk w;
	struct op op;
	group_mem_init(&gm, v->vm);
	vm_op_begin(&op, v->vm);
	group_lock(&op, g);
	bool ok = walk_gva(&gm.m, &v->cpu, a, set_ad, &w);
	group_unlock(&op, g);
	vm_op_end(&op, v->vm);
	if (!ok) {
		*out = (struct tf_outcome){.end = TF_INJECT, .pfec = w.pfec, .cr2 = a->at};
		return TF_E_FAULT;
	}
	*tr = (struct tf_translation){
		.gpa = w.gpa,
		.page_size = (uint64_t)TF_PAGE_SIZE << (9 * w.leaf),
		.writable = w.writable,
		.user = w.user,
		.nx = w.nx,
		.global = w.global,
		.dirty = w.dirty,
		.pkey = w.pkey,
	};
	if (w.levels == 2 && w.leaf == 1)
		tr->page_size = UINT64_C(1) << 22;
	return TF_OK;
}
