/* The instruction decoder: lengths and operands from a table, addresses, random bytes, and the
 * execution of memory instructions against the CPU that runs the test.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* sources: hv/decode/decode.c hv/decode/execute.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/mman.h>

#include "decode/decode.h"

#define BYTES(...) {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})

static const struct {
	uint8_t bytes[15];
	size_t n;
	enum insn_mode mode;
	enum insn_status status;
	enum insn_kind kind;
	uint8_t size, reg;
} table[] = {
	{BYTES(0x89, 0x08), INSN_64, INSN_OK, INSN_STORE, 4, 1}, /* mov %ecx,(%rax) */
	{BYTES(0x48, 0x8b, 0x1c, 0x25, 1, 2, 3, 4), INSN_64, INSN_OK, INSN_LOAD, 8, 3},
	{BYTES(0x66, 0x89, 0x48, 0x10), INSN_64, INSN_OK, INSN_STORE, 2, 1},
	{BYTES(0x44, 0x88, 0x7c, 0x8d, 0x00), INSN_64, INSN_OK, INSN_STORE, 1, 15},
	{BYTES(0x88, 0x25, 0, 0, 0, 0), INSN_64, INSN_OK, INSN_STORE, 1, 0}, /* mov %ah */
	{BYTES(0xc7, 0x00, 1, 2, 3, 4), INSN_64, INSN_OK, INSN_STORE, 4, 0xff},
	{BYTES(0x66, 0xc7, 0x00, 1, 2), INSN_64, INSN_OK, INSN_STORE, 2, 0xff},
	{BYTES(0x48, 0xc7, 0x00, 1, 2, 3, 4), INSN_64, INSN_OK, INSN_STORE, 8, 0xff},
	{BYTES(0xc6, 0x00, 9), INSN_64, INSN_OK, INSN_STORE, 1, 0xff},
	{BYTES(0xa1, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0), INSN_64, INSN_OK, INSN_LOAD, 4, 0},
	{BYTES(0xa3, 0, 0, 0xe0, 0xfe), INSN_32, INSN_OK, INSN_STORE, 4, 0},
	{BYTES(0x67, 0xa0, 1, 2), INSN_32, INSN_OK, INSN_LOAD, 1, 0},
	{BYTES(0x8b, 0x0e, 0x34, 0x12), INSN_16, INSN_OK, INSN_LOAD, 2, 1},
	{BYTES(0x66, 0x67, 0x8b, 0x03), INSN_16, INSN_OK, INSN_LOAD, 4, 0},
	{BYTES(0x0f, 0xb6, 0x00), INSN_64, INSN_OK, INSN_LOAD, 1, 0},
	{BYTES(0x0f, 0xbf, 0x00), INSN_64, INSN_OK, INSN_LOAD, 2, 0},
	{BYTES(0x48, 0x63, 0x00), INSN_64, INSN_OK, INSN_LOAD, 4, 0},
	{BYTES(0x63, 0x00), INSN_32, INSN_UNKNOWN, 0, 0, 0}, /* arpl */
	{BYTES(0x81, 0x0d, 1, 2, 3, 4, 5, 6, 7, 8), INSN_64, INSN_OK, INSN_ALU_STORE, 4, 0xff},
	{BYTES(0x83, 0x38, 0x00), INSN_64, INSN_OK, INSN_ALU_STORE, 4, 0xff},
	{BYTES(0x82, 0x38, 0x00), INSN_64, INSN_UNKNOWN, 0, 0, 0},
	{BYTES(0xf7, 0x00, 1, 0, 0, 0), INSN_64, INSN_OK, INSN_ALU_STORE, 4, 0xff}, /* testl */
	{BYTES(0xf7, 0x20), INSN_64, INSN_UNKNOWN, 0, 0, 0},			    /* mul */
	{BYTES(0xf0, 0x0f, 0xba, 0x28, 0x03), INSN_64, INSN_OK, INSN_ALU_STORE, 4, 0xff},
	{BYTES(0xff, 0x10), INSN_64, INSN_UNKNOWN, 0, 0, 0}, /* call */
	{BYTES(0x87, 0x08), INSN_64, INSN_OK, INSN_XCHG, 4, 1},
	{BYTES(0x89, 0xc8), INSN_64, INSN_UNKNOWN, 0, 0, 0}, /* no memory */
	{BYTES(0xf3, 0x48, 0xab), INSN_64, INSN_STRING, 0, 0, 0xff},
	{BYTES(0xa4), INSN_64, INSN_STRING, 0, 0, 0xff},
	{BYTES(0xcc), INSN_64, INSN_INT, 0, 0, 0xff},
	{BYTES(0x66, 0x48, 0xcd), INSN_64, INSN_INT, 0, 0, 0xff},
	{BYTES(0xce), INSN_16, INSN_INT, 0, 0, 0xff},
	{BYTES(0x40, 0xcc), INSN_32, INSN_UNKNOWN, 0, 0, 0xff},
	{BYTES(0x0f, 0x20, 0xd8), INSN_64, INSN_OK, INSN_CR_READ, 8, 0},  /* cr3 -> rax */
	{BYTES(0x0f, 0x22, 0xdf), INSN_64, INSN_OK, INSN_CR_WRITE, 8, 7}, /* rdi -> cr3 */
	{BYTES(0x41, 0x0f, 0x22, 0xe4), INSN_64, INSN_OK, INSN_CR_WRITE, 8, 12},
	{BYTES(0x44, 0x0f, 0x20, 0xc0), INSN_64, INSN_OK, INSN_CR_READ, 8, 0}, /* cr8 */
	{BYTES(0xf0, 0x0f, 0x20, 0xc0), INSN_32, INSN_OK, INSN_CR_READ, 4, 0}, /* cr8, AMD */
	{BYTES(0x0f, 0x23, 0xf8), INSN_64, INSN_OK, INSN_DR_WRITE, 8, 0},
	{BYTES(0x0f, 0x06), INSN_64, INSN_OK, INSN_CLTS, 0, 0xff},
	{BYTES(0x0f, 0x01, 0xf0), INSN_64, INSN_OK, INSN_LMSW, 2, 0},
	{BYTES(0x0f, 0x01, 0xe1), INSN_64, INSN_OK, INSN_SMSW, 4, 1},
	{BYTES(0x0f, 0x01, 0x26, 0, 1), INSN_16, INSN_OK, INSN_SMSW, 2, 0xff},
	{BYTES(0x0f, 0x01, 0x3f), INSN_64, INSN_OK, INSN_INVLPG, 0, 0xff},
	{BYTES(0x0f, 0x01, 0xf8), INSN_64, INSN_UNKNOWN, 0, 0, 0}, /* swapgs */
	{BYTES(0x0f, 0x01, 0xd1), INSN_64, INSN_OK, INSN_XSETBV, 0, 0xff},
	{BYTES(0x66, 0x0f, 0x38, 0x82, 0x06), INSN_64, INSN_OK, INSN_INVPCID, 16, 0},
	{BYTES(0x90), INSN_64, INSN_UNKNOWN, 0, 0, 0},
};

