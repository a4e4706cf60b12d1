/* COM1 (polled), the little printf on top of it, and the few C library calls that gcc expects.
 * Lock: `console`, a whole print() at a time. SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>

#include "bt.h"

#define COM1 0x3f8

static struct spin console;

static void put(char c)
{
	while (!(inb(COM1 + 5) & 0x20))
		pause();
	outb(COM1, (uint8_t)c);
}

struct out {
	char *at, *end;
};

static void out_char(struct out *o, char c)
{
	if (o->at < o->end)
		*o->at++ = c;
}

static void out_number(struct out *o, uint64_t v, unsigned int base, unsigned int width, char pad)
{
	char digits[24];
	unsigned int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (width > n) {
		out_char(o, pad);
		width--;
	}
	while (n)
		out_char(o, digits[--n]);
}

/* %s %c %d %u %x %p, with l or ll, a width and 0. */
void format(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {buf, buf + size - 1};

	for (; *fmt; fmt++) {
		unsigned int width = 0, longs = 0;
		char pad = ' ';
		uint64_t v;

		if (*fmt != '%') {
			out_char(&o, *fmt);
			continue;
		}
		fmt++;
		if (*fmt == '0')
			pad = '0';
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + (unsigned int)(*fmt - '0');
		for (; *fmt == 'l'; fmt++)
			longs++;
		switch (*fmt) {
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				out_char(&o, *s);
			break;
		case 'c':
			out_char(&o, (char)va_arg(ap, int));
			break;
		case 'd': {
			int64_t d = longs ? va_arg(ap, int64_t) : va_arg(ap, int);
			if (d < 0)
				out_char(&o, '-');
			out_number(&o, d < 0 ? -(uint64_t)d : (uint64_t)d, 10, width, pad);
			break;
		}
		case 'p':
			out_number(&o, (uint64_t)va_arg(ap, void *), 16, width, pad);
			break;
		case 'u':
		case 'x':
			v = longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned int);
			out_number(&o, v, *fmt == 'u' ? 10 : 16, width, pad);
			break;
		default:
			out_char(&o, *fmt);
		}
	}
	*o.at = 0;
}

void print(const char *fmt, ...)
{
	char buf[512];
	va_list ap;

	va_start(ap, fmt);
	format(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	spin_lock(&console);
	for (const char *s = buf; *s; s++) {
		if (*s == '\n')
			put('\r');
		put(*s);
	}
	spin_unlock(&console);
}

void *memset(void *p, int c, size_t n)
{
	void *d = p;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return p;
}

void *memcpy(void *d, const void *s, size_t n)
{
	void *to = d;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(s), "+c"(n) : : "memory");
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x < *y ? -1 : 1;
	return 0;
}

bool has_prefix(const char *s, const char *prefix)
{
	for (; *prefix; s++, prefix++)
		if (*s != *prefix)
			return false;
	return true;
}
