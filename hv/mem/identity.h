/* The hypervisor's own address space: every physical address at itself.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_MEM_IDENTITY_H
#define HV_MEM_IDENTITY_H

#include <stdint.h>

/* Build the final tables and load them on this CPU; needs pages_init(). */
void identity_init(void);

/* For the other CPUs: their CR3. Below 4 GiB. */
uint64_t identity_root(void);

#endif
