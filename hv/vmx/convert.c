/* Between VMX's forms and the neutral ones. See convert.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "vmx/convert.h"

#include <twofold/twofold.h>

#include "decode/decode.h"
#include "virt/event.h"
#include "virt/exit.h"
#include "vmx/vmcs.h"

#define ATTRIB_PRESENT (1u << 7)

uint32_t vmx_rights(uint16_t attrib)
{
	uint32_t rights = (attrib & 0xffu) | (attrib & 0xf00u) << 4;

	return attrib & ATTRIB_PRESENT ? rights : rights | RIGHTS_UNUSABLE;
}

uint32_t vmx_entry_info(uint64_t event, bool protected, uint32_t *error)
{
	uint32_t info = (uint32_t)(event & (EVENT_VECTOR_MASK | EVENT_TYPE_MASK));

	*error = (uint32_t)(event >> EVENT_ERROR_SHIFT);
	if (!(event & EVENT_VALID))
		return 0;
	if ((event & EVENT_HAS_ERROR) && protected)
		info |= EVENT_HAS_ERROR;
	return info | INTERRUPTION_VALID;
}

uint64_t vmx_vectoring_event(uint32_t info, uint32_t error)
{
	uint64_t event = info & (EVENT_VECTOR_MASK | EVENT_TYPE_MASK | EVENT_HAS_ERROR);

	if (!(info & INTERRUPTION_VALID))
		return 0;
	switch (info & EVENT_TYPE_MASK) {
	case EVENT_TYPE_SOFT:
	case INTERRUPTION_PRIVILEGED:
	case INTERRUPTION_SOFT_EXCEPTION:
		return 0;
	}
	if (info & EVENT_HAS_ERROR)
		event |= (uint64_t)error << EVENT_ERROR_SHIFT;
	return event | EVENT_VALID;
}

uint32_t vmx_timer_ticks(uint64_t armed, uint64_t now, unsigned int rate)
{
	uint64_t cycles = !armed ? UINT64_MAX : armed > now ? armed - now : 0;
	uint64_t unit = UINT64_C(1) << rate, ticks;

	/* Not before it is due. */
	ticks = (cycles >> rate) + (cycles % unit != 0);
	return ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks;
}

void vmx_qualify_cr(struct exit *e, uint64_t qualification)
{
	static const uint8_t kind[4] = {INSN_CR_WRITE, INSN_CR_READ, INSN_CLTS, INSN_LMSW};

	e->told = true;
	e->cr.kind = kind[qualification >> 4 & 3];
	e->cr.number = qualification & 15;
	e->cr.reg = qualification >> 8 & 15;
	e->cr.lmsw = (uint16_t)(qualification >> 16);
}

void vmx_qualify_io(struct exit *e, uint64_t qualification, uint32_t info, bool has_info,
		    bool long_mode)
{
	static const uint64_t mask[4] = {0xffff, 0xffffffff, UINT64_MAX, UINT64_MAX};

	e->io.size = (qualification & 7) + 1;
	e->io.in = qualification & 1 << 3;
	e->io.string = qualification & 1 << 4;
	e->io.rep = qualification & 1 << 5;
	e->io.port = (uint16_t)(qualification >> 16);
	/* (Old CPUs do not tell: then what code uses unless it has a prefix.) */
	e->io.address_mask = has_info ? mask[info >> 7 & 3] : mask[long_mode ? 2 : 1];
}

void vmx_qualify_ept(struct exit *e, uint64_t qualification)
{
	e->fault.flags = 0;
	if (qualification & EPT_QUAL_WRITE)
		e->fault.flags |= TF_WRITE;
	if (qualification & EPT_QUAL_FETCH)
		e->fault.flags |= TF_FETCH;
	e->fault.has_gva = qualification & EPT_QUAL_LINEAR;
	if (e->fault.has_gva && !(qualification & EPT_QUAL_FINAL))
		e->fault.flags |= TF_WALK;
}
