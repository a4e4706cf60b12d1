/* The access matrix: entry bits at two levels x access x CPU mode, against the manuals' rules
 * (support/oracle.c), on the walker alone, on shadow tables and on nested tables.
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
#include "tables/walk.h"

/* ---- what is enumerated ---- */

static const uint32_t accesses[] = {
	0,
	TF_WRITE,
	TF_FETCH,
	TF_AC,
	TF_AC | TF_WRITE,
	TF_AC | TF_FETCH,
	TF_IMPLICIT | TF_AC,
	TF_IMPLICIT | TF_WRITE | TF_AC,
	TF_USER,
	TF_USER | TF_WRITE,
	TF_USER | TF_FETCH,
};
#define ACCESSES (sizeof(accesses) / sizeof(accesses[0]))

/* Rights of an entry: bit 0 W, 1 U, 2 NX, 3 pkey 1; then absent, reserved. */
#define UPPERS 10u
#define LEAVES 18u
#define MODES  64u

static uint64_t rights(unsigned int i, bool leaf)
{
	unsigned int plain = leaf ? 16 : 8;
	uint64_t e = X_P | X_A;

	if (i == plain)
		return X_W | X_U | X_A; /* absent */
	if (i == plain + 1)
		return X_P | X_W | X_U | X_A | BIT(51); /* reserved: MAXPHYADDR is less */
	return e | (i & 1 ? X_W : 0) | (i & 2 ? X_U : 0) | (i & 4 ? X_NX : 0) |
	       (i & 8 ? UINT64_C(1) << X_PKEY_SHIFT : 0);
}

/* CR0.WP, NXE, SMEP, SMAP, and four states of protection keys. */
static struct tf_regs mode_of(unsigned int i, unsigned int levels)
{
	static const uint32_t pkru[] = {0, 1u << 2, 2u << 2, 3u << 2};
	struct tf_regs r = {
		.cr0 = X_CR0_PE | X_CR0_PG | (i & 1 ? X_CR0_WP : 0),
		.cr4 = (levels >= 3 ? X_CR4_PAE : X_CR4_PSE) | X_CR4_PGE |
		       (i & 4 ? X_CR4_SMEP : 0) | (i & 8 ? X_CR4_SMAP : 0) |
		       (levels == 5 ? X_CR4_LA57 : 0) | (i >> 4 ? X_CR4_PKE : 0),
		.efer = (i & 2 ? X_EFER_NXE : 0) | (levels >= 4 ? X_EFER_LME | X_EFER_LMA : 0),
		.pkru = pkru[i >> 4 & 3],
	};

	return r;
}

/* ---- guest memory of the walker's part ---- */

#define MEM_PAGES 8
static uint8_t memory[MEM_PAGES * TF_PAGE_SIZE] __attribute__((aligned(4096)));

static void *entry_at(struct walk_mem *m, gpa_t at)
{
	(void)m;
	return at.v < sizeof(memory) ? memory + at.v : NULL;
}

static uint64_t read_at(const struct tf_regs *r, uint64_t at)
{
	if (at >= sizeof(memory))
		return oracle_entry_bytes(r) == 4 ? 0xffffffff : ~UINT64_C(0);
	return oracle_entry_bytes(r) == 4 ? *(uint32_t *)(memory + at) : *(uint64_t *)(memory + at);
}

static void write_at(const struct tf_regs *r, uint64_t at, uint64_t e)
{
	if (oracle_entry_bytes(r) == 4)
		*(uint32_t *)(memory + at) = (uint32_t)e;
	else
		*(uint64_t *)(memory + at) = e;
}

struct expected {
	bool ok;
	uint32_t pfec;
	uint64_t gpa;
	unsigned int shift, leaf_level;
	struct orights ri;
	bool global, dirty;
	uint64_t at[5]; /* of the entries, by level */
	unsigned int stop;
};

static void expect(const struct tf_regs *r, unsigned int maxphyaddr, uint64_t va, uint32_t flags,
		   struct expected *x)
{
	uint64_t table = oracle_root(r);

