/* Fuzzing the facade: any sequence of calls, hostile guest tables, failing allocations.
 *
 * Each command is a byte of what and a few bytes of operands. The model hardware runs the guest's
 * accesses, so a walk that leaves the guest's frames, a frame freed too early or a broken invariant
 * (tf_check) ends the process.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <string.h>

#include "hw.h"

#include <twofold/explain.h>

#define FRAMES 96u /* of guest memory at 0 */
#define BLOCK  UINT64_C(0x200000)

struct input {
	const uint8_t *p;
	size_t n;
};

static uint64_t take(struct input *in, unsigned int bytes)
{
	uint64_t v = 0;

	if (bytes > in->n)
		bytes = (unsigned int)in->n;
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->n -= bytes;
	return v;
}

static struct fakehost host;
static struct hw hw;

static void require(bool cond, const char *what)
{
	if (cond && !hw.broken[0])
		return;
	fprintf(stderr, "broken: %s %s\n", what, hw.broken);
	abort();
}

/* An entry out of two bytes: a frame among few, and its flags. */
static uint64_t entry(struct input *in)
{
	uint64_t f = take(in, 1), g = take(in, 2);
	uint64_t e = (g & 0x1ff) | (g & 0x200 ? X_NX : 0) | (g >> 10 & 3) << X_PKEY_SHIFT |
		     (g & 0x1000 ? BIT(50) : 0);

	if (f < 128)
		return e | (f % (FRAMES + 4)) << 12;
	if (f < 250)
		return e | BLOCK | (f & 127) << 12;
	return e | (uint64_t)f << 33;
}

/* Addresses that share tables: every index is 0, 1, 2 or the self-map's. */
static uint64_t address(struct input *in)
{
	static const uint64_t index[4] = {0, 1, 256, 511};
	uint64_t v = take(in, 2), va = 8 * (v >> 8 & 63);

	for (unsigned int k = 0; k < 4; k++)
		va |= index[v >> (2 * k) & 3] << (12 + 9 * k);
	return (uint64_t)((int64_t)(va << 16) >> 16);
}

static const uint32_t kinds[] = {0,	  TF_WRITE,	      TF_FETCH,
				 TF_USER, TF_USER | TF_WRITE, TF_USER | TF_FETCH,
				 TF_AC,	  TF_AC | TF_WRITE};

