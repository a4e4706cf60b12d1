/* The mode of a vCPU, and its change while the guest runs.
 *
 * In shadow mode the vCPU is *watched*: writes of CR3 and CR4 exit, so that the engine knows the
 * guest's registers. And where the engine then gives it a shadow root, nested paging is off, and
 * reads of CR3, page faults and TLB instructions exit as well. (It gives a nested one to code
 * without paging or with legacy paging, and, where each address space has a mode of its own, to
 * those that have nested mode.) In nested mode the guest's registers are its own.
 *
 * Where each address space has a mode of its own, a vCPU is watched only while it runs one that has
 * shadow mode. It goes over when an exit finds it there: most often the nested fault at the gate
 * that the engine keeps closed for this (engine/modes/gate.c).
 *
 * A change is asked for by a request; each vCPU takes it by itself before its next entry. It, and
 * not the asker, tells the engine, so that nothing can come between that and telling the engine its
 * registers. Nobody waits for anybody: vCPUs in different modes may run side by side. The asker
 * itself goes over at its next exit, for the one at which it asked was long enough. Nothing that
 * can wait is done in the exit at which a vCPU goes over.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/cmdline.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "virt/virt.h"

void virt_intercept(struct vcpu *v)
{
	uint8_t wanted = vm.watch_cr4 ? INTERCEPT_CR4_WRITE : 0;

	if (v->watched)
		wanted |= INTERCEPT_CR3_WRITE | INTERCEPT_CR4_WRITE;
	if (v->shadow)
		wanted |= INTERCEPT_CR3_READ | INTERCEPT_PF | INTERCEPT_TLB;
	if (cmdline.recheck && !v->lets_int)
		wanted |= INTERCEPT_INT;
	wanted |= meter_intercepts(v);
	if (wanted == v->intercepts)
		return;
	v->intercepts = wanted;
	v->stale = true;
}

void virt_watch(struct vcpu *v, bool on)
{
	v->watched = on;
	virt_intercept(v);
}

static void to_root(struct vcpu *v, bool shadow)
{
	meter_root(v);
	v->shadow = shadow;
	v->stale = true;
	v->flush |= TF_FLUSH_LINEAR;
	virt_intercept(v);
}

void virt_to_shadow(struct vcpu *v)
{
	HV_ASSERT(v->watched);
	to_root(v, true);
}

void virt_to_nested(struct vcpu *v)
{
	to_root(v, false);
}

void virt_switch(enum tf_mode from, enum tf_mode to)
{
	uint32_t now = from;

	__atomic_store_n(&vm.switch_tsc, x86_rdtsc(), __ATOMIC_RELAXED);
	if (!__atomic_compare_exchange_n(&vm.mode_wanted, &now, to, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return;
	__atomic_fetch_add(&vm.switch_count, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < vm.cpus; i++)
		if (vm.vcpu[i] == vcpu_this())
			vm.vcpu[i]->goes_over = true;
		else
			vcpu_request(vm.vcpu[i], REQ_MODE);
}

void virt_space_to_shadow(struct vcpu *v)
{
	vcpu_sync_regs(v);
	virt_watch(v, true);
	tf_vcpu_set_mode(v->mmu, TF_SHADOW);
	vcpu_forget_insns(v);
	v->space_entries++;
	v->gated = true;
}

void virt_space_to_nested(struct vcpu *v)
{
	virt_watch(v, false);
	tf_vcpu_set_mode(v->mmu, TF_NESTED);
	vcpu_forget_insns(v);
}

void virt_go_over(struct vcpu *v, enum tf_mode mode)
{
	if (mode == TF_SHADOW)
		vcpu_sync_regs(v);
	else if (v->shadow)
		virt_to_nested(v);
	virt_watch(v, mode == TF_SHADOW);
	tf_vcpu_set_mode(v->mmu, mode);
	vcpu_forget_insns(v);
	v->flush |= TF_FLUSH_LINEAR;
}

void virt_take_mode(struct vcpu *v)
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
	virt_go_over(v, mode);
	v->switch_tsc = __atomic_load_n(&vm.switch_tsc, __ATOMIC_RELAXED);
}

void virt_switched(struct vcpu *v)
{
	struct switch_stats *s = &v->switches;
	uint64_t now = x86_rdtsc(), cycles = now - v->switch_tsc, stop = now - v->exit_tsc;
	uint32_t *stops = &s->stops[v->watched ? TF_SHADOW : TF_NESTED][spread_bin(stop)];

	v->switch_tsc = 0;
	__atomic_store_n(stops, *stops + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&s->count, s->count + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&s->cycles, s->cycles + cycles, __ATOMIC_RELAXED);
	__atomic_store_n(&s->stop_cycles, s->stop_cycles + stop, __ATOMIC_RELAXED);
	if (cycles > s->cycles_max)
		__atomic_store_n(&s->cycles_max, cycles, __ATOMIC_RELAXED);
	if (vm.automatic)
		tf_choice_switched(v->mmu, stop);
}
