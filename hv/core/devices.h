/* What the guest's devices ask of the hypervisor.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_DEVICES_H
#define HV_CORE_DEVICES_H

/* Local APICs, IOAPIC, ports, CPUID policy of the VM; vm.cpus is set. */
void devices_create(void);

#endif
