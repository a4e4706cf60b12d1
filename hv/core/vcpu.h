/* One vCPU, pinned to one physical CPU: what the run loop, the exits and the devices share of it.
 *
 * Lock: none. Only the vCPU's own CPU touches it, but for the fields under "any CPU", which are
 * single words and atomic. Other CPUs ask for attention with vcpu_kick().
 *
 * The struct lies at the top of the vCPU's stack page block (cpu_this() finds it by the stack
 * pointer), so that one exit touches few distinct pages: a world switch loses the TLB.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_VCPU_H
#define HV_CORE_VCPU_H

#include <twofold/twofold.h>

#include "core/spread.h"
#include "decode/decode.h"
#include "dev/lapic.h"
#include "dev/msr.h"
#include "virt/event.h"
#include "virt/exit.h"
#include "virt/meter.h"
#include "virt/vendor.h"

/* x86 numbers of the general registers, as instructions encode them. */
enum {
	REG_RAX,
	REG_RCX,
	REG_RDX,
	REG_RBX,
	REG_RSP,
	REG_RBP,
	REG_RSI,
	REG_RDI,
	REG_R8,
	REG_R9,
	REG_R10,
	REG_R11,
	REG_R12,
	REG_R13,
	REG_R14,
	REG_R15,
};

/* Exception vectors. */
enum {
	EXC_DE = 0,
	EXC_DB = 1,
	EXC_NMI = 2,
	EXC_BP = 3,
	EXC_UD = 6,
	EXC_NM = 7,
	EXC_DF = 8,
	EXC_TS = 10,
	EXC_NP = 11,
	EXC_SS = 12,
	EXC_GP = 13,
	EXC_PF = 14,
	EXC_AC = 17,
	EXC_MC = 18,
};

/* Does the exception push an error code? */
static inline bool exc_has_error(unsigned int vector)
{
	return vector == EXC_DF || (vector >= EXC_TS && vector <= EXC_PF) || vector == EXC_AC;
}

/* What a vCPU is doing (any CPU reads; its own CPU writes, but see vcpu_init/vcpu_sipi). */
enum vcpu_state {
	VCPU_WAIT_SIPI, /* after INIT */
	VCPU_RUNNING,
	VCPU_HALTED, /* HLT, waits for an interrupt */
};

/* Guest exits as they are counted. */
enum exit_kind {
	KIND_NPF,
	KIND_PF,
	KIND_MMIO,
	KIND_CR0,
	KIND_CR3_READ,
	KIND_CR3_WRITE,
	KIND_CR4,
	KIND_CR8,
	KIND_EFER,
	KIND_INVLPG,
	KIND_INVPCID,
	KIND_INTR,
	KIND_NMI,
	KIND_IRET,
	KIND_CPUID,
	KIND_HLT,
	KIND_INT,
	KIND_IO,
	KIND_MSR,
	KIND_MSR_TIMER,
	KIND_MSR_EOI,
	KIND_MSR_ICR,
	KIND_XSETBV,
	KIND_VMMCALL,
	KIND_WINDOW,
	KIND_OTHER,
	KINDS
};

struct exit_stats {
	uint64_t count[KINDS];
	uint64_t cycles[KINDS]; /* spent outside the guest */
};

/* The vCPU's changes of mode (virt/mode.c). */
struct switch_stats {
	uint64_t count;
	uint64_t cycles, cycles_max; /* from the request, or from the wake-up, to the entry */
	/* How long the vCPU was stopped, from its exit to that entry; and by the mode gone to. */
	uint64_t stop_cycles;
	uint32_t stops[2][SPREAD_BINS];
};

/* An instruction that made an exit before, found again by its address. */
struct insn_memo {
	uint64_t rip; /* linear; 0: empty */
	uint64_t gpa;
	uint8_t bytes[16];
	struct insn insn;
	uint8_t compare; /* how many of the bytes must be unchanged */
	uint8_t pair;	 /* length of the "mov reg, %cr3" that follows a "mov %cr3, reg"; 0: none */
};

#define INSN_MEMOS 4u

