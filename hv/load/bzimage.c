/* Linux. See bzimage.h. Offsets are of Documentation/arch/x86/boot.rst and zero-page.rst.
 *
 *	0x10000  zero page (struct boot_params)
 *	0x11000  GDT
 *	0x12000  PML4, PDPT, four page directories: identity, 4 GiB in 2 MiB pages
 *	0x18000  command line
 *	pref_address .. + init_size  the kernel
 *	below the end of RAM (or initrd_addr_max)  the initrd
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "load/bzimage.h"

#include "core/string.h"
#include "load/flat.h"

/* The setup header, in the file and (same offsets) in the zero page. */
enum {
	HDR_START = 0x1f1,
	HDR_SETUP_SECTS = 0x1f1,
	HDR_SYSSIZE = 0x1f4,
	HDR_LENGTH = 0x201, /* of what follows 0x202 */
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_RAMDISK = 0x218,
	HDR_RAMDISK_SIZE = 0x21c,
	HDR_CMDLINE = 0x228,
	HDR_INITRD_MAX = 0x22c,
	HDR_ALIGNMENT = 0x230,
	HDR_RELOCATABLE = 0x234,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260,
	HDR_LEAST = 0x268, /* version 2.12 reaches to here */
	HDR_MOST = 0x290,

	ZP_RSDP = 0x070,
	ZP_E820_COUNT = 0x1e8,
	ZP_E820 = 0x2d0,
	ZP_E820_ENTRY = 20,

	VERSION_LEAST = 0x20c,
	MAGIC = 0x53726448, /* HdrS */
	LOADER_UNKNOWN = 0xff,
	LOADED_HIGH = 1,
	XLF_KERNEL_64 = 1,
	ENTRY_64 = 0x200,
	SECTOR = 512,
};

#define PTE_PW	  UINT64_C(0x3)
#define PTE_LARGE UINT64_C(0x80)

#define CR0_PE_PG UINT64_C(0x80000011) /* with ET */
#define CR4_PAE	  UINT64_C(0x20)
#define EFER_LONG UINT64_C(0x500) /* LME, LMA */

/* What is wanted of the header. */
struct image {
	const uint8_t *file;
	uint64_t setup_bytes, body_bytes;
	uint64_t load, init_size;
	uint64_t initrd;
	uint32_t cmdline_max;
};

static uint64_t field(const uint8_t *at, unsigned int bytes)
{
	uint64_t v = 0;

	memcpy(&v, at, bytes);
	return v;
}

static unsigned long kib(uint64_t bytes)
{
	return (unsigned long)((bytes + 1023) / 1024);
}

bool bzimage_is(const void *data, size_t bytes)
{
	return bytes >= HDR_MAGIC + 4 && field((const uint8_t *)data + HDR_MAGIC, 4) == MAGIC;
}

static bool read_header(const struct load_module *k, struct image *im, struct load_error *err)
{
	const uint8_t *f = k->data;
	unsigned int version, sects;

	if (k->bytes < HDR_LEAST)
		return load_fail(err,
				 "the Linux kernel is cut short inside its header: %lu bytes, at "
				 "least %u are wanted",
				 (unsigned long)k->bytes, HDR_LEAST);
	version = (unsigned int)field(f + HDR_VERSION, 2);
	if (version < VERSION_LEAST)
		return load_fail(err,
				 "the Linux kernel has boot protocol %u.%u; 2.12 (Linux 3.8) or "
				 "later is wanted",
				 version >> 8, version & 0xff);
	if (!(field(f + HDR_XLOADFLAGS, 2) & XLF_KERNEL_64))
		return load_fail(err,
				 "the Linux kernel has no 64-bit entry point: an x86-64 kernel "
				 "is wanted");
	if (!(f[HDR_LOADFLAGS] & LOADED_HIGH))
		return load_fail(err, "the Linux kernel is a zImage: a bzImage is wanted");
	sects = f[HDR_SETUP_SECTS] ? f[HDR_SETUP_SECTS] : 4;
	im->file = f;
	im->setup_bytes = (sects + 1) * SECTOR;
	im->body_bytes = field(f + HDR_SYSSIZE, 4) * 16;
	im->init_size = field(f + HDR_INIT_SIZE, 4);
	im->cmdline_max = (uint32_t)field(f + HDR_CMDLINE_SIZE, 4);
	if (im->body_bytes == 0 || im->setup_bytes + im->body_bytes > k->bytes)
		return load_fail(err,
				 "the Linux kernel is cut short: its header promises %lu bytes, "
				 "the file has %lu",
				 (unsigned long)(im->setup_bytes + im->body_bytes),
				 (unsigned long)k->bytes);
	return true;
}

/* Where the kernel goes: where it wants to be, so that it need not move itself. */
static bool place_kernel(struct image *im, const struct e820 *map, struct load_error *err)
{
	uint64_t align = field(im->file + HDR_ALIGNMENT, 4);
	uint64_t pref = field(im->file + HDR_PREF_ADDRESS, 8);
	uint64_t need = im->init_size > im->body_bytes ? im->init_size : im->body_bytes;

	if (align == 0 || (align & (align - 1)) || pref == 0 || (pref & (align - 1)) ||
	    pref < FLAT_END || pref >= GUEST_LOW_MAX)
		return load_fail(err,
				 "the Linux kernel's header is damaged: it wants to be at 0x%lx, "
				 "aligned to 0x%lx",
				 (unsigned long)pref, (unsigned long)align);
	if (need > map->low_end || pref > map->low_end - need)
		return load_fail(err,
				 "the guest's memory of %lu KiB is too small: this kernel alone "
				 "needs %lu KiB",
				 kib(map->low_end), kib(pref + need));
	im->load = pref;
	im->init_size = need;
	return true;
}