	memset(x, 0, sizeof(*x));
	x->ri = oracle_start();
	for (unsigned int level = oracle_levels(r) - 1;; level--) {
		x->at[level] = table + oracle_entry_bytes(r) * oracle_index(r, level, va);
		x->stop = level;
		struct oentry e = oracle_entry(r, maxphyaddr, level, read_at(r, x->at[level]));
		if (e.kind == O_ABSENT || e.kind == O_RESERVED) {
			x->pfec = oracle_pfec(r, flags, e.kind == O_RESERVED, e.kind == O_RESERVED);
			return;
		}
		oracle_add(&x->ri, &e);
		if (e.kind == O_TABLE) {
			table = e.addr;
			continue;
		}
		x->ok = oracle_allows(r, flags, &x->ri, &x->pfec);
		x->gpa = e.addr | (va & (BIT(e.shift) - 1));
		x->shift = e.shift;
		x->leaf_level = level;
		x->global = e.g && (r->cr4 & X_CR4_PGE);
		x->dirty = e.d;
		return;
	}
}

/* Walk and compare, without A and D first, then with. */
static void compare(const struct tf_regs *r, unsigned int maxphyaddr, uint64_t va, uint32_t flags)
{
	static uint8_t before[sizeof(memory)];
	struct walk_mem m = {.entry = entry_at};
	struct walk_cpu cpu = {.r = *r, .maxphyaddr = maxphyaddr};
	struct tf_access a = {.at = gva(va), .flags = flags};
	static unsigned int turn;
	struct expected x;
	bool whole = turn++ % 64 == 0; /* look at all of memory, not at the walk's entries alone */

	expect(r, maxphyaddr, va, flags, &x);
	for (unsigned int set = 0; set < 2; set++) {
		struct walk w;
		uint64_t was[5] = {0};
		for (unsigned int k = x.stop; k < oracle_levels(r); k++)
			was[k] = read_at(r, x.at[k]);
		if (!set && whole)
			memcpy(before, memory, sizeof(memory));
		bool ok = walk_gva(&m, &cpu, &a, set, &w);
		if (ok != x.ok || (!ok && w.pfec != x.pfec) || (ok && w.gpa.v != x.gpa))
			fail_msg("va %#lx flags %#x cr0 %#lx cr4 %#lx efer %#lx pkru %#x "
				 "maxphyaddr %u: "
				 "%s pfec %#x gpa %#lx, must be %s %#x %#lx; entries %#lx %#lx "
				 "%#lx %#lx",
				 va, flags, r->cr0, r->cr4, r->efer, r->pkru, maxphyaddr,
				 ok ? "allowed" : "refused", ok ? 0 : w.pfec, ok ? w.gpa.v : 0,
				 x.ok ? "allowed" : "refused", x.pfec, x.gpa, was[0], was[1],
				 was[2], was[3]);
		assert_int_equal(w.levels, oracle_levels(r));
		assert_int_equal(w.stop, x.stop);
		if (!set || !x.ok) {
			for (unsigned int k = x.stop; k < oracle_levels(r); k++)
				assert_int_equal(read_at(r, x.at[k]), was[k]);
			if (whole)
				assert_memory_equal(before, memory, sizeof(memory));
		}
		if (!x.ok)
			continue;
		assert_int_equal(w.leaf, x.leaf_level);
		assert_int_equal(w.writable, x.ri.w);
		assert_int_equal(w.user, x.ri.u);
		assert_int_equal(w.nx, x.ri.nx);
		assert_int_equal(w.global, x.global);
		if (oracle_levels(r) >= 4 && (r->cr4 & X_CR4_PKE))
			assert_int_equal(w.pkey, x.ri.pkey);
		assert_int_equal(w.dirty, x.dirty || (set && (flags & TF_WRITE)));
		if (!set)
			continue;
		for (unsigned int k = x.stop; k < oracle_levels(r); k++) {
			bool pdpte = oracle_levels(r) == 3 && k == 2;
			uint64_t want = was[k] | (pdpte ? 0 : X_A) |
					(k == x.leaf_level && (flags & TF_WRITE) ? X_D : 0);
			if (x.at[k] >= sizeof(memory))
				continue;
			if (read_at(r, x.at[k]) != want)
				fail_msg("level %u: %#lx became %#lx, must be %#lx", k, was[k],
					 read_at(r, x.at[k]), want);
			write_at(r, x.at[k], was[k]);
		}
	}
}