static void command(struct input *in, struct tf_vm *vm)
{
	uint64_t what = take(in, 1);
	struct hw_cpu *c = &hw.cpu[what >> 7];
	uint64_t bits[64];
	enum tf_status s = TF_OK;

	switch (what & 31) {
	case 0 ... 7: { /* an access */
		uint64_t va = address(in), k = take(in, 1);
		enum hw_op op = kinds[k & 7] & TF_WRITE ? HW_WRITE : HW_READ;
		uint64_t val = op == HW_WRITE ? entry(in) : 0;
		const struct tf_access a = {gva(va), kinds[k & 7]};
		struct tf_explanation x;
		tf_explain(c->v, &c->r, &a, &x);
		require(x.nested <= 29 && x.nested_filled <= 29 && x.shadow_refs <= 5, "explained");
		struct hw_result r = hw_access(c, va, kinds[k & 7], op, val);
		require(r.end != HW_STUCK && r.end != HW_BROKEN, "access");
		break;
	}
	case 8 ... 13: { /* the host stores an entry */
		uint64_t at = (take(in, 1) % FRAMES) << 12, i = take(in, 1);
		uint64_t e = entry(in);
		at += 8 * ((uint64_t[]){0, 1, 256, 511}[i & 3] ^ (i >> 2 & 3));
		s = tf_mem_write(vm, gpa(at), &e, 8);
		break;
	}
	case 14: { /* other groups; some vCPUs move at once */
		uint64_t v = take(in, 1);
		struct tf_counters n;
		enum tf_grouping was = tf_grouping(vm), to = (enum tf_grouping)(v & 3);
		s = tf_regroup(vm, to);
		require(tf_grouping(vm) == (s == TF_OK ? to : was), "grouping");
		require(s != TF_OK || (hw.conf.regroup && to <= TF_GROUPS_VCPU), "regroup");
		for (unsigned int i = 0; i < 2; i++)
			if (v >> (2 + i) & 1) {
				hw_leave(&hw.cpu[i]);
				hw_enter(&hw.cpu[i]);
			}
		unsigned int there = 0;
		for (unsigned int i = 0; i < tf_groups_max(vm) + 1; i++)
			there += tf_group_counters_read(vm, i, &n);
		require(there >= tf_groups(vm), "groups");
		break;
	}
	case 15:
		hw_invlpg(c, address(in));
		break;
	case 16:
	case 17: {
		uint64_t v = take(in, 2);
		uint64_t pcid = c->r.cr4 & X_CR4_PCIDE ? v >> 8 & 3 : 0;
		uint64_t keep = pcid && (v & 0x800) ? BIT(63) : 0;
		hw_write_cr3(c, (v & 127) << 12 | pcid | keep);
		break;
	}
	case 18: {
		uint64_t v = take(in, 1), cr4 = c->r.cr4;
		cr4 ^= (uint64_t[]){X_CR4_PGE, X_CR4_SMEP, X_CR4_SMAP, X_CR4_PKE}[v & 3];
		hw_write_cr4(c, cr4);
		break;
	}
	case 19:
		hw_write_cr0(c, c->r.cr0 ^ X_CR0_WP);
		break;
	case 20:
		hw_write_efer(c, c->r.efer ^ X_EFER_NXE);
		break;
	case 21:
		hw_write_pkru(c, (uint32_t)take(in, 1));
		break;
	case 22: {
		uint64_t v = take(in, 1);
		hw_invpcid(c, v & 3, c->r.cr4 & X_CR4_PCIDE ? v >> 2 & 3 : 0, address(in));
		break;
	}
	case 23:
		hw_set_mode(c, c->want == TF_SHADOW ? TF_NESTED : TF_SHADOW);
		break;
	case 24: {
		struct tf_regs r = c->r;
		uint64_t v = take(in, 1);
		r.cr3 = (v & 31) << 12;
		r.cr4 = (r.cr4 & ~X_CR4_PCIDE) | (v & 32 ? X_CR4_PCIDE : 0);
		r.cr0 = X_CR0_PE | X_CR0_WP | (v & 64 ? 0 : X_CR0_PG);
		r.efer = (r.efer & X_EFER_NXE) | (v & 64 ? 0 : X_EFER_LMA | X_EFER_LME);
		hw_set_regs(c, &r);
		break;
	}
	case 25: {
		uint64_t v = take(in, 2), n = 1 + (v >> 8 & 7);
		if (v & 0x8000)
			s = tf_mem_discard(vm, gpa(BLOCK | (v & 511) << 12), n << 12);
		else
			s = tf_mem_discard(vm, gpa((v & 127) << 12), n << 12);
		for (unsigned int i = 0; i < host.frames; i++)
			if (hw.frame[i].owner == HW_DATA)
				hw.frame[i].owner = HW_UNKNOWN;
		break;
	}
	case 26: {
		uint64_t v = take(in, 2), n = 1 + (v >> 8 & 7), at = (v & 127) << 12;
		if (v & 0x8000)
			at |= BLOCK;
		s = v & 0x4000 ? tf_mem_remove(vm, gpa(at), n << 12)
			       : tf_mem_add(vm, gpa(at), n << 12, v >> 11 & 3);
		break;
	}
	case 27:
		s = tf_dirty_start(vm, gpa(take(in, 1) << 12), (1 + take(in, 1)) << 12);
		break;
	case 28: {
		uint64_t at = take(in, 1), n = 1 + take(in, 1);
		s = tf_dirty_read(vm, gpa(at << 12), n << 12, bits);
		break;
	}
	case 29: {
		uint64_t at = take(in, 1), n = 1 + take(in, 1);
		if (at & 1)
			tf_dirty_stop(vm, gpa(at << 12), n << 12);
		else
			s = tf_accessed_read(vm, gpa(at << 12), n << 12, bits);
		break;
	}
	case 30: {
		struct tf_access a = {.at = gva(address(in)), .flags = kinds[take(in, 1) & 7]};
		struct tf_translation t;
		struct tf_outcome o;
		if (!c->entered || c->load.mode == TF_NESTED)
			hw_set_regs(c, &c->r);
		s = tf_walk(c->v, &a, what & 64, &t, &o);
		break;
	}
	default: { /* a fault that no hardware raised, on what was loaded */
		struct tf_outcome o;
		uint64_t k = take(in, 1);
		if (!hw_enter(c))
			break;
		if (c->load.mode == TF_SHADOW) {
			struct tf_access a = {.at = gva(take(in, 8)), .flags = k & 31};
			tf_shadow_fault(c->v, &a, &o);
		} else {
			tf_nested_fault(c->v, gpa(take(in, 7)), k & (TF_WRITE | TF_FETCH | TF_WALK),
					&o);
		}
		hw_leave(c);
		break;
	}
	}
	require(s <= TF_E_FAULT, "status");
	(void)s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint64_t k = take(&in, 1), fail = take(&in, 1), groups = take(&in, 1);
	struct tf_vm *vm;
	struct tf_config conf = {
		.mode = k & 1 ? TF_SHADOW : TF_NESTED,
		.nested = k & 2	    ? TF_EPT
			  : k & 128 ? TF_EPT_NO_AD
				    : TF_NPT,
		.maxphyaddr = 40,
		.vcpus = 2,
		.shadow_pages = k & 4 ? 24 : 0,
		.large_backing = (k & 24) == 24, /* seldom: it is slow */
		.nodes = 1 + (groups & 3),
		.grouping = (enum tf_grouping)((groups >> 2 & 3) % 3),
		.install = groups & 16 ? TF_INSTALL_CAS : TF_INSTALL_LOCK,
		.regroup = groups & 32,
		.arrival = groups & 64 ? 20 : 0,
	};

	if (size < 4 || size > 4096)
		return 0;
	if (!host.arena) /* every run gives all of it back, which is checked */
		fakehost_init(&host, UINT64_C(8) << 20);
	hw_init(&hw, &host, &conf, 2);
	struct tf_regs r = {
		.cr0 = X_CR0_PE | X_CR0_PG | X_CR0_WP,
		.cr3 = 0x1000,
		.cr4 = X_CR4_PAE | X_CR4_PGE | (k & 32 ? X_CR4_PCIDE : 0) |
		       (k & 64 ? X_CR4_PKE : 0),
		.efer = X_EFER_LME | X_EFER_LMA | X_EFER_NXE,
	};
	bool up = tf_vm_create(&host.host, &conf, &vm) == TF_OK;
	require(up, "create");
	require(tf_mem_add(vm, gpa(0), FRAMES << 12, 0) == TF_OK, "slot");
	require(tf_mem_add(vm, gpa(BLOCK), BLOCK, conf.nodes - 1) == TF_OK, "slot");
	require(hw_attach(&hw, vm, &r, 1) == TF_OK, "attach");
	/* Tables to start with: frames 1 to 4 map VA 0 .. 32 KiB; the rest is the input's. */
	for (uint64_t level = 4; level > 1; level--) {
		uint64_t e = (6 - level) << 12 | X_P | X_W | X_U | X_A;
		require(tf_mem_write(vm, gpa((5 - level) << 12), &e, 8) == TF_OK, "table");
	}
	for (uint64_t i = 0; i < 8; i++) {
		uint64_t e = i << 12 | X_P | X_W | X_U;
		require(tf_mem_write(vm, gpa(0x4000 + 8 * i), &e, 8) == TF_OK, "table");
	}
	for (unsigned int turn = 1; in.n > 0; turn++) {
		if (fail && turn % (1 + (fail & 15)) == 0)
			fakehost_fail(&host, 1 + (fail >> 4), 1 + (fail & 3));
		command(&in, vm);
		fakehost_fail(&host, 0, 0);
		if (turn % 4 == 0) {
			const char *broken = tf_check(vm);
			require(!broken, broken ? broken : "");
		}
	}
	const char *broken = tf_check(vm);
	require(!broken, broken ? broken : "");
	tf_vm_destroy(vm);
	require(fakehost_leaks(&host) == 0, "leak");
	hw_fini(&hw);
	return 0;
}
