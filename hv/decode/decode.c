/* From bytes to struct insn. See decode.h. AMD APM vol. 3, chapter 1 and appendix A.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "decode/decode.h"

/* The bytes, and what the prefixes said. */
struct scan {
	const uint8_t *bytes;
	size_t n, at;
	bool ended; /* the bytes were not enough, or the instruction is too long */
	bool too_long;
	enum insn_mode mode;
	bool opsize, adsize, lock;
	uint8_t rex;
	uint8_t seg; /* override, or INSN_NO_REG */
	uint8_t modrm;
};

static uint8_t next(struct scan *s)
{
	if (s->at >= INSN_MAX)
		s->too_long = true;
	if (s->at >= s->n || s->too_long) {
		s->ended = true;
		return 0;
	}
	return s->bytes[s->at++];
}

static uint64_t next_le(struct scan *s, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (uint64_t)next(s) << (8 * i);
	return v;
}

static uint64_t sign_extend(uint64_t v, unsigned int bytes)
{
	unsigned int shift = 64 - 8 * bytes;

	return (uint64_t)((int64_t)(v << shift) >> shift);
}

/* All prefixes; returns the opcode's first byte. */
static uint8_t scan_prefixes(struct scan *s)
{
	for (;;) {
		uint8_t b = next(s);

		switch (b) {
		case 0x66:
			s->opsize = true;
			break;
		case 0x67:
			s->adsize = true;
			break;
		case 0xf0:
			s->lock = true;
			break;
		case 0xf2:
		case 0xf3:
			break;
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
			/* In 64-bit mode these override nothing, not even FS and GS. */
			if (s->mode != INSN_64)
				s->seg = b >> 3 & 3;
			break;
		case 0x64:
		case 0x65:
			s->seg = b - 0x64 + INSN_FS;
			break;
		default:
			if (s->mode != INSN_64 || (b & 0xf0) != 0x40)
				return b;
			/* REX counts only right before the opcode. */
			s->rex = b;
			continue;
		}
		s->rex = 0;
		if (s->ended)
			return 0;
	}
}

static unsigned int operand_size(const struct scan *s)
{
	if (s->rex & 8)
		return 8;
	if (s->mode == INSN_16)
		return s->opsize ? 4 : 2;
	return s->opsize ? 2 : 4;
}

static unsigned int address_size(const struct scan *s)
{
	if (s->mode == INSN_64)
		return s->adsize ? 4 : 8;
	return (s->mode == INSN_16) != s->adsize ? 2 : 4;
}

static unsigned int modrm_reg(const struct scan *s)
{
	return (s->modrm >> 3 & 7) | (s->rex & 4) << 1;
}

static bool modrm_is_register(const struct scan *s)
{
	return s->modrm >> 6 == 3;
}

static unsigned int modrm_rm(const struct scan *s)
{
	return (s->modrm & 7) | (s->rex & 1) << 3;
}

static void default_segment(const struct scan *s, struct insn *i, bool stack)
{
	i->seg = s->seg != INSN_NO_REG ? s->seg : stack ? INSN_SS : INSN_DS;
}

static void scan_memory_16(struct scan *s, struct insn *i)
{
	enum { BX = 3, BP = 5, SI = 6, DI = 7 };
	static const uint8_t bases[8] = {BX, BX, BP, BP, SI, DI, BP, BX};
	static const uint8_t indexes[8] = {SI,		DI,	     SI,	  DI,
					   INSN_NO_REG, INSN_NO_REG, INSN_NO_REG, INSN_NO_REG};
	unsigned int mod = s->modrm >> 6, rm = s->modrm & 7;

	i->base = bases[rm];
	i->index = indexes[rm];
	if (mod == 0 && rm == 6) {
		i->base = INSN_NO_REG;
		i->disp = (int64_t)next_le(s, 2);
	} else if (mod) {
		i->disp = (int64_t)sign_extend(next_le(s, mod), mod);
	}
	default_segment(s, i, i->base == BP);
}