/* Tables of full rights for va: the table of level k is page k + 1; the leaf is at `leaf`. */
static void build(struct tf_regs *r, uint64_t va, unsigned int leaf)
{
	unsigned int levels = oracle_levels(r);

	memset(memory, 0, sizeof(memory));
	r->cr3 = (uint64_t)levels << 12;
	for (unsigned int k = leaf; k < levels; k++) {
		bool pdpte = levels == 3 && k == 2;
		uint64_t at =
			((uint64_t)(k + 1) << 12) + oracle_entry_bytes(r) * oracle_index(r, k, va);
		write_at(r, at,
			 k == leaf ? (k ? X_PS : UINT64_C(0x5000)) | X_P | X_W | X_U
				   : (uint64_t)k << 12 | X_P | (pdpte ? 0 : X_W | X_U));
	}
}

static uint64_t entry_addr(const struct tf_regs *r, uint64_t va, unsigned int level)
{
	return ((uint64_t)(level + 1) << 12) + oracle_entry_bytes(r) * oracle_index(r, level, va);
}

static const uint64_t address[6] = {0, 0, 0x12345678, 0xc0345678, 0x7f1234567678, 0x7f1234567678};

/* Every pair of rights at the leaf's level and at one above it. */
static void matrix_walk(unsigned int levels)
{
	uint64_t va = address[levels];
	uint64_t keep = levels == 2   ? 0xffffffff
			: levels == 3 ? ~(UINT64_C(0x7ff) << 52) | X_NX
				      : ~UINT64_C(0);

	for (unsigned int mode = 0; mode < (levels >= 4 ? MODES : 16); mode++)
		for (unsigned int leaf = 0; leaf < (levels >= 4 ? 3u : 2u); leaf++)
			for (unsigned int up = leaf + 1; up < levels; up += 1 + (levels == 5)) {
				struct tf_regs r = mode_of(mode, levels);
				build(&r, va, leaf);
				uint64_t up_at = entry_addr(&r, va, up);
				uint64_t leaf_at = entry_addr(&r, va, leaf);
				uint64_t up_base = read_at(&r, up_at) & X_ADDR;
				uint64_t leaf_base = read_at(&r, leaf_at) & (X_ADDR | X_PS);
				if (levels == 3 && up == 2)
					continue; /* a PDPTE has no rights */
				for (unsigned int i = 0; i < UPPERS; i++)
					for (unsigned int k = 0; k < LEAVES; k++) {
						write_at(&r, up_at,
							 (up_base | rights(i, false)) & keep);
						write_at(&r, leaf_at,
							 (leaf_base | rights(k, true)) & keep);
						for (unsigned int n = 0; n < ACCESSES; n++)
							compare(&r, 46, va, accesses[n]);
					}
			}
}

static void walk_2(void **state)
{
	(void)state;
	matrix_walk(2);
}

static void walk_3(void **state)
{
	(void)state;
	matrix_walk(3);
}

static void walk_4(void **state)
{
	(void)state;
	matrix_walk(4);
}

static void walk_5(void **state)
{
	(void)state;
	matrix_walk(5);
}

/* Each single bit of each entry flipped, for several MAXPHYADDR: reserved bits, A, D, G, PS. */
static void single_bits(void **state)
{
	static const unsigned int widths[] = {32, 36, 40, 46, 51, 52};

	(void)state;
	for (unsigned int levels = 2; levels <= 5; levels++)
		for (unsigned int mode = 0; mode < 4; mode++)
			for (unsigned int wi = 0; wi < 6; wi++)
				for (unsigned int leaf = 0; leaf < (levels >= 4 ? 3u : 2u);
				     leaf++) {
					uint64_t va = address[levels];
					struct tf_regs r = mode_of(mode, levels);
					for (unsigned int pse = 0; pse < 2; pse++) {
						if (levels == 2 && pse)
							r.cr4 ^= X_CR4_PSE;
						build(&r, va, leaf);
						for (unsigned int k = leaf; k < levels; k++)
							for (unsigned int b = 0;
							     b < 8 * oracle_entry_bytes(&r); b++) {
								uint64_t at = entry_addr(&r, va, k);
								uint64_t e = read_at(&r, at);
								write_at(&r, at, e ^ BIT(b));
								for (unsigned int n = 0;
								     n < ACCESSES; n++)
									compare(&r, widths[wi], va,
										accesses[n]);
								write_at(&r, at, e);
							}
					}
				}
}

