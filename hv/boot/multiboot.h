/* What the multiboot loader tells (Multiboot specification 0.6.96, 3.3).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_BOOT_MULTIBOOT_H
#define HV_BOOT_MULTIBOOT_H

#include <stdint.h>

#define MULTIBOOT_BOOTED 0x2badb002u

#define MULTIBOOT_HAS_CMDLINE (1u << 2)
#define MULTIBOOT_HAS_MODULES (1u << 3)
#define MULTIBOOT_HAS_MMAP    (1u << 6)

struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper;
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
};

struct multiboot_module {
	uint32_t start, end; /* half-open */
	uint32_t string;
	uint32_t pad;
};

struct multiboot_mmap {
	uint32_t size; /* of what follows this word */
	uint64_t base, bytes;
	uint32_t type; /* 1: RAM */
} __attribute__((packed));

/* A module, copied out of the loader's memory. */
#define BOOT_MODULES_MAX 2
#define BOOT_TEXT_MAX	 2048
#define BOOT_CMDLINE_MAX 20480 /* the distances of 64 nodes are long */

struct boot_module {
	uint64_t start, end;
	char args[BOOT_TEXT_MAX]; /* what follows the file name */
};

struct boot_range {
	uint64_t start, end;
};

#define BOOT_RANGES_MAX 64

struct boot_info {
	char cmdline[BOOT_CMDLINE_MAX];
	unsigned int modules;
	struct boot_module module[BOOT_MODULES_MAX];
	unsigned int ranges; /* RAM, sorted, page-aligned, no overlaps */
	struct boot_range range[BOOT_RANGES_MAX];
};

extern struct boot_info boot_info;

/* Copy everything of interest to boot_info. */
void multiboot_read(const struct multiboot_info *mbi, uint32_t magic);

#endif
