/* Threads on one VM, under the thread sanitizer: a thread for each vCPU and one for the host.
 *
 * Every guest frame of the pool holds a word that tells its class. The page at slot i of the
 * guest's address space is only ever mapped to frames of class i, so a stale, torn or foreign
 * mapping shows itself as a wrong class. Private slots are edited by one vCPU, which must see its
 * own edits after its own flush. Shared slots are edited by any vCPU with a shootdown of the others
 * (a request that each answers by INVLPG), after which the old frame changes its class: whoever can
 * still reach it by the old slot is found out. Table pages come and go as well. Meanwhile the host
 * logs dirty pages, ages, discards and removes memory, and vCPUs change their mode. In the end the
 * invariants are checked, and every slot once more.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hw.h"

#define PAGE	UINT64_C(4096)
#define SHARED	16u /* slots that all edit, kernel half, global */
#define PRIVATE 16u /* slots of one vCPU, user half */
#define SPARE	8u  /* frames of the pool beyond what slots hold */

/* Guest frames: tables below POOL, then the pool, then a range that the host takes away. */
#define POOL_GFN UINT64_C(256)
#define AWAY_GFN UINT64_C(512)
#define AWAY_N	 UINT64_C(64)
#define DIRECT	 UINT64_C(0xffff880000000000)
#define KERNEL	 UINT64_C(0xffffff8000000000)
#define AWAY_VA	 UINT64_C(0xffffff8000200000)
#define TAG	 UINT64_C(0x5a5a000000000000)

struct machine {
	struct fakehost host;
	struct hw hw;
	struct tf_vm *vm;
	unsigned int cpus;
	uint64_t steps, seed;
	bool mixed;

	uint64_t root[HW_CPUS]
		     [2]; /* each vCPU has two: its own half differs, the kernel's does not */
	uint64_t shared_pt, private_pt[HW_CPUS][2], private_l1[HW_CPUS];

	/* Shared slots: the lock is the guest's. */
	pthread_mutex_t edit;
	uint64_t shared_frame[SHARED], spare[SPARE];
	uint64_t request[HW_CPUS]; /* address to flush, or 0; by CPU */

	unsigned int running; /* vCPUs that have steps left */
	bool failed;
	char why[400];
};

static struct machine machine;

static void fail(struct machine *m, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
	if (!__atomic_exchange_n(&m->failed, true, __ATOMIC_SEQ_CST))
		snprintf(m->why, sizeof(m->why), "%s (%#llx, %#llx, %#llx) %s", what,
			 (unsigned long long)a, (unsigned long long)b, (unsigned long long)c,
			 hw_is_broken(&m->hw) ? m->hw.broken : "");
}

static bool has_failed(struct machine *m)
{
	if (hw_is_broken(&m->hw))
		fail(m, "broken", 0, 0, 0);
	return __atomic_load_n(&m->failed, __ATOMIC_SEQ_CST);
}

static void put(struct machine *m, uint64_t at, uint64_t e)
{
	if (tf_mem_write(m->vm, gpa(at), &e, 8) != TF_OK)
		fail(m, "tf_mem_write", at, e, 0);
}

/* ---- one vCPU ---- */

struct cpu {
	struct machine *m;
	unsigned int i, space;
	struct hw_cpu *hw;
	struct rng rng;
	uint64_t mine[2][PRIVATE]; /* the frame behind each private slot; 0: none */
	uint64_t pool[PRIVATE];	   /* frames of its own */
};

static uint64_t access_ok(struct cpu *c, uint64_t va, uint32_t flags, enum hw_op op, uint64_t val)
{
	struct hw_result r = hw_access(c->hw, va, flags, op, val);

	if (r.end != HW_DONE)
		fail(c->m, "an access did not end well", va, flags, (uint64_t)r.end << 32 | r.pfec);
	return r.old;
}

/* Writes an entry through the direct map, as a kernel does. */
static void set_entry(struct cpu *c, uint64_t at, uint64_t e)
{
	access_ok(c, DIRECT + at, TF_WRITE, HW_WRITE, e);
}

static void answer(struct cpu *c)
{
	uint64_t va = __atomic_load_n(&c->m->request[c->i], __ATOMIC_SEQ_CST);

	if (!va)
		return;
	hw_invlpg(c->hw, va);
	__atomic_store_n(&c->m->request[c->i], 0, __ATOMIC_SEQ_CST);
}

