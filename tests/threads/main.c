/* Threads on one VM, under the thread sanitizer: a thread for each vCPU and one for the host.
 *
 * Every guest frame of the pool holds a word that tells its class. The page at slot i of the
 * guest's address space is only ever mapped to frames of class i, so a stale, torn or foreign
 * mapping shows itself as a wrong class. Private slots are edited by one vCPU, which must see its
 * own edits after its own flush. Shared slots are edited by any vCPU with a shootdown of the others
 * (a request that each answers by INVLPG), after which the old frame changes its class: whoever can
 * still reach it by the old slot is found out. Table pages come and go as well.
 *
 * Every vCPU also has a word of its own in every frame of the pool, where it counts up by the
 *direct map: no count is ever lost, whatever group wrote it. Each write is noted by frame when it
 *is done, so that the host, which logs dirty pages meanwhile, knows what the log must tell:
 *
 *	read k-1 ... write, noted ... read k:  the page is in the bitmap of read k-1 or of read k
 *
 * The host also ages, discards and removes memory, edits shared slots by itself (tf_mem_write and a
 * shootdown), and changes the grouping; vCPUs change their mode. With a choice, the host and the
 * vCPUs' readings change the mode of all and of single address spaces, and the vCPUs sample
 *accessed bits. In the end the invariants are checked, and every slot and every count once more.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hw.h"
#include "touch.h"

#include <twofold/choice.h>
#include <twofold/explain.h>

#define PAGE	UINT64_C(4096)
#define SHARED	16u /* slots that all edit, kernel half, global */
#define PRIVATE 16u /* slots of one vCPU, user half */
#define SPARE	8u  /* frames of the pool beyond what slots hold */

/* Guest frames: tables below POOL, then the pool, then a range that the host takes away. */
#define POOL_GFN UINT64_C(320)
#define POOL_N	 (AWAY_GFN - POOL_GFN)
#define FRAMES	 512	       /* below AWAY: what the log covers */
#define HOST_GFN UINT64_C(500) /* a page that the guest leaves alone */
#define AWAY_GFN UINT64_C(512)
#define AWAY_N	 UINT64_C(64)
#define DIRECT	 UINT64_C(0xffff880000000000)
#define KERNEL	 UINT64_C(0xffffff8000000000)
#define AWAY_VA	 UINT64_C(0xffffff8000200000)
#define TAG	 UINT64_C(0x5a5a000000000000)
#define NO_FRAME (~UINT64_C(0))

struct setup {
	uint64_t seed, steps;
	unsigned int cpus, nodes;
	enum tf_mode mode;
	bool mixed, regroup;
	bool huge;   /* a GiB of memory, backed at once; what is away is cut out of it */
	bool choice; /* modes are changed for all, and sampled for */
	bool spaces; /* and by address space */
	enum tf_grouping grouping;
	enum tf_install install;
};

struct machine {
	struct fakehost host;
	struct hw hw;
	struct tf_vm *vm;
	struct setup setup;
	unsigned int cpus;

	uint64_t root[HW_CPUS]
		     [2]; /* each vCPU has two: its own half differs, the kernel's does not */
	uint64_t shared_pt, private_pt[HW_CPUS][2], private_l1[HW_CPUS];

	/* Shared slots: the lock is the guest's. */
	pthread_mutex_t edit;
	uint64_t shared_frame[SHARED], spare[SPARE];
	uint64_t request[HW_CPUS]; /* address to flush, or 0; by CPU */

	uint64_t wrote[FRAMES];	   /* writes that are done, by frame */
	uint64_t writing[HW_CPUS]; /* the frame of a write under way, or NO_FRAME */

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
	uint64_t counted[POOL_N];  /* what it wrote last into its own word of each frame */
	bool sampling;
};

static uint64_t access_ok(struct cpu *c, uint64_t va, uint32_t flags, enum hw_op op, uint64_t val)
{
	struct hw_result r = hw_access(c->hw, va, flags, op, val);

	if (r.end != HW_DONE)
		fail(c->m, "an access did not end well", va, flags, (uint64_t)r.end << 32 | r.pfec);
	return r.old;
}

