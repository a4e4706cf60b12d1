/* Exits by control registers, EFER and TLB instructions.
 *
 * Of a watched vCPU (svm/mode.c) every write of CR0 (but TS and MP), CR3, CR4 and EFER comes here
 * and goes to the engine; CR0, CR4 and EFER are the guest's own in the VMCB, and so is CR3 on a
 * nested root, while on a shadow one it is that. In nested mode only those of CR0, CR8 and EFER do,
 * and, while the meter looks (svm/meter.c), CR3 writes and TLB instructions; all are the guest's
 * own in the VMCB. APM vol. 2, 3.1, 15.9.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/vm.h"
#include "cpu/x86.h"
#include "svm/svm.h"

#define CR0_ALLOWED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR3_KEEP (1ull << 63)

/* All control state at once, where a change turns paging on or off. */
static void set_all(struct vcpu *v, uint64_t cr0, uint64_t efer)
{
	struct tf_regs r = *tf_vcpu_regs(v->mmu);

	r.cr0 = cr0;
	r.efer = efer;
	tf_vcpu_set_regs(v->mmu, &r);
	v->vmcb->save.cr0 = cr0;
	v->vmcb->save.efer = efer | EFER_SVME | (v->shadow ? EFER_NXE : 0);
	v->flush = true;
	vcpu_forget_insns(v);
}

/* False: #GP. */
static bool cr0_write(struct vcpu *v, uint64_t new)
{
	const struct tf_regs *r = tf_vcpu_regs(v->mmu);
	uint64_t efer = r->efer, old = v->vmcb->save.cr0;

	new |= CR0_ET;
	if ((new & ~CR0_ALLOWED) || ((new &CR0_PG) && !(new &CR0_PE)) ||
	    ((new &CR0_NW) && !(new &CR0_CD)))
		return false;
	if ((new &CR0_PG) && !(old & CR0_PG) && (efer & EFER_LME)) {
		if (!(r->cr4 & CR4_PAE) || (v->vmcb->save.cs.attrib & SEG_L))
			return false;
		set_all(v, new, efer | EFER_LMA);
		return true;
	}
	if (!(new &CR0_PG) && (old & CR0_PG)) {
		if (svm_is_long(v->vmcb) || (r->cr4 & CR4_PCIDE))
			return false;
		set_all(v, new, efer & ~EFER_LMA);
		return true;
	}
	tf_write_cr0(v->mmu, new);
	v->vmcb->save.cr0 = new;
	v->flush = true;
	return true;
}

static bool cr3_write(struct vcpu *v, uint64_t new)
{
	uint64_t address = new;
	struct tf_regs r;

	vcpu_read_regs(v, &r);
	if (r.cr4 & CR4_PCIDE)
		address &= ~CR3_KEEP;
	if ((r.efer & EFER_LMA) && (address >> cpuid_maxphyaddr(&vm.cpuid)))
		return false;
	if (vm.automatic && !v->shadow)
		meter_event(v, WINDOW_CR3);
	if (vm.automatic)
		meter_cr3(v, r.cr3, new);
	if (v->watched)
		tf_write_cr3(v->mmu, new);
	if (!v->shadow) {
		v->vmcb->save.cr3 = address;
		v->flush = true;
	}
	return true;
}

static bool cr4_write(struct vcpu *v, uint64_t new)
{
	const struct tf_regs *r = tf_vcpu_regs(v->mmu);
	uint64_t changed = new ^ r->cr4;
	bool long_mode = r->efer & EFER_LMA;

	if (new & ~cpuid_cr4_allowed(&vm.cpuid))
		return false;
	if (long_mode && (!(new &CR4_PAE) || (changed & CR4_LA57)))
		return false;
	if ((new &changed &CR4_PCIDE) && (!long_mode || (r->cr3 & 0xfff)))
		return false;
	tf_write_cr4(v->mmu, new);
	v->vmcb->save.cr4 = new;
	v->flush = true;
	vcpu_forget_insns(v);
	return true;
}

