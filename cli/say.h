/* Words for a person, on standard error.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_SAY_H
#define CLI_SAY_H

/* The statuses that `twofold` exits with by itself (man/twofold.1 lists them all). */
enum {
	EXIT_GUEST_CRASH = 2,
	EXIT_HV_FAILED = 3,
	EXIT_BAD_USAGE = 64,
	EXIT_BAD_FILE = 66,
	EXIT_TIME_LIMIT = 124,
};

/* One line: "twofold: ...". */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* On a terminal, one status line that the next one or the next say() replaces; else nothing. */
void say_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Takes that line away. */
void say_progress_end(void);

/* BYTES in the largest unit that shows at least one, with one decimal where it is not whole. The
 * text is good until the fourth call after this one. */
const char *say_size(unsigned long long bytes);

#endif
