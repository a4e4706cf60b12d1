/* A walk as the hypervisor explained it (event `walk`, docs/protocol.md), and what shows it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_WALK_H
#define CLI_WALK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What is asked of a run (the hypervisor's words), and its answer. */
struct walk_ask {
	const char *where, *when, *access;
	json_t *event; /* NULL: it did not answer */
};

enum { WALK_LEVELS = 5, WALK_NESTED_LEVELS = 4 };

enum walk_kind { WALK_EMPTY, WALK_TABLE, WALK_LEAF, WALK_RESERVED };

struct walk_entry {
	unsigned int level; /* 0: of 4 KiB pages */
	uint64_t at, value;
	enum walk_kind kind;
	bool there; /* else its table is missing, and only the level is known */
};

/* The nested walk for one guest-physical address. */
struct walk_nested {
	uint64_t at, to; /* to: host-physical; 0: the frame is not backed */
	const char *end; /* "mapped", "empty", "denied", "read_only" */
	unsigned int filled, n;
	const json_t *frame; /* array of words */
	struct walk_entry entry[WALK_NESTED_LEVELS];
};

/* An entry of the guest's and the nested walk before it; or the last such walk, for the access. */
struct walk_step {
	bool has_nested, has_entry;
	struct walk_nested nested;
	struct walk_entry entry;
};

struct walk_shadow {
	const char *table; /* "missing", "unsync", "tracked", "direct" */
	uint64_t of;	   /* of the guest's table, or of the large page */
	const json_t *frame;
	unsigned int present;
	bool reached, old;
	struct walk_entry entry;
};

struct walk {
	const json_t *event; /* the rest is there */
	uint64_t at;
	unsigned int cpu, levels, cpl;
	bool user, shadow; /* shadow: the hardware walks shadow tables now */
	const char *where, *when, *access, *format, *nested_format, *end, *bits;
	uint64_t rip, cr3, page_size;
	unsigned int pfec, native, references, filled;
	bool nested_mapped;
	unsigned int n;
	struct walk_step step[WALK_LEVELS + 1];
	const char *shadow_end;
	uint64_t shadow_to;
	unsigned int shadow_references, shadow_filled, shadow_n;
	struct walk_shadow shadow_step[WALK_LEVELS];
};

enum { WALK_TEXT = 160 };

/* ---- walk_event.c ---- */

/* False: the event is not what it should be. What it points to belongs to the event. */
bool walk_read(struct walk *w, const json_t *event);

/* The name of an entry by its level: "PML4E" down to "PTE"; of 32-bit tables, only the last two. */
const char *walk_name(unsigned int level);
/* A short word for the format of nested tables: "NPT", "EPT". */
const char *walk_nested_word(const struct walk *w);
/* What an entry of tables of that format says: "table  P W U A". */
void walk_flags(const char *format, const struct walk_entry *e, char text[WALK_TEXT]);
/* "4K", "2M", "1G". */
const char *walk_size(uint64_t bytes);
/* How the walk of the guest's tables ended, in one sentence. */
void walk_verdict(const struct walk *w, char text[WALK_TEXT * 2]);
/* Why a nested walk does not come to its end, and what a fault will do; "" if it does. */
void walk_trouble(const struct walk *w, const struct walk_nested *n, char text[WALK_TEXT]);
/* What one level of shadow tables is, and is there for. */
void walk_table_state(const struct walk_shadow *s, char text[WALK_TEXT]);
/* What the walk on shadow tables comes to, in one sentence. */
void walk_shadow_verdict(const struct walk *w, char text[WALK_TEXT * 2]);
/* Does it come, or will it, to a leaf? */
bool walk_has_shadow(const struct walk *w);
/* When it was, in words. */
void walk_moment(const struct walk *w, char text[WALK_TEXT]);

/* ---- what shows it ---- */

void walk_put_text(FILE *f, const struct walk *w);
void walk_put_page(FILE *f, const struct walk *w);

#endif
