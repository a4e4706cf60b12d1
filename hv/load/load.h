/* Loading a guest: which kind of kernel it is, and the state in which its boot CPU starts.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_LOAD_LOAD_H
#define HV_LOAD_LOAD_H

#include "load/e820.h"
#include "load/guestmem.h"

struct load_module {
	const void *data;
	size_t bytes;
	const char *args; /* what follows the file's name; "" if nothing */
};

struct load_input {
	struct load_module kernel; /* args: the guest's command line */
	struct load_module initrd; /* bytes 0 and has_initrd false: none */
	bool has_initrd;	   /* a module was given, even if it is empty (which is an error) */
	const struct e820 *map;
	uint64_t rsdp; /* GPA */
};

/* A segment in VMCB form: attrib is the VMCB's 12-bit packing (AMD APM vol. 2, 15.5.1: type, S,
 * DPL, P, then AVL, L, D, G in bits 8..11). */
struct load_segment {
	uint16_t selector, attrib;
	uint32_t limit;
	uint64_t base;
};

/* The boot vCPU's registers. What is not here is as after reset. efer lacks SVME: the host's own.
 */
struct load_entry {
	uint64_t rip, rsp, rax, rbx, rsi, rflags;
	uint64_t cr0, cr3, cr4, efer;
	struct load_segment cs, data; /* data: DS, ES, SS, FS, GS alike */
	struct load_segment tr;	      /* a busy TSS that is never used */
	uint64_t gdt_base, idt_base;
	uint16_t gdt_limit, idt_limit;
};

/* Find out what the kernel module is (Linux bzImage, multiboot ELF) and load it with its
 * parameters. False: nothing may be run; *err says why. */
bool load_guest(const struct guestmem *mem, const struct load_input *in, struct load_entry *out,
		struct load_error *err) __attribute__((warn_unused_result));

#endif
