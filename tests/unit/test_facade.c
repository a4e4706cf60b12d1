/* The facade's contract: arguments, memory slots, logs, bounds, and no memory at every allocation.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hw.h"

#define MIB  (UINT64_C(1) << 20)
#define PAGE ((uint64_t)TF_PAGE_SIZE)

/* A VM with 8 MiB at 0 (node 0) and 64 KiB at 4 GiB (node 1); long mode with the low 4 MiB at VA 0
 * for the user and at KERNEL for the kernel, by 4 KiB pages, and 4 .. 6 MiB by a 2 MiB page. Tables
 * lie at 1 MiB. */
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

static const struct tf_config plain = {
	.mode = TF_SHADOW, .nested = TF_NPT, .maxphyaddr = 40, .vcpus = 2};

static void put(struct rig *g, uint64_t at, uint64_t e)
{
	assert_int_equal(tf_mem_write(g->vm, gpa(at), &e, 8), TF_OK);
}

static uint64_t get(struct rig *g, uint64_t at)
{
	uint64_t e = 0;
	assert_int_equal(tf_mem_read(g->vm, gpa(at), &e, 8), TF_OK);
	return e;
}

static void map(struct rig *g, uint64_t root, uint64_t va, unsigned int level, uint64_t e)
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

static void check(struct rig *g)
{
	const char *broken = tf_check(g->vm);

	if (broken)
		fail_msg("tf_check: %s", broken);
	if (g->hw.broken[0])
		fail_msg("%s", g->hw.broken);
}

static struct rig *start(const struct tf_config *conf)
{
	struct rig *g = &rig;

	memset(g, 0, sizeof(*g));
	fakehost_init(&g->f, 24 * MIB);
	hw_init(&g->hw, &g->f, conf, conf->vcpus);
	assert_int_equal(tf_vm_create(&g->f.host, conf, &g->vm), TF_OK);
	assert_int_equal(tf_mem_add(g->vm, gpa(0), 8 * MIB, 0), TF_OK);
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

static void end(struct rig *g)
{
	check(g);
	tf_vm_destroy(g->vm);
	assert_int_equal(fakehost_leaks(&g->f), 0);
	fakehost_check(&g->f);
	hw_fini(&g->hw);
	fakehost_fini(&g->f);
}

static struct hw_result touch(struct rig *g, unsigned int cpu, uint64_t va, uint32_t flags,
			      uint64_t val)
{
	struct hw_result r =
		hw_access(&g->hw.cpu[cpu], va, flags, flags & TF_WRITE ? HW_WRITE : HW_READ, val);
	if (g->hw.broken[0])
		fail_msg("%s", g->hw.broken);
	return r;
}

static void store(struct rig *g, unsigned int cpu, uint64_t va, uint64_t val)
{
	assert_int_equal(touch(g, cpu, va, TF_USER | TF_WRITE, val).end, HW_DONE);
}

static uint64_t load(struct rig *g, unsigned int cpu, uint64_t va)
{
	struct hw_result r = touch(g, cpu, va, TF_USER, 0);

	assert_int_equal(r.end, HW_DONE);
	return r.old;
}

static const enum tf_mode both[] = {TF_NESTED, TF_SHADOW};

static struct tf_config in_mode(enum tf_mode m)
{
	struct tf_config c = plain;

	c.mode = m;
	return c;
}

/* ---- arguments ---- */

static void create_refuses(void **state)
{
	struct fakehost f;
	struct tf_vm *vm;
	struct tf_config c;

	(void)state;
	fakehost_init(&f, 8 * MIB);
	c = plain;
	c.vcpus = 0;
	assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_E_INVAL);
	c = plain;
	c.vcpus = TF_MAX_VCPUS + 1;
	assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_E_INVAL);
	c = plain;
	c.maxphyaddr = 31;
	assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_E_INVAL);
	c = plain;
	c.maxphyaddr = 53;
	assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_E_INVAL);
	c = plain;
	c.mode = (enum tf_mode)7;
	assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_E_INVAL);
	c = plain;
	c.nested = (enum tf_nested_format)7;
	assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_E_INVAL);
	assert_int_equal(f.in_use, 0);
	for (int s = -1; s < 9; s++) {
		const char *t = tf_status_text((enum tf_status)s);
		assert_non_null(t);
		assert_true(t[0]);
	}
	fakehost_fini(&f);
}

