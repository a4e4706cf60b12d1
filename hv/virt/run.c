/* The life of a vCPU: requests, pending events, entry, exit, and sleep.
 *
 * From the first entry on the host's interrupts are shut (virt/vendor.h). They are taken only in a
 * window, after an exit that one of them made, or while the vCPU sleeps; an exit of any other kind
 * does nothing about them.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/cmdline.h"
#include "core/console.h"
#include "core/report.h"
#include "core/vm.h"
#include "core/walk.h"
#include "cpu/apic.h"
#include "cpu/x86.h"
#include "virt/undo.h"
#include "virt/virt.h"

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

void virt_timer_arm(struct vcpu *v)
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
	if (!vendor->has_timer || __atomic_load_n(&v->where, __ATOMIC_RELAXED) == WHERE_IDLE)
		apic_timer_at(at);
}

/* Each second, counters or, where they have just been sent on a slow line, a sign of life. A real
 * line takes a fifth of a second for counters: they shall not take more than a twentieth of the
 * CPU. */
static void report(uint64_t now)
{
	static uint64_t next_counters;

	if (now < next_counters) {
		report_alive();
	} else {
		report_counters();
		next_counters = x86_rdtsc() + 20 * (x86_rdtsc() - now);
	}
	next_report = now + (uint64_t)vm.tsc_khz * 1000;
}

static void timer_work(struct vcpu *v)
{
	uint64_t now = x86_rdtsc();

	v->timer_fired = false;
	if (v->guest_deadline && now >= v->guest_deadline) {
		v->guest_deadline = 0;
		lapic_timer_check(&v->apic);
	}
	if (v->index == 0 && now >= next_report)
		report(now);
	if (v->index == 0 && next_regroup && now >= next_regroup) {
		next_regroup = now + (uint64_t)vm.tsc_khz * cmdline.regroup_ms;
		regroup();
	}
	if (v->index == 0 && next_switch && now >= next_switch) {
		next_switch = now + (uint64_t)vm.tsc_khz * cmdline.switch_ms;
		if (vm.mode_wanted == TF_SHADOW)
			virt_switch(TF_SHADOW, TF_NESTED);
		else
			virt_switch(TF_NESTED, TF_SHADOW);
	}
	virt_timer_arm(v);
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
	if (r & REQ_FLUSH_LINEAR)
		v->flush |= TF_FLUSH_LINEAR;
	if (r & REQ_FLUSH_NESTED)
		v->flush |= TF_FLUSH_NESTED;
	if (r & REQ_MODE)
		virt_take_mode(v);
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
			     ((v->guest.rflags & RFLAGS_IF) && lapic_pending(&v->apic) >= 0);

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
	vendor->open();
	__atomic_store_n(&v->where, WHERE_IDLE, __ATOMIC_SEQ_CST);
	if (vendor->has_timer)
		apic_timer_at(v->armed);
	for (;;) {
		pass_com1(v);
		if (v->timer_fired)
			timer_work(v);
		take_requests(v);
		if (!is_asleep(v))
			break;
		if (console_has_more()) {
			console_send_some();
			continue;
		}
		__asm__ volatile("sti\n\thlt\n\tcli" ::: "memory");
	}
	__atomic_store_n(&v->where, WHERE_HOST, __ATOMIC_SEQ_CST);
	if (vendor->has_timer)
		apic_timer_at(0);
	vendor->shut();
	v->exit_tsc += x86_rdtsc() - start; /* sleep is no work */
	if (v->switch_tsc)
		v->switch_tsc = x86_rdtsc();
	if (vm.automatic)
		meter_wake(v);
}

/* Ask the engine for the root. */
__attribute__((hot)) static void load_root(struct vcpu *v)
{
	struct tf_load load;

	if (v->spaces && !v->watched && tf_space_is_shadow(v->mmu, v->guest.cr3))
		virt_space_to_shadow(v);
	if (tf_vcpu_load(v->mmu, &load) != TF_OK)
		vm_fail("the machine has no memory left for the guest's tables");
	v->flush |= load.flush;
	v->root = load.root.v;
	if (load.switched && !v->switch_tsc)
		v->switch_tsc = v->exit_tsc;
	if (load.mode == TF_SHADOW) {
		if (!v->shadow)
			virt_to_shadow(v);
		return;
	}
	if (v->shadow)
		virt_to_nested(v);
	if (v->spaces && v->watched)
		virt_space_to_nested(v);
}

/* An interrupt has to wait for the guest's next instruction, and the CPU would not: it is offered
 * at the next exit, which a HLT makes by itself. */
