/* The virtual local APICs of one guest: registers, priorities, IPIs, timer.
 *
 * Owns the state of each local APIC (xAPIC by MMIO, x2APIC by MSR; AMD APM vol. 2, chapter 16;
 *Intel SDM vol. 3, chapter 11). Knows nothing of SVM: the hypervisor's run loop calls in, and what
 *must happen outside (kick a CPU, arm the real timer, start a vCPU) goes through struct lapic_ops.
 *
 * Locks: none. irr and tmr are set by any CPU with atomic or; all else of a struct lapic is written
 * only by the CPU that runs its vCPU, and the few fields that senders read (base, svr, ldr, dfr)
 *are single aligned words. One struct fits a few cache lines, so that an exit touches one page.
 *
 * What the run loop does with it, on the vCPU's own CPU:
 *
 *	after the exit:   if an offered V_IRQ was taken: lapic_accept(l, vector)
 *	                  lapic_exit(l, V_TPR)
 *	...               handle the exit: lapic_msr_*, lapic_mmio_*, lapic_timer_check()
 *	before entering:  lapic_timer_check(l);             when the real timer fired, or always
 *	                  v = lapic_pending(l)              -1: none
 *	                  inject v (EVENTINJ) and lapic_accept(l, v), or offer it as V_IRQ
 *	                  lapic_enter(l, offered or -1);    V_TPR = lapic_cr8(l)
 *	HLT:              wake when lapic_pending(l) >= 0
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_LAPIC_H
#define HV_DEV_LAPIC_H

#include <twofold/types.h>

#define LAPIC_DEFAULT_BASE UINT64_C(0xfee00000)

#define MSR_APIC_BASE	 0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST	 0x8ffu
#define MSR_KVM_PV_EOI	 0x4b564d04u

/* IA32_APIC_BASE bits. */
#define APIC_BASE_BSP (UINT64_C(1) << 8)
#define APIC_BASE_X2  (UINT64_C(1) << 10)
#define APIC_BASE_EN  (UINT64_C(1) << 11)

/* What the local APICs ask of the hypervisor. None may call back into this module, but eoi (into
 * the IOAPIC, which may post). */
struct lapic_ops {
	/* The guest's TSC (host TSC plus the vCPU's offset), asked on the vCPU's own CPU. */
	uint64_t (*now)(void *ctx, unsigned int vcpu);
	/* Make the CPU of this vCPU call lapic_timer_check() when the guest's TSC reaches
	 * `deadline`; 0: no longer. On the vCPU's own CPU. May be NULL (then poll
	 * lapic_timer_check). */
	void (*timer_arm)(void *ctx, unsigned int vcpu, uint64_t deadline);
	/* Something was posted for the vCPU: leave the guest, or leave HLT, and look. Any CPU; does
	 * not wait. Never called for the sender itself. */
	void (*kick)(void *ctx, unsigned int vcpu);
	/* Latch an NMI; an INIT; a start-up at vector << 12 (to be ignored unless the vCPU waits
	 * for it after an INIT). Any CPU; each also has to kick the vCPU. The vCPU that takes an
	 * INIT calls lapic_init_reset() on its own CPU. */
	void (*nmi)(void *ctx, unsigned int vcpu);
	void (*init)(void *ctx, unsigned int vcpu);
	void (*sipi)(void *ctx, unsigned int vcpu, uint8_t vector);
	/* End of a level-triggered interrupt: tell the IOAPICs. */
	void (*eoi)(void *ctx, uint8_t vector);
	/* Guest memory, for the paravirtual EOI word; false: no memory there. May be NULL: the
	 * paravirtual EOI MSR then does not exist. */
	bool (*mem_read)(void *ctx, uint64_t gpa, void *to, size_t n);
	bool (*mem_write)(void *ctx, uint64_t gpa, const void *from, size_t n);
};

struct lapic;

#define LAPIC_IDS 256u /* APIC ids are below it */

/* All local APICs of the VM, by vCPU and by APIC id. Set up before any vCPU runs, constant after.
 */
struct lapic_bus {
	const struct lapic_ops *ops;
	void *ctx;
	unsigned int count;
	struct lapic *cpu[TF_MAX_VCPUS];
	struct lapic *by_id[LAPIC_IDS]; /* NULL: nobody has that id */
};

enum {
	LAPIC_LVT_TIMER,
	LAPIC_LVT_THERMAL,
	LAPIC_LVT_PERF,
	LAPIC_LVT_LINT0,
	LAPIC_LVT_LINT1,
	LAPIC_LVT_ERROR,
	LAPIC_LVTS
};

struct lapic {
	/* Set by any CPU (atomic or), cleared by the own CPU (atomic and). */
	uint64_t irr[4];
	uint64_t tmr[4]; /* 1: level-triggered */

