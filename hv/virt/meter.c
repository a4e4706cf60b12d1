/* The meter of a vCPU: when it reads what, and the intercepts that this takes.
 *
 * A *reading* is what the vCPU did in some 20 to 80 ms: time, exits and their cycles as they are
 * counted anyway, and
 *  - page faults, CR3 writes and INVLPGs of the guest. On a shadow root they exit and are counted
 *    all. On a nested root they exit in a *window* (virt/pace.h) only, and the reading tells how
 * many did and for how long. The exits are handled as the CPU would have: a fault
 * is injected again, a flush is a flush of everything.
 *  - TLB misses, from a *source*: the CPU's counters (cpu/pmc.h), or the engine's sample of
 * accessed bits between an entry and the next exit that nested mode would have had as well, but for
 * those right behind it, such as a timer tick's: it would be the kernel that was looked at. Which
 * entry is left to chance, lest it always be the one after a timer tick; half of the samples begin
 * when the guest next comes back to its address space (or soon, if it does not), for a process that
 * seldom exits may do so only where its time on the CPU ends. A CR3 write, which loses the TLB too,
 * ends a sample in either mode, and so exits meanwhile.
 *
 * Nothing wakes the guest for it but a timer, for guests that never exit. All that the meter does
 * costs, and what can wait, waits until the budget allows it, but for some credit where the work
 * seems to have changed.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "virt/meter.h"

#include "core/cmdline.h"
#include "core/console.h"
#include "core/report.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "virt/virt.h"

enum { BEGIN_SAMPLE = 1, BEGIN_WINDOW = 2 };

#define CR3_SPACE 0x7ffffffffffff000ull

#define PERIOD_MS 20u
#define QUIET_MS  80u /* ... where a change could not pay sooner: a sample tells of more */
#define SOON_MS	  2u  /* ... after a sample in such a time */
#define TIMER_MS  5u  /* after the period: a guest that has a tick is read at that */
#define SAMPLE_MS 5u  /* between samples, at least */
/* That one lasts, over exits in quick succession, such as a tick's. */
#define SAMPLE_LEAST_US 1000u
#define CHANGE_MS	8u   /* that one waits for its address space, at most */
#define WRITES_MOST	16u  /* ... and so many writes of CR3: then it takes that one */
#define HURRY_SAMPLES	4u   /* that do not wait for what was spent */
#define WAIT_MS		160u /* for what was spent, at most */
#define TRACE_MS	50u
#define SKIP_MOST	3u
#define LIMIT_LEAST	4u
#define LIMIT_MOST	64u
#define LONGEST_US	500u
#define WINDOW_US	4000u

static uint64_t ms(uint64_t n)
{
	return n * vm.tsc_khz;
}

static uint64_t us(uint64_t n)
{
	return n * vm.tsc_khz / 1000;
}

/* Xorshift64*; for which exits are looked at. */
static uint64_t chance(struct meter *m, uint64_t below)
{
	m->random ^= m->random >> 12;
	m->random ^= m->random << 25;
	m->random ^= m->random >> 27;
	return (m->random * 0x2545f4914f6cdd1dull >> 32) % below;
}

/* Would nested mode not have had an exit of this kind? */
static bool is_shadow_kind(enum exit_kind k)
{
	switch (k) {
	case KIND_PF:
	case KIND_CR3_READ:
	case KIND_CR3_WRITE:
	case KIND_INVLPG:
	case KIND_INVPCID:
		return true;
	case KIND_CR4:
		return !vm.watch_cr4;
	default:
		return false;
	}
}

static void took(struct vcpu *v, uint64_t cycles)
{
	struct meter *m = &v->meter;

	if (m->own)
		return; /* all of this exit is */
	m->work.cycles += cycles;
	if (is_shadow_kind(v->kind))
		m->work.shadow_cycles += cycles;
}

/* So many cycles of the current exit went into metering, and into nothing else: what takes longer
 * than any of it ever does was not at work, the machine was taken away meanwhile. */
