/* From the multiboot loader (32-bit, paging off) to 64-bit C on the boot stack.
 *
 * Owns: the multiboot 1 header, the first page tables (identity, 4 GiB in 2 MiB pages; replaced by
 * mem/identity.c), the global descriptor table that every CPU uses.
 * Multiboot specification 0.6.96, section 3; APM vol. 2, 14.8 (long mode initialization).
 *
 * SPDX-License-Identifier: BSD-2-Clause */

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x3 /* modules page-aligned, memory map wanted */

	.section .multiboot, "a"
	.align 4
	.long MULTIBOOT_MAGIC
	.long MULTIBOOT_FLAGS
	.long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

	.section .text.boot, "ax"
	.code32
	.globl start
start:
	cli
	cld
	mov %eax, %esi /* magic */
	mov %ebx, %edi /* struct multiboot_info */
	mov $boot_stack_top, %esp

	mov $0x80000000, %eax
	cpuid
	cmp $0x80000001, %eax
	jb no_long_mode
	mov $0x80000001, %eax
	cpuid
	test $(1 << 29), %edx
	jz no_long_mode

	/* Four page directories map 4 GiB. */
	mov $boot_pd, %eax
	mov $0x83, %edx
	mov $2048, %ecx
1:	mov %edx, (%eax)
	movl $0, 4(%eax)
	add $0x200000, %edx
	add $8, %eax
	loop 1b
	mov $boot_pdpt, %eax
	mov $boot_pd + 3, %edx
	mov $4, %ecx
2:	mov %edx, (%eax)
	add $0x1000, %edx
	add $8, %eax
	loop 2b
	movl $boot_pdpt + 3, boot_pml4

	mov $boot_pml4, %eax
	mov %eax, %cr3
	mov $0x20, %eax /* PAE */
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax /* LME */
	wrmsr
	mov $0x80010033, %eax /* PG WP NE ET MP PE */
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x08, $start64

no_long_mode:
	/* No console yet: say it on COM2 in the form of the other lines. */
	mov $no_long_mode_text, %esi
3:	lodsb
	test %al, %al
	jz 4f
	mov $0x2f8, %dx
	out %al, %dx
	jmp 3b
4:	hlt
	jmp 4b

	.code64
start64:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	lldt %ax
	/* hv_main(struct multiboot_info *, magic): 32-bit values */
	mov %edi, %edi
	mov %esi, %esi
	xor %ebp, %ebp
	call hv_main
5:	hlt
	jmp 5b

	.section .rodata
no_long_mode_text:
	.asciz "{\"ev\":\"error\",\"text\":\"this CPU has no 64-bit mode\"}\n"

	.section .data
	.align 16
	.globl gdt_pointer
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
	.align 16
gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* 0x08 64-bit code */
	.quad 0x00cf93000000ffff /* 0x10 data */
	.quad 0x00cf9b000000ffff /* 0x18 32-bit code, for the other CPUs' way up */
gdt_end:

	.section .bss.page, "aw", @nobits
	.align 4096
boot_pml4:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_pd:
	.skip 4096 * 4
	.skip 4096 * 4
boot_stack_top:

	.section .note.GNU-stack, "", @progbits
