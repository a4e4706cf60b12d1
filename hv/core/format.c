/* snprintf for the words on COM2: %% %c %s %d %u %x %p with width, 0 and l, ll, z.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/string.h"

#include <stdbool.h>
#include <stdint.h>

struct out {
	char *at;
	size_t size, used;
};

static void put(struct out *o, char c)
{
	if (o->used + 1 < o->size)
		o->at[o->used] = c;
	o->used++;
}

static void put_padded(struct out *o, const char *s, size_t n, unsigned int width, char pad)
{
	for (size_t i = n; i < width; i++)
		put(o, pad);
	for (size_t i = 0; i < n; i++)
		put(o, s[i]);
}

static void put_number(struct out *o, uint64_t v, unsigned int base, bool minus, unsigned int width,
		       char pad)
{
	char digits[24];
	size_t n = sizeof(digits);

	do {
		digits[--n] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (minus)
		digits[--n] = '-';
	put_padded(o, digits + n, sizeof(digits) - n, width, pad);
}

static const char *put_one(struct out *o, const char *fmt, va_list *ap)
{
	char pad = ' ';
	unsigned int width = 0, longs = 0;
	uint64_t v;

	if (*fmt == '0') {
		pad = '0';
		fmt++;
	}
	while (*fmt >= '0' && *fmt <= '9')
		width = width * 10 + (unsigned int)(*fmt++ - '0');
	while (*fmt == 'l' || *fmt == 'z') {
		longs++;
		fmt++;
	}
	switch (*fmt) {
	case 'c':
		put(o, (char)va_arg(*ap, int));
		break;
	case 's': {
		const char *s = va_arg(*ap, const char *);

		if (!s)
			s = "(null)";
		put_padded(o, s, strlen(s), width, ' ');
		break;
	}
	case 'd': {
		int64_t d = longs ? va_arg(*ap, long) : va_arg(*ap, int);

		put_number(o, d < 0 ? -(uint64_t)d : (uint64_t)d, 10, d < 0, width, pad);
		break;
	}
	case 'u':
	case 'x':
		v = longs ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned int);
		put_number(o, v, *fmt == 'u' ? 10 : 16, false, width, pad);
		break;
	case 'p':
		put(o, '0');
		put(o, 'x');
		put_number(o, (uintptr_t)va_arg(*ap, void *), 16, false, 0, ' ');
		break;
	case '\0':
		return fmt;
	default:
		put(o, *fmt);
		break;
	}
	return fmt + 1;
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {.at = buf, .size = size};
	va_list args;

	va_copy(args, ap);
	while (*fmt) {
		if (*fmt == '%') {
			fmt = put_one(&o, fmt + 1, &args);
			continue;
		}
		put(&o, *fmt++);
	}
	va_end(args);
	if (size)
		buf[o.used < size ? o.used : size - 1] = '\0';
	return (int)o.used;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
