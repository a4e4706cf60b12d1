/* Making the guest: engine, memory, kernel, entry state.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/guest.h"

#include "boot/acpi.h"
#include "boot/multiboot.h"
#include "core/cmdline.h"
#include "core/devices.h"
#include "core/host.h"
#include "core/log.h"
#include "core/string.h"
#include "cpu/x86.h"
#include "load/acpi.h"
#include "mem/pages.h"

static struct e820 map;

static void must(enum tf_status s, const char *what)
{
	if (s != TF_OK)
		vm_fail("%s: %s", what, tf_status_text(s));
}

/* Whole GiBs of guest memory that are to lie on that node of the machine. */
static unsigned int gibs_for(unsigned int node)
{
	const uint64_t gib = 1ull << 30;
	unsigned int n = 0;

	for (unsigned int i = 0; i < vm.nodes.ranges; i++) {
		const struct acpi_range *r = &vm.nodes.range[i];
		uint64_t first = (r->start + gib - 1) / gib, end = (r->start + r->bytes) / gib;

		if (r->node % acpi.nodes == node && first < end)
			n += (unsigned int)(end - first);
	}
	return n;
}

/* May guest memory be backed by 1 GiB? What it cannot be for is told; 2 MiB do instead. */
static bool is_huge(void)
{
	if (cmdline.backing < TF_ORDER_1G)
		return false;
	if (!vendor->has_1g()) {
		log_info("nested tables of this CPU have no pages of 1 GiB: guest memory is backed "
			 "by 2 MiB");
		return false;
	}
	for (unsigned int i = 0; i < vm.nodes.count && i < acpi.nodes; i++) {
		unsigned int has = pages_free_gibs(i), wants = gibs_for(i);

		if (!wants || wants > has)
			log_info("node %u: the guest has %u whole GiB, the machine %u for them: "
				 "the rest is backed by 2 MiB",
				 i, wants, has);
	}
	return true;
}

void guest_create(void)
{
	struct tf_config c = {
		.mode = vm.mode,
		.nested = vendor->format(),
		.vcpus = vm.cpus,
		.shadow_pages = cmdline.shadow_pages,
		.large_backing = cmdline.backing >= TF_ORDER_2M,
		.huge_backing = is_huge(),
		.nodes = vm.nodes.count,
		.grouping = cmdline.groups,
		.regroup = cmdline.regroup_ms != 0,
		.install = cmdline.install,
	};

	if (vm.mem < GUEST_MEM_MIN || (vm.mem & TF_PAGE_MASK))
		vm_fail("mem must be whole pages, at least %lu MiB", GUEST_MEM_MIN >> 20);
	if (vm.mem > pages_free_bytes())
		vm_fail("the guest wants %lu MiB, the machine has %lu MiB free", vm.mem >> 20,
			pages_free_bytes() >> 20);
	devices_create();
	c.maxphyaddr = cpuid_maxphyaddr(&vm.cpuid);
	must(tf_vm_create(vm.host, &c, &vm.mmu), "making the VM");
	e820_build(&map, vm.mem);
	for (unsigned int i = 0; i < vm.nodes.ranges; i++) {
		const struct acpi_range *r = &vm.nodes.range[i];

		must(tf_mem_add(vm.mmu, gpa(r->start), r->bytes, r->node),
		     "giving the guest memory");
	}
	for (unsigned int i = 0; i < vm.cpus; i++) {
		struct vcpu *v = vm.vcpu[i];

		must(tf_vcpu_create(vm.mmu, i, vm.nodes.of_cpu[i], &v->mmu), "making a vCPU");
		lapic_create(&v->apic, &vm.bus, i, vm.nodes.apic_id[i]);
	}
	vendor->maps_init();
}

static enum tf_status write_guest(void *ctx, uint64_t at, const void *from, size_t n)
{
	enum tf_status s = tf_mem_write(vm.mmu, gpa(at), from, n);

	(void)ctx;
	if (s == TF_E_NOMEM) /* not the kernel's fault */
		vm_fail("the machine has no memory left for the guest");
	return s;
}

static void write_acpi(void)
{
	static uint8_t tables[GUEST_ACPI_SIZE];
	struct acpi_config c = {
		.cpus = vm.cpus,
		.pm_timer = vm.ports.pm_timer,
		.apic_id = vm.nodes.apic_id,
		.nodes = vm.nodes.count,
		.cpu_node = vm.nodes.of_cpu,
		.ranges = vm.nodes.ranges,
		.range = vm.nodes.range,
		.distance = vm.nodes.distance,
	};
	size_t bytes = acpi_build(&c, tables, sizeof(tables), GUEST_ACPI_BASE);

	if (!bytes)
		vm_fail("the guest's ACPI tables do not fit");
	must(tf_mem_write(vm.mmu, gpa(GUEST_ACPI_BASE), tables, bytes), "writing ACPI tables");
}

static struct load_module module(unsigned int i)
{
	const struct boot_module *m = &boot_info.module[i];

	if (i >= boot_info.modules)
		return (struct load_module){.args = ""};
	return (struct load_module){
		.data = (const void *)(uintptr_t)m->start,
		.bytes = m->end - m->start,
		.args = m->args,
	};
}

/* A module's whole pages join the pools. */
static void release(const struct boot_module *m)
{
	uint64_t start = (m->start + TF_PAGE_MASK) & ~(uint64_t)TF_PAGE_MASK;
	uint64_t end = m->end & ~(uint64_t)TF_PAGE_MASK;

	if (start < end)
		pages_add(start, end);
}

void guest_load(struct load_entry *entry)
{
	const struct guestmem mem = {.write = write_guest};
	struct load_input in = {
		.kernel = module(0),
		.initrd = module(1),
		.has_initrd = boot_info.modules > 1,
		.map = &map,
		.rsdp = GUEST_ACPI_BASE,
	};
	struct load_error err;

	if (!boot_info.modules)
		vm_refuse("no guest kernel: the boot loader gave no module");
	write_acpi();
	if (!load_guest(&mem, &in, entry, &err))
		vm_refuse("%s", err.text);
	for (unsigned int i = 0; i < boot_info.modules; i++)
		release(&boot_info.module[i]);
}

void guest_set_entry(struct vcpu *v, const struct load_entry *e)
{
	struct tf_regs r;

	vcpu_start(v, e);
	vcpu_read_regs(v, &r);
	tf_vcpu_set_regs(v->mmu, &r);
	v->state = VCPU_RUNNING;
}
