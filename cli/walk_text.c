/* A walk as text: see walk.h.
 *
 * References are numbered as the hardware makes them once nothing is missing; what is not there yet
 * is told at its place.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <string.h>

#include "walk.h"

static void put_line(FILE *f, unsigned int number, const char *table, const char *name,
		     uint64_t where, const char *format, const struct walk_entry *e)
{
	char flags[WALK_TEXT];

	walk_flags(format, e, flags);
	if (number)
		fprintf(f, "  %3u", number);
	else
		fputs("    -", f);
	if (where)
		fprintf(f, "  %-4s %-6s %#12" PRIx64, table, name, where);
	else
		fprintf(f, "  %-4s %-6s %12s", table, name, "");
	fprintf(f, "  0x%016" PRIx64 "  %s\n", e->value, flags);
}

/* The nested walk of a step; returns the number of its last reference. */
static unsigned int put_nested(FILE *f, const struct walk *w, const struct walk_nested *n,
			       unsigned int number)
{
	char trouble[WALK_TEXT];

	for (unsigned int i = 0; i < n->n; i++)
		put_line(f, i < n->filled ? number + i + 1 : 0, walk_nested_word(w),
			 walk_name(n->entry[i].level), n->entry[i].at, w->nested_format,
			 &n->entry[i]);
	walk_trouble(w, n, trouble);
	if (*trouble)
		fprintf(f, "       (%s)\n", trouble);
	for (unsigned int i = n->n; i < n->filled; i++)
		fprintf(f, "  %3u  %-4s %s\n", number + i + 1, walk_nested_word(w),
			walk_name(WALK_NESTED_LEVELS - 1 - i));
	return number + n->filled;
}

static void put_steps(FILE *f, const struct walk *w)
{
	unsigned int number = 0;

	for (unsigned int i = 0; i < w->n; i++) {
		const struct walk_step *s = &w->step[i];

		if (!s->has_entry && !strcmp(w->end, "no_table"))
			fprintf(f, "\nthe guest's next entry, at its 0x%" PRIx64 "\n",
				s->nested.at);
		else if (!s->has_entry)
			fprintf(f, "\nthe access itself, at the guest's 0x%" PRIx64 "\n",
				s->nested.at);
		else
			fprintf(f, "\nthe guest's %s, at its 0x%" PRIx64 "%s\n",
				walk_name(s->entry.level), s->entry.at,
				s->has_nested ? "" : " (in a register since CR3 was loaded)");
		if (s->has_nested)
			number = put_nested(f, w, &s->nested, number);
		if (!s->has_entry)
			continue;
		number += s->has_nested;
		put_line(f, s->has_nested ? number : 0, "", walk_name(s->entry.level), s->nested.to,
			 w->format, &s->entry);
	}
}

static void put_counts(FILE *f, const struct walk *w)
{
	fputc('\n', f);
	if (w->nested_mapped)
		fprintf(f, "%u references on nested tables", w->references);
	else
		fprintf(f,
			"%u references on nested tables when nothing is missing (now %u, then a "
			"nested "
			"fault)",
			w->filled, w->references);
	fprintf(f, "; %u without a hypervisor", w->native);
	if (walk_has_shadow(w))
		fprintf(f, "; %u on shadow tables", w->shadow_filled);
	fprintf(f, ".\nThe hardware walks %s tables now.\n", w->shadow ? "shadow" : "nested");
}

static void put_shadow(FILE *f, const struct walk *w)
{
	char text[WALK_TEXT * 2];

	fputs("\nshadow tables\n", f);
	for (unsigned int i = 0; i < w->shadow_n; i++) {
		const struct walk_shadow *s = &w->shadow_step[i];

		walk_table_state(s, text);
		if (s->entry.there)
			put_line(f, s->reached ? i + 1 : 0, "", walk_name(s->entry.level),
				 s->entry.at, "x86-64", &s->entry);
		else
			fprintf(f, "    -       %s\n", walk_name(s->entry.level));
		fprintf(f, "       (%s)\n", text);
	}
	walk_shadow_verdict(w, text);
	fprintf(f, "%s\n", text);
}

void walk_put_text(FILE *f, const struct walk *w)
{
	char moment[WALK_TEXT], verdict[WALK_TEXT * 2];

	walk_moment(w, moment);
	walk_verdict(w, verdict);
	fprintf(f, "%s of 0x%" PRIx64, w->access, w->at);
	if (strncmp(w->where, "0x", 2) != 0)
		fprintf(f, " (%s)", w->where);
	fprintf(f, " by %s, on vCPU %u, %s\n", w->user ? "the user" : "the kernel", w->cpu, moment);
	fprintf(f, "tables of the guest: %s", w->format);
	if (w->levels)
		fprintf(f, ", %u levels, CR3 0x%" PRIx64, w->levels, w->cr3);
	fprintf(f, "; nested tables: %s; RIP 0x%" PRIx64 ", CPL %u\n", w->nested_format, w->rip,
		w->cpl);
	put_steps(f, w);
	fprintf(f, "\n%s\n", verdict);
	put_counts(f, w);
	put_shadow(f, w);
}
