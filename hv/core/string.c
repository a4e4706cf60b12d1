/* The few libc calls that a freestanding build needs.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/string.h"

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *d = to;
	size_t words = n / 8, rest = n % 8;

	__asm__ volatile("rep movsq\n\tmov %3, %2\n\trep movsb"
			 : "+D"(d), "+S"(from), "+c"(words)
			 : "r"(rest)
			 : "memory");
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
	void *d = to;
	unsigned long pattern = (unsigned char)c * 0x0101010101010101ul;
	size_t words = n / 8, rest = n % 8;

	__asm__ volatile("rep stosq\n\tmov %3, %1\n\trep stosb"
			 : "+D"(d), "+c"(words)
			 : "a"(pattern), "r"(rest)
			 : "memory");
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
