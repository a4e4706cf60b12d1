/* The way into the guest and out.
 *
 * unsigned int vmx_enter(uint64_t gpr[16], uint64_t *host_rsp, bool launched)
 *
 * 0: the guest ran and exited, or the entry failed late and the exit reason says so. 1: there is no current
 * VMCS; 2: VM-instruction error. *host_rsp is what the VMCS has. gpr[4] (RSP) goes through the VMCS, in C. The
 * CPU loads and saves RIP, RSP, RFLAGS, segments and descriptor tables; the SYSCALL registers are the guest's
 * from its reset on, for the hypervisor uses none of them. SDM vol. 3, 27, 28.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "vmx/vmcs.h"

	.section .text.hot.vmx_enter, "ax"
	.code64
	.globl vmx_enter, vmx_exited
	.align 64
vmx_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdi
	cmp %rsp, (%rsi)
	je 1f
	mov %rsp, (%rsi)
	mov $VMCS_HOST_RSP, %eax
	vmwrite %rsp, %rax
1:	test %dl, %dl
	mov 0x00(%rdi), %rax
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
	jz 2f
	vmresume
	jmp 3f
2:	vmlaunch
3:	mov $1, %eax /* (keeps the flags) */
	mov $2, %ecx
	cmovz %ecx, %eax
	pop %rdi
	jmp 4f

	.align 16
vmx_exited:
	push %rdi
	mov 8(%rsp), %rdi
	mov %rax, 0x00(%rdi)
	mov %rcx, 0x08(%rdi)
	mov %rdx, 0x10(%rdi)
	mov %rbx, 0x18(%rdi)
	mov %rbp, 0x28(%rdi)
	mov %rsi, 0x30(%rdi)
	pop %rax
	mov %rax, 0x38(%rdi)
	mov %r8, 0x40(%rdi)
	mov %r9, 0x48(%rdi)
	mov %r10, 0x50(%rdi)
	mov %r11, 0x58(%rdi)
	mov %r12, 0x60(%rdi)
	mov %r13, 0x68(%rdi)
	mov %r14, 0x70(%rdi)
	mov %r15, 0x78(%rdi)
	pop %rdi
	xor %eax, %eax
4:	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

	.section .note.GNU-stack, "", @progbits
