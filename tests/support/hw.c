/* The model hardware: see hw.h. Walks of host tables are in hw_walk.c.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "hw_walk.h"

#include <stdlib.h>
#include <string.h>
#include <twofold/choice.h>

/* ---- caches ---- */

uint16_t hw_pcid(const struct hw_cpu *c)
{
	if (c->load.mode == TF_SHADOW || !(c->r.cr4 & X_CR4_PCIDE))
		return 0;
	return c->r.cr3 & 0xfff;
}

/* What came by a linear address through a nested root (SDM: combined mappings) goes with either
 * kind. */
static void drop_kinds(struct hw_cpu *c, uint32_t kinds)
{
	bool linear = kinds & TF_FLUSH_LINEAR, nested = kinds & TF_FLUSH_NESTED;

	for (unsigned int i = 0; i < HW_TLB; i++)
		if (c->tlb[i].shadow ? linear : linear || nested)
			c->tlb[i].valid = false;
	for (unsigned int i = 0; i < HW_PSC; i++) {
		struct hw_psc *p = &c->psc[i];
		if (p->nested ? nested : p->shadow ? linear : linear || nested)
			p->valid = false;
	}
	for (unsigned int i = 0; i < HW_NTLB; i++)
		if (nested)
			c->ntlb[i].valid = false;
}

/* The guest's own flushes (cpu->guest is not held) reach what was cached of its tables, not of the
 * nested ones. */
static void drop_guest_psc(struct hw_cpu *c, int pcid)
{
	for (unsigned int i = 0; i < HW_PSC; i++)
		if (!c->psc[i].nested && (pcid < 0 || c->psc[i].pcid == pcid))
			c->psc[i].valid = false;
}

static void drop_guest(struct hw_cpu *c, int pcid, bool globals)
{
	pthread_mutex_lock(&c->guest);
	for (unsigned int i = 0; i < HW_TLB; i++) {
		struct hw_tlb *t = &c->tlb[i];
		if ((globals || !t->global) && (pcid < 0 || t->pcid == pcid))
			t->valid = false;
	}
	drop_guest_psc(c, pcid);
	pthread_mutex_unlock(&c->guest);
}

void hw_drop_va(struct hw_cpu *c, uint64_t va, int pcid, bool globals)
{
	for (unsigned int i = 0; i < HW_TLB; i++) {
		struct hw_tlb *t = &c->tlb[i];
		unsigned int shift = t->guest_shift > t->shift ? t->guest_shift : t->shift;
		if (t->valid && va >> shift == t->va >> shift &&
		    ((t->global && globals) || (!t->global && t->pcid == pcid)))
			t->valid = false;
	}
	drop_guest_psc(c, pcid);
}

static void drop_va_locked(struct hw_cpu *c, uint64_t va, int pcid, bool globals)
{
	pthread_mutex_lock(&c->guest);
	hw_drop_va(c, va, pcid, globals);
	pthread_mutex_unlock(&c->guest);
}

void hw_evict(struct hw_cpu *c)
{
	pthread_mutex_lock(&c->guest);
	c->tlb[rng_below(&c->rng, HW_TLB)].valid = false;
	c->psc[rng_below(&c->rng, HW_PSC)].valid = false;
	c->ntlb[rng_below(&c->rng, HW_NTLB)].valid = false;
	pthread_mutex_unlock(&c->guest);
}

/* ---- the host's side ---- */

static bool hw_is_loaded(const struct hw_cpu *c)
{
	return __atomic_load_n(&c->loaded, __ATOMIC_SEQ_CST);
}

static void set_loaded(struct hw_cpu *c, bool to)
{
	__atomic_store_n(&c->loaded, to, __ATOMIC_SEQ_CST);
}

static bool is_loading(const struct hw_cpu *c)
{
	return __atomic_load_n(&c->loading, __ATOMIC_SEQ_CST);
}

static void set_loading(struct hw_cpu *c, bool to)
{
	__atomic_store_n(&c->loading, to, __ATOMIC_SEQ_CST);
}

