/* Exits in the neutral form. SDM vol. 3, 28.2 and appendix C.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/vm.h"
#include "cpu/x86.h"
#include "decode/decode.h"
#include "virt/event.h"
#include "vmx/convert.h"
#include "vmx/vmx.h"

/* IRET had ended the blocking of NMIs when it faulted: it runs again, and they are blocked until
 * then (28.2.3). */
static void undo_unblocking(struct vmx *x)
{
	if (!(vmx_read(VMCS_IDT_VECTORING_INFO) & INTERRUPTION_VALID))
		x->blocking_now |= BLOCKING_NMI;
}

static void decode_exception(struct exit *e, struct vmx *x)
{
	uint32_t info = (uint32_t)vmx_read(VMCS_EXIT_INTERRUPTION_INFO);
	uint32_t vector = info & EVENT_VECTOR_MASK;

	if ((info & EVENT_TYPE_MASK) == EVENT_TYPE_NMI) {
		e->reason = EXIT_NMI;
		/* The exit took it, and blocks others until an IRET. */
		__asm__ volatile("int $2" ::: "memory");
		return;
	}
	if ((info & INTERRUPTION_NMI_UNBLOCKED) && vector != EXC_DF)
		undo_unblocking(x);
	if (vector != EXC_PF)
		return;
	e->reason = EXIT_PAGE_FAULT;
	e->fault.gva = vmx_read(VMCS_EXIT_QUALIFICATION);
	e->fault.has_gva = true;
	e->fault.code = (uint32_t)vmx_read(VMCS_EXIT_INTERRUPTION_ERROR);
}

static void decode_ept_violation(struct exit *e, struct vmx *x)
{
	uint64_t qualification = vmx_read(VMCS_EXIT_QUALIFICATION);

	e->reason = EXIT_NESTED_FAULT;
	if (qualification & EPT_QUAL_NMI_UNBLOCKED)
		undo_unblocking(x);
	e->fault.gpa = vmx_read(VMCS_GUEST_PHYSICAL_ADDRESS);
	vmx_qualify_ept(e, qualification);
	if (e->fault.has_gva)
		e->fault.gva = vmx_read(VMCS_GUEST_LINEAR_ADDRESS);
}

static void decode_io(const struct vcpu *v, struct exit *e)
{
	uint64_t qualification = vmx_read(VMCS_EXIT_QUALIFICATION);
	uint32_t info = 0;

	e->reason = EXIT_IO;
	if (vmx_caps.has_string_info)
		info = (uint32_t)vmx_read(VMCS_EXIT_INSTRUCTION_INFO);
	vmx_qualify_io(e, qualification, info, vmx_caps.has_string_info, v->guest.mode == INSN_64);
}

static void decode_invlpg(struct exit *e)
{
	e->reason = EXIT_INVLPG;
	e->told = true;
	e->invlpg.gva = vmx_read(VMCS_EXIT_QUALIFICATION);
}

/* One that came early is a kick's (vmx_kicked), or the longest time there is. */
static void decode_timer(const struct vcpu *v, struct exit *e)
{
	e->reason = v->armed && x86_rdtsc() >= v->armed ? EXIT_TIMER : EXIT_INTERRUPT;
}

/* Reasons that say all there is to say, but for the instruction's length. */
static const uint8_t plain[] = {
	[REASON_TASK_SWITCH] = EXIT_REFUSED, [REASON_CPUID] = EXIT_CPUID,
	[REASON_GETSEC] = EXIT_ABSENT,	     [REASON_HLT] = EXIT_HLT,
	[REASON_INVD] = EXIT_CACHE,	     [REASON_RDPMC] = EXIT_REFUSED,
	[REASON_VMCALL] = EXIT_HYPERCALL,    [REASON_VMCLEAR] = EXIT_ABSENT,
	[REASON_VMLAUNCH] = EXIT_ABSENT,     [REASON_VMPTRLD] = EXIT_ABSENT,
	[REASON_VMPTRST] = EXIT_ABSENT,	     [REASON_VMREAD] = EXIT_ABSENT,
	[REASON_VMRESUME] = EXIT_ABSENT,     [REASON_VMWRITE] = EXIT_ABSENT,
	[REASON_VMXOFF] = EXIT_ABSENT,	     [REASON_VMXON] = EXIT_ABSENT,
	[REASON_MWAIT] = EXIT_ABSENT,	     [REASON_MONITOR] = EXIT_ABSENT,
	[REASON_INVEPT] = EXIT_ABSENT,	     [REASON_INVVPID] = EXIT_ABSENT,
	[REASON_WBINVD] = EXIT_CACHE,	     [REASON_XSETBV] = EXIT_XSETBV,
	[REASON_INVPCID] = EXIT_INVPCID,     [REASON_VMFUNC] = EXIT_ABSENT,
};

static void decode_instruction(struct vcpu *v, struct exit *e, uint32_t reason)
{
	e->length = (uint8_t)vmx_read(VMCS_EXIT_INSTRUCTION_LENGTH);
	switch (reason) {
	case REASON_CR:
		e->reason = EXIT_CR;
		vmx_qualify_cr(e, vmx_read(VMCS_EXIT_QUALIFICATION));
		break;
	case REASON_IO:
		decode_io(v, e);
		break;
	case REASON_RDMSR:
	case REASON_WRMSR:
		e->reason = EXIT_MSR;
		e->msr.write = reason == REASON_WRMSR;
		break;
	case REASON_INVLPG:
		decode_invlpg(e);
		break;
	default:
		if (reason < sizeof(plain) && plain[reason])
			e->reason = plain[reason];
	}
}

__attribute__((hot)) void vmx_decode(struct vcpu *v)
{
	struct vmx *x = vmx_of(v);
	struct exit *e = &v->exit;

	/* An EPT misconfiguration stays this: an entry of ours is wrong. */
	e->reason = EXIT_UNKNOWN;
	switch (x->reason & 0xffff) {
	case REASON_EXCEPTION_OR_NMI:
		decode_exception(e, x);
		break;
	case REASON_EXTERNAL_INTERRUPT:
		e->reason = EXIT_INTERRUPT;
		break;
	case REASON_TRIPLE_FAULT:
		e->reason = EXIT_SHUTDOWN;
		break;
	case REASON_INTERRUPT_WINDOW:
		e->reason = EXIT_WINDOW;
		break;
	case REASON_NMI_WINDOW:
		e->reason = EXIT_NMI_OPEN;
		x->nmi_watched = false;
		break;
	case REASON_EPT_VIOLATION:
		decode_ept_violation(e, x);
		break;
	case REASON_PREEMPTION_TIMER:
		decode_timer(v, e);
		break;
	default:
		decode_instruction(v, e, x->reason & 0xffff);
	}
}
