/* A stop at which a walk is explained: see walk.h.
 *
 * Lock: none. `walk` is constant after the command line was read; `taken` is taken once.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/walk.h"

#include <twofold/explain.h>

#include "core/console.h"
#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"

static uint32_t taken;	/* some vCPU explains, or has explained, the walk */
static uint32_t marked; /* 1 + the vCPU that made the mark; 0: none yet */

/* ---- the event ---- */

static void put_hex(const char *name, uint64_t v)
{
	char text[20];

	snprintf(text, sizeof(text), "0x%lx", v);
	json_text(name, text);
}

/* The letters of the bits that are set. */
static void put_letters(const char *name, const char *letters, unsigned int bits)
{
	char text[8];
	size_t n = 0;

	for (unsigned int i = 0; letters[i]; i++)
		if (bits & 1u << i)
			text[n++] = letters[i];
	text[n] = '\0';
	json_text(name, text);
}

#define BIT_LETTERS "RWXUADG" /* TF_BIT_*, from bit 0 on */

static void put_entry(const char *name, const struct tf_entry *e)
{
	static const char *const kind[] = {
		[TF_KIND_EMPTY] = "empty",
		[TF_KIND_TABLE] = "table",
		[TF_KIND_LEAF] = "leaf",
		[TF_KIND_RESERVED] = "reserved",
	};

	json_open(name);
	json_number("level", e->level);
	if (e->at) {
		put_hex("at", e->at);
		put_hex("value", e->value);
		json_text("kind", kind[e->kind]);
		put_letters("bits", BIT_LETTERS, e->bits);
	}
	json_close();
}

