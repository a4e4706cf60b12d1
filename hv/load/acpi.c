/* The guest's ACPI tables. See acpi.h.
 *
 *	RSDP -> XSDT, RSDT -> FADT -> DSDT, FACS
 *	                      MADT, and with nodes SRAT, SLIT
 *
 * ACPI 6.4: 5.2.5 (RSDP), 5.2.7, 5.2.8 (RSDT, XSDT), 5.2.9 (FADT), 5.2.12 (MADT), 5.2.16
 *(SRAT), 5.2.17 (SLIT).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "load/acpi.h"

#include "dev/ioapic.h"
#include "dev/pm.h"

/* The DSDT's body, behind its header. Made with iasl from:
 *
 *	DefinitionBlock ("dsdt.aml", "DSDT", 2, "TWOFLD", "TWOFOLD ", 1)
 *	{
 *	    Name (\_S5, Package (4) { 5, 5, 0, 0 })
 *	    Scope (\_SB)
 *	    {
 *	        Device (COM1)
 *	        {
 *	            Name (_HID, EisaId ("PNP0501"))
 *	            Name (_UID, 1)
 *	            Name (_STA, 0x0F)
 *	            Name (_CRS, ResourceTemplate ()
 *	            {
 *	                IO (Decode16, 0x03F8, 0x03F8, 0x00, 0x08)
 *	                IRQNoFlags () {4}
 *	            })
 *	        }
 *	        Device (RTC)
 *	        {
 *	            Name (_HID, EisaId ("PNP0B00"))
 *	            Name (_STA, 0x0F)
 *	            Name (_CRS, ResourceTemplate ()
 *	            {
 *	                IO (Decode16, 0x0070, 0x0070, 0x00, 0x02)
 *	            })
 *	        }
 *	    }
 *	}
 */
static const uint8_t dsdt_body[] = {
	0x08, 0x5f, 0x53, 0x35, 0x5f, 0x12, 0x08, 0x04, 0x0a, 0x05, 0x0a, 0x05, 0x00, 0x00, 0x10,
	0x45, 0x06, 0x5f, 0x53, 0x42, 0x5f, 0x5b, 0x82, 0x32, 0x43, 0x4f, 0x4d, 0x31, 0x08, 0x5f,
	0x48, 0x49, 0x44, 0x0c, 0x41, 0xd0, 0x05, 0x01, 0x08, 0x5f, 0x55, 0x49, 0x44, 0x01, 0x08,
	0x5f, 0x53, 0x54, 0x41, 0x0a, 0x0f, 0x08, 0x5f, 0x43, 0x52, 0x53, 0x11, 0x10, 0x0a, 0x0d,
	0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x00, 0x08, 0x22, 0x10, 0x00, 0x79, 0x00, 0x5b, 0x82,
	0x29, 0x52, 0x54, 0x43, 0x5f, 0x08, 0x5f, 0x48, 0x49, 0x44, 0x0c, 0x41, 0xd0, 0x0b, 0x00,
	0x08, 0x5f, 0x53, 0x54, 0x41, 0x0a, 0x0f, 0x08, 0x5f, 0x43, 0x52, 0x53, 0x11, 0x0d, 0x0a,
	0x0a, 0x47, 0x01, 0x70, 0x00, 0x70, 0x00, 0x00, 0x02, 0x79, 0x00,
};

enum {
	HEADER_BYTES = 36,
	RSDP_BYTES = 36,
	FACS_BYTES = 64,
	FADT_BYTES = 276,
	TABLES_MAX = 4, /* FADT MADT SRAT SLIT */

	/* FADT's flags. */
	FADT_WBINVD = 1 << 0,
	FADT_C1 = 1 << 2,
	FADT_NO_POWER_BUTTON = 1 << 4,
	FADT_NO_SLEEP_BUTTON = 1 << 5,
	FADT_NO_RTC_WAKE = 1 << 6,
	FADT_TIMER_32 = 1 << 8,
	FADT_RESET = 1 << 10,
	/* and its words on what a PC has: nothing of it. */
	BOOT_NO_VGA = 1 << 2,
	BOOT_NO_MSI = 1 << 3,
	BOOT_NO_ASPM = 1 << 4,

	SCI = 9,
	ISA_LEVEL_HIGH = 0x0d,
	X2_FIRST = 255, /* ids that a byte cannot hold */
};

/* The tables grow in a buffer whose first byte is guest address `base`. `used` may run past `size`:
 * then nothing is written, and the caller sees it. */
struct build {
	uint8_t *buf;
	size_t size, used;
	uint64_t base;
};

static void put(struct build *b, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++, v >>= 8) {
		if (b->used < b->size)
			b->buf[b->used] = (uint8_t)v;
		b->used++;
	}
}

static void put_text(struct build *b, const char *s, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		put(b, (uint8_t)s[i], 1);
}

static void put_zeroes(struct build *b, size_t bytes)
{
	while (bytes--)
		put(b, 0, 1);
}

