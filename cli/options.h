/* What the user asked of `twofold run`, and whether the machine can give it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
	const char *kernel, *initrd; /* NULL: the default one */
	const char *append;	     /* NULL: nothing */
	const char *stats;	     /* NULL: none wanted */
	const char *mode;	     /* "nested" or "shadow" */
	unsigned int cpus;
	uint64_t mem;	/* bytes */
	double timeout; /* seconds; 0: no limit */
	bool verbose;
};

/* Fills *o from the command line. 0, or the status to exit with (one line was said). --help and
 * --version exit by themselves. */
int options_parse(int argc, char **argv, struct options *o);

/* Memory that the hypervisor needs beside that of a guest with MEM bytes: its image, its stacks,
 * the modules as loaded, page tables of both modes. */
uint64_t options_overhead(uint64_t mem);

#endif