static bool cr_write(struct vcpu *v, unsigned int number, uint64_t value)
{
	if (number != 3)
		vcpu_sync_regs(v);
	switch (number) {
	case 0:
		v->kind = KIND_CR0;
		return cr0_write(v, value);
	case 3:
		v->kind = KIND_CR3_WRITE;
		return cr3_write(v, value);
	case 4:
		v->kind = KIND_CR4;
		return cr4_write(v, value);
	case 8:
		v->kind = KIND_CR8;
		if (value & ~0xfull)
			return false;
		v->apic.tpr = (uint32_t)value << 4;
		return true;
	default:
		return false;
	}
}

static uint64_t source(const struct vcpu *v, const struct insn *i)
{
	uint64_t value = v->gpr[i->reg];

	return svm_is_long(v->vmcb) ? value : (uint32_t)value;
}

void exit_cr_write(struct vcpu *v)
{
	const struct insn *i;
	unsigned int length;

	v->kind = KIND_CR3_WRITE;
	i = vcpu_decode(v);
	if (!i)
		return;
	if (i->kind != INSN_CR_WRITE) {
		vcpu_inject(v, EXC_UD, 0);
		return;
	}
	length = i->length;
	if (!cr_write(v, i->number, source(v, i))) {
		vcpu_inject(v, EXC_GP, 0);
		return;
	}
	vcpu_skip(v, length);
}

/* LMSW changes the low four bits and cannot clear PE. */
static bool lmsw(struct vcpu *v, const struct insn *i)
{
	uint64_t value = 0, old = v->vmcb->save.cr0;

	if (i->is_memory) {
		struct insn_state s;
		uint64_t bases[6];
		struct tf_outcome out;

		vcpu_insn_state(v, &s, bases);
		if (vcpu_read_gva(v, insn_linear(i, &s), &value, 2, 0, &out) != TF_OK) {
			vcpu_inject_pf(v, out.pfec, out.cr2.v);
			return false;
		}
	} else {
		value = v->gpr[i->reg];
	}
	value = (old & ~0xeull) | (value & 0xf);
	vcpu_sync_regs(v);
	if (!cr0_write(v, value)) {
		vcpu_inject(v, EXC_GP, 0);
		return false;
	}
	return true;
}

/* The exit of a write that turns paging on or off comes before it, but Bochs (2.7, 3.0) has changed
 * EFER.LMA by then. It follows from what is there still. */
static void keep_lma(struct vmcb_save *s)
{
	s->efer &= ~(uint64_t)EFER_LMA;
	if ((s->cr0 & CR0_PG) && (s->efer & EFER_LME))
		s->efer |= EFER_LMA;
}

void exit_cr0(struct vcpu *v)
{
	keep_lma(&v->vmcb->save);
	const struct insn *i;
	unsigned int length;
	bool done;

	v->kind = KIND_CR0;
	i = vcpu_decode(v);
	if (!i)
		return;
	length = i->length;
	switch (i->kind) {
	case INSN_CR_WRITE:
		done = cr_write(v, i->number, source(v, i));
		if (!done)
			vcpu_inject(v, EXC_GP, 0);
		break;
	case INSN_LMSW:
		done = lmsw(v, i);
		break;
	case INSN_CLTS:
		vcpu_sync_regs(v);
		done = cr0_write(v, v->vmcb->save.cr0 & ~CR0_TS);
		break;
	default:
		vcpu_inject(v, EXC_UD, 0);
		return;
	}
	if (done)
		vcpu_skip(v, length);
}

/* mov %cr3, reg. Linux flushes its own TLB by writing the value right back: where that is the next
 * instruction, both are done in this exit. */
