/* The machine's own local APICs, by MMIO (or MSR where the firmware chose x2APIC), the way of
 * COM1's interrupt through the IOAPIC, and the legacy PICs, masked.
 *
 * A CPU touches only its own local APIC; the IOAPIC is set up once by the boot CPU. No lock.
 * APM vol. 2, chapter 16; Intel 82093AA data sheet.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/apic.h"

#include <stdbool.h>

#include "boot/acpi.h"
#include "core/log.h"
#include "cpu/trap.h"
#include "cpu/x86.h"

#define MSR_APIC_BASE	 0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC	 0x800u
#define APIC_BASE_X2	 (1ull << 10)

enum {
	APIC_ID = 0x20,
	APIC_TPR = 0x80,
	APIC_EOI = 0xb0,
	APIC_SVR = 0xf0,
	APIC_ICR_LOW = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	APIC_LVT_ERROR = 0x370,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
};

#define LVT_MASKED	 (1u << 16)
#define LVT_TSC_DEADLINE (2u << 17)
#define LVT_NMI		 (4u << 8)
#define DIVIDE_BY_1	 0xbu
#define ICR_PENDING	 (1u << 12)
#define ICR_ASSERT	 (1u << 14)
#define ICR_NMI		 (4u << 8)
#define ICR_INIT	 (5u << 8)
#define ICR_SIPI	 (6u << 8)

static volatile uint32_t *mmio; /* NULL: x2APIC mode */
static bool has_deadline;
static uint64_t rate; /* timer ticks per 2^20 TSC cycles */

static uint32_t reg_read(unsigned int reg)
{
	return mmio ? mmio[reg / 4] : (uint32_t)x86_rdmsr(MSR_X2APIC + reg / 16);
}

static void reg_write(unsigned int reg, uint32_t v)
{
	if (mmio)
		mmio[reg / 4] = v;
	else
		x86_wrmsr(MSR_X2APIC + reg / 16, v);
}

void apic_enable(void)
{
	mmio = x86_rdmsr(MSR_APIC_BASE) & APIC_BASE_X2 ? NULL
						       : (volatile uint32_t *)(uintptr_t)acpi.lapic;
	has_deadline = x86_cpuid(1, 0).ecx & (1u << 24);
	reg_write(APIC_TPR, 0);
	reg_write(APIC_SVR, 0x100 | VECTOR_SPURIOUS);
	reg_write(APIC_LVT_LINT0, LVT_MASKED);
	reg_write(APIC_LVT_LINT1, LVT_NMI);
	reg_write(APIC_LVT_ERROR, LVT_MASKED);
	reg_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
	reg_write(APIC_LVT_TIMER, VECTOR_TIMER | (has_deadline ? LVT_TSC_DEADLINE : 0));
}

uint32_t apic_host_id(void)
{
	uint32_t v = reg_read(APIC_ID);

	return mmio ? v >> 24 : v;
}

void apic_eoi(void)
{
	reg_write(APIC_EOI, 0);
}

static void icr_write(uint32_t id, uint32_t low)
{
	if (!mmio) {
		x86_wrmsr(MSR_X2APIC + APIC_ICR_LOW / 16, (uint64_t)id << 32 | low);
		return;
	}
	while (reg_read(APIC_ICR_LOW) & ICR_PENDING)
		x86_pause();
	reg_write(APIC_ICR_HIGH, id << 24);
	reg_write(APIC_ICR_LOW, low);
}

void apic_send(uint32_t id, uint8_t vector)
{
	icr_write(id, ICR_ASSERT | vector);
}

void apic_send_nmi(uint32_t id)
{
	icr_write(id, ICR_ASSERT | ICR_NMI);
}

void apic_send_init(uint32_t id)
{
	icr_write(id, ICR_ASSERT | ICR_INIT);
}

void apic_send_sipi(uint32_t id, uint8_t vector)
{
	icr_write(id, ICR_ASSERT | ICR_SIPI | vector);
}

void apic_timer_at(uint64_t tsc)
{
	uint64_t now, ticks;

	if (has_deadline) {
		x86_wrmsr(MSR_TSC_DEADLINE, tsc);
		return;
	}
	if (!tsc) {
		reg_write(APIC_TIMER_INITIAL, 0);
		return;
	}
	now = x86_rdtsc();
	if (tsc <= now) {
		ticks = 1;
	} else if (tsc - now >= UINT64_C(1) << 40) {
		ticks = UINT32_MAX; /* comes too early, and is armed again then */
	} else {
		ticks = ((tsc - now) * rate >> 20) + 1;
		if (ticks > UINT32_MAX)
			ticks = UINT32_MAX;
	}
	reg_write(APIC_TIMER_INITIAL, (uint32_t)ticks);
}

void apic_timer_start_max(void)
{
	reg_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_MASKED);
	reg_write(APIC_TIMER_INITIAL, UINT32_MAX);
}

uint32_t apic_timer_elapsed(void)
{
	return UINT32_MAX - reg_read(APIC_TIMER_CURRENT);
}

void apic_timer_set_rate(uint64_t ticks_per_2p20)
{
	rate = ticks_per_2p20;
	reg_write(APIC_TIMER_INITIAL, 0);
	reg_write(APIC_LVT_TIMER, VECTOR_TIMER | (has_deadline ? LVT_TSC_DEADLINE : 0));
}

static void pic_mask_all(void)
{
	/* Moved off the exceptions first: a spurious IRQ 7 or 15 can come even so. */
	x86_outb(0x20, 0x11);
	x86_outb(0xa0, 0x11);
	x86_outb(0x21, 0x20);
	x86_outb(0xa1, 0x28);
	x86_outb(0x21, 4);
	x86_outb(0xa1, 2);
	x86_outb(0x21, 1);
	x86_outb(0xa1, 1);
	x86_outb(0x21, 0xff);
	x86_outb(0xa1, 0xff);
}

static void ioapic_write(volatile uint32_t *io, unsigned int reg, uint32_t v)
{
	io[0] = reg;
	io[4] = v;
}

void apic_route_com1(void)
{
	volatile uint32_t *io = (volatile uint32_t *)(uintptr_t)acpi.ioapic;
	unsigned int pins;

	pic_mask_all();
	if (!io) {
		log_info("no IOAPIC: COM1 has no interrupt");
		return;
	}
	io[0] = 1;
	pins = ((io[4] >> 16) & 0xff) + 1;
	for (unsigned int i = 0; i < pins; i++)
		ioapic_write(io, 0x10 + 2 * i, LVT_MASKED);
	if (acpi.com1_gsi >= pins)
		return;
	ioapic_write(io, 0x11 + 2 * acpi.com1_gsi, apic_host_id() << 24);
	ioapic_write(io, 0x10 + 2 * acpi.com1_gsi,
		     VECTOR_COM1 | (acpi.com1_low ? 1u << 13 : 0) |
			     (acpi.com1_level ? 1u << 15 : 0));
}
