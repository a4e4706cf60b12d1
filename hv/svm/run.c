/* The life of a vCPU: requests, pending events, entry, exit, and sleep.
 *
 * The hypervisor runs with GIF clear (and RFLAGS.IF set) from the first entry on: #VMEXIT clears
 * GIF, VMRUN sets it. Interrupts are taken only in window(), after an INTR exit, or while it
 * sleeps; an exit of any other kind needs no STGI, CLGI, STI or CLI at all.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/cmdline.h"
#include "core/report.h"
#include "core/vm.h"
#include "cpu/apic.h"
#include "cpu/x86.h"
#include "svm/svm.h"

/* Called from cpu/trap.S. */
void interrupt_timer(void);
void interrupt_kick(void);
void interrupt_com1(void);

/* vCPU 0's CPU only: host TSC; 0: never. */
static uint64_t next_report, next_regroup, next_switch;

void interrupt_timer(void)
{
	struct vcpu *v = vcpu_this();

	v->timer_fired = true;
	v->armed = 0;
	apic_eoi();
}

void interrupt_kick(void)
{
	apic_eoi();
}

void interrupt_com1(void)
{
	__atomic_store_n(&vm.com1_irq, 1, __ATOMIC_RELEASE);
	apic_eoi();
}

/* Let pending interrupts in. */
static void window(void)
{
	__asm__ volatile("stgi\n\tnop\n\tclgi" ::: "memory");
}

/* Of two times, of which 0 is never. */
static uint64_t sooner(uint64_t a, uint64_t b)
{
	return !a || (b && b < a) ? b : a;
}

/* A test aid: from the grouping that was chosen to one group for all, and back. */
static void regroup(void)
{
	bool merged = tf_grouping(vm.mmu) == TF_GROUPS_ONE;
	enum tf_status s = tf_regroup(vm.mmu, merged ? cmdline.groups : TF_GROUPS_ONE);

	if (s != TF_OK && s != TF_E_NOMEM) /* then nothing has changed: next time */
		vm_fail("changing the groups: %s", tf_status_text(s));
}

void svm_timer_arm(struct vcpu *v)
{
	uint64_t at = v->guest_deadline;

	if (v->index == 0) {
		at = sooner(at, next_report);
		at = sooner(at, next_regroup);
		at = sooner(at, next_switch);
	}
	v->meter.armed = v->meter.timer && at != sooner(at, v->meter.timer);
	at = sooner(at, v->meter.timer);
	if (at == v->armed)
		return;
	v->armed = at;
	apic_timer_at(at);
}

static void timer_work(struct vcpu *v)
{
	uint64_t now = x86_rdtsc();

	v->timer_fired = false;
	if (v->guest_deadline && now >= v->guest_deadline) {
		v->guest_deadline = 0;
		lapic_timer_check(&v->apic);
	}
	if (v->index == 0 && now >= next_report) {
		next_report = now + (uint64_t)vm.tsc_khz * 1000;
		report_counters();
	}
	if (v->index == 0 && next_regroup && now >= next_regroup) {
		next_regroup = now + (uint64_t)vm.tsc_khz * cmdline.regroup_ms;
		regroup();
	}
	if (v->index == 0 && next_switch && now >= next_switch) {
		next_switch = now + (uint64_t)vm.tsc_khz * cmdline.switch_ms;
		if (vm.mode_wanted == TF_SHADOW)
			svm_switch(TF_SHADOW, TF_NESTED);
		else
			svm_switch(TF_NESTED, TF_SHADOW);
	}
	svm_timer_arm(v);
}

static void take_init(struct vcpu *v)
{
	lapic_init_reset(&v->apic);
	v->state = VCPU_WAIT_SIPI;
	v->event = 0;
	v->event_later = 0;
	v->nmi_pending = false;
}

