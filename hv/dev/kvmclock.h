/* KVM's paravirtual clock: the guest learns the TSC's rate, and the date, without measuring them.
 *
 * A page in guest memory says how TSC values become nanoseconds. Ours is written once for each vCPU
 * and never changes, because it is offered only where the TSC is invariant; all vCPUs get the same
 * line through the origin. Linux Documentation/virt/kvm/x86/msr.rst (MSR_KVM_WALL_CLOCK_NEW,
 * MSR_KVM_SYSTEM_TIME_NEW).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DEV_KVMCLOCK_H
#define HV_DEV_KVMCLOCK_H

#include "dev/lapic.h"

#define MSR_KVM_WALL_CLOCK  0x4b564d00u
#define MSR_KVM_SYSTEM_TIME 0x4b564d01u

/* Write the vCPU's time structure to the address in the MSR's value. tsc_origin: the guest TSC that
 * was the guest's start. False: no memory there. */
bool kvmclock_write(const struct lapic_bus *bus, uint64_t msr, uint32_t tsc_khz,
		    uint64_t tsc_origin);
/* Write the wall-clock structure: the date of the guest's start. */
bool kvmclock_write_wall(const struct lapic_bus *bus, uint64_t gpa, uint64_t epoch);

#endif
