/* The local APIC, by MMIO (xAPIC) or MSRs (x2APIC). APM vol. 2, ch. 16.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

#define APIC_BASE 0xfee00000ul

bool apic_x2;

uint32_t apic_read(unsigned int reg)
{
	if (apic_x2)
		return (uint32_t)rdmsr(MSR_X2APIC + reg / 16);
	return *(volatile uint32_t *)(APIC_BASE + reg);
}

void apic_write(unsigned int reg, uint32_t v)
{
	if (apic_x2)
		wrmsr(MSR_X2APIC + reg / 16, v);
	else
		*(volatile uint32_t *)(APIC_BASE + reg) = v;
}

uint32_t apic_id(void)
{
	return apic_x2 ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

void apic_icr(uint32_t low, uint32_t dest)
{
	barrier();
	if (apic_x2) {
		wrmsr(MSR_X2APIC + APIC_ICR / 16, (uint64_t)dest << 32 | low);
		return;
	}
	while (apic_read(APIC_ICR) & 1u << 12)
		pause();
	apic_write(APIC_ICR + 0x10, dest << 24);
	apic_write(APIC_ICR, low);
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

/* Each CPU for itself. Vector 0xff is the spurious one. */
void apic_setup(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	if (base & 1u << 10 || (cpu_has.x2apic && !options.xapic)) {
		wrmsr(MSR_APIC_BASE, base | 3u << 10);
		apic_x2 = true;
	} else {
		wrmsr(MSR_APIC_BASE, base | 1u << 11);
	}
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_TIMER, 1u << 16);
}