static void shoot_down(struct cpu *c, uint64_t va)
{
	struct machine *m = c->m;

	hw_invlpg(c->hw, va);
	for (unsigned int k = 0; k < m->cpus; k++)
		if (k != c->i)
			__atomic_store_n(&m->request[k], va, __ATOMIC_SEQ_CST);
	for (unsigned int k = 0; k < m->cpus; k++)
		while (k != c->i && __atomic_load_n(&m->request[k], __ATOMIC_SEQ_CST) &&
		       !has_failed(m))
			sched_yield();
}

static uint64_t tag(uint64_t class)
{
	return TAG | class;
}

static void look_shared(struct cpu *c)
{
	uint64_t slot = rng_below(&c->rng, SHARED);
	uint64_t seen = access_ok(c, KERNEL + slot * PAGE, 0, HW_READ, 0);

	if (seen != tag(slot))
		fail(c->m, "a shared slot shows another frame", slot, seen, c->i);
}

static void edit_shared(struct cpu *c)
{
	struct machine *m = c->m;
	uint64_t slot = rng_below(&c->rng, SHARED), k = rng_below(&c->rng, SPARE);

	if (pthread_mutex_trylock(&m->edit))
		return;
	/* A spare frame takes the slot's class, then the slot; the old one loses the class. */
	uint64_t fresh = m->spare[k], old = m->shared_frame[slot];
	set_entry(c, fresh * PAGE, tag(slot));
	set_entry(c, m->shared_pt + 8 * slot,
		  fresh * PAGE | X_P | X_W | X_G | (rng_one_in(&c->rng, 2) ? X_A | X_D : 0));
	shoot_down(c, KERNEL + slot * PAGE);
	set_entry(c, old * PAGE, 0xdead);
	m->shared_frame[slot] = fresh;
	m->spare[k] = old;
	pthread_mutex_unlock(&m->edit);
}

static uint64_t private_va(unsigned int slot)
{
	return UINT64_C(0x400000) + slot * PAGE;
}

static void edit_private(struct cpu *c)
{
	struct machine *m = c->m;
	unsigned int slot = (unsigned int)rng_below(&c->rng, PRIVATE);
	uint64_t frame = c->pool[rng_below(&c->rng, PRIVATE)];
	uint64_t at = m->private_pt[c->i][c->space] + 8 * slot;
	bool none = rng_one_in(&c->rng, 4);

	set_entry(c, at,
		  none ? 0 : frame * PAGE | X_P | X_W | X_U | (rng_one_in(&c->rng, 2) ? X_A : 0));
	c->mine[c->space][slot] = none ? 0 : frame;
	hw_invlpg(c->hw, private_va(slot));
}

static void look_private(struct cpu *c)
{
	unsigned int slot = (unsigned int)rng_below(&c->rng, PRIVATE);
	uint64_t want = c->mine[c->space][slot];
	struct hw_result r = hw_access(c->hw, private_va(slot), TF_USER, HW_READ, 0);

	if (!want) {
		if (r.end != HW_FAULT || r.pfec != TF_PF_U)
			fail(c->m, "an unmapped slot is not", slot, r.end, r.pfec);
		return;
	}
	if (r.end != HW_DONE || r.old != tag(want))
		fail(c->m, "a private slot shows another frame", want, r.old,
		     (uint64_t)r.end << 32 | r.pfec);
	/* Writes go past the tag, and come back. */
	uint64_t val = rng_next(&c->rng);
	access_ok(c, private_va(slot) + 8, TF_USER | TF_WRITE, HW_WRITE, val);
	if (access_ok(c, private_va(slot) + 8, TF_USER, HW_READ, 0) != val)
		fail(c->m, "a write was lost", slot, val, c->i);
}

/* The table of the private slots moves to the other page, now and then. */
static void swap_table(struct cpu *c)
{
	struct machine *m = c->m;
	uint64_t old = m->private_pt[c->i][c->space], to = old ^ (PAGE * 16);

	for (unsigned int k = 0; k < PRIVATE; k++)
		set_entry(c, to + 8 * k,
			  c->mine[c->space][k] ? c->mine[c->space][k] * PAGE | X_P | X_W | X_U : 0);
	set_entry(c, m->private_l1[c->i] + (c->space ? 8 * PAGE : 0) + 8 * 2,
		  to | X_P | X_W | X_U | X_A);
	hw_invlpg(c->hw, private_va(0));
	hw_write_cr3(c->hw, m->root[c->i][c->space]);
	m->private_pt[c->i][c->space] = to;
	access_ok(c, DIRECT + old, TF_WRITE, HW_ZERO, 0);
}

