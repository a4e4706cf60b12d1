/* How fast the time-stamp counter and the local APIC timer run.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CPU_CLOCK_H
#define HV_CPU_CLOCK_H

#include <stdint.h>

/* Measure both against the PIT (about 60 ms); boot CPU, interrupts off. Returns the TSC's kHz. */
uint32_t clock_calibrate(void);

/* Spin for at least this long; after clock_calibrate(). */
void clock_wait_us(uint32_t us);

#endif
