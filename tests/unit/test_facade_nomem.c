/* The facade without memory: every allocation of every call refused in turn. Nothing may be
 * changed, the invariants hold, and the call works when it is tried again.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "facade_rig.h"

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
		struct rig *g = start_in(both[m], false);
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
		cmocka_unit_test(no_memory),
		cmocka_unit_test(no_memory_to_create),
		cmocka_unit_test(little_memory),
	};

	return RUN_IN_ALL_GROUPINGS(tests);
}
