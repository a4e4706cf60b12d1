/* Bringing up the other CPUs.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CPU_SMP_H
#define HV_CPU_SMP_H

#include "core/vcpu.h"

/* Start the CPU of v on its stack; it ends up in virt_run() and waits there for the guest's SIPI.
 * False: it did not come. */
bool smp_start(struct vcpu *v);

/* Start the CPU of vCPU 0, which is not this one: it calls fn on vCPU 0's stack. */
void smp_first(struct vcpu *v, void (*fn)(void));

/* Where a started CPU begins (boot/ap.S). */
_Noreturn void smp_ap_main(void);

/* Go on in fn on the stack of v. */
_Noreturn void smp_on_stack(struct vcpu *v, void (*fn)(void));

/* What every CPU sets up for itself. */
void smp_cpu_init(struct vcpu *v);

#endif
