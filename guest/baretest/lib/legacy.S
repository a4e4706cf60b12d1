/* Out of long mode and back, and the exceptions of 32-bit mode. All of our memory that these touch
 * is below 4 GiB and identity mapped; segments are flat. APM vol. 2, 14.6 and 14.7.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "layout.h"

	.text
	.code64
	/* void script_run(struct script *s, uint64_t cr3_after, uint64_t cr4_after) */
	.globl script_run
script_run:
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	pushfq
	cli
	push %rdx
	push %rsi
	sub $16, %rsp
	sidt (%rsp)
	push %rdi
	lidt idt32_pointer
	pushq $SEL_CODE32
	pushq $leave_long
	lretq

	.code32
leave_long:
	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0
	mov $0xc0000080, %ecx
	rdmsr
	and $~0x100, %eax
	wrmsr
	/* The script's pointer is on top of the stack, as cdecl wants it. */
	call script_steps
	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0
	mov 24(%esp), %eax /* after script, IDT pointer: cr3, cr4 */
	mov %eax, %cr3
	mov 32(%esp), %eax
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	mov $HOME_EFER, %eax
	xor %edx, %edx
	wrmsr
	mov $HOME_CR0, %eax
	mov %eax, %cr0
	ljmp $SEL_CODE64, $1f
	.code64
1:	mov %esp, %esp
	add $8, %rsp
	lidt (%rsp)
	add $32, %rsp
	popfq
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret

	/* int guarded32(uint32_t (*fn)(uint32_t, uint32_t), uint32_t a, uint32_t b,
	 * struct guard32 *g): g->esp, g->eip armed during fn(a, b). */
	.code32
	.globl guarded32
guarded32:
	push %ebp
	push %ebx
	push %esi
	push %edi
	mov 32(%esp), %ebx
	mov %esp, (%ebx)
	movl $1f, 4(%ebx)
	push 28(%esp)
	push 28(%esp)
	call *28(%esp)
	add $8, %esp
1:	movl $0, 4(%ebx)
	pop %edi
	pop %esi
	pop %ebx
	pop %ebp
	ret

	.globl stubs32
	.align 16
stubs32:
	vector = 0
	.rept 32
	.align 16
	.if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)
	.else
	push $0
	.endif
	push $vector
	jmp common32
	vector = vector + 1
	.endr

	/* Never returns to what faulted: trap32 gives the guard that is armed. */
common32:
	mov %esp, %eax
	cld
	push %eax
	call trap32
	mov (%eax), %esp
	mov %eax, %ebx
	mov 4(%eax), %edx
	jmp *%edx

	.data
	.align 8
	.globl idt32
idt32: .skip 8 * 32
idt32_pointer:
	.word 8 * 32 - 1
	.quad idt32
