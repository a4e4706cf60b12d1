/* What the guest's workload tells of itself: see work.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "work.h"

#include <string.h>

void work_open(struct work *w, struct trace *trace)
{
	w->trace = trace;
	w->all = json_array();
	w->n = 0;
}

static void line_take(struct work *w)
{
	json_t *told = json_loadb(w->line, w->n, 0, NULL);

	if (json_is_string(json_object_get(told, "work"))) {
		json_array_append(w->all, told);
		if (w->trace->file) {
			json_t *event = json_pack("{s:s, s:O}", "ev", "work", "told", told);

			trace_put(w->trace, event);
			json_decref(event);
		}
	}
	json_decref(told);
}

void work_see(struct work *w, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\n') {
			if (w->n && w->n <= sizeof(w->line) && w->line[0] == '{')
				line_take(w);
			w->n = 0;
		} else if (w->n < sizeof(w->line)) {
			w->line[w->n++] = bytes[i];
		} else {
			w->n = sizeof(w->line) + 1;
		}
	}
}
