/* The subcommands: each takes its own arguments ([0] is its title) and returns the exit status.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#define TWOFOLD_VERSION "0.1"

int command_run(int argc, char **argv);
int command_report(int argc, char **argv);
int command_walk(int argc, char **argv);
int command_table(int argc, char **argv);

#endif
