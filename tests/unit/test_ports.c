/* The guest's I/O ports: what is passed through, what ends the guest, the 8259 pair, fw_cfg, ACPI
 * registers, PCI's lone host bridge, the CMOS clock, and what does not exist.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* sources: hv/dev/ports.c hv/dev/pic.c hv/dev/pm.c hv/dev/fwcfg.c hv/dev/cmos.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dev/ports.h"

static struct ports ports;
static struct {
	enum ports_end end;
	uint32_t code;
	unsigned int ends, vcpu;
	int mark;
	uint8_t rtc[128];
	unsigned int updating; /* readings of status A that show an update */
} world;

static uint8_t op_cmos(void *ctx, uint8_t i)
{
	(void)ctx;
	if (i == 0x0a && world.updating) {
		world.updating--;
		return 0xa6;
	}
	return world.rtc[i];
}

static void op_mark(void *ctx, unsigned int vcpu, uint8_t b)
{
	(void)ctx;
	world.vcpu = vcpu;
	world.mark = b;
}

static void op_end(void *ctx, unsigned int vcpu, enum ports_end why, uint32_t code)
{
	(void)ctx;
	world.vcpu = vcpu;
	world.end = why;
	world.code = code;
	world.ends++;
}

static const struct ports_ops ops = {op_cmos, op_mark, op_end};
static const struct ports_ops no_clock = {NULL, op_mark, op_end};

static int setup(void **state)
{
	(void)state;
	memset(&world, 0, sizeof(world));
	world.mark = -1;
	ports_create(&ports, &ops, NULL, 3, 0x608);
	return 0;
}

static uint32_t in(uint16_t port, unsigned int size)
{
	return ports_in(&ports, 0, port, size);
}

static void out(uint16_t port, unsigned int size, uint32_t v)
{
	ports_out(&ports, 1, port, size, v);
}

static void test_bitmap(void **state)
{
	static const uint16_t through[] = {0x40, 0x43, 0x61, 0x80, 0x3f8, 0x3ff, 0x608, 0x60b};
	static const uint16_t ours[] = {0x20,  0x3f,  0x44,  0x60,  0x70,  0x71,  0xf4,	 0xf5,
					0x2f8, 0x3f7, 0x400, 0x510, 0x520, 0x607, 0x60c, 0xcf8};
	static uint8_t map[65536 / 8 + 1];

	(void)state;
	memset(map, 0xff, sizeof(map));
	ports_fill_bitmap(&ports, map);
	for (unsigned int i = 0; i < sizeof(through) / 2; i++)
		assert_false(map[through[i] / 8] >> (through[i] % 8) & 1);
	for (unsigned int i = 0; i < sizeof(ours) / 2; i++)
		assert_true(map[ours[i] / 8] >> (ours[i] % 8) & 1);
	assert_int_equal(map[65536 / 8], 0xff);
	ports_create(&ports, &ops, NULL, 1, 0);
	assert_false(ports_pass_through(&ports, 0x608));
	assert_false(ports_pass_through(&ports, 0));
}

static void test_unknown(void **state)
{
	(void)state;
	assert_int_equal(in(0x1234, 1), 0xff);
	assert_int_equal(in(0x1234, 2), 0xffff);
	assert_int_equal(in(0xffff, 4), 0xffffffff);
	out(0xfffe, 4, 0);
	assert_int_equal(ports.unknown_in, 3);
	assert_int_equal(ports.unknown_out, 1);
	assert_int_equal(ports.last_unknown, 0xfffe);
	for (uint32_t port = 0; port < 0x10000; port++)
		for (unsigned int size = 1; size <= 4; size *= 2)
			in((uint16_t)port, size);
	assert_int_equal(world.ends, 0);
}

