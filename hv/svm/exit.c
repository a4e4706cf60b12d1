/* SVM's exit codes as struct exit. APM vol. 2, appendix C, 15.9 to 15.12, 15.25.6.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "svm/svm.h"

#define IOIO_A16 (1u << 7)
#define IOIO_A32 (1u << 8)

static void nested_fault(struct exit *e, const struct vmcb_control *c)
{
	e->fault.gpa = c->exit_info2;
	e->fault.has_gva = false;
	e->fault.flags = 0;
	if (c->exit_info1 & TF_PF_W)
		e->fault.flags |= TF_WRITE;
	if (c->exit_info1 & TF_PF_I)
		e->fault.flags |= TF_FETCH;
	if (c->exit_info1 & NPF_GPT)
		e->fault.flags |= TF_WALK;
}

/* There are no decode assists to count on: the instruction is to be looked at. */
static void control_register(struct exit *e, unsigned int number)
{
	e->told = false;
	e->cr.number = (uint8_t)number;
}

static void io(struct exit *e, const struct vmcb *b)
{
	uint32_t info = (uint32_t)b->ctl.exit_info1;

	e->length = (uint8_t)(b->ctl.exit_info2 - b->save.rip);
	e->io.port = (uint16_t)IOIO_PORT(info);
	e->io.size = IOIO_SIZE(info);
	e->io.in = info & IOIO_IN;
	e->io.string = info & IOIO_STRING;
	e->io.rep = info & IOIO_REP;
	e->io.address_mask = info & IOIO_A16 ? 0xffff : info & IOIO_A32 ? 0xffffffff : UINT64_MAX;
}

/* An IRET ends the guest's NMI handler: NMIs may come again. The CPU runs it when we enter. */
static void iret(struct vmcb *b)
{
	b->ctl.intercept1 &= ~INT1_IRET;
}

static enum exit_reason reason(struct exit *e, struct vmcb *b)
{
	const struct vmcb_control *c = &b->ctl;

	switch (c->exit_code) {
	case VMEXIT_INTR:
		return EXIT_INTERRUPT;
	case VMEXIT_NMI:
		return EXIT_NMI;
	case VMEXIT_VINTR:
		return EXIT_WINDOW;
	case VMEXIT_IRET:
		iret(b);
		return EXIT_NMI_OPEN;
	case VMEXIT_NPF:
		nested_fault(e, c);
		return EXIT_NESTED_FAULT;
	case VMEXIT_PF:
		e->fault.code = (uint32_t)c->exit_info1;
		e->fault.gva = c->exit_info2;
		return EXIT_PAGE_FAULT;
	case VMEXIT_CR0_WRITE:
	case VMEXIT_CR0_SEL:
		control_register(e, 0);
		return EXIT_CR;
	case VMEXIT_CR3_READ:
	case VMEXIT_CR3_WRITE:
		control_register(e, 3);
		return EXIT_CR;
	case VMEXIT_CR4_WRITE:
		control_register(e, 4);
		return EXIT_CR;
	case VMEXIT_CR8_WRITE:
		control_register(e, 8);
		return EXIT_CR;
	case VMEXIT_INVLPG:
		e->told = false;
		return EXIT_INVLPG;
	case VMEXIT_INVPCID:
		return EXIT_INVPCID;
	case VMEXIT_MSR:
		e->msr.write = c->exit_info1 & 1;
		return EXIT_MSR;
	case VMEXIT_SOFT:
		return EXIT_INT;
	case VMEXIT_CPUID:
		return EXIT_CPUID;
	case VMEXIT_HLT:
		return EXIT_HLT;
	case VMEXIT_IOIO:
		io(e, b);
		return EXIT_IO;
	case VMEXIT_XSETBV:
		return EXIT_XSETBV;
	case VMEXIT_VMMCALL:
		return EXIT_HYPERCALL;
	case VMEXIT_WBINVD:
	case VMEXIT_INVD:
		return EXIT_CACHE;
	case VMEXIT_RDPMC:
	case VMEXIT_TASKSW:
		return EXIT_REFUSED;
	case VMEXIT_INVLPGA:
	case VMEXIT_VMRUN:
	case VMEXIT_VMLOAD:
	case VMEXIT_VMLOAD + 1: /* VMSAVE, STGI, CLGI */
	case VMEXIT_VMLOAD + 2:
	case VMEXIT_VMLOAD + 3:
	case VMEXIT_SKINIT:
	case VMEXIT_MONITOR:
	case VMEXIT_MWAIT:
	case VMEXIT_MWAIT + 1:
	case VMEXIT_RDPRU:
		return EXIT_ABSENT;
	case VMEXIT_SHUTDOWN:
		return EXIT_SHUTDOWN;
	case VMEXIT_INVALID:
	case (uint32_t)VMEXIT_INVALID:
		return EXIT_INVALID;
	default:
		return EXIT_UNKNOWN;
	}
}

__attribute__((hot)) void svm_decode(struct vcpu *v)
{
	struct vmcb *b = vmcb_of(v);
	struct exit *e = &v->exit;

	e->length = 0;
	if (svm_cpu.has_nrip && b->ctl.next_rip)
		e->length = (uint8_t)(b->ctl.next_rip - b->save.rip);
	e->reason = (uint8_t)reason(e, b);
}
