/* An entry's preparation and an exit's taking over: registers, events, roots, flushes, the timer.
 *
 * What the VMCS holds is kept in struct vmx too, and a field is written only if it changes. SDM
 * vol. 3, 25.6, 27.3, 27.6, 28.3, 29.3, 29.4.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/log.h"
#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "decode/decode.h"
#include "virt/event.h"
#include "vmx/convert.h"
#include "vmx/vmx.h"

#define CR0_GUESTS (CR0_TS | CR0_MP) /* bits that the guest changes without an exit */

static inline void put(const struct vmx *x, enum vmcs_field field, uint64_t *has, uint64_t value)
{
	if (*has == value && x->loaded)
		return;
	*has = value;
	vmx_write(field, value);
}

static inline void put32(const struct vmx *x, enum vmcs_field field, uint32_t *has, uint32_t value)
{
	if (*has == value && x->loaded)
		return;
	*has = value;
	vmx_write(field, value);
}

/* ---- before an entry ---- */

/* Code without paging, which this CPU runs with paging only (vmx/flat.c). */
static bool is_flat(const struct vcpu *v)
{
	return !vmx_caps.has_unrestricted && !(v->guest.cr0 & CR0_PG);
}

static void prepare_controls(const struct vcpu *v, struct vmx *x)
{
	uint32_t proc = PROC_TSC_OFFSETTING | PROC_HLT | PROC_MWAIT | PROC_RDPMC | PROC_CR8_LOAD |
			PROC_CR8_STORE | PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_MONITOR |
			PROC_SECONDARY;
	uint32_t proc2 = PROC2_VPID | PROC2_WBINVD | PROC2_RDTSCP | PROC2_INVPCID;
	uint32_t exceptions = 1u << EXC_MC;

	if ((v->intercepts & INTERCEPT_CR3_WRITE) || x->flat)
		proc |= PROC_CR3_LOAD;
	if ((v->intercepts & INTERCEPT_CR3_READ) || x->flat)
		proc |= PROC_CR3_STORE;
	if (v->intercepts & INTERCEPT_TLB)
		proc |= PROC_INVLPG;
	if (v->intercepts & INTERCEPT_PF)
		exceptions |= 1u << EXC_PF;
	if (!v->shadow)
		proc2 |= PROC2_EPT | PROC2_UNRESTRICTED_GUEST;
	/* The windows are opened by prepare_event(). */
	x->proc_always = vmx_control(proc, vmx_caps.proc);
	put32(x, VMCS_PROC2_CONTROLS, &x->proc2, vmx_control(proc2, vmx_caps.proc2));
	put32(x, VMCS_EXCEPTION_BITMAP, &x->exceptions, exceptions);
	put(x, VMCS_CR4_MASK, &x->cr4_mask,
	    (v->intercepts & INTERCEPT_CR4_WRITE) || x->flat ? UINT64_MAX
							     : ~cpuid_cr4_allowed(&vm.cpuid));
}

static uint64_t eptp_of(uint64_t root)
{
	return root | EPTP_WRITE_BACK | EPTP_4_LEVELS | (vmx_caps.has_ad ? EPTP_AD : 0);
}

static void prepare_nested_root(struct vcpu *v, struct vmx *x)
{
	uint64_t eptp = eptp_of(v->root);

	if (eptp == x->eptp && x->loaded)
		return;
	/* What it has of these tables from an earlier stay, nobody kept in step since. */
	if (eptp != x->eptp)
		v->flush |= TF_FLUSH_NESTED;
	x->eptp = eptp;
	vmx_write(VMCS_EPT_POINTER, eptp);
}

static void prepare_flush(struct vcpu *v, const struct vmx *x)
{
	if (v->flush & TF_FLUSH_LINEAR) {
		vmx_invvpid(INV_SINGLE_CONTEXT, (uint16_t)(v->index + 1));
		v->flushes[0]++;
	}
	/* (On a shadow root it is for when it comes back.) */
	if ((v->flush & TF_FLUSH_NESTED) && x->eptp) {
		vmx_invept(INV_SINGLE_CONTEXT, x->eptp);
		v->flushes[1]++;
	}
	v->flush = 0;
}

/* In legacy PAE paging the CPU takes the four upper entries from the VMCS, not from memory, when it
 * enters: where a write of a control register, which loads them, came to us and not to the CPU,
 * they are read here. One with reserved bits counts as absent: the entry would fail. */
static bool loads_pdptes(const struct vcpu *v, const struct vmx *x)
{
	const struct guest *g = &v->guest;

	if (v->shadow || !(g->cr0 & CR0_PG) || !(g->cr4 & CR4_PAE) || (g->efer & EFER_LMA))
		return false;
	return !x->loaded || (v->exit.reason == EXIT_CR && v->exit.cr.kind != INSN_CR_READ);
}

