/* A trace, read back: see history.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "history.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "figures.h"
#include "say.h"

static const char *const figure_names[FIGURES] = {
	"misses_per_s", "faults_per_s", "cr3_per_s", "exits_per_s", "nested_ppm", "shadow_ppm",
};

/* Room for one more element of SIZE bytes behind the N that there are: doubles at each power of 2.
 */
static void *room_for(void *array, size_t n, size_t size)
{
	if (n & (n - 1))
		return array;
	array = reallocarray(array, n ? n * 2 : 1, size);
	if (!array)
		abort();
	return array;
}

/* ---- one event: NULL, or what is wrong with it ---- */

static const char *mode_take(const json_t *event, const char *key, enum mode *mode)
{
	const char *text = json_string_value(json_object_get(event, key));

	if (!text || (strcmp(text, "nested") != 0 && strcmp(text, "shadow") != 0))
		return "an event without its mode, nested or shadow";
	*mode = !strcmp(text, "shadow") ? MODE_SHADOW : MODE_NESTED;
	return NULL;
}

/* The time, and whom it is for. */
static const char *place_take(const struct history *h, const json_t *event, double *t,
			      uint64_t *space)
{
	const char *grain = json_string_value(json_object_get(event, "grain"));
	const json_t *tsc = json_object_get(event, "tsc");

	if (!json_is_number(tsc) || json_number_value(tsc) < 0)
		return "an event without its time";
	if (h->khz <= 0)
		return "an event before the one that tells the clock";
	*t = figures_seconds(json_number_value(tsc), h->khz);
	*space = 0;
	if (grain && !strcmp(grain, "space"))
		*space = (uint64_t)json_integer_value(json_object_get(event, "space"));
	return NULL;
}

static const char *sample_take(struct history *h, const json_t *event)
{
	struct sample s = {.cpu = (unsigned int)json_integer_value(json_object_get(event, "cpu"))};
	const char *wrong = place_take(h, event, &s.t, &s.space);

	if (!wrong)
		wrong = mode_take(event, "mode", &s.mode);
	if (!wrong && s.cpu >= 4096)
		wrong = "a sample of a CPU that cannot be";
	if (wrong)
		return wrong;
	for (int i = 0; i < FIGURES; i++)
		s.figure[i] = (float)json_number_value(json_object_get(event, figure_names[i]));
	h->by_space |= s.space != 0;
	h->cpus = s.cpu >= h->cpus ? s.cpu + 1 : h->cpus;
	h->samples = room_for(h->samples, h->samples_n, sizeof(s));
	h->samples[h->samples_n++] = s;
	return NULL;
}

static const char *change_take(struct history *h, const json_t *event)
{
	const char *why = json_string_value(json_object_get(event, "why"));
	struct change c = {.why = strdup(why ? why : "")};
	const char *wrong = place_take(h, event, &c.t, &c.space);

	if (!wrong)
		wrong = mode_take(event, "from", &c.from);
	if (!wrong)
		wrong = mode_take(event, "to", &c.to);
	if (wrong)
		return wrong;
	for (int i = 0; i < FIGURES; i++)
		c.figure[i] = json_number_value(json_object_get(event, figure_names[i]));
	c.regret = figures_seconds(json_number_value(json_object_get(event, "regret")), h->khz);
	c.price = figures_seconds(json_number_value(json_object_get(event, "price")), h->khz);
	h->by_space |= c.space != 0;
	h->changes = room_for(h->changes, h->changes_n, sizeof(c));
	h->changes[h->changes_n++] = c;
	return NULL;
}

static const char *mark_take(struct history *h, const json_t *event)
{
	struct mark m = {.byte = (unsigned int)json_integer_value(json_object_get(event, "mark"))};
	uint64_t space;
	const char *wrong = place_take(h, event, &m.t, &space);

	if (wrong)
		return wrong;
	h->marks = room_for(h->marks, h->marks_n, sizeof(m));
	h->marks[h->marks_n++] = m;
	return NULL;
}

static void keep(json_t **to, json_t *event)
{
	json_decref(*to);
	*to = json_incref(event);
}

static const char *event_take(struct history *h, json_t *event)
{
	const char *ev = json_string_value(json_object_get(event, "ev"));

	if (!ev)
		return "no event";
	if (!strcmp(ev, "sample"))
		return sample_take(h, event);
	if (!strcmp(ev, "switch"))
		return change_take(h, event);
	if (!strcmp(ev, "mark"))
		return mark_take(h, event);
	if (!strcmp(ev, "work")) {
		json_array_append(h->works, json_object_get(event, "told"));
	} else if (!strcmp(ev, "run")) {
		keep(&h->run, event);
	} else if (!strcmp(ev, "calibration")) {
		keep(&h->calibration, event);
	} else if (!strcmp(ev, "hello")) {
		keep(&h->hello, event);
		h->khz = json_number_value(json_object_get(event, "tsc_khz"));
	} else if (!strcmp(ev, "end") || !strcmp(ev, "counters")) {
		keep(&h->last, event);
	} else if (!strcmp(ev, "stopped")) {
		const char *reason = json_string_value(json_object_get(event, "reason"));

		h->stopped = strdup(reason ? reason : "");
	}
	return NULL;
}