static void scan_memory_32(struct scan *s, struct insn *i)
{
	unsigned int mod = s->modrm >> 6, rm = s->modrm & 7;
	bool has_base = true;

	if (rm == 4) {
		uint8_t sib = next(s);
		unsigned int index = (sib >> 3 & 7) | (s->rex & 2) << 2;

		rm = sib & 7;
		has_base = !(mod == 0 && rm == 5);
		if (index != 4) {
			i->index = (uint8_t)index;
			i->scale = sib >> 6;
		}
	} else if (mod == 0 && rm == 5) {
		has_base = false;
		i->rip_relative = s->mode == INSN_64;
	}
	if (has_base)
		i->base = (uint8_t)(rm | (s->rex & 1) << 3);
	if (!has_base || mod == 2)
		i->disp = (int64_t)sign_extend(next_le(s, 4), 4);
	else if (mod == 1)
		i->disp = (int64_t)sign_extend(next_le(s, 1), 1);
	default_segment(s, i, i->base == 4 || i->base == 5);
}

/* ModRM and what belongs to it: the memory operand, if it is one. */
static void scan_modrm(struct scan *s, struct insn *i)
{
	s->modrm = next(s);
	if (modrm_is_register(s))
		return;
	i->is_memory = true;
	i->addr_size = (uint8_t)address_size(s);
	if (i->addr_size == 2)
		scan_memory_16(s, i);
	else
		scan_memory_32(s, i);
}

/* The register operand of ModRM; byte registers 4..7 without REX are AH..BH. */
static void set_register(const struct scan *s, struct insn *i, unsigned int n, unsigned int size)
{
	i->reg_high = size == 1 && !s->rex && n >= 4;
	i->reg = (uint8_t)(i->reg_high ? n - 4 : n);
	i->reg_size = (uint8_t)size;
}

/* "memory, register" or "register, memory", with ModRM. */
static enum insn_status scan_rm(struct scan *s, struct insn *i, enum insn_kind kind,
				unsigned int size, unsigned int reg_size)
{
	scan_modrm(s, i);
	if (!i->is_memory)
		return INSN_UNKNOWN;
	i->kind = (uint8_t)kind;
	i->size = (uint8_t)size;
	set_register(s, i, modrm_reg(s), reg_size);
	return INSN_OK;
}

/* An immediate of the operand's size, but never more than 4 bytes. */
static void scan_immediate(struct scan *s, struct insn *i, unsigned int bytes)
{
	if (bytes > 4)
		bytes = 4;
	i->reg = INSN_NO_REG;
	i->imm = sign_extend(next_le(s, bytes), bytes);
}

/* 80..83: the ALU group with an immediate. */
static enum insn_status scan_group1(struct scan *s, struct insn *i, uint8_t op, unsigned int size)
{
	enum insn_status st = scan_rm(s, i, INSN_ALU_STORE, size, size);

	if (st != INSN_OK)
		return st;
	i->alu = s->modrm >> 3 & 7;
	scan_immediate(s, i, op == 0x81 ? size : 1);
	return INSN_OK;
}

/* F6, F7: TEST, NOT, NEG. FE, FF: INC, DEC. */
static enum insn_status scan_group3(struct scan *s, struct insn *i, uint8_t op, unsigned int size)
{
	static const uint8_t f6[4] = {INSN_TEST, INSN_TEST, INSN_NOT, INSN_NEG};
	enum insn_status st = scan_rm(s, i, INSN_ALU_STORE, size, size);
	unsigned int which = s->modrm >> 3 & 7;

	if (st != INSN_OK)
		return st;
	i->reg = INSN_NO_REG;
	if (op >= 0xfe) {
		i->alu = which ? INSN_DEC : INSN_INC;
		return which < 2 ? INSN_OK : INSN_UNKNOWN;
	}
	if (which > 3)
		return INSN_UNKNOWN;
	i->alu = f6[which];
	if (i->alu == INSN_TEST)
		scan_immediate(s, i, size);
	return INSN_OK;
}