static void slots_refuse(void **state)
{
	(void)state;
	struct rig *g = start(&plain);
	struct tf_vcpu *v;
	uint64_t word = 5;

	assert_int_equal(tf_mem_add(g->vm, gpa(16 * MIB + 1), PAGE, 0), TF_E_INVAL);
	assert_int_equal(tf_mem_add(g->vm, gpa(16 * MIB), PAGE + 8, 0), TF_E_INVAL);
	assert_int_equal(tf_mem_add(g->vm, gpa(16 * MIB), 0, 0), TF_E_INVAL);
	assert_int_equal(tf_mem_add(g->vm, gpa(0), PAGE, 0), TF_E_EXISTS);
	assert_int_equal(tf_mem_add(g->vm, gpa(7 * MIB), 2 * MIB, 0), TF_E_EXISTS);
	assert_int_equal(tf_mem_add(g->vm, gpa(UINT64_C(1) << 40), PAGE, 0), TF_E_INVAL);
	assert_int_equal(tf_mem_add(g->vm, gpa((UINT64_C(1) << 40) - PAGE), 2 * PAGE, 0),
			 TF_E_INVAL);
	assert_int_equal(tf_mem_add(g->vm, gpa(~UINT64_C(0) - PAGE + 1), 2 * PAGE, 0), TF_E_INVAL);
	assert_int_equal(tf_mem_remove(g->vm, gpa(16 * MIB), PAGE), TF_E_NOENT);
	assert_int_equal(tf_mem_remove(g->vm, gpa(7 * MIB), 2 * MIB), TF_E_NOENT);
	assert_int_equal(tf_mem_remove(g->vm, gpa(8), PAGE), TF_E_INVAL);
	assert_int_equal(tf_mem_discard(g->vm, gpa(7 * MIB), 2 * MIB), TF_E_NOENT);
	assert_int_equal(tf_mem_discard(g->vm, gpa(8), PAGE), TF_E_INVAL);
	assert_int_not_equal(tf_dirty_start(g->vm, gpa(7 * MIB), 2 * MIB), TF_OK);
	assert_int_not_equal(tf_dirty_start(g->vm, gpa(8), PAGE), TF_OK);
	assert_int_equal(tf_mem_read(g->vm, gpa(16 * MIB), &word, 8), TF_E_NOENT);
	assert_int_equal(tf_mem_write(g->vm, gpa(~UINT64_C(0) - 3), &word, 8), TF_E_NOENT);
	assert_int_equal(tf_vcpu_create(g->vm, 2, 0, &v), TF_E_INVAL);
	assert_int_not_equal(tf_vcpu_create(g->vm, 0, 0, &v), TF_OK);
	/* It all still works. */
	store(g, 0, 0x5008, 77);
	assert_int_equal(get(g, 0x5008), 77);
	end(g);
}

/* A copy stops at the first address without memory; pages before it are done. */
static void copies_stop(void **state)
{
	(void)state;
	struct rig *g = start(&plain);
	static uint8_t buf[3 * 4096], back[3 * 4096];

	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(tf_mem_write(g->vm, gpa(8 * MIB - PAGE - 100), buf, sizeof(buf)),
			 TF_E_NOENT);
	assert_int_equal(tf_mem_read(g->vm, gpa(8 * MIB - PAGE - 100), back, PAGE + 100), TF_OK);
	assert_memory_equal(buf, back, PAGE + 100);
	assert_int_equal(tf_mem_write(g->vm, gpa(0x3ffd), buf, 4099), TF_OK);
	assert_int_equal(tf_mem_read(g->vm, gpa(0x3ffd), back, 4099), TF_OK);
	assert_memory_equal(buf, back, 4099);
	assert_int_equal(tf_mem_read(g->vm, gpa(0x123), back, 0), TF_OK);
	end(g);
}

/* ---- modes ---- */

static void accesses_work(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int format = 0; format < 2; format++) {
			struct tf_config c = in_mode(both[m]);
			c.nested = (enum tf_nested_format)format;
			c.large_backing = format;
			struct rig *g = start(&c);
			struct tf_counters n;
			for (uint64_t a = 0; a < 64; a++)
				store(g, a & 1, a * PAGE + 8 * a, a + 1);
			for (uint64_t a = 0; a < 64; a++) {
				assert_int_equal(load(g, !(a & 1), a * PAGE + 8 * a), a + 1);
				assert_int_equal(get(g, a * PAGE + 8 * a), a + 1);
				struct hw_result r = touch(g, 0, KERNEL + a * PAGE + 8 * a, 0, 0);
				assert_int_equal(r.end, HW_DONE);
				assert_int_equal(r.old, a + 1);
			}
			store(g, 0, 5 * MIB, 42);
			assert_int_equal(get(g, 5 * MIB), 42);
			store(g, 1, HIGH, 43);
			assert_int_equal(get(g, HIGH), 43);
			struct hw_result r = touch(g, 0, HIGH + PAGE + 0x18, TF_USER | TF_WRITE, 0);
			assert_int_equal(r.end, HW_DEVICE);
			assert_int_equal(r.gpa, 16 * MIB + 0x18);
			r = touch(g, 0, KERNEL, TF_USER, 0);
			assert_int_equal(r.end, HW_FAULT);
			assert_int_equal(r.pfec, TF_PF_P | TF_PF_U);
			assert_int_equal(r.cr2, KERNEL);
			tf_counters_read(g->vm, &n);
			assert_true(n.frames_backed + n.large_backed > 0);
			assert_true(n.device_faults > 0);
			assert_true(n.nested_tables > 0 && n.table_pages > 0);
			if (both[m] == TF_SHADOW) {
				assert_true(n.shadow_faults > 0 && n.shadow_fills > 0);
				assert_true(n.guest_faults == 1);
				assert_true(n.shadow_tables > 0 &&
					    n.shadow_tables_max >= n.shadow_tables);
			} else {
				assert_true(n.nested_faults > 0);
				assert_true(n.shadow_faults == 0);
			}
			end(g);
		}
}