static void take_requests(struct vcpu *v)
{
	uint32_t r = __atomic_exchange_n(&v->requests, 0, __ATOMIC_SEQ_CST);

	if (r & REQ_STOP) {
		__atomic_store_n(&v->stopped, 1, __ATOMIC_RELEASE);
		vm_park();
	}
	if (r & REQ_FLUSH)
		v->flush = true;
	if (r & REQ_MODE)
		svm_take_mode(v);
	if (r & REQ_NMI)
		v->nmi_pending = true;
	if (r & REQ_INIT)
		take_init(v);
	if ((r & REQ_SIPI) && v->state == VCPU_WAIT_SIPI) {
		vcpu_reset(v, (uint8_t)v->sipi_vector);
		v->state = VCPU_RUNNING;
	}
}

static bool is_asleep(struct vcpu *v)
{
	if (v->state == VCPU_RUNNING)
		return false;
	if (v->state == VCPU_HALTED) {
		bool wakes = v->nmi_pending ||
			     ((v->vmcb->save.rflags & RFLAGS_IF) && lapic_pending(&v->apic) >= 0);

		if (wakes)
			v->state = VCPU_RUNNING;
		return !wakes;
	}
	return true;
}

static void pass_com1(struct vcpu *v)
{
	if (__atomic_load_n(&vm.com1_irq, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&vm.com1_irq, 0, __ATOMIC_ACQUIRE))
		ioapic_pulse(&vm.ioapic, 4, (int)v->index);
}

/* Until there is something to do: the CPU sleeps with interrupts open. Requests are looked at with
 * them closed, right before HLT. */
static void sleep(struct vcpu *v)
{
	uint64_t start = x86_rdtsc();

	if (vm.automatic)
		meter_sleep(v);
	x86_cli();
	x86_stgi();
	__atomic_store_n(&v->where, WHERE_IDLE, __ATOMIC_SEQ_CST);
	for (;;) {
		pass_com1(v);
		if (v->timer_fired)
			timer_work(v);
		take_requests(v);
		if (!is_asleep(v))
			break;
		__asm__ volatile("sti\n\thlt\n\tcli" ::: "memory");
	}
	x86_clgi();
	__atomic_store_n(&v->where, WHERE_HOST, __ATOMIC_SEQ_CST);
	x86_sti();
	v->exit_tsc += x86_rdtsc() - start; /* sleep is no work */
	if (v->switch_tsc)
		v->switch_tsc = x86_rdtsc();
	if (vm.automatic)
		meter_wake(v);
}

/* Set the VMCB up for the root that the engine wants. */
__attribute__((hot)) static void load_root(struct vcpu *v)
{
	struct tf_load load;

	if (v->spaces && !v->watched && tf_space_is_shadow(v->mmu, v->vmcb->save.cr3))
		svm_space_to_shadow(v);
	if (tf_vcpu_load(v->mmu, &load) != TF_OK)
		vm_fail("the machine has no memory left for the guest's tables");
	if (load.flush)
		v->flush = true;
	if (load.mode == TF_SHADOW) {
		if (!v->shadow)
			svm_to_shadow(v);
		v->vmcb->save.cr3 = load.root.v;
		return;
	}
	if (v->shadow)
		svm_to_nested(v);
	if (v->spaces && v->watched)
		svm_space_to_nested(v);
	v->vmcb->ctl.nested_cr3 = load.root.v;
}

/* Was the interrupt that is offered given to the entry as its event? */
static bool injects_virq(const struct vcpu *v)
{
	return v->virq >= 0 &&
	       v->vmcb->ctl.event_inj == (EVENT_VALID | EVENT_TYPE_INTR | (unsigned int)v->virq);
}

/* Choose what goes in with this entry. An interrupt is offered to the CPU as virtual interrupt with
 * its own vector: the guest takes it the moment it can, at once or later, without an exit.
 * (Injecting it as an event has no advantage, and QEMU 7.2 keeps such a vector as a pending
 * exception: when another thread stops the CPU right then, it is delivered twice.) */
