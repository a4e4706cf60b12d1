/* Atomic reads and writes of page-table entries and of words shared between CPUs.
 *
 * Hardware (and the guest) changes entries behind our back: every access to a live entry goes
 * through these.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

static inline uint64_t entry_read(const uint64_t *e)
{
	return __atomic_load_n(e, __ATOMIC_ACQUIRE);
}

static inline void entry_write(uint64_t *e, uint64_t v)
{
	__atomic_store_n(e, v, __ATOMIC_RELEASE);
}

static inline uint64_t entry_swap(uint64_t *e, uint64_t v)
{
	return __atomic_exchange_n(e, v, __ATOMIC_ACQ_REL);
}

static inline bool entry_cas(uint64_t *e, uint64_t *old, uint64_t v)
{
	return __atomic_compare_exchange_n(e, old, v, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline uint64_t entry_and(uint64_t *e, uint64_t mask)
{
	return __atomic_fetch_and(e, mask, __ATOMIC_ACQ_REL);
}

static inline uint64_t entry_or(uint64_t *e, uint64_t bits)
{
	return __atomic_fetch_or(e, bits, __ATOMIC_ACQ_REL);
}

/* Counters that one CPU writes and others read. */
static inline void count_add(uint64_t *count, uint64_t by)
{
	__atomic_store_n(count, *count + by, __ATOMIC_RELAXED);
}

static inline uint32_t entry_read32(const uint32_t *e)
{
	return __atomic_load_n(e, __ATOMIC_ACQUIRE);
}

static inline bool entry_cas32(uint32_t *e, uint32_t *old, uint32_t v)
{
	return __atomic_compare_exchange_n(e, old, v, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

#endif
