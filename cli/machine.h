/* The machine that the hypervisor runs on: a QEMU process of ours, and the pipes to it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_MACHINE_H
#define CLI_MACHINE_H

#include <sys/types.h>

#include "kernel.h"
#include "options.h"

struct machine {
	pid_t pid;  /* 0: it is gone */
	int status; /* of wait(), when it is gone */
	/* Our ends of pipes; none blocks. (Pipes, not a socket: QEMU sends single bytes, of which a
	 * socket holds a few hundred only, and what it still holds when it powers off is lost.) */
	int keys;     /* to the guest's COM1 */
	int console;  /* from the guest's COM1 */
	int counters; /* from the hypervisor's COM2 */
	int errors;   /* from QEMU's standard error */
};

/* The full path of QEMU, found in PATH; NULL (one line was said) if there is none. */
const char *machine_qemu(void);

/* The version that QEMU tells of itself ("7.2.22"); "unknown" if it does not. */
const char *machine_qemu_version(const char *qemu);

/* Starts QEMU with the hypervisor, the guest's kernel and its initrd (NULL: none). The process dies
 * with us. 0, or the status to exit with (one line was said). */
int machine_start(struct machine *m, const char *qemu, const char *hv, const struct options *o,
		  const struct kernel *k, const struct image *initrd);

/* Notes whether the process is gone; does not wait. */
void machine_poll(struct machine *m);

/* How the process ended by itself, in words: "QEMU ended with status 1". */
void machine_tell_end(const struct machine *m, char *text, size_t size);

/* Ends the process, whatever it does, and waits until it is gone. */
void machine_kill(struct machine *m);

#endif