__attribute__((hot)) static void load_event(struct vcpu *v)
{
	struct vmcb *b = v->vmcb;
	bool open = (b->save.rflags & RFLAGS_IF) && !(b->ctl.int_state & VMCB_INT_SHADOW);
	bool inject;
	int vector;

	if (!v->event && v->nmi_pending && !v->nmi_blocked) {
		v->nmi_pending = false;
		v->nmi_blocked = true;
		b->ctl.intercept1 |= INT1_IRET;
		v->event = EVENT_VALID | EVENT_TYPE_NMI | EXC_NMI;
	}
	if (!v->event && v->event_later && open) {
		v->event = v->event_later;
		v->event_later = 0;
	}
	vector = lapic_pending(&v->apic);
	if (vector >= 0)
		lapic_offer(&v->apic, (uint8_t)vector);
	lapic_enter(&v->apic, vector);
	inject = svm_virq_late && vector >= 0 && open && !v->event;
	b->ctl.event_inj =
		inject ? EVENT_VALID | EVENT_TYPE_INTR | (unsigned int)vector : v->event;
	b->ctl.int_ctl = V_INTR_MASKING | lapic_cr8(&v->apic);
	if (vector >= 0 && !inject)
		b->ctl.int_ctl |= V_IRQ | V_IGN_TPR | (uint64_t)(vector >> 4) << V_PRIO_SHIFT |
				  (uint64_t)vector << V_VECTOR_SHIFT;
	v->virq = vector;
	v->event = 0;
}

/* Take over what the exit says of events: an injected one that did not get through, an offered
 * one that did. */
__attribute__((hot)) static void unload_event(struct vcpu *v)
{
	struct vmcb_control *c = &v->vmcb->ctl;
	uint64_t info = c->exit_int_info;
	uint64_t type = info & EVENT_TYPE_MASK;

	/* QEMU calls a virtual interrupt whose delivery made the exit an exception. None has such a
	 * vector (and VMRUN would refuse to inject it). */
	if (type == EVENT_TYPE_EXC && (info & EVENT_VECTOR_MASK) > 31) {
		type = EVENT_TYPE_INTR;
		info = (info & ~(uint64_t)EVENT_TYPE_MASK) | EVENT_TYPE_INTR;
	}

	if (!(info & EVENT_VALID)) {
		info = 0;
	} else if (type == EVENT_TYPE_SOFT ||
		   (type == EVENT_TYPE_EXC && ((info & EVENT_VECTOR_MASK) == EXC_BP ||
					       (info & EVENT_VECTOR_MASK) == EXC_BP + 1))) {
		info = 0; /* the instruction runs again */
	}
	if (v->virq >= 0) {
		/* One whose delivery made the exit is offered again, not injected (load_event says
		 * why): nothing of it has reached the guest. Some CPUs leave V_IRQ set then. */
		bool cut = info && type == EVENT_TYPE_INTR &&
			   (int)(info & EVENT_VECTOR_MASK) == v->virq;

		if (cut)
			info = 0;
		lapic_offered(&v->apic, (uint8_t)v->virq, !cut && !(c->int_ctl & V_IRQ));
		v->virq = -1;
	}
	v->event = info;
	lapic_exit(&v->apic, (uint8_t)(c->int_ctl & V_TPR_MASK));
}

/* Forget the guest's translations: an ASID that was never used has none. Only when they run out is
 * the TLB flushed (APM vol. 2, 15.16). The vCPU has its CPU, and so all the CPU's ASIDs, for
 * itself. */
static void new_asid(struct vcpu *v)
{
	v->flush = false;
	if (++v->vmcb->ctl.asid < svm_asids)
		return;
	v->vmcb->ctl.asid = 1;
	v->vmcb->ctl.tlb_control = TLB_FLUSH_ALL;
}

/* Run with the guest's own choice of the CR4 bits that make no difference to us. A world switch
 * that changes one of them loses more than it has to on some machines: a CPU need not, and
 * emulators do, flush once more for each. */