static void on_flush(void *arg, const struct tf_cpuset *set, uint32_t kinds)
{
	struct hw *h = arg;

	for (unsigned int i = 0; i < h->cpus; i++) {
		struct hw_cpu *c = &h->cpu[i];
		if (!cpuset_has(set, i))
			continue;
		pthread_mutex_lock(&c->guest);
		drop_kinds(c, kinds);
		set_loaded(c, false);
		pthread_mutex_unlock(&c->guest);
	}
}

/* A kicked vCPU leaves the guest soon and asks again. */
static void on_kick(void *arg, unsigned int vcpu)
{
	struct hw *h = arg;

	if (vcpu < h->cpus)
		__atomic_store_n(&h->cpu[vcpu].kicked, true, __ATOMIC_SEQ_CST);
}

static bool reaches(const struct hw_cpu *c, uint64_t from, uint64_t to)
{
	for (unsigned int i = 0; i < HW_TLB; i++) {
		const struct hw_tlb *t = &c->tlb[i];
		if (t->valid && t->hpa < to && t->hpa + BIT(t->shift) > from)
			return true;
	}
	for (unsigned int i = 0; i < HW_PSC; i++) {
		const struct hw_psc *p = &c->psc[i];
		if (p->valid && p->hpa >= from && p->hpa < to)
			return true;
	}
	for (unsigned int i = 0; i < HW_NTLB; i++) {
		const struct hw_ntlb *t = &c->ntlb[i];
		if (t->valid && t->hpa < to && t->hpa + BIT(t->shift) > from)
			return true;
	}
	return (c->load.root.v & X_ADDR) >= from && (c->load.root.v & X_ADDR) < to;
}

static void on_free(void *arg, hfn_t first, uint64_t n)
{
	struct hw *h = arg;
	uint64_t from = first.v << TF_PAGE_SHIFT, to = from + (n << TF_PAGE_SHIFT);

	for (unsigned int i = 0; i < h->cpus; i++) {
		struct hw_cpu *c = &h->cpu[i];
		pthread_mutex_lock(&c->guest);
		if (hw_is_loaded(c) && !is_loading(c) && reaches(c, from, to))
			hw_break(h,
				 "frame %#llx freed while CPU %u in the guest can still reach it",
				 (unsigned long long)from, i);
		pthread_mutex_unlock(&c->guest);
	}
	uint64_t at = fakehost_frame(hpa(from));
	for (uint64_t k = 0; k < n; k++) {
		if (h->checks) {
			h->frame[at + k].owner = HW_UNKNOWN;
			h->frame[at + k].gfn = ~UINT64_C(0);
		}
		__atomic_fetch_add(&h->frame[at + k].gen, 1, __ATOMIC_RELAXED);
	}
}

void hw_forget_gfn(struct hw *h, uint64_t gfn)
{
	for (uint64_t i = 0; i < h->f->frames; i++)
		if (h->frame[i].owner == HW_DATA && h->frame[i].gfn == gfn) {
			h->frame[i].owner = HW_UNKNOWN;
			h->frame[i].gfn = ~UINT64_C(0);
		}
}

void hw_init(struct hw *h, struct fakehost *f, const struct tf_config *conf, unsigned int cpus)
{
	memset(h, 0, sizeof(*h));
	h->f = f;
	h->conf = *conf;
	h->cpus = cpus;
	h->checks = true;
	h->frame = calloc(f->frames, sizeof(*h->frame));
	if (!h->frame)
		abort();
	for (uint64_t i = 0; i < f->frames; i++)
		h->frame[i].gfn = ~UINT64_C(0);
	for (unsigned int i = 0; i < HW_CPUS; i++) {
		pthread_mutexattr_t a;
		pthread_mutexattr_init(&a);
		pthread_mutex_init(&h->cpu[i].guest, &a);
		pthread_mutexattr_destroy(&a);
		h->cpu[i].hw = h;
		h->cpu[i].index = i;
		h->node[i] = conf->nodes ? i % conf->nodes : 0;
	}
	f->arg = h;
	f->on_flush = on_flush;
	f->on_kick = on_kick;
	f->on_free = on_free;
}

