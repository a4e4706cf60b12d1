/* x86-64's own tables with 4 and 5 levels: shadow tables and the guest's in long mode.
 *
 * AMD APM vol. 2, 5.3 and 5.4; Intel SDM vol. 3, 4.5. What we build has PAT bits of 0:
 * write-back.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef FORMAT_FMT_X86_H
#define FORMAT_FMT_X86_H

#include "format/fmt.h"

#define X86_P	       (UINT64_C(1) << 0)
#define X86_W	       (UINT64_C(1) << 1)
#define X86_U	       (UINT64_C(1) << 2)
#define X86_A	       (UINT64_C(1) << 5)
#define X86_D	       (UINT64_C(1) << 6)
#define X86_PS	       (UINT64_C(1) << 7)
#define X86_G	       (UINT64_C(1) << 8)
#define X86_ADDR       UINT64_C(0x000ffffffffff000)
#define X86_PKEY_SHIFT 59
#define X86_NX	       (UINT64_C(1) << 63)

#define FMT_X86_COMMON                                                                             \
	.index_bits = 9, .entry_bytes = 8, .leaves = 7, .writable = true, .present = X86_P,        \
	.large = X86_PS, .addr = X86_ADDR, .r = X86_P, .w = X86_W, .u = X86_U, .nx = X86_NX,       \
	.a = X86_A, .d = X86_D, .table_bits = X86_P | X86_W | X86_U | X86_A, .leaf_bits = 0,       \
	.flush = TF_FLUSH_LINEAR

static const struct fmt fmt_x86_4 = {
	.name = "x86-64", .levels = 4, .address_bits = 48, FMT_X86_COMMON};
static const struct fmt fmt_x86_5 = {
	.name = "x86-64, 5 levels", .levels = 5, .address_bits = 57, FMT_X86_COMMON};

_Static_assert((X86_ADDR & (X86_NX | TF_PAGE_MASK)) == 0, "flags lie outside the address");
_Static_assert(X86_NX == UINT64_C(0x8000000000000000), "NX is the highest bit");

#endif
