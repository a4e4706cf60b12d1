/* First touches of a GiB by several threads (touch.c).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef THREADS_TOUCH_H
#define THREADS_TOUCH_H

#include <stdbool.h>
#include <stdint.h>

/* Says what is wrong, if anything is. */
bool touch_run(uint64_t seed, unsigned int rounds);

#endif
