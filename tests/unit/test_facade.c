/* The facade's contract: arguments, memory slots, logs, accessed bits, the bound, counters.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

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
	c = plain;
	c.nodes = TF_MAX_NODES + 1;
	assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_E_INVAL);
	c = plain;
	c.grouping = (enum tf_grouping)7;
	assert_int_equal(tf_vm_create(&f.host, &c, &vm), TF_E_INVAL);
	c = plain;
	c.install = (enum tf_install)7;
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
	assert_int_equal(tf_mem_add(g->vm, gpa(16 * MIB), PAGE, 2), TF_E_INVAL);
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
	/* A touch changes nothing, and backs nothing. */
	assert_int_equal(tf_mem_touch(g->vm, gpa(0x3ffd)), TF_OK);
	assert_int_equal(tf_mem_touch(g->vm, gpa(0x9000)), TF_E_NOENT);
	assert_int_equal(tf_mem_touch(g->vm, gpa(8 * MIB)), TF_E_NOENT);
	assert_int_equal(tf_mem_touch(g->vm, gpa(~UINT64_C(0) - 3)), TF_E_NOENT);
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
		struct rig *g = start_in(both[m], false);
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
			struct rig *g = start_in(both[m], large);
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
			struct rig *g = start_in(both[m], large);
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

static void dirty_log(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++)
		for (unsigned int large = 0; large < 2; large++) {
			struct rig *g = start_in(both[m], large);
			uint64_t bits[16], word = 1;
			const uint64_t from = 2 * MIB;
			const unsigned int n = 1024; /* 2 .. 6 MiB */
			for (uint64_t a = from; a < 6 * MIB; a += 64 * PAGE)
				store(g, 0, a, a);
			store(g, 1, from + PAGE, 1);
			assert_int_equal(tf_dirty_start(g->vm, gpa(from), 4 * MIB), TF_OK);
			check(g);
			memset(bits, 0xff, sizeof(bits));
			assert_int_equal(tf_dirty_read(g->vm, gpa(from), 4 * MIB, bits), TF_OK);
			assert_int_equal(count(bits, n), 0);
			for (unsigned int round = 0; round < 3; round++) {
				assert_int_equal(load(g, 1, from + 3 * PAGE), 0);
				/* Mapped by a read while the guest's D is set already. */
				load(g, 0, from);
				load(g, 0, from + 7 * PAGE);
				load(g, 0, from + PAGE);
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
		/* Each group has room for its roots and one walk. */
		unsigned int bound = groups_of(&c, tf_grouping(g->vm)) * (16 + c.vcpus);
		if (bound < bounds[b])
			bound = bounds[b];
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
				if (n.shadow_tables > bound || n.shadow_tables_max > bound)
					fail_msg("%lu (at most %lu) shadow tables, the bound is %u",
						 n.shadow_tables, n.shadow_tables_max, bound);
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
		struct rig *g = start_in(both[m], false);
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
	};

	return RUN_IN_ALL_GROUPINGS(tests);
}
