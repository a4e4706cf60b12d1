/* Exits by port I/O that is not passed through. APM vol. 2, 15.10.2; SDM vol. 3, table 28-5.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/vm.h"
#include "cpu/x86.h"
#include "virt/virt.h"

static void add_to(uint64_t *reg, uint64_t mask, uint64_t by)
{
	uint64_t sum = (*reg + by) & mask;

	/* 32-bit results clear the upper half, 16-bit ones keep the rest. */
	*reg = mask == 0xffff ? (*reg & ~mask) | sum : sum;
}

/* INS and OUTS: one element an exit; with REP the instruction runs again until the count is zero.
 */
static void string_io(struct vcpu *v)
{
	const struct exit *e = &v->exit;
	unsigned int size = e->io.size;
	uint64_t mask = e->io.address_mask;
	uint64_t *index = &v->gpr[e->io.in ? REG_RDI : REG_RSI];
	uint64_t bases[6], at;
	struct tf_outcome out = {.end = TF_RESUME};
	enum tf_status status;
	uint32_t value = 0;

	if (e->io.rep && !(v->gpr[REG_RCX] & mask)) {
		vcpu_skip(v, e->length);
		return;
	}
	at = *index & mask;
	if (!vcpu_is_long(v)) {
		vendor->segment_bases(v, bases);
		at += bases[e->io.in ? INSN_ES : INSN_DS];
	}
	if (e->io.in) {
		value = ports_in(&vm.ports, v->index, e->io.port, size);
		status = vcpu_write_gva(v, at, &value, size, 0, &out);
	} else {
		status = vcpu_read_gva(v, at, &value, size, 0, &out);
		if (status == TF_OK)
			ports_out(&vm.ports, v->index, e->io.port, size, value);
	}
	if (status == TF_E_FAULT) {
		vcpu_inject_pf(v, out.pfec, out.cr2.v);
		return;
	}
	add_to(index, mask, v->guest.rflags & RFLAGS_DF ? -(uint64_t)size : size);
	if (e->io.rep) {
		add_to(&v->gpr[REG_RCX], mask, UINT64_MAX);
		if (v->gpr[REG_RCX] & mask)
			return;
	}
	vcpu_skip(v, e->length);
}

void exit_io(struct vcpu *v)
{
	const struct exit *e = &v->exit;
	unsigned int size = e->io.size;

	v->kind = KIND_IO;
	if (e->io.string) {
		string_io(v);
		return;
	}
	if (e->io.in) {
		uint32_t value = ports_in(&vm.ports, v->index, e->io.port, size);
		uint64_t mask = size == 4 ? UINT64_MAX : (1ull << size * 8) - 1;

		v->gpr[REG_RAX] = (v->gpr[REG_RAX] & ~mask) | (value & mask);
	} else {
		ports_out(&vm.ports, v->index, e->io.port, size, (uint32_t)v->gpr[REG_RAX]);
	}
	vcpu_skip(v, e->length);
}