/* What shadow tables cannot express runs on the nested root. */
static void odd_states_run_nested(void **state)
{
	(void)state;
	struct rig *g = start(&plain);
	struct tf_regs r;
	struct tf_translation t;
	struct tf_outcome o;
	struct hw_cpu *c = &g->hw.cpu[0];

	assert_true(hw_enter(c));
	assert_int_equal(c->load.mode, TF_SHADOW);
	r = g->r;
	r.cr0 &= ~X_CR0_WP;
	hw_set_regs(c, &r);
	assert_true(hw_enter(c));
	assert_int_equal(c->load.mode, TF_NESTED);
	/* No paging: the identity. */
	r = (struct tf_regs){.cr0 = X_CR0_PE};
	hw_set_regs(c, &r);
	assert_true(hw_enter(c));
	assert_int_equal(c->load.mode, TF_NESTED);
	store(g, 0, 0x7008, 99);
	assert_int_equal(get(g, 0x7008), 99);
	struct tf_access a = {.at = gva(0x7008), .flags = TF_WRITE};
	assert_int_equal(tf_walk(c->v, &a, true, &t, &o), TF_OK);
	assert_int_equal(t.gpa.v, 0x7008);
	/* 32-bit paging with a 4 MiB page and a 4 KiB one. */
	uint64_t dir = 6 * MIB, tab = 6 * MIB + PAGE;
	put(g, dir, (tab | X_P | X_W | X_U) | (uint64_t)(0x400000 | X_PS | X_P | X_W | X_U) << 32);
	put(g, tab, (uint64_t)(0x9000 | X_P | X_W | X_U) << 32);
	r = (struct tf_regs){.cr0 = X_CR0_PE | X_CR0_PG | X_CR0_WP, .cr3 = dir, .cr4 = X_CR4_PSE};
	hw_set_regs(c, &r);
	assert_true(hw_enter(c));
	assert_int_equal(c->load.mode, TF_NESTED);
	store(g, 0, 0x1010, 55);
	assert_int_equal(get(g, 0x9010), 55);
	store(g, 0, 0x500018, 56);
	assert_int_equal(get(g, 0x500018), 56);
	/* PAE. */
	put(g, dir, (dir + PAGE) | X_P);
	put(g, dir + PAGE, (dir + 2 * PAGE) | X_P | X_W | X_U);
	put(g, dir + 2 * PAGE, 0xa000 | X_P | X_W | X_U);
	r.cr4 = X_CR4_PAE;
	hw_set_regs(c, &r);
	assert_true(hw_enter(c));
	assert_int_equal(c->load.mode, TF_NESTED);
	store(g, 0, 0x20, 57);
	assert_int_equal(get(g, 0xa020), 57);
	/* And back. */
	hw_set_regs(c, &g->r);
	assert_true(hw_enter(c));
	assert_int_equal(c->load.mode, TF_SHADOW);
	assert_int_equal(load(g, 0, 0x7008), 99);
	end(g);
}

/* CR3 may name nothing; tables may be beyond memory or be the root itself. */
static void hostile_roots(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct tf_config c = in_mode(both[m]);
		struct rig *g = start(&c);
		static const uint64_t roots[] = {UINT64_C(0x8000000), UINT64_C(0xfffffff000), 0};
		for (unsigned int i = 0; i < 3; i++) {
			assert_true(hw_write_cr3(&g->hw.cpu[0], roots[i]));
			struct hw_result r = touch(g, 0, 0x1000, TF_USER | TF_WRITE, 1);
			assert_int_equal(r.end, HW_FAULT);
			check(g);
		}
		put(g, 6 * MIB + 8, (6 * MIB) | X_P | X_W | X_U); /* itself, at index 1 */
		assert_true(hw_write_cr3(&g->hw.cpu[0], 6 * MIB));
		uint64_t all = UINT64_C(1) << 39 | 1 << 30 | 1 << 21 | 1 << 12;
		struct hw_result r =
			touch(g, 0, all + 16, TF_USER | TF_WRITE, 0x5000 | X_P | X_W | X_U);
		assert_int_equal(r.end, HW_DONE);
		assert_int_equal(get(g, 6 * MIB + 16), 0x5000 | X_P | X_W | X_U);
		/* The entry just written is a leaf at the lowest level. */
		store(g, 0, all + PAGE, 1234);
		assert_int_equal(get(g, 0x5000), 1234);
		check(g);
		end(g);
	}
}

