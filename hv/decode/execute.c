/* Executing one memory instruction against a device. See decode.h. AMD APM vol. 3, the pages of the
 * instructions (flags).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "decode/decode.h"

#define FLAG_CF		 UINT64_C(0x001)
#define FLAG_PF		 UINT64_C(0x004)
#define FLAG_AF		 UINT64_C(0x010)
#define FLAG_ZF		 UINT64_C(0x040)
#define FLAG_SF		 UINT64_C(0x080)
#define FLAG_RF		 UINT64_C(0x10000)
#define FLAG_OF		 UINT64_C(0x800)
#define FLAGS_ARITHMETIC (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

static uint64_t mask_of(unsigned int size)
{
	return size >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << (8 * size)) - 1;
}

static uint64_t read_register(const struct insn *i, const struct insn_state *s)
{
	uint64_t v = s->gpr[i->reg];

	return i->reg_high ? v >> 8 & 0xff : v & mask_of(i->reg_size);
}

/* 32-bit results clear the upper half, smaller ones leave the rest. */
static void write_sized(uint64_t *r, unsigned int size, uint64_t v)
{
	uint64_t m = size == 4 ? ~UINT64_C(0) : mask_of(size);

	*r = (*r & ~m) | (v & mask_of(size));
}

static void write_register(const struct insn *i, struct insn_state *s, uint64_t v)
{
	uint64_t *r = &s->gpr[i->reg];

	if (i->reg_high)
		*r = (*r & ~UINT64_C(0xff00)) | (v & 0xff) << 8;
	else
		write_sized(r, i->reg_size, v);
}

static uint64_t result_flags(uint64_t r, unsigned int size)
{
	uint64_t f = 0;

	if (!(__builtin_popcountll(r & 0xff) & 1))
		f |= FLAG_PF;
	if (!r)
		f |= FLAG_ZF;
	if (r >> (8 * size - 1) & 1)
		f |= FLAG_SF;
	return f;
}

static void set_flags(uint64_t *flags, uint64_t which, uint64_t to)
{
	*flags = (*flags & ~which) | (to & which);
}

static uint64_t add(uint64_t a, uint64_t b, bool carry, unsigned int size, uint64_t *flags)
{
	uint64_t r = (a + b + carry) & mask_of(size);
	uint64_t f = result_flags(r, size);

	if (r < a || (carry && r == a))
		f |= FLAG_CF;
	if ((a ^ b ^ r) & 0x10)
		f |= FLAG_AF;
	if ((~(a ^ b) & (a ^ r)) >> (8 * size - 1) & 1)
		f |= FLAG_OF;
	set_flags(flags, FLAGS_ARITHMETIC, f);
	return r;
}

static uint64_t subtract(uint64_t a, uint64_t b, bool borrow, unsigned int size, uint64_t *flags)
{
	uint64_t r = (a - b - borrow) & mask_of(size);
	uint64_t f = result_flags(r, size);

	if (a < b || (borrow && a == b))
		f |= FLAG_CF;
	if ((a ^ b ^ r) & 0x10)
		f |= FLAG_AF;
	if (((a ^ b) & (a ^ r)) >> (8 * size - 1) & 1)
		f |= FLAG_OF;
	set_flags(flags, FLAGS_ARITHMETIC, f);
	return r;
}

static uint64_t logic(uint64_t r, unsigned int size, uint64_t *flags)
{
	set_flags(flags, FLAGS_ARITHMETIC, result_flags(r, size));
	return r;
}

static uint64_t bit_test(unsigned int alu, uint64_t a, uint64_t n, unsigned int size,
			 uint64_t *flags)
{
	uint64_t bit = UINT64_C(1) << (n & (8 * size - 1));

	set_flags(flags, FLAG_CF, a & bit ? FLAG_CF : 0);
	switch (alu) {
	case INSN_BTS:
		return a | bit;
	case INSN_BTR:
		return a & ~bit;
	case INSN_BTC:
		return a ^ bit;
	default:
		return a;
	}
}

static uint64_t step(uint64_t a, bool up, unsigned int size, uint64_t *flags)
{
	uint64_t carry = *flags & FLAG_CF;
	uint64_t r = up ? add(a, 1, false, size, flags) : subtract(a, 1, false, size, flags);

	set_flags(flags, FLAG_CF, carry);
	return r;
}

