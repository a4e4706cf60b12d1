/* Faults answered by a software paging-structure cache.
 *
 * Most faults come in runs within 2 MiB: a process touches a new page, the guest's handler maps it,
 * the process touches it again. The upper levels need not be walked for each: a CPU keeps them in
 * its paging-structure caches until a flush, and so may we. Where a cached table refuses an access
 * that the guest's tables now allow, one fault too many is permitted (SDM vol. 3, 4.10.4.3), a
 * second is not: the same answer for the same page is given once, then the walk is done in full.
 *
 * What is not simple is left to the walk: A or D to set, tracked and logged frames, frames that are
 * not backed. Group's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "modes/shadow.h"

static struct psc *slot(struct tf_vcpu *v, gva_t at)
{
	return &v->psc[at.v >> 21 & (PSC_ENTRIES - 1)];
}

static uint64_t tag(gva_t at)
{
	return (at.v >> 21) + 1;
}

void psc_put(struct tf_vcpu *v, const struct walk *w, gva_t at, struct shadow *s)
{
	*slot(v, at) = (struct psc){
		.tag = tag(at),
		.s = s,
		.drops = group_of(v)->n.shadows_zapped,
		.upper = walk_upper_of(w),
	};
}

void psc_drop(struct tf_vcpu *v, gva_t at)
{
	slot(v, at)->tag = 0;
}

void psc_clear(struct tf_vcpu *v)
{
	for (unsigned int i = 0; i < PSC_ENTRIES; i++)
		v->psc[i].tag = 0;
	v->last_page = ~UINT64_C(0);
}

/* Do the guest's upper entries still lead there, with A as a walk left it? */
static bool is_current(struct tf_vcpu *v, const struct shadow *s, gva_t at)
{
	struct shadow *t = v->root;
	while (t != s) {
		unsigned int i = gva_index(at, t->role.level);
		if (!bit_get(t->present, i) || entry_read(&t->guest[i]) != t->snap[i] ||
		    !spte_is_table(t, entry_read(&t->spt[i])))
			return false;
		t = shadow_child(v->vm, group_of(v), t, i);
		if (t->role.direct)
			return false;
	}
	return true;
}

__attribute__((hot)) enum psc_answer psc_fault(struct tf_vcpu *v, const struct tf_access *a,
					       struct walk *w)
{
	struct tf_vm *vm = v->vm;
	struct group *g = group_of(v);
	struct psc *p = slot(v, a->at);
	if (p->tag != tag(a->at) || p->drops != g->n.shadows_zapped || !v->root)
		return PSC_NONE;
	struct shadow *s = p->s;
	if (p->refused && !is_current(v, s, a->at)) {
		p->tag = 0;
		return PSC_NONE;
	}
	unsigned int i = gva_index(a->at, 0);
	uint64_t gpte = entry_read(&s->guest[i]);
	bool write = a->flags & TF_WRITE;
	bool refused = !walk_last(&v->cpu, a, &p->upper, gpte, w);
	uint64_t page = a->at.v >> TF_PAGE_SHIFT;
	/* Only the plain case is refused from here: a user's access to a page that is not mapped.
	 */
	bool plain = (a->flags & TF_ABSENT) && (a->flags & TF_USER) && !(w->pfec & TF_PF_P);
	if ((page == v->last_page && refused == v->last_refused) || (refused && !plain))
		return PSC_NONE;
	if (!refused) {
		gfn_t f = gpa_to_gfn(w->gpa);
		struct block *b = memmap_block(&vm->map, f);
		struct frame *fr = b ? block_frame(b, f) : NULL;
		uint64_t word = fr ? frame_word(fr) : 0;
		if (!(gpte & SPTE_A) || (write && !(gpte & SPTE_D)) || !(word & FRAME_BACKED) ||
		    (write && !word_is_writable(word)) || bit_get(s->present, i))
			return PSC_NONE;
		uint64_t e = spte_leaf(gpte, word, word_hpa(word), false) | SPTE_A;
		if (!spte_set_leaf(vm, g, s, i, e, gpte, f))
			return PSC_NONE;
		unsigned int from = i & ~(SHADOW_WINDOW - 1);
		shadow_prefill(vm, g, s, from, from + SHADOW_WINDOW);
	}
	p->refused = refused;
	v->last_page = page;
	v->last_refused = refused;
	return refused ? PSC_FAULTS : PSC_DONE;
}
