/* The choice of the mode in words: see figures.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "figures.h"

#include <stdio.h>
#include <string.h>

#include "say.h"

enum { TEXT = 32 };

double figures_seconds(double cycles, double khz)
{
	return khz > 0 ? cycles / khz / 1000 : 0;
}

static double number_in(const json_t *event, const char *key)
{
	return json_number_value(json_object_get(event, key));
}

static const char *text_in(const json_t *event, const char *key)
{
	const char *text = json_string_value(json_object_get(event, key));

	return text ? text : "?";
}

void figures_count(double x, char *text, size_t size)
{
	static const char *const suffix[] = {"", " k", " M", " G", " T"};
	unsigned int u = 0;

	while (x >= 999.5 && u + 1 < sizeof(suffix) / sizeof(suffix[0])) {
		x /= 1000;
		u++;
	}
	/* Small whole numbers stay what they are; else three digits. */
	snprintf(text, size, "%.*f%s", u == 0 || x >= 99.95 ? 0 : x >= 9.995 ? 1 : 2, x, suffix[u]);
}

void figures_unit(const json_t *event, char *text, size_t size)
{
	json_int_t space = json_integer_value(json_object_get(event, "space"));

	if (!strcmp(text_in(event, "grain"), "space"))
		snprintf(text, size, "space %#llx", (unsigned long long)space);
	else
		snprintf(text, size, "vm");
}

void figures_say_switch(const json_t *event, double khz)
{
	char unit[TEXT], misses[TEXT], faults[TEXT], cr3[TEXT];

	figures_unit(event, unit, sizeof(unit));
	figures_count(number_in(event, "misses_per_s"), misses, sizeof(misses));
	figures_count(number_in(event, "faults_per_s"), faults, sizeof(faults));
	figures_count(number_in(event, "cr3_per_s"), cr3, sizeof(cr3));
	say("switch %8.3f s  %s  %s -> %s: %s; nested costs %.1f %% (%s TLB misses/s), shadow "
	    "%.1f %% (%s faults/s, %s CR3 writes/s); regret %.1f ms of %.1f ms",
	    figures_seconds(number_in(event, "tsc"), khz), unit, text_in(event, "from"),
	    text_in(event, "to"), text_in(event, "why"), number_in(event, "nested_ppm") / 1e4,
	    misses, number_in(event, "shadow_ppm") / 1e4, faults, cr3,
	    figures_seconds(number_in(event, "regret"), khz) * 1e3,
	    figures_seconds(number_in(event, "price"), khz) * 1e3);
}

void figures_say_calibration(const json_t *event, double khz)
{
	say("calibration, in cycles: an exit %.0f; a TLB miss %.0f nested, %.0f shadow; on shadow "
	    "tables a guest's fault %.0f, a CR3 write %.0f, an INVLPG %.0f, a page filled %.0f; "
	    "%.0f instructions in 1000 cycles (measured in %.0f ms)",
	    number_in(event, "exit"), number_in(event, "miss_nested"),
	    number_in(event, "miss_shadow"), number_in(event, "fault"), number_in(event, "cr3"),
	    number_in(event, "invlpg"), number_in(event, "fill"), number_in(event, "ipkc"),
	    figures_seconds(number_in(event, "cycles"), khz) * 1e3);
}
