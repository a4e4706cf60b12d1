/* The machine that the hypervisor runs on: an emulator's process of ours. One struct machine_kind
 * for each emulator and vendor, in a file of its own; what they share is in machine.c.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_MACHINE_H
#define CLI_MACHINE_H

#include <stdbool.h>
#include <stdio.h>

#include "kernel.h"
#include "options.h"
#include "process.h"

/* What is to run on it. */
struct load {
	const char *hv; /* the hypervisor's file */
	const struct options *options;
	const struct kernel *kernel;
	const struct image *initrd; /* NULL: none */
};

struct machine_kind {
	const char *option; /* as --machine has it */
	const char *name;   /* of the emulator: "QEMU" */
	const char *cpu;    /* the model of CPU that it is asked for */
	const char *how;    /* a word on it for a reader of numbers: "TCG" */
	unsigned int spare; /* CPUs more, that run no vCPU, where there are several vCPUs */
	/* Seconds that it may run without a word on a serial line; longer, and it hangs. 0: for
	 * ever. */
	unsigned int silence;

	/* The full path of the emulator; NULL (one line was said) if there is none. */
	const char *(*find)(void);
	/* The version that it tells of itself ("7.2.22"); "unknown" if it does not. */
	const char *(*version)(const char *path);
	/* Does this load fit? 0, or the status to exit with (one line was said). */
	int (*check)(const struct load *l);
	/* Starts it; process_open() was called. As process_start(). */
	int (*start)(const struct machine_kind *k, struct process *p, const char *path,
		     const struct load *l);
	/* Says where its CPUs are, a line for each; it runs. NULL: that cannot be asked. */
	void (*tell)(const struct process *p);
	/* Does this line of its standard error tell a person something? NULL: each does. */
	bool (*is_word)(const char *line, size_t n);
};

extern const struct machine_kind machine_qemu, machine_bochs_intel, machine_bochs_amd;

/* The kind that --machine names; NULL (one line was said) if there is none. */
const struct machine_kind *machine_find(const char *option);

/* CPUs of the machine that run no vCPU. */
unsigned int machine_spare(const struct machine_kind *k, const struct options *o);

/* MiB of memory that node I of the machine needs. Even, so that no large page lies on a border. */
unsigned long long machine_node_mib(const struct load *l, unsigned int i);
unsigned long long machine_mib(const struct load *l);

/* What the hypervisor is told: its command line; allocated. */
char *machine_words(const struct machine_kind *k, const struct options *o);

/* The guest's command line, as it follows the kernel's name: empty, or words after a blank each;
 * allocated. */
char *machine_guest_words(const struct load *l);

#endif
