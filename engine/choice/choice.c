/* The choice: readings in, rates kept, losses of both modes figured out, the policy asked.
 *
 * The account is of *useful* cycles: those that the work takes without the exits that only shadow
 * mode has. So it is the same whatever mode the reading was taken in. What nested mode loses is
 * what its TLB misses cost more. What shadow mode loses is measured where it runs, and predicted
 * where it does not, from the guest's faults and flushes at the calibrated costs; the prediction is
 * corrected by how it did when both were known.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice/choice.h"

#include "modes/mode.h"
#include "modes/shadow.h"

#define PPM UINT64_C(1000000)

_Static_assert(sizeof(struct choice) <= TF_PAGE_SIZE, "a choice lives in one page");

/* ---- life ---- */

static void choice_free(struct tf_host *h, struct choice *c)
{
	for (unsigned int i = 0; i < SPACE_BUCKETS && c->space[i]; i++)
		h->page_free(h, TF_ORDER_4K, c->space_page[i]);
	h->page_free(h, TF_ORDER_4K, c->self);
}

/* What is known of filling at first counts for so many pages: small spaces, of which a fault fills
 * little, shall not tell what large ones cost. */
#define CALIBRATED_PAGES 4096u

enum tf_status tf_choice_start(struct tf_vm *vm, const struct tf_choice_config *conf)
{
	struct tf_host *h = vm->h;
	hpa_t a;
	if (vm->choice || !conf->policy || conf->grain > TF_GRAIN_SPACE)
		return TF_E_INVAL;
	struct choice *c = page_new(h, 0, &a);
	if (!c)
		return TF_E_NOMEM;
	lock_init(&c->lock, RANK_CHOICE);
	c->conf = *conf;
	c->self = a;
	c->stop[TF_NESTED] = c->stop[TF_SHADOW] = conf->costs.exit;
	c->fill_predicted = c->fill_actual = conf->costs.fill * CALIBRATED_PAGES;
	for (unsigned int i = 0; conf->grain == TF_GRAIN_SPACE && i < SPACE_BUCKETS; i++) {
		c->space[i] = page_new(h, 0, &c->space_page[i]);
		if (!c->space[i]) {
			choice_free(h, c);
			return TF_E_NOMEM;
		}
	}
	__atomic_store_n(&vm->choice, c, __ATOMIC_RELEASE);
	return TF_OK;
}

void choice_destroy(struct tf_vm *vm)
{
	for (unsigned int i = 0; i < vm->conf.vcpus; i++)
		if (vm->vcpu[i])
			sampler_destroy(vm->vcpu[i]);
	if (vm->choice)
		choice_free(vm->h, vm->choice);
}

/* ---- the meter's rates ---- */

/* So many in `span` cycles, if it goes on like that. */
static uint64_t expect(uint64_t n, uint64_t cycles, uint64_t span)
{
	return scale(n, span, cycles);
}

/* Cycles without those that exits took, as far as these are known: more than nearly all is not
 * believed, for single exits may have been cut by the host's own world. */
static uint64_t without(uint64_t cycles, uint64_t lost)
{
	uint64_t least = cycles / 16 + 1;
	return cycles > lost + least ? cycles - lost : least;
}

static uint64_t per_second(const struct choice *c, uint64_t n, uint64_t cycles)
{
	return expect(n, cycles, c->conf.clock_khz * 1000);
}

static uint64_t share(uint64_t part, uint64_t whole)
{
	return scale(part, PPM, whole);
}

/* Sums are kept in 256ths, and of the last so many milliseconds that were looked at: what is older
 * goes in the measure in which something comes, so that many short looks do not outweigh a long
 * one. */
#define MISSES_MS 8u
#define EVENTS_MS 5u

static void make_room(uint64_t *const *sum, unsigned int sums, uint64_t *cycles, uint64_t more,
		      uint64_t room)
{
	uint64_t keep = room > more ? room - more : 0, all = *cycles;
	if (all <= keep)
		return;
	for (unsigned int i = 0; i < sums; i++)
		*sum[i] = scale(*sum[i], keep, all);
	*cycles = keep;
}

/* What is left of a sum when the work has gone on for so many cycles. */
#define AGE_MS 200u

static void age(const struct choice *c, uint64_t *sum, uint64_t cycles)
{
	*sum -= scale(*sum, cycles, AGE_MS * c->conf.clock_khz + cycles);
}

/* Sums that are looked at by chance lose weight as the work goes on; not all of it, for little
 * would be rounded away, and not from each of them alike. */
#define AGED_LEAST_US 250u