/* ---- memory ---- */

static void remove_while_mapped(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int large = 0; large < 2; large++) {
			struct tf_config c = in_mode(both[m]);
			c.large_backing = large;
			struct rig *g = start(&c);
			for (unsigned int cpu = 0; cpu < 2; cpu++) {
				store(g, cpu, 0x6000, 1);
				store(g, cpu, 5 * MIB, 2);
				store(g, cpu, HIGH, 3);
			}
			uint64_t before = g->f.in_use;
			assert_int_equal(tf_mem_remove(g->vm, gpa(0x6000), PAGE), TF_OK);
			assert_int_equal(tf_mem_remove(g->vm, gpa(HIGH), 16 * PAGE), TF_OK);
			check(g);
			if (!large)
				assert_true(g->f.in_use <= before - 2);
			for (unsigned int cpu = 0; cpu < 2; cpu++) {
				struct hw_result r = touch(g, cpu, 0x6000, TF_USER, 0);
				assert_int_equal(r.end, HW_DEVICE);
				assert_int_equal(r.gpa, 0x6000);
				assert_int_equal(touch(g, cpu, HIGH, TF_USER, 0).end, HW_DEVICE);
				store(g, cpu, 0x7000, 9);
			}
			assert_int_equal(tf_mem_remove(g->vm, gpa(4 * MIB), 2 * MIB), TF_OK);
			check(g);
			assert_int_equal(touch(g, 1, 5 * MIB, TF_USER, 0).end, HW_DEVICE);
			assert_int_equal(tf_mem_add(g->vm, gpa(0x6000), PAGE, 0), TF_OK);
			assert_int_equal(load(g, 0, 0x6000), 0);
			/* Holes come and go without end. */
			for (unsigned int k = 0; k < 200; k++) {
				assert_int_equal(tf_mem_remove(g->vm, gpa(0x6000), PAGE), TF_OK);
				assert_int_equal(tf_mem_add(g->vm, gpa(0x6000), PAGE, 0), TF_OK);
				store(g, k & 1, 0x6000, k);
			}
			end(g);
		}
}

static void discard_reads_zeroes(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int large = 0; large < 2; large++) {
			struct tf_config c = in_mode(both[m]);
			c.large_backing = large;
			struct rig *g = start(&c);
			for (unsigned int cpu = 0; cpu < 2; cpu++) {
				store(g, cpu, 0x200000, 1);
				store(g, cpu, 0x201000, 2);
				store(g, cpu, 5 * MIB, 3);
			}
			assert_int_equal(tf_mem_discard(g->vm, gpa(0x200000), PAGE), TF_OK);
			check(g);
			assert_int_equal(load(g, 0, 0x200000), 0);
			assert_int_equal(load(g, 1, 0x200000), 0);
			assert_int_equal(load(g, 1, 0x201000), 2);
			assert_int_equal(tf_mem_discard(g->vm, gpa(4 * MIB), 2 * MIB), TF_OK);
			assert_int_equal(load(g, 1, 5 * MIB), 0);
			assert_int_equal(tf_mem_discard(g->vm, gpa(2 * MIB), 4 * MIB), TF_OK);
			assert_int_equal(load(g, 0, 0x201000), 0);
			/* A discarded guest table reads as zeroes, too: nothing is mapped by it. */
			store(g, 0, 0x3000, 4);
			assert_int_equal(tf_mem_discard(g->vm, gpa(ROOT), 64 * PAGE), TF_OK);
			hw_set_regs(&g->hw.cpu[0], &g->r);
			assert_int_equal(touch(g, 0, 0x3000, TF_USER, 0).end, HW_FAULT);
			end(g);
		}
}

