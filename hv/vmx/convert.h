/* Between VMX's forms and the neutral ones: arithmetic alone.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VMX_CONVERT_H
#define HV_VMX_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

struct exit;

/* Access rights of a segment (SDM vol. 3, 25.4.1) from the VMCB's packing (load/load.h). A segment
 * that is not present is "unusable": the CPU refuses it else. */
uint32_t vmx_rights(uint16_t attrib);

/* Interruption information for an entry (25.8.3) from an event (virt/event.h), and its error code.
 * protected: CR0.PE is set; without it no exception has an error code. */
uint32_t vmx_entry_info(uint64_t event, bool protected, uint32_t *error);
/* What was being delivered when the guest exited (25.9.3), as an event; 0: nothing, or what an
 * instruction caused that runs again. */
uint64_t vmx_vectoring_event(uint32_t info, uint32_t error);

/* The preemption timer's value for an entry at host TSC `now`: it counts down once in 2^rate
 * cycles (25.5.1). armed: when it is due, 0: never. */
uint32_t vmx_timer_ticks(uint64_t armed, uint64_t now, unsigned int rate);

/* Exit qualifications (28.2.1) into e->cr, e->io, e->fault.flags. info: instruction information,
 * where has_info; long_mode: the guest runs 64-bit code. */
void vmx_qualify_cr(struct exit *e, uint64_t qualification);
void vmx_qualify_io(struct exit *e, uint64_t qualification, uint32_t info, bool has_info,
		    bool long_mode);
void vmx_qualify_ept(struct exit *e, uint64_t qualification);

/* A control field: what is wanted, and what the CPU wants by its capability MSR (A.3 to A.5): low
 * half: bits that must be 1; high half: bits that may be 1. */
static inline uint32_t vmx_control(uint32_t wanted, uint64_t capability)
{
	return (wanted | (uint32_t)capability) & (uint32_t)(capability >> 32);
}

/* Of the wanted bits, those that the CPU has not. */
static inline uint32_t vmx_lacks(uint32_t wanted, uint64_t capability)
{
	return wanted & ~(uint32_t)(capability >> 32);
}

#endif
