/* Multiboot kernels. See multiboot.h. Multiboot specification 0.6.96, chapter 3.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "load/multiboot.h"

#include "core/string.h"
#include "load/flat.h"

#define HEADER_MAGIC 0x1badb002u
#define BOOT_MAGIC   0x2badb002u

enum {
	HEADER_SEARCH = 8192,
	HEADER_ADDRESSES = 1 << 16,
	/* Mandatory features that we know: page-aligned modules, memory information. A wished
	 * video mode (bit 2) is a wish. */
	HEADER_KNOWN = 7,

	INFO_MEMORY = 1 << 0,
	INFO_CMDLINE = 1 << 2,
	INFO_MODULES = 1 << 3,
	INFO_MMAP = 1 << 6,
	INFO_LOADER = 1 << 9,
	INFO_BYTES = 120,

	ELF_HEADER = 52,
	ELF_PHDR = 32,
	ELF_PT_LOAD = 1,
	ELF_MACHINE_386 = 3,
	ELF_MAX_PHDRS = 64,
};

struct header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end, bss_end, entry;
};

struct elf_phdr {
	uint32_t type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

/* What was loaded. */
struct kernel {
	uint64_t end;
	uint32_t entry;
};

/* The header's place in the file, or -1. */
static long find_header(const uint8_t *f, size_t bytes, struct header *h)
{
	size_t end = bytes < HEADER_SEARCH ? bytes : HEADER_SEARCH;

	memset(h, 0, sizeof(*h));
	for (size_t at = 0; at + 12 <= end; at += 4) {
		size_t n = bytes - at < sizeof(*h) ? bytes - at : sizeof(*h);

		memcpy(h, f + at, n);
		if (h->magic == HEADER_MAGIC && h->magic + h->flags + h->checksum == 0) {
			if ((h->flags & HEADER_ADDRESSES) && n < sizeof(*h))
				return -1;
			return (long)at;
		}
	}
	return -1;
}

bool multiboot_is(const void *data, size_t bytes)
{
	struct header h;

	return find_header(data, bytes, &h) >= 0;
}

/* Load one piece: file bytes, then zeroes (fresh guest memory is zero) up to memsz. */
static bool load_piece(const struct guestmem *mem, const struct load_input *in, uint64_t offset,
		       uint64_t gpa, uint64_t filesz, uint64_t memsz, struct kernel *k,
		       struct load_error *err)
{
	if (offset > in->kernel.bytes || filesz > in->kernel.bytes - offset)
		return load_fail(err,
				 "the multiboot kernel is cut short: it promises %lu bytes, the "
				 "file has %lu",
				 (unsigned long)(offset + filesz), (unsigned long)in->kernel.bytes);
	if (memsz < filesz)
		memsz = filesz;
	if (memsz > in->map->low_end || gpa > in->map->low_end - memsz)
		return load_fail(err,
				 "the multiboot kernel wants memory up to 0x%lx, the guest has it "
				 "up to 0x%lx",
				 (unsigned long)(gpa + memsz), (unsigned long)in->map->low_end);
	if (gpa < FLAT_END && gpa + memsz > FLAT_INFO)
		return load_fail(err,
				 "the multiboot kernel wants 0x%lx..0x%lx, where the boot "
				 "information is",
				 (unsigned long)gpa, (unsigned long)(gpa + memsz));
	if (gpa + memsz > k->end)
		k->end = gpa + memsz;
	return load_write(mem, gpa, (const uint8_t *)in->kernel.data + offset, filesz, err);
}

static bool load_by_addresses(const struct guestmem *mem, const struct load_input *in, uint64_t at,
			      const struct header *h, struct kernel *k, struct load_error *err)
{
	uint64_t before = h->header_addr - h->load_addr;
	uint64_t offset, bytes;

	if (h->header_addr < h->load_addr || before > at ||
	    (h->load_end && h->load_end < h->load_addr))
		return load_fail(err, "the multiboot header's addresses contradict each other");
	offset = at - before;
	bytes = h->load_end ? h->load_end - h->load_addr : in->kernel.bytes - offset;
	k->entry = h->entry;
	return load_piece(mem, in, offset, h->load_addr, bytes,
			  h->bss_end > h->load_addr ? h->bss_end - h->load_addr : bytes, k, err);
}

static bool load_elf(const struct guestmem *mem, const struct load_input *in, struct kernel *k,
		     struct load_error *err)
{
	const uint8_t *f = in->kernel.data;
	uint32_t phoff;
	uint16_t machine, phentsize, phnum;
	bool any = false;

