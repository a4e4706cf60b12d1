/* Intel's nested tables (EPT), 4 levels, write-back; with accessed and dirty flags and without.
 *
 * Intel SDM vol. 3, 29.3.2: an entry is present when any of its R, W, X bits is set. Accessed and
 * dirty are kept when the EPTP enables them (29.3.5); else the CPU ignores bits 8 and 9. The
 * guest's PAT is ignored (29.3.7.2), as shadow entries ignore it: what the engine and the
 * hypervisor read of the guest's memory, they read write-back.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef FORMAT_FMT_EPT_H
#define FORMAT_FMT_EPT_H

#include "format/fmt.h"

#define EPT_R	 (UINT64_C(1) << 0)
#define EPT_W	 (UINT64_C(1) << 1)
#define EPT_X	 (UINT64_C(1) << 2)
#define EPT_WB	 (UINT64_C(6) << 3) /* memory type of a leaf; reserved in a table entry */
#define EPT_IPAT (UINT64_C(1) << 6)
#define EPT_PS	 (UINT64_C(1) << 7)
#define EPT_A	 (UINT64_C(1) << 8)
#define EPT_D	 (UINT64_C(1) << 9)
#define EPT_ADDR UINT64_C(0x000ffffffffff000)

#define FMT_EPT_COMMON                                                                             \
	.levels = 4, .index_bits = 9, .address_bits = 48, .entry_bytes = 8, .leaves = 7,           \
	.writable = true, .present = EPT_R | EPT_W | EPT_X, .large = EPT_PS, .addr = EPT_ADDR,     \
	.r = EPT_R, .w = EPT_W, .x = EPT_X, .leaf_bits = EPT_WB | EPT_IPAT,                        \
	.flush = TF_FLUSH_NESTED

static const struct fmt fmt_ept = {
	.name = "EPT",
	FMT_EPT_COMMON,
	.a = EPT_A,
	.d = EPT_D,
	.table_bits = EPT_R | EPT_W | EPT_X | EPT_A,
};

static const struct fmt fmt_ept_no_ad = {
	.name = "EPT without A and D",
	FMT_EPT_COMMON,
	.table_bits = EPT_R | EPT_W | EPT_X,
};

_Static_assert(((EPT_R | EPT_W | EPT_X | EPT_WB | EPT_IPAT | EPT_PS | EPT_A | EPT_D) & EPT_ADDR) ==
		       0,
	       "flags lie outside the address");
_Static_assert((EPT_WB & (EPT_R | EPT_W | EPT_X | EPT_IPAT | EPT_PS | EPT_A | EPT_D)) == 0,
	       "the memory type overlaps no flag");

#endif