static void sums_age(const struct choice *c, uint64_t *const *sum, unsigned int sums,
		     uint64_t *cycles, uint64_t useful)
{
	const uint64_t least = AGED_LEAST_US * c->conf.clock_khz / 1000 << 8, all = *cycles;
	age(c, cycles, useful);
	if (*cycles < least)
		*cycles = all < least ? all : least;
	for (unsigned int i = 0; i < sums; i++)
		*sum[i] -= scale(*sum[i], all - *cycles, all);
}

static void misses_take(const struct choice *c, struct rates *to, uint64_t n, uint64_t cycles)
{
	uint64_t *const sum[] = {&to->misses};
	make_room(sum, 1, &to->miss_cycles, cycles << 8, (MISSES_MS * c->conf.clock_khz) << 8);
	to->misses += n << 8;
	to->miss_cycles += cycles << 8;
}

/* What the work did; shadow mode's exits took `lost`. */
static void rates_take(const struct choice *c, struct rates *to, const struct tf_reading *r,
		       uint64_t lost)
{
	uint64_t *const events[] = {&to->faults, &to->cr3_writes, &to->invlpgs};
	uint64_t *const misses[] = {&to->misses};
	uint64_t useful = without(r->cycles, lost);
	/* Be the new looks as short as they may: work that seldom stays long would else be judged
	 * by what it did before. */
	sums_age(c, misses, 1, &to->miss_cycles, useful);
	sums_age(c, events, 3, &to->event_cycles, useful);
	if (r->event_cycles) {
		uint64_t cycles = without(r->event_cycles, lost);
		make_room(events, 3, &to->event_cycles, cycles << 8,
			  (EVENTS_MS * c->conf.clock_khz) << 8);
		to->faults += r->faults << 8;
		to->cr3_writes += r->cr3_writes << 8;
		to->invlpgs += r->invlpgs << 8;
		to->event_cycles += cycles << 8;
	}
	if (r->counted_cycles) { /* all of them: nothing to be made up for by those before */
		to->misses = r->tlb_misses << 8;
		to->miss_cycles = r->counted_cycles << 8;
	}
}

void choice_sampled(struct tf_vcpu *v, uint64_t cr3, uint64_t stack, uint64_t pages,
		    uint64_t cycles, const struct footprint *at)
{
	struct choice *c = v->vm->choice;
	struct op op;
	if (c->conf.grain == TF_GRAIN_VM) {
		misses_take(c, &v->chooser.rates, pages, cycles);
		v->chooser.at = *at;
		return;
	}
	vm_op_begin(&op, v->vm);
	lock_take(&op, &c->lock);
	struct unit *u = space_get(c, cr3, v->vm->h->cycles(v->vm->h));
	if (u->stack && u->stack != stack)
		space_forget(c, u);
	u->stack = stack;
	misses_take(c, &u->rates, pages, cycles);
	u->at = *at;
	lock_drop(&op, &c->lock);
	vm_op_end(&op, v->vm);
}

/* ---- the account ---- */

/* What shadow mode's exits took, as measured. */
static uint64_t measured_loss(const struct choice *c, const struct tf_reading *r)
{
	return r->shadow_cycles + r->shadow_exits * c->conf.costs.exit;
}

/* What the events of so many cycles would cost in shadow mode, at the calibrated prices. */
static uint64_t events_cost(const struct choice *c, const struct rates *r, uint64_t cycles)
{
	const struct tf_costs *k = &c->conf.costs;
	/* A space of its own mode comes back through its gate: another exit, and its handler. */
	uint64_t gate = c->conf.grain == TF_GRAIN_SPACE ? 2 * k->exit : 0;
	return expect(r->faults * k->fault + r->cr3_writes * (k->cr3 + gate) +
			      r->invlpgs * k->invlpg,
		      r->event_cycles, cycles);
}

/* Corrected by what the prediction was worth for the unit, or, where that is not known yet, for
 * all. */
static uint64_t corrected(const struct choice *c, const struct unit *u, uint64_t predicted)
{
	uint64_t p = u->predicted, a = u->actual;
	if (!p) {
		p = c->predicted;
		a = c->actual;
	}
	return p ? scale(predicted, a, p) : predicted;
}

static void learn(uint64_t *predicted, uint64_t *actual, uint64_t p, uint64_t a)
{
	*predicted += p;
	*actual += a;
	if (*predicted >> 40 || *actual >> 40) { /* what was long ago counts for less */
		*predicted /= 2;
		*actual /= 2;
	}
}

/* What a reading on shadow tables spent on filling them for the change that brought the unit there:
 * the price of the change is for that, and no loss of the mode. What it still has to fill ages:
 * long after the change nothing is filled for it any more. */