/* A0..A3: the accumulator and an absolute address. */
static enum insn_status scan_moffs(struct scan *s, struct insn *i, uint8_t op, unsigned int size)
{
	i->is_memory = true;
	i->addr_size = (uint8_t)address_size(s);
	i->disp = (int64_t)next_le(s, i->addr_size);
	i->kind = op & 2 ? INSN_STORE : INSN_LOAD;
	i->size = (uint8_t)size;
	default_segment(s, i, false);
	set_register(s, i, 0, size);
	return INSN_OK;
}

static enum insn_status scan_one_byte(struct scan *s, struct insn *i, uint8_t op)
{
	unsigned int size = op & 1 ? operand_size(s) : 1;
	enum insn_status st;

	if (op < 0x40 && (op & 7) < 4) {
		st = scan_rm(s, i, op & 2 ? INSN_ALU_LOAD : INSN_ALU_STORE, size, size);
		i->alu = op >> 3;
		return st;
	}
	switch (op) {
	case 0x63: /* MOVSXD; ARPL elsewhere */
		if (s->mode != INSN_64)
			return INSN_UNKNOWN;
		i->sign = true;
		size = operand_size(s);
		return scan_rm(s, i, INSN_LOAD, size < 4 ? size : 4, size);
	case 0x82:
		if (s->mode == INSN_64)
			return INSN_UNKNOWN;
		return scan_group1(s, i, op, 1);
	case 0x80:
	case 0x81:
	case 0x83:
		return scan_group1(s, i, op, size);
	case 0x84:
	case 0x85:
		i->alu = INSN_TEST;
		return scan_rm(s, i, INSN_ALU_STORE, size, size);
	case 0x86:
	case 0x87:
		s->lock = true;
		return scan_rm(s, i, INSN_XCHG, size, size);
	case 0x88:
	case 0x89:
		return scan_rm(s, i, INSN_STORE, size, size);
	case 0x8a:
	case 0x8b:
		return scan_rm(s, i, INSN_LOAD, size, size);
	case 0xa0 ... 0xa3:
		return scan_moffs(s, i, op, size);
	case 0xc6:
	case 0xc7:
		st = scan_rm(s, i, INSN_STORE, size, size);
		if (st != INSN_OK || (s->modrm >> 3 & 7))
			return INSN_UNKNOWN;
		scan_immediate(s, i, size);
		return INSN_OK;
	case 0xf6:
	case 0xf7:
	case 0xfe:
	case 0xff:
		return scan_group3(s, i, op, size);
	case 0xcc ... 0xce:
		return INSN_INT;
	case 0x6c ... 0x6f:
	case 0xa4 ... 0xa7:
	case 0xaa ... 0xaf:
		return INSN_STRING;
	default:
		return INSN_UNKNOWN;
	}
}

/* 0F 01: what there is of the system group. */
static enum insn_status scan_group7(struct scan *s, struct insn *i)
{
	unsigned int which;

	scan_modrm(s, i);
	if (s->modrm == 0xd1) {
		i->kind = INSN_XSETBV;
		return INSN_OK;
	}
	which = s->modrm >> 3 & 7;
	if (which == 7 && i->is_memory) {
		i->kind = INSN_INVLPG;
		return INSN_OK;
	}
	if (which != 4 && which != 6)
		return INSN_UNKNOWN;
	i->kind = which == 4 ? INSN_SMSW : INSN_LMSW;
	i->size = i->is_memory || which == 6 ? 2 : (uint8_t)operand_size(s);
	if (!i->is_memory) {
		i->reg = (uint8_t)modrm_rm(s);
		i->reg_size = i->size;
	}
	return INSN_OK;
}

