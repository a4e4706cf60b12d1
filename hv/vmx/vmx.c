/* VMX behind the vendor interface: the table, and the calls that are one line.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "vmx/vmx.h"

#include "cpu/x86.h"

static bool is_there(void)
{
	return x86_cpuid(1, 0).ecx & 1u << 5;
}

static enum tf_nested_format format(void)
{
	return vmx_caps.has_ad ? TF_EPT : TF_EPT_NO_AD;
}

static bool has_1g(void)
{
	return vmx_caps.has_1g;
}

/* Exits by CR3 accesses work on every CPU that has VMX. */
static const char *probe_shadow(struct vcpu *v)
{
	(void)v;
	return NULL;
}

static void pat_changed(struct vcpu *v)
{
	vmx_write(VMCS_GUEST_PAT, v->msr.pat);
}

static void tsc_changed(struct vcpu *v)
{
	vmx_write(VMCS_TSC_OFFSET, v->msr.tsc_offset);
}

/* DR6 is the guest's while the hypervisor runs, which has no breakpoints. */
static void stepped(struct vcpu *v)
{
	uint64_t dr6;

	(void)v;
	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	__asm__ volatile("mov %0, %%dr6" ::"r"(dr6 | 1u << 14));
}

static void nmi_watch(struct vcpu *v)
{
	vmx_of(v)->nmi_watched = true;
}

/* The hypervisor runs with RFLAGS.IF clear, as an exit leaves it. */
static void shut(void)
{
	x86_cli();
}

static void open(void)
{
}

static void window(void)
{
	__asm__ volatile("sti\n\tnop\n\tcli" ::: "memory");
}

const struct vendor vmx_vendor = {
	.name = "VMX",
	.has_timer = true,
	.masks_cr4 = true,
	.is_there = is_there,
	.check = vmx_check,
	.format = format,
	.has_1g = has_1g,
	.maps_init = vmx_maps_init,
	.enable = vmx_enable,
	.probe_shadow = probe_shadow,
	.probe = vmx_probe,
	.kicked = vmx_kicked,
	.reset = vmx_reset,
	.start = vmx_start,
	.shut = shut,
	.open = open,
	.window = window,
	.prepare = vmx_prepare,
	.enter = vmx_run,
	.leave = vmx_leave,
	.segment_bases = vmx_segment_bases,
	.gdt_base = vmx_gdt_base,
	.set_code_and_stack = vmx_set_code_and_stack,
	.pat_changed = pat_changed,
	.tsc_changed = tsc_changed,
	.stepped = stepped,
	.nmi_watch = nmi_watch,
	.dump = vmx_dump,
};
