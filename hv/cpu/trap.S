/* Entry points of the hypervisor's own exceptions and interrupts, and the instructions that may
 * fault on purpose. APM vol. 2, 8.9.
 *
 * No stack switch: TR belongs to the guest once it runs, so there is no TSS to take a stack from.
 *
 * SPDX-License-Identifier: BSD-2-Clause */

	.section .text.hot.trap, "ax"
	.code64

/* The interrupts that come while a guest runs: only what C may change is saved. */
	.macro interrupt name handler
	.globl \name
	.align 16
\name:
	push %rax
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	cld
	call \handler
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rax
	iretq
	.endm

	interrupt trap_timer, interrupt_timer
	interrupt trap_kick, interrupt_kick
	interrupt trap_com1, interrupt_com1

/* A masked controller's or local APIC's spurious interrupt needs no end. */
	.globl trap_spurious
	.align 16
trap_spurious:
	iretq

	.section .text.trap, "ax"
	.align 16
trap_common:
	push %r15
	push %r14
	push %r13
	push %r12
	push %r11
	push %r10
	push %r9
	push %r8
	push %rdi
	push %rsi
	push %rbp
	push %rbx
	push %rdx
	push %rcx
	push %rax
	cld
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call trap_exception
	mov %rbp, %rsp
	pop %rax
	pop %rcx
	pop %rdx
	pop %rbx
	pop %rbp
	pop %rsi
	pop %rdi
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

/* One stub for each exception: error code (or 0) and vector on the stack. */
	.macro exceptions from to
	.set vector, \from
	.rept \to - \from + 1
	.align 16
	.if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30))
	push $0
	.endif
	push $vector
	jmp trap_common
	.set vector, vector + 1
	.endr
	.endm

	.globl trap_stubs
	.align 16
trap_stubs:
	exceptions 0, 31

/* int x86_wrmsr_safe(uint32_t msr, uint64_t value); a #GP continues at safe_failed. */
	.globl x86_wrmsr_safe, x86_rdmsr_safe, x86_xsetbv_safe
x86_wrmsr_safe:
	mov %edi, %ecx
	mov %esi, %eax
	shr $32, %rsi
	mov %esi, %edx
	.globl safe_wrmsr, safe_rdmsr, safe_xsetbv, safe_failed
safe_wrmsr:
	wrmsr
	xor %eax, %eax
	ret
x86_rdmsr_safe:
	mov %edi, %ecx
safe_rdmsr:
	rdmsr
	shl $32, %rdx
	mov %eax, %eax
	or %rdx, %rax
	mov %rax, (%rsi)
	xor %eax, %eax
	ret
x86_xsetbv_safe:
	mov %edi, %ecx
	mov %esi, %eax
	shr $32, %rsi
	mov %esi, %edx
safe_xsetbv:
	xsetbv
	xor %eax, %eax
	ret
safe_failed:
	mov $-1, %eax
	ret

	.section .note.GNU-stack, "", @progbits
