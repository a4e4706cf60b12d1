/* The way into the guest and out.
 *
 * void svm_enter(uint64_t gpr[16], uint64_t vmcb_pa)
 *
 * VMRUN itself swaps RAX, RSP, RIP, RFLAGS, the control registers, CS, SS, DS, ES, GDTR and IDTR. FS,
 * GS, TR, LDTR and the SYSCALL and SYSENTER registers are the guest's from its reset on: the hypervisor
 * uses none of them, so nothing has to be saved or loaded at an exit (APM vol. 2, 15.5.1, 15.6).
 * gpr[0] (RAX) and gpr[4] (RSP) go through the VMCB, in C.
 *
 * SPDX-License-Identifier: BSD-2-Clause */

	.section .text.hot.enter, "ax"
	.code64
	.globl svm_enter
	.align 64
svm_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdi
	mov %rsi, %rax
	mov 0x08(%rdi), %rcx
	mov 0x10(%rdi), %rdx
	mov 0x18(%rdi), %rbx
	mov 0x28(%rdi), %rbp
	mov 0x30(%rdi), %rsi
	mov 0x40(%rdi), %r8
	mov 0x48(%rdi), %r9
	mov 0x50(%rdi), %r10
	mov 0x58(%rdi), %r11
	mov 0x60(%rdi), %r12
	mov 0x68(%rdi), %r13
	mov 0x70(%rdi), %r14
	mov 0x78(%rdi), %r15
	mov 0x38(%rdi), %rdi
	vmrun %rax
	mov %rdi, %rax
	pop %rdi
	mov %rcx, 0x08(%rdi)
	mov %rdx, 0x10(%rdi)
	mov %rbx, 0x18(%rdi)
	mov %rbp, 0x28(%rdi)
	mov %rsi, 0x30(%rdi)
	mov %rax, 0x38(%rdi)
	mov %r8, 0x40(%rdi)
	mov %r9, 0x48(%rdi)
	mov %r10, 0x50(%rdi)
	mov %r11, 0x58(%rdi)
	mov %r12, 0x60(%rdi)
	mov %r13, 0x68(%rdi)
	mov %r14, 0x70(%rdi)
	mov %r15, 0x78(%rdi)
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

	.section .note.GNU-stack, "", @progbits
