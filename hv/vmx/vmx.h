/* Intel VMX: what its files share.
 *
 * Lock: none. A struct vmx belongs to its vCPU's CPU; struct vmx_caps is written by the boot CPU
 * before any other runs.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VMX_VMX_H
#define HV_VMX_VMX_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vcpu.h"
#include "virt/vendor.h"
#include "vmx/insn.h"

/* What the CPU can do, by its capability MSRs. */
struct vmx_caps {
	uint64_t cr0_set, cr0_clear, cr4_set, cr4_clear; /* bits that must be so in VMX */
	uint64_t pin, proc, proc2, exit, entry;		 /* capability MSRs of the controls */
	uint32_t revision;				 /* of a VMCS */
	unsigned int timer_rate;
	bool has_ad, has_1g, has_unrestricted, has_string_info;
};

extern struct vmx_caps vmx_caps;

/* What a VMCS holds that is written in C, so that only what changes is written; and the state of
 * the guest that struct vcpu has no place for. Lies in the vCPU's block (core/vcpu.h). */
struct vmx {
	uint64_t host_rsp;
	uint64_t eptp; /* the last that was used; 0: none was */
	uint64_t rip, rsp, rflags;
	uint64_t cr0, cr3, cr4, efer;
	uint64_t cr0_shadow, cr4_shadow, cr4_mask;
	uint64_t cr2; /* the CPU's */
	uint32_t proc, proc2, entry, exceptions;
	uint32_t proc_always;		 /* without the windows */
	uint32_t blocking, blocking_now; /* interruptibility: in the VMCS; wanted */
	uint32_t info;			 /* interruption information, of this entry */
	uint32_t failed;		 /* by the last entry: what vmx_enter() returned */
	uint32_t reason;		 /* of the exit, with all its bits */
	bool launched;
	bool offered;	  /* this entry injects v->virq */
	bool kicked;	  /* by NMI, while the guest is out; written by the handler too */
	bool nmi_watched; /* EXIT_NMI_OPEN is wanted */
	bool flat;	  /* code without paging runs with it */
	bool loaded;	  /* what is above is what the VMCS has */
};

static inline struct vmx *vmx_of(const struct vcpu *v)
{
	return (struct vmx *)(uintptr_t)(v->block + VCPU_BLOCK_OWN);
}

/* vmx/caps.c */
const char *vmx_check(void);

/* vmx/state.c: the VMCS as it is to be before the first entry, and the guest's state in it. */
void vmx_maps_init(void);
void vmx_enable(struct vcpu *v);
void vmx_reset(struct vcpu *v, uint8_t sipi_vector);
void vmx_start(struct vcpu *v, const struct load_entry *e);
void vmx_segment_bases(const struct vcpu *v, uint64_t base[6]);
uint64_t vmx_gdt_base(const struct vcpu *v);
void vmx_set_code_and_stack(struct vcpu *v, const struct load_segment *cs,
			    const struct load_segment *ss);
void vmx_dump(const struct vcpu *v);

/* vmx/run.c */
void vmx_prepare(struct vcpu *v);
void vmx_run(struct vcpu *v);
void vmx_leave(struct vcpu *v);

/* An NMI came while the guest is out, and may have been meant for it: the next entry ends at once.
 */
void vmx_kicked(void);

/* vmx/flat.c: once, with the guest's memory; then what is to run without paging gets other
 * registers. */
void vmx_flat_init(void);
void vmx_flat_regs(struct tf_regs *r);

/* vmx/probe.c */
void vmx_probe(struct vcpu *v);

/* vmx/exit.c: v->exit from the VMCS; the guest's registers were taken before. */
void vmx_decode(struct vcpu *v);

/* vmx/enter.S */
unsigned int vmx_enter(uint64_t *gpr, uint64_t *host_rsp, bool launched);
extern const char vmx_exited[];

#endif
