/* The guest loaders: what a good kernel becomes in guest memory, and one clear line for each bad
 * one. Kernels are made here, byte by byte; then they are damaged at random.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* clang-format off */
/* sources: hv/load/load.c hv/load/bzimage.c hv/load/multiboot.c hv/load/flat.c hv/load/guestmem.c hv/load/e820.c */
/* clang-format on */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load/load.h"

#define MEM (UINT64_C(64) << 20)

static uint8_t *memory;
static unsigned int writes_left;
static struct e820 map;

static enum tf_status write_memory(void *ctx, uint64_t gpa, const void *from, size_t n)
{
	(void)ctx;
	if (writes_left == 0)
		return TF_E_NOMEM;
	writes_left--;
	assert_true(n <= MEM && gpa <= MEM - n);
	memcpy(memory + gpa, from, n);
	return TF_OK;
}

static const struct guestmem mem = {NULL, write_memory};

static int setup(void **state)
{
	(void)state;
	free(memory);
	memory = calloc(1, MEM);
	writes_left = 1000;
	e820_build(&map, MEM);
	return memory ? 0 : -1;
}

static void put(uint8_t *p, uint64_t v, unsigned int bytes)
{
	memcpy(p, &v, bytes);
}

static uint64_t get(uint64_t gpa, unsigned int bytes)
{
	uint64_t v = 0;

	memcpy(&v, memory + gpa, bytes);
	return v;
}

/* ---- Linux ---- */

enum {
	SETUP = 5 * 512,
	BODY = 0x3000,
	KERNEL = SETUP + BODY,
};

static uint8_t *make_linux(void)
{
	uint8_t *k = calloc(1, KERNEL);

	k[0x1f1] = 4;
	put(k + 0x1f4, BODY / 16, 4);
	put(k + 0x1fe, 0xaa55, 2);
	k[0x200] = 0xeb;
	k[0x201] = 0x6a;
	memcpy(k + 0x202, "HdrS", 4);
	put(k + 0x206, 0x20f, 2);
	k[0x211] = 1;
	put(k + 0x22c, 0x7fffffff, 4);
	put(k + 0x230, 0x200000, 4);
	k[0x234] = 1;
	put(k + 0x236, 1, 2);
	put(k + 0x238, 100, 4);
	put(k + 0x258, 0x1000000, 8);
	put(k + 0x260, 0x2000000, 4);
	for (unsigned int i = 0; i < BODY; i++)
		k[SETUP + i] = (uint8_t)(i * 7 + 1);
	return k;
}

static struct load_input input(const uint8_t *k, size_t bytes)
{
	return (struct load_input){
		.kernel = {k, bytes, "console=ttyS0 quiet"},
		.initrd = {"initrd bytes", 12, ""},
		.has_initrd = true,
		.map = &map,
		.rsdp = 0xe0000,
	};
}

