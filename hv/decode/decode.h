/* A small x86 instruction decoder: what device registers and control registers are reached with.
 *
 * Bytes in, struct out; then the effective address, and the execution of one memory instruction
 * against a device. AMD APM vol. 3. Knows: MOV (88-8B, A0-A3, C6, C7), MOVZX, MOVSX, MOVSXD, the
 * ALU group with memory (ADD OR ADC SBB AND SUB XOR CMP, TEST, XCHG, INC, DEC, NOT, NEG,
 * BT/BTS/BTR/BTC by immediate, CMPXCHG, XADD), MOV to and from CRn and DRn, CLTS, LMSW, SMSW,
 * INVLPG, INVPCID, XSETBV. String instructions are told apart as INSN_STRING, software interrupts
 * as INSN_INT. Pure functions; no lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_DECODE_DECODE_H
#define HV_DECODE_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSN_MAX 15u /* bytes in an instruction */

enum insn_mode {
	INSN_16, /* real mode, or CS.D = 0 outside 64-bit mode */
	INSN_32,
	INSN_64,
};

enum insn_status {
	INSN_OK,
	INSN_SHORT,   /* the bytes end before the instruction does */
	INSN_UNKNOWN, /* not one of ours */
	INSN_INT,     /* INT3, INT n, INTO: nothing else is right */
	INSN_STRING,  /* MOVS, STOS, LODS, CMPS, SCAS, INS, OUTS: .length is right, nothing else */
};

enum insn_kind {
	INSN_LOAD,	/* reg <- memory (MOV, and MOVZX/MOVSX: extend) */
	INSN_STORE,	/* memory <- reg or immediate */
	INSN_ALU_LOAD,	/* reg op= memory; CMP and TEST only set flags */
	INSN_ALU_STORE, /* memory op= reg or immediate */
	INSN_XCHG,
	INSN_CMPXCHG,
	INSN_XADD,
	INSN_CR_READ,  /* gpr[.reg] <- CR[.number]; memory operands do not exist here */
	INSN_CR_WRITE, /* CR[.number] <- gpr[.reg] */
	INSN_DR_READ,
	INSN_DR_WRITE,
	INSN_CLTS,
	INSN_LMSW,    /* source: memory (is_memory, 2 bytes) or gpr[.reg] */
	INSN_SMSW,    /* destination: memory (2 bytes) or gpr[.reg], .size bytes */
	INSN_INVLPG,  /* memory operand's linear address */
	INSN_INVPCID, /* type in gpr[.reg], descriptor (16 bytes) at the memory operand */
	INSN_XSETBV,
};

enum insn_alu {
	INSN_ADD,
	INSN_OR,
	INSN_ADC,
	INSN_SBB,
	INSN_AND,
	INSN_SUB,
	INSN_XOR,
	INSN_CMP,
	INSN_TEST,
	INSN_INC,
	INSN_DEC,
	INSN_NOT,
	INSN_NEG,
	INSN_BT,
	INSN_BTS,
	INSN_BTR,
	INSN_BTC,
};

/* Segment registers in their encoding's order; the order of seg_base too. */
enum insn_seg { INSN_ES, INSN_CS, INSN_SS, INSN_DS, INSN_FS, INSN_GS };

#define INSN_NO_REG 0xffu

struct insn {
	uint8_t length;
	uint8_t kind;	  /* enum insn_kind */
	uint8_t alu;	  /* enum insn_alu */
	uint8_t size;	  /* bytes of the memory operand (or of the register where there is none) */
	uint8_t reg;	  /* general register 0..15, INSN_NO_REG: the immediate */
	uint8_t reg_size; /* bytes of the register destination (MOVZX: wider than size) */
	bool reg_high;	  /* AH, CH, DH, BH: bits 15:8 of register .reg (0..3) */
	bool sign;	  /* the load sign-extends */
	bool lock;	  /* LOCK prefix, or XCHG */
	uint8_t number;	  /* CRn, DRn */
	uint64_t imm;	  /* sign-extended to 64 bits */
	/* The memory operand. */
	bool is_memory;
	uint8_t seg;		    /* enum insn_seg */
	uint8_t base, index, scale; /* INSN_NO_REG: none; scale is a shift */
	bool rip_relative;
	uint8_t addr_size; /* 2, 4, 8 bytes */
	int64_t disp;
};

/* The guest state that addresses and operands come from. gpr in encoding order: RAX RCX RDX RBX RSP
 * RBP RSI RDI R8..R15. */
struct insn_state {
	uint64_t *gpr; /* 16 of them */
	uint64_t rip;  /* of this instruction; insn_run_memory advances it */
	uint64_t rflags;
	enum insn_mode mode;
	const uint64_t *seg_base; /* 6 of them; in 64-bit mode only FS and GS count */
};

/* Decode one instruction from n bytes. */
enum insn_status insn_decode(const uint8_t *bytes, size_t n, enum insn_mode mode, struct insn *out);

/* The linear address of the memory operand (truncated to 32 bits outside 64-bit mode). No limit or
 * canonical check. */
uint64_t insn_linear(const struct insn *i, const struct insn_state *s);

/* Where a memory instruction's accesses go. */
struct insn_bus {
	void *ctx;
	uint64_t (*read)(void *ctx, unsigned int size);
	void (*write)(void *ctx, unsigned int size, uint64_t value);
};

/* Execute an instruction of a kind INSN_LOAD .. INSN_XADD whose memory operand is a device:
 * registers, flags and RIP change as the CPU would change them. (RF is cleared.) False: not of
 * these kinds. */
bool insn_run_memory(const struct insn *i, struct insn_state *s, const struct insn_bus *bus);

#endif
