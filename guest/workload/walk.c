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

/* In random order by Sattolo's shuffle. */
char *chain_make(uint64_t pages)
{
	char *at = region_map(pages * PAGE);
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
	return at;
}

const volatile uint64_t *chain_walk(const char *at, const volatile uint64_t *word, uint64_t n)
{
	if (!word)
		word = (const volatile uint64_t *)at;
	for (uint64_t i = 0; i < n; i++)
		word = (const volatile uint64_t *)(uintptr_t)*word;
	if (!word)
		die("the chain is broken");
	return word;
}

void chase_run(const struct part *p)
{
	char *at = chain_make(p->size);
	const volatile uint64_t *word = NULL;

	part_begin(p);
	while (part_again())
		word = chain_walk(at, word, p->count);
	part_end(p);
	region_unmap(at, p->size * PAGE);
}

void words_update(char *at, uint64_t pages, uint64_t n, uint64_t *state)
{
	uint64_t words = pages * PAGE / sizeof(uint64_t);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t r = random_next(state);

		((volatile uint64_t *)at)[r % words] ^= r;
	}
}

void update_run(const struct part *p)
{
	char *at = region_map(p->size * PAGE);
	uint64_t state = settings.seed;

	region_touch(at, p->size * PAGE);
	part_begin(p);
	while (part_again())
		words_update(at, p->size, p->count, &state);
	part_end(p);
	region_unmap(at, p->size * PAGE);
}

void arith_run(const struct part *p)
{
	uint64_t x = settings.seed, sum = 0;

	part_begin(p);
	while (part_again()) {
		for (uint64_t i = 0; i < p->count * 1000; i++)
			sum += random_next(&x) >> 7;
	}
	part_end(p);
	if (sum == 1)
		die("arithmetic"); /* keeps the sum alive */
}
