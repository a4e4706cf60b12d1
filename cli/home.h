/* Where our own files are: beside the command itself, or in the directory that TWOFOLD_HOME names.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_HOME_H
#define CLI_HOME_H

/* The path of FILE there; allocated, never NULL. */
char *home_file(const char *file);

#endif
