/* The event `walk` read, and its entries in words: see walk.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "walk.h"

#define BIT(n) (UINT64_C(1) << (n))

/* ---- reading ---- */

static const char *text_in(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t ? t : "";
}

/* Addresses and entries are texts, for JSON's numbers are too small. */
static uint64_t hex_in(const json_t *o, const char *key)
{
	return strtoull(text_in(o, key), NULL, 16);
}

static unsigned int number_in(const json_t *o, const char *key)
{
	return (unsigned int)json_integer_value(json_object_get(o, key));
}

static bool entry_read(struct walk_entry *e, const json_t *o)
{
	static const char *const kinds[] = {"empty", "table", "leaf", "reserved"};
	const char *kind = text_in(o, "kind");

	*e = (struct walk_entry){.level = number_in(o, "level")};
	if (!json_is_object(o) || e->level >= WALK_LEVELS)
		return false;
	e->there = json_object_get(o, "at");
	e->at = hex_in(o, "at");
	e->value = hex_in(o, "value");
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!strcmp(kind, kinds[i])) {
			e->kind = (enum walk_kind)i;
			return true;
		}
	}
	return !e->there;
}

static bool nested_read(struct walk_nested *n, const json_t *o)
{
	const json_t *entries = json_object_get(o, "entries");

	*n = (struct walk_nested){
		.at = hex_in(o, "at"),
		.to = hex_in(o, "to"),
		.end = text_in(o, "end"),
		.filled = number_in(o, "filled"),
		.n = (unsigned int)json_array_size(entries),
		.frame = json_object_get(o, "frame"),
	};
	if (n->n > WALK_NESTED_LEVELS || n->filled > WALK_NESTED_LEVELS)
		return false;
	for (unsigned int i = 0; i < n->n; i++) {
		if (!entry_read(&n->entry[i], json_array_get(entries, i)))
			return false;
	}
	return true;
}

static bool step_read(struct walk_step *s, const json_t *o)
{
	const json_t *nested = json_object_get(o, "nested"), *entry = json_object_get(o, "entry");

	s->has_nested = nested;
	s->has_entry = entry;
	return (!nested || nested_read(&s->nested, nested)) &&
	       (!entry || (entry_read(&s->entry, entry) && s->entry.there));
}

static bool shadow_read(struct walk_shadow *s, const json_t *o)
{
	*s = (struct walk_shadow){
		.table = text_in(o, "table"),
		.of = hex_in(o, "of"),
		.frame = json_object_get(o, "frame"),
		.present = number_in(o, "present"),
		.reached = number_in(o, "reached"),
		.old = number_in(o, "old"),
	};
	return entry_read(&s->entry, json_object_get(o, "entry"));
}

bool walk_read(struct walk *w, const json_t *e)
{
	const json_t *steps = json_object_get(e, "steps"), *shadow = json_object_get(e, "shadow");
	const json_t *shadows = json_object_get(shadow, "steps");

	*w = (struct walk){
		.event = e,
		.at = hex_in(e, "at"),
		.cpu = number_in(e, "cpu"),
		.levels = number_in(e, "levels"),
		.cpl = number_in(e, "cpl"),
		.user = number_in(e, "user"),
		.shadow = !strcmp(text_in(e, "running"), "shadow"),
		.where = text_in(e, "where"),
		.when = text_in(e, "when"),
		.access = text_in(e, "access"),
		.format = text_in(e, "format"),
		.nested_format = text_in(e, "nested_format"),
		.end = text_in(e, "end"),
		.bits = text_in(e, "bits"),
		.rip = hex_in(e, "rip"),
		.cr3 = hex_in(e, "cr3"),
		.page_size = (uint64_t)json_integer_value(json_object_get(e, "page_size")),
		.pfec = number_in(e, "pfec"),
		.native = number_in(e, "native"),
		.references = number_in(e, "references"),
		.filled = number_in(e, "filled"),
		.nested_mapped = number_in(e, "nested_mapped"),
		.n = (unsigned int)json_array_size(steps),
		.shadow_end = text_in(shadow, "end"),
		.shadow_to = hex_in(shadow, "to"),
		.shadow_references = number_in(shadow, "references"),
		.shadow_filled = number_in(shadow, "filled"),
		.shadow_n = (unsigned int)json_array_size(shadows),
	};
	if (!*w->end || !*w->shadow_end || w->n > WALK_LEVELS + 1 || w->shadow_n > WALK_LEVELS)
		return false;
	for (unsigned int i = 0; i < w->n; i++) {
		if (!step_read(&w->step[i], json_array_get(steps, i)))
			return false;
	}
	for (unsigned int i = 0; i < w->shadow_n; i++) {
		if (!shadow_read(&w->shadow_step[i], json_array_get(shadows, i)))
			return false;
	}
	return true;
}

