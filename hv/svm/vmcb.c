/* The VMCB after INIT: intercepts and register state.
 *
 * What a mode and a root need on top is switched in svm/mode.c. APM vol. 2, 14.1.3 and appendix B.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "svm/maps.h"
#include "svm/svm.h"

static struct vmcb_seg segment(uint16_t selector, uint16_t attrib)
{
	return (struct vmcb_seg){
		.selector = selector,
		.attrib = attrib,
		.limit = 0xffff,
		.base = (uint64_t)selector << 4,
	};
}

static void set_intercepts(struct vmcb_control *c)
{
	c->intercept1 = INT1_INTR | INT1_NMI | INT1_RDPMC | INT1_CPUID | INT1_INVD | INT1_HLT |
			INT1_INVLPGA | INT1_IOIO | INT1_MSR | INT1_TASKSW | INT1_SHUTDOWN;
	c->intercept2 = INT2_VMRUN | INT2_VMMCALL | INT2_VMLOAD | INT2_VMSAVE | INT2_STGI |
			INT2_CLGI | INT2_SKINIT | INT2_WBINVD | INT2_MONITOR | INT2_MWAIT |
			INT2_XSETBV | INT2_RDPRU;
	/* Writes of CR0 that change more than TS and MP: in nested mode too, for they are rare, and
	 * some CPUs take values that the next VMRUN refuses. */
	c->intercept1 |= INT1_CR0_SEL;
	c->cr_write = 1u << 8;
	if (vm.watch_cr4)
		c->cr_write |= 1u << 4;
	c->exceptions = 1u << EXC_MC;
}

void svm_vmcb_reset(struct vcpu *v, uint8_t sipi_vector)
{
	struct vmcb *b = v->vmcb;
	struct vmcb_save *s = &b->save;
	struct tf_regs regs;

	/* ASIDs are not used twice (new_asid). */
	uint32_t asid = b->ctl.asid ? b->ctl.asid : 1;

	memset(b, 0, sizeof(*b));
	set_intercepts(&b->ctl);
	svm_watch(v, v->watched);
	b->ctl.iopm_pa = (uintptr_t)svm_iopm;
	b->ctl.msrpm_pa = (uintptr_t)svm_msrpm;
	b->ctl.asid = asid;
	b->ctl.int_ctl = V_INTR_MASKING;
	b->ctl.nested_ctl = 1;
	b->ctl.tsc_offset = v->msr.tsc_offset;
	meter_root(v);
	v->shadow = false;
	v->flush = true;

	s->cs = segment((uint16_t)(sipi_vector << 8), 0x9b);
	s->ds = s->es = s->ss = s->fs = s->gs = segment(0, 0x93);
	s->ldtr = segment(0, 0x82);
	s->tr = segment(0, 0x8b);
	s->gdtr.limit = 0xffff;
	s->idtr.limit = 0xffff;
	s->cr0 = CR0_ET | CR0_NW | CR0_CD;
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	s->rflags = 2;
	s->efer = EFER_SVME;
	s->g_pat = v->msr.pat;
	x86_vmload(v->vmcb_pa);
	if (x86_read_cr4() & CR4_OSXSAVE)
		x86_xsetbv_safe(0, 1);
	regs = (struct tf_regs){.cr0 = s->cr0};
	tf_vcpu_set_regs(v->mmu, &regs);
}
