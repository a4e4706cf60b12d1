/* The guest: its devices, its memory, its kernel.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_GUEST_H
#define HV_CORE_GUEST_H

#include "core/vm.h"
#include "load/load.h"

/* The VM with its engine and devices; vm.cpus, vm.mem and vm.mode are set. */
void guest_create(void);
/* Kernel, initrd, ACPI tables into its memory; the modules' memory goes to the pools. */
void guest_load(struct load_entry *entry);
/* The boot vCPU's registers; on its CPU. */
void guest_set_entry(struct vcpu *v, const struct load_entry *entry);

#endif
