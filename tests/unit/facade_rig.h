/* A VM with a guest on the model hardware, for tests of the facade.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_FACADE_RIG_H
#define UNIT_FACADE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hw.h"

#define MIB  (UINT64_C(1) << 20)
#define GIB  (UINT64_C(1) << 30)
#define PAGE ((uint64_t)TF_PAGE_SIZE)

/* A VM with 8 MiB at 0 (node 0) and 64 KiB at 4 GiB (node 1); long mode with the low 4 MiB at VA 0
 * for the user and at KERNEL for the kernel, by 4 KiB pages, and 4 .. 6 MiB by a 2 MiB page. Tables
 * lie at 1 MiB. With huge_backing 1 GiB at 0 and 1 GiB at 1 GiB (node 1), on a host that has
 * three. */
#define KERNEL UINT64_C(0xffff800000000000)
#define ROOT   MIB
#define HIGH   (UINT64_C(4) << 30)

struct rig {
	struct fakehost f;
	struct hw hw;
	struct tf_vm *vm;
	struct tf_regs r;
	uint64_t next; /* free table */
};

static struct rig rig;

/* vCPU 0 is of node 0, vCPU 1 of node 1, and so on round about. */
static const struct tf_config plain = {.mode = TF_SHADOW,
				       .nested = TF_NPT,
				       .maxphyaddr = 40,
				       .vcpus = 2,
				       .nodes = 2,
				       .grouping = TF_GROUPS_ONE};

static inline void put(struct rig *g, uint64_t at, uint64_t e)
{
	assert_int_equal(tf_mem_write(g->vm, gpa(at), &e, 8), TF_OK);
}

static inline uint64_t get(struct rig *g, uint64_t at)
{
	uint64_t e = 0;
	assert_int_equal(tf_mem_read(g->vm, gpa(at), &e, 8), TF_OK);
	return e;
}

static inline void map(struct rig *g, uint64_t root, uint64_t va, unsigned int level, uint64_t e)
{
	uint64_t table = root;

	for (unsigned int k = 3; k > level; k--) {
		uint64_t at = table + 8 * (va >> (12 + 9 * k) & 511);
		if (!(get(g, at) & X_P)) {
			put(g, at, g->next | X_P | X_W | X_U);
			g->next += PAGE;
		}
		table = get(g, at) & X_ADDR;
	}
	put(g, table + 8 * (va >> (12 + 9 * level) & 511), e);
}

static inline void check(struct rig *g)
{
	const char *broken = tf_check(g->vm);

	if (broken)
		fail_msg("tf_check: %s", broken);
	if (g->hw.broken[0])
		fail_msg("%s", g->hw.broken);
}

/* A contract that depends neither on the grouping nor on the nested format holds in each: runs the
 * tests with `plain` as it is, and with others. What start() is given keeps its own grouping if it
 * is not TF_GROUPS_ONE, its own format if it is not TF_NPT. */
struct variant {
	const char *name;
	enum tf_grouping grouping;
	enum tf_install install;
	enum tf_nested_format nested;
};

static struct variant variant
	__attribute__((unused)) = {"", TF_GROUPS_ONE, TF_INSTALL_LOCK, TF_NPT};

/* How many groups a grouping gives. */
static inline unsigned int groups_of(const struct tf_config *c, enum tf_grouping g)
{
	return g == TF_GROUPS_ONE ? 1 : g == TF_GROUPS_NODE ? c->nodes : c->vcpus;
}

static inline struct rig *start(const struct tf_config *asked)
{
	struct rig *g = &rig;
	struct tf_config config = *asked, *conf = &config;

	if (config.grouping == TF_GROUPS_ONE) {
		config.grouping = variant.grouping;
		config.install = variant.install;
	}

	if (config.nested == TF_NPT)
		config.nested = variant.nested;

	memset(g, 0, sizeof(*g));
	fakehost_init_huge(&g->f, 24 * MIB, config.huge_backing ? 3 : 0);
	hw_init(&g->hw, &g->f, conf, conf->vcpus);
	assert_int_equal(tf_vm_create(&g->f.host, conf, &g->vm), TF_OK);
	assert_int_equal(tf_mem_add(g->vm, gpa(0), config.huge_backing ? GIB : 8 * MIB, 0), TF_OK);
	if (config.huge_backing)
		assert_int_equal(tf_mem_add(g->vm, gpa(GIB), GIB, 1), TF_OK);
	assert_int_equal(tf_mem_add(g->vm, gpa(HIGH), 16 * PAGE, 1), TF_OK);
	g->next = ROOT + PAGE;
	for (uint64_t a = 0; a < 4 * MIB; a += PAGE) {
		map(g, ROOT, a, 0, a | X_P | X_W | X_U);
		map(g, ROOT, KERNEL + a, 0, a | X_P | X_W | X_G);
	}
	map(g, ROOT, 4 * MIB, 1, (4 * MIB) | X_P | X_W | X_U | X_PS);
	map(g, ROOT, HIGH, 0, HIGH | X_P | X_W | X_U);
	map(g, ROOT, HIGH + PAGE, 0, (16 * MIB) | X_P | X_W | X_U); /* no memory */
	g->r = (struct tf_regs){
		.cr0 = X_CR0_PE | X_CR0_PG | X_CR0_WP,
		.cr3 = ROOT,
		.cr4 = X_CR4_PAE | X_CR4_PGE,
		.efer = X_EFER_LME | X_EFER_LMA | X_EFER_NXE,
	};
	assert_int_equal(hw_attach(&g->hw, g->vm, &g->r, 7), TF_OK);
	check(g);
	return g;
}