static void spend(struct vcpu *v, uint64_t cycles)
{
	struct meter *m = &v->meter;
	uint64_t most = us(LONGEST_US), stolen = cycles > most ? cycles - most : 0;

	m->stolen += stolen;
	pace_spend(&m->pace, m->now, cycles - stolen);
	took(v, cycles);
}

/* An exit ends that was the meter's own. */
static void own_exit(struct vcpu *v, uint64_t cycles)
{
	struct meter *m = &v->meter;
	/* The other part was told as it was spent. */
	uint64_t told = m->pace.spent - m->exit_spent + m->stolen - m->exit_stolen;
	uint64_t cost = cycles - told + vm.costs.exit;

	m->event_cost = (m->event_cost * 7 + (cost < us(LONGEST_US) ? cost : us(LONGEST_US))) / 8;
	spend(v, cost);
	m->own = false;
	m->own_sums.exits++;
	m->own_sums.cycles += cycles;
	if (is_shadow_kind(v->kind)) {
		m->own_sums.shadow_exits++;
		m->own_sums.shadow_cycles += cycles;
	}
}

/* What an exit takes beyond the longest, metering apart, the machine was taken away for. */
void meter_entry(struct vcpu *v, uint64_t cycles)
{
	struct meter *m = &v->meter;
	uint64_t work = m->work.cycles - m->told_work, most = us(LONGEST_US) + work;
	uint64_t stolen = cycles > most ? cycles - most : 0;

	m->told_work = m->work.cycles;
	if (m->own) {
		own_exit(v, cycles);
	} else {
		m->stolen += stolen;
		m->cut.cycles += stolen;
		if (is_shadow_kind(v->kind))
			m->cut.shadow_cycles += stolen;
		if (v->gated) {
			m->gates++;
			m->gate_cycles += cycles - stolen - work;
		}
		if (v->fills) {
			m->fills++;
			m->fill_cycles += cycles - stolen - work;
		}
	}
	v->gated = v->fills = false;
}

/* The clock at the beginning of the current exit. (It does not go back where an exit costs less
 * than was thought.) */
static void clock_set(struct vcpu *v)
{
	struct meter *m = &v->meter;
	uint64_t now = vcpu_awake(v) - m->pace.spent - m->stolen - m->sent;

	if (m->exit_tsc == v->exit_tsc)
		return;
	m->exit_tsc = v->exit_tsc;
	m->exit_work = m->work;
	m->exit_spent = m->pace.spent;
	m->exit_stolen = m->stolen;
	if ((int64_t)(now - m->now) > 0)
		m->now = now;
}

static uint64_t exits_of(const struct vcpu *v)
{
	uint64_t sum = 0;

	for (unsigned int k = 0; k < KINDS; k++)
		sum += v->stats.count[k];
	return sum;
}

/* Up to the beginning of the current exit. The meter's own exits are no part of the guest's life,
 * and what it took of others is not either. */
static void sums_take(const struct vcpu *v, struct meter_sums *s)
{
	const struct exit_stats *e = &v->stats;
	const struct meter *m = &v->meter;

	*s = (struct meter_sums){
		.now = m->now,
		.exits = -m->own_sums.exits,
		.exit_cycles = -m->own_sums.cycles - m->exit_work.cycles - m->cut.cycles,
		.shadow_exits = m->gates - m->own_sums.shadow_exits,
		.shadow_cycles = m->gate_cycles - m->own_sums.shadow_cycles -
				 m->exit_work.shadow_cycles - m->cut.shadow_cycles,
		.cr3_writes = e->count[KIND_CR3_WRITE],
		.invlpgs = e->count[KIND_INVLPG] + e->count[KIND_INVPCID],
		.faults = m->faults,
		.fills = m->fills,
		.fill_cycles = m->fill_cycles,
		.spent = m->exit_spent,
		.guest = v->guest_cycles,
	};
	for (unsigned int k = 0; k < KINDS; k++) {
		s->exits += e->count[k];
		s->exit_cycles += e->cycles[k];
		if (!is_shadow_kind(k))
			continue;
		s->shadow_exits += e->count[k];
		s->shadow_cycles += e->cycles[k];
	}
}

