/* What the hypervisor asks of AMD's SVM and of Intel's VMX. hv/svm/ and hv/vmx/ are behind it; all
 * else knows no vendor.
 *
 * Neutral code sets the wishes in struct vcpu (`guest`, `event`, `virq`, `root`, `shadow`,
 * `intercepts`, `flush`), and reads what became of them there (`guest`, `exit`). prepare() brings
 * the vCPU's control block (VMCB, VMCS) up to them, enter() runs the guest, leave() takes all back.
 *
 * Lock: none. All calls are made on the vCPU's own CPU.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VIRT_VENDOR_H
#define HV_VIRT_VENDOR_H

#include <twofold/twofold.h>

struct vcpu;
struct load_entry;
struct load_segment;

/* What exits only if it is asked for (v->intercepts). All else always exits, or never. */
enum {
	INTERCEPT_CR3_WRITE = 1u << 0,
	INTERCEPT_CR3_READ = 1u << 1,
	INTERCEPT_CR4_WRITE = 1u << 2,
	INTERCEPT_PF = 1u << 3,
	INTERCEPT_TLB = 1u << 4, /* INVLPG, INVPCID */
	INTERCEPT_INT = 1u << 5, /* INT n and, under QEMU, INT3; SVM only */
};

/* The kinds of TF_FLUSH_*, as they are counted. */
enum { FLUSH_KINDS = 2 };

struct vendor {
	const char *name;
	/* The CPU counts down to v->armed in the guest and exits: interrupts are not needed. */
	bool has_timer;
	/* A write of CR4 exits if it sets what CPUID hides, intercepted or not. */
	bool masks_cr4;

	/* Does this CPU know it at all? */
	bool (*is_there)(void);
	/* Does the machine have what we need of it? NULL, or one clear line. Boot CPU. */
	const char *(*check)(void);
	/* The format of nested tables. After check(). */
	enum tf_nested_format (*format)(void);
	/* Have nested tables leaves of 1 GiB? After check(). */
	bool (*has_1g)(void);
	/* Permission maps, shared by all vCPUs: once, after vm.ports is set up. */
	void (*maps_init)(void);
	/* Turn it on; each CPU. Sets v->host_cr4. */
	void (*enable)(struct vcpu *v);
	/* Can a shadow root work on this machine? NULL, or what is wrong. After enable() and before
	 * the first reset: it may use v's control block. */
	const char *(*probe_shadow)(struct vcpu *v);
	/* Find out what the machine does otherwise than the manual says, and live with it
	 * (vm.kick_by_nmi, and what is its own). As probe_shadow(); may be NULL. */
	void (*probe)(struct vcpu *v);
	/* Where kicks are NMIs: one came while the guest is out, and may have been meant for it:
	 * the next entry is to end at once. From the NMI's handler. NULL: it is still pending. */
	void (*kicked)(void);

	/* The control block as after INIT (CS:IP at sipi_vector << 12), v->guest with it; the
	 * wishes above are taken over at the next prepare(). */
	void (*reset)(struct vcpu *v, uint8_t sipi_vector);
	/* Segments and descriptor tables as the loader wants them; v->guest is set. After a reset:
	 * vcpu_start(). */
	void (*start)(struct vcpu *v, const struct load_entry *e);

	/* From now on the host's interrupts wait, as they do while the guest is out; window() lets
	 * them in. open(): from now on RFLAGS.IF decides, which is clear then. */
	void (*shut)(void);
	void (*open)(void);
	void (*window)(void);

	void (*prepare)(struct vcpu *v);
	void (*enter)(struct vcpu *v); /* no more than the way in and out: it is timed */
	void (*leave)(struct vcpu *v);

	/* Bases of the guest's segments, by enum insn_seg. */
	void (*segment_bases)(const struct vcpu *v, uint64_t base[6]);
	uint64_t (*gdt_base)(const struct vcpu *v);
	/* CS and SS, and what of v->guest follows them. */
	void (*set_code_and_stack)(struct vcpu *v, const struct load_segment *cs,
				   const struct load_segment *ss);
	/* The words of vcpu.msr.pat and vcpu.msr.tsc_offset have changed. */
	void (*pat_changed)(struct vcpu *v);
	void (*tsc_changed)(struct vcpu *v);
	/* A single step is about to be injected: DR6.BS. */
	void (*stepped)(struct vcpu *v);
	/* An NMI is about to be injected: EXIT_NMI_OPEN when its handler returns, once. */
	void (*nmi_watch)(struct vcpu *v);
	/* Into the log: the control block, for an exit that should not be. */
	void (*dump)(const struct vcpu *v);
};

extern const struct vendor svm_vendor, vmx_vendor;

/* The machine's; set once at boot. */
extern const struct vendor *vendor;

/* The vendor of this machine, or NULL. */
const struct vendor *vendor_find(void);

#endif