static void not_canonical(void **state)
{
	(void)state;
	for (unsigned int levels = 4; levels <= 5; levels++) {
		struct tf_regs r = mode_of(3, levels);
		struct walk_mem m = {.entry = entry_at};
		struct walk_cpu cpu = {.r = r, .maxphyaddr = 46};
		unsigned int top = levels == 5 ? 56 : 47;
		build(&cpu.r, address[levels], 0);
		for (unsigned int b = top; b < 64; b++) {
			struct tf_access a = {.at = gva(BIT(b))};
			struct walk w;
			assert_false(walk_gva(&m, &cpu, &a, true, &w));
			assert_int_equal(w.pfec, 0);
			assert_int_equal(w.stop, WALK_LEVELS);
		}
	}
}

/* ---- through the facade, with model hardware ---- */

#define DATA_GPA  UINT64_C(0x200000)
#define GUEST_MEM (UINT64_C(4) << 20)

struct rig {
	struct fakehost f;
	struct hw hw;
	struct tf_vm *vm;
};

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

static void facade(enum tf_mode mode, enum tf_nested_format format, unsigned int levels,
		   unsigned int leaf, unsigned int mode_step)
{
	static struct rig rig;
	struct rig *g = &rig;
	struct tf_config conf = {.mode = mode,
				 .nested = format,
				 .maxphyaddr = 46,
				 .vcpus = 1,
				 .large_backing = true};
	uint64_t va = address[levels], count = 0;

	fakehost_init(&g->f, UINT64_C(16) << 20);
	hw_init(&g->hw, &g->f, &conf, 1);
	assert_int_equal(tf_vm_create(&g->f.host, &conf, &g->vm), TF_OK);
	assert_int_equal(tf_mem_add(g->vm, gpa(0), GUEST_MEM, 0), TF_OK);
	struct tf_regs r = mode_of(1, levels);
	r.cr3 = (uint64_t)levels << 12;
	for (unsigned int k = leaf; k < levels; k++)
		put(g, entry_addr(&r, va, k),
		    (k == leaf ? DATA_GPA | (k ? X_PS : 0) : (uint64_t)k << 12) | X_P | X_W | X_U |
			    X_A);
	uint64_t magic = UINT64_C(0x1122334455667788);
	uint64_t data = DATA_GPA | (va & (BIT(12 + 9 * leaf) - 1));
	put(g, data, magic);
	assert_int_equal(hw_attach(&g->hw, g->vm, &r, 1), TF_OK);
	struct hw_cpu *c = &g->hw.cpu[0];
	for (unsigned int m = 0; m < MODES; m += mode_step) {
		struct tf_regs now = mode_of(m, levels);
		now.cr3 = r.cr3;
		hw_set_regs(c, &now);
		for (unsigned int up = leaf + 1; up < levels; up += 2) {
			for (unsigned int i = 0; i < UPPERS; i++)
				for (unsigned int k = 0; k < LEAVES; k++) {
					uint64_t ue = (uint64_t)up << 12 | rights(i, false);
					uint64_t le =
						DATA_GPA | (leaf ? X_PS : 0) | rights(k, true);
					/* A is set by the access, unless it was there. */
					if ((i + k) & 1)
						le &= ~X_A;
					uint64_t up_at = entry_addr(&now, va, up);
					uint64_t leaf_at = entry_addr(&now, va, leaf);
					put(g, up_at, ue);
					put(g, leaf_at, le);
					assert_true(hw_invlpg(c, va));
					struct oentry eu = oracle_entry(&now, 46, up, ue);
					struct oentry el = oracle_entry(&now, 46, leaf, le);
					for (unsigned int n = 0; n < ACCESSES; n++) {
						uint32_t f = accesses[n], pfec = 0;
						bool ok = eu.kind == O_TABLE && el.kind == O_LEAF;
						if (!ok) {
							bool rs = eu.kind == O_RESERVED ||
								  (eu.kind == O_TABLE &&
								   el.kind == O_RESERVED);
							pfec = oracle_pfec(&now, f, rs, rs);
						} else {
							struct orights ri = oracle_start();
							oracle_add(&ri, &eu);
							oracle_add(&ri, &el);
							ok = oracle_allows(&now, f, &ri, &pfec);
						}
						struct hw_result res = hw_access(
							c, va & ~UINT64_C(7), f,
							f & TF_WRITE ? HW_WRITE : HW_READ, magic);
						count++;
						if (g->hw.broken[0])
							fail_msg("%s", g->hw.broken);
						bool good =
							ok ? res.end == HW_DONE && res.old == magic
							   : res.end == HW_FAULT &&
									res.pfec == pfec &&
									res.cr2 ==
										(va & ~UINT64_C(7));
						uint64_t e = get(g, leaf_at);
						if (ok && (f & TF_WRITE))
							good = good && (e & X_D);
						else if (!ok && !(le & X_D))
							good = good && !(e & X_D);
						if (ok)
							good = good && (e & X_A) &&
							       (get(g, up_at) & X_A);
						if (!good)
							fail_msg("%s root, level %u, cr0 %#lx cr4 "
								 "%#lx "
								 "efer %#lx pkru %#x flags %#x, "
								 "upper "
								 "(%u) %#lx leaf %#lx (is %#lx): "
								 "end %d "
								 "pfec %#x value %#lx, must be %s "
								 "%#x",
								 res.was_shadow ? "shadow"
										: "nested",
								 leaf, now.cr0, now.cr4, now.efer,
								 now.pkru, f, up, ue, le, e,
								 res.end, res.pfec, res.old,
								 ok ? "done" : "#PF", pfec);
						if (e & X_D)
							put(g, leaf_at, e & ~X_D);
						if (e & X_D)
							assert_true(hw_invlpg(c, va));
					}
				}
			put(g, entry_addr(&now, va, up),
			    (uint64_t)up << 12 | X_P | X_W | X_U | X_A);
		}
		const char *broken = tf_check(g->vm);
		if (broken)
			fail_msg("tf_check: %s", broken);
	}
	assert_true(count > 10000);
	tf_vm_destroy(g->vm);
	assert_int_equal(fakehost_leaks(&g->f), 0);
	hw_fini(&g->hw);
	fakehost_fini(&g->f);
}