/* A write to that frame is done: the log must know it. */
static void note(struct machine *m, uint64_t frame)
{
	__atomic_fetch_add(&m->wrote[frame], 1, __ATOMIC_SEQ_CST);
}

/* A write by an address that leads to that frame for sure. */
static uint64_t write_noted(struct cpu *c, uint64_t va, uint32_t flags, enum hw_op op, uint64_t val,
			    uint64_t frame)
{
	__atomic_store_n(&c->m->writing[c->i], frame, __ATOMIC_SEQ_CST);
	uint64_t old = access_ok(c, va, flags | TF_WRITE, op, val);
	note(c->m, frame);
	__atomic_store_n(&c->m->writing[c->i], NO_FRAME, __ATOMIC_SEQ_CST);
	return old;
}

/* Writes a word through the direct map, as a kernel does its tables. */
static uint64_t set_entry(struct cpu *c, uint64_t at, uint64_t e)
{
	return write_noted(c, DIRECT + at, 0, HW_WRITE, e, at / PAGE);
}

static void answer(struct cpu *c)
{
	uint64_t va = __atomic_load_n(&c->m->request[c->i], __ATOMIC_SEQ_CST);

	if (!va)
		return;
	hw_invlpg(c->hw, va);
	__atomic_store_n(&c->m->request[c->i], 0, __ATOMIC_SEQ_CST);
}

/* Ask every vCPU but one to flush, and wait until they did (or have ended: they will). */
static void shoot_down_others(struct machine *m, uint64_t va, unsigned int self)
{
	for (unsigned int k = 0; k < m->cpus; k++)
		if (k != self)
			__atomic_store_n(&m->request[k], va, __ATOMIC_SEQ_CST);
	for (unsigned int k = 0; k < m->cpus; k++)
		while (k != self && __atomic_load_n(&m->request[k], __ATOMIC_SEQ_CST) &&
		       __atomic_load_n(&m->running, __ATOMIC_SEQ_CST) && !has_failed(m))
			sched_yield();
}

static void shoot_down(struct cpu *c, uint64_t va)
{
	hw_invlpg(c->hw, va);
	shoot_down_others(c->m, va, c->i);
}

static uint64_t tag(uint64_t class)
{
	return TAG | class;
}

/* Each vCPU counts in its own word of any frame of the pool: other groups write the same page. */
static uint64_t count_at(const struct cpu *c, uint64_t k)
{
	return (POOL_GFN + k) * PAGE + 8 * (16 + c->i);
}

static void count_up(struct cpu *c)
{
	uint64_t k = rng_below(&c->rng, HOST_GFN - POOL_GFN);
	uint64_t next = c->counted[k] + 1 + rng_below(&c->rng, 5);
	uint64_t old = set_entry(c, count_at(c, k), next);

	if (old != c->counted[k])
		fail(c->m, "a count was lost", POOL_GFN + k, c->counted[k], old);
	c->counted[k] = next;
}

static void look_count(struct cpu *c, uint64_t k)
{
	uint64_t seen = access_ok(c, DIRECT + count_at(c, k), 0, HW_READ, 0);

	if (seen != c->counted[k])
		fail(c->m, "a count is not what it was", POOL_GFN + k, c->counted[k], seen);
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
	write_noted(c, private_va(slot) + 8, TF_USER, HW_WRITE, val, want);
	if (access_ok(c, private_va(slot) + 8, TF_USER, HW_READ, 0) != val)
		fail(c->m, "a write was lost", slot, val, c->i);
}

/* A walk explained beside all that others do: its own slots are what they are; the kernel's may
 * lead anywhere. */
