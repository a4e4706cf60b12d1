/* The machine's ACPI tables: MADT (CPUs, IOAPIC), SRAT (nodes), FADT and \_S5 (power off).
 * ACPI specification 6.4, chapters 5.2 and 16.1. Constant after acpi_read().
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "boot/acpi.h"

#include "core/log.h"
#include "core/string.h"
#include "cpu/x86.h"

struct acpi_info acpi;

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

static uint32_t domain_of_node[ACPI_NODES_MAX];

static uint16_t load16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t load32(const uint8_t *p)
{
	return load16(p) | (uint32_t)load16(p + 2) << 16;
}

static uint64_t load64(const uint8_t *p)
{
	return load32(p) | (uint64_t)load32(p + 4) << 32;
}

static bool sum_is_zero(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *p++);
	return sum == 0;
}

static const uint8_t *find_rsdp_in(uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a + 20 <= end; a += 16) {
		const uint8_t *p = (const uint8_t *)(uintptr_t)a;

		if (!memcmp(p, "RSD PTR ", 8) && sum_is_zero(p, 20))
			return p;
	}
	return NULL;
}

static const uint8_t *find_rsdp(void)
{
	uint16_t segment;
	const uint8_t *p = NULL;

	/* The word at 0x40e names the extended BIOS data area. */
	__asm__("movw 0x40e, %0" : "=r"(segment));
	if (segment)
		p = find_rsdp_in((uint64_t)segment << 4, ((uint64_t)segment << 4) + 1024);
	return p ? p : find_rsdp_in(0xe0000, 0x100000);
}

/* Nodes are numbered in the order of their proximity domains. */
static void add_domain(uint32_t domain)
{
	uint32_t i = 0;

	while (i < acpi.nodes && domain_of_node[i] < domain)
		i++;
	if (acpi.nodes == ACPI_NODES_MAX || (i < acpi.nodes && domain_of_node[i] == domain))
		return;
	memmove(&domain_of_node[i + 1], &domain_of_node[i],
		(acpi.nodes - i) * sizeof(domain_of_node[0]));
	domain_of_node[i] = domain;
	acpi.nodes++;
}

/* 0 for a domain that found no room. */
static uint32_t node_of_domain(uint32_t domain)
{
	for (uint32_t i = 0; i < acpi.nodes; i++)
		if (domain_of_node[i] == domain)
			return i;
	return 0;
}

static void add_cpu(uint32_t apic_id, uint32_t flags)
{
	if (!(flags & 1))
		return;
	if (acpi.cpus == TF_MAX_VCPUS) {
		log_info("CPUs beyond %u are left alone", TF_MAX_VCPUS);
		return;
	}
	acpi.apic_id[acpi.cpus++] = apic_id;
}

static void read_madt(const uint8_t *t, uint32_t length)
{
	acpi.lapic = load32(t + 36);
	for (uint32_t at = 44; at + 2 <= length && t[at + 1] >= 2; at += t[at + 1]) {
		const uint8_t *e = t + at;

		switch (e[0]) {
		case 0: /* local APIC */
			add_cpu(e[3], load32(e + 4));
			break;
		case 1: /* IOAPIC */
			if (load32(e + 8) == 0)
				acpi.ioapic = load32(e + 4);
			break;
		case 2: /* interrupt source override */
			if (e[3] == 4) {
				acpi.com1_gsi = load32(e + 4);
				acpi.com1_low = (load16(e + 8) & 3) == 3;
				acpi.com1_level = ((load16(e + 8) >> 2) & 3) == 3;
			}
			break;
		case 5: /* local APIC address override */
			acpi.lapic = load64(e + 4);
			break;
		case 9: /* local x2APIC: those below 255 are listed as local APICs */
			if (load32(e + 4) >= 255)
				log_info("a CPU with x2APIC id %u is left alone", load32(e + 4));
			break;
		}
	}
}

static void set_cpu_node(uint32_t apic_id, uint32_t node)
{
	for (unsigned int i = 0; i < acpi.cpus; i++)
		if (acpi.apic_id[i] == apic_id)
			acpi.cpu_node[i] = node;
}

/* An entry of the SRAT, as far as it matters here. */
struct affinity {
	enum {
		AFFINITY_NONE,
		AFFINITY_CPU,
		AFFINITY_MEMORY,
	} kind;
	uint32_t domain, apic_id;
	uint64_t start, bytes;
};

static struct affinity read_affinity(const uint8_t *e)
{
	struct affinity a = {.kind = AFFINITY_NONE};

	if (e[0] == 0 && (load32(e + 4) & 1)) {
		a.kind = AFFINITY_CPU;
		a.domain = e[2] | (load32(e + 8) & 0xffffff00);
		a.apic_id = e[3];
	} else if (e[0] == 1 && (load32(e + 28) & 1) && load64(e + 16)) {
		a.kind = AFFINITY_MEMORY;
		a.domain = load32(e + 2);
		a.start = load64(e + 8);
		a.bytes = load64(e + 16);
	} else if (e[0] == 2 && (load32(e + 12) & 1)) {
		a.kind = AFFINITY_CPU;
		a.domain = load32(e + 4);
		a.apic_id = load32(e + 8);
	}
	return a;
}