static void test_table(void **state)
{
	(void)state;
	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		/* Exactly as many bytes as there are: reading one more is an error. */
		uint8_t *b = malloc(table[t].n);
		struct insn i;

		memcpy(b, table[t].bytes, table[t].n);
		assert_int_equal(insn_decode(b, table[t].n, table[t].mode, &i), table[t].status);
		if (table[t].status == INSN_OK) {
			assert_int_equal(i.kind, table[t].kind);
			assert_int_equal(i.size, table[t].size);
			assert_int_equal(i.reg, table[t].reg);
		}
		if (table[t].status != INSN_UNKNOWN) {
			assert_int_equal(i.length, table[t].n);
			for (size_t n = 0; n < table[t].n; n++)
				assert_int_equal(insn_decode(b, n, table[t].mode, &i), INSN_SHORT);
		}
		free(b);
	}
}

static void test_details(void **state)
{
	const uint8_t cr8[] = {0x44, 0x0f, 0x20, 0xc0}, amd[] = {0xf0, 0x0f, 0x22, 0xc0};
	const uint8_t ah[] = {0x88, 0x20}, spl[] = {0x40, 0x88, 0x20};
	const uint8_t late[] = {0x48, 0x66, 0x89, 0x08};
	uint8_t lengthy[16];
	struct insn i;

	(void)state;
	assert_int_equal(insn_decode(cr8, 4, INSN_64, &i), INSN_OK);
	assert_int_equal(i.number, 8);
	assert_int_equal(insn_decode(amd, 4, INSN_32, &i), INSN_OK);
	assert_int_equal(i.number, 8);
	assert_int_equal(insn_decode(ah, 2, INSN_64, &i), INSN_OK);
	assert_true(i.reg_high && i.reg == 0);
	assert_int_equal(insn_decode(spl, 3, INSN_64, &i), INSN_OK);
	assert_true(!i.reg_high && i.reg == 4);
	/* A prefix behind REX makes it void. */
	assert_int_equal(insn_decode(late, 4, INSN_64, &i), INSN_OK);
	assert_int_equal(i.size, 2);
	/* 15 bytes are the most. */
	memset(lengthy, 0x66, sizeof(lengthy));
	lengthy[13] = 0x89;
	lengthy[14] = 0x08;
	assert_int_equal(insn_decode(lengthy, 16, INSN_64, &i), INSN_OK);
	assert_int_equal(i.length, 15);
	lengthy[13] = 0x66;
	lengthy[14] = 0x89;
	lengthy[15] = 0x08;
	assert_int_equal(insn_decode(lengthy, 16, INSN_64, &i), INSN_UNKNOWN);
}