struct vcpu {
	/* The guest's registers while it is out. */
	uint64_t gpr[16];
	struct guest guest;
	struct exit exit;    /* the last one */
	uint64_t block;	     /* of pages, the vCPU's own: see VCPU_BLOCK */
	struct tf_vcpu *mmu; /* the engine's vCPU */
	uint32_t index;	     /* 0.. */
	uint32_t host_apic_id;
	enum vcpu_state state;
	enum exit_kind kind; /* of the current exit */
	bool spaces;	     /* some address spaces may run on shadow tables, each by its mode */
	bool goes_over;	     /* at its next exit: it has asked for a change of the mode */
	bool gated;	     /* this exit takes it to the shadow tables of its address space */
	bool fills;	     /* this exit is a #PF on a shadow root, and not the guest's */
	bool watched;	  /* in shadow mode: each write of a control register exits to the engine */
	bool timer_fired; /* the real timer interrupted: look at what is due */
	bool nmi_pending, nmi_blocked;
	bool lets_int; /* the next INT3 or INT n does not exit: it is there */
	uint8_t still; /* exits in a row without an instruction, right behind an STI or MOV SS */

	/* What the next entry is to be like (virt/vendor.h). */
	uint64_t root;	    /* of the nested tables, or CR3 on shadow tables */
	bool shadow;	    /* it is a shadow root; only if watched */
	uint8_t intercepts; /* INTERCEPT_* */
	bool stale;	    /* the two above have changed since the last entry */
	uint32_t flush;	    /* TF_FLUSH_*: forgets these translations first */
	uint64_t event;	    /* is injected (virt/event.h); 0 none */
	int virq;	    /* the vector that is offered as interrupt; -1 none */
	/* An interrupt whose delivery faulted: it goes in when the fault's handler allows. */
	uint64_t event_later;

	uint64_t guest_deadline;       /* host TSC when the guest's timer is due; 0 none */
	uint64_t armed;		       /* what the real timer is set to */
	uint64_t exit_tsc;	       /* when the current exit began */
	uint64_t xcr0;		       /* the guest's */
	uint64_t host_cr4;	       /* of its CPU, while it runs */
	uint64_t flushes[FLUSH_KINDS]; /* asked of the CPU */
	uint64_t undone;	       /* deliveries (virt/undo.h) */
	uint64_t rechecked;	       /* INT3s that were gone (exit_int()) */
	uint64_t space_entries;	       /* to shadow tables, for an address space */
	uint64_t switch_tsc;	       /* it changes the mode since then; 0: it does not */
	/* Awake, in the guest and in exits, by what it ran on: enum tf_mode. Of these, in the
	 * guest. */
	uint64_t mode_cycles[2];
	uint64_t guest_cycles;

	/* any CPU, atomic */
	uint32_t where;	   /* enum vcpu_where */
	uint32_t requests; /* REQ_* */
	uint32_t sipi_vector;
	uint32_t online;  /* its CPU is up */
	uint32_t stopped; /* its CPU will not run the guest again */

	struct lapic apic;
	struct msr_vcpu msr;
	struct exit_stats stats;
	struct switch_stats switches;
	struct meter meter;
	struct insn_memo memo[INSN_MEMOS];
};

/* A block of pages holds all that one vCPU has: what the vendor keeps of the host, its control
 * block, stack, and the struct at the very top:
 *
 *	0x0000 host save area (SVM)   0x1000 VMCB   0x2000 ... stack ...   struct vcpu 0x8000
 *	0x0000 VMXON region (VMX)     0x1000 VMCS   0x2000 struct vmx_vcpu  0x3000 ... stack ...
 */
#define VCPU_BLOCK	   0x8000ull
#define VCPU_BLOCK_HOST	   0x0000ull
#define VCPU_BLOCK_CONTROL 0x1000ull
#define VCPU_BLOCK_OWN	   0x2000ull

/* Where a vCPU's CPU is, for those who want it to notice something. */
enum vcpu_where {
	WHERE_HOST,  /* looks at `requests` before it enters the guest */
	WHERE_GUEST, /* needs an interrupt; from before its last look at `requests` */
	WHERE_IDLE,  /* sleeps in the host: needs an interrupt, but holds no translation */
};

enum {
	REQ_KICK = 1u << 0,	    /* look at the virtual APIC again */
	REQ_FLUSH_LINEAR = 1u << 1, /* forget these translations before entry: TF_FLUSH_* */
	REQ_FLUSH_NESTED = 1u << 2,
	REQ_INIT = 1u << 3,
	REQ_SIPI = 1u << 4,
	REQ_NMI = 1u << 5,
	REQ_STOP = 1u << 6, /* the VM ends */
	REQ_MODE = 1u << 7, /* go over to vm.mode_wanted */
};

