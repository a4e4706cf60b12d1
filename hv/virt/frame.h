/* What the delivery of an exception leaves on the stack, and segments from their descriptors:
 * arithmetic alone. SDM vol. 3, 3.4.5, 6.14.2.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VIRT_FRAME_H
#define HV_VIRT_FRAME_H

#include "load/load.h"

/* What the CPU pushes in 64-bit mode, an error code left out. */
struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

#define FRAME_WORDS 6u /* with an error code */

/* Are the words at the top of the stack what the delivery of a fault of the instruction at `rip`
 * pushed? With or without an error code in front. */
bool frame_find(const uint64_t words[FRAME_WORDS], uint64_t rip, struct frame *f);

/* A segment as its descriptor has it, loaded. */
struct load_segment frame_segment(uint16_t selector, uint64_t descriptor);

#endif