/* 0F 20..23: ModRM's mod field is ignored, both are registers. */
static enum insn_status scan_control(struct scan *s, struct insn *i, uint8_t op)
{
	static const uint8_t kinds[4] = {INSN_CR_READ, INSN_DR_READ, INSN_CR_WRITE, INSN_DR_WRITE};

	s->modrm = next(s);
	i->kind = kinds[op & 3];
	i->number = (uint8_t)modrm_reg(s);
	/* AMD's other name for CR8 where there is no REX. */
	if (!(op & 1) && s->lock)
		i->number |= 8;
	i->reg = (uint8_t)modrm_rm(s);
	i->size = i->reg_size = s->mode == INSN_64 ? 8 : 4;
	return INSN_OK;
}

static enum insn_status scan_two_byte(struct scan *s, struct insn *i)
{
	uint8_t op = next(s);
	unsigned int size = op & 1 ? operand_size(s) : 1;
	enum insn_status st;

	switch (op) {
	case 0x01:
		return scan_group7(s, i);
	case 0x06:
		i->kind = INSN_CLTS;
		return INSN_OK;
	case 0x20 ... 0x23:
		return scan_control(s, i, op);
	case 0x38:
		if (next(s) != 0x82 || !s->opsize)
			return INSN_UNKNOWN;
		return scan_rm(s, i, INSN_INVPCID, 16, s->mode == INSN_64 ? 8 : 4);
	case 0xb0:
	case 0xb1:
		return scan_rm(s, i, INSN_CMPXCHG, size, size);
	case 0xb6:
	case 0xb7:
	case 0xbe:
	case 0xbf:
		i->sign = op >= 0xbe;
		return scan_rm(s, i, INSN_LOAD, op & 1 ? 2 : 1, operand_size(s));
	case 0xba:
		size = operand_size(s);
		st = scan_rm(s, i, INSN_ALU_STORE, size, size);
		if (st != INSN_OK || (s->modrm >> 3 & 7) < 4)
			return INSN_UNKNOWN;
		i->alu = (uint8_t)(INSN_BT + (s->modrm >> 3 & 3));
		scan_immediate(s, i, 1);
		return INSN_OK;
	case 0xc0:
	case 0xc1:
		return scan_rm(s, i, INSN_XADD, size, size);
	case 0xc3: /* MOVNTI */
		size = operand_size(s);
		return size == 2 ? INSN_UNKNOWN : scan_rm(s, i, INSN_STORE, size, size);
	default:
		return INSN_UNKNOWN;
	}
}

enum insn_status insn_decode(const uint8_t *bytes, size_t n, enum insn_mode mode, struct insn *out)
{
	struct scan s = {.bytes = bytes, .n = n, .mode = mode, .seg = INSN_NO_REG};
	enum insn_status st;
	uint8_t op;

	*out = (struct insn){
		.reg = INSN_NO_REG,
		.base = INSN_NO_REG,
		.index = INSN_NO_REG,
		.seg = INSN_DS,
	};
	op = scan_prefixes(&s);
	st = op == 0x0f ? scan_two_byte(&s, out) : scan_one_byte(&s, out, op);
	if (s.ended)
		return s.too_long ? INSN_UNKNOWN : INSN_SHORT;
	out->length = (uint8_t)s.at;
	out->lock = s.lock;
	return st;
}

uint64_t insn_linear(const struct insn *i, const struct insn_state *s)
{
	uint64_t a = (uint64_t)i->disp;

	if (i->base != INSN_NO_REG)
		a += s->gpr[i->base];
	if (i->index != INSN_NO_REG)
		a += s->gpr[i->index] << i->scale;
	if (i->rip_relative)
		a += s->rip + i->length;
	if (i->addr_size < 8)
		a &= (UINT64_C(1) << (8 * i->addr_size)) - 1;
	if (s->mode == INSN_64)
		return i->seg >= INSN_FS ? a + s->seg_base[i->seg] : a;
	return (uint32_t)(a + s->seg_base[i->seg]);
}
