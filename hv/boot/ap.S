/* The other CPUs' way from SIPI (real mode) to 64-bit C.
 *
 * The code between ap_code and ap_code_end is copied to AP_BASE, below 1 MiB; cpu/smp.c fills in the
 * two words at its end for one CPU at a time. APM vol. 2, 14.8, 15.28.
 *
 * SPDX-License-Identifier: BSD-2-Clause */

#define AP_BASE 0x8000
#define AT(label) (AP_BASE + (label) - ap_code)

	.section .rodata
	.align 16
	.globl ap_code, ap_code_end, ap_cr3, ap_stack
	.code16
ap_code:
	cli
	cld
	xor %ax, %ax
	mov %ax, %ds
	lgdtl AT(ap_gdt_pointer)
	mov AT(ap_cr3), %eax
	mov %eax, %cr3
	mov $0x20, %eax /* PAE */
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax /* LME */
	wrmsr
	mov $0x80010033, %eax /* PG WP NE ET MP PE */
	mov %eax, %cr0
	ljmpl $0x08, $AT(ap_code64)

	.code64
ap_code64:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	lldt %ax
	mov AT(ap_stack), %rsp
	lgdt gdt_pointer
	xor %ebp, %ebp
	mov $smp_ap_main, %rax
	call *%rax
1:	hlt
	jmp 1b

	.align 8
ap_gdt_pointer:
	.word 31
	.long AT(ap_gdt)
	.align 8
ap_gdt:
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
	.quad 0x00cf9b000000ffff
ap_cr3:
	.quad 0
ap_stack:
	.quad 0
ap_code_end:

	.section .note.GNU-stack, "", @progbits
