/* The guest's console: see console.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "console.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { CTRL_A = 1 };

static struct termios cooked;
static volatile sig_atomic_t is_raw;

void console_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &cooked);
	is_raw = 0;
}

static void restore_and_die(int sig)
{
	console_restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

static bool terminal_make_raw(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	struct termios t;

	/* In the background, touching the terminal would stop us. */
	if (tcgetpgrp(STDIN_FILENO) != getpgrp() || tcgetattr(STDIN_FILENO, &cooked) != 0)
		return false;
	t = cooked;
	cfmakeraw(&t);
	t.c_oflag = cooked.c_oflag; /* our own lines still end where they should */
	atexit(console_restore);
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		signal(fatal[i], restore_and_die);
	is_raw = 1;
	return tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

void console_open(struct console *c, int keys, int guest, int to, struct work *tap)
{
	memset(c, 0, sizeof(*c));
	c->keys = keys;
	c->guest = guest;
	c->to = to;
	c->tap = tap;
	if (to != STDOUT_FILENO)
		c->in.closed = true;
	else if (isatty(STDIN_FILENO)) {
		c->raw = terminal_make_raw();
		c->in.closed = !c->raw;
	}
}

static bool lane_is_empty(const struct lane *l)
{
	return l->from == l->to;
}

void console_wants(const struct console *c, struct pollfd *p)
{
	bool in = c->guest >= 0 && !c->in.closed && lane_is_empty(&c->in);

	p[0] = (struct pollfd){in ? STDIN_FILENO : -1, POLLIN, 0};
	p[1] = (struct pollfd){lane_is_empty(&c->in) ? -1 : c->keys, POLLOUT, 0};
	p[2] = (struct pollfd){lane_is_empty(&c->out) ? c->guest : -1, POLLIN, 0};
	p[3] = (struct pollfd){lane_is_empty(&c->out) ? -1 : c->to, POLLOUT, 0};
}

/* Reads once; false at the end of the input. */
static bool lane_fill(struct lane *l, int fd)
{
	ssize_t n = read(fd, l->bytes, sizeof(l->bytes));

	l->from = 0;
	l->to = n > 0 ? (size_t)n : 0;
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Writes once; false if nobody will ever take it. */
static bool lane_empty(struct lane *l, int fd)
{
	ssize_t n = write(fd, l->bytes + l->from, l->to - l->from);

	if (n > 0)
		l->from += (size_t)n;
	if (n >= 0 || errno == EAGAIN || errno == EINTR)
		return true;
	l->from = l->to;
	return false;
}

/* Takes our own keys out of what was typed. */
static void keys_filter(struct console *c)
{
	struct lane *l = &c->in;
	size_t to = 0;

	for (size_t i = 0; i < l->to; i++) {
		char key = l->bytes[i];

		if (!c->escape && key == CTRL_A) {
			c->escape = true;
			continue;
		}
		if (c->escape && (key == 'x' || key == 'X'))
			c->quit = true;
		else if (!c->escape || key == CTRL_A)
			l->bytes[to++] = key;
		c->escape = false;
	}
	l->to = to;
}

static void guest_close(struct console *c)
{
	close(c->guest);
	c->guest = -1;
	c->in.from = c->in.to = 0;
	c->out.closed = true;
}

void console_move(struct console *c, const struct pollfd *p)
{
	if (p[0].revents) {
		if (!lane_fill(&c->in, STDIN_FILENO))
			c->in.closed = true;
		if (c->raw)
			keys_filter(c);
	}
	if (p[1].revents && !lane_empty(&c->in, c->keys))
		c->in.closed = true;
	if (p[2].revents) {
		if (!lane_fill(&c->out, c->guest))
			guest_close(c);
		c->heard |= c->out.to > 0;
		work_see(c->tap, c->out.bytes, c->out.to);
		if (c->to < 0)
			c->out.from = c->out.to;
		tail_add(&c->tail, c->out.bytes, c->out.to);
	}
	if (p[3].revents && !lane_empty(&c->out, c->to))
		c->broken = true;
}

bool console_waits(const struct console *c)
{
	return !lane_is_empty(&c->out);
}

bool console_drained(const struct console *c)
{
	return c->guest < 0 && lane_is_empty(&c->out);
}
