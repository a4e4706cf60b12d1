/* Random histories of table calls with hardware at work and with every allocation failing in turn,
 * in every format that we write. The seed is printed.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "table_cpu.h"

enum call { MAP, UNMAP, PROTECT, SPLIT, COLLAPSE, CALLS };

struct step {
	enum call call;
	uint64_t from, to; /* MAP: to is the target */
	unsigned int level, perm;
};

/* Edges of large pages and their neighbours, in the first and in the last 4 GiB. */
static void choose_watches(void)
{
	for (unsigned int i = 0; i < WATCHES; i++) {
		uint64_t at = rnd() % 4 * G1;
		at += rnd() % 2 ? rnd() % 3 * M2 : (509 + rnd() % 3) * M2;
		at += rnd() % 2 ? rnd() % 3 * K4 : (509 + rnd() % 3) * K4;
		watch[i] = (struct watch){.at = i % 4 ? at : fmt_end(t.fmt) - 4 * G1 + at};
	}
}

static uint64_t random_edge(void)
{
	uint64_t at = watch[rnd() % WATCHES].at;
	switch (rnd() % 4) {
	case 0:
		return at & ~(M2 - 1);
	case 1:
		return at & ~(G1 - 1);
	case 2:
		return at + K4;
	default:
		return at;
	}
}

static struct step random_step(void)
{
	struct step s = {.call = (enum call)(rnd() % CALLS), .level = (unsigned int)(rnd() % 3)};
	uint64_t a = random_edge(), b = random_edge();
	if (rnd() % 2)
		s.call = MAP;
	if (s.call == COLLAPSE)
		s.level = 1 + s.level % 2;
	s.from = a < b ? a : b;
	s.to = a < b ? b : a;
	s.perm = (unsigned int)rnd() & (PERM_W | PERM_X | (t.fmt->u ? PERM_U : 0));
	if (s.call != MAP && s.call != COLLAPSE)
		return s;
	s.from = watch[rnd() % WATCHES].at & ~(fmt_size(t.fmt, s.level) - 1);
	/* Often the frame of the same number, so that pages may be collapsed; few rights then. */
	s.to = s.from % (64 * G1);
	if (rnd() % 3 == 0)
		s.to = rnd() % 64 * fmt_size(t.fmt, s.level);
	s.perm = PERM_R | (rnd() % 2 ? s.perm : PERM_W);
	return s;
}

static enum tf_status do_step(const struct step *s)
{
	switch (s->call) {
	case MAP:
		return table_map(&op, &t, s->from, s->level, hfn(s->to >> 12), s->perm, &told.sink,
				 NULL);
	case UNMAP:
		return table_unmap(&op, &t, s->from, s->to, &told.sink);
	case PROTECT:
		return table_protect(&op, &t, s->from, s->to, s->perm & WXU);
	case SPLIT:
		return table_split(&op, &t, s->from);
	default:
		return table_collapse(&op, &t, s->from, s->level);
	}
}

/* What each watched address must be after the step. */
static void predict(const struct step *s)
{
	for (unsigned int i = 0; i < WATCHES; i++) {
		struct watch *w = &watch[i];
		w->after = w->before;
		w->set_before = w->set_after = w->told = 0;
		bool in = w->at >= s->from && w->at < s->to;
		if (s->call == MAP && w->at >= s->from &&
		    w->at - s->from < fmt_size(t.fmt, s->level))
			w->after = (struct page){true, s->to + (w->at - s->from), s->perm};
		else if (s->call == UNMAP && in)
			w->after.mapped = false;
		else if (s->call == PROTECT && in)
			w->after.perm &= ~(s->perm & WXU);
	}
}

/* Every allocation of the step fails in turn, then it is done. */
static void run_step(const struct step *s)
{
	for (uint64_t n = 1;; n++) {
		uint64_t pages = t.pages, failed = host.failed;
		unsigned int owed = op.pages_n;
		pool_drain(&pool);
		predict(s);
		fakehost_fail(&host, n, 1000);
		enum tf_status st = do_step(s);
		fakehost_fail(&host, 0, 0);
		if (st != TF_E_NOMEM) {
			assert_int_equal(host.failed, failed);
			assert_true(st == TF_OK || s->call == SPLIT || s->call == COLLAPSE);
			check_after(true);
			return;
		}
		assert_true(host.failed > failed);
		assert_int_equal(t.pages, pages);
		assert_int_equal(op.pages_n, owed);
		check_after(false);
	}
}

static void random_history(void)
{
	choose_watches();
	hw_flush(NULL, &cpus, t.fmt->flush);
	hardware = true;
	for (unsigned int n = 0; n < 150; n++) {
		struct step s = random_step();
		run_step(&s);
		if (rnd() % 2)
			op_flush(&op);
		for (unsigned int k = 0; k < 4; k++) {
			for (unsigned int i = 0; i < WATCHES; i++)
				watch[i].after = watch[i].before;
			hw_access(&watch[rnd() % WATCHES], rnd() % 2);
		}
	}
	hardware = false;
	/* A table that a full unmap leaves is the root alone. */
	assert_int_equal(table_unmap(&op, &t, 0, fmt_end(t.fmt), NULL), TF_OK);
	assert_int_equal(t.pages, 1);
	op_flush(&op);
}

static void test_random(void **state)
{
	(void)state;
	for (uint64_t n = 1; n <= 40; n++) {
		seed = n << 32;
		print_message("seed %llu, %s\n", (unsigned long long)n, t.fmt->name);
		random_history();
	}
}

/* Split and collapse the same page while the CPU writes to it through upper entries it cached. */
static void test_collapse_under_hardware(void **state)
{
	(void)state;
	const struct step split = {.call = SPLIT, .from = G1};
	const struct step collapse = {.call = COLLAPSE, .from = G1, .level = 1};
	for (unsigned int n = 0; n < 50; n++) {
		map(G1, 1, M2 * 5, PERM_R | PERM_W);
		for (unsigned int i = 0; i < WATCHES; i++) {
			watch[i] = (struct watch){.at = G1 + rnd() % 512 * K4};
			watch[i].before = walk_page(watch[i].at);
		}
		hardware = true;
		run_step(&split);
		for (unsigned int i = 0; i < WATCHES; i++)
			hw_access(&watch[i], false);
		stale_only = true;
		run_step(&collapse);
		hardware = stale_only = false;
		unsigned int level;
		(void)table_lookup(&t, G1, &level);
		assert_int_equal(level, 1);
		unmap(G1, G1 + M2);
		op_flush(&op);
	}
}

int main(void)
{
	const struct CMUnitTest suite[] = {
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_collapse_under_hardware, setup, teardown),
	};
	return run_with_every_format(suite, sizeof(suite) / sizeof(suite[0]));
}