static inline void end(struct rig *g)
{
	check(g);
	tf_vm_destroy(g->vm);
	assert_int_equal(fakehost_leaks(&g->f), 0);
	fakehost_check(&g->f);
	hw_fini(&g->hw);
	fakehost_fini(&g->f);
}

static inline struct hw_result touch(struct rig *g, unsigned int cpu, uint64_t va, uint32_t flags,
				     uint64_t val)
{
	struct hw_result r =
		hw_access(&g->hw.cpu[cpu], va, flags, flags & TF_WRITE ? HW_WRITE : HW_READ, val);
	if (g->hw.broken[0])
		fail_msg("%s", g->hw.broken);
	return r;
}

static inline void store(struct rig *g, unsigned int cpu, uint64_t va, uint64_t val)
{
	assert_int_equal(touch(g, cpu, va, TF_USER | TF_WRITE, val).end, HW_DONE);
}

static inline uint64_t load(struct rig *g, unsigned int cpu, uint64_t va)
{
	struct hw_result r = touch(g, cpu, va, TF_USER, 0);

	assert_int_equal(r.end, HW_DONE);
	return r.old;
}

/* ---- the guest's tables ---- */

/* The entry of `level` for va under root. */
static inline uint64_t entry_of(struct rig *g, uint64_t root, uint64_t va, unsigned int level)
{
	uint64_t table = root;

	for (unsigned int k = 3; k > level; k--)
		table = get(g, table + 8 * (va >> (12 + 9 * k) & 511)) & X_ADDR;
	return table + 8 * (va >> (12 + 9 * level) & 511);
}

/* The guest writes an entry: its tables lie in the low 4 MiB, which are mapped at VA 0. */
static inline void edit(struct rig *g, unsigned int cpu, uint64_t at, uint64_t e)
{
	store(g, cpu, at, e);
}

/* Frames 0x200 .. 0x23f tell their number. */
static inline void tag_frames(struct rig *g)
{
	for (uint64_t f = 0x200; f < 0x240; f++)
		put(g, f << 12, f);
}

/* Flushes enough for the engine to trust the tables in use. */
static inline void quiet(struct rig *g, unsigned int cpu, uint64_t va)
{
	for (unsigned int k = 0; k < 600; k++) {
		load(g, cpu, va);
		assert_true(hw_write_cr3(&g->hw.cpu[cpu], ROOT));
	}
}

static const enum tf_mode both[] __attribute__((unused)) = {TF_NESTED, TF_SHADOW};

static inline struct tf_config in_mode(enum tf_mode m)
{
	struct tf_config c = plain;

	c.mode = m;
	return c;
}

static inline struct rig *start_in(enum tf_mode m, bool large_backing)
{
	struct tf_config c = in_mode(m);

	c.large_backing = large_backing;
	return start(&c);
}

static inline bool bit(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static inline unsigned int count(const uint64_t *bits, unsigned int n)
{
	unsigned int k = 0;

	for (unsigned int i = 0; i < n; i++)
		k += bit(bits, i);
	return k;
}

static const struct variant groupings_and_formats[] __attribute__((unused)) = {
	{"one group, NPT", TF_GROUPS_ONE, TF_INSTALL_LOCK, TF_NPT},
	{"a group for each node, EPT", TF_GROUPS_NODE, TF_INSTALL_LOCK, TF_EPT},
	{"a group for each vCPU, compare-and-swap, NPT", TF_GROUPS_VCPU, TF_INSTALL_CAS, TF_NPT},
	{"a group for each node, EPT without A and D", TF_GROUPS_NODE, TF_INSTALL_LOCK,
	 TF_EPT_NO_AD},
};

/* For tests that choose their grouping themselves. */
static const struct variant formats[] __attribute__((unused)) = {
	{"NPT", TF_GROUPS_ONE, TF_INSTALL_LOCK, TF_NPT},
	{"EPT", TF_GROUPS_ONE, TF_INSTALL_LOCK, TF_EPT},
	{"EPT without A and D", TF_GROUPS_ONE, TF_INSTALL_LOCK, TF_EPT_NO_AD},
};

/* All tests in each variant; the number of those that failed. */
#define RUN_VARIANTS(all, tests)                                                                   \
	({                                                                                         \
		int bad = 0;                                                                       \
		for (size_t i = 0; i < sizeof(all) / sizeof((all)[0]); i++) {                      \
			variant = (all)[i];                                                        \
			bad += cmocka_run_group_tests_name(variant.name, tests, NULL, NULL);       \
		}                                                                                  \
		bad;                                                                               \
	})
#define RUN_IN_ALL_GROUPINGS(tests) RUN_VARIANTS(groupings_and_formats, tests)

#endif
