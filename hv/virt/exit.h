/* An exit in a form that both vendors' exits are brought to, and the guest's registers while it is
 * out.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VIRT_EXIT_H
#define HV_VIRT_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/x86.h"
#include "decode/decode.h"

/* The control registers that exits look at. They are the guest's own, whatever it runs on: what a
 * shadow root, or the vendor, needs otherwise goes into the control block alone. General registers
 * are in struct vcpu. */
struct guest {
	uint64_t rip, rflags;
	uint64_t cr0, cr2, cr3, cr4, efer;
	uint8_t cpl;
	uint8_t mode;	 /* of its code: enum insn_mode */
	bool cs_l;	 /* CS.L, whatever EFER.LMA is */
	bool int_shadow; /* after STI or MOV to SS: no interrupt before the next instruction */
};

/* The mode of its code follows CS.L, CS.D and EFER.LMA. */
static inline void guest_take_code(struct guest *g, bool l, bool d)
{
	g->cs_l = l;
	g->mode = (g->efer & EFER_LMA) && l ? INSN_64 : d ? INSN_32 : INSN_16;
}

/* Would it take an interrupt now? */
static inline bool guest_takes_interrupts(const struct guest *g)
{
	return (g->rflags & RFLAGS_IF) && !g->int_shadow;
}

enum exit_reason {
	EXIT_INTERRUPT, /* the host's, still pending */
	EXIT_NMI,	/* the host's, still pending */
	EXIT_TIMER,	/* the CPU's own timer: v->armed has come */
	EXIT_WINDOW,	/* the guest takes interrupts now, one of them waits */
	EXIT_NMI_OPEN,	/* the guest's NMI handler returns */
	EXIT_NESTED_FAULT,
	EXIT_PAGE_FAULT,
	EXIT_CR, /* MOV to and from a control register, CLTS, LMSW */
	EXIT_INVLPG,
	EXIT_INVPCID,
	EXIT_MSR,
	EXIT_CPUID,
	EXIT_HLT,
	EXIT_IO,
	EXIT_INT, /* INT3, INT n, INTO: not executed yet */
	EXIT_XSETBV,
	EXIT_HYPERCALL,
	EXIT_CACHE,    /* INVD, WBINVD */
	EXIT_REFUSED,  /* what ends in #GP here */
	EXIT_ABSENT,   /* instructions that CPUID says do not exist: #UD */
	EXIT_SHUTDOWN, /* triple fault */
	EXIT_INVALID,  /* no entry: the control block was refused */
	EXIT_UNKNOWN,
};

struct exit {
	uint8_t reason; /* enum exit_reason */
	uint8_t length; /* of the instruction; 0: the CPU does not tell */
	uint8_t cr8;	/* the guest's */
	bool told;	/* CR, INVLPG: the CPU tells the operands below */
	bool taken;	/* the interrupt that was offered has gone in */
	uint64_t event; /* what was going in when it exited, to be injected again; 0: nothing */
	union {
		/* PAGE_FAULT: code is a #PF's. NESTED_FAULT: flags are TF_WRITE, TF_FETCH,
		 * TF_WALK; gva where has_gva. */
		struct {
			uint64_t gva, gpa;
			uint32_t code, flags;
			bool has_gva;
		} fault;
		/* kind is an enum insn_kind; number: also known where nothing is told. */
		struct {
			uint8_t kind, number, reg;
			uint8_t pair;  /* a read: vcpu_cr3_pair() */
			uint16_t lmsw; /* the operand */
		} cr;
		struct {
			uint64_t gva;
		} invlpg;
		struct {
			bool write;
		} msr;
		struct {
			uint64_t address_mask; /* of a string instruction's registers */
			uint16_t port;
			uint8_t size; /* bytes */
			bool in, string, rep;
		} io;
	};
};

#endif
