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
#include "virt/enter.inc"

	.section .text.hot.enter, "ax"
	.code64
	.globl svm_enter
	.align 64
svm_enter:
	enter_push
	mov %rsi, %rax
	enter_load
	vmrun %rax
	mov %rdi, %rax
	pop %rdi
	enter_save
	mov %rax, 0x38(%rdi)
	enter_pop
	ret

	.section .note.GNU-stack, "", @progbits
