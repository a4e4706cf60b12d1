/* Parts that the TLB suffers from, and one that it does not: chase, update, arith.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>

#include "workload.h"

/* The word of page I that is used: its cache line differs from page to page, so that data caches of
 * few ways do not decide the result. */
static uint64_t *word_of(char *at, uint64_t page)
{
	return (uint64_t *)(at + page * PAGE + page * 64 % PAGE);
}

/* One cycle through all pages in random order (Sattolo's shuffle). */
static void cycle_make(char *at, uint64_t pages)
{
	uint64_t *order = malloc(pages * sizeof(*order));
	uint64_t state = settings.seed;

	if (!order)
		die("malloc");
	for (uint64_t i = 0; i < pages; i++)
		order[i] = i;
	for (uint64_t i = pages - 1; i > 0; i--) {
		uint64_t j = random_next(&state) % i, page = order[i];

		order[i] = order[j];
		order[j] = page;
	}
	for (uint64_t i = 0; i < pages; i++)
		*word_of(at, order[i]) = (uintptr_t)word_of(at, order[(i + 1) % pages]);
	free(order);
}

void chase_run(const struct part *p)
{
	char *at = region_map(p->size * PAGE);
	const volatile uint64_t *word;

	cycle_make(at, p->size);
	word = word_of(at, 0);
	part_begin(p);
	for (uint64_t i = 0; i < p->count; i++)
		word = (const volatile uint64_t *)(uintptr_t)*word;
	part_end(p);
	if (!word)
		die("the chain is broken");
	region_unmap(at, p->size * PAGE);
}

void update_run(const struct part *p)
{
	char *at = region_map(p->size * PAGE);
	uint64_t state = settings.seed, words = p->size * PAGE / sizeof(uint64_t);

	region_touch(at, p->size * PAGE);
	part_begin(p);
	for (uint64_t i = 0; i < p->count; i++) {
		uint64_t r = random_next(&state);

		((volatile uint64_t *)at)[r % words] ^= r;
	}
	part_end(p);
	region_unmap(at, p->size * PAGE);
}

void arith_run(const struct part *p)
{
	uint64_t x = settings.seed, sum = 0;

	part_begin(p);
	for (uint64_t i = 0; i < p->count * 1000; i++)
		sum += random_next(&x) >> 7;
	part_end(p);
	if (sum == 1)
		die("arithmetic"); /* keeps the sum alive */
}
