/* The mode of a vCPU, and its change while the guest runs.
 *
 * Two things follow it in the VMCB. In shadow mode the vCPU is *watched*: writes of CR3 and CR4
 * exit, so that the engine knows the guest's registers. And where the engine then gives it a shadow
 * root, nested paging is off, and reads of CR3, page faults and TLB instructions exit as well. (It
 * gives a nested one to code without paging or with legacy paging, and, where each address space
 * has a mode of its own, to those that have nested mode: the VMCB then holds the guest's own CR3.)
 * In nested mode the guest's registers are in the VMCB alone.
 *
 * Where each address space has a mode of its own, a vCPU is watched only while it runs one that has
 * shadow mode. It goes over when an exit finds it there: most often the nested fault at the gate
 * that the engine keeps closed for this (engine/modes/gate.c).
 *
 * A change is asked for by a request; each vCPU takes it by itself before its next entry. It, and
 * not the asker, tells the engine, so that nothing can come between that and telling the engine its
 * registers. Nobody waits for anybody: vCPUs in different modes may run side by side.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/cmdline.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "svm/svm.h"

void svm_watch(struct vcpu *v, bool on)
{
	struct vmcb_control *c = &v->vmcb->ctl;

	v->watched = on;
	if (on) {
		c->cr_write |= 1u << 3 | 1u << 4;
		return;
	}
	c->cr_write &= (uint16_t) ~(1u << 3);
	if (!vm.watch_cr4)
		c->cr_write &= (uint16_t) ~(1u << 4);
}

void svm_to_shadow(struct vcpu *v)
{
	struct vmcb *b = v->vmcb;

	HV_ASSERT(v->watched);
	meter_root(v);
	v->shadow = true;
	v->flush = true;
	b->ctl.nested_ctl = 0;
	b->ctl.cr_read |= 1u << 3;
	b->ctl.exceptions |= 1u << EXC_PF;
	b->ctl.intercept1 |= INT1_INVLPG;
	b->ctl.intercept3 |= INT3_INVPCID;
	b->save.efer |= EFER_NXE;
}

void svm_to_nested(struct vcpu *v)
{
	struct vmcb *b = v->vmcb;

	meter_root(v);
	v->shadow = false;
	v->flush = true;
	b->ctl.nested_ctl = 1;
	b->ctl.cr_read &= (uint16_t) ~(1u << 3);
	b->ctl.exceptions &= ~(1u << EXC_PF);
	b->ctl.intercept1 &= ~INT1_INVLPG;
	b->ctl.intercept3 &= ~INT3_INVPCID;
	b->save.cr3 = tf_vcpu_regs(v->mmu)->cr3;
	b->save.efer = tf_vcpu_regs(v->mmu)->efer | EFER_SVME;
}

void svm_switch(enum tf_mode from, enum tf_mode to)
{
	uint32_t now = from;

	__atomic_store_n(&vm.switch_tsc, x86_rdtsc(), __ATOMIC_RELAXED);
	if (!__atomic_compare_exchange_n(&vm.mode_wanted, &now, to, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return;
	__atomic_fetch_add(&vm.switch_count, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < vm.cpus; i++)
		vcpu_request(vm.vcpu[i], REQ_MODE);
}

void svm_space_to_shadow(struct vcpu *v)
{
	vcpu_sync_regs(v);
	svm_watch(v, true);
	tf_vcpu_set_mode(v->mmu, TF_SHADOW);
	vcpu_forget_insns(v);
	v->space_entries++;
	v->gated = true;
}

void svm_space_to_nested(struct vcpu *v)
{
	svm_watch(v, false);
	tf_vcpu_set_mode(v->mmu, TF_NESTED);
	vcpu_forget_insns(v);
}

void svm_take_mode(struct vcpu *v)
{
	enum tf_mode mode = __atomic_load_n(&vm.mode_wanted, __ATOMIC_ACQUIRE);

	if (vm.automatic && cmdline.grain == TF_GRAIN_SPACE) {
		v->spaces = mode == TF_SHADOW;
		if (v->spaces)
			return; /* its address space decides, before the entry */
	}
	/* Two requests in one: back where it was. */
	if (v->watched == (mode == TF_SHADOW))
		return;
	if (mode == TF_SHADOW)
		vcpu_sync_regs(v); /* from the VMCB, which has the guest's own until the load */
	else if (v->shadow)
		svm_to_nested(v);
	svm_watch(v, mode == TF_SHADOW);
	tf_vcpu_set_mode(v->mmu, mode);
	vcpu_forget_insns(v);
	v->flush = true;
	v->switch_tsc = __atomic_load_n(&vm.switch_tsc, __ATOMIC_RELAXED);
}

void svm_switched(struct vcpu *v)
{
	struct switch_stats *s = &v->switches;
	uint64_t cycles = x86_rdtsc() - v->switch_tsc;

	v->switch_tsc = 0;
	__atomic_store_n(&s->count, s->count + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&s->cycles, s->cycles + cycles, __ATOMIC_RELAXED);
	if (cycles > s->cycles_max)
		__atomic_store_n(&s->cycles_max, cycles, __ATOMIC_RELAXED);
	if (vm.automatic)
		tf_choice_switched(v->mmu, cycles);
}
