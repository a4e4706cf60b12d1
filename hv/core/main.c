/* The order of things, from the boot loader to the guest's first instruction.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "boot/acpi.h"
#include "boot/multiboot.h"
#include "core/cmdline.h"
#include "core/console.h"
#include "core/guest.h"
#include "core/host.h"
#include "core/log.h"
#include "core/report.h"
#include "cpu/apic.h"
#include "cpu/clock.h"
#include "cpu/smp.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "mem/identity.h"
#include "mem/pages.h"
#include "svm/svm.h"

/* From boot/start.S. */
void hv_main(const struct multiboot_info *mbi, uint32_t magic);

/* This CPU's place in the MADT becomes vCPU 0; the others follow in its order. */
static void create_vcpus(void)
{
	uint32_t self = apic_host_id();
	unsigned int at = 0, wanted = cmdline.cpus;

	if (!wanted)
		wanted = acpi.cpus;
	if (wanted > acpi.cpus)
		vm_fail("the guest wants %u CPUs, the machine has %u", wanted, acpi.cpus);
	for (unsigned int i = 0; i < acpi.cpus; i++)
		if (acpi.apic_id[i] == self)
			at = i;
	for (unsigned int i = 0; i < wanted; i++) {
		unsigned int k = i == 0 ? at : i <= at ? i - 1 : i;

		vm.vcpu[i] = vcpu_create(i, acpi.apic_id[k], acpi.cpu_node[k]);
	}
	vm.cpus = wanted;
}

/* On vCPU 0's own stack. */
static void start_guest(void)
{
	struct vcpu *v = vcpu_this();
	struct load_entry entry;

	guest_create();
	smp_cpu_init(v);
	if (vm.mode == TF_SHADOW)
		svm_probe_shadow(v);
	guest_load(&entry);
	report_hello();
	vm.start_tsc = x86_rdtsc();
	msr_create(&v->msr, -vm.start_tsc);
	vcpu_reset(v, 0);
	guest_set_entry(v, &entry);
	v->online = 1;
	for (unsigned int i = 1; i < vm.cpus; i++)
		if (!smp_start(vm.vcpu[i]))
			vm_fail("CPU %u (APIC id %u) does not start", i, vm.vcpu[i]->host_apic_id);
	svm_run(v);
}

void hv_main(const struct multiboot_info *mbi, uint32_t magic)
{
	console_init();
	trap_init();
	trap_load();
	acpi_read(); /* first: an error can then power off */
	multiboot_read(mbi, magic);
	cmdline_parse(boot_info.cmdline);
	vm.mode = cmdline.shadow ? TF_SHADOW : TF_NESTED;
	vm.mem = cmdline.mem;
	vm.host = &hv_host;
	svm_check();
	pages_init();
	identity_init();
	pages_init_high();
	apic_enable();
	apic_route_com1();
	vm.tsc_khz = clock_calibrate();
	log_debug("%u CPUs, %u nodes, %lu MiB free, TSC %u kHz", acpi.cpus, acpi.nodes,
		  pages_free_bytes() >> 20, vm.tsc_khz);
	create_vcpus();
	smp_on_stack(vm.vcpu[0], start_guest);
}