static uint64_t filling(struct choice *c, struct unit *u, const struct tf_reading *r,
			uint64_t useful)
{
	uint64_t all = r->fills << 8, n = all < u->to_fill ? all : u->to_fill;
	uint64_t cycles = scale(r->fill_cycles + r->fills * c->conf.costs.exit, n, all);
	u->to_fill -= n;
	age(c, &u->to_fill, useful);
	if (n)
		learn(&c->fill_predicted, &c->fill_actual, u->fill * n >> 8, cycles);
	return cycles;
}

static void learn_from(struct choice *c, struct unit *u, uint64_t predicted, uint64_t lost)
{
	/* Without events there is nothing that could be predicted from them. */
	if (u->to_fill >> 8 || predicted < c->conf.costs.fault)
		return;
	learn(&u->predicted, &u->actual, predicted, lost);
	learn(&c->predicted, &c->actual, predicted, lost);
}

static void account_make(struct choice *c, struct unit *u, const struct tf_vcpu *v,
			 const struct rates *rates, const struct tf_reading *r, struct account *a)
{
	const struct tf_costs *k = &c->conf.costs;
	uint64_t lost = measured_loss(c, r);

	*a = (struct account){
		.conf = &c->conf, .key = u->key, .mode = u->mode, .shared = c->shared};
	a->now = v->vm->h->cycles(v->vm->h);
	a->useful = without(r->cycles, lost);
	a->misses = expect(rates->misses, rates->miss_cycles, a->useful);
	a->faults = expect(rates->faults, rates->event_cycles, a->useful);
	a->instructions = r->instructions ? r->instructions : a->useful / 1000 * k->ipkc;
	if (k->miss_nested > k->miss_shadow)
		a->nested_loss = a->misses * (k->miss_nested - k->miss_shadow);
	if (u->mode == TF_SHADOW) {
		/* There they were all counted: no need to go by those before. */
		const struct rates own = {.faults = r->faults,
					  .cr3_writes = r->cr3_writes,
					  .invlpgs = r->invlpgs,
					  .event_cycles = r->event_cycles};
		uint64_t predicted = events_cost(c, &own, r->event_cycles);
		/* The clock does not see what the exits make the guest lose: the TLB, where an exit
		 * loses it. The calibrated costs have it. */
		lost = lost > predicted ? lost : predicted;
		learn_from(c, u, predicted, lost);
		a->filling = filling(c, u, r, a->useful);
		a->filling = a->filling < lost ? a->filling : lost;
		a->shadow_loss = lost - a->filling;
	} else {
		a->shadow_loss = corrected(c, u, events_cost(c, rates, a->useful));
	}
	/* A fault for each leaf table, which fills it; or links it, where it has a shadow. */
	uint64_t fill = u->at.missing * k->fill + u->at.tables_used * k->exit;
	if (u->mode == TF_NESTED)
		u->fill = u->at.tables_used ? fill / u->at.tables_used : 0;
	if (c->fill_predicted) /* what such predictions were worth */
		fill = scale(fill, c->fill_actual, c->fill_predicted);
	a->price_shadow = c->stop[TF_SHADOW] + fill;
	a->price_nested = c->stop[TF_NESTED];
	if (c->conf.grain == TF_GRAIN_VM) {
		a->price_shadow *= v->vm->conf.vcpus;
		a->price_nested *= v->vm->conf.vcpus;
	}
}

/* The unit that a reading is put down to, and its rates. Lock held. */
static struct unit *unit_of(struct choice *c, struct tf_vcpu *v, const struct tf_regs *regs,
			    const struct tf_reading *r, struct rates **rates)
{
	struct unit *u;
	if (c->conf.grain == TF_GRAIN_VM) {
		u = &c->whole;
		u->at = v->chooser.at;
		*rates = &v->chooser.rates;
	} else {
		u = space_get(c, regs->cr3, v->vm->h->cycles(v->vm->h));
		*rates = &u->rates;
	}
	rates_take(c, *rates, r, measured_loss(c, r));
	return u;
}

static void verdict_fill(const struct choice *c, const struct unit *u, const struct rates *rates,
			 const struct tf_reading *r, const struct account *a,
			 const struct ruling *ruling, struct tf_verdict *out)
{
	*out = (struct tf_verdict){
		.is_space = c->conf.grain == TF_GRAIN_SPACE,
		.space = c->conf.grain == TF_GRAIN_SPACE ? (u->key - 1) * TF_PAGE_SIZE : 0,
		.from = u->mode,
		.to = ruling->mode,
		.why = ruling->why,
		.misses_per_s = per_second(c, rates->misses, rates->miss_cycles),
		.faults_per_s = per_second(c, rates->faults, rates->event_cycles),
		.cr3_per_s = per_second(c, rates->cr3_writes, rates->event_cycles),
		.exits_per_s = per_second(c, r->exits, r->cycles),
		.nested_ppm = share(a->nested_loss, a->useful),
		.shadow_ppm = share(a->shadow_loss + a->filling, a->useful),
		.regret = ruling->regret,
		.price = ruling->price,
		.resident = u->at.resident,
	};
}