static void prepare_pdptes(const struct vcpu *v)
{
	const uint64_t reserved = ~UINT64_C(0) << cpuid_maxphyaddr(&vm.cpuid) | 0x1e6;
	uint64_t pdpte[4] = {0};

	if (tf_mem_read(vm.mmu, gpa(v->guest.cr3 & 0xffffffe0), pdpte, sizeof(pdpte)) != TF_OK)
		memset(pdpte, 0, sizeof(pdpte));
	for (unsigned int i = 0; i < 4; i++)
		vmx_write(VMCS_GUEST_PDPTE0 + 2 * i,
			  (pdpte[i] & 1) && !(pdpte[i] & reserved) ? pdpte[i] : 0);
}

/* What the guest runs with, behind what it reads. */
static void hardware_regs(const struct vcpu *v, const struct vmx *x, struct tf_regs *r)
{
	vcpu_read_regs(v, r);
	if (x->flat)
		vmx_flat_regs(r);
	r->cr0 |= CR0_NE;
	r->cr4 |= CR4_VMXE;
	if (!v->shadow)
		return;
	r->cr3 = v->root;
	r->efer |= EFER_NXE;
}

static void prepare_registers(struct vcpu *v, struct vmx *x)
{
	const struct guest *g = &v->guest;
	struct tf_regs r;

	hardware_regs(v, x, &r);
	if (loads_pdptes(v, x))
		prepare_pdptes(v);
	if (!v->shadow)
		prepare_nested_root(v, x);
	put(x, VMCS_GUEST_CR3, &x->cr3, r.cr3);
	put(x, VMCS_GUEST_CR0, &x->cr0, r.cr0);
	put(x, VMCS_CR0_READ_SHADOW, &x->cr0_shadow, g->cr0);
	put(x, VMCS_GUEST_CR4, &x->cr4, r.cr4);
	put(x, VMCS_CR4_READ_SHADOW, &x->cr4_shadow, g->cr4);
	put(x, VMCS_GUEST_EFER, &x->efer, r.efer);
	put32(x, VMCS_ENTRY_CONTROLS, &x->entry,
	      vmx_control(ENTRY_CTL_LOAD_DEBUG | ENTRY_CTL_LOAD_PAT | ENTRY_CTL_LOAD_EFER |
				  (g->efer & EFER_LMA ? ENTRY_CTL_IA32E : 0),
			  vmx_caps.entry));
	put(x, VMCS_GUEST_RIP, &x->rip, g->rip);
	put(x, VMCS_GUEST_RSP, &x->rsp, v->gpr[REG_RSP]);
	put(x, VMCS_GUEST_RFLAGS, &x->rflags, g->rflags);
	if (g->cr2 != x->cr2) {
		x->cr2 = g->cr2;
		x86_write_cr2(g->cr2);
	}
}

/* An event goes in by injection, an offered interrupt too if it can; else the CPU exits as soon as
 * it could. */
static void prepare_event(struct vcpu *v, struct vmx *x)
{
	uint32_t error = 0, info = 0, proc = x->proc_always;

	x->offered = false;
	if (!v->guest.int_shadow)
		x->blocking_now &= ~BLOCKING_SHADOW;
	if (v->event) {
		info = vmx_entry_info(v->event, v->guest.cr0 & CR0_PE, &error);
		/* The one that is injected sets it; and STI's shadow, or MOV SS's, would make the
		 * entry fail. */
		if ((v->event & EVENT_TYPE_MASK) == EVENT_TYPE_NMI)
			x->blocking_now = 0;
	} else if (v->virq >= 0 && guest_takes_interrupts(&v->guest)) {
		info = INTERRUPTION_VALID | (uint32_t)EVENT_TYPE_INTR | (uint32_t)v->virq;
		x->offered = true;
	}
	if (v->virq >= 0 && !x->offered)
		proc |= PROC_INTERRUPT_WINDOW;
	if (x->nmi_watched)
		proc |= PROC_NMI_WINDOW;
	put32(x, VMCS_PROC_CONTROLS, &x->proc, proc);
	put32(x, VMCS_GUEST_INTERRUPTIBILITY, &x->blocking, x->blocking_now);
	put32(x, VMCS_ENTRY_INTERRUPTION_INFO, &x->info, info);
	if (info & EVENT_HAS_ERROR)
		vmx_write(VMCS_ENTRY_ERROR_CODE, error);
}

/* The CPU exits when v->armed has come; at once, if somebody wanted this CPU out of the guest since
 * it left it (vmx_kicked). */