/* ---- intercepts ---- */

uint8_t meter_intercepts(const struct vcpu *v)
{
	const struct meter *m = &v->meter;

	if (v->shadow)
		return 0; /* it has them all */
	if (m->window.open)
		return INTERCEPT_PF | INTERCEPT_TLB | INTERCEPT_CR3_WRITE;
	return m->samples || m->waits ? INTERCEPT_CR3_WRITE : 0;
}

/* Of legacy paging nothing is asked: it has no shadow root to go to, and its CR3 is more than a
 * register. */
static bool has_long_paging(const struct vcpu *v)
{
	return v->guest.efer & EFER_LMA;
}

/* ---- sources of TLB misses ---- */

static bool sampling_begin(struct vcpu *v)
{
	struct tf_regs regs;

	vcpu_read_regs(v, &regs);
	return tf_sample_begin(v->mmu, &regs);
}

static void sampling_end(struct vcpu *v, uint64_t cycles)
{
	tf_sample_end(v->mmu, cycles);
}

static const struct meter_source sampling = {
	.name = "samples",
	.begin = sampling_begin,
	.end = sampling_end,
};

static bool counters_read(struct vcpu *v, struct tf_reading *r)
{
	struct meter *m = &v->meter;
	uint64_t guest = v->guest_cycles - m->base.guest;
	uint64_t switches = r->exits * vm.costs.exit;

	if (!pmc_read(&m->pmc, &r->instructions, &r->tlb_misses) && guest > ms(1))
		return false;
	r->counted_cycles = guest > switches ? guest - switches : 1;
	return true;
}

static const struct meter_source counters = {
	.name = "counters",
	.read = counters_read,
};

/* ---- readings ---- */

/* The next reading begins; what was not read of this one is left out. */
static void restart(struct vcpu *v)
{
	struct meter *m = &v->meter;
	struct tf_reading left_out = {0};

	if (m->source && m->source->read)
		(void)m->source->read(v, &left_out);
	sums_take(v, &m->base);
	m->covered = 0;
}

static void reading_take(struct vcpu *v, struct tf_reading *r)
{
	struct meter *m = &v->meter;
	const struct meter_sums *a = &m->base;
	const unsigned int *n = m->window.count;
	struct meter_sums b;

	sums_take(v, &b);
	*r = (struct tf_reading){
		.cycles = b.now - a->now,
		.exits = b.exits - a->exits,
		.exit_cycles = b.exit_cycles - a->exit_cycles,
		.meter_cycles = b.spent - a->spent,
	};
	if (v->watched) {
		r->shadow_exits = b.shadow_exits - a->shadow_exits;
		r->shadow_cycles = b.shadow_cycles - a->shadow_cycles;
	}
	if (v->shadow) {
		r->event_cycles = r->cycles;
		r->faults = b.faults - a->faults;
		r->fills = b.fills - a->fills;
		r->fill_cycles = b.fill_cycles - a->fill_cycles;
		r->cr3_writes = b.cr3_writes - a->cr3_writes;
		r->invlpgs = b.invlpgs - a->invlpgs;
	} else if (m->covered) {
		r->event_cycles = m->covered;
		r->faults = n[WINDOW_FAULT];
		r->cr3_writes = n[WINDOW_CR3];
		r->invlpgs = n[WINDOW_INVLPG];
	}
	if (m->source->read && !m->source->read(v, r))
		m->source = &sampling;
}

/* The reading stands for more time than it was taken in; events tell for how long they were
 * counted. */