/* What the host takes away reads as anything that was there, as zero, or not at all. */
static void look_away(struct cpu *c)
{
	uint64_t k = rng_below(&c->rng, AWAY_N);
	bool write = rng_one_in(&c->rng, 2);
	struct hw_result r = hw_access(c->hw, AWAY_VA + k * PAGE + 8 * (1 + c->i),
				       write ? TF_WRITE : 0, write ? HW_WRITE : HW_READ, tag(k));

	if (r.end == HW_DONE ? r.old != 0 && r.old != tag(k) : r.end != HW_DEVICE)
		fail(c->m, "the range that goes away shows another frame", k, r.old, r.end);
}

static void *run_cpu(void *arg)
{
	struct cpu *c = arg;
	struct machine *m = c->m;

	for (uint64_t step = 0; step < m->steps; step++) {
		if (has_failed(m))
			break;
		answer(c);
		switch (rng_below(&c->rng, 24)) {
		case 0 ... 6:
			look_shared(c);
			break;
		case 7:
			edit_shared(c);
			break;
		case 8 ... 10:
			edit_private(c);
			break;
		case 11 ... 16:
			look_private(c);
			break;
		case 17:
			if (rng_one_in(&c->rng, 8))
				swap_table(c);
			break;
		case 18:
			c->space ^= 1;
			hw_write_cr3(c->hw, m->root[c->i][c->space]);
			break;
		case 19:
			if (m->mixed && rng_one_in(&c->rng, 16))
				hw_set_mode(c->hw,
					    c->hw->want == TF_NESTED ? TF_SHADOW : TF_NESTED);
			break;
		case 20:
			hw_evict(c->hw);
			break;
		case 21:
			hw_speculate(c->hw, KERNEL + rng_below(&c->rng, SHARED) * PAGE, 0);
			break;
		default:
			look_away(c);
			break;
		}
	}
	__atomic_fetch_sub(&m->running, 1, __ATOMIC_SEQ_CST);
	/* Others may still shoot down. */
	while (__atomic_load_n(&m->running, __ATOMIC_SEQ_CST) && !has_failed(m)) {
		answer(c);
		sched_yield();
	}
	return NULL;
}

/* ---- the host ---- */

static void *run_host(void *arg)
{
	struct machine *m = arg;
	struct rng rng = {m->seed * 77 + 5};
	bool there = true, logging = false;
	uint64_t bits[16], word;

	while (__atomic_load_n(&m->running, __ATOMIC_SEQ_CST) && !has_failed(m)) {
		enum tf_status s = TF_OK;
		uint64_t k = rng_below(&rng, AWAY_N);
		switch (rng_below(&rng, 8)) {
		case 0:
			if (there)
				s = tf_mem_discard(m->vm, gpa((AWAY_GFN + k) * PAGE), PAGE);
			break;
		case 1:
			if (!rng_one_in(&rng, 4))
				break;
			s = there ? tf_mem_remove(m->vm, gpa(AWAY_GFN * PAGE), AWAY_N * PAGE)
				  : tf_mem_add(m->vm, gpa(AWAY_GFN * PAGE), AWAY_N * PAGE, 0);
			there = !there;
			break;
		case 2:
			if (!logging)
				s = tf_dirty_start(m->vm, gpa(POOL_GFN * PAGE), 200 * PAGE);
			else
				tf_dirty_stop(m->vm, gpa(POOL_GFN * PAGE), 200 * PAGE);
			logging = !logging;
			break;
		case 3:
			if (logging)
				s = tf_dirty_read(m->vm, gpa(POOL_GFN * PAGE), 200 * PAGE, bits);
			break;
		case 4:
			s = tf_accessed_read(m->vm, gpa(0), 512 * PAGE, bits);
			break;
		case 5: /* a page that the guest leaves alone */
			s = tf_mem_write(m->vm, gpa(500 * PAGE), &k, 8);
			if (s == TF_OK)
				s = tf_mem_read(m->vm, gpa(500 * PAGE), &word, 8);
			if (s == TF_OK && word != k)
				fail(m, "the host's own word", k, word, 0);
			break;
		default:
			usleep(200);
			break;
		}
		if (s != TF_OK)
			fail(m, tf_status_text(s), k, 0, 0);
	}
	if (!there && tf_mem_add(m->vm, gpa(AWAY_GFN * PAGE), AWAY_N * PAGE, 0) != TF_OK)
		fail(m, "tf_mem_add", 0, 0, 0);
	return NULL;
}

