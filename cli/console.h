/* The guest's console on our standard input and output.
 *
 * A terminal is put into raw mode (the guest's own line discipline does the editing) and is
 * restored at every exit but SIGKILL. In raw mode Ctrl-A x quits and Ctrl-A Ctrl-A is one Ctrl-A.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "tail.h"
#include "work.h"

struct lane {
	char bytes[4096]; /* no more than a pipe takes at once */
	size_t from, to;  /* what waits to be written */
	bool closed;	  /* nothing more comes */
};

struct console {
	int keys;	  /* to the guest */
	int guest;	  /* from the guest; -1 when it is closed */
	struct lane in;	  /* from standard input to the guest */
	struct lane out;  /* from the guest to standard output */
	bool raw, escape; /* the terminal is raw; the last key was Ctrl-A */
	int to;		  /* where it goes: standard output, elsewhere, or nowhere: -1 */
	bool quit;	  /* the user asked to leave */
	bool broken;	  /* nobody reads our standard output any more */
	struct work *tap; /* sees all that the guest writes */
	struct tail tail; /* the last of it */
	bool heard;	  /* something came from the guest; whoever looks takes it back */
};

enum { CONSOLE_POLLS = 4 };

/* KEYS: to the guest, GUEST: from it; neither blocks. TO: where the console goes; if that is not
 * standard output, the guest gets no keys either. */
void console_open(struct console *c, int keys, int guest, int to, struct work *tap);
/* Fills p[CONSOLE_POLLS] with what to wait for; then hands the answers back. */
void console_wants(const struct console *c, struct pollfd *p);
void console_move(struct console *c, const struct pollfd *p);
/* Standard output does not take what the guest wrote: it may wait for that. */
bool console_waits(const struct console *c);
/* All that the guest wrote is out, and it will write no more. */
bool console_drained(const struct console *c);
/* Restores the terminal; may be called at any time, also from a signal handler. */
void console_restore(void);

#endif