static void test_ends(void **state)
{
	(void)state;
	out(0xf5, 1, 0x142);
	assert_int_equal(world.mark, 0x42);
	assert_int_equal(world.vcpu, 1);
	out(0xf4, 4, 0x1234);
	assert_int_equal(world.end, PORTS_DEBUG_EXIT);
	assert_int_equal(world.code, 0x1234);
	out(0xcf9, 1, 2); /* announces a reset, does none */
	assert_int_equal(world.ends, 1);
	out(0xcf9, 1, 6);
	assert_int_equal(world.end, PORTS_RESET);
	out(0x64, 1, 0xd1);
	assert_int_equal(world.ends, 2);
	out(0x64, 1, 0xfe);
	assert_int_equal(world.ends, 3);
	out(0x92, 1, 2);
	assert_int_equal(world.ends, 3);
	out(0x92, 1, 3);
	assert_int_equal(world.ends, 4);
	assert_int_equal(in(0x92, 1), 2);
}

static void test_power(void **state)
{
	(void)state;
	assert_int_equal(in(0x520, 2), 0);
	out(0x522, 2, 0x120);
	assert_int_equal(in(0x522, 2), 0x120);
	assert_int_equal(in(0x524, 2), 1); /* SCI_EN */
	out(0x524, 2, 5 << 10);
	assert_int_equal(in(0x524, 2), 5 << 10 | 1);
	assert_int_equal(world.ends, 0);
	out(0x524, 2, 1 << 10 | 1 << 13); /* not S5 */
	assert_int_equal(world.ends, 0);
	out(0x524, 2, 5 << 10 | 1 << 13);
	assert_int_equal(world.ends, 1);
	assert_int_equal(world.end, PORTS_POWEROFF);
	/* In bytes, too. */
	out(0x525, 1, (5 << 10 | 1 << 13) >> 8);
	assert_int_equal(world.ends, 2);
	assert_int_equal(ports.unknown_in + ports.unknown_out, 0);
}

static void test_pic(void **state)
{
	(void)state;
	/* How Linux probes: the mask must read back. */
	out(0x21, 1, 0xff);
	out(0xa1, 1, 0xff);
	out(0x21, 1, 0xfb);
	assert_int_equal(in(0x21, 1), 0xfb);
	assert_int_equal(in(0xa1, 1), 0xff);
	/* The four initialization words do not touch the mask. */
	out(0x20, 1, 0x11);
	out(0x21, 1, 0x30);
	out(0x21, 1, 0x04);
	out(0x21, 1, 0x01);
	assert_int_equal(in(0x21, 1), 0);
	out(0x21, 1, 0x55);
	assert_int_equal(in(0x21, 1), 0x55);
	/* Single, without ICW4: two words. */
	out(0xa0, 1, 0x12);
	out(0xa1, 1, 0x38);
	out(0xa1, 1, 0x77);
	assert_int_equal(in(0xa1, 1), 0x77);
	out(0x20, 1, 0x0b);
	assert_int_equal(in(0x20, 1), 0);
	out(0x20, 1, 0x20); /* EOI */
	out(0x20, 1, 0x0c); /* poll */
	assert_int_equal(in(0x20, 1), 0);
	assert_int_equal(in(0x21, 1), 0x55);
	out(0x4d0, 2, 0xffff);
	assert_int_equal(in(0x4d0, 2), 0xdef8);
}

static void test_fwcfg(void **state)
{
	char sig[4];

	(void)state;
	out(0x510, 2, 0);
	for (unsigned int i = 0; i < 4; i++)
		sig[i] = (char)in(0x511, 1);
	assert_memory_equal(sig, "QEMU", 4);
	assert_int_equal(in(0x511, 1), 0);
	out(0x510, 2, 5);
	assert_int_equal(in(0x511, 1), 3);
	assert_int_equal(in(0x511, 1), 0);
	out(0x510, 2, 1);
	assert_int_equal(in(0x511, 1), 1);
	out(0x510, 2, 0x19);
	assert_int_equal(in(0x511, 1), 0);
}