static void reading_stretch(struct tf_reading *r, uint64_t cycles)
{
	uint64_t *const member[] = {
		&r->exits,	 &r->exit_cycles, &r->shadow_exits, &r->shadow_cycles,	&r->fills,
		&r->fill_cycles, &r->tlb_misses,  &r->instructions, &r->counted_cycles,
	};

	for (unsigned int i = 0; i < sizeof(member) / sizeof(member[0]); i++)
		*member[i] = pace_scale(*member[i], cycles, r->cycles);
	r->cycles = cycles;
}

/* Sending events is in no reading. */
static void sent(struct vcpu *v, uint64_t began)
{
	uint64_t cycles = x86_rdtsc() - began;

	v->meter.sent += cycles;
	took(v, cycles);
}

static void tell(struct vcpu *v)
{
	struct meter *m = &v->meter;
	const struct tf_verdict *d = &m->verdict;
	uint64_t began = x86_rdtsc();

	m->tells = false;
	if (d->switched)
		report_switch(v->index, d);
	if (cmdline.trace && began - m->traced_tsc >= ms(TRACE_MS)) {
		m->traced_tsc = began;
		report_sample(v->index, d, pace_scale(m->pace.spent, 1000000, vcpu_awake(v) + 1));
	}
	sent(v, began);
}

void meter_send(struct vcpu *v)
{
	uint64_t began;

	if (v->meter.tells)
		tell(v);
	began = x86_rdtsc();
	console_send_some();
	sent(v, began);
}

/* An address space leaves its shadow tables by this exit, a CR3 write, which is in no sum yet. */
static void add_leaving(const struct vcpu *v, struct tf_reading *r)
{
	const struct exit_stats *e = &v->stats;
	uint64_t n = e->count[KIND_CR3_WRITE];

	r->shadow_exits++;
	r->shadow_cycles += n ? e->cycles[KIND_CR3_WRITE] / n : 0;
	r->cr3_writes++;
}

static void reading_add(struct tf_reading *to, const struct tf_reading *r)
{
	to->cycles += r->cycles;
	to->exits += r->exits;
	to->exit_cycles += r->exit_cycles;
	to->shadow_exits += r->shadow_exits;
	to->shadow_cycles += r->shadow_cycles;
	to->fills += r->fills;
	to->fill_cycles += r->fill_cycles;
	to->event_cycles += r->event_cycles;
	to->faults += r->faults;
	to->cr3_writes += r->cr3_writes;
	to->invlpgs += r->invlpgs;
	to->counted_cycles += r->counted_cycles;
	to->tlb_misses += r->tlb_misses;
	to->instructions += r->instructions;
	to->meter_cycles += r->meter_cycles;
}

/* Begin the next reading without having told this one. */
static void leave_out(struct vcpu *v, bool leaves)
{
	struct meter *m = &v->meter;
	struct tf_reading r;

	if (v->shadow) {
		reading_take(v, &r);
		if (leaves)
			add_leaving(v, &r);
		reading_add(&m->left, &r);
	} else {
		m->untold += m->now - m->base.now;
	}
	restart(v);
}

/* The next reading is due when the regret may have come to the price. On shadow tables losses come
 * suddenly; and where the CPU counts, readings alone tell of changes. */
static uint64_t period(const struct vcpu *v, const struct tf_verdict *d)
{
	uint64_t left, due;

	if (v->shadow || d->switched || v->meter.source->read)
		return ms(PERIOD_MS);
	if (v->meter.quiet || d->nested_ppm <= d->shadow_ppm)
		return ms(QUIET_MS);
	left = d->price > d->regret ? d->price - d->regret : 0;
	due = pace_scale(left, 1000000, d->nested_ppm - d->shadow_ppm);
	return due < ms(PERIOD_MS) ? ms(PERIOD_MS) : due > ms(QUIET_MS) ? ms(QUIET_MS) : due;
}