static void test_linux(void **state)
{
	uint8_t *k = make_linux();
	struct load_input in = input(k, KERNEL);
	struct load_entry e;
	struct load_error err;
	uint64_t pml4, pdpt, pd;

	(void)state;
	assert_true(load_guest(&mem, &in, &e, &err));
	assert_int_equal(e.rip, 0x1000200);
	assert_memory_equal(memory + 0x1000000, k + SETUP, BODY);
	/* The zero page. */
	assert_memory_equal(memory + e.rsi + 0x202, "HdrS", 4);
	assert_int_equal(memory[e.rsi + 0x210], 0xff);
	assert_int_equal(get(e.rsi + 0x070, 8), 0xe0000);
	assert_string_equal((char *)memory + get(e.rsi + 0x228, 4), "console=ttyS0 quiet");
	assert_int_equal(get(e.rsi + 0x218, 4), MEM - 4096);
	assert_int_equal(get(e.rsi + 0x21c, 4), 12);
	assert_memory_equal(memory + MEM - 4096, "initrd bytes", 12);
	assert_int_equal(memory[e.rsi + 0x1e8], map.count);
	for (unsigned int i = 0; i < map.count; i++) {
		assert_int_equal(get(e.rsi + 0x2d0 + 20 * i, 8), map.e[i].start);
		assert_int_equal(get(e.rsi + 0x2d8 + 20 * i, 8), map.e[i].bytes);
		assert_int_equal(get(e.rsi + 0x2e0 + 20 * i, 4), map.e[i].type);
	}
	/* Identity tables of 4 GiB; 64-bit code by the GDT. */
	assert_int_equal(e.cr0, 0x80000011);
	assert_int_equal(e.efer, 0x500);
	assert_int_equal(e.cr4, 0x20);
	for (uint64_t a = 0; a < 4ull << 30; a += 512 << 20) {
		pml4 = get(e.cr3, 8);
		pdpt = get((pml4 & ~0xfffull) + 8 * (a >> 30), 8);
		pd = get((pdpt & ~0xfffull) + 8 * (a >> 21 & 511), 8);
		assert_int_equal(pd, a | 0x83);
	}
	assert_int_equal(e.cs.selector, 0x10);
	assert_int_equal(e.cs.attrib, 0xa9b);
	assert_int_equal(get(e.gdt_base + 0x10, 8), 0x00af9b000000ffff);
	assert_int_equal(e.gdt_limit, 31);
	assert_int_equal(e.rflags, 2);
	free(k);
}

static void refuse(const uint8_t *k, size_t bytes, const char *says)
{
	struct load_input in = input(k, bytes);
	struct load_entry e;
	struct load_error err = {""};

	assert_false(load_guest(&mem, &in, &e, &err));
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", err.text, says);
	assert_null(strchr(err.text, '\n'));
}

static void test_bad_linux(void **state)
{
	uint8_t *good = make_linux(), *k = make_linux();
	struct load_input in;
	struct load_entry e;
	struct load_error err;
	char line[200];

	(void)state;
	refuse(k, 0, "empty file");
	refuse(k, 100, "neither");
	refuse(k, 0x220, "cut short inside its header");
	refuse(k, KERNEL - 1, "promises");
	refuse(k, SETUP, "promises");
#define DAMAGE(at, value, bytes, says)                                                             \
	do {                                                                                       \
		memcpy(k, good, KERNEL);                                                           \
		put(k + (at), (value), (bytes));                                                   \
		refuse(k, KERNEL, (says));                                                         \
	} while (0)
	DAMAGE(0x206, 0x20b, 2, "protocol 2.11");
	DAMAGE(0x236, 0, 2, "64-bit");
	DAMAGE(0x211, 0, 1, "zImage");
	DAMAGE(0x1f4, 0xffffffff, 4, "promises");
	DAMAGE(0x230, 3, 4, "damaged");
	DAMAGE(0x258, 0x1234567, 8, "damaged");
	DAMAGE(0x258, 1ull << 52, 8, "damaged");
	DAMAGE(0x260, 0x3000001, 4, "too small");
	DAMAGE(0x238, 5, 4, "command line");
#undef DAMAGE
	memcpy(k, good, KERNEL);
	in = input(k, KERNEL);
	in.initrd.bytes = 0;
	assert_false(load_guest(&mem, &in, &e, &err));
	assert_non_null(strstr(err.text, "initrd is an empty file"));
	in.initrd.bytes = 40 << 20;
	assert_false(load_guest(&mem, &in, &e, &err));
	assert_non_null(strstr(err.text, "too small"));
	in = input(k, KERNEL);
	memset(line, 'x', sizeof(line));
	line[101] = '\0';
	in.kernel.args = line;
	assert_false(load_guest(&mem, &in, &e, &err));
	line[100] = '\0';
	assert_true(load_guest(&mem, &in, &e, &err));
	/* The initrd stays below the kernel's own limit. */
	put(k + 0x22c, 0x37fffff - 0x100000, 4);
	in = input(k, KERNEL);
	in.map = &map;
	assert_true(load_guest(&mem, &in, &e, &err));
	assert_int_equal(get(e.rsi + 0x218, 4), 0x3700000 - 4096);
	free(k);
	free(good);
}