/* ---- the guest's beginning ---- */

static void build(struct machine *m, struct cpu *cpu)
{
	const uint64_t kernel = X_P | X_W | X_A | X_D | X_G, table = X_P | X_W | X_U | X_A;
	uint64_t next = 1, pool = POOL_GFN;

	/* The direct map of 2 MiB, and the kernel's slots. */
	uint64_t d2 = next++ * PAGE, d1 = next++ * PAGE, d0 = next++ * PAGE;
	uint64_t k2 = next++ * PAGE, k1 = next++ * PAGE, away = next++ * PAGE;
	m->shared_pt = next++ * PAGE;
	put(m, d2, d1 | table);
	put(m, d1, d0 | table);
	for (uint64_t f = 0; f < 512; f++)
		put(m, d0 + 8 * f, f * PAGE | kernel);
	put(m, k2, k1 | table);
	put(m, k1, m->shared_pt | table);
	put(m, k1 + 8, away | table);
	for (uint64_t k = 0; k < AWAY_N; k++)
		put(m, away + 8 * k, (AWAY_GFN + k) * PAGE | kernel);
	for (unsigned int s = 0; s < SHARED; s++) {
		m->shared_frame[s] = pool++;
		put(m, m->shared_frame[s] * PAGE, tag(s));
		put(m, m->shared_pt + 8 * s, m->shared_frame[s] * PAGE | kernel);
	}
	for (unsigned int s = 0; s < SPARE; s++)
		m->spare[s] = pool++;
	for (unsigned int i = 0; i < m->cpus; i++) {
		struct cpu *c = &cpu[i];
		for (unsigned int k = 0; k < PRIVATE; k++) {
			c->pool[k] = pool++;
			put(m, c->pool[k] * PAGE, tag(c->pool[k]));
		}
		/* 32 frames of tables for each vCPU, from 32 on; the second space 8 pages above the
		 * first, the spare table of each 16 pages above. */
		uint64_t base = (32 + 32 * i) * PAGE;
		m->private_l1[i] = base + 2 * PAGE;
		for (unsigned int s = 0; s < 2; s++) {
			uint64_t b = base + s * 8 * PAGE;
			m->root[i][s] = b;
			put(m, b, (b + PAGE) | table);
			put(m, b + PAGE, (b + 2 * PAGE) | table);
			put(m, b + 2 * PAGE + 16, (b + 3 * PAGE) | table);
			m->private_pt[i][s] = b + 3 * PAGE;
			put(m, b + 8 * 272, d2 | table);
			put(m, b + 8 * 511, k2 | table);
		}
	}
}

