/* Bringing up the other CPUs, one after another, by INIT and SIPI (APM vol. 2, 16.3.1; Intel MP
 * specification, B.4). vCPU 0's CPU only, but for smp_first() and smp_ap_main().
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/smp.h"

#include "core/string.h"
#include "core/vm.h"
#include "cpu/apic.h"
#include "cpu/clock.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "mem/identity.h"
#include "virt/virt.h"

#define AP_BASE	     0x8000ull /* as in boot/ap.S */
#define INIT_WAIT_US 10000
#define SIPI_WAIT_US 200
#define ONLINE_WAITS 10000 /* times 100 us */

extern char ap_code[], ap_code_end[], ap_cr3[], ap_stack[];

/* A variable of the trampoline, in its copy. */
static volatile uint64_t *ap_word(const char *name)
{
	return (volatile uint64_t *)(uintptr_t)(AP_BASE + (uint64_t)(name - ap_code));
}

static bool wait_online(const struct vcpu *v, unsigned int times)
{
	for (unsigned int i = 0; i < times; i++) {
		if (__atomic_load_n(&v->online, __ATOMIC_ACQUIRE))
			return true;
		clock_wait_us(100);
	}
	return false;
}

static void (*first)(void); /* what vCPU 0's CPU does, if it is not the boot CPU */

/* INIT and the first SIPI. */
static void begin(const struct vcpu *v)
{
	memcpy((void *)(uintptr_t)AP_BASE, ap_code, (size_t)(ap_code_end - ap_code));
	*ap_word(ap_cr3) = identity_root();
	*ap_word(ap_stack) = (uintptr_t)v & ~63ull;
	apic_send_init(v->host_apic_id);
	clock_wait_us(INIT_WAIT_US);
	apic_send_sipi(v->host_apic_id, AP_BASE >> 12);
}

void smp_first(struct vcpu *v, void (*fn)(void))
{
	first = fn;
	begin(v);
	clock_wait_us(SIPI_WAIT_US);
	apic_send_sipi(v->host_apic_id, AP_BASE >> 12);
}

bool smp_start(struct vcpu *v)
{
	begin(v);
	if (wait_online(v, SIPI_WAIT_US / 100))
		return true;
	apic_send_sipi(v->host_apic_id, AP_BASE >> 12);
	return wait_online(v, ONLINE_WAITS);
}

void smp_cpu_init(struct vcpu *v)
{
	trap_load();
	apic_enable();
	vendor->enable(v);
}

void smp_ap_main(void)
{
	struct vcpu *v = vcpu_this();

	if (v->index == 0) {
		trap_load();
		apic_enable();
		first();
	}
	smp_cpu_init(v);
	msr_create(&v->msr, vm.vcpu[0]->msr.tsc_offset);
	vcpu_reset(v, 0);
	__atomic_store_n(&v->online, 1, __ATOMIC_RELEASE);
	virt_run(v);
}

void smp_on_stack(struct vcpu *v, void (*fn)(void))
{
	__asm__ volatile("mov %0, %%rsp\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "call *%1\n\t"
			 "ud2" ::"r"((uintptr_t)v & ~63ull),
			 "r"(fn)
			 : "memory");
	__builtin_unreachable();
}