static bool bit(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static unsigned int count(const uint64_t *bits, unsigned int n)
{
	unsigned int k = 0;

	for (unsigned int i = 0; i < n; i++)
		k += bit(bits, i);
	return k;
}

static void dirty_log(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int large = 0; large < 2; large++) {
			struct tf_config c = in_mode(both[m]);
			c.large_backing = large;
			struct rig *g = start(&c);
			uint64_t bits[16], word = 1;
			const uint64_t from = 2 * MIB;
			const unsigned int n = 1024; /* 2 .. 6 MiB */
			for (uint64_t a = from; a < 6 * MIB; a += 64 * PAGE)
				store(g, 0, a, a);
			assert_int_equal(tf_dirty_start(g->vm, gpa(from), 4 * MIB), TF_OK);
			check(g);
			memset(bits, 0xff, sizeof(bits));
			assert_int_equal(tf_dirty_read(g->vm, gpa(from), 4 * MIB, bits), TF_OK);
			assert_int_equal(count(bits, n), 0);
			for (unsigned int round = 0; round < 3; round++) {
				assert_int_equal(load(g, 1, from + 3 * PAGE), 0);
				store(g, 0, from, 5);
				store(g, 1, from + 7 * PAGE, 5);
				store(g, 1, from + 7 * PAGE, 6);
				store(g, 0, 5 * MIB, 5);
				assert_int_equal(
					tf_mem_write(g->vm, gpa(from + 9 * PAGE), &word, 8), TF_OK);
				assert_int_equal(tf_dirty_read(g->vm, gpa(from), 4 * MIB, bits),
						 TF_OK);
				assert_true(bit(bits, 0) && bit(bits, 7) && bit(bits, 9) &&
					    bit(bits, 768));
				assert_int_equal(count(bits, n), 4);
				check(g);
			}
			store(g, 0, from, 5);
			assert_int_equal(tf_dirty_read(g->vm, gpa(from), 4 * MIB, bits), TF_OK);
			assert_int_equal(count(bits, n), 1);
			tf_dirty_stop(g->vm, gpa(from), 4 * MIB);
			store(g, 0, from + PAGE, 5);
			check(g);
			end(g);
		}
}

static void accessed_bits(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int format = 0; format < 2; format++) {
			struct tf_config c = in_mode(both[m]);
			c.nested = (enum tf_nested_format)format;
			struct rig *g = start(&c);
			uint64_t bits[8];
			const uint64_t from = 2 * MIB;
			for (unsigned int i = 0; i < 64; i++)
				store(g, i & 1, from + i * PAGE, i);
			assert_int_equal(tf_accessed_read(g->vm, gpa(from), 512 * PAGE, bits),
					 TF_OK);
			for (unsigned int i = 0; i < 64; i++)
				assert_true(bit(bits, i));
			assert_int_equal(tf_accessed_read(g->vm, gpa(from), 512 * PAGE, bits),
					 TF_OK);
			assert_int_equal(count(bits, 512), 0);
			/* By a read, by the other vCPU, by a TLB that would have known it. */
			load(g, 0, from);
			load(g, 1, from + 5 * PAGE);
			assert_int_equal(tf_accessed_read(g->vm, gpa(from), 512 * PAGE, bits),
					 TF_OK);
			assert_int_equal(count(bits, 512), 2);
			assert_true(bit(bits, 0) && bit(bits, 5));
			/* A mapping that goes away does not take the bit with it. */
			load(g, 0, from + 9 * PAGE);
			map(g, ROOT, from + 9 * PAGE, 0, 0);
			assert_true(hw_invlpg(&g->hw.cpu[0], from + 9 * PAGE));
			assert_int_equal(tf_accessed_read(g->vm, gpa(from), 512 * PAGE, bits),
					 TF_OK);
			assert_true(bit(bits, 9));
			end(g);
		}
}

/* More address spaces than the bound has room for; all of them keep working. */
static void bound_holds(void **state)
{
	/* With two vCPUs 18 is the least bound: 16 is raised to it. */
	static const unsigned int bounds[] = {18, 24, 64, 200};

	(void)state;
	for (unsigned int b = 0; b < 4; b++) {
		struct tf_config c = plain;
		c.shadow_pages = bounds[b];
		struct rig *g = start(&c);
		struct tf_counters n;
		uint64_t root[24];
		for (unsigned int i = 0; i < 24; i++) {
			root[i] = 6 * MIB + i * 8 * PAGE;
			g->next = root[i] + PAGE;
			map(g, root[i], 0x1000, 0, (2 * MIB + i * PAGE) | X_P | X_W | X_U);
			put(g, root[i] + 8 * 256, get(g, ROOT + 8 * 256));
		}
		for (unsigned int round = 0; round < 4; round++)
			for (unsigned int i = 0; i < 24; i++) {
				unsigned int cpu = i & 1;
				assert_true(hw_write_cr3(&g->hw.cpu[cpu], root[i]));
				assert_int_equal(load(g, cpu, 0x1000), round ? i + round : 0);
				store(g, cpu, 0x1000, i + round + 1);
				assert_int_equal(touch(g, cpu, KERNEL + 0x2000, 0, 0).end, HW_DONE);
				tf_counters_read(g->vm, &n);
				if (n.shadow_tables > bounds[b] || n.shadow_tables_max > bounds[b])
					fail_msg("%lu (at most %lu) shadow tables, the bound is %u",
						 n.shadow_tables, n.shadow_tables_max, bounds[b]);
				check(g);
			}
		if (bounds[b] < 64)
			assert_true(n.shadows_reclaimed > 0);
		end(g);
	}
}

