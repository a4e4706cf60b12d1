/* 32-bit code: runs a script's steps in the paging mode asked for, taking faults.
 * Lock: none, one CPU at a time may fault here (`guard` is shared).
 * SPDX-License-Identifier: BSD-2-Clause */
#include "script.h"

struct guard32 {
	uint32_t esp, eip; /* layout known to guarded32 */
	uint32_t vec, err, cr2;
};

extern uint32_t idt32[2 * 32];
extern uint8_t stubs32[];

uint32_t guarded32(uint32_t (*fn)(uint32_t, uint32_t), uint32_t a, uint32_t b, struct guard32 *g);
struct guard32 *trap32(const uint32_t *frame);
void script_steps(struct script *s);

/* By CPU: below the block's stack, above the double-fault stack's top. */
static struct guard32 *guard(void)
{
	uint32_t sp;

	__asm__("mov %%esp, %0" : "=r"(sp));
	return (struct guard32 *)((sp & ~0x7fffu) + 0x1000);
}

static void out(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static void say(const char *text, uint32_t v)
{
	while (*text)
		out(0x3f8, (uint8_t)*text++);
	for (int bit = 28; bit >= 0; bit -= 4)
		out(0x3f8, (uint8_t) "0123456789abcdef"[v >> bit & 15]);
}

/* A fault outside the steps: nothing can go on from here. */
static void give_up32(const uint32_t *frame, uint32_t cr2)
{
	say("CPU in 32-bit mode: exception ", frame[0]);
	say(" error ", frame[1]);
	say(" at ", frame[2]);
	say(" cr2 ", cr2);
	out(0x3f8, '\r');
	out(0x3f8, '\n');
	out(0xf4, 99);
	for (;;)
		__asm__ volatile("cli; hlt");
}

struct guard32 *trap32(const uint32_t *frame)
{
	struct guard32 *g = guard();

	g->vec = frame[0];
	g->err = frame[1];
	__asm__ volatile("mov %%cr2, %0" : "=r"(g->cr2));
	if (!g->eip)
		give_up32(frame, g->cr2);
	return g;
}

static uint32_t do_read(uint32_t va, uint32_t value)
{
	(void)value;
	return *(volatile uint32_t *)va;
}

static uint32_t do_write(uint32_t va, uint32_t value)
{
	*(volatile uint32_t *)va = value;
	return 0;
}

static uint32_t do_fetch(uint32_t va, uint32_t value)
{
	(void)value;
	((void (*)(void))va)();
	return 0;
}

static void set_cr0(uint32_t v)
{
	__asm__ volatile("mov %0, %%cr0; jmp 1f; 1:" : : "r"(v) : "memory");
}

static void set_cr3(uint32_t v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

static void set_cr4(uint32_t v)
{
	__asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}

static void step(struct step *s)
{
	struct guard32 *g = guard();

	g->vec = 0xff;
	switch (s->what) {
	case STEP_READ:
		s->got = guarded32(do_read, s->va, 0, g);
		break;
	case STEP_WRITE:
		guarded32(do_write, s->va, s->value, g);
		break;
	case STEP_FETCH:
		guarded32(do_fetch, s->va, 0, g);
		break;
	case STEP_INVLPG:
		__asm__ volatile("invlpg (%0)" : : "r"(s->va) : "memory");
		break;
	case STEP_CR3:
		set_cr3(s->value);
		break;
	case STEP_CR0:
		set_cr0(s->value);
		break;
	case STEP_CR4:
		set_cr4(s->value);
		break;
	}
	s->vec = g->vec;
	s->err = g->err;
	s->cr2 = g->cr2;
}

void script_steps(struct script *s)
{
	uint32_t lo = s->efer;

	for (unsigned int v = 0; v < 32; v++) {
		uint32_t to = (uint32_t)stubs32 + 16 * v;

		idt32[2 * v] = (to & 0xffff) | 0x18u << 16;
		idt32[2 * v + 1] = (to & 0xffff0000) | 0x8e00;
	}
	guard()->eip = 0;
	set_cr4(s->cr4);
	set_cr3(s->cr3);
	__asm__ volatile("wrmsr" : : "c"(0xc0000080), "a"(lo), "d"(0));
	set_cr0(s->cr0);
	for (struct step *p = s->steps; p->what != STEP_END; p++)
		step(p);
}
