/* The few libc calls that a freestanding build needs; gcc itself emits the first four.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_STRING_H
#define HV_CORE_STRING_H

#include <stdarg.h>
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap);
int snprintf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