static void explain(struct cpu *c)
{
	unsigned int slot = (unsigned int)rng_below(&c->rng, PRIVATE);
	uint64_t want = c->mine[c->space][slot];
	const struct tf_access mine = {gva(private_va(slot)), TF_USER},
			       other = {gva(KERNEL + rng_below(&c->rng, SHARED) * PAGE), TF_WRITE};
	struct tf_explanation x;

	hw_leave(c->hw);
	tf_explain(c->hw->v, &c->hw->r, &other, &x);
	tf_explain(c->hw->v, &c->hw->r, &mine, &x);
	if (want ? x.end != TF_WALK_MAPPED || x.data.at.v != want * PAGE : x.end != TF_WALK_ABSENT)
		fail(c->m, "a walk of a private slot is explained as another", want, x.end,
		     x.data.at.v);
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
	write_noted(c, DIRECT + old, 0, HW_ZERO, 0, old / PAGE);
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

/* ---- the choice ---- */

static enum tf_mode some_mode(struct rng *r)
{
	return rng_one_in(r, 2) ? TF_SHADOW : TF_NESTED;
}

static void sample(struct cpu *c)
{
	hw_leave(c->hw);
	if (c->sampling)
		tf_sample_end(c->hw->v, 1 + rng_below(&c->rng, 100000));
	c->sampling = !c->sampling && tf_sample_begin(c->hw->v, &c->hw->r);
}

/* A reading; the policy is a random one. */
static void note_reading(struct cpu *c)
{
	struct machine *m = c->m;
	const struct tf_reading r = {.cycles = 1 + rng_below(&c->rng, 100000),
				     .event_cycles = rng_below(&c->rng, 100000),
				     .faults = rng_below(&c->rng, 10),
				     .cr3_writes = rng_below(&c->rng, 10)};
	struct tf_verdict v;

	hw_leave(c->hw);
	tf_choice_note(c->hw->v, &c->hw->r, &r, &v);
	if (v.mode != __atomic_load_n(&c->hw->asked, __ATOMIC_SEQ_CST))
		hw_ask_mode(&m->hw, v.mode);
}

static void change_modes(struct machine *m, struct rng *r)
{
	if (m->setup.spaces && !rng_one_in(r, 4))
		tf_space_set_mode(m->vm, m->root[rng_below(r, m->cpus)][rng_below(r, 2)],
				  some_mode(r));
	else
		hw_ask_mode(&m->hw, m->setup.spaces && rng_one_in(r, 2) ? TF_SHADOW : some_mode(r));
}

static bool start_choice(struct machine *m)
{
	const struct tf_choice_config conf = {
		.policy = tf_policy_find("random"),
		.grain = m->setup.spaces ? TF_GRAIN_SPACE : TF_GRAIN_VM,
		.costs = {.exit = 1000, .miss_nested = 200, .miss_shadow = 100, .fault = 5000},
		.clock_khz = 1000,
		.seed = m->setup.seed,
	};

	m->hw.spaces = m->setup.spaces;
	return tf_choice_start(m->vm, &conf) == TF_OK;
}

/* Now and then, in a VM with a choice. */
static void choose(struct cpu *c)
{
	switch (rng_below(&c->rng, 16)) {
	case 0 ... 2:
		sample(c);
		break;
	case 3:
		note_reading(c);
		break;
	case 4:
		change_modes(c->m, &c->rng);
		break;
	default:
		break;
	}
}

static void *run_cpu(void *arg)
{
	struct cpu *c = arg;
	struct machine *m = c->m;

	for (uint64_t step = 0; step < m->setup.steps; step++) {
		if (has_failed(m))
			break;
		answer(c);
		if (m->setup.choice)
			choose(c);
		switch (rng_below(&c->rng, 28)) {
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
			if (m->setup.mixed && rng_one_in(&c->rng, 16))
				hw_set_mode(c->hw,
					    c->hw->want == TF_NESTED ? TF_SHADOW : TF_NESTED);
			break;
		case 20:
			hw_evict(c->hw);
			explain(c);
			break;
		case 21:
			hw_speculate(c->hw, KERNEL + rng_below(&c->rng, SHARED) * PAGE, 0);
			break;
		case 22 ... 24:
			count_up(c);
			break;
		case 25:
			look_count(c, rng_below(&c->rng, HOST_GFN - POOL_GFN));
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

struct host {
	struct machine *m;
	struct rng rng;
	bool there, logging;
	uint64_t noted[FRAMES];	    /* writes that were done before the last read */
	uint64_t told[FRAMES / 64]; /* by the last read; or a write was under way then */
	uint64_t reads, dirty, edits, regroups;
};

/* The slots of the low memory, first frame and count, each on a node of its own. */
static const uint64_t slots[3][2] = {{0, 128}, {128, POOL_GFN - 128}, {POOL_GFN, POOL_N}};

/* What is done by now, and (bits) the frames of writes under way, which may have been told before
 * they are noted. In this order: what begins after is told by the read that follows, or a later. */
static void snapshot(struct machine *m, uint64_t *done, uint64_t *bits)
{
	memset(bits, 0, FRAMES / 8);
	for (unsigned int i = 0; i < HW_CPUS; i++) {
		uint64_t f = __atomic_load_n(&m->writing[i], __ATOMIC_SEQ_CST);
		if (f != NO_FRAME)
			bits[f / 64] |= BIT(f % 64);
	}
	for (uint64_t f = 0; f < FRAMES; f++)
		done[f] = __atomic_load_n(&m->wrote[f], __ATOMIC_SEQ_CST);
}

static enum tf_status log_start(struct host *h)
{
	enum tf_status s = TF_OK;

	for (unsigned int k = 0; k < 3 && s == TF_OK; k++)
		s = tf_dirty_start(h->m->vm, gpa(slots[k][0] * PAGE), slots[k][1] * PAGE);
	/* What was done before need not be told. */
	snapshot(h->m, h->noted, h->told);
	h->logging = s == TF_OK;
	return s;
}

/* A write that was noted between the beginnings of two reads was told by one of them. */
static enum tf_status log_read(struct host *h)
{
	struct machine *m = h->m;
	uint64_t done[FRAMES], under_way[FRAMES / 64], bits[FRAMES / 64];
	enum tf_status s = TF_OK;

	snapshot(m, done, under_way);
	for (unsigned int k = 0; k < 3 && s == TF_OK; k++)
		s = tf_dirty_read(m->vm, gpa(slots[k][0] * PAGE), slots[k][1] * PAGE,
				  &bits[slots[k][0] / 64]);
	for (uint64_t f = 0; f < FRAMES && s == TF_OK; f++) {
		bool now = bits[f / 64] >> (f % 64) & 1, then = h->told[f / 64] >> (f % 64) & 1;
		if (done[f] != h->noted[f] && !now && !then)
			fail(m, "the dirty log lost a write", f, h->noted[f], done[f]);
		h->dirty += now;
	}
	memcpy(h->noted, done, sizeof(done));
	for (unsigned int k = 0; k < FRAMES / 64; k++)
		h->told[k] = bits[k] | under_way[k];
	h->reads++;
	return s;
}

static void log_stop(struct host *h)
{
	for (unsigned int k = 0; k < 3; k++)
		tf_dirty_stop(h->m->vm, gpa(slots[k][0] * PAGE), slots[k][1] * PAGE);
	h->logging = false;
}

/* What edit_shared() does, by the host's own writes: tables that groups trust change. */
static void host_edits(struct host *h)
{
	struct machine *m = h->m;
	uint64_t slot = rng_below(&h->rng, SHARED), k = rng_below(&h->rng, SPARE);

	if (pthread_mutex_trylock(&m->edit))
		return;
	uint64_t fresh = m->spare[k], old = m->shared_frame[slot];
	put(m, fresh * PAGE, tag(slot));
	note(m, fresh);
	put(m, m->shared_pt + 8 * slot, fresh * PAGE | X_P | X_W | X_G | X_A | X_D);
	note(m, m->shared_pt / PAGE);
	shoot_down_others(m, KERNEL + slot * PAGE, HW_CPUS);
	put(m, old * PAGE, 0xdead);
	note(m, old);
	m->shared_frame[slot] = fresh;
	m->spare[k] = old;
	h->edits++;
	pthread_mutex_unlock(&m->edit);
}

static enum tf_status host_memory(struct host *h)
{
	struct machine *m = h->m;
	uint64_t k = rng_below(&h->rng, AWAY_N), start = AWAY_GFN * PAGE, bytes = AWAY_N * PAGE;

	if (h->there && !rng_one_in(&h->rng, 4))
		return tf_mem_discard(m->vm, gpa(start + k * PAGE), PAGE);
	h->there = !h->there;
	if (!h->there)
		return tf_mem_remove(m->vm, gpa(start), bytes);
	return tf_mem_add(m->vm, gpa(start), bytes,
			  (unsigned int)rng_below(&h->rng, m->setup.nodes));
}

static enum tf_status host_word(struct host *h)
{
	struct machine *m = h->m;
	uint64_t word = 0, val = rng_next(&h->rng);
	enum tf_status s = tf_mem_write(m->vm, gpa(HOST_GFN * PAGE), &val, 8);

	note(m, HOST_GFN);
	if (s == TF_OK)
		s = tf_mem_read(m->vm, gpa(HOST_GFN * PAGE), &word, 8);
	if (s == TF_OK && word != val)
		fail(m, "the host's own word", val, word, 0);
	return s;
}

static enum tf_status host_step(struct host *h)
{
	uint64_t bits[FRAMES / 64];

	if (h->m->setup.choice && rng_one_in(&h->rng, 3))
		change_modes(h->m, &h->rng);
	switch (rng_below(&h->rng, 12)) {
	case 0:
	case 1:
		return host_memory(h);
	case 2:
		if (!h->logging)
			return log_start(h);
		if (rng_one_in(&h->rng, 4))
			log_stop(h);
		break;
	case 3:
	case 4:
		return h->logging ? log_read(h) : TF_OK;
	case 5:
		return tf_accessed_read(h->m->vm, gpa(0), FRAMES * PAGE, bits);
	case 6:
		return host_word(h);
	case 7:
		host_edits(h);
		break;
	case 8:
		if (!h->m->setup.regroup || !rng_one_in(&h->rng, 3))
			break;
		h->regroups++;
		return tf_regroup(h->m->vm, (enum tf_grouping)rng_below(&h->rng, 3));
	default:
		usleep(200);
		break;
	}
	return TF_OK;
}

static void *run_host(void *arg)
{
	struct host *h = arg;
	struct machine *m = h->m;

	while (__atomic_load_n(&m->running, __ATOMIC_SEQ_CST) && !has_failed(m)) {
		enum tf_status s = host_step(h);
		if (s != TF_OK)
			fail(m, tf_status_text(s), 0, 0, 0);
	}
	if (h->logging && !has_failed(m) && log_read(h) != TF_OK)
		fail(m, "tf_dirty_read", 0, 0, 0);
	if (!h->there && tf_mem_add(m->vm, gpa(AWAY_GFN * PAGE), AWAY_N * PAGE, 0) != TF_OK)
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

static bool make_vm(struct machine *m)
{
	const struct setup *u = &m->setup;
	struct tf_config conf = {.mode = u->mode,
				 .nested = (enum tf_nested_format)(u->seed % 3),
				 .maxphyaddr = 40,
				 .vcpus = u->cpus,
				 .shadow_pages = u->seed & 1 ? 64 : 0,
				 .large_backing = (u->seed & 2) || u->huge,
				 .huge_backing = u->huge,
				 .nodes = u->nodes,
				 .grouping = u->grouping,
				 .regroup = u->regroup,
				 .install = u->install,
				 .arrival = u->seed & 1 ? 0 : 40};

	pthread_mutex_init(&m->edit, NULL);
	fakehost_init_huge(&m->host, UINT64_C(32) << 20, u->huge ? 1 : 0);
	hw_init(&m->hw, &m->host, &conf, u->cpus);
	m->hw.checks = false;
	if (tf_vm_create(&m->host.host, &conf, &m->vm) != TF_OK)
		return false;
	if (u->huge)
		return tf_mem_add(m->vm, gpa(0), UINT64_C(1) << 30, 0) == TF_OK;
	for (unsigned int k = 0; k < 3; k++)
		if (tf_mem_add(m->vm, gpa(slots[k][0] * PAGE), slots[k][1] * PAGE, k % u->nodes) !=
		    TF_OK)
			return false;
	return tf_mem_add(m->vm, gpa(AWAY_GFN * PAGE), AWAY_N * PAGE, u->nodes - 1) == TF_OK;
}

static bool make_cpus(struct machine *m, struct cpu *cpu)
{
	const struct setup *u = &m->setup;
	struct tf_regs r = {
		.cr0 = X_CR0_PE | X_CR0_PG | X_CR0_WP,
		.cr3 = m->root[0][0],
		.cr4 = X_CR4_PAE | X_CR4_PGE,
		.efer = X_EFER_LME | X_EFER_LMA | X_EFER_NXE,
	};

	if (hw_attach(&m->hw, m->vm, &r, u->seed) != TF_OK)
		return false;
	if (u->choice && !start_choice(m))
		return false;
	for (unsigned int i = 0; i < m->cpus; i++) {
		cpu[i].m = m;
		cpu[i].i = i;
		cpu[i].hw = &m->hw.cpu[i];
		cpu[i].rng.s = u->seed * 131 + i;
		r.cr3 = m->root[i][0];
		hw_set_regs(cpu[i].hw, &r);
		/* Both modes in a group, and both among the groups. */
		if (u->mixed && (i + i / 4) % 2)
			hw_set_mode(cpu[i].hw, TF_NESTED);
	}
	return true;
}

/* All is quiet: the invariants, and every slot and count once more. */
static void look_at_all(struct machine *m, struct cpu *cpu)
{
	const char *broken = tf_check(m->vm);

	if (broken)
		fail(m, broken, 0, 0, 0);
	for (unsigned int i = 0; i < m->cpus; i++)
		answer(&cpu[i]);
	for (unsigned int i = 0; i < m->cpus && !has_failed(m); i++) {
		for (unsigned int k = 0; k < 64; k++) {
			look_shared(&cpu[i]);
			look_private(&cpu[i]);
		}
		for (uint64_t k = 0; k < POOL_N && !has_failed(m); k++) {
			uint64_t at = (POOL_GFN + k) * PAGE + 8 * (16 + i), word = 0;
			look_count(&cpu[i], k);
			if (tf_mem_read(m->vm, gpa(at), &word, 8) != TF_OK ||
			    word != cpu[i].counted[k])
				fail(m, "a count at the end", POOL_GFN + k, word, i);
		}
	}
	for (unsigned int s = 0; s < SHARED && !has_failed(m); s++) {
		uint64_t word = 0;
		if (tf_mem_read(m->vm, gpa(m->shared_frame[s] * PAGE), &word, 8) != TF_OK ||
		    word != tag(s))
			fail(m, "memory at the end", s, word, 0);
	}
}

static void tell(struct machine *m, const struct host *h, bool good)
{
	static const char *const groupings[] = {"node", "one", "vcpu"};
	const struct setup *u = &m->setup;
	struct tf_counters n = {0};
	uint64_t exits = 0;

	if (m->vm)
		tf_counters_read(m->vm, &n);
	for (unsigned int i = 0; i < m->cpus; i++)
		exits += m->hw.cpu[i].exits;
	printf("%s --seed %llu --vcpus %u --nodes %u --mode %s --grouping %s --install %s%s%s%s%s "
	       "--steps "
	       "%llu\n",
	       good ? "ok " : "FAILED", (unsigned long long)u->seed, u->cpus, u->nodes,
	       u->mixed		      ? "mixed"
	       : u->mode == TF_SHADOW ? "shadow"
				      : "nested",
	       groupings[u->grouping], u->install == TF_INSTALL_CAS ? "cas" : "lock",
	       u->regroup ? " --regroup" : "", u->choice ? " --choice" : "",
	       u->spaces ? " --spaces" : "", u->huge ? " --huge" : "",
	       (unsigned long long)u->steps);
	printf("    %llu exits, %llu flushes, %llu copies, %llu tracks, %llu unsyncs; the host: "
	       "%llu "
	       "log reads (%llu dirty), %llu edits, %llu regroupings (%llu moves); "
	       "%llu faults by 1 GiB, %llu cut %s\n",
	       (unsigned long long)exits, (unsigned long long)m->host.flushes,
	       (unsigned long long)n.copies, (unsigned long long)n.tracks,
	       (unsigned long long)n.unsyncs, (unsigned long long)h->reads,
	       (unsigned long long)h->dirty, (unsigned long long)h->edits,
	       (unsigned long long)h->regroups, (unsigned long long)n.regroups,
	       (unsigned long long)n.nested_1g, (unsigned long long)n.nested_1g_cut, m->why);
	fflush(stdout);
}

static bool run(const struct setup *u)
{
	struct machine *m = &machine;
	static struct cpu cpu[HW_CPUS];
	static struct host h;
	pthread_t thread[HW_CPUS], host;

	memset(m, 0, sizeof(*m));
	memset(cpu, 0, sizeof(cpu));
	memset(&h, 0, sizeof(h));
	m->setup = *u;
	m->cpus = m->running = u->cpus;
	memset(m->writing, 0xff, sizeof(m->writing));
	h = (struct host){.m = m, .rng = {u->seed * 77 + 5}, .there = true};
	if (!make_vm(m)) {
		printf("FAILED: the VM could not be made\n");
		return false;
	}
	build(m, cpu);
	if (!make_cpus(m, cpu))
		fail(m, "tf_vcpu_create", 0, 0, 0);
	for (unsigned int i = 0; i < u->cpus; i++)
		pthread_create(&thread[i], NULL, run_cpu, &cpu[i]);
	pthread_create(&host, NULL, run_host, &h);
	for (unsigned int i = 0; i < u->cpus; i++)
		pthread_join(thread[i], NULL);
	pthread_join(host, NULL);
	look_at_all(m, cpu);
	bool good = !has_failed(m);
	tell(m, &h, good);
	tf_vm_destroy(m->vm);
	if (good && fakehost_leaks(&m->host))
		good = false;
	hw_fini(&m->hw);
	fakehost_fini(&m->host);
	pthread_mutex_destroy(&m->edit);
	return good;
}

/* Eight vCPUs on four nodes, all modes, groupings and ways to install; and fewer, for more of what
 * only two can do. */
static bool suite(uint64_t steps)
{
	static const struct setup all[] = {
		{.cpus = 2, .nodes = 2, .mode = TF_SHADOW},
		{.cpus = 8, .nodes = 4, .mode = TF_SHADOW},
		{.cpus = 8, .nodes = 4, .mode = TF_NESTED, .install = TF_INSTALL_CAS},
		{.cpus = 8, .nodes = 4, .mode = TF_SHADOW, .mixed = true, .regroup = true},
		{.cpus = 8, .nodes = 4, .mode = TF_NESTED, .regroup = true},
		{.cpus = 8,
		 .nodes = 4,
		 .mode = TF_SHADOW,
		 .mixed = true,
		 .regroup = true,
		 .install = TF_INSTALL_CAS},
		{.cpus = 4,
		 .nodes = 2,
		 .mode = TF_SHADOW,
		 .grouping = TF_GROUPS_ONE,
		 .mixed = true},
		{.cpus = 4,
		 .nodes = 4,
		 .mode = TF_SHADOW,
		 .grouping = TF_GROUPS_VCPU,
		 .install = TF_INSTALL_CAS,
		 .mixed = true},
		{.cpus = 8, .nodes = 4, .mode = TF_SHADOW, .regroup = true},
		{.cpus = 4, .nodes = 2, .mode = TF_NESTED, .choice = true, .spaces = true},
		{.cpus = 8,
		 .nodes = 4,
		 .mode = TF_NESTED,
		 .choice = true,
		 .spaces = true,
		 .regroup = true,
		 .install = TF_INSTALL_CAS},
		{.cpus = 8, .nodes = 2, .mode = TF_NESTED, .choice = true, .regroup = true},
		{.cpus = 4, .nodes = 2, .mode = TF_NESTED, .huge = true},
		{.cpus = 4,
		 .nodes = 2,
		 .mode = TF_SHADOW,
		 .mixed = true,
		 .regroup = true,
		 .install = TF_INSTALL_CAS,
		 .huge = true},
		{.cpus = 4,
		 .nodes = 2,
		 .mode = TF_NESTED,
		 .choice = true,
		 .spaces = true,
		 .huge = true},
	};
	bool good = true;

	for (unsigned int k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
		struct setup u = all[k];
		u.seed = k + 1;
		u.steps = steps;
		good = run(&u) && good;
	}
	for (unsigned int k = 1; k <= 12; k++)
		good = touch_run(k, 200) && good;
	return good;
}

static _Noreturn void usage(const char *me)
{
	fprintf(stderr,
		"usage: %s [--seed N] [--steps N] [--vcpus 1..8] [--mode nested|shadow|mixed]\n"
		"       [--nodes 1..8] [--grouping node|one|vcpu] [--install lock|cas] "
		"[--regroup] [--choice] [--spaces] [--huge]\n"
		"Without --seed: a fixed list of short runs.\n",
		me);
	exit(64);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"steps", required_argument, NULL, 'n'},
		{"vcpus", required_argument, NULL, 'v'},
		{"mode", required_argument, NULL, 'm'},
		{"nodes", required_argument, NULL, 'N'},
		{"grouping", required_argument, NULL, 'g'},
		{"install", required_argument, NULL, 'i'},
		{"regroup", no_argument, NULL, 'G'},
		{"choice", no_argument, NULL, 'C'},
		{"huge", no_argument, NULL, 'H'},
		{"spaces", no_argument, NULL, 'S'},
		{NULL, 0, NULL, 0},
	};
	struct setup u = {.steps = 3000, .cpus = 8, .nodes = 4, .mode = TF_SHADOW};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 's':
			u.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			u.steps = strtoull(optarg, NULL, 0);
			break;
		case 'v':
			u.cpus = (unsigned int)atoi(optarg);
			break;
		case 'm':
			u.mode = optarg[0] == 'n' ? TF_NESTED : TF_SHADOW;
			u.mixed = optarg[0] == 'm';
			break;
		case 'N':
			u.nodes = (unsigned int)atoi(optarg);
			break;
		case 'g':
			u.grouping = optarg[0] == 'o'	? TF_GROUPS_ONE
				     : optarg[0] == 'v' ? TF_GROUPS_VCPU
							: TF_GROUPS_NODE;
			break;
		case 'i':
			u.install = optarg[0] == 'c' ? TF_INSTALL_CAS : TF_INSTALL_LOCK;
			break;
		case 'G':
			u.regroup = true;
			break;
		case 'S':
			u.spaces = true;
			u.choice = true;
			break;
		case 'C':
			u.choice = true;
			break;
		case 'H':
			u.huge = true;
			break;
		default:
			usage(argv[0]);
		}
	}
	if (u.cpus < 1 || u.cpus > HW_CPUS || u.nodes < 1 || u.nodes > HW_CPUS)
		usage(argv[0]);
	if (u.seed)
		return run(&u) ? 0 : 1;
	return suite(u.steps) ? 0 : 1;
}
