/* What lies beyond the memory that we were given: nothing, or a device; never anybody's memory.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "paging.h"

/* In any range that the machine told us of, of whatever kind? */
static bool is_told(uint64_t start, uint64_t end)
{
	for (unsigned int i = 0; i < range_count; i++)
		if (start < ranges[i].end && end > ranges[i].start)
			return true;
	return false;
}

/* The devices of the machines that we run on: local and I/O APIC, HPET, firmware. */
static bool is_device(uint64_t pa)
{
	return (pa >= 0xfec00000 && pa < 0xfee01000) || (pa >= 0xfff00000 && pa < 0x100000000) ||
	       (pa >= 0xa0000 && pa < 0x100000);
}

static void probe(uint64_t root, uint64_t pa)
{
	pte_t *e = space_entry(root, T_BASE, 0);
	struct fault f, g;

	*e = (pa & -PAGE) | PTE_P | PTE_W | PTE_PCD;
	invlpg(T_BASE);
	f = attempt((void *)peek, T_BASE + (pa & 0xff8), 0);
	CHECK(f.vec == NO_FAULT, "0x%lx: %s", pa, fault_text(&f));
	CHECK(f.value == ~0ull || (f.value == 0 && !under_twofold()), "0x%lx reads 0x%lx", pa,
	      f.value);
	g = attempt(access_write8, T_BASE + (pa & 0xff8), 0x5e3779b97f4a7c15);
	CHECK(g.vec == NO_FAULT, "write to 0x%lx: %s", pa, fault_text(&g));
	f = attempt((void *)peek, T_BASE + (pa & 0xff8), 0);
	CHECK(f.value == ~0ull || (f.value == 0 && !under_twofold()),
	      "0x%lx keeps what is written: 0x%lx", pa, f.value);
}

static void addresses(void)
{
	struct rng g = rng_for("beyond/addresses", 0);
	uint64_t root = space_new(), top = 1ull << cpu_has.maxphyaddr;
	unsigned int probed = 0;

	space_enter(root);
	/* Each 16 MiB below 4 GiB (16 GiB with load=...), the pages around each range's end, and a
	 * random choice up to the last address that there can be. */
	for (uint64_t pa = 0; pa < 4 * GIB && !test_failed(); pa += 8 * MIB2)
		if (!is_told(pa & -PAGE, pa + PAGE) && !is_device(pa))
			probe(root, pa), probed++;
	for (unsigned int i = 0; i < range_count; i++)
		for (unsigned int p = 0; p < 2; p++) {
			uint64_t pa = (ranges[i].end + (p ? 0x7ff8 : 0) + PAGE - 1) & -PAGE;

			if (pa < top && !is_told(pa, pa + PAGE) && !is_device(pa))
				probe(root, pa), probed++;
		}
	for (unsigned int i = 0; i < rounds(400) && !test_failed(); i++) {
		uint64_t pa = rng_next(&g) >> (64 - cpu_has.maxphyaddr) >> (i % 10) & ~7ull;

		if (!is_told(pa & -PAGE, (pa & -PAGE) + PAGE) && !is_device(pa))
			probe(root, pa), probed++;
	}
	space_leave();
	CHECK(probed > 50, "only %u addresses could be probed", probed);
}
BARETEST(beyond_addresses, "beyond/addresses", addresses);

/* The same by large pages, which a hypervisor may not map as one. */
static void large(void)
{
	uint64_t root = space_new(), end = 0;
	unsigned int probed = 0;

	for (unsigned int i = 0; i < range_count; i++)
		if (ranges[i].type == 1 && ranges[i].end > end && ranges[i].end < 3 * GIB)
			end = ranges[i].end;
	space_enter(root);
	for (uint64_t i = 0; i < 32; i++) {
		uint64_t pa = ((end + MIB2 - 1) & -MIB2) + i * 16 * MIB2;
		struct fault f;

		if (pa + MIB2 >= 4 * GIB || is_told(pa, pa + MIB2) || is_device(pa))
			continue;
		*space_entry(root, T_BASE, 1) = pa | PTE_P | PTE_W | PTE_PS;
		invlpg(T_BASE);
		f = attempt((void *)peek, T_BASE + i * 0x10008, 0);
		CHECK(f.vec == NO_FAULT && (f.value == ~0ull || (f.value == 0 && !under_twofold())),
		      "0x%lx by 2 MiB: 0x%lx, %s", pa + i * 0x10008, f.value, fault_text(&f));
		probed++;
	}
	CHECK(probed, "nothing to probe");
	if (cpu_has.gib) {
		struct fault f;

		*space_entry(root, T_BASE + GIB, 2) = 2 * GIB | PTE_P | PTE_W | PTE_PS;
		f = attempt((void *)peek, T_BASE + 2 * GIB - 0x1000, 0);
		CHECK(is_told(3 * GIB - PAGE, 3 * GIB) ||
			      (f.vec == NO_FAULT &&
			       (f.value == ~0ull || (f.value == 0 && !under_twofold()))),
		      "top of 3 GiB by 1 GiB: 0x%lx, %s", f.value, fault_text(&f));
		/* And memory in the same GiB page as nothing: both as they should be. */
		*space_entry(root, T_BASE + GIB, 2) = PTE_P | PTE_W | PTE_PS;
		flush();
		CHECK(peek(T_BASE + GIB + 0x100000) == peek(0x100000), "our own image by 1 GiB");
		if (end < GIB - PAGE && !is_told(end + MIB2, end + MIB2 + PAGE)) {
			f = attempt((void *)peek, T_BASE + GIB + end + MIB2, 0);
			CHECK(f.value == ~0ull || (f.value == 0 && !under_twofold()),
			      "beyond the end in the same 1 GiB page: 0x%lx", f.value);
		}
	}
	space_leave();
}
BARETEST(beyond_large, "beyond/large-pages", large);

/* All memory that we were told of is memory: the last page of each range keeps what is written. */
static void edges(void)
{
	uint64_t root = space_new();

	space_enter(root);
	for (unsigned int i = 0; i < range_count; i++) {
		uint64_t last = (ranges[i].end & -PAGE) - PAGE, was;

		if (ranges[i].type != 1 || last < ranges[i].start || last < 1 << 20)
			continue;
		*space_entry(root, T_BASE, 0) = last | PTE_P | PTE_W;
		invlpg(T_BASE);
		was = peek(T_BASE + 8);
		poke(T_BASE + 8, ~was);
		CHECK(peek(T_BASE + 8) == ~was, "0x%lx is no memory", last);
		poke(T_BASE + 8, was);
	}
	space_leave();
}
BARETEST(beyond_edges, "beyond/edges", edges);