static bool run(uint64_t seed, unsigned int cpus, uint64_t steps, enum tf_mode mode, bool mixed)
{
	struct machine *m = &machine;
	static struct cpu cpu[HW_CPUS];
	pthread_t thread[HW_CPUS], host;
	struct tf_config conf = {.mode = mode,
				 .nested = seed & 4 ? TF_EPT : TF_NPT,
				 .maxphyaddr = 40,
				 .vcpus = cpus,
				 .shadow_pages = seed & 1 ? 64 : 0,
				 .large_backing = seed & 2};

	memset(m, 0, sizeof(*m));
	memset(cpu, 0, sizeof(cpu));
	m->cpus = cpus;
	m->steps = steps;
	m->seed = seed;
	m->mixed = mixed;
	m->running = cpus;
	pthread_mutex_init(&m->edit, NULL);
	fakehost_init(&m->host, UINT64_C(32) << 20);
	hw_init(&m->hw, &m->host, &conf, cpus);
	m->hw.checks = false;
	if (tf_vm_create(&m->host.host, &conf, &m->vm) != TF_OK ||
	    tf_mem_add(m->vm, gpa(0), 512 * PAGE, 0) != TF_OK ||
	    tf_mem_add(m->vm, gpa(AWAY_GFN * PAGE), AWAY_N * PAGE, 0) != TF_OK) {
		printf("FAILED: the VM could not be made\n");
		return false;
	}
	build(m, cpu);
	struct tf_regs r = {
		.cr0 = X_CR0_PE | X_CR0_PG | X_CR0_WP,
		.cr3 = m->root[0][0],
		.cr4 = X_CR4_PAE | X_CR4_PGE,
		.efer = X_EFER_LME | X_EFER_LMA | X_EFER_NXE,
	};
	if (hw_attach(&m->hw, m->vm, &r, seed) != TF_OK)
		fail(m, "tf_vcpu_create", 0, 0, 0);
	for (unsigned int i = 0; i < cpus; i++) {
		cpu[i].m = m;
		cpu[i].i = i;
		cpu[i].hw = &m->hw.cpu[i];
		cpu[i].rng.s = seed * 131 + i;
		r.cr3 = m->root[i][0];
		hw_set_regs(cpu[i].hw, &r);
		if (mixed && i % 2)
			hw_set_mode(cpu[i].hw, TF_NESTED);
	}
	for (unsigned int i = 0; i < cpus; i++)
		pthread_create(&thread[i], NULL, run_cpu, &cpu[i]);
	pthread_create(&host, NULL, run_host, m);
	for (unsigned int i = 0; i < cpus; i++)
		pthread_join(thread[i], NULL);
	pthread_join(host, NULL);

	/* All is quiet: the invariants, and every slot once more. */
	const char *broken = tf_check(m->vm);
	if (broken)
		fail(m, broken, 0, 0, 0);
	for (unsigned int i = 0; i < cpus && !has_failed(m); i++)
		for (unsigned int k = 0; k < 64; k++) {
			look_shared(&cpu[i]);
			look_private(&cpu[i]);
		}
	for (unsigned int s = 0; s < SHARED && !has_failed(m); s++) {
		uint64_t word = 0;
		if (tf_mem_read(m->vm, gpa(m->shared_frame[s] * PAGE), &word, 8) != TF_OK ||
		    word != tag(s))
			fail(m, "memory at the end", s, word, 0);
	}
	uint64_t exits = 0;
	for (unsigned int i = 0; i < cpus; i++)
		exits += m->hw.cpu[i].exits;
	bool good = !has_failed(m);
	printf("%s seed %llu %u vcpus %s: %llu steps each, %llu exits, %llu flushes %s\n",
	       good ? "ok " : "FAILED", (unsigned long long)seed, cpus,
	       mixed		   ? "mixed"
	       : mode == TF_SHADOW ? "shadow"
				   : "nested",
	       (unsigned long long)steps, (unsigned long long)exits,
	       (unsigned long long)m->host.flushes, m->why);
	fflush(stdout);
	tf_vm_destroy(m->vm);
	if (good && fakehost_leaks(&m->host))
		good = false;
	hw_fini(&m->hw);
	fakehost_fini(&m->host);
	pthread_mutex_destroy(&m->edit);
	return good;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"steps", required_argument, NULL, 'n'},
		{"vcpus", required_argument, NULL, 'v'},
		{"mode", required_argument, NULL, 'm'},
		{NULL, 0, NULL, 0},
	};
	uint64_t seed = 0, steps = 6000;
	unsigned int cpus = 0;
	const char *mode = NULL;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			steps = strtoull(optarg, NULL, 0);
			break;
		case 'v':
			cpus = (unsigned int)atoi(optarg);
			break;
		case 'm':
			mode = optarg;
			break;
		default:
			fprintf(stderr,
				"usage: %s [--seed N] [--steps N] [--vcpus 1..4] "
				"[--mode nested|shadow|mixed]\n",
				argv[0]);
			return 64;
		}
	}
	if (seed || mode || cpus)
		return run(seed, cpus ? cpus : 2, steps,
			   mode && mode[0] == 'n' ? TF_NESTED : TF_SHADOW, mode && mode[0] == 'm')
			       ? 0
			       : 1;
	bool good = true;
	for (uint64_t s = 1; s <= 8; s++)
		good = run(s, s % 2 ? 2 : 4, steps, s % 4 == 3 ? TF_NESTED : TF_SHADOW,
			   s % 4 == 2) &&
		       good;
	return good ? 0 : 1;
}