static void counters_of_shadow(void **state)
{
	(void)state;
	struct rig *g = start(&plain);
	struct hw_cpu *c = &g->hw.cpu[0];
	struct tf_counters a, b;

	store(g, 0, 0x5000, 1);
	tf_counters_read(g->vm, &a);
	assert_true(hw_write_cr3(c, ROOT));
	assert_true(hw_invlpg(c, 0x5000));
	assert_true(hw_invpcid(c, 2, 0, 0));
	assert_true(hw_write_cr4(c, g->r.cr4 ^ X_CR4_PGE));
	assert_true(hw_write_cr4(c, g->r.cr4));
	assert_int_equal(touch(g, 0, KERNEL, TF_USER, 0).pfec, TF_PF_P | TF_PF_U);
	tf_counters_read(g->vm, &b);
	assert_int_equal(b.cr3_writes, a.cr3_writes + 1);
	assert_int_equal(b.invlpgs, a.invlpgs + 1);
	assert_int_equal(b.invpcids, a.invpcids + 1);
	assert_true(b.full_flushes >= a.full_flushes + 1);
	assert_int_equal(b.guest_faults, a.guest_faults + 1);
	end(g);
}

/* The guest's A and D are set, D by writes alone, and cleared ones are set again after a flush. */
static void guest_a_and_d(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct tf_config c = in_mode(both[m]);
		struct rig *g = start(&c);
		struct hw_cpu *cpu = &g->hw.cpu[0];
		uint64_t pt = get(g, get(g, get(g, ROOT) & X_ADDR) & X_ADDR) & X_ADDR;
		uint64_t at = pt + 8 * 0x123;
		for (unsigned int round = 0; round < 20; round++) {
			put(g, at, get(g, at) & ~(X_A | X_D));
			assert_true(hw_invlpg(cpu, 0x123000));
			load(g, 0, 0x123000);
			assert_int_equal(get(g, at) & (X_A | X_D), X_A);
			store(g, 0, 0x123000, round);
			assert_int_equal(get(g, at) & (X_A | X_D), X_A | X_D);
			put(g, at, get(g, at) & ~X_D);
			assert_true(hw_write_cr3(cpu, ROOT));
			store(g, 0, 0x123000, round);
			assert_int_equal(get(g, at) & (X_A | X_D), X_A | X_D);
		}
		end(g);
	}
}

/* ---- no memory, at every allocation ---- */

/* One call of the engine; TF_E_NOMEM or TF_OK. */
struct scene {
	const char *name;
	struct tf_config conf;
	void (*prepare)(struct rig *g);
	enum tf_status (*act)(struct rig *g);
	void (*proof)(struct rig *g); /* that it was done */
};

static enum tf_status outcome(const struct tf_outcome *o)
{
	return o->end == TF_NO_MEMORY ? TF_E_NOMEM : o->end == TF_RESUME ? TF_OK : TF_E_INVAL;
}

static enum tf_status act_add(struct rig *g)
{
	return tf_mem_add(g->vm, gpa(UINT64_C(64) << 30), 4 * MIB, 0);
}

static void proof_add(struct rig *g)
{
	put(g, UINT64_C(64) << 30, 5);
	assert_int_equal(get(g, UINT64_C(64) << 30), 5);
}

static enum tf_status act_write(struct rig *g)
{
	uint64_t words[2] = {1, 2};
	return tf_mem_write(g->vm, gpa(7 * MIB - 8), words, 16);
}

static void proof_write(struct rig *g)
{
	assert_int_equal(get(g, 7 * MIB - 8), 1);
	assert_int_equal(get(g, 7 * MIB), 2);
}

static enum tf_status act_read(struct rig *g)
{
	uint64_t word = 9;
	enum tf_status s = tf_mem_read(g->vm, gpa(7 * MIB), &word, 8);
	if (s == TF_OK)
		assert_int_equal(word, 0);
	return s;
}

static enum tf_status act_nested_fault(struct rig *g)
{
	struct tf_outcome o;
	tf_nested_fault(g->hw.cpu[0].v, gpa(7 * MIB), TF_WRITE, &o);
	return outcome(&o);
}

static void proof_store(struct rig *g)
{
	store(g, 0, 0x5000, 77);
	assert_int_equal(get(g, 0x5000), 77);
}

static enum tf_status act_load(struct rig *g)
{
	return hw_enter(&g->hw.cpu[0]) ? TF_OK : TF_E_NOMEM;
}

static void prepare_loaded(struct rig *g)
{
	assert_true(hw_enter(&g->hw.cpu[0]));
}

static enum tf_status act_shadow_fault(struct rig *g)
{
	struct tf_outcome o;
	struct tf_access a = {.at = gva(0x345000), .flags = TF_USER | TF_WRITE};
	uint64_t pt = get(g, (get(g, get(g, ROOT) & X_ADDR) & X_ADDR) + 8) & X_ADDR;
	uint64_t at = pt + 8 * 0x145, was = get(g, at);