/* The vCPU of the CPU that we are on: by the stack pointer. */
static inline struct vcpu *vcpu_this(void)
{
	uintptr_t sp;

	__asm__("mov %%rsp, %0" : "=r"(sp));
	return (struct vcpu *)((sp | (VCPU_BLOCK - 1)) + 1 - sizeof(struct vcpu));
}

/* A new vCPU with its block on the host node of its CPU; not reset yet. */
struct vcpu *vcpu_create(unsigned int index, uint32_t host_apic_id, unsigned int host_node);

/* ---- requests, from any CPU; none waits ---- */

/* Have vCPU v look at its virtual APIC (and at its requests) soon: leaves the guest or HLT. */
void vcpu_request(struct vcpu *v, uint32_t req);

/* ---- own CPU ---- */

/* Registers and segments as after INIT (APM vol. 2, 14.1.3), with CS:IP at sipi_vector << 12. */
void vcpu_reset(struct vcpu *v, uint8_t sipi_vector);

/* Registers and segments as the loader wants them; after a reset. */
void vcpu_start(struct vcpu *v, const struct load_entry *e);

/* Queue an exception for the next entry. On top of an exception whose delivery was under way it
 * becomes #DF or a triple fault, as APM vol. 2, 8.2.9 says. */
void vcpu_inject(struct vcpu *v, unsigned int vector, uint32_t error);
void vcpu_inject_pf(struct vcpu *v, uint32_t pfec, uint64_t cr2);

/* Step over the instruction that caused the exit. */
void vcpu_skip(struct vcpu *v, unsigned int bytes);

/* Arm the vCPU's timer for an absolute host TSC; 0 disarms. */
void vcpu_timer_set(struct vcpu *v, uint64_t tsc);

/* The guest's control registers as they are now. */
static inline void vcpu_read_regs(const struct vcpu *v, struct tf_regs *r)
{
	const struct guest *g = &v->guest;

	*r = (struct tf_regs){.cr0 = g->cr0, .cr3 = g->cr3, .cr4 = g->cr4, .efer = g->efer};
}
/* The engine's idea of the guest's control registers, brought up to date. Call before tf_walk(). */
void vcpu_sync_regs(struct vcpu *v);

/* Guest-virtual access with the current CPL; more TF_* flags may be added. TF_E_FAULT: *out says
 * what to inject; TF_E_NOENT: no memory there. */
enum tf_status vcpu_read_gva(struct vcpu *v, uint64_t at, void *to, size_t n, uint32_t flags,
			     struct tf_outcome *out) TF_MUST_CHECK;
enum tf_status vcpu_write_gva(struct vcpu *v, uint64_t at, const void *from, size_t n,
			      uint32_t flags, struct tf_outcome *out) TF_MUST_CHECK;

/* Decode the instruction at the guest's RIP. NULL: it could not be fetched (the fault is queued) or
 * is unknown (#UD is queued). The result is valid until the next call. */
const struct insn *vcpu_decode(struct vcpu *v);
/* Is there an INT3, INT n or INTO at the guest's RIP? If not, the place is touched, which has an
 * emulator translate it again. True where it cannot be told. */
bool vcpu_recheck_int(struct vcpu *v);
/* For a "mov %cr3, reg" from vcpu_decode(): the length of the "mov reg, %cr3" right after it; 0:
 * something else follows. */
unsigned int vcpu_cr3_pair(const struct insn *i);
/* Forget what vcpu_decode() remembers (the guest changed its mappings of code). */
void vcpu_forget_insns(struct vcpu *v);
void vcpu_insn_state(struct vcpu *v, struct insn_state *s, uint64_t seg_base[6]);

/* RIP as a linear address. */
uint64_t vcpu_linear_rip(const struct vcpu *v);

static inline uint64_t vcpu_awake(const struct vcpu *v)
{
	return v->mode_cycles[TF_NESTED] + v->mode_cycles[TF_SHADOW];
}

/* Is the guest in 64-bit mode? */
static inline bool vcpu_is_long(const struct vcpu *v)
{
	return v->guest.mode == INSN_64;
}

static inline unsigned int vcpu_cpl(const struct vcpu *v)
{
	return v->guest.cpl;
}

#endif
