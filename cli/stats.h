/* The JSON object that --stats writes (docs/stats.md).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_STATS_H
#define CLI_STATS_H

#include <jansson.h>

#include "machine.h"
#include "options.h"
#include "stream.h"

/* What the command itself knows of the run. */
struct run_facts {
	const char *kernel, *initrd; /* paths; initrd NULL: none */
	const struct machine_kind *machine;
	const char *version; /* of its emulator */
	const char *reason;  /* how it ended */
	int status;	     /* what we exit with */
	double wall_seconds;
	json_t *work; /* what the guest's workload told of itself: an array */
};

/* Makes sure, before the run, that the file can be written. The stream, or NULL (one line was
 * said). */
void *stats_open(const char *path);

/* The machine below: its CPUs, its Linux, its emulator. Every number is true of one machine only.
 */
json_t *stats_machine(const struct machine_kind *k, const char *version);

/* Writes the object and closes the file. False (one line was said) if that failed. */
bool stats_write(void *file, const struct options *o, const struct stream *s,
		 const struct run_facts *r);

#endif
