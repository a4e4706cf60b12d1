/* The VMCB after INIT and at the guest's start, and a look at it. APM vol. 2, 14.1.3 and appendix
 * B.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "svm/svm.h"

#include "core/log.h"
#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "load/load.h"

static struct vmcb_seg real_mode(uint16_t selector, uint16_t attrib)
{
	return (struct vmcb_seg){
		.selector = selector,
		.attrib = attrib,
		.limit = 0xffff,
		.base = (uint64_t)selector << 4,
	};
}

/* But for what is asked for (svm/run.c). */
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
	c->exceptions = 1u << EXC_MC;
}

void svm_reset(struct vcpu *v, uint8_t sipi_vector)
{
	struct vmcb *b = vmcb_of(v);
	struct vmcb_save *s = &b->save;

	/* ASIDs are not used twice (svm/run.c). */
	uint32_t asid = b->ctl.asid ? b->ctl.asid : 1;

	memset(b, 0, sizeof(*b));
	set_intercepts(&b->ctl);
	b->ctl.iopm_pa = (uintptr_t)svm_iopm;
	b->ctl.msrpm_pa = (uintptr_t)svm_msrpm;
	b->ctl.asid = asid;
	b->ctl.int_ctl = V_INTR_MASKING;
	b->ctl.tsc_offset = v->msr.tsc_offset;

	s->cs = real_mode((uint16_t)(sipi_vector << 8), 0x9b);
	s->ds = s->es = s->ss = s->fs = s->gs = real_mode(0, 0x93);
	s->ldtr = real_mode(0, 0x82);
	s->tr = real_mode(0, 0x8b);
	s->gdtr.limit = 0xffff;
	s->idtr.limit = 0xffff;
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	s->g_pat = v->msr.pat;
	v->guest = (struct guest){
		.rflags = 2,
		.cr0 = CR0_ET | CR0_NW | CR0_CD,
		.mode = INSN_16,
	};
	x86_vmload(vmcb_pa(v));
	if (x86_read_cr4() & CR4_OSXSAVE)
		x86_xsetbv_safe(0, 1);
}

static struct vmcb_seg segment(const struct load_segment *s)
{
	return (struct vmcb_seg){s->selector, s->attrib, s->limit, s->base};
}

void svm_set_code_and_stack(struct vcpu *v, const struct load_segment *cs,
			    const struct load_segment *ss)
{
	struct vmcb_save *s = &vmcb_of(v)->save;
	struct guest *g = &v->guest;

	s->cs = segment(cs);
	s->ss = segment(ss);
	g->cpl = s->cpl = ss->attrib >> 5 & 3;
	guest_take_code(g, cs->attrib & SEG_L, cs->attrib & SEG_DB);
}

void svm_start(struct vcpu *v, const struct load_entry *e)
{
	struct vmcb_save *s = &vmcb_of(v)->save;

	s->ds = s->es = s->fs = s->gs = segment(&e->data);
	s->tr = segment(&e->tr);
	s->gdtr.base = e->gdt_base;
	s->gdtr.limit = e->gdt_limit;
	s->idtr.base = e->idt_base;
	s->idtr.limit = e->idt_limit;
	svm_set_code_and_stack(v, &e->cs, &e->data);
	x86_vmload(vmcb_pa(v));
}

void svm_segment_bases(const struct vcpu *v, uint64_t base[6])
{
	const struct vmcb_save *s = &vmcb_of(v)->save;

	base[INSN_ES] = s->es.base;
	base[INSN_CS] = s->cs.base;
	base[INSN_SS] = s->ss.base;
	base[INSN_DS] = s->ds.base;
	/* Never saved: the guest's are in the CPU (svm/enter.S). */
	base[INSN_FS] = x86_rdmsr(MSR_FS_BASE);
	base[INSN_GS] = x86_rdmsr(MSR_GS_BASE);
}

uint64_t svm_gdt_base(const struct vcpu *v)
{
	return vmcb_of(v)->save.gdtr.base;
}

void svm_dump(const struct vcpu *v)
{
	const struct vmcb_control *c = &vmcb_of(v)->ctl;
	const struct vmcb_save *s = &vmcb_of(v)->save;

	log_info("vcpu %u: exit %lx info1 %lx info2 %lx, event %lx was %lx, int_ctl %lx, asid %u "
		 "of %u, nested cr3 %lx",
		 v->index, c->exit_code, c->exit_info1, c->exit_info2, c->event_inj,
		 c->exit_int_info, c->int_ctl, c->asid, svm_cpu.asids, c->nested_cr3);
	log_info("vcpu %u: cs %x, idt %lx, rflags %lx rsp %lx cpl %u, cr0 %lx cr3 %lx cr4 %lx "
		 "efer %lx",
		 v->index, s->cs.selector, s->idtr.base, s->rflags, s->rsp, s->cpl, s->cr0, s->cr3,
		 s->cr4, s->efer);
}
