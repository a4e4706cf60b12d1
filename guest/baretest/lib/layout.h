/* Numbers that C and assembly share: selectors, the CPU block's layout, low memory.
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BARETEST_LAYOUT_H
#define BARETEST_LAYOUT_H

#define SEL_CODE64    0x08
#define SEL_DATA      0x10
#define SEL_CODE32    0x18
#define SEL_USER_DATA 0x23
#define SEL_USER_CODE 0x2b
#define SEL_TSS	      0x30
#define SEL_LDT	      0x40
#define GDT_ENTRIES   10

/* Each CPU has one block: struct cpu at its base, stack down from its top. The block's alignment
 * lets any code find its CPU from the stack pointer, in every CPU mode. */
#define CPU_BLOCK   0x8000
#define CPU_MAX	    64
#define CPU_RSP0    0 /* offsets in struct cpu, asserted there */
#define CPU_RECOVER 8
#define CPU_INDEX   40

/* Below 1 MiB: the APs' real-mode start, and what it leaves behind for the test to look at. */
#define TRAMPOLINE 0x8000
#define REAL_MARKS 0x7000

#define VEC_USER_RETURN 0x80 /* INT from tested code: no fault happened */

#define HOME_CR0  0x80010033 /* PG WP NE ET MP PE */
#define HOME_CR4  0x000000a0 /* PAE PGE */
#define HOME_EFER 0x00000900 /* NXE LME */

#endif
