/* From the multiboot entry (32-bit, no paging) to C in long mode, for the first CPU; and from the
 * start-up IPI (16-bit real mode) to C for the others. APM vol. 2, 14 and 15.27; Multiboot 0.6.96.
 * SPDX-License-Identifier: BSD-2-Clause */
#include "layout.h"

	.section .multiboot, "ax"
	.align 4
	.long 0x1badb002
	.long 3
	.long -(0x1badb002 + 3)

	.text
	.code32
	.globl start32
start32:
	cli
	cld
	mov %eax, multiboot_magic
	mov %ebx, multiboot_info
	mov $cpu_blocks + CPU_BLOCK, %esp

	/* Home tables: 4 GiB, identity, 2 MiB pages; the last GiB holds devices: not cached. */
	mov $home_pd, %edi
	mov $0x83, %eax
	xor %ecx, %ecx
1:	mov %eax, (%edi,%ecx,8)
	movl $0, 4(%edi,%ecx,8)
	add $0x200000, %eax
	inc %ecx
	cmp $1536, %ecx
	jne 2f
	or $0x10, %eax
2:	cmp $2048, %ecx
	jne 1b
	movl $home_pdpt + 3, home_pml4
	movl $home_pd + 3, home_pdpt
	movl $home_pd + 0x1003, home_pdpt + 8
	movl $home_pd + 0x2003, home_pdpt + 16
	movl $home_pd + 0x3003, home_pdpt + 24

	call long_mode
	.code64
	xor %ebp, %ebp
	call main
3:	hlt
	jmp 3b

	/* 32-bit to 64-bit mode on the home tables. Called with a near call; returns in 64-bit mode,
	 * so the return address is taken as 32 bits. */
	.code32
long_mode:
	pop %ebx
	lgdt boot_gdt_pointer
	mov $HOME_CR4, %eax
	mov %eax, %cr4
	mov $home_pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	mov $HOME_EFER, %eax
	xor %edx, %edx
	wrmsr
	mov $HOME_CR0, %eax
	mov %eax, %cr0
	ljmp $SEL_CODE64, $1f
	.code64
1:	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov %ebx, %ebx
	jmp *%rbx

	/* Copied to TRAMPOLINE. Position: everything relative to it. */
	.code16
	.globl trampoline_start
	.globl trampoline_end
trampoline_start:
	cli
	cld
	/* Real mode works: leave CS and a string through ES behind. One slot, CPUs may race. */
	xor %ax, %ax
	mov %ax, %ds
	mov %cs, %ax
	mov %ax, REAL_MARKS
	mov $REAL_MARKS >> 4, %ax
	mov %ax, %es
	mov $2, %di
	mov $0x4142, %ax
	mov $3, %cx
	rep stosw
	lgdtl TRAMPOLINE + (trampoline_gdt - trampoline_start)
	mov %cr0, %eax
	or $1, %eax
	and $0x9fffffff, %eax
	mov %eax, %cr0
	ljmpl $SEL_CODE32, $TRAMPOLINE + (trampoline_32 - trampoline_start)
trampoline_gdt:
	.word 8 * GDT_ENTRIES - 1
	.long boot_gdt
	.code32
trampoline_32:
	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $ap_start32, %eax
	jmp *%eax
trampoline_end:

	.code32
ap_start32:
	mov $1, %eax
	lock xadd %eax, ap_next
	cmp $CPU_MAX, %eax
	jae 2f
	mov %eax, %edi
	imul $CPU_BLOCK, %eax, %esp
	add $cpu_blocks + CPU_BLOCK, %esp
	call long_mode
	.code64
	xor %ebp, %ebp
	call ap_main
2:	cli
	hlt
	jmp 2b

	.data
	.align 8
	.globl boot_gdt
boot_gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* 64-bit code */
	.quad 0x00cf93000000ffff /* data */
	.quad 0x00cf9b000000ffff /* 32-bit code */
	.quad 0x00cff3000000ffff /* user data */
	.quad 0x00affb000000ffff /* user code */
	.quad 0, 0, 0, 0 /* TSS, LDT */
boot_gdt_pointer:
	.word 8 * GDT_ENTRIES - 1
	.quad boot_gdt

	.globl multiboot_magic
	.globl multiboot_info
	.globl ap_next
multiboot_magic: .long 0
multiboot_info:  .long 0
ap_next:         .long 1

	.bss
	.align 4096
	.globl home_pml4
	.globl home_pdpt
	.globl home_pd
home_pml4: .skip 4096
home_pdpt: .skip 4096
home_pd:   .skip 4096 * 4
	.align CPU_BLOCK
	.globl cpu_blocks
cpu_blocks: .skip CPU_BLOCK * CPU_MAX
