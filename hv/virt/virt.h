/* The vCPU's life: its run loop, its exits, its mode.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VIRT_VIRT_H
#define HV_VIRT_VIRT_H

#include "core/vcpu.h"

/* The vCPU's life; never returns. */
_Noreturn void virt_run(struct vcpu *v);
/* One entry and its exit, which is left to be handled. Own CPU, interrupts shut (virt/vendor.h);
 * requests of other CPUs are not looked at. */
void virt_once(struct vcpu *v);
/* One exit handled (virt/exit.c). */
void virt_exit(struct vcpu *v);
/* Set the real timer to the earlier of the guest's deadline and the hypervisor's own. */
void virt_timer_arm(struct vcpu *v);

/* Measure what things cost here: vm.costs (virt/calibrate.c). Own CPU, the only one that runs, and
 * its interrupts are off; after guest_create(), and where shadow roots work. v is as it was
 * afterwards, but for its control block, which is to be reset. */
void virt_calibrate(struct vcpu *v);

/* ---- virt/mode.c ---- */

/* Have every vCPU go over to another mode, unless somebody had it do so meanwhile; on a vCPU's CPU,
 * which goes over itself at its next exit. */
void virt_switch(enum tf_mode from, enum tf_mode to);
/* Go over to the mode that was asked for last; own CPU, not in the guest. */
void virt_take_mode(struct vcpu *v);
/* The vCPU's part of a change: its registers told, its intercepts, its engine's mode. */
void virt_go_over(struct vcpu *v, enum tf_mode mode);
/* The entry that ends the change comes now. */
void virt_switched(struct vcpu *v);
/* The vCPU's address space has shadow mode, or has not; own CPU, around a load. */
void virt_space_to_shadow(struct vcpu *v);
void virt_space_to_nested(struct vcpu *v);
/* Intercept what tells the engine the guest's registers, or do not. */
void virt_watch(struct vcpu *v, bool on);
/* The next entry is to be on a root of the other kind; the root itself is the caller's. */
void virt_to_shadow(struct vcpu *v);
void virt_to_nested(struct vcpu *v);
/* What v->intercepts follows has changed. */
void virt_intercept(struct vcpu *v);

/* ---- exit handlers by file ---- */

void exit_cr(struct vcpu *v);
void exit_invlpg(struct vcpu *v);
void exit_invpcid(struct vcpu *v);
bool exit_efer_write(struct vcpu *v, uint64_t value);
void exit_page_fault(struct vcpu *v);
void exit_nested_fault(struct vcpu *v);
void exit_io(struct vcpu *v);

/* Step over the instruction: as long as the CPU says, or, if it says nothing, `fallback`. */
void exit_skip(struct vcpu *v, unsigned int fallback);

#endif
