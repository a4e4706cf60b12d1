/* Exits by port I/O that is not passed through. APM vol. 2, 15.10.2.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/vm.h"
#include "cpu/x86.h"
#include "svm/svm.h"

#define IOIO_A16 (1u << 7)
#define IOIO_A32 (1u << 8)

static uint64_t address_mask(uint32_t info)
{
	return info & IOIO_A16 ? 0xffff : info & IOIO_A32 ? 0xffffffff : UINT64_MAX;
}

static void add_to(uint64_t *reg, uint64_t mask, uint64_t by)
{
	uint64_t sum = (*reg + by) & mask;

	/* 32-bit results clear the upper half, 16-bit ones keep the rest. */
	*reg = mask == 0xffff ? (*reg & ~mask) | sum : sum;
}

/* INS and OUTS: one element an exit; with REP the instruction runs again until the count is zero.
 */
static void string_io(struct vcpu *v, uint32_t info)
{
	const struct vmcb_save *s = &v->vmcb->save;
	unsigned int size = IOIO_SIZE(info);
	uint16_t port = (uint16_t)IOIO_PORT(info);
	uint64_t mask = address_mask(info);
	uint64_t *index = &v->gpr[info & IOIO_IN ? REG_RDI : REG_RSI];
	uint64_t base = svm_is_long(v->vmcb) ? 0 : info & IOIO_IN ? s->es.base : s->ds.base;
	uint64_t next = v->vmcb->ctl.exit_info2;
	struct tf_outcome out = {.end = TF_RESUME};
	enum tf_status status;
	uint32_t value = 0;

	if ((info & IOIO_REP) && !(v->gpr[REG_RCX] & mask)) {
		vcpu_skip(v, (unsigned int)(next - s->rip));
		return;
	}
	if (info & IOIO_IN) {
		value = ports_in(&vm.ports, v->index, port, size);
		status = vcpu_write_gva(v, base + (*index & mask), &value, size, 0, &out);
	} else {
		status = vcpu_read_gva(v, base + (*index & mask), &value, size, 0, &out);
		if (status == TF_OK)
			ports_out(&vm.ports, v->index, port, size, value);
	}
	if (status == TF_E_FAULT) {
		vcpu_inject_pf(v, out.pfec, out.cr2.v);
		return;
	}
	add_to(index, mask, s->rflags & RFLAGS_DF ? -(uint64_t)size : size);
	if (info & IOIO_REP) {
		add_to(&v->gpr[REG_RCX], mask, UINT64_MAX);
		if (v->gpr[REG_RCX] & mask)
			return;
	}
	vcpu_skip(v, (unsigned int)(next - s->rip));
}

void exit_io(struct vcpu *v)
{
	uint32_t info = (uint32_t)v->vmcb->ctl.exit_info1;
	unsigned int size = IOIO_SIZE(info);
	uint16_t port = (uint16_t)IOIO_PORT(info);

	v->kind = KIND_IO;
	if (info & IOIO_STRING) {
		string_io(v, info);
		return;
	}
	if (info & IOIO_IN) {
		uint32_t value = ports_in(&vm.ports, v->index, port, size);
		uint64_t mask = size == 4 ? UINT64_MAX : (1ull << size * 8) - 1;

		v->gpr[REG_RAX] = (v->gpr[REG_RAX] & ~mask) | (value & mask);
	} else {
		ports_out(&vm.ports, v->index, port, size, (uint32_t)v->gpr[REG_RAX]);
	}
	vcpu_skip(v, (unsigned int)(v->vmcb->ctl.exit_info2 - v->vmcb->save.rip));
}