/* After the MADT, which lists the CPUs. First all domains, then who belongs to them. */
static void read_srat(const uint8_t *t, uint32_t length)
{
	acpi.nodes = 0;
	for (unsigned int pass = 0; pass < 2; pass++) {
		for (uint32_t at = 48; at + 2 <= length && t[at + 1] >= 2; at += t[at + 1]) {
			const struct affinity a = read_affinity(t + at);
			uint32_t node = node_of_domain(a.domain);

			if (a.kind == AFFINITY_NONE)
				continue;
			if (pass == 0)
				add_domain(a.domain);
			else if (a.kind == AFFINITY_CPU)
				set_cpu_node(a.apic_id, node);
			else if (acpi.ranges < ACPI_RANGES_MAX)
				acpi.range[acpi.ranges++] =
					(struct acpi_memory){a.start, a.start + a.bytes, node};
		}
	}
	if (!acpi.nodes)
		acpi.nodes = 1;
}

/* Its name, PackageOp, the package's length and count, two elements: it may be the table's last. */
#define S5_BYTES_MIN 9

/* \_S5 is a package of bytes: find it in the definition block without an interpreter. The package
 * holds SLP_TYPa and SLP_TYPb, each a byte constant or Zero or One. */
static void read_s5(const uint8_t *t, uint32_t length)
{
	const uint8_t *end = t + length;

	for (uint32_t i = 36; i + S5_BYTES_MIN <= length; i++) {
		const uint8_t *p = t + i;
		uint8_t type[2];

		if (memcmp(p, "_S5_", 4) || p[4] != 0x12)
			continue;
		p += 5;
		p += 1 + (p[0] >> 6); /* package length */
		p++;		      /* number of elements */
		for (int k = 0; k < 2; k++) {
			if (p < end && *p == 0x0a)
				p++;
			type[k] = p < end ? *p++ : 0;
		}
		acpi.sleep_a = (uint16_t)(1 << 13 | (type[0] & 7) << 10);
		acpi.sleep_b = (uint16_t)(1 << 13 | (type[1] & 7) << 10);
		acpi.has_sleep = true;
		return;
	}
}

static void read_fadt(const uint8_t *t, uint32_t length)
{
	uint64_t dsdt = load32(t + 40);

	acpi.smi_cmd = (uint16_t)load32(t + 48);
	acpi.acpi_enable = t[52];
	acpi.pm1a = (uint16_t)load32(t + 64);
	acpi.pm1b = (uint16_t)load32(t + 68);
	acpi.pm_timer = (uint16_t)load32(t + 76);
	if (length >= 148 && load64(t + 140))
		dsdt = load64(t + 140);
	if (dsdt) {
		const uint8_t *d = (const uint8_t *)(uintptr_t)dsdt;

		read_s5(d, load32(d + 4));
	}
}

static void for_each_table(const uint8_t *rsdp, const char *signature,
			   void (*read)(const uint8_t *, uint32_t))
{
	bool wide = rsdp[15] >= 2 && load64(rsdp + 24);
	uint64_t root = wide ? load64(rsdp + 24) : load32(rsdp + 16);
	const struct header *h = (const struct header *)(uintptr_t)root;
	unsigned int each = wide ? 8 : 4;

	for (uint32_t at = sizeof(*h); at + each <= h->length; at += each) {
		const uint8_t *entry = (const uint8_t *)h + at;
		uint64_t pa = wide ? load64(entry) : load32(entry);
		const struct header *t = (const struct header *)(uintptr_t)pa;

		if (pa && !memcmp(t->signature, signature, 4))
			read((const uint8_t *)t, t->length);
	}
}

void acpi_read(void)
{
	const uint8_t *rsdp = find_rsdp();

	acpi.nodes = 1;
	acpi.lapic = 0xfee00000;
	acpi.com1_gsi = 4;
	if (rsdp) {
		for_each_table(rsdp, "APIC", read_madt);
		for_each_table(rsdp, "SRAT", read_srat);
		for_each_table(rsdp, "FACP", read_fadt);
	}
	if (!acpi.cpus) {
		log_info("no MADT: one CPU only");
		acpi.cpus = 1;
		acpi.apic_id[0] = x86_cpuid(1, 0).ebx >> 24;
	}
}

unsigned int acpi_node_of(uint64_t pa)
{
	for (unsigned int i = 0; i < acpi.ranges; i++)
		if (pa >= acpi.range[i].start && pa < acpi.range[i].end)
			return acpi.range[i].node;
	return 0;
}

void acpi_power_off(void)
{
	if (!acpi.pm1a || !acpi.has_sleep)
		return;
	if (acpi.smi_cmd && acpi.acpi_enable && !(x86_inw(acpi.pm1a) & 1)) {
		x86_outb((uint16_t)acpi.smi_cmd, acpi.acpi_enable);
		for (int i = 0; i < 100000 && !(x86_inw(acpi.pm1a) & 1); i++)
			x86_pause();
	}
	x86_outw(acpi.pm1a, acpi.sleep_a);
	if (acpi.pm1b)
		x86_outw(acpi.pm1b, acpi.sleep_b);
}