static void align(struct build *b, size_t to)
{
	put_zeroes(b, -b->used & (to - 1));
}

static void patch(struct build *b, size_t at, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++, v >>= 8)
		if (at + i < b->size)
			b->buf[at + i] = (uint8_t)v;
}

/* Set the byte at `sum` so that the bytes from start to end add up to zero. */
static void checksum(struct build *b, size_t start, size_t end, size_t sum)
{
	uint8_t total = 0;

	if (end > b->size)
		return;
	b->buf[sum] = 0;
	for (size_t i = start; i < end; i++)
		total = (uint8_t)(total + b->buf[i]);
	b->buf[sum] = (uint8_t)-total;
}

static size_t table_begin(struct build *b, const char *signature, uint8_t revision)
{
	size_t start;

	align(b, 16);
	start = b->used;
	put_text(b, signature, 4);
	put(b, 0, 4); /* length: table_end */
	put(b, revision, 1);
	put(b, 0, 1); /* checksum: table_end */
	put_text(b, "TWOFLDTWOFOLD ", 14);
	put(b, 1, 4);
	put_text(b, "TWOF", 4);
	put(b, 1, 4);
	return start;
}

static void table_end(struct build *b, size_t start)
{
	patch(b, start + 4, b->used - start, 4);
	checksum(b, start, b->used, start + 9);
}

static size_t build_facs(struct build *b)
{
	size_t start;

	align(b, 64);
	start = b->used;
	put_text(b, "FACS", 4);
	put(b, FACS_BYTES, 4);
	put_zeroes(b, 24);
	put(b, 2, 1);
	put_zeroes(b, FACS_BYTES - 33);
	return start;
}

static size_t build_dsdt(struct build *b)
{
	size_t start = table_begin(b, "DSDT", 2);

	put_text(b, (const char *)dsdt_body, sizeof(dsdt_body));
	table_end(b, start);
	return start;
}

static void put_io_register(struct build *b, uint16_t port, unsigned int bytes)
{
	put(b, port ? 1 : 0, 1); /* system I/O */
	put(b, port ? bytes * 8 : 0, 1);
	put(b, 0, 1);
	put(b, port ? (bytes == 4 ? 3 : bytes) : 0, 1);
	put(b, port, 8);
}

static size_t build_fadt(struct build *b, const struct acpi_config *c, size_t facs, size_t dsdt)
{
	size_t start = table_begin(b, "FACP", 6);

	put(b, b->base + facs, 4);
	put(b, b->base + dsdt, 4);
	put(b, 0, 1);
	put(b, 4, 1); /* an enterprise server */
	put(b, SCI, 2);
	put_zeroes(b, 8); /* no SMI command: ACPI is always on */
	put(b, PM_EVENT_PORT, 4);
	put(b, 0, 4);
	put(b, PM_CONTROL_PORT, 4);
	put_zeroes(b, 8);
	put(b, c->pm_timer, 4);
	put_zeroes(b, 8); /* no GPE blocks */
	put(b, 4, 1);
	put(b, 2, 1);
	put(b, 0, 1);
	put(b, c->pm_timer ? 4 : 0, 1);
	put_zeroes(b, 4);
	put(b, 0xffff, 2); /* no C2 */
	put(b, 0xffff, 2); /* no C3 */
	put_zeroes(b, 8);
	put(b, 0x32, 1); /* where the CMOS clock keeps the century */
	put(b, BOOT_NO_VGA | BOOT_NO_MSI | BOOT_NO_ASPM, 2);
	put(b, 0, 1);
	put(b,
	    FADT_WBINVD | FADT_C1 | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON | FADT_NO_RTC_WAKE |
		    FADT_RESET | (c->pm_timer_32 ? FADT_TIMER_32 : 0),
	    4);
	put_io_register(b, PM_RESET_PORT, 1);
	put(b, PM_RESET_VALUE, 1);
	put_zeroes(b, 3);
	put(b, 0, 8); /* the FACS lies below 4 GiB */
	put(b, b->base + dsdt, 8);
	put_io_register(b, PM_EVENT_PORT, 4);
	put_io_register(b, 0, 0);
	put_io_register(b, PM_CONTROL_PORT, 2);
	put_io_register(b, 0, 0);
	put_io_register(b, 0, 0);
	put_io_register(b, c->pm_timer, 4);
	put_zeroes(b, FADT_BYTES - (b->used - start));
	table_end(b, start);
	return start;
}

static void put_override(struct build *b, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	put(b, 2, 1);
	put(b, 10, 1);
	put(b, 0, 1); /* ISA */
	put(b, irq, 1);
	put(b, gsi, 4);
	put(b, flags, 2);
}

static uint32_t id_of(const struct acpi_config *c, unsigned int cpu)
{
	return c->apic_id ? c->apic_id[cpu] : cpu;
}

