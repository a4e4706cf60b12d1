/* A machine's process, and the lines between it and us.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_PROCESS_H
#define CLI_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum line {
	LINE_KEYS,     /* to the guest's COM1 */
	LINE_CONSOLE,  /* from the guest's COM1 */
	LINE_COUNTERS, /* from the hypervisor's COM2 */
	LINE_ERRORS,   /* from the process's standard error */
	LINES
};

struct process {
	pid_t pid;	   /* 0: it is gone */
	int status;	   /* of wait(), when it is gone */
	int ours[LINES];   /* our ends; none blocks */
	int theirs[LINES]; /* its own, until it is started */
	int monitor;	   /* our end of the machine's, where it has one; -1: none */
};

/* How a process is started. */
struct launch {
	char **argv; /* [0] is the program's path */
	int in, out; /* its standard input and output; -1: nothing, and the same as standard error
		      */
	const int *keep; /* these stay open in it, by the same numbers; -1: none */
	size_t keeps;
	bool offline; /* nothing is to reach it over a network, where that can be had */
};

/* Makes the lines, each a pipe. (Not sockets: an emulator sends single bytes, of which a socket
 * holds a few hundred only, and what it still holds at the end is lost.) 0, or the status to exit
 * with (one line was said). */
int process_open(struct process *p);

/* Makes the keys and the console one terminal instead, for a program that wants one. Its name, or
 * NULL if there is none to be had: then nothing has changed. */
const char *process_terminal(struct process *p);

/* Starts it. It dies with us. 0, or the status to exit with (one line was said). */
int process_start(struct process *p, const struct launch *l);

/* Notes whether the process is gone; does not wait. */
void process_poll(struct process *p);

/* Seconds of a CPU that it has taken. */
double process_cpu_seconds(const struct process *p);

/* How NAME's process ended by itself, in words: "QEMU ended with status 1". */
void process_tell_end(const struct process *p, const char *name, char *text, size_t size);

/* Ends the process, whatever it does, and waits until it is gone. */
void process_kill(struct process *p);

#endif