static void test_addresses(void **state)
{
	uint64_t gpr[16], base[6] = {0x10, 0x20, 0x30, 0x40, 0x500000000, 0x600000000};
	struct insn_state s = {.gpr = gpr, .rip = 0x1000, .seg_base = base};
	static const struct {
		uint8_t bytes[12];
		enum insn_mode mode;
		uint64_t want;
	} t[] = {
		{{0x8b, 0x00}, INSN_64, 0x100000000},
		{{0x8b, 0x44, 0x8b, 0xfc},
		 INSN_64,
		 0x100000003 + 0x400000004 - 4}, /* -4(rbx,rcx,4) */
		{{0x8b, 0x05, 0x10, 0, 0, 0}, INSN_64, 0x1016},
		{{0x67, 0x8b, 0x00}, INSN_64, 0},
		{{0x65, 0x8b, 0x00}, INSN_64, 0x700000000},
		{{0x2e, 0x8b, 0x00}, INSN_64, 0x100000000},
		{{0x8b, 0x04, 0x25, 0, 0, 0xe0, 0xfe}, INSN_64, 0xfffffffffee00000},
		{{0x43, 0x8b, 0x04, 0x65, 8, 0, 0, 0},
		 INSN_64,
		 2 * 0x10000000c + 8},				  /* 8(,r12,2) */
		{{0x41, 0x8b, 0x04, 0x24}, INSN_64, 0x10000000c}, /* (r12) */
		{{0x8b, 0x00}, INSN_32, 0x40},
		{{0x8b, 0x45, 0xff}, INSN_32, 0x34}, /* -1(ebp): SS */
		{{0x26, 0x8b, 0x00}, INSN_32, 0x10},
		{{0x64, 0x8b, 0x00}, INSN_32, 0},    /* FS base beyond 4 GiB is cut */
		{{0x8b, 0x40, 0xff}, INSN_16, 0x48}, /* -1(bx,si): 3 + 6 - 1 */
		{{0x8b, 0x4e, 0x02}, INSN_16, 0x37}, /* 2(bp): SS */
		{{0x8b, 0x0e, 0x34, 0x12}, INSN_16, 0x1274},
		{{0xa1, 1, 2, 3, 4, 5, 6, 7, 0}, INSN_64, 0x0007060504030201},
	};

	(void)state;
	for (unsigned int n = 0; n < 16; n++)
		gpr[n] = 0x100000000 + n;
	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		struct insn i;

		s.mode = t[k].mode;
		assert_int_equal(insn_decode(t[k].bytes, 12, t[k].mode, &i), INSN_OK);
		assert_int_equal(insn_linear(&i, &s), t[k].want);
	}
}

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void test_random_bytes(void **state)
{
	(void)state;
	for (unsigned int k = 0; k < 300000; k++) {
		size_t n = 1 + random64() % 16;
		uint8_t *b = malloc(n);
		struct insn i;
		enum insn_status st;

		for (size_t j = 0; j < n; j++)
			b[j] = (uint8_t)random64();
		if (k & 1)
			b[0] = k & 2 ? 0x0f : 0x66;
		st = insn_decode(b, n, k / 2 % 3, &i);
		if (st == INSN_OK) {
			assert_in_range(i.length, 1, n < 15 ? n : 15);
			assert_true(i.reg == INSN_NO_REG || i.reg < 16);
			assert_true(!i.is_memory || i.addr_size >= 2);
		}
		free(b);
	}
}

/* ---- against the CPU ---- */