static void shadow_4k(void **state)
{
	(void)state;
	facade(TF_SHADOW, TF_NPT, 4, 0, 1);
}

static void shadow_2m(void **state)
{
	(void)state;
	facade(TF_SHADOW, TF_NPT, 4, 1, 3);
}

static void shadow_5(void **state)
{
	(void)state;
	facade(TF_SHADOW, TF_NPT, 5, 0, 5);
}

static void nested_npt(void **state)
{
	(void)state;
	facade(TF_NESTED, TF_NPT, 4, 0, 5);
}

static void nested_ept(void **state)
{
	(void)state;
	facade(TF_NESTED, TF_EPT, 5, 1, 7);
}

static void nested_ept_no_ad(void **state)
{
	(void)state;
	facade(TF_NESTED, TF_EPT_NO_AD, 4, 0, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walk_2),      cmocka_unit_test(walk_3),
		cmocka_unit_test(walk_4),      cmocka_unit_test(walk_5),
		cmocka_unit_test(single_bits), cmocka_unit_test(not_canonical),
		cmocka_unit_test(shadow_4k),   cmocka_unit_test(shadow_2m),
		cmocka_unit_test(shadow_5),    cmocka_unit_test(nested_npt),
		cmocka_unit_test(nested_ept),  cmocka_unit_test(nested_ept_no_ad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