static void test_pci(void **state)
{
	(void)state;
	/* How Linux finds mechanism 1. */
	out(0xcfb, 1, 1);
	out(0xcf8, 4, 0x80000000);
	assert_int_equal(in(0xcf8, 4), 0x80000000);
	assert_int_equal(in(0xcfc, 4), 0x00081b36);
	out(0xcf8, 4, 0x80000008);
	assert_int_equal(in(0xcfe, 2), 0x0600);
	out(0xcf8, 4, 0x80000800); /* device 1 */
	assert_int_equal(in(0xcfc, 2), 0xffff);
	out(0xcf8, 4, 0);
	assert_int_equal(in(0xcfc, 4), 0xffffffff);
	out(0xcfc, 4, 1);
	assert_int_equal(world.ends, 0);
}

static uint8_t cmos(uint8_t i)
{
	out(0x70, 1, i | 0x80);
	return (uint8_t)in(0x71, 1);
}

static void set_rtc(const char *bcd, uint8_t b)
{
	static const uint8_t fields[] = {0x32, 9, 8, 7, 4, 2, 0};

	for (unsigned int i = 0; i < 7; i++) {
		unsigned int tens = (unsigned int)bcd[2 * i] - '0';
		unsigned int ones = (unsigned int)bcd[2 * i + 1] - '0';

		world.rtc[fields[i]] = (uint8_t)(b & 4 ? tens * 10 + ones : tens << 4 | ones);
	}
	world.rtc[0x0b] = b;
}

static void test_cmos(void **state)
{
	(void)state;
	set_rtc("20261121111300", 2);
	world.rtc[0x0d] = 0x80;
	assert_int_equal(cmos(0), 0);
	assert_int_equal(cmos(2), 0x13);
	assert_int_equal(cmos(4), 0x11);
	assert_int_equal(cmos(0x32), 0x20);
	assert_int_equal(cmos(0x0d), 0x80);
	/* Nothing of the machine's is written: the copy keeps what may be kept. */
	out(0x70, 1, 4);
	out(0x71, 1, 0x55);
	assert_int_equal(cmos(4), 0x11);
	out(0x70, 1, 5);
	out(0x71, 1, 0x55);
	assert_int_equal(cmos(5), 0x55);
	out(0x70, 1, 0x0b);
	out(0x71, 1, 0x24);
	assert_int_equal(cmos(0x0b), 0x22); /* the format stays the machine's */
	out(0x70, 1, 0x40);
	out(0x71, 1, 0x99);
	assert_int_equal(cmos(0x40), 0x99);
	assert_int_equal(world.rtc[0x40], 0);
	assert_int_equal(cmos(0x0c), 0);
	ports_create(&ports, &no_clock, NULL, 1, 0);
	assert_int_equal(cmos(8), 1);
	assert_int_equal(cmos(0x0d), 0x80);
	assert_int_equal(ports_epoch(&ports), 0);
}

static void test_epoch(void **state)
{
	static const struct {
		const char *bcd;
		uint8_t b;
		uint64_t want;
	} t[] = {
		{"19700101000000", 2, 0},	   {"20000229235959", 2, 951868799},
		{"20000301000000", 2, 951868800},  {"20261121111201", 2, 1795259521},
		{"20261121111201", 6, 1795259521}, {"21000301000000", 2, 4107542400},
		{"20261121121201", 0, 1795219921}, /* 12 hours: 12 AM is midnight */
		{"20261321111201", 2, 0},
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		set_rtc(t[i].bcd, t[i].b);
		world.updating = i;
		assert_int_equal(ports_epoch(&ports), t[i].want);
	}
	set_rtc("20261121011201", 0);
	world.rtc[4] |= 0x80; /* 1 PM */
	assert_int_equal(ports_epoch(&ports), 1795266721);
	/* A chip that updates for ever has no time. */
	world.updating = ~0u;
	assert_int_equal(ports_epoch(&ports), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_bitmap, setup),
		cmocka_unit_test_setup(test_unknown, setup),
		cmocka_unit_test_setup(test_ends, setup),
		cmocka_unit_test_setup(test_power, setup),
		cmocka_unit_test_setup(test_pic, setup),
		cmocka_unit_test_setup(test_fwcfg, setup),
		cmocka_unit_test_setup(test_pci, setup),
		cmocka_unit_test_setup(test_cmos, setup),
		cmocka_unit_test_setup(test_epoch, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
