/* Other programs: where they are, and what one answers.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_PROGRAM_H
#define CLI_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* The full path of the program NAME, found in PATH; allocated; NULL if there is none. */
char *program_find(const char *name);

/* Runs ARGV ([0]: its path). False (one line was said, with the first that it wrote on standard
 * error) if it cannot be run or fails. */
bool program_do(char *const *argv);

/* What follows PREFIX in the first line with it that the shell's COMMAND writes on standard output:
 * a word; "unknown" if there is none. Good until the next call. */
const char *program_version(const char *command, const char *prefix);

/* Runs PATH with the text SCRIPT as the one file that it is given. *out: all that it wrote on
 * standard output (allocated, ended by a 0 that *n does not count). False (one line was said, with
 * the first that it wrote on standard error) if it cannot be run or fails. */
bool program_run(const char *path, const char *script, size_t script_n, char **out, size_t *n);

#endif
