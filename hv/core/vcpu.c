/* The vCPU as such: its block of memory, reset, queued events, timer.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/vcpu.h"

#include "core/spin.h"
#include "core/string.h"
#include "core/vm.h"
#include "cpu/apic.h"
#include "cpu/x86.h"
#include "load/load.h"
#include "mem/pages.h"
#include "virt/virt.h"

#define BLOCKS_IN_2M (0x200000ull / VCPU_BLOCK)
#define NODES_MAX    64u

/* Boot CPU only. */
static struct {
	uint64_t next, end;
} carve[NODES_MAX];

static uint64_t block_alloc(unsigned int node)
{
	uint64_t pa;

	node %= NODES_MAX;
	if (carve[node].next == carve[node].end) {
		pa = pages_alloc(node, TF_ORDER_2M);
		if (!pa)
			vm_fail("the machine has no memory left for its CPUs");
		carve[node].next = pa;
		carve[node].end = pa + BLOCKS_IN_2M * VCPU_BLOCK;
	}
	pa = carve[node].next;
	carve[node].next += VCPU_BLOCK;
	return pa;
}

struct vcpu *vcpu_create(unsigned int index, uint32_t host_apic_id, unsigned int host_node)
{
	uint64_t block = block_alloc(host_node);
	struct vcpu *v = (struct vcpu *)(uintptr_t)(block + VCPU_BLOCK - sizeof(*v));

	memset((void *)(uintptr_t)block, 0, VCPU_BLOCK);
	v->block = block;
	v->index = index;
	v->host_apic_id = host_apic_id;
	v->virq = -1;
	v->watched = vm.mode == TF_SHADOW;
	v->state = VCPU_WAIT_SIPI;
	return v;
}

void vcpu_reset(struct vcpu *v, uint8_t sipi_vector)
{
	uint32_t family = x86_cpuid(1, 0).eax;
	struct tf_regs regs;

	memset(v->gpr, 0, sizeof(v->gpr));
	v->gpr[REG_RDX] = family;
	v->event = 0;
	v->event_later = 0;
	v->virq = -1;
	v->nmi_pending = false;
	v->nmi_blocked = false;
	virt_to_nested(v);
	v->flush = TF_FLUSH_ALL;
	vendor->reset(v, sipi_vector);
	vcpu_read_regs(v, &regs);
	tf_vcpu_set_regs(v->mmu, &regs);
	vcpu_forget_insns(v);
}

void vcpu_start(struct vcpu *v, const struct load_entry *e)
{
	v->guest = (struct guest){
		.rip = e->rip,
		.rflags = e->rflags | 2,
		.cr0 = e->cr0,
		.cr3 = e->cr3,
		.cr4 = e->cr4,
		.efer = e->efer,
	};
	v->gpr[REG_RAX] = e->rax;
	v->gpr[REG_RBX] = e->rbx;
	v->gpr[REG_RDX] = 0;
	v->gpr[REG_RSI] = e->rsi;
	v->gpr[REG_RSP] = e->rsp;
	vendor->start(v, e);
}

static bool is_contributory(uint64_t vector)
{
	return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

__attribute__((hot)) void vcpu_inject(struct vcpu *v, unsigned int vector, uint32_t error)
{
	uint64_t before = v->event;

	if ((before & EVENT_VALID) && (before & EVENT_TYPE_MASK) == EVENT_TYPE_EXC) {
		uint64_t first = before & EVENT_VECTOR_MASK;
		bool second_bad = is_contributory(vector) || vector == EXC_PF;

		if (first == EXC_DF && second_bad)
			vm_end(END_TRIPLE_FAULT, 0);
		if ((first == EXC_PF && second_bad) ||
		    (is_contributory(first) && is_contributory(vector))) {
			vector = EXC_DF;
			error = 0;
		}
	} else if (before & EVENT_VALID) {
		/* An interrupt must not get lost: after the exception. */
		v->event_later = before;
	}
	v->event = EVENT_VALID | EVENT_TYPE_EXC | vector;
	if (exc_has_error(vector))
		v->event |= EVENT_HAS_ERROR | (uint64_t)error << EVENT_ERROR_SHIFT;
}

__attribute__((hot)) void vcpu_inject_pf(struct vcpu *v, uint32_t pfec, uint64_t cr2)
{
	v->guest.cr2 = cr2;
	vcpu_inject(v, EXC_PF, pfec);
}

void vcpu_skip(struct vcpu *v, unsigned int bytes)
{
	struct guest *g = &v->guest;

	g->rip += bytes;
	if (!vcpu_is_long(v))
		g->rip = (uint32_t)g->rip;
	g->int_shadow = false;
	g->rflags &= ~RFLAGS_RF;
	if (g->rflags & RFLAGS_TF) {
		vendor->stepped(v);
		vcpu_inject(v, EXC_DB, 0);
	}
}

void vcpu_timer_set(struct vcpu *v, uint64_t tsc)
{
	v->guest_deadline = tsc;
	if (tsc && tsc <= x86_rdtsc()) {
		v->timer_fired = true;
		return;
	}
	virt_timer_arm(v);
}