static size_t build_madt(struct build *b, const struct acpi_config *c)
{
	size_t start = table_begin(b, "APIC", 4);

	put(b, LAPIC_DEFAULT_BASE, 4);
	put(b, 1, 4); /* a pair of 8259 is there, too */
	for (unsigned int i = 0; i < c->cpus; i++) {
		uint32_t id = id_of(c, i);
		bool x2 = id >= X2_FIRST;

		put(b, x2 ? 9 : 0, 1);
		put(b, x2 ? 16 : 8, 1);
		if (x2) {
			put(b, 0, 2);
			put(b, id, 4);
			put(b, 1, 4); /* enabled */
			put(b, i, 4);
		} else {
			put(b, i, 1);
			put(b, id, 1);
			put(b, 1, 4);
		}
	}
	put(b, 1, 1); /* IOAPIC */
	put(b, 12, 1);
	put(b, 0, 2);
	put(b, IOAPIC_BASE, 4);
	put(b, 0, 4);
	put_override(b, 0, 2, 0);
	put_override(b, SCI, SCI, ISA_LEVEL_HIGH);
	put(b, 4, 1); /* NMI at LINT1 of all */
	put(b, 6, 1);
	put(b, 0xff, 1);
	put(b, 0, 2);
	put(b, 1, 1);
	table_end(b, start);
	return start;
}

static void put_cpu_affinity(struct build *b, uint32_t id, uint32_t node)
{
	if (id >= X2_FIRST) {
		put(b, 2, 1);
		put(b, 24, 1);
		put(b, 0, 2);
		put(b, node, 4);
		put(b, id, 4);
		put(b, 1, 4);
		put(b, 0, 8);
	} else {
		put(b, 0, 1);
		put(b, 16, 1);
		put(b, node & 0xff, 1);
		put(b, id, 1);
		put(b, 1, 4);
		put(b, 0, 1);
		put(b, node >> 8, 3);
		put(b, 0, 4);
	}
}

/* The CPUs go by their nodes: Linux numbers nodes as it meets them here. */
static size_t build_srat(struct build *b, const struct acpi_config *c)
{
	size_t start = table_begin(b, "SRAT", 3);

	put(b, 1, 4);
	put(b, 0, 8);
	for (unsigned int node = 0; node < c->nodes; node++)
		for (unsigned int i = 0; i < c->cpus; i++)
			if (c->cpu_node[i] == node)
				put_cpu_affinity(b, id_of(c, i), node);
	for (unsigned int i = 0; i < c->ranges; i++) {
		put(b, 1, 1);
		put(b, 40, 1);
		put(b, c->range[i].node, 4);
		put(b, 0, 2);
		put(b, c->range[i].start, 8);
		put(b, c->range[i].bytes, 8);
		put(b, 0, 4);
		put(b, 1, 4);
		put(b, 0, 8);
	}
	table_end(b, start);
	return start;
}

static size_t build_slit(struct build *b, const struct acpi_config *c)
{
	size_t start = table_begin(b, "SLIT", 1);

	put(b, c->nodes, 8);
	for (unsigned int i = 0; i < c->nodes; i++)
		for (unsigned int k = 0; k < c->nodes; k++)
			put(b, c->distance ? c->distance[i * c->nodes + k] : i == k ? 10 : 20, 1);
	table_end(b, start);
	return start;
}

static size_t build_root(struct build *b, const char *signature, unsigned int bytes,
			 const size_t *table, unsigned int tables)
{
	size_t start = table_begin(b, signature, 1);

	for (unsigned int i = 0; i < tables; i++)
		put(b, b->base + table[i], bytes);
	table_end(b, start);
	return start;
}

size_t acpi_build(const struct acpi_config *c, uint8_t *buf, size_t size, uint64_t base)
{
	struct build b = {.buf = buf, .size = size, .base = base};
	size_t table[TABLES_MAX], facs, dsdt, rsdt, xsdt;
	unsigned int tables = 0;

	put_text(&b, "RSD PTR ", 8);
	put(&b, 0, 1);
	put_text(&b, "TWOFLD", 6);
	put(&b, 2, 1);
	put_zeroes(&b, RSDP_BYTES - 16);

	facs = build_facs(&b);
	dsdt = build_dsdt(&b);
	table[tables++] = build_fadt(&b, c, facs, dsdt);
	table[tables++] = build_madt(&b, c);
	if (c->nodes > 1) {
		table[tables++] = build_srat(&b, c);
		table[tables++] = build_slit(&b, c);
	}
	rsdt = build_root(&b, "RSDT", 4, table, tables);
	xsdt = build_root(&b, "XSDT", 8, table, tables);

	patch(&b, 16, base + rsdt, 4);
	patch(&b, 20, RSDP_BYTES, 4);
	patch(&b, 24, base + xsdt, 8);
	checksum(&b, 0, 20, 8);
	checksum(&b, 0, RSDP_BYTES, 32);
	return b.used <= size ? b.used : 0;
}