/* Every write may fail; then the loader says so and nothing else happens. */
static void test_no_memory(void **state)
{
	uint8_t *k = make_linux();
	struct load_input in = input(k, KERNEL);
	struct load_entry e;
	struct load_error err;
	unsigned int n = 0;

	(void)state;
	for (;; n++) {
		writes_left = n;
		if (load_guest(&mem, &in, &e, &err))
			break;
		assert_non_null(strstr(err.text, "cannot write"));
	}
	assert_true(n > 5);
	free(k);
}

/* ---- multiboot ---- */

enum {
	MB_FILE = 0x2100,
};

static uint8_t *make_elf(uint32_t flags)
{
	uint8_t *k = calloc(1, MB_FILE);

	memcpy(k, "\177ELF\1\1\1", 7);
	put(k + 16, 2, 2);
	put(k + 18, 3, 2);
	put(k + 24, 0x100040, 4); /* entry */
	put(k + 28, 52, 4);
	put(k + 42, 32, 2);
	put(k + 44, 2, 2);
	/* a note, then the one to load */
	put(k + 52, 4, 4);
	put(k + 84, 1, 4);
	put(k + 88, 0x1000, 4);
	put(k + 92, 0xc0100000, 4);
	put(k + 96, 0x100000, 4);
	put(k + 100, 0x1000, 4);
	put(k + 104, 0x3000, 4);
	put(k + 0x1000, 0x1badb002, 4);
	put(k + 0x1004, flags, 4);
	put(k + 0x1008, -(0x1badb002u + flags), 4);
	return k;
}

static void test_multiboot(void **state)
{
	uint8_t *k = make_elf(3);
	struct load_input in = input(k, MB_FILE);
	struct load_entry e;
	struct load_error err;
	uint32_t entries = 0;
	uint64_t m;

	(void)state;
	in.initrd.args = "a b";
	assert_true(load_guest(&mem, &in, &e, &err));
	assert_int_equal(e.rip, 0x100040);
	assert_int_equal(e.rax, 0x2badb002);
	assert_int_equal(e.cr0, 0x11);
	assert_int_equal(e.cs.attrib, 0xc9b);
	assert_int_equal(get(e.gdt_base + 0x10, 8), 0x00cf9b000000ffff);
	assert_memory_equal(memory + 0x100000, k + 0x1000, 0x1000);
	assert_int_equal(get(e.rbx, 4), 1 | 4 | 8 | 64 | 512);
	assert_int_equal(get(e.rbx + 8, 4), (MEM - (1 << 20)) / 1024);
	assert_string_equal((char *)memory + get(e.rbx + 16, 4), "kernel console=ttyS0 quiet");
	assert_int_equal(get(e.rbx + 20, 4), 1);
	m = get(e.rbx + 24, 4);
	assert_int_equal(get(m, 4), 0x103000); /* the page behind the kernel's zeroes */
	assert_int_equal(get(m + 4, 4), 0x103000 + 12);
	assert_string_equal((char *)memory + get(m + 8, 4), "initrd a b");
	assert_memory_equal(memory + 0x103000, "initrd bytes", 12);
	for (uint64_t p = get(e.rbx + 48, 4), end = p + get(e.rbx + 44, 4); p < end;
	     p += get(p, 4) + 4) {
		assert_int_equal(get(p + 4, 8), map.e[entries].start);
		assert_int_equal(get(p + 12, 8), map.e[entries].bytes);
		assert_int_equal(get(p + 20, 4), map.e[entries].type);
		entries++;
	}
	assert_int_equal(entries, map.count);
	in.has_initrd = false;
	in.kernel.args = "";
	assert_true(load_guest(&mem, &in, &e, &err));
	assert_int_equal(get(e.rbx, 4), 1 | 4 | 64 | 512);
	assert_string_equal((char *)memory + get(e.rbx + 16, 4), "kernel");
	free(k);
}