static bool place_initrd(struct image *im, const struct load_input *in, struct load_error *err)
{
	uint64_t top = field(im->file + HDR_INITRD_MAX, 4) + 1;
	uint64_t bytes = (in->initrd.bytes + TF_PAGE_MASK) & ~(uint64_t)TF_PAGE_MASK;

	if (!in->has_initrd)
		return true;
	if (top > in->map->low_end)
		top = in->map->low_end;
	top &= ~(uint64_t)TF_PAGE_MASK;
	if (bytes > top || top - bytes < im->load + im->init_size)
		return load_fail(err,
				 "the guest's memory of %lu KiB is too small: kernel and initrd "
				 "need %lu KiB",
				 kib(in->map->low_end), kib(im->load + im->init_size + bytes));
	im->initrd = top - bytes;
	return true;
}

static bool write_page_tables(const struct guestmem *mem, struct load_error *err)
{
	static uint64_t page[512]; /* too large for a small stack; loaded once */

	memset(page, 0, sizeof(page));
	page[0] = (FLAT_TABLES + TF_PAGE_SIZE) | PTE_PW;
	if (!load_write(mem, FLAT_TABLES, page, sizeof(page), err))
		return false;
	for (unsigned int i = 0; i < 4; i++)
		page[i] = (FLAT_TABLES + (2 + i) * TF_PAGE_SIZE) | PTE_PW;
	if (!load_write(mem, FLAT_TABLES + TF_PAGE_SIZE, page, sizeof(page), err))
		return false;
	for (uint64_t i = 0; i < 4; i++) {
		for (uint64_t k = 0; k < 512; k++)
			page[k] = (i << 30 | k << 21) | PTE_PW | PTE_LARGE;
		if (!load_write(mem, FLAT_TABLES + (2 + i) * TF_PAGE_SIZE, page, sizeof(page), err))
			return false;
	}
	return true;
}

static void put(uint8_t *zp, unsigned int at, uint64_t v, unsigned int bytes)
{
	memcpy(zp + at, &v, bytes);
}

static bool write_zero_page(const struct guestmem *mem, const struct load_input *in,
			    const struct image *im, struct load_error *err)
{
	static uint8_t zp[4096]; /* a guest is loaded once, by the boot CPU */
	size_t header = HDR_MAGIC + im->file[HDR_LENGTH];

	memset(zp, 0, sizeof(zp));
	if (header > HDR_MOST)
		header = HDR_MOST;
	memcpy(zp + HDR_START, im->file + HDR_START, header - HDR_START);
	put(zp, HDR_LOADER, LOADER_UNKNOWN, 1);
	put(zp, HDR_CMDLINE, FLAT_STRINGS, 4);
	put(zp, HDR_RAMDISK, im->initrd, 4);
	put(zp, HDR_RAMDISK_SIZE, in->has_initrd ? in->initrd.bytes : 0, 4);
	put(zp, ZP_RSDP, in->rsdp, 8);
	put(zp, ZP_E820_COUNT, in->map->count, 1);
	for (unsigned int i = 0; i < in->map->count; i++) {
		unsigned int at = ZP_E820 + i * ZP_E820_ENTRY;

		put(zp, at, in->map->e[i].start, 8);
		put(zp, at + 8, in->map->e[i].bytes, 8);
		put(zp, at + 16, in->map->e[i].type, 4);
	}
	return load_write(mem, FLAT_INFO, zp, sizeof(zp), err);
}

bool bzimage_load(const struct guestmem *mem, const struct load_input *in, struct load_entry *out,
		  struct load_error *err)
{
	size_t line = strlen(in->kernel.args) + 1;
	struct image im = {0};

	memset(out, 0, sizeof(*out));
	if (!read_header(&in->kernel, &im, err) || !place_kernel(&im, in->map, err) ||
	    !place_initrd(&im, in, err))
		return false;
	if (line - 1 > im.cmdline_max || line > FLAT_END - FLAT_STRINGS)
		return load_fail(err,
				 "the kernel's command line has %lu characters, this kernel takes "
				 "%u",
				 (unsigned long)(line - 1), im.cmdline_max);
	if (!load_write(mem, im.load, im.file + im.setup_bytes, im.body_bytes, err) ||
	    !load_write(mem, FLAT_STRINGS, in->kernel.args, line, err) ||
	    !write_zero_page(mem, in, &im, err) || !write_page_tables(mem, err) ||
	    !flat_segments(mem, true, out, err))
		return false;
	if (in->has_initrd && !load_write(mem, im.initrd, in->initrd.data, in->initrd.bytes, err))
		return false;
	out->rip = im.load + ENTRY_64;
	out->rsi = FLAT_INFO;
	out->rflags = 2;
	out->cr0 = CR0_PE_PG;
	out->cr3 = FLAT_TABLES;
	out->cr4 = CR4_PAE;
	out->efer = EFER_LONG;
	return true;
}