static void prepare_timer(const struct vcpu *v, const struct vmx *x)
{
	vmx_write(VMCS_PREEMPTION_TIMER,
		  vmx_timer_ticks(v->armed, x86_rdtsc(), vmx_caps.timer_rate));
	if (__atomic_load_n(&x->kicked, __ATOMIC_RELAXED))
		vmx_write(VMCS_PREEMPTION_TIMER, 0);
}

void vmx_kicked(void)
{
	struct vmx *x = vmx_of(vcpu_this());

	__atomic_store_n(&x->kicked, true, __ATOMIC_RELAXED);
	vmx_write(VMCS_PREEMPTION_TIMER, 0);
}

__attribute__((hot)) void vmx_prepare(struct vcpu *v)
{
	struct vmx *x = vmx_of(v);

	if (v->stale || !x->loaded || x->flat != is_flat(v)) {
		x->flat = is_flat(v);
		prepare_controls(v, x);
	}
	v->stale = false;
	prepare_registers(v, x);
	prepare_event(v, x);
	prepare_timer(v, x);
	x->loaded = true;
	if (v->flush)
		prepare_flush(v, x);
}

__attribute__((hot)) void vmx_run(struct vcpu *v)
{
	struct vmx *x = vmx_of(v);

	x->failed = vmx_enter(v->gpr, &x->host_rsp, x->launched);
}

/* ---- after an exit ---- */

static void leave_registers(struct vcpu *v, struct vmx *x)
{
	struct guest *g = &v->guest;
	uint64_t cs;

	g->rip = x->rip = vmx_read(VMCS_GUEST_RIP);
	g->rflags = x->rflags = vmx_read(VMCS_GUEST_RFLAGS);
	v->gpr[REG_RSP] = x->rsp = vmx_read(VMCS_GUEST_RSP);
	x->cr0 = vmx_read(VMCS_GUEST_CR0);
	g->cr0 = (g->cr0 & ~CR0_GUESTS) | (x->cr0 & CR0_GUESTS);
	g->cr2 = x->cr2 = x86_read_cr2();
	if (x->cr4_mask != UINT64_MAX) {
		x->cr4 = vmx_read(VMCS_GUEST_CR4);
		g->cr4 = (g->cr4 & x->cr4_mask) | (x->cr4 & ~x->cr4_mask);
	}
	if (!v->shadow && !x->flat)
		g->cr3 = x->cr3 = vmx_read(VMCS_GUEST_CR3);
	g->cpl = (vmx_read(VMCS_GUEST_SS_RIGHTS) & RIGHTS_DPL) >> 5;
	cs = vmx_read(VMCS_GUEST_CS_RIGHTS);
	guest_take_code(g, cs & RIGHTS_L, cs & RIGHTS_DB);
	x->blocking = x->blocking_now = (uint32_t)vmx_read(VMCS_GUEST_INTERRUPTIBILITY);
	g->int_shadow = x->blocking & BLOCKING_SHADOW;
	x->info = 0; /* the CPU clears the valid bit */
}

/* What was being delivered is delivered again; but an interrupt that was offered is offered again:
 * nothing of it has reached the guest. */
static void leave_event(struct vcpu *v, const struct vmx *x)
{
	uint32_t info = (uint32_t)vmx_read(VMCS_IDT_VECTORING_INFO);
	uint32_t error = 0;
	uint64_t event;

	v->exit.taken = x->offered;
	if (!(info & INTERRUPTION_VALID))
		return;
	if (info & EVENT_HAS_ERROR)
		error = (uint32_t)vmx_read(VMCS_IDT_VECTORING_ERROR);
	event = vmx_vectoring_event(info, error);
	if (x->offered && (event & EVENT_TYPE_MASK) == EVENT_TYPE_INTR &&
	    (int)(event & EVENT_VECTOR_MASK) == v->virq) {
		v->exit.taken = false;
		event = 0;
	}
	v->exit.event = event;
}

__attribute__((hot)) void vmx_leave(struct vcpu *v)
{
	struct vmx *x = vmx_of(v);

	v->exit = (struct exit){.reason = EXIT_INVALID, .cr8 = lapic_cr8(&v->apic)};
	if (x->failed)
		return;
	x->reason = (uint32_t)vmx_read(VMCS_EXIT_REASON);
	if (x->reason & EXIT_ENTRY_FAILED)
		return;
	x->launched = true;
	leave_registers(v, x);
	leave_event(v, x);
	vmx_decode(v);
	/* Whoever asked until now sees that the guest is out. */
	__atomic_store_n(&x->kicked, false, __ATOMIC_RELAXED);
}
