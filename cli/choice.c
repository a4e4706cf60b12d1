/* How the mode is to be chosen: see choice.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "say.h"

#define PERIOD_MAX 86400000u /* milliseconds: a day */

enum { UNIT_DIGITS = 7 }; /* thresholds are counted in units of 1e-7 */

/* Thresholds are per thousand instructions, or faults for a TLB miss: none can be above that. */
#define LIMIT_MAX 1000u

static const char *const policies[] = {"cost", "dsp", "random"};

/* A decimal number up to LIMIT_MAX, exactly, in units of 1e-7; returns what follows it, NULL: it is
 * none. */
static const char *units_parse(const char *s, uint64_t *units)
{
	size_t digits = strspn(s, "0123456789"), decimals = 0;
	unsigned long long whole = strtoull(s, NULL, 10);

	if (!digits || whole > LIMIT_MAX)
		return NULL;
	*units = whole;
	s += digits;
	if (*s == '.') {
		decimals = strspn(++s, "0123456789");
		if (!decimals || decimals > UNIT_DIGITS)
			return NULL;
	}
	for (size_t i = 0; i < UNIT_DIGITS; i++)
		*units = *units * 10 + (i < decimals ? (uint64_t)(*s++ - '0') : 0);
	return s;
}

static int refuse(const char *arg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int refuse(const char *arg, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	say("--policy %s: %s", arg, why);
	return EXIT_BAD_USAGE;
}

static int limits_set(struct limits *l, const char *arg, const char *key, const char *value)
{
	const char *s = units_parse(value, &l->upper);

	if (s)
		s = *s == ':' ? units_parse(s + 1, &l->lower) : NULL;
	if (!s || *s)
		return refuse(arg,
			      "%s takes UPPER:LOWER, numbers up to %u with at most %d decimals, "
			      "for example 0.0005:0.00001",
			      key, LIMIT_MAX, UNIT_DIGITS);
	if (l->lower > l->upper)
		return refuse(arg, "%s: the upper threshold comes first, then the lower", key);
	l->given = true;
	return 0;
}

static int period_set(struct choice *c, const char *arg, const char *value)
{
	size_t digits = strspn(value, "0123456789");
	unsigned long n = strtoul(value, NULL, 10);

	if (!digits || value[digits] || n < 1 || n > PERIOD_MAX)
		return refuse(arg, "period takes milliseconds from 1 to %u", PERIOD_MAX);
	c->period_ms = (unsigned int)n;
	return 0;
}

/* One "key=value" of the policy dsp. */
static int setting_take(struct choice *c, const char *arg, char *setting)
{
	char *value = strchr(setting, '=');
	bool again;
	struct limits *l = NULL;

	if (value)
		*value++ = 0;
	if (!strcmp(setting, "pf"))
		l = &c->pf;
	else if (!strcmp(setting, "tlb"))
		l = &c->tlb;
	else if (!strcmp(setting, "ptt"))
		l = &c->ptt;
	else if (strcmp(setting, "period") != 0)
		return refuse(arg,
			      "dsp has no setting '%s': it has period=MS, pf=U:L, tlb=U:L and "
			      "ptt=U:L",
			      setting);
	if (!value)
		return refuse(arg, l ? "give %s=UPPER:LOWER" : "give %s=MS", setting);
	again = l ? l->given : c->period_ms != 0;
	if (again)
		return refuse(arg, "%s is given twice", setting);
	return l ? limits_set(l, arg, setting, value) : period_set(c, arg, value);
}

int choice_set_policy(struct choice *c, const char *arg)
{
	char *text = strdup(arg), *rest = text, *name;
	int status = 0;

	if (!text)
		abort();
	*c = (struct choice){.grain = c->grain, .seeded = c->seeded, .seed = c->seed};
	name = strsep(&rest, ",");
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		if (!strcmp(name, policies[i]))
			c->policy = policies[i];
	}
	if (!c->policy)
		status = refuse(arg, "give cost, dsp or random");
	else if (rest && strcmp(c->policy, "dsp") != 0)
		status = refuse(arg, "%s has no settings: dsp has", c->policy);
	while (!status && rest)
		status = setting_take(c, arg, strsep(&rest, ","));
	c->asked = arg;
	free(text);
	return status;
}

int choice_set_grain(struct choice *c, const char *arg)
{
	if (strcmp(arg, "vm") != 0 && strcmp(arg, "space") != 0) {
		say("--grain %s: give vm or space", arg);
		return EXIT_BAD_USAGE;
	}
	c->grain = arg;
	return 0;
}

int choice_set_seed(struct choice *c, const char *arg)
{
	size_t digits = strspn(arg, "0123456789");

	c->seed = strtoull(arg, NULL, 10); /* ULLONG_MAX when it is beyond */
	if (!digits || arg[digits] || c->seed > UINT32_MAX) {
		say("--seed %s: give a number from 0 to %u", arg, UINT32_MAX);
		return EXIT_BAD_USAGE;
	}
	c->seeded = true;
	return 0;
}

const char *choice_option(const struct choice *c)
{
	return c->policy ? "policy" : c->grain ? "grain" : c->seeded ? "seed" : NULL;
}

static void limits_put(FILE *f, const char *key, const struct limits *l)
{
	if (l->given)
		fprintf(f, ",%s=%llu:%llu", key, (unsigned long long)l->upper,
			(unsigned long long)l->lower);
}

void choice_put_words(FILE *f, const struct choice *c)
{
	if (c->policy) {
		fprintf(f, " policy=%s", c->policy);
		if (c->period_ms)
			fprintf(f, ",period=%u", c->period_ms);
		limits_put(f, "pf", &c->pf);
		limits_put(f, "tlb", &c->tlb);
		limits_put(f, "ptt", &c->ptt);
	}
	if (c->grain)
		fprintf(f, " grain=%s", c->grain);
	if (c->seeded)
		fprintf(f, " seed=%llu", (unsigned long long)c->seed);
}
