/* Looks at a guest kernel before anything is started: see kernel.h.
 *
 * Implements: Linux Documentation/arch/x86/boot.rst (the setup header); Multiboot specification
 * 0.6.96, section 3.1; ELF-32 program headers.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "kernel.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

#define MIB (UINT64_C(1) << 20)

enum {
	HEAD = 8192, /* a multiboot header lies in the first so many bytes */
	MULTIBOOT_MAGIC = 0x1badb002,
	MULTIBOOT_CMDLINE_MAX = 1024,

	/* Offsets in a bzImage. */
	SETUP_SECTS = 0x1f1,
	SYSSIZE = 0x1f4,
	BOOT_FLAG = 0x1fe,
	HDRS = 0x202,
	VERSION = 0x206,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
	HEADER_END = 0x268,
	XLF_KERNEL_64 = 1,
	VERSION_XLOADFLAGS = 0x020c,
};

static uint32_t get16(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8;
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | get16(p + 2) << 16;
}

int image_open(struct image *im, const char *what, const char *path)
{
	struct stat st;

	im->path = path;
	im->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (im->fd < 0 || fstat(im->fd, &st) != 0) {
		say("%s %s: %s", what, path, strerror(errno));
		return EXIT_BAD_FILE;
	}
	if (!S_ISREG(st.st_mode)) {
		say("%s %s: not a regular file", what, path);
		return EXIT_BAD_FILE;
	}
	if (st.st_size == 0) {
		say("%s %s: the file is empty", what, path);
		return EXIT_BAD_FILE;
	}
	im->size = (uint64_t)st.st_size;
	return 0;
}

static int truncated(const struct kernel *k, uint64_t want)
{
	say("kernel %s: truncated: its header tells %llu bytes, the file has %llu", k->file.path,
	    (unsigned long long)want, (unsigned long long)k->file.size);
	return EXIT_BAD_FILE;
}

static int bzimage_check(struct kernel *k, const uint8_t *head, size_t n)
{
	uint64_t setup = (head[SETUP_SECTS] ? head[SETUP_SECTS] : 4) + 1;
	uint64_t want = setup * 512 + (uint64_t)get32(head + SYSSIZE) * 16;

	if (n < HEADER_END || k->file.size < want)
		return truncated(k, want);
	if (get16(head + VERSION) < VERSION_XLOADFLAGS ||
	    !(get16(head + XLOADFLAGS) & XLF_KERNEL_64)) {
		say("kernel %s: has no 64-bit entry: give a Linux bzImage for x86-64, 3.8 or later",
		    k->file.path);
		return EXIT_BAD_FILE;
	}
	k->kind = KERNEL_BZIMAGE;
	k->needs = get32(head + PREF_ADDRESS) + (uint64_t)get32(head + INIT_SIZE);
	k->cmdline_max = get32(head + CMDLINE_SIZE);
	return 0;
}

static bool has_multiboot_header(const uint8_t *head, size_t n)
{
	for (size_t i = 0; i + 12 <= n; i += 4) {
		if (get32(head + i) == MULTIBOOT_MAGIC &&
		    get32(head + i) + get32(head + i + 4) + get32(head + i + 8) == 0)
			return true;
	}
	return false;
}

static int elf_check(struct kernel *k, const uint8_t *head, size_t n)
{
	Elf32_Ehdr eh;
	Elf32_Phdr ph;

	if (!has_multiboot_header(head, n)) {
		say("kernel %s: an ELF file without a multiboot header: give a bzImage or a "
		    "multiboot kernel",
		    k->file.path);
		return EXIT_BAD_FILE;
	}
	if (n < sizeof(eh))
		return truncated(k, sizeof(eh));
	memcpy(&eh, head, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != ELFCLASS32 || eh.e_phentsize != sizeof(ph)) {
		say("kernel %s: a multiboot kernel must be a 32-bit ELF file (objcopy -O "
		    "elf32-i386)",
		    k->file.path);
		return EXIT_BAD_FILE;
	}
	k->kind = KERNEL_MULTIBOOT;
	k->cmdline_max = MULTIBOOT_CMDLINE_MAX;
	k->needs = 0;
	for (unsigned int i = 0; i < eh.e_phnum; i++) {
		uint64_t at = eh.e_phoff + (uint64_t)i * sizeof(ph);

		if (pread(k->file.fd, &ph, sizeof(ph), (off_t)at) != sizeof(ph))
			return truncated(k, at + sizeof(ph));
		if (ph.p_type != PT_LOAD)
			continue;
		if ((uint64_t)ph.p_offset + ph.p_filesz > k->file.size)
			return truncated(k, (uint64_t)ph.p_offset + ph.p_filesz);
		if ((uint64_t)ph.p_paddr + ph.p_memsz > k->needs)
			k->needs = (uint64_t)ph.p_paddr + ph.p_memsz;
	}
	return 0;
}

int kernel_open(struct kernel *k, const char *path)
{
	uint8_t head[HEAD] = {0};
	int status = image_open(&k->file, "kernel", path);
	ssize_t n;

	if (status)
		return status;
	n = pread(k->file.fd, head, sizeof(head), 0);
	if (n < 0) {
		say("kernel %s: %s", path, strerror(errno));
		return EXIT_BAD_FILE;
	}
	if (get16(head + BOOT_FLAG) == 0xaa55 && !memcmp(head + HDRS, "HdrS", 4))
		return bzimage_check(k, head, (size_t)n);
	if (!memcmp(head, ELFMAG, SELFMAG))
		return elf_check(k, head, (size_t)n);
	say("kernel %s: not a kernel: give a Linux bzImage or a multiboot ELF file", path);
	return EXIT_BAD_FILE;
}
