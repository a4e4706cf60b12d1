/* The hypervisor's own accesses to guest-virtual memory, and the instruction at the guest's RIP.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/vcpu.h"

#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"

void vcpu_sync_regs(struct vcpu *v)
{
	struct tf_regs r;

	if (v->watched)
		return;
	vcpu_read_regs(v, &r);
	tf_vcpu_set_regs(v->mmu, &r);
}

static uint32_t access_flags(const struct vcpu *v, uint32_t flags)
{
	if (vcpu_cpl(v) == 3 && !(flags & TF_IMPLICIT))
		flags |= TF_USER;
	if (v->guest.rflags & RFLAGS_AC)
		flags |= TF_AC;
	return flags;
}

static size_t to_page_end(uint64_t at, size_t n)
{
	size_t room = TF_PAGE_SIZE - (at & TF_PAGE_MASK);

	return n < room ? n : room;
}

enum tf_status vcpu_read_gva(struct vcpu *v, uint64_t at, void *to, size_t n, uint32_t flags,
			     struct tf_outcome *out)
{
	vcpu_sync_regs(v);
	while (n) {
		struct tf_access a = {gva(at), access_flags(v, flags)};
		struct tf_translation tr;
		size_t part = to_page_end(at, n);
		enum tf_status s = tf_walk(v->mmu, &a, true, &tr, out);

		if (s == TF_OK)
			s = tf_mem_read(vm.mmu, tr.gpa, to, part);
		if (s != TF_OK)
			return s;
		at += part;
		to = (char *)to + part;
		n -= part;
	}
	return TF_OK;
}

enum tf_status vcpu_write_gva(struct vcpu *v, uint64_t at, const void *from, size_t n,
			      uint32_t flags, struct tf_outcome *out)
{
	vcpu_sync_regs(v);
	while (n) {
		struct tf_access a = {gva(at), access_flags(v, flags | TF_WRITE)};
		struct tf_translation tr;
		size_t part = to_page_end(at, n);
		enum tf_status s = tf_walk(v->mmu, &a, true, &tr, out);

		if (s == TF_OK)
			s = tf_mem_write(vm.mmu, tr.gpa, from, part);
		if (s != TF_OK)
			return s;
		at += part;
		from = (const char *)from + part;
		n -= part;
	}
	return TF_OK;
}

uint64_t vcpu_linear_rip(const struct vcpu *v)
{
	uint64_t base[6];

	if (vcpu_is_long(v))
		return v->guest.rip;
	vendor->segment_bases(v, base);
	return (uint32_t)(base[INSN_CS] + v->guest.rip);
}

void vcpu_forget_insns(struct vcpu *v)
{
	for (unsigned int i = 0; i < INSN_MEMOS; i++)
		v->memo[i].rip = 0;
}

/* Read instruction bytes at a linear address as far as its page goes. Sets the page's A bit, as the
 * CPU's own fetch would: so the next page is only read when the instruction goes on there. */
static enum tf_status fetch_page(struct vcpu *v, uint64_t at, uint8_t *to, size_t n,
				 uint64_t *where, struct tf_outcome *out)
{
	struct tf_access a = {gva(at), access_flags(v, TF_FETCH)};
	struct tf_translation tr;
	enum tf_status s = tf_walk(v->mmu, &a, true, &tr, out);

	if (s != TF_OK)
		return s;
	*where = tr.gpa.v;
	return tf_mem_read(vm.mmu, tr.gpa, to, n);
}

/* An instruction that was decoded before is known again by its address if its bytes are unchanged:
 * that saves the walk. The memo is dropped where the guest may have mapped other code there
 * (vcpu_forget_insns). */
static bool memo_holds(struct insn_memo *m, uint64_t rip)
{
	uint8_t now[16];

	return m->rip == rip && tf_mem_read(vm.mmu, gpa(m->gpa), now, m->compare) == TF_OK &&
	       !memcmp(now, m->bytes, m->compare);
}

/* Linux flushes its own TLB by reading CR3 and writing it right back. */
static void find_pair(struct insn_memo *m, size_t got)
{
	struct insn next;
	size_t at = m->insn.length;

	if (m->insn.kind != INSN_CR_READ || m->insn.number != 3)
		return;
	if (insn_decode(m->bytes + at, got - at, INSN_64, &next) != INSN_OK ||
	    next.kind != INSN_CR_WRITE || next.number != 3 || next.reg != m->insn.reg)
		return;
	m->pair = next.length;
	m->compare = (uint8_t)(at + next.length);
}

bool vcpu_recheck_int(struct vcpu *v)
{
	uint64_t rip = vcpu_linear_rip(v), where;
	size_t got = to_page_end(rip, INSN_MAX);
	enum insn_status decoded;
	struct tf_outcome out;
	uint8_t bytes[INSN_MAX];
	struct insn insn;

	vcpu_sync_regs(v);
	if (fetch_page(v, rip, bytes, got, &where, &out) != TF_OK)
		return true;
	decoded = insn_decode(bytes, got, v->guest.mode, &insn);
	if (decoded == INSN_INT)
		return true;
	return tf_mem_touch(vm.mmu, gpa(where)) != TF_OK || decoded == INSN_SHORT;
}

unsigned int vcpu_cr3_pair(const struct insn *i)
{
	const char *memo = (const char *)i - offsetof(struct insn_memo, insn);

	return ((const struct insn_memo *)memo)->pair;
}

const struct insn *vcpu_decode(struct vcpu *v)
{
	uint64_t rip = vcpu_linear_rip(v), rest_gpa;
	struct insn_memo *m = &v->memo[(rip ^ rip >> 4) % INSN_MEMOS];
	enum insn_mode mode = v->guest.mode;
	size_t got = to_page_end(rip, INSN_MAX);
	enum insn_status decoded = INSN_SHORT;
	struct tf_outcome out;
	enum tf_status status;

	if (mode == INSN_64 && memo_holds(m, rip))
		return &m->insn;
	m->rip = 0;
	m->pair = 0;
	vcpu_sync_regs(v);
	status = fetch_page(v, rip, m->bytes, got, &m->gpa, &out);
	if (status == TF_OK)
		decoded = insn_decode(m->bytes, got, mode, &m->insn);
	if (status == TF_OK && decoded == INSN_SHORT && got < INSN_MAX) {
		status = fetch_page(v, rip + got, m->bytes + got, INSN_MAX - got, &rest_gpa, &out);
		if (status == TF_OK)
			decoded = insn_decode(m->bytes, INSN_MAX, mode, &m->insn);
	} else if (decoded == INSN_OK && mode == INSN_64) {
		m->rip = rip; /* in one page: one read can check it */
		m->compare = m->insn.length;
		find_pair(m, got);
	}
	if (decoded == INSN_OK)
		return &m->insn;
	if (status == TF_E_FAULT)
		vcpu_inject_pf(v, out.pfec, out.cr2.v);
	else
		vcpu_inject(v, EXC_UD, 0);
	return NULL;
}

void vcpu_insn_state(struct vcpu *v, struct insn_state *s, uint64_t seg_base[6])
{
	vendor->segment_bases(v, seg_base);
	*s = (struct insn_state){
		.gpr = v->gpr,
		.rip = v->guest.rip,
		.rflags = v->guest.rflags,
		.mode = v->guest.mode,
		.seg_base = seg_base,
	};
}
