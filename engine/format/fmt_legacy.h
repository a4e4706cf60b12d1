/* The guest's tables outside long mode: 32-bit, with and without 4 MiB pages, and PAE. Read only.
 *
 * AMD APM vol. 2, 5.2; Intel SDM vol. 3, 4.3 and 4.4. 4 MiB pages reach 40 physical bits (AMD's
 * PSE-36). A PAE root has 4 entries without rights of their own.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef FORMAT_FMT_LEGACY_H
#define FORMAT_FMT_LEGACY_H

#include "format/fmt_x86.h"

#define LEGACY_ADDR32 UINT64_C(0xfffff000)

static const struct fmt fmt_legacy32 = {
	.name = "32-bit",
	.levels = 2,
	.index_bits = 10,
	.address_bits = 32,
	.entry_bytes = 4,
	.leaves = 1,
	.present = X86_P,
	.addr = LEGACY_ADDR32,
	.r = X86_P,
	.w = X86_W,
	.x = X86_P,
	.u = X86_U,
	.a = X86_A,
	.d = X86_D,
};

static const struct fmt fmt_legacy32_pse = {
	.name = "32-bit, 4 MiB pages",
	.levels = 2,
	.index_bits = 10,
	.address_bits = 32,
	.entry_bytes = 4,
	.leaves = 3,
	.pse36 = true,
	.present = X86_P,
	.large = X86_PS,
	.addr = LEGACY_ADDR32,
	.r = X86_P,
	.w = X86_W,
	.x = X86_P,
	.u = X86_U,
	.a = X86_A,
	.d = X86_D,
};

static const struct fmt fmt_pae = {
	.name = "PAE",
	.levels = 3,
	.index_bits = 9,
	.address_bits = 32,
	.entry_bytes = 8,
	.leaves = 3,
	.present = X86_P,
	.large = X86_PS,
	.addr = X86_ADDR,
	.r = X86_P,
	.w = X86_W,
	.u = X86_U,
	.nx = X86_NX,
	.a = X86_A,
	.d = X86_D,
};

_Static_assert((LEGACY_ADDR32 & (X86_P | X86_W | X86_U | X86_A | X86_D | X86_PS)) == 0,
	       "flags lie outside the address");
_Static_assert((UINT64_C(0xff) << 13 & UINT64_C(0xffc00000)) == 0,
	       "PSE-36's high bits lie under the 4 MiB frame");

#endif