static void follow_cr4(struct vcpu *v)
{
	const uint64_t bits = CR4_PSE | CR4_PGE | CR4_SMEP | CR4_SMAP;
	uint64_t want = (v->host_cr4 & ~bits) | (v->vmcb->save.cr4 & bits);

	if (want == v->host_cr4)
		return;
	v->host_cr4 = want;
	x86_write_cr4(want);
}

__attribute__((hot)) static void enter(struct vcpu *v)
{
	struct vmcb *b = v->vmcb;
	uint64_t now, exit_tsc;

	b->ctl.tlb_control = TLB_KEEP;
	if (v->flush) {
		new_asid(v);
		if (v->switch_tsc)
			svm_switched(v);
	}
	follow_cr4(v);
	b->save.rax = v->gpr[REG_RAX];
	b->save.rsp = v->gpr[REG_RSP];
	now = x86_rdtsc();
	v->stats.count[v->kind]++;
	v->stats.cycles[v->kind] += now - v->exit_tsc;
	if (v->gated) {
		v->gated = false;
		v->meter.gates++;
		v->meter.gate_cycles += now - v->exit_tsc;
	}
	if (v->meter.own)
		meter_own_exit(v, now - v->exit_tsc);
	svm_enter(v->gpr, v->vmcb_pa);
	__atomic_store_n(&v->where, WHERE_HOST, __ATOMIC_RELEASE);
	exit_tsc = x86_rdtsc();
	v->guest_cycles += exit_tsc - now;
	v->mode_cycles[v->shadow] += exit_tsc - v->exit_tsc;
	v->exit_tsc = exit_tsc;
	v->gpr[REG_RAX] = b->save.rax;
	v->gpr[REG_RSP] = b->save.rsp;
}

void svm_once(struct vcpu *v)
{
	load_root(v);
	load_event(v);
	enter(v);
	unload_event(v);
}

__attribute__((hot)) void svm_run(struct vcpu *v)
{
	x86_clgi();
	x86_sti();
	v->exit_tsc = x86_rdtsc();
	v->kind = KIND_OTHER;
	if (v->index == 0) {
		next_report = v->exit_tsc + (uint64_t)vm.tsc_khz * 1000;
		if (cmdline.regroup_ms)
			next_regroup = v->exit_tsc + (uint64_t)vm.tsc_khz * cmdline.regroup_ms;
		if (cmdline.switch_ms)
			next_switch = v->exit_tsc + (uint64_t)vm.tsc_khz * cmdline.switch_ms;
		svm_timer_arm(v);
	}
	if (vm.automatic)
		meter_start(v);
	for (;;) {
		if (v->timer_fired)
			timer_work(v);
		pass_com1(v);
		if (__atomic_load_n(&v->requests, __ATOMIC_RELAXED))
			take_requests(v);
		if (is_asleep(v))
			sleep(v);
		if (v->meter.begins)
			meter_enter(v);
		load_root(v);
		load_event(v);
		__atomic_store_n(&v->where, WHERE_GUEST, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST)) {
			/* Undo: nothing was given to the CPU yet. */
			__atomic_store_n(&v->where, WHERE_HOST, __ATOMIC_RELEASE);
			if (!injects_virq(v))
				v->event = v->vmcb->ctl.event_inj;
			if (v->virq >= 0)
				lapic_offered(&v->apic, (uint8_t)v->virq, false);
			v->virq = -1;
			lapic_exit(&v->apic, lapic_cr8(&v->apic));
			continue;
		}
		enter(v);
		unload_event(v);
		if (v->vmcb->ctl.exit_code == EXIT_INTR) {
			v->kind = KIND_INTR;
			window();
			if (v->timer_fired && v->meter.armed)
				meter_timed(v);
		} else if (v->vmcb->ctl.exit_code == EXIT_NMI) {
			v->kind = KIND_NMI;
			window(); /* it stays pending, and no entry would succeed, until it is let
				     in */
		} else {
			svm_exit(v);
		}
		if (vm.automatic && vcpu_awake(v) >= v->meter.look)
			meter_exit(v);
	}
}