void exit_cr3_read(struct vcpu *v)
{
	const struct insn *i;
	unsigned int reg, length, pair;
	uint64_t cr3 = tf_vcpu_regs(v->mmu)->cr3;

	v->kind = KIND_CR3_READ;
	i = vcpu_decode(v);
	if (!i)
		return;
	if (i->kind != INSN_CR_READ) {
		vcpu_inject(v, EXC_UD, 0);
		return;
	}
	reg = i->reg;
	length = i->length;
	v->gpr[reg] = svm_is_long(v->vmcb) ? cr3 : (uint32_t)cr3;
	pair = vcpu_cr3_pair(i);
	if (pair && !(v->vmcb->save.rflags & RFLAGS_TF) && cr3_write(v, cr3)) {
		v->kind = KIND_CR3_WRITE;
		length += pair;
	}
	vcpu_skip(v, length);
}

void exit_invlpg(struct vcpu *v)
{
	const struct insn *i;
	struct insn_state s;
	uint64_t bases[6], at;
	unsigned int length;

	v->kind = KIND_INVLPG;
	i = vcpu_decode(v);
	if (!i)
		return;
	if (i->kind != INSN_INVLPG) {
		vcpu_inject(v, EXC_UD, 0);
		return;
	}
	vcpu_insn_state(v, &s, bases);
	at = insn_linear(i, &s);
	length = i->length;
	if (v->shadow) {
		tf_invlpg(v->mmu, gva(at));
	} else {
		meter_event(v, WINDOW_INVLPG);
		v->flush = true;
	}
	for (unsigned int k = 0; k < INSN_MEMOS; k++)
		if (!((v->memo[k].rip ^ at) >> TF_PAGE_SHIFT))
			v->memo[k].rip = 0;
	vcpu_skip(v, length);
}

void exit_invpcid(struct vcpu *v)
{
	const struct insn *i;
	struct insn_state s;
	uint64_t bases[6], descriptor[2], type;
	struct tf_outcome out;
	enum tf_status status;
	unsigned int length;

	v->kind = KIND_INVPCID;
	i = vcpu_decode(v);
	if (!i)
		return;
	if (i->kind != INSN_INVPCID || vcpu_cpl(v)) {
		vcpu_inject(v, i->kind != INSN_INVPCID ? EXC_UD : EXC_GP, 0);
		return;
	}
	vcpu_insn_state(v, &s, bases);
	type = source(v, i);
	length = i->length;
	status = vcpu_read_gva(v, insn_linear(i, &s), descriptor, sizeof(descriptor), 0, &out);
	if (status == TF_E_FAULT) {
		vcpu_inject_pf(v, out.pfec, out.cr2.v);
		return;
	}
	if (status != TF_OK || type > 3 || (type < 2 && (descriptor[0] >> 12)) ||
	    (type < 2 && descriptor[0] && !(v->vmcb->save.cr4 & CR4_PCIDE))) {
		vcpu_inject(v, EXC_GP, 0);
		return;
	}
	if (v->shadow) {
		tf_invpcid(v->mmu, (unsigned int)type, (uint16_t)descriptor[0], gva(descriptor[1]));
	} else {
		meter_event(v, WINDOW_INVLPG);
		v->flush = true;
	}
	vcpu_forget_insns(v);
	vcpu_skip(v, length);
}

uint64_t exit_efer_read(const struct vcpu *v)
{
	if (v->watched)
		return tf_vcpu_regs(v->mmu)->efer;
	return v->vmcb->save.efer & ~EFER_SVME;
}

bool exit_efer_write(struct vcpu *v, uint64_t value)
{
	uint64_t old = exit_efer_read(v);

	value = (value & ~EFER_LMA) | (old & EFER_LMA);
	if (value & ~(cpuid_efer_allowed(&vm.cpuid) | EFER_LMA))
		return false;
	if (((value ^ old) & EFER_LME) && (v->vmcb->save.cr0 & CR0_PG))
		return false;
	if (v->watched)
		tf_write_efer(v->mmu, value);
	v->vmcb->save.efer = value | EFER_SVME | (v->shadow ? EFER_NXE : 0);
	/* NXE is part of how the CPU reads tables. */
	if ((value ^ old) & EFER_NXE)
		v->flush = true;
	return true;
}