void hw_fini(struct hw *h)
{
	h->f->on_flush = NULL;
	h->f->on_kick = NULL;
	h->f->on_free = NULL;
	free(h->frame);
	for (unsigned int i = 0; i < HW_CPUS; i++)
		pthread_mutex_destroy(&h->cpu[i].guest);
}

enum tf_status hw_attach(struct hw *h, struct tf_vm *vm, const struct tf_regs *r, uint64_t seed)
{
	h->vm = vm;
	for (unsigned int i = 0; i < h->cpus; i++) {
		struct hw_cpu *c = &h->cpu[i];
		enum tf_status s = tf_vcpu_create(vm, i, h->node[i], &c->v);
		if (s != TF_OK)
			return s;
		c->rng.s = seed + 0x1000 * i;
		c->r = *r;
		c->want = c->asked = c->taken = h->conf.mode;
		tf_vcpu_set_regs(c->v, r);
	}
	return TF_OK;
}

/* Every cached translation must lead to a frame that was not freed since; so must the root. */
static void check_no_stale(struct hw_cpu *c)
{
	struct hw *h = c->hw;

	if (!fakehost_is_allocated(h->f, hpa(c->load.root.v & X_ADDR)))
		hw_break(h, "CPU %u enters on the freed root %#llx", c->index,
			 (unsigned long long)c->load.root.v);
	for (unsigned int i = 0; i < HW_TLB; i++)
		if (c->tlb[i].valid &&
		    c->tlb[i].gen != hw_gen_of(h, c->tlb[i].hpa, c->tlb[i].shift))
			hw_break(h,
				 "CPU %u enters without a flush; its TLB holds freed frame %#llx "
				 "for %#llx",
				 c->index, (unsigned long long)c->tlb[i].hpa,
				 (unsigned long long)c->tlb[i].va);
	for (unsigned int i = 0; i < HW_PSC; i++) {
		const struct hw_psc *p = &c->psc[i];
		if (p->valid && p->gen != hw_gen(h, p->hpa))
			hw_break(h,
				 "CPU %u enters without a flush; it has cached an entry that "
				 "leads to freed table %#llx",
				 c->index, (unsigned long long)p->hpa);
	}
	for (unsigned int i = 0; i < HW_NTLB; i++)
		if (c->ntlb[i].valid &&
		    c->ntlb[i].gen != hw_gen_of(h, c->ntlb[i].hpa, c->ntlb[i].shift))
			hw_break(h,
				 "CPU %u enters without a flush; it has cached GPA %#llx to freed "
				 "frame %#llx",
				 c->index, (unsigned long long)c->ntlb[i].gpa,
				 (unsigned long long)c->ntlb[i].hpa);
}

static void change_mode(struct hw_cpu *c, enum tf_mode m)
{
	enum tf_mode old = c->want;

	hw_leave(c);
	c->entered = false;
	c->want = m;
	tf_vcpu_set_mode(c->v, m);
	if (m == TF_SHADOW && old == TF_NESTED)
		tf_vcpu_set_regs(c->v, &c->r);
}

/* What was asked for is taken before an entry; an address space that runs on shadow tables is found
 * then. */
static void take_mode(struct hw_cpu *c)
{
	enum tf_mode asked = __atomic_load_n(&c->asked, __ATOMIC_SEQ_CST);

	if (!c->hw->spaces) {
		if (asked != c->want)
			change_mode(c, asked);
		return;
	}
	if (asked != c->taken) {
		c->taken = asked;
		c->spaces = asked == TF_SHADOW;
		if (!c->spaces && c->want == TF_SHADOW)
			change_mode(c, TF_NESTED);
	}
	if (c->spaces && c->want == TF_NESTED && tf_space_is_shadow(c->v, c->r.cr3))
		change_mode(c, TF_SHADOW);
}

