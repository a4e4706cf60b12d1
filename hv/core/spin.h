/* A spin lock for the hypervisor's own data. The hypervisor runs with interrupts held back (GIF or
 * IF clear) whenever it takes one, so a holder is never interrupted.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_SPIN_H
#define HV_CORE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct spin {
	uint32_t held;
};

static inline bool spin_try(struct spin *s)
{
	return __atomic_exchange_n(&s->held, 1, __ATOMIC_ACQUIRE) == 0;
}

static inline void spin_lock(struct spin *s)
{
	while (!spin_try(s))
		while (__atomic_load_n(&s->held, __ATOMIC_RELAXED))
			__builtin_ia32_pause();
}

static inline void spin_unlock(struct spin *s)
{
	__atomic_store_n(&s->held, 0, __ATOMIC_RELEASE);
}

#endif
