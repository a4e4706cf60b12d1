/* What the user asked of `twofold run`, and whether the machine can give it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "choice.h"
#include "nodes.h"

#define OPTIONS_CPUS 2u /* where nothing is said */
#define OPTIONS_MEM  (UINT64_C(512) << 20)
/* The guest's E820 and ACPI tables are laid out for this. */
#define OPTIONS_MEM_MAX (UINT64_C(1) << 39)

struct argp;
struct walk_ask;

struct options {
	const char *kernel, *initrd; /* NULL: the default one */
	const char *append;	     /* NULL: nothing */
	const char *stats;	     /* NULL: none wanted */
	const char *trace;	     /* NULL: none wanted */
	const char *machine;	     /* "qemu", "bochs-intel" or "bochs-amd" */
	const char *mode;	     /* "auto", "nested" or "shadow" */
	const char *groups;	     /* "node", "one" or "vcpu" */
	const char *install;	     /* "lock" or "cas" */
	const char *backing;	     /* "2M", "4K" or "1G" */
	unsigned int regroup_ms;     /* 0: never */
	unsigned int switch_ms;	     /* 0: never */
	struct choice choice;	     /* where the mode is "auto" */
	struct nodes nodes;
	unsigned int cpus;
	uint64_t mem;	/* bytes */
	double timeout; /* seconds; 0: no limit */
	double silence; /* seconds; 0: as the machine has it */
	bool verbose;
	struct walk_ask *walk; /* `twofold walk`: what is asked, and the answer; NULL: a run */
};

/* The options, for a command that has others too; its input is a struct options from
 * options_init(). */
extern const struct argp options_argp;
void options_init(struct options *o);
/* What --OPTION names: *to points to ARG then. 0, or the status to exit with (one line was said).
 */
int options_file(const char **to, const char *option, const char *arg);
/* When all are taken: do they fit together, and the machine? 0, or the status to exit with (one
 * line was said). */
int options_settle(struct options *o);

/* Fills *o from the command line. 0, or the status to exit with (one line was said). --help and
 * --version exit by themselves. */
int options_parse(int argc, char **argv, struct options *o);

/* Memory that the hypervisor needs on node NODE beside the MEM bytes of the guest there: its image,
 * its stacks, the modules as loaded, page tables of both modes. */
uint64_t options_overhead(unsigned int node, uint64_t mem);
/* And so much more where memory is backed by 1 GiB: GiBs of the machine that are in use for other
 * things, wholly or in part, are no good for that. */
uint64_t options_gib_room(const struct options *o, unsigned int node);

#endif
