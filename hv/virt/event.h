/* Events that an entry injects: one word, in AMD's EVENTINJ layout (APM vol. 2, 15.20). Intel's
 * interruption information (SDM vol. 3, 25.8.3) differs in where the error code is, and in having
 * types of their own for INT3, INTO and INT1, which are never injected: those instructions run
 * again.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VIRT_EVENT_H
#define HV_VIRT_EVENT_H

#define EVENT_TYPE_INTR	  (0ull << 8)
#define EVENT_TYPE_NMI	  (2ull << 8)
#define EVENT_TYPE_EXC	  (3ull << 8)
#define EVENT_TYPE_SOFT	  (4ull << 8)
#define EVENT_TYPE_MASK	  (7ull << 8)
#define EVENT_HAS_ERROR	  (1ull << 11)
#define EVENT_VALID	  (1ull << 31)
#define EVENT_VECTOR_MASK 0xffull
#define EVENT_ERROR_SHIFT 32

#endif
