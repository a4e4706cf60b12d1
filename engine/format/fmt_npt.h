/* AMD's nested tables: x86-64 tables whose every access counts as a user's.
 *
 * AMD APM vol. 2, 15.25.5 and 15.25.6: without the U bit every access faults. nCR3 walks with the
 * host's EFER.NXE and CR4, which the hypervisor sets.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef FORMAT_FMT_NPT_H
#define FORMAT_FMT_NPT_H

#include "format/fmt_x86.h"

static const struct fmt fmt_npt = {
	.name = "NPT",
	.levels = 4,
	.index_bits = 9,
	.address_bits = 48,
	.entry_bytes = 8,
	.leaves = 7,
	.writable = true,
	.present = X86_P,
	.large = X86_PS,
	.addr = X86_ADDR,
	.r = X86_P,
	.w = X86_W,
	.nx = X86_NX,
	.a = X86_A,
	.d = X86_D,
	.table_bits = X86_P | X86_W | X86_U | X86_A,
	.leaf_bits = X86_U,
	.flush = TF_FLUSH_NESTED,
};

_Static_assert(((X86_P | X86_W | X86_U | X86_A | X86_D | X86_PS) & X86_ADDR) == 0,
	       "flags lie outside the address");

#endif
