/* The hypervisor's own exceptions and interrupts.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CPU_TRAP_H
#define HV_CPU_TRAP_H

enum {
	VECTOR_TIMER = 0x30,
	VECTOR_KICK = 0x31,
	VECTOR_COM1 = 0x32,
	VECTOR_SPURIOUS = 0x3f, /* its low four bits must be ones on old local APICs */
	VECTORS = 0x40,
};

/* Build the table (boot CPU). */
void trap_init(void);
/* Load it (each CPU). */
void trap_load(void);

#endif
