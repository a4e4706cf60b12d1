/* VMX's instructions as C. VMREAD and VMWRITE work on the CPU's current VMCS, which is its vCPU's
 * from vmx_enable() on, for good. SDM vol. 3, chapter 31.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VMX_INSN_H
#define HV_VMX_INSN_H

#include <stdbool.h>
#include <stdint.h>

#include "vmx/vmcs.h"

static inline uint64_t vmx_read(enum vmcs_field field)
{
	uint64_t v;

	__asm__ volatile("vmread %1, %0" : "=r"(v) : "r"((uint64_t)field) : "cc");
	return v;
}

static inline void vmx_write(enum vmcs_field field, uint64_t v)
{
	__asm__ volatile("vmwrite %1, %0" ::"r"((uint64_t)field), "r"(v) : "cc", "memory");
}

/* These three: false if the CPU refused. */
static inline bool vmx_on(uint64_t region)
{
	bool failed;

	__asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(region) : "memory");
	return !failed;
}

static inline bool vmx_clear(uint64_t vmcs)
{
	bool failed;

	__asm__ volatile("vmclear %1" : "=@ccbe"(failed) : "m"(vmcs) : "memory");
	return !failed;
}

static inline bool vmx_load(uint64_t vmcs)
{
	bool failed;

	__asm__ volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(vmcs) : "memory");
	return !failed;
}

static inline void vmx_invept(uint64_t type, uint64_t eptp)
{
	const struct {
		uint64_t eptp, zero;
	} of = {eptp, 0};

	__asm__ volatile("invept %0, %1" ::"m"(of), "r"(type) : "cc", "memory");
}

static inline void vmx_invvpid(uint64_t type, uint16_t vpid)
{
	const struct {
		uint64_t vpid, linear;
	} of = {vpid, 0};

	__asm__ volatile("invvpid %0, %1" ::"m"(of), "r"(type) : "cc", "memory");
}

#endif