	tf_shadow_fault(g->hw.cpu[0].v, &a, &o);
	if (o.end == TF_NO_MEMORY && get(g, at) != was)
		fail_msg("out of memory, but the guest's entry became %#lx from %#lx", get(g, at),
			 was);
	return outcome(&o);
}

static void proof_shadow_fault(struct rig *g)
{
	store(g, 0, 0x345000, 77);
	assert_int_equal(get(g, 0x345000), 77);
}

static enum tf_status act_shadow_large(struct rig *g)
{
	struct tf_outcome o;
	struct tf_access a = {.at = gva(5 * MIB), .flags = TF_USER | TF_WRITE};
	tf_shadow_fault(g->hw.cpu[0].v, &a, &o);
	return outcome(&o);
}

static void prepare_mapped(struct rig *g)
{
	for (uint64_t a = 2 * MIB; a < 6 * MIB; a += 16 * PAGE)
		store(g, 0, a, a);
	store(g, 1, HIGH, 4);
	assert_int_equal(load(g, 0, 0x5000), 0);
}

static void still_mapped(struct rig *g)
{
	for (uint64_t a = 2 * MIB; a < 6 * MIB; a += 16 * PAGE)
		assert_int_equal(load(g, 1, a), a);
}

static enum tf_status act_dirty(struct rig *g)
{
	return tf_dirty_start(g->vm, gpa(2 * MIB), 4 * MIB);
}

static void proof_dirty(struct rig *g)
{
	uint64_t bits[16];

	still_mapped(g);
	store(g, 0, 2 * MIB, 2 * MIB);
	assert_int_equal(tf_dirty_read(g->vm, gpa(2 * MIB), 4 * MIB, bits), TF_OK);
	assert_true(bit(bits, 0));
	assert_int_equal(count(bits, 1024), 1);
}

static enum tf_status act_accessed(struct rig *g)
{
	uint64_t bits[16];
	enum tf_status s = tf_accessed_read(g->vm, gpa(2 * MIB), 4 * MIB, bits);
	if (s == TF_OK)
		assert_true(bit(bits, 16));
	return s;
}

static enum tf_status act_remove_part(struct rig *g)
{
	return tf_mem_remove(g->vm, gpa(2 * MIB + 8 * PAGE), 8 * PAGE);
}

static void proof_remove_part(struct rig *g)
{
	uint64_t word;
	assert_int_equal(tf_mem_read(g->vm, gpa(2 * MIB + 8 * PAGE), &word, 8), TF_E_NOENT);
	still_mapped(g);
}

static enum tf_status act_discard(struct rig *g)
{
	return tf_mem_discard(g->vm, gpa(2 * MIB), 8 * PAGE);
}

static void proof_discard(struct rig *g)
{
	assert_int_equal(load(g, 0, 2 * MIB), 0);
}

static enum tf_status act_walk(struct rig *g)
{
	struct tf_access a = {.at = gva(0x345000), .flags = TF_USER | TF_WRITE};
	struct tf_translation t;
	struct tf_outcome o;
	enum tf_status s = tf_walk(g->hw.cpu[0].v, &a, true, &t, &o);
	if (s == TF_OK)
		assert_int_equal(t.gpa.v, 0x345000);
	return s;
}

static enum tf_status act_switch(struct rig *g)
{
	hw_set_mode(&g->hw.cpu[0], TF_SHADOW);
	if (!hw_enter(&g->hw.cpu[0]))
		return TF_E_NOMEM;
	assert_int_equal(g->hw.cpu[0].load.mode, TF_SHADOW);
	return TF_OK;
}

static void switched(struct rig *g)
{
	assert_int_equal(g->hw.cpu[0].load.mode, TF_SHADOW);
	still_mapped(g);
	proof_store(g);
}