/* What a verdict says of how to go on metering. */
static void adapt(struct vcpu *v, const struct tf_verdict *d)
{
	struct meter *m = &v->meter;
	bool was_quiet = m->quiet, more = d->nested_ppm > 2 * m->known_ppm;

	m->quiet = m->source->begin && d->nested_ppm < PACE_PPM;
	m->period = period(v, d);
	m->known_ppm = d->nested_ppm;
	if (was_quiet && !m->quiet)
		m->window_at = m->now;
	/* The work seems to have changed: a few samples more now, and a window, on credit, which is
	 * given again when it was paid back. */
	if (v->shadow || m->quiet || !more || !m->source->begin ||
	    m->now < m->hurried + ms(WAIT_MS) || m->pace.free_at > m->now + ms(QUIET_MS))
		return;
	m->hurried = m->now;
	m->hurry = HURRY_SAMPLES;
	m->sample_at = m->now;
	m->skip = 0;
}

/* `leaves`: the exit is the one by which an address space leaves its shadow tables. */
static void note(struct vcpu *v, bool leaves)
{
	struct meter *m = &v->meter;
	enum tf_mode wanted = __atomic_load_n(&vm.mode_wanted, __ATOMIC_ACQUIRE);
	uint64_t began = x86_rdtsc();
	struct tf_reading r;
	struct tf_regs regs;
	struct tf_verdict d;

	reading_take(v, &r);
	if (!r.cycles)
		return;
	if (leaves)
		add_leaving(v, &r);
	if (v->shadow) {
		reading_add(&r, &m->left);
		m->left = (struct tf_reading){0};
	} else {
		reading_stretch(&r, r.cycles + m->untold);
		m->untold = 0;
	}
	vcpu_read_regs(v, &regs);
	tf_choice_note(v->mmu, &regs, &r, &d);
	adapt(v, &d);
	spend(v, x86_rdtsc() - began);
	if (d.mode != wanted)
		virt_switch(wanted, d.mode);
	v->goes_over |= d.switched;
	if (d.switched || cmdline.trace) {
		m->verdict = d;
		m->tells = true;
	}
	restart(v);
}

/* ---- samples ---- */

static void sample_end(struct vcpu *v)
{
	struct meter *m = &v->meter;
	uint64_t began = x86_rdtsc();
	uint64_t guest = v->guest_cycles - m->sample_guest;
	uint64_t switches = (exits_of(v) + 1 - m->sample_exits) * vm.costs.exit;

	m->samples = false;
	virt_intercept(v);
	/* Of a short stretch the world switch is nearly all, and what is left of it uncertain. */
	guest = guest > switches + guest / 4 ? guest - switches : guest / 4;
	m->source->end(v, guest);
	m->sample_count++;
	m->sample_at = m->now + ms(SAMPLE_MS);
	m->skip = (unsigned int)chance(m, SKIP_MOST + 1);
	if (m->hurry) {
		m->sample_at = m->now;
		m->skip = 0;
	}
	spend(v, x86_rdtsc() - began);
	if (m->due <= m->now + ms(PERIOD_MS))
		return;
	m->due = m->now + ms(SOON_MS);
	m->timer = 0;
	if (m->quiet && !v->shadow && !m->covered) { /* what it found holds from now on */
		restart(v);
		m->untold = 0;
	}
}

/* Would nested mode have had this exit as well? */
static bool is_common(const struct vcpu *v)
{
	return !v->meter.own && !is_shadow_kind(v->kind);
}

/* The clock right before an entry. */
static uint64_t clock_at_entry(const struct vcpu *v)
{
	const struct meter *m = &v->meter;
	uint64_t spent = m->pace.spent + m->stolen + m->sent;

	return vcpu_awake(v) + (x86_rdtsc() - v->exit_tsc) - spent;
}

static void sample_begin(struct vcpu *v)
{
	struct meter *m = &v->meter;

	m->waits = false;
	m->hurry -= m->hurry > 0;
	m->sample_at = m->now + ms(SAMPLE_MS);
	m->samples = m->source->begin(v);
	m->sample_began = m->now;
	m->sample_guest = v->guest_cycles;
	m->sample_exits = exits_of(v) + 1; /* the one that is about to end */
}

