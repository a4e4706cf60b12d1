/* The devices' way out: kicks, timers, IPIs, guest memory, the end of the VM.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/devices.h"

#include "boot/acpi.h"
#include "core/report.h"
#include "core/vm.h"
#include "core/walk.h"
#include "cpu/x86.h"

static uint64_t apic_now(void *ctx, unsigned int vcpu)
{
	(void)ctx;
	return x86_rdtsc() + vm.vcpu[vcpu]->msr.tsc_offset;
}

static void apic_timer_arm(void *ctx, unsigned int vcpu, uint64_t deadline)
{
	struct vcpu *v = vm.vcpu[vcpu];

	/* What has passed for the guest may have no time of the host's: its TSC can be ahead. */
	if (deadline && deadline <= apic_now(ctx, vcpu))
		vcpu_timer_set(v, 1);
	else
		vcpu_timer_set(v, deadline ? deadline - v->msr.tsc_offset : 0);
}

static void apic_kick(void *ctx, unsigned int vcpu)
{
	(void)ctx;
	vcpu_request(vm.vcpu[vcpu], REQ_KICK);
}

static void apic_nmi(void *ctx, unsigned int vcpu)
{
	(void)ctx;
	vcpu_request(vm.vcpu[vcpu], REQ_NMI);
}

static void apic_init(void *ctx, unsigned int vcpu)
{
	(void)ctx;
	vcpu_request(vm.vcpu[vcpu], REQ_INIT);
}

static void apic_sipi(void *ctx, unsigned int vcpu, uint8_t vector)
{
	(void)ctx;
	__atomic_store_n(&vm.vcpu[vcpu]->sipi_vector, vector, __ATOMIC_RELEASE);
	vcpu_request(vm.vcpu[vcpu], REQ_SIPI);
}

static void apic_eoi_broadcast(void *ctx, uint8_t vector)
{
	(void)ctx;
	ioapic_eoi(&vm.ioapic, vector);
}

static bool guest_read(void *ctx, uint64_t at, void *to, size_t n)
{
	(void)ctx;
	return tf_mem_read(vm.mmu, gpa(at), to, n) == TF_OK;
}

static bool guest_write(void *ctx, uint64_t at, const void *from, size_t n)
{
	(void)ctx;
	return tf_mem_write(vm.mmu, gpa(at), from, n) == TF_OK;
}

static const struct lapic_ops apic_ops = {
	.now = apic_now,
	.timer_arm = apic_timer_arm,
	.kick = apic_kick,
	.nmi = apic_nmi,
	.init = apic_init,
	.sipi = apic_sipi,
	.eoi = apic_eoi_broadcast,
	.mem_read = guest_read,
	.mem_write = guest_write,
};

static uint8_t cmos_read(void *ctx, uint8_t index)
{
	(void)ctx;
	x86_outb(0x70, index & 0x7f);
	return x86_inb(0x71);
}

static void mark(void *ctx, unsigned int vcpu, uint8_t b)
{
	(void)ctx;
	report_mark(b);
	walk_mark(vm.vcpu[vcpu], b);
}

static void end(void *ctx, unsigned int vcpu, enum ports_end why, uint32_t code)
{
	(void)ctx;
	(void)vcpu;
	switch (why) {
	case PORTS_POWEROFF:
		vm_end(END_POWEROFF, 0);
	case PORTS_RESET:
		vm_end(END_RESET, 0);
	case PORTS_DEBUG_EXIT:
		vm_end(END_DEBUG_EXIT, code & 0xff);
	case PORTS_RUN:
		break;
	}
}

static const struct ports_ops port_ops = {
	.cmos_read = cmos_read,
	.mark = mark,
	.end = end,
};

static void host_cpuid(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *out)
{
	struct x86_cpuid r = x86_cpuid(leaf, subleaf);

	*out = (struct cpuid_regs){r.eax, r.ebx, r.ecx, r.edx};
}

#define MSR_ARCH_CAPABILITIES 0x10au

static uint64_t arch_capabilities(void)
{
	uint64_t v = 0;

	if (x86_cpuid(0, 0).eax < 7 || !(x86_cpuid(7, 0).edx & 1u << 29) ||
	    x86_rdmsr_safe(MSR_ARCH_CAPABILITIES, &v))
		return 0;
	return v;
}

void devices_create(void)
{
	struct cpuid_policy all;

	vm.cpuid = (struct cpuid_policy){
		.host = host_cpuid,
		.cpus = vm.nodes.package_cpus,
		.packages = vm.nodes.packages > 1,
		.tsc_invariant = true,
		.tsc_adjust = true,
		.tsc_deadline = true,
		/* Its word in guest memory is read and written through the engine, under the VM's
		 * memory lock: worth it only where nobody else wants that lock. */
		.kvm_pv_eoi = vm.cpus == 1,
		.kvm_pv_ipi = true,
		/* A #PF exit would have to tell the engine the guest's PKRU. */
		.no_pku = vm.mode == TF_SHADOW || vm.switches,
		.no_la57 = true,
		.arch_capabilities = arch_capabilities(),
		.tsc_khz = vm.tsc_khz,
	};
	all = vm.cpuid;
	all.no_la57 = all.no_pcid = all.no_pku = false;
	vm.watch_cr4 =
		!vendor->masks_cr4 && cpuid_cr4_allowed(&all) != cpuid_cr4_allowed(&vm.cpuid);
	vm.bus.ops = &apic_ops;
	ioapic_create(&vm.ioapic, &vm.bus);
	ports_create(&vm.ports, &port_ops, NULL, vm.cpus, acpi.pm_timer);
	msr_create_shared(&vm.msr);
	vm.msr.epoch = ports_epoch(&vm.ports);
}