/* So long must events have been looked for, of late, before a unit goes to shadow tables: of one of
 * which nothing is known it would seem that they cost it nothing. */
#define EVENTS_LEAST_US 1000u

static bool events_are_known(const struct choice *c, const struct unit *u, const struct rates *r)
{
	return u->mode == TF_SHADOW ||
	       r->event_cycles >> 8 >= EVENTS_LEAST_US * c->conf.clock_khz / 1000;
}

/* The mode that the vCPU ran in, as far as its unit is concerned. */
static enum tf_mode mode_ran(const struct tf_vcpu *v)
{
	return v->running == &mode_shadow ? TF_SHADOW : TF_NESTED;
}

static void change(struct choice *c, struct unit *u, enum tf_mode m, unsigned int vcpus)
{
	const unsigned int n = c->conf.grain == TF_GRAIN_SPACE ? 1 : vcpus;
	u->skip = n;
	u->to_fill = m == TF_SHADOW ? (u->at.tables << 8) * n : 0;
	if (c->conf.grain == TF_GRAIN_SPACE)
		space_set_mode(c, u, m);
	else
		u->mode = m;
}

void tf_choice_note(struct tf_vcpu *v, const struct tf_regs *regs, const struct tf_reading *r,
		    struct tf_verdict *out)
{
	struct choice *c = v->vm->choice;
	const enum tf_mode ran = mode_ran(v);
	struct rates *rates;
	struct account a;
	struct ruling ruling;
	struct op op;
	TF_ASSERT(v->vm->h, c);
	vm_op_begin(&op, v->vm);
	lock_take(&op, &c->lock);
	struct unit *u = unit_of(c, v, regs, r, &rates);
	account_make(c, u, v, rates, r, &a);
	ruling = (struct ruling){.mode = u->mode, .why = "the mode is changing"};
	/* A reading that a change fell into says nothing of either mode; where shadow tables are
	 * impossible there is no choice. */
	bool counts = ran == u->mode && !u->skip && shadow_is_possible(regs) && r->cycles;
	u->skip -= u->skip > 0;
	if (counts && events_are_known(c, u, rates))
		c->conf.policy->decide(u->state, &a, &ruling);
	else if (counts)
		ruling.why = "it is not known what exits would cost";
	verdict_fill(c, u, rates, r, &a, &ruling, out);
	if (ruling.mode != u->mode) {
		out->switched = true;
		change(c, u, ruling.mode, v->vm->conf.vcpus);
		/* It leaves shadow tables because the work has changed: what was known of its
		 * misses is of the work before. */
		if (ruling.mode == TF_NESTED)
			rates->misses = rates->miss_cycles = 0;
		/* What the reading took is no part of the stop. */
		v->chooser.stays = c->conf.grain == TF_GRAIN_SPACE;
	}
	out->unit_mode = u->mode;
	out->mode = u->mode;
	bool rest = c->conf.grain == TF_GRAIN_SPACE && out->switched && !c->shadow_units;
	if (c->conf.grain == TF_GRAIN_SPACE)
		out->mode = c->shadow_units ? TF_SHADOW : TF_NESTED;
	lock_drop(&op, &c->lock);
	/* Whoever counts as one that may come back to shadow tables looks again. */
	for (unsigned int i = 0; rest && i < v->vm->conf.vcpus; i++) {
		struct tf_vcpu *each = __atomic_load_n(&v->vm->vcpu[i], __ATOMIC_ACQUIRE);
		if (each)
			__atomic_store_n(&each->chores, true, __ATOMIC_RELAXED);
	}
	vm_op_end(&op, v->vm);
}

void tf_choice_switched(struct tf_vcpu *v, uint64_t cycles)
{
	struct choice *c = v->vm->choice;
	struct op op;
	if (!c)
		return;
	vm_op_begin(&op, v->vm);
	lock_take(&op, &c->lock);
	uint64_t *stop = &c->stop[__atomic_load_n(&v->mode, __ATOMIC_RELAXED)];
	*stop = (*stop * 3 + cycles) / 4; /* the last few count */
	lock_drop(&op, &c->lock);
	vm_op_end(&op, v->vm);
}