	if (in->kernel.bytes < ELF_HEADER || memcmp(f, "\177ELF", 4))
		return load_fail(err,
				 "the multiboot kernel is no ELF file and has no addresses in its "
				 "header");
	memcpy(&machine, f + 18, 2);
	if (f[4] != 1 || f[5] != 1 || machine != ELF_MACHINE_386)
		return load_fail(err, "the multiboot kernel is no 32-bit x86 ELF file (objcopy -O "
				      "elf32-i386 makes one)");
	memcpy(&k->entry, f + 24, 4);
	memcpy(&phoff, f + 28, 4);
	memcpy(&phentsize, f + 42, 2);
	memcpy(&phnum, f + 44, 2);
	if (phentsize < ELF_PHDR || phnum > ELF_MAX_PHDRS || phoff > in->kernel.bytes ||
	    (uint64_t)phnum * phentsize > in->kernel.bytes - phoff)
		return load_fail(err,
				 "the multiboot kernel is cut short inside its program headers");
	for (unsigned int i = 0; i < phnum; i++) {
		struct elf_phdr p;

		memcpy(&p, f + phoff + i * phentsize, sizeof(p));
		if (p.type != ELF_PT_LOAD || p.memsz == 0)
			continue;
		if (!load_piece(mem, in, p.offset, p.paddr, p.filesz, p.memsz, k, err))
			return false;
		any = true;
	}
	return any ? true : load_fail(err, "the multiboot kernel has nothing to load");
}

/* Text and tables behind the information, growing. */
struct pen {
	const struct guestmem *mem;
	struct load_error *err;
	uint64_t at;
	bool good;
};

static uint32_t put(struct pen *p, const void *data, size_t n)
{
	uint64_t at = p->at;

	if (n > FLAT_END - at) {
		p->good = load_fail(p->err, "the guest's command line is too long");
		return 0;
	}
	p->good = p->good && load_write(p->mem, at, data, n, p->err);
	p->at = (at + n + 3) & ~UINT64_C(3);
	return (uint32_t)at;
}

/* A command line begins with the program's name. */
static uint32_t put_line(struct pen *p, const char *name, const char *args)
{
	uint32_t at = put(p, name, strlen(name));

	p->at = at + strlen(name);
	if (*args)
		put(p, " ", 1);
	p->at = at + strlen(name) + (*args ? 1 : 0);
	put(p, args, strlen(args) + 1);
	return at;
}

static bool put_info(const struct guestmem *mem, const struct load_input *in, uint64_t initrd,
		     struct load_error *err)
{
	struct pen p = {.mem = mem, .err = err, .at = FLAT_STRINGS, .good = true};
	uint32_t info[INFO_BYTES / 4] = {0};

	info[0] = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER;
	info[1] = 639;
	info[2] = (uint32_t)((in->map->low_end - 0x100000) / 1024);
	info[11] = in->map->count * 24;
	info[12] = (uint32_t)p.at;
	for (unsigned int i = 0; i < in->map->count; i++) {
		const struct e820_entry *e = &in->map->e[i];
		uint32_t words[6] = {20,
				     (uint32_t)e->start,
				     (uint32_t)(e->start >> 32),
				     (uint32_t)e->bytes,
				     (uint32_t)(e->bytes >> 32),
				     e->type};

		put(&p, words, sizeof(words));
	}
	info[4] = put_line(&p, "kernel", in->kernel.args);
	info[16] = put_line(&p, "twofold", "");
	if (in->has_initrd) {
		uint32_t mod[4] = {(uint32_t)initrd, (uint32_t)(initrd + in->initrd.bytes), 0, 0};

		mod[2] = put_line(&p, "initrd", in->initrd.args);
		info[0] |= INFO_MODULES;
		info[5] = 1;
		info[6] = put(&p, mod, sizeof(mod));
	}
	return p.good && load_write(mem, FLAT_INFO, info, sizeof(info), err);
}

bool multiboot_load(const struct guestmem *mem, const struct load_input *in, struct load_entry *out,
		    struct load_error *err)
{
	struct kernel k = {0};
	struct header h;
	long at = find_header(in->kernel.data, in->kernel.bytes, &h);
	uint64_t initrd;

	memset(out, 0, sizeof(*out));
	if (at < 0)
		return load_fail(err, "the kernel has no multiboot header");
	if (h.flags & 0xffff & ~HEADER_KNOWN)
		return load_fail(err,
				 "the multiboot kernel demands features 0x%x, which do not exist",
				 h.flags & 0xffff & ~HEADER_KNOWN);
	if (h.flags & HEADER_ADDRESSES ? !load_by_addresses(mem, in, (uint64_t)at, &h, &k, err)
				       : !load_elf(mem, in, &k, err))
		return false;
	initrd = (k.end + TF_PAGE_MASK) & ~(uint64_t)TF_PAGE_MASK;
	if (in->has_initrd) {
		if (in->initrd.bytes > in->map->low_end ||
		    initrd > in->map->low_end - in->initrd.bytes)
			return load_fail(err,
					 "the guest's memory ends at 0x%lx; kernel and module need "
					 "0x%lx",
					 (unsigned long)in->map->low_end,
					 (unsigned long)(initrd + in->initrd.bytes));
		if (!load_write(mem, initrd, in->initrd.data, in->initrd.bytes, err))
			return false;
	}
	if (!put_info(mem, in, initrd, err) || !flat_segments(mem, false, out, err))
		return false;
	out->rip = k.entry;
	out->rax = BOOT_MAGIC;
	out->rbx = FLAT_INFO;
	out->rflags = 2;
	out->cr0 = 0x11; /* PE, ET */
	return true;
}
