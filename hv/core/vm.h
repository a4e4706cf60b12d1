/* The one VM of this hypervisor.
 *
 * Lock: everything here is set up before the second CPU starts and constant afterwards, but for
 * what says otherwise.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_VM_H
#define HV_CORE_VM_H

#include <twofold/choice.h>

#include "core/vcpu.h"
#include "dev/cpuid.h"
#include "dev/ioapic.h"
#include "dev/ports.h"
#include "load/nodes.h"

struct vm {
	struct tf_vm *mmu;
	struct tf_host *host;
	enum tf_mode mode; /* what every vCPU starts with */
	bool switches;	   /* the mode may change while the guest runs */
	bool automatic;	   /* by the engine's choice */
	unsigned int cpus;
	unsigned int made; /* vCPUs that there are by now: the VM may end before */
	uint64_t mem;	   /* bytes of guest RAM */
	struct nodes nodes;
	bool watch_cr4;	   /* all writes of CR4 are to exit: it has features that CPUID hides */
	bool kick_by_nmi;  /* an interrupt does not stop a guest whose own are off */
	bool loses_shadow; /* an entry forgets that the guest is right behind an STI or MOV SS */
	bool loses_rip;	   /* exits tell a wrong RIP right after an exception (virt/undo.h) */
	uint32_t tsc_khz;
	uint64_t start_tsc;   /* when the guest started */
	uint64_t boot_cycles; /* from then to its first mark; 0: none yet */
	struct cpuid_policy cpuid;
	struct lapic_bus bus;
	struct ioapic ioapic;
	struct ports ports;
	struct msr_shared msr;
	struct vcpu *vcpu[TF_MAX_VCPUS];
	/* The last request to change the mode; atomic, from any CPU (virt/mode.c). */
	uint32_t mode_wanted;
	uint64_t switch_tsc; /* when it was made */
	uint64_t switch_count;
	struct tf_costs costs;	     /* if the mode is chosen: what virt_calibrate() measured */
	uint64_t calibration_cycles; /* how long that took */
	uint32_t com1_irq;	     /* atomic: the real COM1 interrupted */
	uint32_t ending;	     /* atomic: vm_end() was called */
};

extern struct vm vm;

/* Why the VM ended. */
enum end_reason {
	END_POWEROFF,
	END_RESET,
	END_DEBUG_EXIT,
	END_TRIPLE_FAULT,
	END_ASSERT,
	END_ERROR,
	END_WALK, /* the walk that was asked for is explained */
};

/* End the VM: stops every vCPU, prints the end event, powers the machine off. From any CPU; the
 * first caller wins, and no call returns. */
_Noreturn void vm_end(enum end_reason reason, unsigned int code);

/* One clear line, then vm_end(END_ERROR). vm_fail(): what the hypervisor needs is not there (code
 * 3); vm_refuse(): the guest's kernel or initrd is not what it should be (code 66). */
_Noreturn void vm_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void vm_refuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* An impossible state in the hypervisor itself. */
_Noreturn void hv_panic(const char *file, int line, const char *what);
#define HV_ASSERT(cond)                                                                            \
	do {                                                                                       \
		if (!(cond))                                                                       \
			hv_panic(__FILE__, __LINE__, #cond);                                       \
	} while (0)

/* Stop this CPU for good: another one ends the VM. */
_Noreturn void vm_park(void);

#endif
