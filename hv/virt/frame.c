/* What the delivery of an exception leaves on the stack. See frame.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "virt/frame.h"

#define RFLAGS_RF     (1ull << 16)
#define RFLAGS_NEVER  0xffffffffffc08028ull /* reserved, 0 */
#define RFLAGS_ALWAYS 2ull
#define SELECTOR_LDT  4u

bool frame_find(const uint64_t words[FRAME_WORDS], uint64_t rip, struct frame *f)
{
	const uint64_t *w = words[0] == rip ? words : words + 1;

	*f = (struct frame){w[0], w[1], w[2], w[3], w == words ? words[4] : words[5]};
	/* A fault pushes RF set: no return address has that behind it. */
	return f->rip == rip && f->cs <= UINT16_MAX && f->ss <= UINT16_MAX &&
	       !((f->cs | f->ss) & SELECTOR_LDT) && !(f->rflags & RFLAGS_NEVER) &&
	       (f->rflags & (RFLAGS_ALWAYS | RFLAGS_RF)) == (RFLAGS_ALWAYS | RFLAGS_RF);
}

struct load_segment frame_segment(uint16_t selector, uint64_t descriptor)
{
	struct load_segment s = {
		.selector = selector,
		.attrib = (uint16_t)((descriptor >> 40 & 0xff) | (descriptor >> 52 & 0xf) << 8),
		.limit = (uint32_t)((descriptor & 0xffff) | (descriptor >> 48 & 0xf) << 16),
		.base = (descriptor >> 16 & 0xffffff) | (descriptor >> 56) << 24,
	};

	if (descriptor >> 55 & 1)
		s.limit = s.limit << 12 | 0xfff;
	s.attrib |= 1; /* accessed: it was loaded */
	return s;
}
