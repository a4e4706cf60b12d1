/* Exception and interrupt stubs, the guarded call that tests use to take faults, and the way into
 * ring 3. SPDX-License-Identifier: BSD-2-Clause */
#include "layout.h"

	.text
	.code64

	/* One 16-byte stub for each vector: error code (or 0), vector, then the common part. */
	.globl trap_stubs
	.align 16
trap_stubs:
	vector = 0
	.rept 256
	.align 16
	.if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)
	.else
	push $0
	.endif
	push $vector
	jmp trap_common
	vector = vector + 1
	.endr

trap_common:
	push %r15
	push %r14
	push %r13
	push %r12
	push %r11
	push %r10
	push %r9
	push %r8
	push %rbp
	push %rdi
	push %rsi
	push %rdx
	push %rcx
	push %rbx
	push %rax
	cld
	mov %rsp, %rdi
	call trap
	pop %rax
	pop %rbx
	pop %rcx
	pop %rdx
	pop %rsi
	pop %rdi
	pop %rbp
	pop %r8
	pop %r9
	pop %r10
	pop %r11
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	add $16, %rsp
	iretq

	/* uint64_t attempt_call(struct recover *r, uint64_t (*fn)(uint64_t, uint64_t), uint64_t a,
	 * uint64_t b): fn(a, b) with r armed. r->rip, r->rsp, r->rflags come first in the struct. */
	.globl attempt_call
attempt_call:
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	pushfq
	mov %rsp, 8(%rdi)
	pushfq
	pop 16(%rdi)
	movq $1f, (%rdi)
	push %rdi
	mov %rsi, %rax
	mov %rdx, %rdi
	mov %rcx, %rsi
	call *%rax
	pop %rdi
	movq $0, (%rdi)
1:	popfq
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret

	/* The accesses. A write goes to the address itself; what a fetch reaches is INT 0x80. */
	.globl access_read
	.globl access_write
	.globl access_or
	.globl access_fetch
	.globl access_write8
access_read:
	movzbl (%rdi), %eax
	ret
access_write:
	mov %sil, (%rdi)
	ret
access_or:
	lock orb $0, (%rdi)
	ret
access_fetch:
	jmp *%rdi
access_write8:
	mov %rsi, (%rdi)
	ret

	/* The same from ring 3: copied to a page that the user may run. */
	.globl user_code_start
	.globl user_code_end
	.globl user_read
	.globl user_write
	.globl user_or
	.globl user_fetch
	.globl user_read8
	.globl user_write8
user_code_start:
user_read:
	movzbl (%rdi), %eax
	int $VEC_USER_RETURN
user_write:
	mov %sil, (%rdi)
	int $VEC_USER_RETURN
user_or:
	lock orb $0, (%rdi)
	int $VEC_USER_RETURN
user_read8:
	mov (%rdi), %rax
	int $VEC_USER_RETURN
user_write8:
	mov %rsi, (%rdi)
	int $VEC_USER_RETURN
user_fetch:
	jmp *%rdi
user_code_end:

	/* uint64_t enter_user(uint64_t a, uint64_t b): a and b in RDI and RSI at the CPU's user_rip,
	 * with IF off and, if this CPU's RFLAGS.AC is set, AC too. Comes back by recovery only. */
	.globl enter_user
enter_user:
	mov %rsp, %rax
	and $-CPU_BLOCK, %rax
	mov CPU_RSP0(%rax), %rcx /* pointer to tss.rsp0 */
	mov %rsp, (%rcx)
	subq $256, (%rcx)
	andq $-16, (%rcx)
	pushq $SEL_USER_DATA
	pushq $0
	pushfq
	andq $~0x200, (%rsp)
	pushq $SEL_USER_CODE
	pushq CPU_INDEX-8(%rax)  /* user_rip */
	iretq