	/* Written by the own CPU only. */
	uint64_t isr[4];
	uint64_t base;	      /* IA32_APIC_BASE */
	uint64_t deadline;    /* guest TSC at which the timer fires; 0: not armed */
	uint64_t timer_start; /* guest TSC at which the current count began */
	uint64_t pv_eoi;      /* MSR value: GPA | 1; 0: off */
	uint64_t icr;
	struct lapic_bus *bus;
	uint32_t index; /* the vCPU */
	uint32_t id;	/* the APIC id, fixed */
	uint32_t tpr;	/* 8 bits */
	uint32_t svr;
	uint32_t ldr, dfr; /* of xAPIC mode; x2APIC's LDR is computed */
	uint32_t esr, esr_latent;
	uint32_t timer_initial;
	uint32_t timer_divide;
	uint32_t lvt[LAPIC_LVTS];
	bool pv_eoi_armed; /* the guest's word says "no EOI needed" */
};

/* Power-on state: xAPIC mode, enabled in the base MSR, software-disabled; BSP if the index is 0.
 * Also puts it on the bus. id: below LAPIC_IDS, and nobody else's. */
void lapic_create(struct lapic *l, struct lapic_bus *bus, unsigned int index, unsigned int id);
/* What INIT does: as power-on, but the base MSR (mode included) stays. Own CPU. Pending interrupts
 * are lost, the timer is off. */
void lapic_init_reset(struct lapic *l);

/* ---- the run loop's calls (own CPU) ---- */

/* The highest pending vector that the processor priority lets through, or -1. */
int lapic_pending(const struct lapic *l);
/* The guest takes this vector now (or has taken it): IRR to ISR. */
void lapic_accept(struct lapic *l, uint8_t vector);
/* This vector is offered to the CPU, which gives it to the guest without an exit: it leaves IRR, so
 * that one posted from now on is another one and not lost in it. After the exit: it was taken (it
 * is in ISR) or not (it is in IRR again). */
void lapic_offer(struct lapic *l, uint8_t vector);
void lapic_offered(struct lapic *l, uint8_t vector, bool taken);
/* After each exit: take over the guest's CR8 and, if it was armed, the paravirtual EOI. */
void lapic_exit(struct lapic *l, uint8_t cr8);
/* Before each entry: arm the paravirtual EOI where that is right. offered: the vector that is
 * offered to the hardware (V_IRQ) but not accepted yet; -1: none. */
void lapic_enter(struct lapic *l, int offered);
/* The timer's deadline may have passed: post it. Returns whether it had. */
bool lapic_timer_check(struct lapic *l);
/* The guest's TSC has been set ahead by so much (modulo 2^64), after it has. */
void lapic_timer_tsc_set(struct lapic *l, uint64_t by);

static inline uint8_t lapic_cr8(const struct lapic *l)
{
	return (uint8_t)(l->tpr >> 4);
}

static inline bool lapic_is_x2(const struct lapic *l)
{
	return (l->base & (APIC_BASE_EN | APIC_BASE_X2)) == (APIC_BASE_EN | APIC_BASE_X2);
}

/* Is this GPA in the register page? (False in x2APIC mode and when disabled: plain "no device".) */
static inline bool lapic_has_mmio(const struct lapic *l, uint64_t gpa)
{
	return (l->base & (APIC_BASE_EN | APIC_BASE_X2)) == APIC_BASE_EN &&
	       gpa >> TF_PAGE_SHIFT == LAPIC_DEFAULT_BASE >> TF_PAGE_SHIFT;
}

/* ---- the guest's accesses (own CPU) ---- */

/* Registers by MMIO; offset within the page. Any offset, any value: never fails. The access width
 * is the caller's business: narrower reads take the low bytes of the register at offset & ~15. */
uint32_t lapic_mmio_read(struct lapic *l, unsigned int offset);
void lapic_mmio_write(struct lapic *l, unsigned int offset, uint32_t value);

/* MSR_APIC_BASE, MSR_TSC_DEADLINE, the x2APIC range, MSR_KVM_PV_EOI. false: #GP. */
bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value);
bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value);

/* ---- from any CPU ---- */

enum lapic_delivery {
	LAPIC_FIXED = 0,
	LAPIC_LOWEST = 1,
	LAPIC_SMI = 2, /* not delivered */
	LAPIC_NMI = 4,
	LAPIC_INIT = 5,
	LAPIC_SIPI = 6,
	LAPIC_EXTINT = 7 /* not delivered */
};

struct lapic_msg {
	uint32_t dest;
	uint8_t vector;
	uint8_t delivery; /* enum lapic_delivery */
	bool logical;
	bool level;
};

/* Deliver a message (from the IOAPIC, or an ICR). sender: the vCPU on whose CPU we are (it is not
 * kicked), or -1. Returns how many local APICs took it. */
unsigned int lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *m, int sender);

/* Post one vector to one local APIC: sets IRR, kicks unless l's vCPU is the sender. False: the APIC
 * is software-disabled, or the vector is below 16. */
bool lapic_post(struct lapic *l, uint8_t vector, bool level, int sender);

/* KVM's send-IPI hypercall (number 10): a1, a2 are the bitmap, a3 the lowest APIC id, a4 the ICR's
 * low word. Returns what goes to RAX: how many were delivered, or a negative errno. */
int64_t lapic_kvm_ipi(struct lapic_bus *bus, unsigned int sender, uint64_t a1, uint64_t a2,
		      uint64_t a3, uint64_t a4);

#endif
