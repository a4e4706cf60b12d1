/* How times are spread: so many in each quarter of an octave, from 4096 cycles on. What is shorter
 * or longer than the bins counts in the first or the last.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_SPREAD_H
#define HV_CORE_SPREAD_H

#include <stdint.h>

#define SPREAD_BINS  96u
#define SPREAD_LOG_2 12u /* of the first bin's begin */

/* The bin of a time. */
static inline unsigned int spread_bin(uint64_t cycles)
{
	if (!(cycles >> SPREAD_LOG_2))
		return 0;
	unsigned int log = 63u - (unsigned int)__builtin_clzll(cycles);
	unsigned int bin = 4 * (log - SPREAD_LOG_2) + (unsigned int)(cycles >> (log - 2) & 3);

	return bin < SPREAD_BINS ? bin : SPREAD_BINS - 1;
}

/* What the times in a bin are below, but for the last bin's. */
static inline uint64_t spread_end(unsigned int bin)
{
	return (UINT64_C(5) + bin % 4) << (bin / 4 + SPREAD_LOG_2 - 2);
}

#endif
