/* The machine's own local APICs and IOAPIC.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CPU_APIC_H
#define HV_CPU_APIC_H

#include <stdint.h>

/* Enable this CPU's local APIC, timer masked. */
void apic_enable(void);
uint32_t apic_host_id(void);
void apic_eoi(void);

/* Send a fixed interrupt; an NMI; INIT; SIPI at vector << 12. */
void apic_send(uint32_t id, uint8_t vector);
void apic_send_nmi(uint32_t id);
void apic_send_init(uint32_t id);
void apic_send_sipi(uint32_t id, uint8_t vector);

/* One-shot timer interrupt (VECTOR_TIMER) at about this TSC, not before; 0: off. */
void apic_timer_at(uint64_t tsc);

/* For calibration: run the timer down from its maximum, silently, and read how far it got. */
void apic_timer_start_max(void);
uint32_t apic_timer_elapsed(void);
/* Ticks of the timer per 2^20 TSC cycles. */
void apic_timer_set_rate(uint64_t ticks_per_2p20);

/* Mask the legacy PICs; route COM1's interrupt to this CPU as VECTOR_COM1. */
void apic_route_com1(void);

#endif
