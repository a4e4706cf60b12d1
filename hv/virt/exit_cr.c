/* Exits by control registers, EFER and TLB instructions.
 *
 * Of a watched vCPU (virt/mode.c) every write of CR0 (but TS and MP), CR3, CR4 and EFER comes here
 * and goes to the engine. In nested mode only those of CR0, CR8 and EFER do, and, while the meter
 * looks (virt/meter.c), CR3 writes and TLB instructions. APM vol. 2, 3.1, 15.9; SDM vol. 3, 26.1.3.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/vm.h"
#include "cpu/x86.h"
#include "virt/virt.h"

#define CR0_ALLOWED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR3_KEEP (1ull << 63)

/* CR0 and EFER at once, where a change turns paging on or off. */
static void set_paging(struct vcpu *v, uint64_t cr0, uint64_t efer)
{
	struct tf_regs r;

	v->guest.cr0 = cr0;
	v->guest.efer = efer;
	vcpu_read_regs(v, &r);
	tf_vcpu_set_regs(v->mmu, &r);
	v->flush |= TF_FLUSH_LINEAR;
	vcpu_forget_insns(v);
}

/* False: #GP. */
static bool cr0_write(struct vcpu *v, uint64_t new)
{
	const struct guest *g = &v->guest;
	uint64_t old = g->cr0;

	new |= CR0_ET;
	if ((new & ~CR0_ALLOWED) || ((new &CR0_PG) && !(new &CR0_PE)) ||
	    ((new &CR0_NW) && !(new &CR0_CD)))
		return false;
	if ((new &CR0_PG) && !(old & CR0_PG) && (g->efer & EFER_LME)) {
		if (!(g->cr4 & CR4_PAE) || g->cs_l)
			return false;
		set_paging(v, new, g->efer | EFER_LMA);
		return true;
	}
	if (!(new &CR0_PG) && (old & CR0_PG)) {
		if (vcpu_is_long(v) || (g->cr4 & CR4_PCIDE))
			return false;
		set_paging(v, new, g->efer & ~EFER_LMA);
		return true;
	}
	tf_write_cr0(v->mmu, new);
	v->guest.cr0 = new;
	v->flush |= TF_FLUSH_LINEAR;
	return true;
}

static bool cr3_write(struct vcpu *v, uint64_t new)
{
	const struct guest *g = &v->guest;
	uint64_t address = new;

	if (g->cr4 & CR4_PCIDE)
		address &= ~CR3_KEEP;
	if ((g->efer & EFER_LMA) && (address >> cpuid_maxphyaddr(&vm.cpuid)))
		return false;
	if (vm.automatic && !v->shadow)
		meter_event(v, WINDOW_CR3);
	if (vm.automatic)
		meter_cr3(v, g->cr3, new);
	if (v->watched)
		tf_write_cr3(v->mmu, new);
	v->guest.cr3 = address;
	if (!v->shadow)
		v->flush |= TF_FLUSH_LINEAR;
	return true;
}