/* ---- entries in words ---- */

const char *walk_name(unsigned int level)
{
	static const char *const names[] = {"PTE", "PDE", "PDPTE", "PML4E", "PML5E"};

	return names[level < WALK_LEVELS ? level : WALK_LEVELS - 1];
}

const char *walk_nested_word(const struct walk *w)
{
	return !strncmp(w->nested_format, "EPT", 3) ? "EPT" : "NPT";
}

const char *walk_size(uint64_t bytes)
{
	static char text[4][16];
	static unsigned int next;
	char *t = text[next++ % 4];

	if (bytes >= BIT(30))
		snprintf(t, sizeof(text[0]), "%lluG", (unsigned long long)(bytes >> 30));
	else if (bytes >= BIT(20))
		snprintf(t, sizeof(text[0]), "%lluM", (unsigned long long)(bytes >> 20));
	else
		snprintf(t, sizeof(text[0]), "%lluK", (unsigned long long)(bytes >> 10));
	return t;
}

/* Appends to a text of SIZE characters. */
static void add(char *text, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void add(char *text, size_t size, const char *fmt, ...)
{
	size_t n = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, size - n, fmt, ap);
	va_end(ap);
}

static void add_bits(char *text, uint64_t value, const char *const *names, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		if (names[i] && value & BIT(i))
			add(text, WALK_TEXT, " %s", names[i]);
	}
}

/* AMD APM vol. 2, 5.3 and 5.4; Intel SDM vol. 3, 4.3 to 4.5. */
static void x86_flags(const struct walk_entry *e, char *text)
{
	static const char *const low[] = {"P", "W", "U", "PWT", "PCD", "A", NULL, NULL};
	bool leaf = e->kind == WALK_LEAF;

	add_bits(text, e->value, low, sizeof(low) / sizeof(low[0]));
	if (leaf && e->value & BIT(6))
		add(text, WALK_TEXT, " D");
	if (e->level > 0 && e->value & BIT(7))
		add(text, WALK_TEXT, " PS");
	if (leaf && e->value & (e->level ? BIT(12) : BIT(7)))
		add(text, WALK_TEXT, " PAT");
	if (leaf && e->value & BIT(8))
		add(text, WALK_TEXT, " G");
	if (leaf && e->value >> 59 & 15)
		add(text, WALK_TEXT, " key%u", (unsigned int)(e->value >> 59 & 15));
	if (e->value & BIT(63))
		add(text, WALK_TEXT, " NX");
}

/* Intel SDM vol. 3, 29.3.2. */
static void ept_flags(const struct walk_entry *e, char *text)
{
	static const char *const low[] = {"R", "W", "X"};
	static const char *const types[] = {"UC", "WC", "2", "3", "WT", "WP", "WB", "7"};

	add_bits(text, e->value, low, sizeof(low) / sizeof(low[0]));
	if (e->kind == WALK_LEAF)
		add(text, WALK_TEXT, " %s%s", types[e->value >> 3 & 7],
		    e->value & BIT(6) ? " IPAT" : "");
	if (e->level > 0 && e->value & BIT(7))
		add(text, WALK_TEXT, " PS");
	if (e->value & BIT(8))
		add(text, WALK_TEXT, " A");
	if (e->kind == WALK_LEAF && e->value & BIT(9))
		add(text, WALK_TEXT, " D");
}

