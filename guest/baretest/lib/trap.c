/* Descriptor tables, exceptions and interrupts: a fault goes to pf_hook, to the CPU's retries, to
 * the attempt() that is armed, or ends the run. APM vol. 2, ch. 8.
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>

#include "paging.h"

struct gate {
	uint16_t low, sel;
	uint8_t ist, type;
	uint16_t mid;
	uint32_t high, zero;
};

static struct gate idt[256] __attribute__((aligned(4096)));
static void (*vectors[256])(struct trap_frame *);
bool (*volatile pf_hook)(struct trap_frame *, uint64_t cr2);
uint8_t user_code_page[4096] __attribute__((aligned(4096)));

extern uint8_t trap_stubs[];
extern uint8_t user_code_start[], user_code_end[];
extern uint8_t user_read[], user_write[], user_or[], user_fetch[];
extern uint8_t user_read8[], user_write8[];
extern uint64_t boot_gdt[GDT_ENTRIES];

uint64_t attempt_call(struct recover *, uint64_t (*)(uint64_t, uint64_t), uint64_t, uint64_t);
uint64_t enter_user(uint64_t a, uint64_t b);
_Noreturn void give_up(const char *why); /* main.c */

static void idt_setup(void)
{
	for (unsigned int v = 0; v < 256; v++) {
		uint64_t to = (uint64_t)trap_stubs + 16 * v;

		idt[v] = (struct gate){
			.low = (uint16_t)to,
			.sel = SEL_CODE64,
			.ist = v == 8,
			.type = v == 3 || v == VEC_USER_RETURN ? 0xee : 0x8e,
			.mid = (uint16_t)(to >> 16),
			.high = (uint32_t)(to >> 32),
		};
	}
	memcpy(user_code_page, user_code_start, (size_t)(user_code_end - user_code_start));
}

static void load_tables(struct cpu *c)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr = {sizeof(c->gdt) - 1, (uint64_t)c->gdt},
				  idtr = {sizeof(idt) - 1, (uint64_t)idt};

	__asm__ volatile("lgdt %0" : : "m"(gdtr));
	__asm__ volatile("lidt %0" : : "m"(idtr));
}

void cpu_setup(struct cpu *c, unsigned int index)
{
	uint64_t tss = (uint64_t)c->tss, ist = (uint64_t)c + 0x1000;

	if (index == 0)
		idt_setup();
	c->index = index;
	memcpy(c->gdt, boot_gdt, sizeof(c->gdt));
	memset(c->tss, 0, sizeof(c->tss));
	memcpy((uint8_t *)c->tss + 36, &ist, 8);
	((uint16_t *)c->tss)[51] = sizeof(c->tss); /* no I/O bitmap */
	c->tss_rsp0 = (uint64_t *)(tss + 4);
	c->gdt[6] = (sizeof(c->tss) - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 |
		    (tss >> 24 & 0xff) << 56;
	c->gdt[7] = tss >> 32;
	load_tables(c);
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
	__asm__ volatile("lldt %w0" : : "r"(0));
}

void vector_set(unsigned int vec, void (*fn)(struct trap_frame *))
{
	vectors[vec] = fn;
}

static void text_set(char *buf, size_t n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	format(buf, n, fmt, ap);
	va_end(ap);
}

const char *fault_text(const struct fault *f)
{
	struct cpu *c = this_cpu();

	if (f->vec == NO_FAULT)
		return "no fault";
	text_set(c->text, sizeof(c->text), "vector %u error 0x%x cr2 0x%lx", f->vec, f->err,
		 f->cr2);
	return c->text;
}

/* Back into attempt_call(), in ring 0, with the stack and flags that it had. */
static void recover(struct cpu *c, struct trap_frame *f)
{
	f->rip = c->recover.rip;
	f->rsp = c->recover.rsp;
	f->rflags = c->recover.rflags;
	f->cs = SEL_CODE64;
	f->ss = SEL_DATA;
	c->recover.rip = 0;
}

void trap(struct trap_frame *f);
void trap(struct trap_frame *f)
{
	struct cpu *c = this_cpu();
	uint64_t cr2 = f->vec == 14 ? read_cr2() : 0;

	if (f->vec >= 32 && f->vec != VEC_USER_RETURN) {
		if (vectors[f->vec])
			vectors[f->vec](f);
		else
			test_fail("unexpected interrupt %lu on CPU %u", f->vec, c->index);
		return;
	}
	if (f->vec == 14 && pf_hook && pf_hook(f, cr2))
		return;
	if (f->vec == 14 && c->retries) {
		c->retries--;
		c->retried++;
		return;
	}
	if (vectors[f->vec]) {
		vectors[f->vec](f);
		return;
	}
	if (!c->recover.rip) {
		print("CPU %u: exception %lu error 0x%lx at 0x%lx, cr2 0x%lx rsp 0x%lx rax 0x%lx "
		      "rdi 0x%lx "
		      "cr3 0x%lx\n",
		      c->index, f->vec, f->err, f->rip, cr2, f->rsp, f->rax, f->rdi, read_cr3());
		give_up("unexpected exception");
	}
	c->fault = (struct fault){
		.vec = f->vec == VEC_USER_RETURN ? NO_FAULT : (uint32_t)f->vec,
		.err = (uint32_t)f->err,
		.cr2 = cr2,
		.value = f->rax,
	};
	recover(c, f);
}

struct fault attempt(uint64_t (*fn)(uint64_t, uint64_t), uint64_t a, uint64_t b)
{
	struct cpu *c = this_cpu();
	uint64_t v;

	c->fault = (struct fault){.vec = NO_FAULT};
	v = attempt_call(&c->recover, fn, a, b);
	if (c->fault.vec == NO_FAULT)
		c->fault.value = v;
	return c->fault;
}

struct fault try_user(enum user_access what, uint64_t va, uint64_t value)
{
	static uint8_t *const entry[] = {
		[USER_READ] = user_read,   [USER_WRITE] = user_write, [USER_OR] = user_or,
		[USER_FETCH] = user_fetch, [USER_READ8] = user_read8, [USER_WRITE8] = user_write8,
	};

	this_cpu()->user_rip = USER_CODE_VA + (uint64_t)(entry[what] - user_code_start);
	return attempt(enter_user, va, value);
}
