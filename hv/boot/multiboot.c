/* Reading what the multiboot loader left (Multiboot specification 0.6.96, 3.3): all of it is copied
 * before anything else may overwrite it.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "boot/multiboot.h"

#include "core/string.h"
#include "core/vm.h"

struct boot_info boot_info;

static const char *skip_word(const char *s)
{
	while (*s && *s != ' ')
		s++;
	while (*s == ' ')
		s++;
	return s;
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	if (n >= size)
		vm_fail("a command line is longer than %lu bytes", size - 1);
	memcpy(to, from, n + 1);
}

/* Insert a RAM range in order; overlapping and touching ranges become one. */
static void range_add(uint64_t start, uint64_t end)
{
	struct boot_range *r = boot_info.range;
	unsigned int i = 0;

	start = (start + 4095) & ~4095ull;
	end &= ~4095ull;
	if (start >= end)
		return;
	while (i < boot_info.ranges && r[i].end < start)
		i++;
	if (i < boot_info.ranges && r[i].start <= end) {
		if (start < r[i].start)
			r[i].start = start;
		if (end > r[i].end)
			r[i].end = end;
		return;
	}
	if (boot_info.ranges == BOOT_RANGES_MAX)
		return;
	memmove(&r[i + 1], &r[i], (boot_info.ranges - i) * sizeof(*r));
	r[i] = (struct boot_range){start, end};
	boot_info.ranges++;
}

/* A range that is not RAM wins over one that says it is. */
static void range_remove(uint64_t start, uint64_t end)
{
	struct boot_range *r = boot_info.range;

	start &= ~4095ull;
	end = (end + 4095) & ~4095ull;
	for (unsigned int i = 0; i < boot_info.ranges; i++) {
		uint64_t tail = r[i].end;

		if (r[i].end <= start || r[i].start >= end)
			continue;
		if (r[i].start < start) {
			r[i].end = start;
			if (tail > end)
				range_add(end, tail);
		} else if (tail > end) {
			r[i].start = end;
		} else {
			memmove(&r[i], &r[i + 1], (boot_info.ranges - i - 1) * sizeof(*r));
			boot_info.ranges--;
			i--;
		}
	}
}

static void read_mmap(const struct multiboot_info *mbi)
{
	for (int ram = 1; ram >= 0; ram--) {
		uint32_t at = mbi->mmap_addr;

		while (at < mbi->mmap_addr + mbi->mmap_length) {
			const struct multiboot_mmap *m = (const void *)(uintptr_t)at;
			uint64_t end = m->base + m->bytes;

			if (end > m->base && (m->type == 1) == ram) {
				if (ram)
					range_add(m->base, end);
				else
					range_remove(m->base, end);
			}
			at += m->size + 4;
		}
	}
}

void multiboot_read(const struct multiboot_info *mbi, uint32_t magic)
{
	const struct multiboot_module *mod;

	if (magic != MULTIBOOT_BOOTED)
		vm_fail("not started by a multiboot loader");
	if (!(mbi->flags & MULTIBOOT_HAS_MMAP))
		vm_fail("the boot loader gives no memory map");
	/* The loader puts the image's file name first; its words have no '=' and are skipped. */
	if (mbi->flags & MULTIBOOT_HAS_CMDLINE)
		copy_text(boot_info.cmdline, sizeof(boot_info.cmdline),
			  (const char *)(uintptr_t)mbi->cmdline);
	read_mmap(mbi);
	if (!(mbi->flags & MULTIBOOT_HAS_MODULES))
		return;
	mod = (const void *)(uintptr_t)mbi->mods_addr;
	for (unsigned int i = 0; i < mbi->mods_count && i < BOOT_MODULES_MAX; i++) {
		struct boot_module *m = &boot_info.module[i];

		m->start = mod[i].start;
		m->end = mod[i].end;
		if (mod[i].string)
			copy_text(m->args, sizeof(m->args),
				  skip_word((const char *)(uintptr_t)mod[i].string));
		boot_info.modules++;
	}
}
