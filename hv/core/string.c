/* The few libc calls that a freestanding build needs.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/string.h"

#include <stdint.h>

/* memcpy and memset move 64 bytes a round by plain instructions: the CPU's string instructions are
 * as fast or faster on silicon, but many times slower in emulators, and most of what is copied or
 * cleared here are pages. */

typedef uint64_t __attribute__((may_alias, aligned(1))) word_t;

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	char *d = to;
	const char *s = from;

	for (; n >= 64; n -= 64, d += 64, s += 64) {
		word_t *x = (word_t *)d;
		const word_t *y = (const word_t *)s;
		uint64_t a = y[0], b = y[1], c = y[2], e = y[3];

		x[0] = a;
		x[1] = b;
		x[2] = c;
		x[3] = e;
		a = y[4];
		b = y[5];
		c = y[6];
		e = y[7];
		x[4] = a;
		x[5] = b;
		x[6] = c;
		x[7] = e;
	}
	for (; n >= 8; n -= 8, d += 8, s += 8)
		*(word_t *)d = *(const word_t *)s;
	for (; n; n--)
		*(volatile char *)d++ = *s++;
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	unsigned char *d = to;
	const unsigned char *s = from;

	if (d <= s || d >= s + n)
		return memcpy(to, from, n);
	while (n--)
		d[n] = s[n];
	return to;
}

void *memset(void *to, int c, size_t n)
{
	char *d = to;
	uint64_t pattern = (unsigned char)c * 0x0101010101010101ull;

	for (; n >= 64; n -= 64, d += 64) {
		word_t *x = (word_t *)d;

		x[0] = pattern;
		x[1] = pattern;
		x[2] = pattern;
		x[3] = pattern;
		x[4] = pattern;
		x[5] = pattern;
		x[6] = pattern;
		x[7] = pattern;
	}
	for (; n >= 8; n -= 8, d += 8)
		*(volatile word_t *)d = pattern;
	for (; n; n--)
		*(volatile char *)d++ = (char)c;
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *p = a, *q = b;

	for (size_t i = 0; i < n; i++)
		if (p[i] != q[i])
			return p[i] - q[i];
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (unsigned char)*a - (unsigned char)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	while (n && *a && *a == *b) {
		a++;
		b++;
		n--;
	}
	return n ? (unsigned char)*a - (unsigned char)*b : 0;
}