bool hw_enter(struct hw_cpu *c)
{
	if (__atomic_load_n(&c->kicked, __ATOMIC_SEQ_CST) && !rng_one_in(&c->rng, 4)) {
		__atomic_store_n(&c->kicked, false, __ATOMIC_SEQ_CST);
		set_loaded(c, false);
	}
	while (!hw_is_loaded(c)) {
		struct tf_load l;
		take_mode(c);
		/* Set before the call: a flush that comes after it must be seen. */
		set_loading(c, true);
		set_loaded(c, true);
		c->entered = true;
		if (tf_vcpu_load(c->v, &l) != TF_OK) {
			set_loaded(c, false);
			set_loading(c, false);
			c->entered = false;
			return false;
		}
		if (c->spaces && c->want == TF_SHADOW && l.mode == TF_NESTED) {
			c->want = TF_NESTED; /* watched no more */
			tf_vcpu_set_mode(c->v, TF_NESTED);
		}
		c->flushes |= l.flush;
		pthread_mutex_lock(&c->guest);
		set_loading(c, false);
		if (hw_is_loaded(c)) {
			if (c->load.mode != l.mode && !(l.flush & TF_FLUSH_LINEAR))
				hw_break(c->hw, "CPU %u: the mode changed without a flush",
					 c->index);
			c->load = l;
			drop_kinds(c, l.flush);
			check_no_stale(c);
		} else if (l.flush) {
			/* The load's word counts though we ask again. */
			c->load = l;
			drop_kinds(c, l.flush);
		}
		pthread_mutex_unlock(&c->guest);
	}
	return true;
}

/* The outcome of a nested fault; TF_RESUME also where the next load finds another address space. */
static void nested_fault(struct hw_cpu *c, const struct hw_walk *w, struct tf_outcome *o)
{
	struct hw *h = c->hw;
	uint32_t flags = w->nested_flags | (w->in_table ? TF_WALK : 0);

	tf_nested_fault(c->v, gpa(w->gpa), flags, o);
	if (o->end == TF_GATE && h->spaces && w->in_table) {
		if (!((c->r.cr3 ^ w->gpa) & X_ADDR)) {
			c->spaces = true;
			c->gates++;
			o->end = TF_RESUME;
			return;
		}
		memset(o, 0xee, sizeof(*o));
		tf_nested_fault(c->v, gpa(w->gpa), w->nested_flags, o);
	}
	if (o->end == TF_INJECT)
		hw_break(h, "a nested fault may not inject a #PF");
	else if (o->end == TF_GATE)
		hw_break(h, "a gate where there can be none");
}

void hw_leave(struct hw_cpu *c)
{
	set_loaded(c, false);
	c->exits++;
}

/* ---- accesses ---- */

static struct hw_result ended(enum hw_end e)
{
	return (struct hw_result){.end = e};
}

static uint64_t operate(struct hw *h, uint64_t at, enum hw_op op, uint64_t operand)
{
	uint64_t *p = fakehost_ptr(h->f, hpa(at & ~UINT64_C(7)), 8, "guest access to a free frame");

	switch (op) {
	case HW_WRITE:
		return __atomic_exchange_n(p, operand, __ATOMIC_SEQ_CST);
	case HW_AND:
		return __atomic_fetch_and(p, operand, __ATOMIC_SEQ_CST);
	case HW_OR:
		return __atomic_fetch_or(p, operand, __ATOMIC_SEQ_CST);
	case HW_ZERO: {
		uint64_t old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
		uint64_t *q = fakehost_ptr(h->f, hpa(at & X_ADDR), TF_PAGE_SIZE, "zeroing");
		for (unsigned int i = 0; i < TF_PAGE_SIZE / 8; i++)
			__atomic_store_n(&q[i], 0, __ATOMIC_RELAXED);
		return old;
	}
	case HW_READ:
	default:
		return __atomic_load_n(p, __ATOMIC_SEQ_CST);
	}
}