static void exit_soon(struct vcpu *v)
{
	uint64_t soon = x86_rdtsc() + vm.tsc_khz / 5; /* 0.2 ms: some entries under an emulator */

	if (v->armed && v->armed < soon)
		return;
	v->armed = soon;
	apic_timer_at(soon);
}

/* Choose what goes in with this entry. */
__attribute__((hot)) static void load_event(struct vcpu *v)
{
	int vector;

	if (!v->event && v->nmi_pending && !v->nmi_blocked) {
		v->nmi_pending = false;
		v->nmi_blocked = true;
		vendor->nmi_watch(v);
		v->event = EVENT_VALID | EVENT_TYPE_NMI | EXC_NMI;
	}
	if (!v->event && v->event_later && guest_takes_interrupts(&v->guest)) {
		v->event = v->event_later;
		v->event_later = 0;
	}
	vector = lapic_pending(&v->apic);
	if (vector >= 0 && v->guest.int_shadow && vm.loses_shadow) {
		exit_soon(v);
		vector = -1;
	}
	if (vector >= 0)
		lapic_offer(&v->apic, (uint8_t)vector);
	lapic_enter(&v->apic, vector);
	v->virq = vector;
}

/* Take over what the exit says of events: an injected one that did not get through, an offered
 * one that did. */
__attribute__((hot)) static void unload_event(struct vcpu *v)
{
	v->event = v->exit.event;
	if (v->virq >= 0) {
		lapic_offered(&v->apic, (uint8_t)v->virq, v->exit.taken);
		v->virq = -1;
	}
	lapic_exit(&v->apic, v->exit.cr8);
}

__attribute__((hot)) static void enter(struct vcpu *v)
{
	uint64_t now, exit_tsc;

	if (v->flush && v->switch_tsc)
		virt_switched(v);
	vendor->prepare(v);
	now = x86_rdtsc();
	v->stats.count[v->kind]++;
	v->stats.cycles[v->kind] += now - v->exit_tsc;
	if (v->meter.source)
		meter_entry(v, now - v->exit_tsc);
	vendor->enter(v);
	__atomic_store_n(&v->where, WHERE_HOST, __ATOMIC_RELEASE);
	exit_tsc = x86_rdtsc();
	v->guest_cycles += exit_tsc - now;
	v->mode_cycles[v->shadow] += exit_tsc - v->exit_tsc;
	v->exit_tsc = exit_tsc;
	vendor->leave(v);
	if (vm.loses_rip)
		undo_delivery(v);
	unload_event(v);
}

void virt_once(struct vcpu *v)
{
	load_root(v);
	load_event(v);
	enter(v);
}

/* Is this exit the one at which it goes over to the mode that it asked for? */
static bool takes_over(struct vcpu *v)
{
	if (!v->goes_over)
		return false;
	v->goes_over = false;
	vcpu_request(v, REQ_MODE);
	return true;
}

__attribute__((hot)) void virt_run(struct vcpu *v)
{
	bool stops = false;

	vendor->shut();
	v->exit_tsc = x86_rdtsc();
	v->kind = KIND_OTHER;
	if (v->index == 0) {
		next_report = v->exit_tsc + (uint64_t)vm.tsc_khz * 1000;
		if (cmdline.regroup_ms)
			next_regroup = v->exit_tsc + (uint64_t)vm.tsc_khz * cmdline.regroup_ms;
		if (cmdline.switch_ms)
			next_switch = v->exit_tsc + (uint64_t)vm.tsc_khz * cmdline.switch_ms;
		virt_timer_arm(v);
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
		if ((v->meter.tells || console_has_more()) && !v->switch_tsc && !stops)
			meter_send(v); /* not while it changes its mode */
		load_root(v);
		if (v->meter.begins) {
			/* Of the root that it goes to, and not of the one that it comes from. */
			meter_enter(v);
			load_root(v);
		}
		load_event(v);
		__atomic_store_n(&v->where, WHERE_GUEST, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST)) {
			/* Undo: nothing was given to the CPU yet. */
			__atomic_store_n(&v->where, WHERE_HOST, __ATOMIC_RELEASE);
			if (v->virq >= 0)
				lapic_offered(&v->apic, (uint8_t)v->virq, false);
			v->virq = -1;
			lapic_exit(&v->apic, lapic_cr8(&v->apic));
			continue;
		}
		enter(v);
		stops = takes_over(v);
		virt_exit(v);
		if (v->kind == KIND_INTR && v->timer_fired && v->meter.armed)
			meter_timed(v);
		if (vm.automatic && vcpu_awake(v) >= v->meter.look &&
		    !(__atomic_load_n(&v->requests, __ATOMIC_RELAXED) & REQ_MODE))
			meter_exit(v);
		if (walk.wanted)
			walk_exit(v);
	}
}
