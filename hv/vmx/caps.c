/* What the CPU has of VMX, and whether that is enough. SDM vol. 3, appendix A.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/cmdline.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "vmx/convert.h"
#include "vmx/vmx.h"

#define PIN_NEEDED (PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER)
#define PROC_NEEDED                                                                                \
	(PROC_INTERRUPT_WINDOW | PROC_TSC_OFFSETTING | PROC_HLT | PROC_INVLPG | PROC_MWAIT |       \
	 PROC_RDPMC | PROC_CR3_LOAD | PROC_CR3_STORE | PROC_CR8_LOAD | PROC_CR8_STORE |            \
	 PROC_NMI_WINDOW | PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_MONITOR | PROC_SECONDARY)
#define PROC2_NEEDED (PROC2_EPT | PROC2_VPID | PROC2_WBINVD)
#define EXIT_NEEDED                                                                                \
	(EXIT_CTL_SAVE_DEBUG | EXIT_CTL_HOST_64 | EXIT_CTL_LOAD_PAT | EXIT_CTL_LOAD_EFER)
#define ENTRY_NEEDED                                                                               \
	(ENTRY_CTL_LOAD_DEBUG | ENTRY_CTL_IA32E | ENTRY_CTL_LOAD_PAT | ENTRY_CTL_LOAD_EFER)
#define EPT_NEEDED (EPT_CAP_4_LEVELS | EPT_CAP_WRITE_BACK | EPT_CAP_2M)
#define INVALIDATE_NEEDED                                                                          \
	(EPT_CAP_INVEPT | EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVVPID | EPT_CAP_INVVPID_SINGLE)

struct vmx_caps vmx_caps;

static const char *check_controls(void)
{
	uint64_t ept;

	if (vmx_lacks(PROC_SECONDARY, vmx_caps.proc) || vmx_lacks(PROC2_EPT, vmx_caps.proc2))
		return "this CPU has no nested tables (Intel EPT)";
	if (vmx_lacks(PROC2_VPID, vmx_caps.proc2))
		return "this CPU has no VPID (VMX)";
	if (vmx_lacks(PIN_PREEMPTION_TIMER, vmx_caps.pin))
		return "this CPU has no preemption timer (VMX)";
	if (vmx_lacks(PIN_NEEDED, vmx_caps.pin) || vmx_lacks(PROC_NEEDED, vmx_caps.proc) ||
	    vmx_lacks(PROC2_NEEDED, vmx_caps.proc2) || vmx_lacks(EXIT_NEEDED, vmx_caps.exit) ||
	    vmx_lacks(ENTRY_NEEDED, vmx_caps.entry))
		return "this CPU's VMX lacks a control that is needed (EFER and PAT are loaded by "
		       "CPUs of 2008 and later)";
	ept = x86_rdmsr(MSR_VMX_EPT_VPID_CAP);
	if ((ept & EPT_NEEDED) != EPT_NEEDED)
		return "this CPU's EPT has no 4 levels, or no write-back, or no 2 MiB pages";
	if ((ept & INVALIDATE_NEEDED) != INVALIDATE_NEEDED)
		return "this CPU's INVEPT or INVVPID cannot invalidate by context";
	vmx_caps.has_1g = ept & EPT_CAP_1G;
	vmx_caps.has_ad = (ept & EPT_CAP_AD) && !cmdline.no_ept_ad;
	vmx_caps.has_unrestricted = !vmx_lacks(PROC2_UNRESTRICTED_GUEST, vmx_caps.proc2);
	if (!vmx_caps.has_unrestricted && vm.cpus > 1)
		return "this CPU has no unrestricted guest (VMX), and CPUs but the first start in "
		       "real mode: the guest may have one CPU";
	return NULL;
}

const char *vmx_check(void)
{
	uint64_t basic, feature;

	feature = x86_rdmsr(MSR_FEATURE_CONTROL);
	if ((feature & FEATURE_CONTROL_LOCK) && !(feature & FEATURE_CONTROL_VMX))
		return "VMX is switched off by the firmware";
	basic = x86_rdmsr(MSR_VMX_BASIC);
	if (!(basic & VMX_BASIC_TRUE))
		return "this CPU's VMX exits at every write of CR3: it is too old";
	vmx_caps = (struct vmx_caps){
		.cr0_set = x86_rdmsr(MSR_VMX_CR0_FIXED0),
		.cr0_clear = ~x86_rdmsr(MSR_VMX_CR0_FIXED1),
		.cr4_set = x86_rdmsr(MSR_VMX_CR4_FIXED0),
		.cr4_clear = ~x86_rdmsr(MSR_VMX_CR4_FIXED1),
		.pin = x86_rdmsr(MSR_VMX_TRUE_PIN),
		.proc = x86_rdmsr(MSR_VMX_TRUE_PROC),
		.exit = x86_rdmsr(MSR_VMX_TRUE_EXIT),
		.entry = x86_rdmsr(MSR_VMX_TRUE_ENTRY),
		.revision = basic & 0x7fffffff,
		.timer_rate = x86_rdmsr(MSR_VMX_MISC) & 31,
		.has_string_info = basic & VMX_BASIC_STRING_INFO,
	};
	if (!vmx_lacks(PROC_SECONDARY, vmx_caps.proc))
		vmx_caps.proc2 = x86_rdmsr(MSR_VMX_PROC2);
	return check_controls();
}