/* ---- all of them ---- */

static int by_time(const void *a, const void *b)
{
	const double *x = a, *y = b; /* the first member of each */

	return (*x > *y) - (*x < *y);
}
_Static_assert(offsetof(struct sample, t) == 0 && offsetof(struct change, t) == 0 &&
		       offsetof(struct mark, t) == 0,
	       "by_time");

static int by_space(const void *a, const void *b)
{
	const struct unit *x = a, *y = b;

	return (x->space > y->space) - (x->space < y->space);
}

static int by_samples(const void *a, const void *b)
{
	const struct unit *x = a, *y = b;

	if (x->samples != y->samples)
		return (x->samples < y->samples) - (x->samples > y->samples);
	return by_space(a, b);
}

static void units_count(struct history *h)
{
	struct unit *u = calloc(h->samples_n + 1, sizeof(*u));
	size_t n = 0;

	if (!u)
		abort();
	for (size_t i = 0; i < h->samples_n; i++)
		u[i] = (struct unit){h->samples[i].space, 1};
	qsort(u, h->samples_n, sizeof(*u), by_space);
	for (size_t i = 0; i < h->samples_n; i++) {
		if (n && u[n - 1].space == u[i].space)
			u[n - 1].samples++;
		else
			u[n++] = u[i];
	}
	qsort(u, n, sizeof(*u), by_samples);
	h->units = u;
	h->units_n = n;
}

static void settle(struct history *h)
{
	const json_t *end = json_object_get(h->last, "guest_cycles");

	qsort(h->samples, h->samples_n, sizeof(*h->samples), by_time);
	if (h->changes_n)
		qsort(h->changes, h->changes_n, sizeof(*h->changes), by_time);
	if (h->marks_n)
		qsort(h->marks, h->marks_n, sizeof(*h->marks), by_time);
	units_count(h);
	h->end = figures_seconds(json_number_value(end), h->khz);
	h->end = fmax(fmax(h->end, h->samples[h->samples_n - 1].t), 1e-6);
	if (h->changes_n)
		h->end = fmax(h->end, h->changes[h->changes_n - 1].t);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What is wrong in line NUMBER, or NULL. */
static const char *line_take(struct history *h, const char *line, size_t n, size_t number)
{
	json_t *event = json_loadb(line, n, 0, NULL);
	const char *wrong;

	if (json_is_object(event))
		wrong = event_take(h, event);
	else
		wrong = number == 1 ? "no JSON object" : "cut off, or no JSON object";
	json_decref(event);
	return wrong;
}

int history_read(struct history *h, const char *path)
{
	FILE *f = fopen(path, "re");
	const char *wrong = NULL;
	size_t room = 0, number = 0;
	double said = now() + 1; /* what takes less needs no progress */
	char *line = NULL;
	struct stat st;
	ssize_t n;

	*h = (struct history){.works = json_array()};
	if (f && fstat(fileno(f), &st) == 0 && S_ISDIR(st.st_mode)) {
		fclose(f);
		f = NULL;
		errno = EISDIR;
	}
	if (!f) {
		say("report: %s: %s", path, strerror(errno));
		return EXIT_BAD_FILE;
	}
	while (!wrong && (n = getline(&line, &room, f)) > 0) {
		number++;
		wrong = line_take(h, line, (size_t)n, number);
		if (number % 1024 == 0 && now() > said) {
			say_progress("report: %zu lines read", number);
			said = now() + 1;
		}
	}
	if (!wrong && ferror(f)) {
		say("report: %s: %s", path, strerror(errno));
		fclose(f);
		return EXIT_BAD_FILE;
	}
	fclose(f);
	free(line);
	say_progress_end();
	if (wrong && number == 1)
		say("report: %s: not a trace that 'twofold run --trace' wrote: line 1 is %s", path,
		    wrong);
	else if (wrong)
		say("report: %s: line %zu is %s", path, number, wrong);
	else if (!number)
		say("report: %s: the file is empty", path);
	else if (!h->samples_n)
		say("report: %s: no samples in it: the guest ended before the first one", path);
	else {
		settle(h);
		return 0;
	}
	return EXIT_BAD_FILE;
}
