/* The guest that calibrates: pieces of code that write down the time after each of their parts.
 *
 * They are copied to CAL_CODE of the guest's memory, and name nothing but the constants of calibrate.h.
 * R10: how many parts; R9: where the stamps go, one more than there are parts. All end with CPUID, of CAL_STOP.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "virt/calibrate.h"

	.section .rodata.calibrate, "a"
	.code64
	.globl cal_begin, cal_end, cal_exit, cal_chase, cal_touch, cal_unmap, cal_cr3, cal_arith, cal_fault

/* Loses RAX and RDX. */
	.macro stamp
	lfence
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, (%r9)
	add $8, %r9
	.endm

	.macro next_part
	stamp
	dec %r10
	jnz 1b
	mov $CAL_STOP, %eax
	cpuid
	.endm

/* What a kernel touches besides while it handles a fault or goes to another process. Loses RAX and RBX. */
	.macro kernel
	mov $CAL_KERNEL, %eax
9:	mov (%rax), %rbx
	add $4096 + 64, %rax
	cmp $CAL_KERNEL + CAL_KERNEL_PAGES * (4096 + 64), %rax
	jne 9b
	.endm

cal_begin:

/* A part: one exit. */
cal_exit:
	stamp
1:	xor %eax, %eax
	cpuid
	next_part

/* A part: R8 loads. Each takes its address from what the last one gave, and comes from another page of the
 * RSI + 1 (a power of two) at RDI: x -> 1664525 x + 1013904223 visits all of them before the first
 * again, in an order that no prefetcher follows. In its page it takes the line of the page's number, so that
 * the data caches have room for all. */
cal_chase:
	xor %ebx, %ebx
	stamp
1:	mov %r8, %rcx
2:	imul $1664525, %rbx, %rbx
	add $1013904223, %rbx
	and %rsi, %rbx
	mov %ebx, %eax
	mov %ebx, %edx
	shl $12, %rax
	and $63, %edx
	shl $6, %edx
	add %rdi, %rax
	mov (%rax, %rdx), %rax
	and $0, %eax
	add %rax, %rbx
	dec %rcx
	jnz 2b
	next_part

/* A part: the first touch of a page, from RDI on. Nothing is mapped there: cal_fault does. */
cal_touch:
	stamp
1:	movb $1, (%rdi)
	add $4096, %rdi
	next_part

/* A part: unmap the page of CAL_HOLES_AT that cal_touch had touched. */
cal_unmap:
	mov $CAL_HOLES_AT, %edi
	mov $CAL_HOLE_PT, %esi
	stamp
1:	movq $0, (%rsi)
	invlpg (%rdi)
	add $8, %rsi
	add $4096, %rdi
	next_part

/* A part: go to the other address space, CR3 in RSI (back: R11), and touch a few pages of it, from RDI on. */
cal_cr3:
	stamp
1:	mov %rsi, %cr3
	xchg %rsi, %r11
	kernel
	.set offset, 0
	.rept CAL_SET
	mov offset(%rdi), %rax
	.set offset, offset + 4096
	.endr
	next_part

/* A part: R8 steps of CAL_ARITH_INSNS instructions. */
cal_arith:
	stamp
1:	mov %r8, %rbx
2:
	.rept 4
	add %rbx, %rax
	xor %rax, %rcx
	rol $7, %rcx
	lea 3(%rcx, %rax), %rdx
	imul %rdx, %rax
	sub %rdx, %rsi
	shr $3, %rdx
	or %rdx, %rsi
	.endr
	dec %rbx
	jnz 2b
	next_part

/* #PF: map the page. */
cal_fault:
	push %rax
	push %rbx
	kernel
	mov %cr2, %rax
	shr $12, %rax
	and $511, %eax
	mov %eax, %ebx
	shl $12, %ebx
	add $(CAL_DATA | CAL_PTE), %ebx
	mov %rbx, CAL_HOLE_PT(, %rax, 8)
	pop %rbx
	pop %rax
	add $8, %rsp
	iretq

cal_end:

	.section .note.GNU-stack, "", @progbits
