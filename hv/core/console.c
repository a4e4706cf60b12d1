/* COM2 and the JSON lines on it.
 *
 * Owns: the 16550 at 0x2f8 (115200 8N1, FIFO on, no interrupts); the one at 0x3f8 is the guest's,
 * and is set up alike before it starts, as firmware does. Lock: `lock`, held from json_begin() to
 * json_end(); nothing is called under it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/console.h"

#include <stdarg.h>
#include <stdbool.h>

#include "core/cmdline.h"
#include "core/log.h"
#include "core/screen.h"
#include "core/spin.h"
#include "core/string.h"
#include "cpu/x86.h"

#define COM1	   0x3f8
#define COM2	   0x2f8
#define FIFO_BYTES 16
#define LSR_THRE   0x20 /* the FIFO is empty */
#define LSR_TEMT   0x40 /* and the shift register */
#define WAIT_READS 1000000u

static struct spin lock;
static bool seized;
static bool first; /* no comma before the next member */
static unsigned int room;

/* Lines to be sent in pieces. `waiting` is also read without the lock. */
#define LATER_BYTES 4096u
#define LINE_BYTES  1024u /* none of these lines is longer */
static bool is_later;	  /* the line that is being written is one of them */
static uint32_t waiting;
static struct {
	char text[LATER_BYTES];
	unsigned int from, to;
} later;

static void uart_init(uint16_t base)
{
	x86_outb(base + 1, 0);
	x86_outb(base + 3, 0x80);
	x86_outb(base + 0, 1);
	x86_outb(base + 1, 0);
	x86_outb(base + 3, 0x03);
	x86_outb(base + 2, 0x07);
	x86_outb(base + 4, 0x03);
}

void console_init(void)
{
	uart_init(COM1); /* a UART's own reset leaves five bits to a byte */
	uart_init(COM2);
}

void console_seize(void)
{
	seized = true;
}

/* A line that never drains (no UART there) must not stop the machine. */
static void wait_for(uint8_t status)
{
	for (unsigned int i = 0; i < WAIT_READS; i++)
		if (x86_inb(COM2 + 5) & status)
			return;
}

void console_drain(void)
{
	wait_for(LSR_TEMT);
}

static void send(char c)
{
	if (!room) {
		wait_for(LSR_THRE);
		room = FIFO_BYTES;
	}
	room--;
	x86_outb(COM2, (uint8_t)c);
}

static void send_later_ones(unsigned int most)
{
	while (later.from < later.to && most--)
		send(later.text[later.from++]);
	if (later.from == later.to)
		later.from = later.to = 0;
	__atomic_store_n(&waiting, later.to, __ATOMIC_RELAXED);
}

static void put(char c)
{
	if (!is_later)
		send(c);
	else if (later.to < LATER_BYTES)
		later.text[later.to++] = c;
}

static void put_text(const char *s)
{
	while (*s)
		put(*s++);
}

static void put_escaped(const char *s)
{
	char hex[8];

	put('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\') {
			put('\\');
			put(*s);
		} else if ((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f) {
			snprintf(hex, sizeof(hex), "\\u%04x", (unsigned char)*s);
			put_text(hex);
		} else {
			put(*s);
		}
	}
	put('"');
}

static void put_name(const char *name)
{
	if (!first)
		put(',');
	first = false;
	if (!name)
		return;
	put('"');
	put_text(name);
	put_text("\":");
}

static void begin(const char *event, bool in_pieces)
{
	if (!seized)
		spin_lock(&lock);
	room = 0;
	if (!in_pieces || later.to > LATER_BYTES - LINE_BYTES)
		send_later_ones(LATER_BYTES);
	is_later = in_pieces;
	first = true;
	put('{');
	json_text("ev", event);
}

void json_begin(const char *event)
{
	begin(event, false);
}

void json_begin_later(const char *event)
{
	begin(event, true);
}

bool console_has_more(void)
{
	return __atomic_load_n(&waiting, __ATOMIC_RELAXED) != 0;
}

void console_send_some(void)
{
	if (!spin_try(&lock))
		return; /* whoever has it may be about to send all */
	room = 0;
	send_later_ones(FIFO_BYTES);
	spin_unlock(&lock);
}

void json_end(void)
{
	put_text("}\n");
	is_later = false;
	__atomic_store_n(&waiting, later.to, __ATOMIC_RELAXED);
	if (!seized)
		spin_unlock(&lock);
}

void json_number(const char *name, uint64_t v)
{
	char digits[24];

	put_name(name);
	snprintf(digits, sizeof(digits), "%lu", v);
	put_text(digits);
}

void json_text(const char *name, const char *text)
{
	put_name(name);
	put_escaped(text);
}

void json_open(const char *name)
{
	put_name(name);
	put('{');
	first = true;
}

void json_close(void)
{
	put('}');
	first = false;
}

void json_open_list(const char *name)
{
	put_name(name);
	put('[');
	first = true;
}

void json_close_list(void)
{
	put(']');
	first = false;
}

static void say(const char *event, const char *text)
{
	json_begin(event);
	json_text("text", text);
	json_end();
}

void log_info(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say("log", text);
}

void log_debug(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (!cmdline.verbose)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say("log", text);
}

void log_error(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say("error", text);
	screen_line(text);
}