static void no_memory(void **state)
{
	const struct tf_config shadow = plain;
	const struct tf_config nested = in_mode(TF_NESTED);
	struct tf_config large = plain, ept = nested;
	large.large_backing = ept.large_backing = true;
	ept.nested = TF_EPT;
	const struct scene scenes[] = {
		{"tf_mem_add", shadow, NULL, act_add, proof_add},
		{"tf_mem_write", shadow, NULL, act_write, proof_write},
		{"tf_mem_read", shadow, NULL, act_read, NULL},
		{"tf_mem_write, large", large, NULL, act_write, proof_write},
		{"tf_nested_fault", nested, NULL, act_nested_fault, proof_store},
		{"tf_nested_fault, EPT, large", ept, NULL, act_nested_fault, proof_store},
		{"tf_vcpu_load, shadow", shadow, NULL, act_load, proof_store},
		{"tf_vcpu_load, nested", nested, NULL, act_load, proof_store},
		{"tf_shadow_fault", shadow, prepare_loaded, act_shadow_fault, proof_shadow_fault},
		{"tf_shadow_fault, large", large, prepare_loaded, act_shadow_large, proof_store},
		{"tf_dirty_start, shadow", large, prepare_mapped, act_dirty, proof_dirty},
		{"tf_dirty_start, nested", ept, prepare_mapped, act_dirty, proof_dirty},
		{"tf_accessed_read, shadow", large, prepare_mapped, act_accessed, still_mapped},
		{"tf_accessed_read, nested", ept, prepare_mapped, act_accessed, still_mapped},
		{"tf_mem_remove, shadow", large, prepare_mapped, act_remove_part,
		 proof_remove_part},
		{"tf_mem_remove, nested", ept, prepare_mapped, act_remove_part, proof_remove_part},
		{"tf_mem_discard", large, prepare_mapped, act_discard, proof_discard},
		{"tf_walk", shadow, NULL, act_walk, proof_store},
		{"mode switch", nested, prepare_mapped, act_switch, switched},
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		const struct scene *s = &scenes[i];
		for (unsigned int n = 1; n < 200; n++) {
			struct rig *g = start(&s->conf);
			if (s->prepare)
				s->prepare(g);
			uint64_t before = g->f.failed;
			fakehost_fail(&g->f, n, n % 3 ? 1 : 1000);
			enum tf_status st = s->act(g);
			bool failed = g->f.failed != before;
			fakehost_fail(&g->f, 0, 0);
			if (st != TF_OK && st != TF_E_NOMEM)
				fail_msg("%s, allocation %u fails: %s", s->name, n,
					 tf_status_text(st));
			if (st == TF_E_NOMEM && !failed)
				fail_msg("%s: no memory, but none was refused", s->name);
			const char *broken = tf_check(g->vm);
			if (broken)
				fail_msg("%s, allocation %u fails: tf_check: %s", s->name, n,
					 broken);
			if (st == TF_E_NOMEM) {
				st = s->act(g);
				if (st != TF_OK)
					fail_msg("%s again after allocation %u failed: %s", s->name,
						 n, tf_status_text(st));
			}
			if (s->proof)
				s->proof(g);
			end(g);
			if (!failed)
				break;
			assert_true(n < 199);
		}
	}
}

static void no_memory_to_create(void **state)
{
	bool done = false;

	(void)state;
	for (unsigned int n = 1; !done && n < 100; n++) {
		struct fakehost f;
		struct tf_vm *vm;
		struct tf_vcpu *v;
		fakehost_init(&f, 16 * MIB);
		fakehost_fail(&f, n, 1);
		enum tf_status s = tf_vm_create(&f.host, &plain, &vm);
		if (s != TF_OK) {
			assert_int_equal(s, TF_E_NOMEM);
			assert_int_equal(fakehost_leaks(&f), 0);
			fakehost_fini(&f);
			continue;
		}
		s = tf_vcpu_create(vm, 0, 0, &v);
		if (s == TF_E_NOMEM)
			s = tf_vcpu_create(vm, 0, 0, &v);
		else
			done = f.failed == 0;
		assert_int_equal(s, TF_OK);
		assert_null(tf_check(vm));
		tf_vm_destroy(vm);
		assert_int_equal(fakehost_leaks(&f), 0);
		fakehost_fini(&f);
	}
	assert_true(done);
}

/* The host has little memory for good: every call ends, and nothing is lost when some comes back.
 */
static void little_memory(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct tf_config c = in_mode(both[m]);
		struct rig *g = start(&c);
		g->f.limit_frames = g->f.in_use + 40;
		unsigned int refused = 0;
		for (uint64_t a = 0; a < 4 * MIB; a += 3 * PAGE) {
			if (a >= MIB && a < MIB + 64 * PAGE)
				continue;
			struct hw_result r = touch(g, a / PAGE & 1, a, TF_USER | TF_WRITE, a);
			if (r.end == HW_NOMEM)
				refused++;
			else
				assert_int_equal(r.end, HW_DONE);
		}
		assert_true(refused > 0);
		check(g);
		g->f.limit_frames = 0;
		for (uint64_t a = 0; a < 4 * MIB; a += 3 * PAGE) {
			if (a >= MIB && a < MIB + 64 * PAGE)
				continue;
			store(g, 0, a, a);
			assert_int_equal(load(g, 1, a), a);
		}
		end(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_refuses),
		cmocka_unit_test(slots_refuse),
		cmocka_unit_test(copies_stop),
		cmocka_unit_test(accesses_work),
		cmocka_unit_test(odd_states_run_nested),
		cmocka_unit_test(hostile_roots),
		cmocka_unit_test(remove_while_mapped),
		cmocka_unit_test(discard_reads_zeroes),
		cmocka_unit_test(dirty_log),
		cmocka_unit_test(accessed_bits),
		cmocka_unit_test(bound_holds),
		cmocka_unit_test(counters_of_shadow),
		cmocka_unit_test(guest_a_and_d),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(no_memory_to_create),
		cmocka_unit_test(little_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
