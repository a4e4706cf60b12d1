/* AMD SVM: the pieces of svm_vendor (virt/vendor.h) that lie in more than one file.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_SVM_SVM_H
#define HV_SVM_SVM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vcpu.h"
#include "svm/vmcb.h"

/* Segment attributes as the VMCB packs them. */
#define SEG_L  (1u << 9)
#define SEG_DB (1u << 10)

#define SVM_IOPM_BYTES	(3 * 4096)
#define SVM_MSRPM_BYTES (2 * 4096)

/* What the CPU has; constant after check() and probe(). */
struct svm_cpu {
	uint32_t asids; /* the host's 0 among them */
	bool has_nrip;	/* it stores the next instruction's address at an exit */
	/* What svm_probe() found. */
	bool loads_cr2; /* VMRUN does */
	bool virq_late; /* a virtual interrupt waits until the guest itself sets RFLAGS.IF */
};
extern struct svm_cpu svm_cpu;

/* The permission maps, shared by all vCPUs; constant after svm_vendor.maps_init(). */
extern uint8_t svm_iopm[SVM_IOPM_BYTES];
extern uint8_t svm_msrpm[SVM_MSRPM_BYTES];

static inline uint64_t vmcb_pa(const struct vcpu *v)
{
	return v->block + VCPU_BLOCK_CONTROL;
}

static inline struct vmcb *vmcb_of(const struct vcpu *v)
{
	return (struct vmcb *)(uintptr_t)vmcb_pa(v);
}

/* svm/vmcb.c */
void svm_reset(struct vcpu *v, uint8_t sipi_vector);
void svm_start(struct vcpu *v, const struct load_entry *e);
void svm_segment_bases(const struct vcpu *v, uint64_t base[6]);
uint64_t svm_gdt_base(const struct vcpu *v);
void svm_set_code_and_stack(struct vcpu *v, const struct load_segment *cs,
			    const struct load_segment *ss);
void svm_dump(const struct vcpu *v);

/* svm/run.c */
void svm_prepare(struct vcpu *v);
void svm_run(struct vcpu *v);
void svm_leave(struct vcpu *v);

/* svm/exit.c: struct exit from the VMCB, but for its event. */
void svm_decode(struct vcpu *v);

/* svm/probe.c */
const char *svm_probe_shadow(struct vcpu *v);
void svm_probe(struct vcpu *v);

/* svm/enter.S: into the guest and back; GIF is clear before and after. */
void svm_enter(uint64_t *gpr, uint64_t vmcb_pa);

#endif
