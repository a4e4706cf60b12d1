/* What a vCPU keeps of other PCIDs' translations: CR3 writes with bit 63 (SDM vol. 3, 4.10.4.1).
 *
 * Such a write flushes nothing of the PCID that it loads. So what the tree under its root holds
 * need not be re-read, as long as it is what it was when the vCPU left it: then that PCID could
 * have had each of its translations. What has come in since, by whatever fault or re-read under
 * another root that shares tables with it, the PCID could not have loaded, for it was not in CR3
 * (4.10.1); the guest may have changed it again meanwhile, and owes that PCID no flush. So the
 * group notes which entries were made, and who comes back reads these again; if they are too
 * many, all.
 *
 *	changes:   ... | s17 [32, 48) | s4 [7, 8) | s17 [0, 16) | <- made
 *	                 ^ since: PCID 1 was left here, is up to date until here
 *
 * A flush of a PCID that is not loaded takes its entry in `kept` away, and the vCPU's next load of
 * it re-reads. One of an address waits for that load, for what the guest changes until then is not
 * to be seen either. That of a global is done under all roots at once.
 *
 * `kept` is the vCPU's own. The changes are under the group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/mode.h"
#include "modes/shadow.h"

void shadow_note_change(struct group *g, const struct shadow *s, unsigned int i)
{
	struct shadow_cache *c = &g->shadows;
	struct shadow_change *last = &c->changes[(c->changed - 1) % SHADOW_CHANGES];
	if (s->role.direct) /* it has no entries of the guest's that could be old */
		return;
	__atomic_store_n(&c->noted, c->noted + 1, __ATOMIC_RELAXED);
	if (!c->change_open || last->id != s->id) {
		c->change_open = true;
		c->changes[c->changed % SHADOW_CHANGES] = (struct shadow_change){
			.id = s->id, .from = (uint16_t)i, .to = (uint16_t)(i + 1)};
		__atomic_store_n(&c->changed, c->changed + 1, __ATOMIC_RELEASE);
		return;
	}
	if (i < last->from)
		last->from = (uint16_t)i;
	if (i >= last->to)
		last->to = (uint16_t)(i + 1);
}

uint16_t kept_pcid(const struct tf_vcpu *v)
{
	const uint64_t cr4_pcide = UINT64_C(1) << 17;
	return v->cpu.r.cr4 & cr4_pcide ? v->cpu.r.cr3 & 0xfff : 0;
}

static struct kept *find(struct tf_vcpu *v, uint16_t pcid)
{
	for (unsigned int i = 0; i < KEPT_PCIDS; i++)
		if (v->kept[i].valid && v->kept[i].pcid == pcid)
			return &v->kept[i];
	return NULL;
}

void kept_forget(struct tf_vcpu *v)
{
	for (unsigned int i = 0; i < KEPT_PCIDS; i++)
		v->kept[i].valid = false;
	v->kept_now = NULL;
	v->kept_leaving = v->keep = false;
}

void kept_forget_pcid(struct tf_vcpu *v, uint16_t pcid)
{
	struct kept *k = find(v, pcid);
	if (k)
		k->valid = false;
	if (pcid == kept_pcid(v))
		v->keep = false;
}

bool kept_has_current(struct tf_vcpu *v)
{
	const struct kept *k = find(v, kept_pcid(v));
	return k && k->root.v == shadow_root_frame(&v->cpu.r).v;
}

void kept_leave(struct tf_vcpu *v)
{
	const struct shadow_cache *c = &group_of(v)->shadows;
	struct kept *k = v->kept_now;
	if (!k || v->kept_leaving)
		return;
	v->kept_leaving = true;
	/* The last change may still grow. */
	k->since = __atomic_load_n(&c->changed, __ATOMIC_ACQUIRE);
	k->since -= k->since > 0;
	v->kept_noted = __atomic_load_n(&c->noted, __ATOMIC_RELAXED);
}

void kept_left(struct tf_vcpu *v)
{
	struct shadow_cache *c = &group_of(v)->shadows;
	kept_leave(v);
	if (v->kept_now && v->kept_noted == c->noted) {
		/* Nothing happened meanwhile; what comes now shall be a change of its own. */
		v->kept_now->since = c->changed;
		c->change_open = false;
	}
	v->kept_leaving = false;
	v->kept_now = NULL;
}

/* The place of a PCID that is kept, or one for it. */
static struct kept *place(struct tf_vcpu *v, uint16_t pcid)
{
	struct kept *k = find(v, pcid);
	for (unsigned int i = 0; i < KEPT_PCIDS && !k; i++)
		if (!v->kept[i].valid)
			k = &v->kept[i];
	return k ? k : &v->kept[v->kept_next++ % KEPT_PCIDS];
}

void kept_enter(struct tf_vcpu *v)
{
	struct kept *k = place(v, kept_pcid(v));
	*k = (struct kept){
		.root = shadow_root_frame(&v->cpu.r), .pcid = kept_pcid(v), .valid = true};
	v->kept_now = k;
}

/* Read again what a change was about, and what hangs below it. */
static void reread(struct tf_vm *vm, struct group *g, const struct shadow_change *n)
{
	struct shadow *s = shadow_of(&g->shadows, n->id);
	if (!s->live || s->role.direct) /* it went; its struct may be another's */
		return;
	if (!s->tracked)
		shadow_reread_some(vm, g, s, n->from, n->to);
	for (unsigned int i = n->from; s->role.level > 0 && i < n->to; i++)
		if (bit_get(s->present, i) && !spte_is_closed(s, i) &&
		    spte_is_table(s, entry_read(&s->spt[i])))
			shadow_freshen(vm, g, shadow_child(vm, g, s, i));
}

bool kept_refresh(struct tf_vcpu *v)
{
	struct group *g = group_of(v);
	const struct shadow_cache *c = &g->shadows;
	const struct kept *k = find(v, kept_pcid(v));
	struct shadow_change todo[SHADOW_CHANGES];
	uint64_t n = c->changed - k->since;
	if (n > SHADOW_CHANGES)
		return false;
	for (uint64_t i = 0; i < n; i++) /* a re-read makes changes, too */
		todo[i] = c->changes[(k->since + i) % SHADOW_CHANGES];
	for (uint64_t i = 0; i < n; i++)
		reread(v->vm, g, &todo[i]);
	for (unsigned int i = 0; i < k->addresses; i++)
		shadow_drop_stale(v->vm, g, v->root, k->address[i]);
	return true;
}

void kept_forget_address(struct tf_vcpu *v, uint16_t pcid, gva_t at)
{
	struct kept *k = find(v, pcid);
	if (k && k->addresses < KEPT_ADDRESSES)
		k->address[k->addresses++] = at;
	else
		kept_forget_pcid(v, pcid);
}

/* Drop what is not the guest's any more for an address, under the root of what is kept. */
static void drop_stale(struct tf_vcpu *v, const struct kept *k, gva_t at)
{
	struct group *g = group_of(v);
	struct shadow *s = shadow_find(v->vm, g, k->root, shadow_root_role(&v->cpu.r));
	if (s)
		shadow_drop_stale(v->vm, g, s, at);
}

void kept_flush_global(struct tf_vcpu *v, gva_t at)
{
	const uint64_t cr4_pge = UINT64_C(1) << 7;
	for (unsigned int i = 0; i < KEPT_PCIDS && (v->cpu.r.cr4 & cr4_pge); i++)
		if (v->kept[i].valid && &v->kept[i] != v->kept_now)
			drop_stale(v, &v->kept[i], at);
}