struct native {
	uint64_t gpr[4]; /* rax rcx rdx rbx */
	uint64_t flags, memory;
};

/* Load the registers and flags, run the instruction (whose memory is (%rdi)), store them. */
static void run_native(uint8_t *code, const uint8_t *insn, size_t n, struct native *v)
{
	static const uint8_t before[] = {
		0x53,			/* push %rbx */
		0x56,			/* push %rsi */
		0x48, 0x8b, 0x06,	/* mov (%rsi),%rax */
		0x48, 0x8b, 0x4e, 0x08, /* mov 8(%rsi),%rcx */
		0x48, 0x8b, 0x56, 0x10, /* mov 16(%rsi),%rdx */
		0x48, 0x8b, 0x5e, 0x18, /* mov 24(%rsi),%rbx */
		0xff, 0x76, 0x20,	/* push 32(%rsi) */
		0x9d,			/* popf */
	};
	static const uint8_t after[] = {
		0x41, 0x58, /* pop %r8: placed below, after pushf */
		0x5e,	    /* pop %rsi */
		0x48, 0x89, 0x06, 0x48, 0x89, 0x4e, 0x08, 0x48, 0x89, 0x56, 0x10,
		0x48, 0x89, 0x5e, 0x18, 0x4c, 0x89, 0x46, 0x20, 0x5b, 0xc3,
	};
	uint8_t *p = code;

	memcpy(p, before, sizeof(before));
	p += sizeof(before);
	memcpy(p, insn, n);
	p += n;
	*p++ = 0x9c; /* pushf */
	memcpy(p, after, sizeof(after));
	((void (*)(uint64_t *, struct native *))(uintptr_t)code)(&v->memory, v);
}

static uint64_t device;

static uint64_t device_read(void *ctx, unsigned int size)
{
	uint64_t v = 0;

	(void)ctx;
	memcpy(&v, &device, size);
	return v;
}

static void device_write(void *ctx, unsigned int size, uint64_t v)
{
	(void)ctx;
	memcpy(&device, &v, size);
}

/* One instruction form: opcode bytes (behind prefixes), ModRM.reg free or fixed, immediate bytes
 * (0xff: the operand's size, at most 4). */
struct form {
	uint8_t op[2];
	uint8_t ops;
	int8_t reg; /* -1: any of rax..rbx */
	uint8_t imm;
	bool bytes; /* a byte form: only size 1 */
};

static const struct form forms[] = {
	{{0x88}, 1, -1, 0, true},	 {{0x89}, 1, -1, 0, false},
	{{0x8a}, 1, -1, 0, true},	 {{0x8b}, 1, -1, 0, false},
	{{0xc6}, 1, 0, 1, true},	 {{0xc7}, 1, 0, 0xff, false},
	{{0x0f, 0xb6}, 2, -1, 0, false}, {{0x0f, 0xb7}, 2, -1, 0, false},
	{{0x0f, 0xbe}, 2, -1, 0, false}, {{0x0f, 0xbf}, 2, -1, 0, false},
	{{0x63}, 1, -1, 0, false},	 {{0x84}, 1, -1, 0, true},
	{{0x85}, 1, -1, 0, false},	 {{0x86}, 1, -1, 0, true},
	{{0x87}, 1, -1, 0, false},	 {{0xf6}, 1, 0, 1, true},
	{{0xf7}, 1, 0, 0xff, false},	 {{0xf6}, 1, 2, 0, true},
	{{0xf7}, 1, 2, 0, false},	 {{0xf6}, 1, 3, 0, true},
	{{0xf7}, 1, 3, 0, false},	 {{0xfe}, 1, 0, 0, true},
	{{0xff}, 1, 0, 0, false},	 {{0xfe}, 1, 1, 0, true},
	{{0xff}, 1, 1, 0, false},	 {{0x0f, 0xb0}, 2, -1, 0, true},
	{{0x0f, 0xb1}, 2, -1, 0, false}, {{0x0f, 0xc0}, 2, -1, 0, true},
	{{0x0f, 0xc1}, 2, -1, 0, false}, {{0x0f, 0xba}, 2, 4, 1, false},
	{{0x0f, 0xba}, 2, 5, 1, false},	 {{0x0f, 0xba}, 2, 6, 1, false},
	{{0x0f, 0xba}, 2, 7, 1, false},
};

#define ARITHMETIC 0x8d5u