/* ---- windows ---- */

static void window_begin(struct vcpu *v, uint64_t now)
{
	struct meter *m = &v->meter;
	uint64_t limit = ms(PERIOD_MS) / 1000000 * PACE_PPM / 2 / (m->event_cost + 1);

	if (limit < LIMIT_LEAST)
		limit = LIMIT_LEAST;
	if (limit > LIMIT_MOST)
		limit = LIMIT_MOST;
	window_open(&m->window, now, (unsigned int)limit, us(WINDOW_US));
	m->window_count++;
	vcpu_forget_insns(v);
}

static void window_end(struct vcpu *v)
{
	struct meter *m = &v->meter;

	m->covered = window_close(&m->window, m->now);
	/* The next comes at a time of chance. Where nested tables lose nothing that would pay for
	 * metering, it does not matter what shadow tables would: that is left to samples. */
	m->window_at = m->now + ms(PERIOD_MS) + chance(m, ms(PERIOD_MS) / 2) +
		       (m->quiet ? ms(2 * QUIET_MS) : 0);
	virt_intercept(v);
}

void meter_enter(struct vcpu *v)
{
	struct meter *m = &v->meter;
	uint64_t began = x86_rdtsc();

	if (!v->switch_tsc && has_long_paging(v)) {
		if (m->begins & BEGIN_SAMPLE)
			sample_begin(v);
		spend(v, x86_rdtsc() - began);
		if ((m->begins & BEGIN_WINDOW) && !v->shadow)
			window_begin(v, clock_at_entry(v));
		virt_intercept(v);
		m->look = 0;
	}
	m->begins = 0;
}

void meter_event(struct vcpu *v, enum window_event e)
{
	struct meter *m = &v->meter;

	clock_set(v);
	m->own = !v->watched || e != WINDOW_CR3;
	if (m->window.open)
		window_count(&m->window, m->now, e);
}

void meter_timed(struct vcpu *v)
{
	v->meter.own = true;
	v->meter.timer = 0;
	v->meter.look = 0;
	clock_set(v);
}

/* ---- the clockwork ---- */

/* When to look again. */
static void look_later(struct vcpu *v)
{
	struct meter *m = &v->meter;
	uint64_t at = m->due, sample = m->sample_at, window = m->window_at;

	if (m->samples || m->window.open) {
		m->look = 0;
		return;
	}
	if (m->source->begin && sample < m->pace.free_at && !m->hurry)
		sample = m->pace.free_at;
	if (m->waits)
		sample = m->sample_began + ms(CHANGE_MS);
	if (window < m->pace.free_at && !m->hurry)
		window = m->pace.free_at;
	if (m->source->begin && sample < at)
		at = sample;
	if (!v->shadow && window < at)
		at = window;
	m->look = at + m->pace.spent + m->stolen + m->sent; /* of the time awake */
}

/* For a guest that does not exit by itself. */
static void timer_set(struct vcpu *v)
{
	struct meter *m = &v->meter;
	uint64_t left = m->due > m->now ? m->due - m->now : 0;

	m->timer = v->exit_tsc + left + ms(TIMER_MS);
}

void meter_start(struct vcpu *v)
{
	struct meter *m = &v->meter;
	struct pmc_cpu cpu;

	pmc_cpu_read(&cpu);
	m->random = cmdline.seed * 0x9e3779b97f4a7c15ull + v->index + 1;
	m->random += !m->random;
	m->source = pmc_start(&m->pmc, &cpu) ? &counters : &sampling;
	m->pace.wait_most = ms(WAIT_MS);
	m->event_cost = 3 * vm.costs.exit;
	m->period = m->due = ms(PERIOD_MS);
	m->window_at = chance(m, ms(PERIOD_MS) / 2);
	restart(v);
	look_later(v);
	timer_set(v);
	virt_timer_arm(v);
}

