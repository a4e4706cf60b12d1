/* The end of the VM: all CPUs stopped, the end event, the machine off.
 *
 * Lock: none; vm.ending is taken once, by compare and swap.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>

#include "boot/acpi.h"
#include "core/cmdline.h"
#include "core/console.h"
#include "core/log.h"
#include "core/report.h"
#include "core/string.h"
#include "core/vm.h"
#include "core/walk.h"
#include "cpu/clock.h"
#include "cpu/x86.h"

#define STOP_WAIT_US 100u
#define STOP_WAITS   10000u

/* Codes of an END_ERROR: the statuses that the command exits with (docs/protocol.md). */
#define CODE_STOPPED  3u
#define CODE_BAD_FILE 66u

struct vm vm;

static const char *const reason_text[] = {
	[END_POWEROFF] = "poweroff",
	[END_RESET] = "reset",
	[END_DEBUG_EXIT] = "debug_exit",
	[END_TRIPLE_FAULT] = "triple_fault",
	[END_ASSERT] = "assert",
	[END_ERROR] = "error",
	[END_WALK] = "walk",
};

void vm_park(void)
{
	x86_cli();
	for (;;)
		__asm__ volatile("hlt");
}

/* Wait until every other CPU is out of the guest for good: at most a second, for one may hang in a
 * lock that an assertion left held. */
static void stop_others(const struct vcpu *me)
{
	for (unsigned int i = 0; i < vm.cpus; i++)
		if (vm.vcpu[i] && vm.vcpu[i] != me && vm.vcpu[i]->online)
			vcpu_request(vm.vcpu[i], REQ_STOP);
	for (unsigned int tries = 0; tries < STOP_WAITS; tries++) {
		unsigned int running = 0;

		for (unsigned int i = 0; i < vm.cpus; i++) {
			struct vcpu *v = vm.vcpu[i];

			if (v && v != me && v->online)
				running += !__atomic_load_n(&v->stopped, __ATOMIC_ACQUIRE);
		}
		if (!running)
			return;
		clock_wait_us(STOP_WAIT_US);
	}
}

/* Time to read the screen. The clock may not be calibrated yet; a write to this port takes about a
 * microsecond on every PC. */
static void hold(void)
{
	for (uint64_t i = 0; i < cmdline.hold_s * 1000000ull; i++)
		x86_outb(0x80, 0);
}

void vm_end(enum end_reason reason, unsigned int code)
{
	struct vcpu *me = NULL;
	uint32_t none = 0;

	if (vm.start_tsc)
		me = vcpu_this();
	if (!__atomic_compare_exchange_n(&vm.ending, &none, 1, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST)) {
		if (me)
			__atomic_store_n(&vm.vcpu[me->index]->stopped, 1, __ATOMIC_RELEASE);
		vm_park();
	}
	if (me)
		stop_others(me);
	if (reason == END_ASSERT)
		console_seize();
	else if (me)
		walk_end(me);
	report_end(reason_text[reason], code, reason != END_ASSERT);
	console_drain();
	if (reason == END_ERROR || reason == END_ASSERT)
		hold();
	acpi_power_off();
	vm_park();
}

static _Noreturn void fail(unsigned int code, const char *fmt, va_list ap)
{
	char text[256];

	vsnprintf(text, sizeof(text), fmt, ap);
	log_error("%s", text);
	vm_end(END_ERROR, code);
}

void vm_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail(CODE_STOPPED, fmt, ap);
}

void vm_refuse(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail(CODE_BAD_FILE, fmt, ap);
}

void hv_panic(const char *file, int line, const char *what)
{
	console_seize();
	log_error("assertion failed: %s (%s:%d)", what, file, line);
	vm_end(END_ASSERT, 0);
}