/* TEST, AND, OR, XOR leave AF undefined; we and the CPU may differ there. */
static uint64_t defined_flags(const struct insn *i)
{
	switch (i->kind == INSN_ALU_LOAD || i->kind == INSN_ALU_STORE ? i->alu : 0xff) {
	case INSN_AND:
	case INSN_OR:
	case INSN_XOR:
	case INSN_TEST:
		return ARITHMETIC & ~0x10u;
	case INSN_BT ... INSN_BTC:
		return 1 | 0x40;
	default:
		return ARITHMETIC;
	}
}

static void check_form(uint8_t *code, const struct form *f, unsigned int size, uint64_t pick)
{
	static const uint64_t edges[] = {0,	     1,		0x7f,	    0x80,	0xff,
					 0x7fff,     0x8000,	0xffff,	    0x7fffffff, 0x80000000,
					 0xffffffff, INT64_MAX, 1ull << 63, UINT64_MAX};
	uint64_t gpr[16] = {0}, base[6] = {0};
	struct insn_state s = {.gpr = gpr, .rip = 0x400000, .mode = INSN_64, .seg_base = base};
	const struct insn_bus bus = {NULL, device_read, device_write};
	struct native v;
	uint8_t b[16];
	size_t n = 0;
	unsigned int reg = f->reg >= 0 ? (unsigned int)f->reg : pick & 3, imm = f->imm;
	struct insn i;

	/* Without REX, byte registers 4..7 are the high bytes. */
	if (f->bytes && f->reg < 0 && (pick & 4))
		reg += 4;
	if (size == 2)
		b[n++] = 0x66;
	if (size == 8)
		b[n++] = 0x48;
	memcpy(b + n, f->op, f->ops);
	n += f->ops;
	b[n++] = (uint8_t)(reg << 3 | 7); /* (%rdi) */
	if (imm == 0xff)
		imm = size < 4 ? size : 4;
	for (unsigned int k = 0; k < imm; k++)
		b[n++] = (uint8_t)random64();

	for (unsigned int k = 0; k < 4; k++)
		v.gpr[k] = random64() & 1 ? edges[random64() % 14] : random64();
	v.memory = random64() & 1 ? edges[random64() % 14] : random64();
	if (random64() % 4 == 0)
		v.memory = v.gpr[0];
	v.flags = (random64() & ARITHMETIC) | 0x202;
	memcpy(gpr, v.gpr, sizeof(v.gpr));
	gpr[7] = 0x1234;
	s.rflags = v.flags;
	device = v.memory;

	assert_int_equal(insn_decode(b, n, INSN_64, &i), INSN_OK);
	assert_int_equal(i.length, n);
	assert_int_equal(insn_linear(&i, &s), 0x1234);
	assert_true(insn_run_memory(&i, &s, &bus));
	run_native(code, b, n, &v);

	assert_memory_equal(gpr, v.gpr, sizeof(v.gpr));
	assert_int_equal(device, v.memory);
	assert_int_equal((s.rflags ^ v.flags) & defined_flags(&i), 0);
	assert_int_equal(s.rip, 0x400000 + n);
}

static void test_against_cpu(void **state)
{
	uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct form alu = {.ops = 1};

	(void)state;
	if (code == MAP_FAILED)
		skip();
	for (unsigned int round = 0; round < 400; round++) {
		for (size_t k = 0; k < sizeof(forms) / sizeof(forms[0]); k++)
			for (unsigned int size = 1; size <= 8; size *= 2)
				if ((size == 1) == forms[k].bytes)
					check_form(code, &forms[k], size, random64());
		/* The eight ALU operations in their four directions and three immediate forms. */
		for (unsigned int op = 0; op < 8; op++) {
			for (unsigned int size = 1; size <= 8; size *= 2) {
				for (unsigned int dir = 0; dir < 4; dir += 2) {
					alu.op[0] = (uint8_t)(op << 3 | dir | (size > 1));
					alu.reg = -1;
					alu.imm = 0;
					alu.bytes = size == 1;
					check_form(code, &alu, size, random64());
				}
				alu.reg = (int8_t)op;
				alu.op[0] = size == 1 ? 0x80 : 0x81;
				alu.imm = 0xff;
				check_form(code, &alu, size, 0);
				alu.op[0] = size == 1 ? 0x80 : 0x83;
				alu.imm = 1;
				check_form(code, &alu, size, 0);
			}
		}
	}
	munmap(code, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),	    cmocka_unit_test(test_details),
		cmocka_unit_test(test_addresses),   cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_against_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