static bool cr4_write(struct vcpu *v, uint64_t new)
{
	const struct guest *g = &v->guest;
	uint64_t changed = new ^ g->cr4;
	bool long_mode = g->efer & EFER_LMA;

	if (new & ~cpuid_cr4_allowed(&vm.cpuid))
		return false;
	if (long_mode && (!(new &CR4_PAE) || (changed & CR4_LA57)))
		return false;
	if ((new &changed &CR4_PCIDE) && (!long_mode || (g->cr3 & 0xfff)))
		return false;
	tf_write_cr4(v->mmu, new);
	v->guest.cr4 = new;
	v->flush |= TF_FLUSH_LINEAR;
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

static uint64_t source(const struct vcpu *v, unsigned int reg)
{
	return vcpu_is_long(v) ? v->gpr[reg] : (uint32_t)v->gpr[reg];
}

/* LMSW's operand. False: it cannot be read, and the fault is queued. */
static bool lmsw_operand(struct vcpu *v, const struct insn *i, uint16_t *value)
{
	struct insn_state s;
	uint64_t bases[6];
	struct tf_outcome out;

	if (!i->is_memory) {
		*value = (uint16_t)v->gpr[i->reg];
		return true;
	}
	vcpu_insn_state(v, &s, bases);
	if (vcpu_read_gva(v, insn_linear(i, &s), value, 2, 0, &out) == TF_OK)
		return true;
	vcpu_inject_pf(v, out.pfec, out.cr2.v);
	return false;
}

/* What the instruction is, where the CPU does not tell. False: a fault is queued. */
static bool look(struct vcpu *v)
{
	struct exit *e = &v->exit;
	const struct insn *i = vcpu_decode(v);

	if (!i)
		return false;
	switch (i->kind) {
	case INSN_LMSW:
		if (!lmsw_operand(v, i, &e->cr.lmsw))
			return false;
		break;
	case INSN_CR_READ:
	case INSN_CR_WRITE:
	case INSN_CLTS:
		break;
	default:
		vcpu_inject(v, EXC_UD, 0);
		return false;
	}
	e->length = i->length;
	e->cr.kind = i->kind;
	e->cr.number = i->number;
	e->cr.reg = i->reg;
	e->cr.pair = (uint8_t)vcpu_cr3_pair(i);
	return true;
}

/* mov %cr3, reg. Linux flushes its own TLB by writing the value right back: where that is the next
 * instruction, both are done in this exit. */
static void cr3_read(struct vcpu *v)
{
	struct exit *e = &v->exit;
	uint64_t cr3 = v->guest.cr3;
	unsigned int length = e->length;

	v->kind = KIND_CR3_READ;
	if (e->told && !look(v)) /* for what follows it */
		return;
	v->gpr[e->cr.reg] = vcpu_is_long(v) ? cr3 : (uint32_t)cr3;
	if (e->cr.pair && !(v->guest.rflags & RFLAGS_TF) && cr3_write(v, cr3)) {
		v->kind = KIND_CR3_WRITE;
		length += e->cr.pair;
	}
	vcpu_skip(v, length);
}

void exit_cr(struct vcpu *v)
{
	const struct exit *e = &v->exit;
	bool done;

	v->kind = e->cr.number == 3 ? KIND_CR3_WRITE : KIND_CR0;
	if (!e->told && !look(v))
		return;
	switch (e->cr.kind) {
	case INSN_CR_READ:
		if (e->cr.number == 3) {
			cr3_read(v);
			return;
		}
		if (e->cr.number != 8) {
			vcpu_inject(v, EXC_UD, 0);
			return;
		}
		v->kind = KIND_CR8;
		v->gpr[e->cr.reg] = lapic_cr8(&v->apic);
		done = true;
		break;
	case INSN_CR_WRITE:
		done = cr_write(v, e->cr.number, source(v, e->cr.reg));
		break;
	case INSN_LMSW:
		/* It changes the low four bits and cannot clear PE. */
		vcpu_sync_regs(v);
		done = cr0_write(v, (v->guest.cr0 & ~0xeull) | (e->cr.lmsw & 0xf));
		break;
	default:
		vcpu_sync_regs(v);
		done = cr0_write(v, v->guest.cr0 & ~CR0_TS);
	}
	if (done)
		vcpu_skip(v, e->length);
	else
		vcpu_inject(v, EXC_GP, 0);
}

/* The address that INVLPG names. False: a fault is queued. */
static bool invlpg_operand(struct vcpu *v, uint64_t *at)
{
	const struct insn *i;
	struct insn_state s;
	uint64_t bases[6];

	if (v->exit.told) {
		*at = v->exit.invlpg.gva;
		return true;
	}
	i = vcpu_decode(v);
	if (!i)
		return false;
	if (i->kind != INSN_INVLPG) {
		vcpu_inject(v, EXC_UD, 0);
		return false;
	}
	vcpu_insn_state(v, &s, bases);
	*at = insn_linear(i, &s);
	v->exit.length = i->length;
	return true;
}

void exit_invlpg(struct vcpu *v)
{
	uint64_t at;

	v->kind = KIND_INVLPG;
	if (!invlpg_operand(v, &at))
		return;
	if (v->shadow) {
		tf_invlpg(v->mmu, gva(at));
	} else {
		meter_event(v, WINDOW_INVLPG);
		v->flush |= TF_FLUSH_LINEAR;
	}
	for (unsigned int k = 0; k < INSN_MEMOS; k++)
		if (!((v->memo[k].rip ^ at) >> TF_PAGE_SHIFT))
			v->memo[k].rip = 0;
	vcpu_skip(v, v->exit.length);
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
	type = source(v, i->reg);
	length = i->length;
	status = vcpu_read_gva(v, insn_linear(i, &s), descriptor, sizeof(descriptor), 0, &out);
	if (status == TF_E_FAULT) {
		vcpu_inject_pf(v, out.pfec, out.cr2.v);
		return;
	}
	if (status != TF_OK || type > 3 || (type < 2 && (descriptor[0] >> 12)) ||
	    (type < 2 && descriptor[0] && !(v->guest.cr4 & CR4_PCIDE))) {
		vcpu_inject(v, EXC_GP, 0);
		return;
	}
	if (v->shadow) {
		tf_invpcid(v->mmu, (unsigned int)type, (uint16_t)descriptor[0], gva(descriptor[1]));
	} else {
		meter_event(v, WINDOW_INVLPG);
		v->flush |= TF_FLUSH_LINEAR;
	}
	vcpu_forget_insns(v);
	vcpu_skip(v, length);
}

bool exit_efer_write(struct vcpu *v, uint64_t value)
{
	uint64_t old = v->guest.efer;

	value = (value & ~EFER_LMA) | (old & EFER_LMA);
	if (value & ~(cpuid_efer_allowed(&vm.cpuid) | EFER_LMA))
		return false;
	if (((value ^ old) & EFER_LME) && (v->guest.cr0 & CR0_PG))
		return false;
	if (v->watched)
		tf_write_efer(v->mmu, value);
	v->guest.efer = value;
	/* NXE is part of how the CPU reads tables. */
	if ((value ^ old) & EFER_NXE)
		v->flush |= TF_FLUSH_LINEAR;
	return true;
}
