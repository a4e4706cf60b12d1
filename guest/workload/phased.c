/* Work that changes: fork, chase, churn, update in turn, so many rounds of them, by one process.
 * What they work on is made before and kept, as a program keeps its data; children do not get it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "workload.h"

enum { FORK, CHASE, CHURN, UPDATE, PHASES };

struct phases {
	const struct part *part[PHASES];
	char *chain, *words;
	const volatile uint64_t *word; /* where the chase has come to */
	uint64_t state;		       /* of the updates' random numbers */
};

static void phases_make(struct phases *all)
{
	static const char *const name[PHASES] = {"phased.fork", "phased.chase", "phased.churn",
						 "phased.update"};

	for (int i = 0; i < PHASES; i++)
		all->part[i] = part_named(name[i]);
	all->state = settings.seed;
	all->chain = chain_make(all->part[CHASE]->size);
	all->words = region_map(all->part[UPDATE]->size * PAGE);
	region_touch(all->words, all->part[UPDATE]->size * PAGE);
	if (madvise(all->chain, all->part[CHASE]->size * PAGE, MADV_DONTFORK) != 0 ||
	    madvise(all->words, all->part[UPDATE]->size * PAGE, MADV_DONTFORK) != 0)
		die("madvise");
}

static void phase_work(struct phases *all, int i)
{
	const struct part *p = all->part[i];

	switch (i) {
	case FORK:
		fork_times(p->count);
		break;
	case CHASE:
		all->word = chain_walk(all->chain, all->word, p->count);
		break;
	case CHURN:
		region_churn(p->size * PAGE, p->count);
		break;
	case UPDATE:
		words_update(all->words, p->size, p->count, &all->state);
		break;
	}
}

/* Told at the end, so that nothing but the phases runs in between: each phase of each round, then
 * the sums. */
static void phases_tell(const struct part *p, const struct phases *all, uint64_t rounds,
			double (*seconds)[PHASES])
{
	double sum[PHASES] = {0}, total = 0;

	for (uint64_t r = 0; r < rounds; r++) {
		for (int i = 0; i < PHASES; i++) {
			printf("{\"phase\":\"%s\",\"round\":%llu,\"seconds\":%.6f}\n",
			       all->part[i]->name, (unsigned long long)r + 1, seconds[r][i]);
			sum[i] += seconds[r][i];
		}
	}
	for (int i = 0; i < PHASES; i++) {
		part_tell(all->part[i], all->part[i]->count * rounds, sum[i]);
		total += sum[i];
	}
	part_tell(p, rounds, total);
}

/* Each phase has its own marks; the whole has none. */
void phased_run(const struct part *p)
{
	struct phases all = {.word = NULL};
	double(*seconds)[PHASES] = NULL;
	struct span span = {.rounds = 0};
	uint64_t rounds = 0;

	phases_make(&all);
	clock_gettime(CLOCK_MONOTONIC, &span.begun);
	while (span_again(&span)) {
		seconds = realloc(seconds, (rounds + p->count) * sizeof(*seconds));
		if (!seconds)
			die("realloc");
		for (uint64_t end = rounds + p->count; rounds < end; rounds++) {
			for (int i = 0; i < PHASES; i++) {
				part_begin(all.part[i]);
				phase_work(&all, i);
				seconds[rounds][i] = part_stop(all.part[i]);
			}
		}
	}
	phases_tell(p, &all, rounds, seconds);
	free(seconds);
	region_unmap(all.chain, all.part[CHASE]->size * PAGE);
	region_unmap(all.words, all.part[UPDATE]->size * PAGE);
}
