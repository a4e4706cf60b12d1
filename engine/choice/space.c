/* The address spaces that a mode is chosen for, by CR3.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice/choice.h"

#include "base/mem.h"
#include "modes/shadow.h"

#define NEW_IS_STILL_MS 4u

static uint64_t key_of(uint64_t cr3)
{
	return (cr3 & UINT64_C(0x000ffffffffff000)) / TF_PAGE_SIZE + 1;
}

static uint64_t met_by(const struct tf_vcpu *v)
{
	return UINT64_C(1) << (v->index % 64);
}

static struct unit *bucket(struct choice *c, uint64_t key)
{
	return c->space[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 60 & (SPACE_BUCKETS - 1)];
}

struct unit *space_find(struct choice *c, uint64_t cr3)
{
	const uint64_t key = key_of(cr3);
	struct unit *u = bucket(c, key);
	for (unsigned int i = 0; i < SPACE_BUCKET; i++)
		if (u[i].key == key)
			return &u[i];
	return NULL;
}

void space_set_mode(struct choice *c, struct unit *u, enum tf_mode m)
{
	if (u->mode == m)
		return;
	u->mode = m;
	u->met = 0;
	__atomic_fetch_add(&c->shadow_units, m == TF_SHADOW ? 1u : -1u, __ATOMIC_RELAXED);
	__atomic_fetch_add(&c->generation, 1, __ATOMIC_RELEASE);
}

void space_forget(struct choice *c, struct unit *u)
{
	const uint64_t key = u->key, seen = u->seen;
	space_set_mode(c, u, TF_NESTED);
	memset(u, 0, sizeof(*u));
	u->key = key;
	u->seen = seen;
	u->met = ~UINT64_C(0);
}

struct unit *space_get(struct choice *c, uint64_t cr3, uint64_t now)
{
	struct unit *u = space_find(c, cr3);
	if (!u) {
		struct unit *all = bucket(c, key_of(cr3));
		u = all;
		for (unsigned int i = 1; i < SPACE_BUCKET && u->key; i++)
			if (!all[i].key || all[i].seen < u->seen)
				u = &all[i];
		space_forget(c, u);
		u->key = key_of(cr3);
		/* What is new counts as still: most spaces are gone before a choice would pay. */
		u->rates.miss_cycles = (NEW_IS_STILL_MS * c->conf.clock_khz) << 8;
	}
	u->seen = now;
	return u;
}

bool tf_space_is_shadow(struct tf_vcpu *v, uint64_t cr3)
{
	struct choice *c = v->vm->choice;
	struct chooser *own = &v->chooser;
	if (!c || c->conf.grain != TF_GRAIN_SPACE)
		return false;
	const uint64_t key = key_of(cr3);
	uint32_t now = __atomic_load_n(&c->generation, __ATOMIC_ACQUIRE);
	if (own->key == key && (own->generation == now || own->stays))
		return own->shadow;
	struct op op;
	vm_op_begin(&op, v->vm);
	lock_take(&op, &c->lock);
	const struct unit *u = space_find(c, cr3);
	own->shadow = u && u->mode == TF_SHADOW;
	own->fresh = u && !(u->met & met_by(v));
	own->generation = __atomic_load_n(&c->generation, __ATOMIC_RELAXED);
	own->key = key;
	lock_drop(&op, &c->lock);
	vm_op_end(&op, v->vm);
	return own->shadow;
}

bool space_wants_shadow(struct tf_vcpu *v)
{
	const struct choice *c = v->vm->choice;
	return !c || c->conf.grain != TF_GRAIN_SPACE || tf_space_is_shadow(v, v->cpu.r.cr3);
}

bool space_meet(struct tf_vcpu *v)
{
	struct choice *c = v->vm->choice;
	struct op op;
	if (!v->chooser.fresh)
		return false;
	v->chooser.fresh = false;
	vm_op_begin(&op, v->vm);
	lock_take(&op, &c->lock);
	struct unit *u = space_find(c, v->cpu.r.cr3);
	if (u)
		u->met |= met_by(v);
	lock_drop(&op, &c->lock);
	vm_op_end(&op, v->vm);
	return true;
}

void space_note_load(struct tf_vcpu *v, bool shadow)
{
	if (shadow)
		v->chooser.refused = 0;
	else if (!shadow_is_possible(&v->cpu.r) && tf_space_is_shadow(v, v->cpu.r.cr3))
		v->chooser.refused = key_of(v->cpu.r.cr3);
}

bool space_has_gate(struct tf_vcpu *v, gfn_t root)
{
	/* It came by here, and got a nested root all the same. */
	const uint64_t at = root.v << TF_PAGE_SHIFT;
	return v->chooser.refused != key_of(at) && tf_space_is_shadow(v, at);
}

bool spaces_any_shadow(const struct tf_vm *vm)
{
	const struct choice *c = vm->choice;
	return c && __atomic_load_n(&c->shadow_units, __ATOMIC_RELAXED);
}

void tf_space_set_mode(struct tf_vm *vm, uint64_t cr3, enum tf_mode m)
{
	struct choice *c = vm->choice;
	struct op op;
	TF_ASSERT(vm->h, c && c->conf.grain == TF_GRAIN_SPACE);
	vm_op_begin(&op, vm);
	lock_take(&op, &c->lock);
	space_set_mode(c, space_get(c, cr3, vm->h->cycles(vm->h)), m);
	lock_drop(&op, &c->lock);
	vm_op_end(&op, vm);
}
