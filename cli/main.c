/* The command `twofold`: finds the subcommand and hands over to it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "commands.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

#include "say.h"

const char *argp_program_version = "twofold " TWOFOLD_VERSION;

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	char *title; /* what --help calls it */
	const char *what;
} commands[] = {
	{"run", command_run, "twofold run",
	 "boot a guest on nested or shadow tables, as is better"},
	{"table", command_table, "twofold table",
	 "print runs side by side, from their --stats files"},
	{"walk", command_walk, "twofold walk",
	 "stop a guest and explain how an address of it is translated"},
	{"report", command_report, "twofold report", "draw a run, from its --trace file"},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void usage(FILE *to)
{
	fputs("Usage: twofold COMMAND [OPTION...]\n"
	      "Twofold virtualizes a machine's MMU, with nested or with shadow page tables.\n\n",
	      to);
	for (int i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].what);
	fputs("\n'twofold COMMAND --help' tells the options, 'twofold --version' the version.\n",
	      to);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		say("which command? One of: run, walk, table, report ('twofold --help' tells "
		    "more)");
		return EXIT_BAD_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "-?") ||
	    !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts(argp_program_version);
		return 0;
	}
	for (int i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		argv[1] = commands[i].title;
		return commands[i].run(argc - 1, argv + 1);
	}
	say("no command '%s': use run, walk, table or report ('twofold --help' tells more)",
	    argv[1]);
	return EXIT_BAD_USAGE;
}