void walk_flags(const char *format, const struct walk_entry *e, char text[WALK_TEXT])
{
	bool ept = !strncmp(format, "EPT", 3), narrow = !strncmp(format, "32-bit", 6);

	text[0] = '\0';
	if (!e->there) {
		add(text, WALK_TEXT, "no table");
		return;
	}
	switch (e->kind) {
	case WALK_EMPTY:
		add(text, WALK_TEXT, "not present");
		return;
	case WALK_RESERVED:
		add(text, WALK_TEXT, "a reserved bit is set:");
		break;
	case WALK_TABLE:
		add(text, WALK_TEXT, "table  ");
		break;
	case WALK_LEAF:
		add(text, WALK_TEXT, "%s page",
		    walk_size(UINT64_C(4096) << ((narrow ? 10 : 9) * e->level)));
	}
	if (ept)
		ept_flags(e, text);
	else
		x86_flags(e, text);
}

/* ---- sentences ---- */

void walk_moment(const struct walk *w, char text[WALK_TEXT])
{
	text[0] = '\0';
	if (!strcmp(w->when, "mapped"))
		add(text, WALK_TEXT, "at the first exit at which it is mapped");
	else if (!strcmp(w->when, "user"))
		add(text, WALK_TEXT, "at the first exit at which a user has a page there");
	else if (!strcmp(w->when, "mark"))
		add(text, WALK_TEXT, "at the guest's mark");
	else if (!strcmp(w->when, "ms"))
		add(text, WALK_TEXT, "at the first exit after the time given");
	else
		add(text, WALK_TEXT, "at the guest's end, which came first");
}

static const struct walk_entry *last_entry(const struct walk *w)
{
	for (unsigned int i = w->n; i-- > 0;) {
		if (w->step[i].has_entry)
			return &w->step[i].entry;
	}
	return NULL;
}

void walk_verdict(const struct walk *w, char text[WALK_TEXT * 2])
{
	const size_t size = WALK_TEXT * 2;
	const struct walk_entry *e = last_entry(w);
	const struct walk_step *last = w->n ? &w->step[w->n - 1] : NULL;
	const char *name = e ? walk_name(e->level) : "";

	text[0] = '\0';
	if ((!strcmp(w->end, "mapped") || !strcmp(w->end, "device")) && last) {
		add(text, size, "The guest maps it to its 0x%llx",
		    (unsigned long long)last->nested.at);
		if (w->page_size)
			add(text, size, ", in a page of %s (%s)", walk_size(w->page_size), w->bits);
		if (!strcmp(w->end, "device"))
			add(text, size, ", where no memory is: a device, or nothing.");
		else if (last->nested.to)
			add(text, size, "; that is the machine's 0x%llx.",
			    (unsigned long long)last->nested.to);
		else
			add(text, size, ", which was never touched.");
		return;
	}
	if (!strcmp(w->end, "absent"))
		add(text, size, "The guest does not map it: its %s is not present.", name);
	else if (!strcmp(w->end, "reserved"))
		add(text, size, "The walk ends at the guest's %s, which has a reserved bit set.",
		    name);
	else if (!strcmp(w->end, "denied"))
		add(text, size, "The guest maps it, but not for this access (the page is %s).",
		    w->bits);
	else if (!strcmp(w->end, "no_table") && last)
		add(text, size, "The guest's next entry lies at its 0x%llx, where no memory is.",
		    (unsigned long long)last->nested.at);
	else
		add(text, size, "The address is not canonical: #GP, before any walk.");
	if (strcmp(w->end, "not_canonical") != 0)
		add(text, size, " #PF, error code 0x%x.", w->pfec);
}

static bool frame_is(const json_t *frame, const char *word)
{
	const json_t *x;
	size_t i;

	json_array_foreach(frame, i, x)
	{
		if (!strcmp(json_string_value(x) ? json_string_value(x) : "", word))
			return true;
	}
	return false;
}

