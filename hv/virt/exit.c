/* Guest exits: which is which, and the short ones.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/log.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "virt/virt.h"

#define KVM_HYPERCALL_SEND_IPI 10
#define KVM_ENOSYS	       (-1000)
#define KVM_EPERM	       (-1)

void exit_skip(struct vcpu *v, unsigned int fallback)
{
	vcpu_skip(v, v->exit.length ? v->exit.length : fallback);
}

/* The guest's XCR0 is never switched: some CPUs let XSETBV through in spite of the intercept. */
static uint64_t host_xcr0(void)
{
	uint32_t lo = 1, hi = 0;

	if (x86_read_cr4() & CR4_OSXSAVE)
		__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

static void exit_cpuid(struct vcpu *v)
{
	const struct cpuid_vcpu state = {
		.apic_id = v->apic.id,
		.apic_enabled = v->apic.base & APIC_BASE_EN,
		.cr4 = v->guest.cr4,
		.xcr0 = host_xcr0(),
	};
	struct cpuid_regs r;

	v->kind = KIND_CPUID;
	cpuid_guest(&vm.cpuid, &state, (uint32_t)v->gpr[REG_RAX], (uint32_t)v->gpr[REG_RCX], &r);
	v->gpr[REG_RAX] = r.eax;
	v->gpr[REG_RBX] = r.ebx;
	v->gpr[REG_RCX] = r.ecx;
	v->gpr[REG_RDX] = r.edx;
	exit_skip(v, 2);
}

static enum exit_kind msr_kind(uint32_t msr)
{
	switch (msr) {
	case MSR_TSC_DEADLINE:
	case MSR_X2APIC_FIRST + 0x38:
		return KIND_MSR_TIMER;
	case MSR_X2APIC_FIRST + 0x0b:
		return KIND_MSR_EOI;
	case MSR_X2APIC_FIRST + 0x30:
		return KIND_MSR_ICR;
	case MSR_EFER:
		return KIND_EFER;
	default:
		return KIND_MSR;
	}
}

static bool msr_do(struct vcpu *v, uint32_t msr, bool write, uint64_t *value)
{
	const uint64_t offset = v->msr.tsc_offset;
	enum msr_result r;

	if (msr == MSR_EFER) {
		if (write)
			return exit_efer_write(v, *value);
		*value = v->guest.efer;
		return true;
	}
	r = write ? msr_write(&vm.msr, &v->msr, &v->apic, &vm.cpuid, msr, *value)
		  : msr_read(&vm.msr, &v->msr, &v->apic, &vm.cpuid, msr, value);
	switch (r) {
	case MSR_TSC:
		vendor->tsc_changed(v);
		lapic_timer_tsc_set(&v->apic, v->msr.tsc_offset - offset);
		return true;
	case MSR_PAT:
		vendor->pat_changed(v);
		return true;
	case MSR_OK:
		return true;
	default:
		return false;
	}
}

static void exit_msr(struct vcpu *v)
{
	bool write = v->exit.msr.write;
	uint32_t msr = (uint32_t)v->gpr[REG_RCX];
	uint64_t value = (v->gpr[REG_RDX] << 32) | (uint32_t)v->gpr[REG_RAX];

	v->kind = msr_kind(msr);
	if (!msr_do(v, msr, write, &value)) {
		log_debug("vcpu %u: %s of MSR %x refused", v->index, write ? "write" : "read", msr);
		vcpu_inject(v, EXC_GP, 0);
		return;
	}
	if (!write) {
		v->gpr[REG_RAX] = (uint32_t)value;
		v->gpr[REG_RDX] = value >> 32;
	}
	exit_skip(v, 2);
}

static void exit_hlt(struct vcpu *v)
{
	v->kind = KIND_HLT;
	exit_skip(v, 1);
	if (!v->event)
		v->state = VCPU_HALTED;
}

/* The machine may go on with an INT3 that memory has not any more (docs/machines.md). One that is
 * there runs now, and as all that follow up to the next exit. */
static void exit_int(struct vcpu *v)
{
	v->kind = KIND_INT;
	if (vcpu_recheck_int(v)) {
		v->lets_int = true;
		virt_intercept(v);
		return;
	}
	v->rechecked++;
	log_debug("vcpu %u: the INT3 at %lx is gone", v->index, v->guest.rip);
}

static void exit_xsetbv(struct vcpu *v)
{
	uint64_t value = (v->gpr[REG_RDX] << 32) | (uint32_t)v->gpr[REG_RAX];

	v->kind = KIND_XSETBV;
	if (!(v->guest.cr4 & CR4_OSXSAVE)) {
		vcpu_inject(v, EXC_UD, 0);
		return;
	}
	if (vcpu_cpl(v) || (uint32_t)v->gpr[REG_RCX] || !cpuid_xcr0_valid(&vm.cpuid, value) ||
	    x86_xsetbv_safe(0, value)) {
		vcpu_inject(v, EXC_GP, 0);
		return;
	}
	exit_skip(v, 3);
}

/* KVM's hypercalls, as far as CPUID promises them. */
static void exit_hypercall(struct vcpu *v)
{
	int64_t result = KVM_ENOSYS;

	v->kind = KIND_VMMCALL;
	if (vcpu_cpl(v))
		result = KVM_EPERM;
	else if (v->gpr[REG_RAX] == KVM_HYPERCALL_SEND_IPI && vm.cpuid.kvm_pv_ipi)
		result = lapic_kvm_ipi(&vm.bus, v->index, v->gpr[REG_RBX], v->gpr[REG_RCX],
				       v->gpr[REG_RDX], v->gpr[REG_RSI]);
	v->gpr[REG_RAX] = (uint64_t)result;
	exit_skip(v, 3);
}

static _Noreturn void exit_unknown(struct vcpu *v)
{
	const struct guest *g = &v->guest;

	log_error("unexpected exit at %lx, cr0 %lx cr3 %lx cr4 %lx efer %lx", g->rip, g->cr0,
		  g->cr3, g->cr4, g->efer);
	vendor->dump(v);
	vm_end(END_ASSERT, 0);
}

/* The entry was refused. In an emulator (QEMU) the guest's own write of an illegal CR3 or CR4 ends
 * like that, with the guest's RIP at the instruction: it gets the #GP that silicon would raise. */
static void exit_invalid(struct vcpu *v)
{
	const struct insn *i;

	if (v->event)
		exit_unknown(v); /* not even the #GP went in */
	i = vcpu_decode(v);
	if (!i || i->kind != INSN_CR_WRITE)
		exit_unknown(v);
	vcpu_inject(v, EXC_GP, 0);
}

/* The entries that lead to an address in the guest's 4-level tables, for the log. */
static void log_walk(const char *what, uint64_t cr3, uint64_t va)
{
	uint64_t at = cr3 & ~(uint64_t)TF_PAGE_MASK, e[4] = {0};

	for (int level = 3; level >= 0; level--) {
		at = (at & 0x000ffffffffff000ull) + 8 * (va >> (12 + 9 * level) & 511);
		if (tf_mem_read(vm.mmu, gpa(at), &e[level], sizeof(e[level])) != TF_OK)
			break;
		if (!(e[level] & 1) || (level && (e[level] & 1 << 7)))
			break;
		at = e[level];
	}
	log_info("%s %lx: %lx %lx %lx %lx", what, va, e[3], e[2], e[1], e[0]);
}

static _Noreturn void exit_shutdown(struct vcpu *v)
{
	const struct guest *g = &v->guest;

	log_info("vcpu %u: triple fault at %lx, rsp %lx, rflags %lx, cr0 %lx cr2 %lx cr3 %lx cr4 "
		 "%lx efer %lx",
		 v->index, g->rip, v->gpr[REG_RSP], g->rflags, g->cr0, g->cr2, g->cr3, g->cr4,
		 g->efer);
	vendor->dump(v);
	if ((g->efer & EFER_LMA) && !(g->cr4 & CR4_LA57)) {
		log_walk("rip", g->cr3, g->rip);
		log_walk("rsp", g->cr3, v->gpr[REG_RSP]);
		log_walk("cr2", g->cr3, g->cr2);
	}
	vm_end(END_TRIPLE_FAULT, 0);
}

__attribute__((hot)) void virt_exit(struct vcpu *v)
{
	v->kind = KIND_OTHER;
	if (v->lets_int) {
		v->lets_int = false;
		virt_intercept(v);
	}
	switch (v->exit.reason) {
	case EXIT_INTERRUPT:
		v->kind = KIND_INTR;
		vendor->window();
		break;
	case EXIT_TIMER:
		v->kind = KIND_INTR;
		v->timer_fired = true;
		v->armed = 0;
		break;
	case EXIT_NMI:
		/* It stays pending, and no entry would succeed, until it is let in. */
		v->kind = KIND_NMI;
		vendor->window();
		break;
	case EXIT_WINDOW:
		v->kind = KIND_WINDOW; /* the next entry takes it in */
		break;
	case EXIT_NMI_OPEN:
		v->kind = KIND_IRET;
		v->nmi_blocked = false;
		break;
	case EXIT_NESTED_FAULT:
		exit_nested_fault(v);
		break;
	case EXIT_PAGE_FAULT:
		exit_page_fault(v);
		break;
	case EXIT_CR:
		exit_cr(v);
		break;
	case EXIT_INVLPG:
		exit_invlpg(v);
		break;
	case EXIT_INVPCID:
		exit_invpcid(v);
		break;
	case EXIT_MSR:
		exit_msr(v);
		break;
	case EXIT_CPUID:
		exit_cpuid(v);
		break;
	case EXIT_HLT:
		exit_hlt(v);
		break;
	case EXIT_IO:
		exit_io(v);
		break;
	case EXIT_INT:
		exit_int(v);
		break;
	case EXIT_XSETBV:
		exit_xsetbv(v);
		break;
	case EXIT_HYPERCALL:
		exit_hypercall(v);
		break;
	case EXIT_CACHE:
		/* Guest memory is coherent whatever it does to the caches. */
		exit_skip(v, 2);
		break;
	case EXIT_REFUSED:
		vcpu_inject(v, EXC_GP, 0);
		break;
	case EXIT_ABSENT:
		vcpu_inject(v, EXC_UD, 0);
		break;
	case EXIT_SHUTDOWN:
		exit_shutdown(v);
	case EXIT_INVALID:
		exit_invalid(v);
		break;
	default:
		exit_unknown(v);
	}
}
