/* `twofold walk`: runs a guest up to an exit, and shows how the hardware would translate one of its
 * addresses there.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "walk.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "run.h"
#include "say.h"

enum { KEY_AT = 512, KEY_WHEN, KEY_ACCESS, KEY_HTML, WORD = 32 };

#define MARK_MAX 255ul
#define MS_MAX	 86400000ul /* a day */

struct command {
	struct options o;
	struct walk_ask ask;
	const char *page; /* NULL: none wanted */
	char where[WORD], when[WORD];
};

static const struct argp_option option_list[] = {
	{"at", KEY_AT, "WHERE", 0,
	 "The address: 0x and hexadecimal digits, or the register that holds it (rip, cr2, rsp, "
	 "rax "
	 "to r15)",
	 1},
	{"when", KEY_WHEN, "WHEN", 0,
	 "The exit to stop at: the first where the address is mapped (mapped), or mapped for a "
	 "user "
	 "(user), after the guest's mark N (mark=N), after N milliseconds (ms=N). For an address "
	 "in "
	 "the lower half it is user, for others mapped, for a register mark=1: our user space is "
	 "up",
	 1},
	{"access", KEY_ACCESS, "KIND", 0, "read, write or fetch (fetch for rip, else read)", 1},
	{"html", KEY_HTML, "FILE", 0, "Draw it as an HTML page, too", 1},
	{0, 0, 0, 0, "As for 'twofold run':", 2},
	{0},
};

static const char doc[] =
	"Boots a guest, stops it at an exit, and prints each memory reference that the hardware "
	"makes "
	"to translate an address there: with nested tables, and with shadow tables. If the guest "
	"ends "
	"before, it is shown how it is then. The guest's console goes nowhere, or to standard "
	"error "
	"with --verbose."
	"\vExit status: 0 the walk was shown, whether the address is mapped or not; else as of "
	"'twofold run'.";

static int where_set(struct command *c, const char *arg)
{
	static const char *const registers[] = {
		"rip", "cr2", "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi",
		"rdi", "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
	};

	for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
		if (!strcmp(arg, registers[i])) {
			c->ask.where = registers[i];
			return 0;
		}
	}
	if (!strncmp(arg, "0x", 2)) {
		size_t n = strspn(arg + 2, "0123456789abcdefABCDEF");

		if (n && !arg[2 + n] && n <= 16) {
			snprintf(c->where, sizeof(c->where), "0x%llx", strtoull(arg, NULL, 16));
			c->ask.where = c->where;
			return 0;
		}
	}
	say("--at %s: give an address such as 0xffffffff81000000, or a register: rip, cr2, rsp, "
	    "rax "
	    "to r15",
	    arg);
	return EXIT_BAD_USAGE;
}

static int when_set(struct command *c, const char *arg)
{
	const char *number = strchr(arg, '=');
	bool mark = !strncmp(arg, "mark=", 5);
	unsigned long most = mark ? MARK_MAX : MS_MAX, n;

	c->ask.when = c->when;
	if (!strcmp(arg, "mapped") || !strcmp(arg, "user")) {
		strcpy(c->when, arg);
		return 0;
	}
	if (mark || !strncmp(arg, "ms=", 3)) {
		size_t digits = strspn(++number, "0123456789");

		n = strtoul(number, NULL, 10);
		if (digits && !number[digits] && n <= most) {
			snprintf(c->when, sizeof(c->when), "%s:%lu", mark ? "mark" : "ms", n);
			return 0;
		}
		say("--when %s: %s= takes a number up to %lu", arg, mark ? "mark" : "ms", most);
		return EXIT_BAD_USAGE;
	}
	say("--when %s: give mapped, user, mark=N or ms=N", arg);
	return EXIT_BAD_USAGE;
}

static int access_set(struct command *c, const char *arg)
{
	if (strcmp(arg, "read") != 0 && strcmp(arg, "write") != 0 && strcmp(arg, "fetch") != 0) {
		say("--access %s: give read, write or fetch", arg);
		return EXIT_BAD_USAGE;
	}
	c->ask.access = arg;
	return 0;
}

static error_t option_take(int key, char *arg, struct argp_state *state)
{
	struct command *c = state->input;
	int status = 0;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &c->o;
		break;
	case KEY_AT:
		status = where_set(c, arg);
		break;
	case KEY_WHEN:
		status = when_set(c, arg);
		break;
	case KEY_ACCESS:
		status = access_set(c, arg);
		break;
	case KEY_HTML:
		status = options_file(&c->page, "html", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (status)
		exit(status);
	return 0;
}

static int command_parse(int argc, char **argv, struct command *c)
{
	static const struct argp_child children[] = {{&options_argp, 0, NULL, 2}, {0}};
	static const struct argp argp = {option_list, option_take, NULL, doc, children, NULL, NULL};

	options_init(&c->o);
	argp_err_exit_status = EXIT_BAD_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, c) != 0)
		return EXIT_BAD_USAGE;
	if (!c->ask.where) {
		say("walk: which address? Give --at 0x... or --at rip");
		return EXIT_BAD_USAGE;
	}
	/* Addresses of processes are in the lower half; there kernels map memory as it is while
	 * they start. */
	if (!c->ask.when && c->ask.where == c->where)
		c->ask.when = strtoull(c->where, NULL, 16) >> 63 ? "mapped" : "user";
	else if (!c->ask.when)
		c->ask.when = "mark:1";
	if (!c->ask.access)
		c->ask.access = !strcmp(c->ask.where, "rip") ? "fetch" : "read";
	c->o.walk = &c->ask;
	return options_settle(&c->o);
}

int command_walk(int argc, char **argv)
{
	static struct command c;
	struct walk w;
	FILE *page = NULL;
	bool ok = true;
	int status;

	run_begin();
	status = command_parse(argc, argv, &c);
	if (status)
		return status;
	if (c.page) {
		page = fopen(c.page, "ae"); /* what it holds stays until there is a walk */
		if (!page) {
			say("--html %s: cannot write it: %s", c.page, strerror(errno));
			return EXIT_BAD_USAGE;
		}
	}
	status = run_guest(&c.o);
	if (c.ask.event && walk_read(&w, c.ask.event)) {
		walk_put_text(stdout, &w);
		status = fflush(stdout) == 0 ? 0 : EXIT_BAD_FILE;
		ok = !page || ftruncate(fileno(page), 0) == 0;
		if (page)
			walk_put_page(page, &w);
	} else if (!status) {
		say("walk: the hypervisor explained no walk");
		status = EXIT_HV_FAILED;
	}
	if (!page)
		return status;
	ok &= !ferror(page);
	ok &= fclose(page) == 0;
	if (ok)
		return status;
	say("--html %s: not written: %s", c.page, strerror(errno));
	return status ? status : EXIT_BAD_FILE;
}
