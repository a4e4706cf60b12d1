/* Start, command line, the run over the tests, and the end.
 *
 * Command line: only=PREFIX (tests whose name begins so; also runs those that must be asked for),
 * seed=N, cpus=N, load=PERCENT (of the rounds), apic=x (stay in xAPIC mode), strict=1
 * (tests/random.c), verbose=1, list=1.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>

#include "paging.h"

#define EXIT_PORT 0xf4

extern const struct test tests_start[], tests_end[];

struct options options = {.load = 100};
struct range ranges[RANGES_MAX];
unsigned int range_count;

static char command_line[512];
static const struct test *current;
static struct {
	volatile uint32_t count;
	char first[200];
	const char *skipped;
} result;

_Noreturn void give_up(const char *why);

static _Noreturn void leave(unsigned int code)
{
	outb(EXIT_PORT, (uint8_t)code);
	/* No debug exit here: on Bochs and on bare metal the line above does nothing. */
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* The machine is in no state to go on. */
void give_up(const char *why)
{
	print("FAIL %s: %s\nGave up\n", current ? current->name : "start", why);
	leave(99);
}

void test_fail(const char *fmt, ...)
{
	va_list ap;

	if (ADD(&result.count, 1))
		return;
	va_start(ap, fmt);
	format(result.first, sizeof(result.first), fmt, ap);
	va_end(ap);
}

void test_skip(const char *why)
{
	result.skipped = why;
}

bool test_failed(void)
{
	return LOAD(&result.count);
}

/* ---- random: splitmix64 ---- */

uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->s += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

struct rng rng_for(const char *name, unsigned int stream)
{
	struct rng r = {options.seed * 1000003 + stream};

	for (; *name; name++)
		r.s = r.s * 31 + (uint8_t)*name;
	rng_next(&r);
	return r;
}

/* ---- start ---- */

static uint64_t number(const char *s)
{
	uint64_t v = 0;

	for (; *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (uint64_t)(*s - '0');
	return v;
}

static bool list_only;

static void option(const char *w)
{
	if (has_prefix(w, "only="))
		options.only = w + 5;
	else if (has_prefix(w, "seed="))
		options.seed = number(w + 5);
	else if (has_prefix(w, "cpus="))
		options.cpus = (unsigned int)number(w + 5);
	else if (has_prefix(w, "load="))
		options.load = (unsigned int)number(w + 5);
	else if (has_prefix(w, "apic=x"))
		options.xapic = true;
	else if (has_prefix(w, "strict=1"))
		options.strict = true;
	else if (has_prefix(w, "verbose=1"))
		options.verbose = true;
	else if (has_prefix(w, "list=1"))
		list_only = true;
}

static void options_parse(void)
{
	for (char *s = command_line; *s;) {
		char *w = s;

		while (*s && *s != ' ')
			s++;
		if (*s)
			*s++ = 0;
		option(w);
	}
}

/* The multiboot information: command line and memory map, copied before anything is written. */
static void multiboot_read(void)
{
	const uint32_t *info = (const uint32_t *)(uint64_t)multiboot_info;

	if (multiboot_magic != 0x2badb002)
		return;
	if (info[0] & 4) {
		const char *s = (const char *)(uint64_t)info[4];
		for (unsigned int i = 0; s[i] && i < sizeof(command_line) - 1; i++)
			command_line[i] = s[i];
	}
	if (info[0] & 64) {
		uint64_t from = info[12], end = from + info[11];

		while (from < end && range_count < RANGES_MAX) {
			uint64_t base, length;

			memcpy(&base, (void *)(from + 4), 8);
			memcpy(&length, (void *)(from + 12), 8);
			ranges[range_count++] =
				(struct range){base, base + length, *(uint32_t *)(from + 20)};
			from += *(uint32_t *)from + 4;
		}
	} else if (info[0] & 1) {
		ranges[range_count++] = (struct range){0, (uint64_t)info[1] << 10, 1};
		ranges[range_count++] =
			(struct range){1 << 20, (1 << 20) + ((uint64_t)info[2] << 10), 1};
	}
}

bool under_twofold(void)
{
	struct cpuid c;

	if (!cpu_has.hypervisor)
		return false;
	c = cpuid(0x40000000, 0);
	return memcmp(&c.b, "TwofoldTwofo", 12) == 0;
}

static void run(const struct test *t, unsigned int *passed, unsigned int *failed,
		unsigned int *skipped)
{
	uint64_t start = rdtsc();

	current = t;
	result.count = 0;
	result.skipped = NULL;
	if (options.verbose)
		print("run %s\n", t->name);
	pool_reset();
	t->run();
	cpus_home();
	pf_hook = NULL;
	if (result.count) {
		++*failed;
		print("FAIL %s: %s (%u in all)\n", t->name, result.first, result.count);
	} else if (result.skipped) {
		++*skipped;
		print("skip %s: %s\n", t->name, result.skipped);
	} else {
		++*passed;
		print("ok %s\n", t->name);
	}
	if (options.verbose)
		print("    %lu ms\n", (rdtsc() - start) / (tsc_hz / 1000 + 1));
	current = NULL;
}

static void run_all(void)
{
	unsigned int passed = 0, failed = 0, skipped = 0;

	for (const struct test *t = tests_start; t < tests_end; t++) {
		if (options.only ? !has_prefix(t->name, options.only) : t->only_if_asked)
			continue;
		if (list_only)
			print("%s\n", t->name);
		else if (cpu_count < t->min_cpus)
			print("skip %s: needs %u CPUs\n", t->name, t->min_cpus), skipped++;
		else
			run(t, &passed, &failed, &skipped);
	}
	print("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	leave(failed);
}

void main(void);
void main(void)
{
	multiboot_read();
	/* Firmware leaves the legacy PIC on, with its timer at the double fault's vector. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	options.seed = rdtsc() & 0xffffff;
	options_parse();
	features_read();
	cpu_setup(cpu_at(0), 0);
	time_setup();
	pool_setup();
	apic_setup();
	cpus_start(options.cpus);
	print("baretest: seed=%lu cpus=%u tsc=%lu kHz phys=%u bits%s%s\n", options.seed, cpu_count,
	      tsc_hz / 1000, cpu_has.maxphyaddr, apic_x2 ? " x2apic" : " xapic",
	      under_twofold() ? " twofold" : "");
	run_all();
}
