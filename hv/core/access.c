/* The hypervisor's own accesses to guest-virtual memory, and the instruction at the guest's RIP.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/vcpu.h"

#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "svm/svm.h"

void vcpu_sync_regs(struct vcpu *v)
{
	const struct vmcb_save *s = &v->vmcb->save;
	struct tf_regs r;

	if (vm.mode == TF_SHADOW)
		return; /* every write went through the engine */
	r = (struct tf_regs){
		.cr0 = s->cr0,
		.cr3 = s->cr3,
		.cr4 = s->cr4,
		.efer = s->efer & ~EFER_SVME,
	};
	tf_vcpu_set_regs(v->mmu, &r);
}

static uint32_t access_flags(const struct vcpu *v, uint32_t flags)
{
	if (vcpu_cpl(v) == 3 && !(flags & TF_IMPLICIT))
		flags |= TF_USER;
	if (v->vmcb->save.rflags & RFLAGS_AC)
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

static enum insn_mode mode_of(const struct vmcb *b)
{
	if (svm_is_long(b))
		return INSN_64;
	return b->save.cs.attrib & SEG_DB ? INSN_32 : INSN_16;
}

static uint64_t linear_rip(const struct vmcb *b)
{
	if (svm_is_long(b))
		return b->save.rip;
	return (uint32_t)(b->save.cs.base + b->save.rip);
}

void vcpu_forget_insns(struct vcpu *v)
{
	for (unsigned int i = 0; i < INSN_MEMOS; i++)
		v->memo[i].rip = 0;
}

/* Read up to INSN_MAX bytes at a linear address, page by page; the first page must be there. */
static size_t fetch(struct vcpu *v, uint64_t at, uint8_t *to, uint64_t *first_gpa,
		    struct tf_outcome *out, enum tf_status *status)
{
	size_t got = 0;

	vcpu_sync_regs(v);
	while (got < INSN_MAX) {
		struct tf_access a = {gva(at + got), access_flags(v, TF_FETCH)};
		struct tf_translation tr;
		size_t part = to_page_end(at + got, INSN_MAX - got);

		*status = tf_walk(v->mmu, &a, true, &tr, out);
		if (*status == TF_OK)
			*status = tf_mem_read(vm.mmu, tr.gpa, to + got, part);
		if (*status != TF_OK)
			return got;
		if (!got)
			*first_gpa = tr.gpa.v;
		got += part;
	}
	return got;
}

/* An instruction that was decoded before is known again by its address if its bytes are unchanged:
 * that saves the walk. The memo is dropped where the guest may have mapped other code there
 * (vcpu_forget_insns). */
static bool memo_holds(struct insn_memo *m, uint64_t rip)
{
	uint8_t now[16];

	return m->rip == rip && tf_mem_read(vm.mmu, gpa(m->gpa), now, m->insn.length) == TF_OK &&
	       !memcmp(now, m->bytes, m->insn.length);
}

const struct insn *vcpu_decode(struct vcpu *v)
{
	uint64_t rip = linear_rip(v->vmcb);
	struct insn_memo *m = &v->memo[(rip ^ rip >> 4) % INSN_MEMOS];
	enum insn_mode mode = mode_of(v->vmcb);
	struct tf_outcome out;
	enum tf_status status;
	enum insn_status decoded;
	size_t got;

	if (mode == INSN_64 && memo_holds(m, rip))
		return &m->insn;
	m->rip = 0;
	got = fetch(v, rip, m->bytes, &m->gpa, &out, &status);
	decoded = insn_decode(m->bytes, got, mode, &m->insn);
	if (decoded == INSN_OK) {
		/* Only what lies in one page can be checked by one read. */
		if (mode == INSN_64 && (rip & TF_PAGE_MASK) + m->insn.length <= TF_PAGE_SIZE)
			m->rip = rip;
		return &m->insn;
	}
	if (decoded == INSN_SHORT && status == TF_E_FAULT)
		vcpu_inject_pf(v, out.pfec, out.cr2.v);
	else
		vcpu_inject(v, EXC_UD, 0);
	return NULL;
}

void vcpu_insn_state(struct vcpu *v, struct insn_state *s, uint64_t seg_base[6])
{
	const struct vmcb_save *save = &v->vmcb->save;

	seg_base[INSN_ES] = save->es.base;
	seg_base[INSN_CS] = save->cs.base;
	seg_base[INSN_SS] = save->ss.base;
	seg_base[INSN_DS] = save->ds.base;
	/* Never saved: the guest's are in the CPU (svm/enter.S). */
	seg_base[INSN_FS] = x86_rdmsr(MSR_FS_BASE);
	seg_base[INSN_GS] = x86_rdmsr(MSR_GS_BASE);
	*s = (struct insn_state){
		.gpr = v->gpr,
		.rip = save->rip,
		.rflags = save->rflags,
		.mode = mode_of(v->vmcb),
		.seg_base = seg_base,
	};
}