struct hw_result hw_access(struct hw_cpu *c, uint64_t va, uint32_t flags, enum hw_op op,
			   uint64_t operand)
{
	struct hw *h = c->hw;
	unsigned int resumed = 0;

	for (;;) {
		if (hw_is_broken(h))
			return ended(HW_BROKEN);
		if (!hw_enter(c))
			return ended(HW_NOMEM);
		pthread_mutex_lock(&c->guest);
		if (!hw_is_loaded(c)) {
			pthread_mutex_unlock(&c->guest);
			continue;
		}
		struct hw_walk w;
		bool shadow = c->load.mode == TF_SHADOW;
		if (hw_is_broken(h)) {
			pthread_mutex_unlock(&c->guest);
			return ended(HW_BROKEN);
		}
		hw_walk(c, va, flags, false, &w);
		struct hw_result res = {.end = HW_DONE, .was_shadow = shadow};
		if (w.end == HW_W_OK) {
			hw_frame_is_data(h, w.hpa);
			if (hw_is_broken(h)) {
				pthread_mutex_unlock(&c->guest);
				return ended(HW_BROKEN);
			}
			res.hpa = w.hpa;
			res.gpa = w.gpa;
			res.from_tlb = w.from_tlb;
			res.old = operate(h, w.hpa, op, operand);
			if (!shadow && h->on_touch)
				h->on_touch(h->arg, w.gpa, flags & TF_WRITE);
			pthread_mutex_unlock(&c->guest);
			return res;
		}
		/* A fault takes the address's translations with it. */
		if (w.end == HW_W_FAULT || w.end == HW_W_EXIT)
			hw_drop_va(c, va, hw_pcid(c), true);
		pthread_mutex_unlock(&c->guest);

		struct tf_outcome o;
		memset(&o, 0xee, sizeof(o));
		switch (w.end) {
		case HW_W_GP:
			return ended(HW_GP);
		case HW_W_FAULT:
			res.end = HW_FAULT;
			res.pfec = w.pfec;
			res.cr2 = va;
			return res;
		case HW_W_EXIT: {
			struct tf_access a = {.at = gva(va),
					      .flags = flags | (w.absent ? TF_ABSENT : 0)};
			hw_leave(c);
			tf_write_pkru(c->v, c->r.pkru);
			tf_shadow_fault(c->v, &a, &o);
			break;
		}
		case HW_W_NESTED:
		default:
			hw_leave(c);
			nested_fault(c, &w, &o);
			break;
		}
		if (hw_is_broken(h))
			return ended(HW_BROKEN);
		switch (o.end) {
		case TF_RESUME:
			if (++resumed > 100) {
				hw_break(h, "CPU %u: %s fault at %#llx flags %#x resumes for ever",
					 c->index, shadow ? "shadow" : "nested",
					 (unsigned long long)(shadow ? va : w.gpa), flags);
				return ended(HW_STUCK);
			}
			break;
		case TF_INJECT:
			res.end = HW_FAULT;
			res.pfec = o.pfec;
			res.cr2 = o.cr2.v;
			return res;
		case TF_DEVICE:
			if (w.end == HW_W_NESTED && w.in_table) {
				/* The emulated read of a table entry is all ones: a reserved bit.
				 */
				if (o.gpa.v != w.gpa) {
					hw_break(h, "TF_DEVICE tells another address");
					return ended(HW_BROKEN);
				}
				drop_va_locked(c, va, hw_pcid(c), true);
				res.end = HW_FAULT;
				res.pfec = oracle_pfec(&c->r, flags, true, true);
				res.cr2 = va;
				return res;
			}
			res.end = HW_DEVICE;
			res.gpa = o.gpa.v;
			return res;
		case TF_NO_MEMORY:
			res.end = HW_NOMEM;
			return res;
		default:
			hw_break(h, "an outcome that twofold.h does not have");
			return ended(HW_BROKEN);
		}
	}
}

void hw_speculate(struct hw_cpu *c, uint64_t va, uint32_t flags)
{
	struct hw_walk w;

	if (!hw_is_loaded(c))
		return;
	pthread_mutex_lock(&c->guest);
	if (hw_is_loaded(c))
		hw_walk(c, va, flags & ~(uint32_t)TF_WRITE, true, &w);
	pthread_mutex_unlock(&c->guest);
}

/* ---- control state ---- */

/* Does the host intercept TLB instructions now? False if the guest cannot run. */
static bool style(struct hw_cpu *c, bool *shadow)
{
	if (!c->entered && !hw_enter(c))
		return false;
	*shadow = c->load.mode == TF_SHADOW;
	return true;
}