/* What is to begin with the next entry. */
static void begin_later(struct vcpu *v, bool common)
{
	struct meter *m = &v->meter;

	if (!v->shadow && !m->window.open && !m->covered && (m->follows || m->now >= m->window_at))
		m->begins |= BEGIN_WINDOW;
	m->follows = false;
	if (!m->source->begin || !common || m->samples || m->waits || m->now < m->sample_at)
		return;
	if (m->skip) {
		m->skip--;
	} else if (chance(m, 2)) {
		m->begins |= BEGIN_SAMPLE;
	} else {
		m->waits = true;
		m->writes = 0;
		m->waits_for = v->guest.cr3 & CR3_SPACE;
		m->sample_began = m->now;
		virt_intercept(v);
	}
}

void meter_exit(struct vcpu *v)
{
	struct meter *m = &v->meter;
	bool common;
	uint64_t sampled;

	clock_set(v);
	common = is_common(v);
	sampled = m->now - m->sample_began;
	if (m->samples && (sampled >= ms(PERIOD_MS) || (common && sampled >= us(SAMPLE_LEAST_US))))
		sample_end(v);
	if (m->window.open && window_is_over(&m->window, m->now)) {
		window_end(v);
		m->followed = false;
		/* What it tells is told of the address space that it was in. */
		if (cmdline.grain == TF_GRAIN_SPACE)
			note(v, false);
	}
	if (m->now >= m->due) {
		note(v, false);
		m->due = m->now + m->period;
		m->timer = 0;
	}
	if (!m->timer) {
		timer_set(v);
		/* (If it has just fired, its work comes next, and arms it. What is due by now would
		 * make it fire once more.) */
		if (!v->timer_fired)
			virt_timer_arm(v);
	}
	if (m->waits && common && !v->goes_over && m->now - m->sample_began >= ms(CHANGE_MS))
		m->begins |= BEGIN_SAMPLE;
	if ((pace_is_free(&m->pace, m->now) || m->hurry) && !v->goes_over)
		begin_later(v, common);
	look_later(v);
}

/* ---- what happens to the vCPU ---- */

void meter_sleep(struct vcpu *v)
{
	v->meter.timer = 0;
	virt_timer_arm(v);
}

void meter_wake(struct vcpu *v)
{
	timer_set(v);
	virt_timer_arm(v);
}

/* With grain=space a reading belongs to one address space. */
static void space_changes(struct vcpu *v)
{
	struct meter *m = &v->meter;

	if (m->window.open && !v->shadow) {
		window_end(v);
		m->follows = !m->followed;
		m->followed = m->follows;
		note(v, false);
		return;
	}
	if (!v->shadow)
		return;
	/* Where there are more changes than the budget has readings for, one tells of several. */
	if (pace_is_free(&m->pace, m->now))
		note(v, true);
	else
		leave_out(v, true);
}

void meter_cr3(struct vcpu *v, uint64_t from, uint64_t to)
{
	struct meter *m = &v->meter;
	bool changes = (from ^ to) & CR3_SPACE;

	if (!m->samples && !m->waits && !changes)
		return;
	clock_set(v);
	if (m->samples)
		sample_end(v);
	if (m->waits &&
	    (++m->writes >= WRITES_MOST || (changes && (to & CR3_SPACE) == m->waits_for)))
		m->begins |= BEGIN_SAMPLE;
	if (changes && cmdline.grain == TF_GRAIN_SPACE)
		space_changes(v);
}

void meter_root(struct vcpu *v)
{
	struct meter *m = &v->meter;

	if (m->source) {
		clock_set(v);
		leave_out(v, false);
		if (m->due > m->now + ms(PERIOD_MS)) {
			m->due = m->now + ms(PERIOD_MS);
			m->timer = 0;
		}
	}
	m->window.open = false;
	m->look = 0;
}
