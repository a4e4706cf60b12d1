/* The interrupt descriptor table, and what an exception in the hypervisor itself comes to: a report
 * and the end of the VM.
 *
 * The table is constant after trap_init(). APM vol. 2, 8.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/trap.h"

#include <stdint.h>

#include "core/console.h"
#include "core/vm.h"
#include "cpu/apic.h"
#include "cpu/x86.h"

struct gate {
	uint16_t offset0, selector;
	uint8_t ist, type;
	uint16_t offset1;
	uint32_t offset2, zero;
};

struct frame {
	uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

#define STUB_BYTES 16

extern const char trap_stubs[], trap_timer[], trap_kick[], trap_com1[], trap_spurious[];
extern const char safe_wrmsr[], safe_rdmsr[], safe_xsetbv[], safe_failed[];

static struct gate idt[VECTORS] __attribute__((aligned(1024)));

static void gate_set(unsigned int vector, const void *handler)
{
	uint64_t a = (uintptr_t)handler;

	idt[vector] = (struct gate){
		.offset0 = (uint16_t)a,
		.selector = 0x08,
		.type = 0x8e,
		.offset1 = (uint16_t)(a >> 16),
		.offset2 = (uint32_t)(a >> 32),
	};
}

void trap_init(void)
{
	for (unsigned int i = 0; i < 32; i++)
		gate_set(i, trap_stubs + i * STUB_BYTES);
	for (unsigned int i = 32; i < VECTORS; i++)
		gate_set(i, trap_spurious);
	gate_set(VECTOR_TIMER, trap_timer);
	gate_set(VECTOR_KICK, trap_kick);
	gate_set(VECTOR_COM1, trap_com1);
}

void trap_load(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uintptr_t)idt};

	__asm__ volatile("lidt %0" ::"m"(idtr));
}

/* Called from trap.S for vectors 0..31. */
void trap_exception(struct frame *f);
void trap_exception(struct frame *f)
{
	uintptr_t rip = f->rip;

	if (f->vector == EXC_GP && (rip == (uintptr_t)safe_wrmsr || rip == (uintptr_t)safe_rdmsr ||
				    rip == (uintptr_t)safe_xsetbv)) {
		f->rip = (uintptr_t)safe_failed;
		return;
	}
	if (f->vector == EXC_NMI) {
		if (vm.kick_by_nmi && vendor->kicked)
			vendor->kicked();
		return; /* others are nobody's: real ones are seen as guest exits */
	}
	console_seize();
	json_begin("error");
	json_text("text", "exception in the hypervisor");
	json_number("vector", f->vector);
	json_number("error_code", f->error);
	json_number("rip", f->rip);
	json_number("rsp", f->rsp);
	json_number("rflags", f->rflags);
	json_number("cr2", x86_read_cr2());
	json_number("cr3", x86_read_cr3());
	json_number("rax", f->rax);
	json_number("rbx", f->rbx);
	json_number("rcx", f->rcx);
	json_number("rdx", f->rdx);
	json_number("rsi", f->rsi);
	json_number("rdi", f->rdi);
	json_number("rbp", f->rbp);
	json_number("r8", f->r8);
	json_number("r9", f->r9);
	json_number("r10", f->r10);
	json_number("r11", f->r11);
	json_number("r12", f->r12);
	json_number("r13", f->r13);
	json_number("r14", f->r14);
	json_number("r15", f->r15);
	json_number("cpu", apic_host_id());
	json_end();
	vm_end(END_ASSERT, (unsigned int)f->vector);
}