static void put_frame(uint32_t flags)
{
	static const char *const name[] = {"memory", "backed", "tracked", "logged", "gate"};

	json_open_list("frame");
	for (unsigned int i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		if (flags & 1u << i)
			json_text(NULL, name[i]);
	json_close_list();
}

static void put_nested(const struct tf_nested_walk *n)
{
	static const char *const end[] = {
		[TF_NESTED_MAPPED] = "mapped",
		[TF_NESTED_EMPTY] = "empty",
		[TF_NESTED_DENIED] = "denied",
		[TF_NESTED_READ_ONLY] = "read_only",
	};

	json_open("nested");
	put_hex("at", n->at.v);
	json_text("end", end[n->end]);
	if (n->to.v)
		put_hex("to", n->to.v);
	json_number("filled", n->filled);
	put_frame(n->frame);
	json_open_list("entries");
	for (unsigned int i = 0; i < n->n; i++)
		put_entry(NULL, &n->entry[i]);
	json_close_list();
	json_close();
}

/* The steps in the hardware's order: an entry of the guest's and the nested walk before it; the
 * last has one of the two alone. */
static void put_steps(const struct tf_explanation *x)
{
	json_open_list("steps");
	for (unsigned int i = 0; i < x->n; i++) {
		json_open(NULL);
		if (i == 0 && x->first_is_register)
			json_number("register", 1);
		else
			put_nested(&x->behind[i]);
		put_entry("entry", &x->guest[i]);
		json_close();
	}
	if (x->end == TF_WALK_NO_TABLE || x->end == TF_WALK_MAPPED || x->end == TF_WALK_DEVICE) {
		json_open(NULL);
		put_nested(x->end == TF_WALK_NO_TABLE ? &x->behind[x->n] : &x->data);
		json_close();
	}
	json_close_list();
}

static void put_shadow(const struct tf_explanation *x)
{
	static const char *const end[] = {
		[TF_SHADOW_NONE] = "none",	   [TF_SHADOW_MAPPED] = "mapped",
		[TF_SHADOW_MENDED] = "mended",	   [TF_SHADOW_DEVICE] = "device",
		[TF_SHADOW_INJECTED] = "injected",
	};
	static const char *const table[] = {
		[TF_SHADOW_MISSING] = "missing",
		[TF_SHADOW_UNSYNC] = "unsync",
		[TF_SHADOW_TRACKED] = "tracked",
		[TF_SHADOW_DIRECT] = "direct",
	};

	json_open("shadow");
	json_text("end", end[x->shadow_end]);
	if (x->shadow_end == TF_SHADOW_MAPPED)
		put_hex("to", x->shadow_to.v);
	json_number("references", x->shadow_refs);
	json_number("filled", x->shadow_filled);
	json_open_list("steps");
	for (unsigned int i = 0; i < x->shadow_n; i++) {
		const struct tf_shadow_step *s = &x->shadow[i];

		json_open(NULL);
		json_text("table", table[s->table]);
		put_hex("of", gfn_to_gpa(s->of).v);
		put_frame(s->frame);
		json_number("present", s->present);
		json_number("reached", s->reached);
		json_number("old", s->old);
		put_entry("entry", &s->entry);
		json_close();
	}
	json_close_list();
	json_close();
}

static void report(const struct vcpu *v, const char *when, const struct tf_explanation *x)
{
	static const char *const end[] = {
		[TF_WALK_MAPPED] = "mapped",
		[TF_WALK_DEVICE] = "device",
		[TF_WALK_ABSENT] = "absent",
		[TF_WALK_RESERVED] = "reserved",
		[TF_WALK_DENIED] = "denied",
		[TF_WALK_NO_TABLE] = "no_table",
		[TF_WALK_NOT_CANONICAL] = "not_canonical",
	};
	const struct guest *g = &v->guest;

	json_begin("walk");
	json_number("tsc", x86_rdtsc() - vm.start_tsc);
	json_number("cpu", v->index);
	json_text("when", when);
	json_text("where", walk.where);
	put_hex("at", x->access.at.v);
	json_text("access", x->access.flags & TF_WRITE	 ? "write"
			    : x->access.flags & TF_FETCH ? "fetch"
							 : "read");
	json_number("user", (x->access.flags & TF_USER) != 0);
	json_text("running", x->running == TF_SHADOW ? "shadow" : "nested");
	put_hex("rip", g->rip);
	json_number("cpl", g->cpl);
	put_hex("cr0", g->cr0);
	put_hex("cr3", g->cr3);
	put_hex("cr4", g->cr4);
	put_hex("efer", g->efer);
	json_text("format", x->format);
	json_text("nested_format", x->nested_format);
	json_number("levels", x->levels);
	json_text("end", end[x->end]);
	json_number("pfec", x->pfec);
	json_number("page_size", x->page_size);
	put_letters("bits", BIT_LETTERS, x->bits);
	json_number("native", x->native);
	json_number("references", x->nested);
	json_number("filled", x->nested_filled);
	json_number("nested_mapped", x->nested_mapped);
	put_steps(x);
	put_shadow(x);
	json_end();
}

/* ---- the stop ---- */

static uint64_t address_of(const struct vcpu *v)
{
	switch (walk.gpr) {
	case WALK_ADDRESS:
		return walk.address;
	case WALK_RIP:
		return vcpu_linear_rip(v);
	case WALK_CR2:
		return v->guest.cr2;
	default:
		return v->gpr[walk.gpr];
	}
}

/* The access is one by who may make it: by the user for a user page. Without a page, by who runs.
 */
static void explain(struct vcpu *v, struct tf_explanation *x)
{
	struct tf_access a = {gva(address_of(v)), walk.flags | TF_AC};
	struct tf_regs r;

	vcpu_read_regs(v, &r);
	tf_explain(v->mmu, &r, &a, x);
	if (x->levels && (x->bits ? x->bits & TF_BIT_U : vcpu_cpl(v) == 3)) {
		a.flags = walk.flags | TF_USER;
		tf_explain(v->mmu, &r, &a, x);
	}
}

static bool take(void)
{
	uint32_t none = 0;

	return __atomic_compare_exchange_n(&taken, &none, 1, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

void walk_mark(struct vcpu *v, uint8_t mark)
{
	uint32_t none = 0;

	if (walk.wanted && walk.when == WALK_MARK && mark == walk.n)
		__atomic_compare_exchange_n(&marked, &none, v->index + 1, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
}

static bool is_due(const struct vcpu *v)
{
	if (walk.when == WALK_MARK)
		return __atomic_load_n(&marked, __ATOMIC_RELAXED) == v->index + 1;
	return walk.when != WALK_MS || x86_rdtsc() - vm.start_tsc >= walk.n * vm.tsc_khz;
}

/* Is the address mapped as it was asked for? */
static bool is_mapped(const struct tf_explanation *x)
{
	if (walk.when != WALK_MAPPED && walk.when != WALK_USER)
		return true;
	return (x->end == TF_WALK_MAPPED || x->end == TF_WALK_DEVICE) &&
	       (walk.when == WALK_MAPPED || (x->levels && (x->bits & TF_BIT_U)));
}

void walk_exit(struct vcpu *v)
{
	static const char *const name[] = {
		[WALK_MAPPED] = "mapped",
		[WALK_USER] = "user",
		[WALK_MARK] = "mark",
		[WALK_MS] = "ms",
	};
	struct tf_explanation x;

	if (__atomic_load_n(&taken, __ATOMIC_RELAXED) || !is_due(v))
		return;
	explain(v, &x);
	if (!is_mapped(&x) || !take())
		return;
	report(v, name[walk.when], &x);
	vm_end(END_WALK, 0);
}

void walk_end(struct vcpu *v)
{
	struct tf_explanation x;

	if (!walk.wanted || !take())
		return;
	explain(v, &x);
	report(v, "end", &x);
}
