/* AMD SVM: enabling it, the VMCB, the run loop.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_SVM_SVM_H
#define HV_SVM_SVM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vcpu.h"

/* Segment attributes as the VMCB packs them. */
#define SEG_L  (1u << 9)
#define SEG_DB (1u << 10)

/* ASIDs that the CPU has, the host's 0 among them; set by svm_check(). */
extern uint32_t svm_asids;
/* A virtual interrupt is not taken by a guest that is entered with RFLAGS.IF set, until it sets it
 * again. */
extern bool svm_virq_late;

/* Does this CPU have what we need? Ends the VM with one clear line if not. */
void svm_check(void);
/* Turn SVM on; on each CPU. */
void svm_enable(struct vcpu *v);
/* Can a shadow root work on this machine? NULL if so, else what is wrong. Own CPU, after
 * svm_enable() and before v's first reset: it runs a guest in v's VMCB. */
const char *svm_probe_shadow(struct vcpu *v);
/* Do interrupts reach a guest, and the host that runs one, when they should? Sets svm_virq_late and
 * vm.kick_by_nmi if not. As above, with the local APIC enabled. */
void svm_probe_interrupts(struct vcpu *v);
/* Measure what things cost here: vm.costs (svm/calibrate.c). Own CPU, the only one that runs, and
 * its interrupts are off; after guest_create(), and where shadow roots work. v is as it was
 * afterwards, but for its VMCB, which is to be reset. */
void svm_calibrate(struct vcpu *v);
/* The permission maps, shared by all vCPUs; once, after vm.ports is set up. */
void svm_maps_init(void);

/* The VMCB as after INIT, starting at sipi_vector << 12; own CPU (loads FS, GS, TR, LDTR). */
void svm_vmcb_reset(struct vcpu *v, uint8_t sipi_vector);
/* Is the guest in 64-bit mode? */
static inline bool svm_is_long(const struct vmcb *b)
{
	return (b->save.efer & (1u << 10)) && (b->save.cs.attrib & SEG_L);
}

/* Set the real timer to the earlier of the guest's deadline and the hypervisor's own. */
void svm_timer_arm(struct vcpu *v);

/* svm/mode.c. Have every vCPU go over to another mode, unless somebody had it do so meanwhile; any
 * CPU. */
void svm_switch(enum tf_mode from, enum tf_mode to);
/* Go over to the mode that was asked for last; own CPU, not in the guest. */
void svm_take_mode(struct vcpu *v);
/* The entry that ends the change comes now. */
void svm_switched(struct vcpu *v);
/* The vCPU's address space has shadow mode, or has not; own CPU, around a load. */
void svm_space_to_shadow(struct vcpu *v);
void svm_space_to_nested(struct vcpu *v);
/* Intercept what tells the engine the guest's registers, or do not. */
void svm_watch(struct vcpu *v, bool on);
/* Set the VMCB up for a root of the other kind; the root itself is the caller's. */
void svm_to_shadow(struct vcpu *v);
void svm_to_nested(struct vcpu *v);

/* One entry and its exit, which is left to be handled. Own CPU, GIF clear; requests of other CPUs
 * are not looked at. */
void svm_once(struct vcpu *v);

/* The vCPU's life; never returns. */
_Noreturn void svm_run(struct vcpu *v);

/* One exit handled (svm/exit.c). */
void svm_exit(struct vcpu *v);

/* Exit handlers by file. */
void exit_cr_write(struct vcpu *v);
void exit_cr3_read(struct vcpu *v);
void exit_cr0(struct vcpu *v);
void exit_invlpg(struct vcpu *v);
void exit_invpcid(struct vcpu *v);
bool exit_efer_write(struct vcpu *v, uint64_t value);
uint64_t exit_efer_read(const struct vcpu *v);
void exit_page_fault(struct vcpu *v);
void exit_nested_fault(struct vcpu *v);
void exit_io(struct vcpu *v);

/* The instruction's length: the CPU's answer if it gives one, else `fallback`. */
void svm_skip(struct vcpu *v, unsigned int fallback);

/* svm/enter.S: into the guest and back; GIF is clear before and after. */
void svm_enter(uint64_t *gpr, uint64_t vmcb_pa);

#endif