/* a op b, both within `size` bytes. */
static uint64_t operate(unsigned int alu, uint64_t a, uint64_t b, unsigned int size,
			uint64_t *flags)
{
	bool carry = *flags & FLAG_CF;

	switch (alu) {
	case INSN_ADD:
		return add(a, b, false, size, flags);
	case INSN_ADC:
		return add(a, b, carry, size, flags);
	case INSN_SUB:
	case INSN_CMP:
		return subtract(a, b, false, size, flags);
	case INSN_SBB:
		return subtract(a, b, carry, size, flags);
	case INSN_OR:
		return logic(a | b, size, flags);
	case INSN_AND:
	case INSN_TEST:
		return logic(a & b, size, flags);
	case INSN_XOR:
		return logic(a ^ b, size, flags);
	case INSN_INC:
	case INSN_DEC:
		return step(a, alu == INSN_INC, size, flags);
	case INSN_NOT:
		return ~a & mask_of(size);
	case INSN_NEG:
		return subtract(0, a, false, size, flags);
	default:
		return bit_test(alu, a, b, size, flags);
	}
}

static bool alu_writes(unsigned int alu)
{
	return alu != INSN_CMP && alu != INSN_TEST && alu != INSN_BT;
}

static uint64_t extend(const struct insn *i, uint64_t v)
{
	unsigned int shift = 64 - 8 * i->size;

	return i->sign ? (uint64_t)((int64_t)(v << shift) >> shift) : v;
}

static uint64_t source(const struct insn *i, const struct insn_state *s)
{
	return i->reg == INSN_NO_REG ? i->imm & mask_of(i->size) : read_register(i, s);
}

static void compare_exchange(const struct insn *i, struct insn_state *s, const struct insn_bus *bus)
{
	uint64_t old = bus->read(bus->ctx, i->size) & mask_of(i->size);
	uint64_t want = s->gpr[0] & mask_of(i->size);

	subtract(want, old, false, i->size, &s->rflags);
	if (want == old) {
		bus->write(bus->ctx, i->size, read_register(i, s));
		return;
	}
	bus->write(bus->ctx, i->size, old);
	write_sized(&s->gpr[0], i->size, old);
}

static void advance(const struct insn *i, struct insn_state *s)
{
	s->rip += i->length;
	if (s->mode != INSN_64)
		s->rip &= s->mode == INSN_16 ? 0xffff : 0xffffffff;
	s->rflags &= ~FLAG_RF;
}

bool insn_run_memory(const struct insn *i, struct insn_state *s, const struct insn_bus *bus)
{
	const uint64_t m = mask_of(i->size);
	uint64_t v, r;

	if (!i->is_memory)
		return false;
	switch (i->kind) {
	case INSN_LOAD:
		write_register(i, s, extend(i, bus->read(bus->ctx, i->size) & m));
		break;
	case INSN_STORE:
		bus->write(bus->ctx, i->size, source(i, s));
		break;
	case INSN_ALU_LOAD:
		v = bus->read(bus->ctx, i->size) & m;
		r = operate(i->alu, read_register(i, s), v, i->size, &s->rflags);
		if (alu_writes(i->alu))
			write_register(i, s, r);
		break;
	case INSN_ALU_STORE:
		v = bus->read(bus->ctx, i->size) & m;
		r = operate(i->alu, v, source(i, s), i->size, &s->rflags);
		if (alu_writes(i->alu))
			bus->write(bus->ctx, i->size, r);
		break;
	case INSN_XCHG:
		v = bus->read(bus->ctx, i->size) & m;
		bus->write(bus->ctx, i->size, read_register(i, s));
		write_register(i, s, v);
		break;
	case INSN_XADD:
		v = bus->read(bus->ctx, i->size) & m;
		r = add(v, read_register(i, s), false, i->size, &s->rflags);
		bus->write(bus->ctx, i->size, r);
		write_register(i, s, v);
		break;
	case INSN_CMPXCHG:
		compare_exchange(i, s, bus);
		break;
	default:
		return false;
	}
	advance(i, s);
	return true;
}