void walk_trouble(const struct walk *w, const struct walk_nested *n, char text[WALK_TEXT])
{
	const char *what = "which installs a leaf";

	text[0] = '\0';
	if (!strcmp(n->end, "mapped"))
		return;
	if (!frame_is(n->frame, "memory"))
		what = "and no memory is there";
	else if (frame_is(n->frame, "gate"))
		what = "the gate of an address space that runs on shadow tables";
	else if (!frame_is(n->frame, "backed"))
		what = "which gives it a frame, and a leaf";
	else if (frame_is(n->frame, "tracked") && strcmp(n->end, "empty") != 0)
		what = "which ends its tracking: it is a guest table that shadows rely on";
	else if (frame_is(n->frame, "logged") && strcmp(n->end, "empty") != 0)
		what = "which notes the write in the dirty log";
	if (!strcmp(n->end, "empty"))
		add(text, WALK_TEXT, "nothing is mapped: a nested fault, %s", what);
	else if (!strcmp(n->end, "read_only"))
		add(text, WALK_TEXT, "A or D cannot be set in it: a nested fault, %s", what);
	else if (n == &w->step[w->n - 1].nested)
		add(text, WALK_TEXT, "not for this access: a nested fault, %s", what);
	else
		add(text, WALK_TEXT, "may not be written, as a walk must: a nested fault, %s",
		    what);
}

void walk_table_state(const struct walk_shadow *s, char text[WALK_TEXT])
{
	text[0] = '\0';
	if (!strcmp(s->table, "direct"))
		add(text, WALK_TEXT, "direct%s: pieces of a large page at the guest's 0x%llx",
		    s->entry.there ? "" : ", missing", (unsigned long long)s->of);
	else
		add(text, WALK_TEXT, "%s: for the guest's table at 0x%llx", s->table,
		    (unsigned long long)s->of);
	if (!strcmp(s->table, "unsync"))
		add(text, WALK_TEXT, "%s, re-read when the guest flushes",
		    frame_is(s->frame, "tracked") ? " (tracked by another group)" : "");
	else if (!strcmp(s->table, "tracked"))
		add(text, WALK_TEXT, ", a write to which faults");
	if (s->entry.there)
		add(text, WALK_TEXT, "; %u entr%s", s->present, s->present == 1 ? "y" : "ies");
	if (s->old)
		add(text, WALK_TEXT, "; the guest has changed this one since");
}

void walk_shadow_verdict(const struct walk *w, char text[WALK_TEXT * 2])
{
	const size_t size = WALK_TEXT * 2;
	const char *end = w->shadow_end;
	unsigned int missing = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < w->shadow_n; i++)
		missing += !strcmp(w->shadow_step[i].table, "missing") ||
			   (!strcmp(w->shadow_step[i].table, "direct") &&
			    !w->shadow_step[i].entry.there);
	if (!strcmp(end, "none")) {
		add(text, size,
		    "None: a guest without paging, with 32-bit or PAE tables, or with CR0.WP = 0 "
		    "runs "
		    "on nested tables in either mode.");
		return;
	}
	if (!strcmp(w->end, "not_canonical")) {
		add(text, size, "No reference: #GP, before any walk.");
		return;
	}
	if (!strcmp(end, "mapped")) {
		add(text, size, "%u references, to the machine's 0x%llx.", w->shadow_references,
		    (unsigned long long)w->shadow_to);
		return;
	}
	add(text, size, "%u reference%s now, then a #PF, which ", w->shadow_references,
	    w->shadow_references == 1 ? "" : "s");
	if (!strcmp(end, "device"))
		add(text, size, "ends at a device, or at nothing.");
	else if (!strcmp(end, "injected"))
		add(text, size, "is the guest's own.");
	else if (missing)
		add(text, size, "makes %u table%s and fills the leaf: %u references then.", missing,
		    missing == 1 ? "" : "s", w->shadow_filled);
	else
		add(text, size, "fills what is missing: %u references then.", w->shadow_filled);
}

bool walk_has_shadow(const struct walk *w)
{
	return !strcmp(w->shadow_end, "mapped") || !strcmp(w->shadow_end, "mended");
}
