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
#include "virt/enter.inc"
#include "vmx/vmcs.h"

	.section .text.hot.vmx_enter, "ax"
	.code64
	.globl vmx_enter, vmx_exited
	.align 64
vmx_enter:
	enter_push
	cmp %rsp, (%rsi)
	je 1f
	mov %rsp, (%rsi)
	mov $VMCS_HOST_RSP, %eax
	vmwrite %rsp, %rax
1:	test %dl, %dl
	mov 0x00(%rdi), %rax
	enter_load
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
	enter_save
	pop %rax
	mov %rax, 0x38(%rdi)
	pop %rdi
	xor %eax, %eax
4:	enter_pop
	ret

	.section .note.GNU-stack, "", @progbits