static void test_multiboot_addresses(void **state)
{
	uint8_t *k = make_elf(0x10003);
	struct load_input in = input(k, MB_FILE);
	struct load_entry e;
	struct load_error err;

	(void)state;
	put(k + 0x100c, 0x201000, 4); /* header */
	put(k + 0x1010, 0x200000, 4); /* load: the whole file */
	put(k + 0x1014, 0, 4);	      /* to its end */
	put(k + 0x1018, 0x210000, 4); /* zeroes */
	put(k + 0x101c, 0x200123, 4); /* entry */
	assert_true(load_guest(&mem, &in, &e, &err));
	assert_int_equal(e.rip, 0x200123);
	assert_memory_equal(memory + 0x200000, k, MB_FILE);
	assert_memory_equal(memory + 0x210000, "initrd bytes", 12);
	put(k + 0x1010, 0x202000, 4);
	refuse(k, MB_FILE, "contradict");
	put(k + 0x1010, 0x1000, 4); /* the file would begin before itself */
	refuse(k, MB_FILE, "contradict");
	free(k);
}

static void test_bad_multiboot(void **state)
{
	uint8_t *k = make_elf(8);

	(void)state;
	refuse(k, MB_FILE, "demands features 0x8");
	free(k);
	k = make_elf(3);
	refuse(k, 0x1800, "cut short");
	put(k + 18, 62, 2);
	refuse(k, MB_FILE, "32-bit");
	put(k + 18, 3, 2);
	put(k + 96, 0x3fff000, 4);
	refuse(k, MB_FILE, "memory up to");
	put(k + 96, 0xfffff000, 4);
	refuse(k, MB_FILE, "memory up to");
	put(k + 96, 0x1f000, 4);
	refuse(k, MB_FILE, "boot information");
	put(k + 96, 0x100000, 4);
	put(k + 44, 60000, 2);
	refuse(k, MB_FILE, "program headers");
	put(k + 44, 1, 2);
	refuse(k, MB_FILE, "nothing to load");
	k[1] = 'X';
	refuse(k, MB_FILE, "no ELF");
	free(k);
}

/* Damage anything: the loader may load or refuse, but stays within file and guest memory. */
static void test_random_damage(void **state)
{
	uint64_t seed = 88172645463325252ull;

	(void)state;
	for (unsigned int round = 0; round < 20000; round++) {
		bool is_linux = round & 1;
		size_t bytes = is_linux ? KERNEL : MB_FILE;
		uint8_t *made = is_linux ? make_linux() : make_elf(round & 2 ? 3 : 0x10003), *k;
		struct load_input in;
		struct load_entry e;
		struct load_error err = {""};

		for (unsigned int n = 0; n < 1 + round % 5; n++) {
			size_t from = is_linux ? 0x1f0 : round & 4 ? 0x1000 : 0;

			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			made[from + seed % (is_linux ? 0x80 : 0x80)] = (uint8_t)(seed >> 32);
		}
		if (round % 7 == 0)
			bytes = seed % bytes;
		k = malloc(bytes ? bytes : 1);
		memcpy(k, made, bytes);
		in = input(k, bytes);
		writes_left = 1000;
		if (!load_guest(&mem, &in, &e, &err))
			assert_true(err.text[0]);
		free(k);
		free(made);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_linux, setup),
		cmocka_unit_test_setup(test_bad_linux, setup),
		cmocka_unit_test_setup(test_no_memory, setup),
		cmocka_unit_test_setup(test_multiboot, setup),
		cmocka_unit_test_setup(test_multiboot_addresses, setup),
		cmocka_unit_test_setup(test_bad_multiboot, setup),
		cmocka_unit_test_setup(test_random_damage, setup),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	free(memory);
	return failed;
}