/* The write exits to a host that watches: it tells the engine, and what the load after it says
 * about the root and the flush counts. */
static void exit_to_watcher(struct hw_cpu *c)
{
	hw_leave(c);
	c->entered = false;
}

bool hw_write_cr3(struct hw_cpu *c, uint64_t val)
{
	bool shadow;

	if (!style(c, &shadow))
		return false;
	bool pcide = c->r.cr4 & X_CR4_PCIDE;
	c->r.cr3 = pcide ? val & ~BIT(63) : val;
	if (c->want == TF_SHADOW) {
		exit_to_watcher(c);
		tf_write_cr3(c->v, val);
	} else if (!pcide) {
		drop_guest(c, -1, false);
	} else if (!(val & BIT(63))) {
		drop_guest(c, val & 0xfff, false);
	}
	return true;
}

bool hw_write_cr4(struct hw_cpu *c, uint64_t val)
{
	bool shadow;

	if (!style(c, &shadow))
		return false;
	c->r.cr4 = val;
	if (c->want == TF_SHADOW) {
		exit_to_watcher(c);
		tf_write_cr4(c->v, val);
		return true;
	}
	drop_guest(c, -1, true);
	return true;
}

bool hw_write_cr0(struct hw_cpu *c, uint64_t val)
{
	bool shadow;

	if (!style(c, &shadow))
		return false;
	bool paging = (c->r.cr0 ^ val) & X_CR0_PG;
	c->r.cr0 = val;
	if (c->want == TF_SHADOW) {
		exit_to_watcher(c);
		tf_write_cr0(c->v, val);
		return true;
	}
	if (paging)
		drop_guest(c, -1, true);
	return true;
}

bool hw_write_efer(struct hw_cpu *c, uint64_t val)
{
	bool shadow;

	if (!style(c, &shadow))
		return false;
	c->r.efer = val;
	if (c->want == TF_SHADOW) {
		exit_to_watcher(c);
		tf_write_efer(c->v, val);
		return true;
	}
	drop_guest(c, -1, true);
	return true;
}

void hw_write_pkru(struct hw_cpu *c, uint32_t val)
{
	c->r.pkru = val;
}

bool hw_invlpg(struct hw_cpu *c, uint64_t va)
{
	bool shadow;

	if (!style(c, &shadow))
		return false;
	if (shadow) {
		hw_leave(c);
		tf_invlpg(c->v, gva(va));
	} else {
		drop_va_locked(c, va, hw_pcid(c), true);
	}
	return true;
}

bool hw_invpcid(struct hw_cpu *c, unsigned int type, uint16_t pcid, uint64_t va)
{
	bool shadow;

	if (!style(c, &shadow))
		return false;
	if (shadow) {
		hw_leave(c);
		tf_invpcid(c->v, type, pcid, gva(va));
		return true;
	}
	switch (type) {
	case 0:
		drop_va_locked(c, va, pcid, false);
		break;
	case 1:
		drop_guest(c, pcid, false);
		break;
	case 2:
		drop_guest(c, -1, true);
		break;
	default:
		drop_guest(c, -1, false);
		break;
	}
	return true;
}

void hw_set_mode(struct hw_cpu *c, enum tf_mode m)
{
	__atomic_store_n(&c->asked, m, __ATOMIC_SEQ_CST);
	hw_leave(c);
	if (!c->hw->spaces)
		change_mode(c, m);
}

void hw_ask_mode(struct hw *h, enum tf_mode m)
{
	for (unsigned int i = 0; i < h->cpus; i++) {
		__atomic_store_n(&h->cpu[i].asked, m, __ATOMIC_SEQ_CST);
		__atomic_store_n(&h->cpu[i].kicked, true, __ATOMIC_SEQ_CST);
	}
}

void hw_set_regs(struct hw_cpu *c, const struct tf_regs *r)
{
	hw_leave(c);
	c->entered = false;
	c->r = *r;
	tf_vcpu_set_regs(c->v, r);
}
