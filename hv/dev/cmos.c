/* The CMOS clock. See cmos.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/cmos.h"

#include <stdbool.h>

enum {
	SECONDS = 0,
	MINUTES = 2,
	HOURS = 4,
	DAY = 7,
	MONTH = 8,
	YEAR = 9,
	STATUS_A = 0x0a,
	STATUS_B = 0x0b,
	STATUS_C = 0x0c,
	STATUS_D = 0x0d,
	CENTURY = 0x32,

	A_UPDATING = 0x80,
	B_24_HOURS = 0x02,
	B_BINARY = 0x04,
	B_FORMAT = 0x07, /* with daylight saving */
	HOURS_PM = 0x80,

	TRIES = 10000,
};

void cmos_create(struct cmos *c, uint8_t (*host)(void *ctx, uint8_t index), void *ctx)
{
	__builtin_memset(c, 0, sizeof(*c));
	c->host = host;
	c->ctx = ctx;
	/* Without a clock of the machine: the first of January 2000, BCD, 24 hours, battery good.
	 */
	c->ram[DAY] = 0x01;
	c->ram[MONTH] = 0x01;
	c->ram[STATUS_A] = 0x26;
	c->ram[STATUS_B] = B_24_HOURS;
	c->ram[STATUS_D] = 0x80;
	c->ram[CENTURY] = 0x20;
}

static bool is_alarm(uint8_t i)
{
	return i == 1 || i == 3 || i == 5;
}

/* What the machine's chip says rather than our copy. */
static bool is_clock(uint8_t i)
{
	return (i <= STATUS_A && !is_alarm(i)) || i == STATUS_D || i == CENTURY;
}

uint8_t cmos_in(struct cmos *c)
{
	uint8_t i = c->index;

	if (i == STATUS_C)
		return 0; /* its interrupt never fires */
	if (!c->host)
		return c->ram[i];
	if (is_clock(i))
		return c->host(c->ctx, i);
	/* The time comes in the machine's format, whatever the guest wishes. */
	if (i == STATUS_B)
		return (c->ram[i] & ~B_FORMAT) | (c->host(c->ctx, i) & B_FORMAT);
	return c->ram[i];
}

void cmos_out(struct cmos *c, uint8_t v)
{
	uint8_t i = c->index;

	/* Nobody but the machine sets its clock. */
	if (i == STATUS_C || i == STATUS_D || (c->host && is_clock(i)))
		return;
	c->ram[i] = v;
}

/* ---- the date as a number ---- */

static const uint8_t date_fields[] = {SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR, CENTURY};

enum { DATE_FIELDS = sizeof(date_fields) };

static void read_fields(const struct cmos *c, uint8_t f[DATE_FIELDS])
{
	for (unsigned int i = 0; i < DATE_FIELDS; i++)
		f[i] = c->host(c->ctx, date_fields[i]);
}

/* Two equal readings with no update under way. */
static bool read_stable(const struct cmos *c, uint8_t f[DATE_FIELDS])
{
	uint8_t again[DATE_FIELDS];

	for (unsigned int i = 0; i < TRIES; i++) {
		if (c->host(c->ctx, STATUS_A) & A_UPDATING)
			continue;
		read_fields(c, f);
		read_fields(c, again);
		if (!__builtin_memcmp(f, again, DATE_FIELDS))
			return true;
	}
	return false;
}

static unsigned int number(uint8_t v, uint8_t b)
{
	return b & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

/* Days from 1970-01-01 to a date of the Gregorian calendar; years begin in March, so that the leap
 * day is their last. */
static uint64_t days(unsigned int year, unsigned int month, unsigned int day)
{
	unsigned int y = month > 2 ? year : year - 1;
	unsigned int m = month > 2 ? month - 3 : month + 9;

	return (uint64_t)y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

uint64_t cmos_epoch(struct cmos *c)
{
	uint8_t f[DATE_FIELDS], b;
	unsigned int hour, year, month, day;

	if (!c->host || !read_stable(c, f))
		return 0;
	b = c->host(c->ctx, STATUS_B);
	hour = number(f[2] & (b & B_24_HOURS ? 0xff : ~HOURS_PM), b);
	if (!(b & B_24_HOURS))
		hour = hour % 12 + (f[2] & HOURS_PM ? 12 : 0);
	day = number(f[3], b);
	month = number(f[4], b);
	/* Some chips have no century. */
	year = number(f[6], b) >= 19 && number(f[6], b) <= 29 ? number(f[6], b) * 100 : 2000;
	year += number(f[5], b);
	if (day < 1 || day > 31 || month < 1 || month > 12 || year < 1970)
		return 0;
	return days(year, month, day) * 86400 + hour * 3600 + number(f[1], b) * 60 +
	       number(f[0], b);
}
