/* KVM's clock structures. See kvmclock.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/kvmclock.h"

#define TSC_STABLE 1u /* all vCPUs' clocks agree */

struct time_info {
	uint32_t version; /* odd while it changes */
	uint32_t pad;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad2[2];
};
_Static_assert(sizeof(struct time_info) == 32, "pvclock_vcpu_time_info");

struct wall_clock {
	uint32_t version, sec, nsec;
};

/* ns = (tsc shifted by .shift) * .mul >> 32, with as many bits in mul as it has. */
static void set_rate(struct time_info *t, uint32_t tsc_khz)
{
	uint64_t ns = 1000000, ticks = tsc_khz;
	int8_t shift = 0;

	for (; ns >= ticks; shift++)
		ticks <<= 1;
	for (; ns * 2 < ticks; shift--)
		ns <<= 1;
	t->tsc_shift = shift;
	t->tsc_to_system_mul = (uint32_t)((ns << 32) / ticks);
}

bool kvmclock_write(const struct lapic_bus *bus, uint64_t msr, uint32_t tsc_khz,
		    uint64_t tsc_origin)
{
	struct time_info t = {.version = 2, .tsc_timestamp = tsc_origin, .flags = TSC_STABLE};

	set_rate(&t, tsc_khz);
	return bus->ops->mem_write &&
	       bus->ops->mem_write(bus->ctx, msr & ~UINT64_C(1), &t, sizeof(t));
}

bool kvmclock_write_wall(const struct lapic_bus *bus, uint64_t gpa, uint64_t epoch)
{
	const struct wall_clock w = {.version = 2, .sec = (uint32_t)epoch};

	return bus->ops->mem_write && bus->ops->mem_write(bus->ctx, gpa, &w, sizeof(w));
}
