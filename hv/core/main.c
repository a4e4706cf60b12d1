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
#include "core/screen.h"
#include "cpu/apic.h"
#include "cpu/clock.h"
#include "cpu/smp.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "mem/identity.h"
#include "mem/pages.h"
#include "virt/virt.h"

/* From boot/start.S. */
void hv_main(const struct multiboot_info *mbi, uint32_t magic);

#define DEFAULT_MEM (512ull << 20)

static void vendor_choose(void)
{
	const char *wrong;

	vendor = vendor_find();
	if (!vendor)
		vm_fail("this CPU has neither SVM (AMD virtualization) nor VMX (Intel's)");
	wrong = vendor->check();
	if (wrong)
		vm_fail("%s", wrong);
}

/* What the guest gets of the machine. */
static void read_wishes(void)
{
	bool has_nodes = cmdline.nodes.count != 0;
	unsigned int machine = acpi.cpus - (cmdline.spare && acpi.cpus > 1);
	unsigned int cpus = cmdline.cpus;
	uint64_t mem = cmdline.mem;
	struct load_error err;

	if (!has_nodes && !cpus)
		cpus = machine;
	if (!has_nodes && !mem)
		mem = DEFAULT_MEM;
	if (!nodes_build(&vm.nodes, &cmdline.nodes, cpus, mem, &err))
		vm_fail("%s", err.text);
	vm.mode = cmdline.shadow ? TF_SHADOW : TF_NESTED;
	vm.mode_wanted = vm.mode;
	if (!cmdline.policy)
		cmdline.policy = tf_policy_find("cost");
	/* Forced changes take the place of the choice. */
	vm.automatic = cmdline.automatic && !cmdline.switch_ms;
	vm.switches = vm.automatic || cmdline.switch_ms;
	vm.cpus = vm.nodes.cpus;
	vm.mem = vm.nodes.mem;
	if (vm.cpus > machine)
		vm_fail("the guest wants %u CPUs, the machine has %u", vm.cpus, machine);
	if (vm.nodes.count > acpi.nodes && acpi.nodes > 1)
		log_info("the machine has %u nodes only: guest node n lies on node n modulo %u",
			 acpi.nodes, acpi.nodes);
	else if (vm.nodes.count > acpi.nodes)
		log_info("the machine has one node: all %u guest nodes lie on it", vm.nodes.count);
}

/* A CPU that no vCPU has yet, on this node or, if there is none, on any. */
static unsigned int cpu_take(bool *taken, unsigned int node)
{
	for (unsigned int any = 0; any < 2; any++) {
		for (unsigned int k = 0; k < acpi.cpus; k++) {
			if (taken[k] || (!any && acpi.cpu_node[k] != node))
				continue;
			taken[k] = true;
			return k;
		}
	}
	HV_ASSERT(false);
	return 0;
}

/* This CPU becomes vCPU 0, unless it is to be spared; the others take CPUs of their nodes in the
 * MADT's order. */
static void create_vcpus(void)
{
	static bool taken[TF_MAX_VCPUS];
	uint32_t self = apic_host_id();
	unsigned int at = 0, astray = 0;

	for (unsigned int i = 0; i < acpi.cpus; i++)
		if (acpi.apic_id[i] == self)
			at = i;
	taken[at] = true;
	for (unsigned int i = 0; i < vm.cpus; i++) {
		unsigned int node = vm.nodes.of_cpu[i] % acpi.nodes;
		unsigned int k = i || cmdline.spare ? cpu_take(taken, node) : at;

		astray += acpi.cpu_node[k] != node;
		vm.vcpu[i] = vcpu_create(i, acpi.apic_id[k], acpi.cpu_node[k]);
		vm.made = i + 1;
	}
	if (astray)
		log_info("%u vCPUs run on CPUs of another node than their memory's", astray);
}

/* Where shadow mode is asked for, it must work; where the mode is to be chosen, there is else
 * nothing to choose. */
static void probe(struct vcpu *v)
{
	const char *wrong;

	if (vm.mode != TF_SHADOW && !vm.switches)
		return;
	wrong = vendor->probe_shadow(v);
	if (!wrong)
		return;
	if (!vm.automatic)
		vm_fail("%s, so shadow mode cannot run on it: use nested mode, or QEMU 7.2", wrong);
	log_info("%s, so shadow mode cannot run on it: the mode is nested, and not chosen", wrong);
	vm.automatic = vm.switches = false;
}

static void start_choice(struct vcpu *v)
{
	struct tf_choice_config c = {
		.policy = cmdline.policy,
		.grain = cmdline.grain,
		.dsp = cmdline.dsp,
		.clock_khz = vm.tsc_khz,
		.seed = cmdline.seed,
	};

	vm.automatic = false; /* of the guest that calibrates nothing is read */
	virt_calibrate(v);
	vm.automatic = true;
	c.costs = vm.costs;
	if (tf_choice_start(vm.mmu, &c) != TF_OK)
		vm_fail("the machine has no memory left to choose the mode with");
}

/* On vCPU 0's own stack and CPU. */
static void start_guest(void)
{
	struct vcpu *v = vcpu_this();
	struct load_entry entry;

	apic_route_com1();
	guest_create();
	smp_cpu_init(v);
	if (vendor->probe)
		vendor->probe(v);
	/* It cannot be tried on one CPU: the machine is known by its other fault. */
	vm.loses_rip = vm.kick_by_nmi && acpi.cpus > 1;
	probe(v);
	if (vm.automatic)
		start_choice(v);
	guest_load(&entry);
	report_hello();
	screen_line("the guest starts; its console is COM1 (115200 baud), counters on COM2");
	if (vm.automatic)
		report_calibration();
	vm.start_tsc = x86_rdtsc();
	msr_create(&v->msr, -vm.start_tsc);
	vcpu_reset(v, 0);
	guest_set_entry(v, &entry);
	v->online = 1;
	for (unsigned int i = 1; i < vm.cpus; i++)
		if (!smp_start(vm.vcpu[i]))
			vm_fail("CPU %u (APIC id %u) does not start", i, vm.vcpu[i]->host_apic_id);
	virt_run(v);
}

void hv_main(const struct multiboot_info *mbi, uint32_t magic)
{
	console_init();
	screen_init();
	trap_init();
	trap_load();
	acpi_read(); /* first: an error can then power off */
	multiboot_read(mbi, magic);
	cmdline_parse(boot_info.cmdline);
	read_wishes();
	vm.host = &hv_host;
	vendor_choose();
	pages_init();
	identity_init();
	pages_init_high();
	apic_enable();
	vm.tsc_khz = clock_calibrate();
	log_debug("%u CPUs, %u nodes, %lu MiB free, TSC %u kHz", acpi.cpus, acpi.nodes,
		  pages_free_bytes() >> 20, vm.tsc_khz);
	create_vcpus();
	if (vm.vcpu[0]->host_apic_id == apic_host_id())
		smp_on_stack(vm.vcpu[0], start_guest);
	smp_first(vm.vcpu[0], start_guest);
	vm_park();
}
