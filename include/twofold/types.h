/* Address types that the compiler keeps apart, and the few operations on them.
 *
 * Every address is a struct with one 64-bit member: passed in a register, so it costs nothing, and
 * mixing two kinds does not compile. A frame number (gfn, hfn) counts 4 KiB pages.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef TWOFOLD_TYPES_H
#define TWOFOLD_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TF_PAGE_SHIFT 12
#define TF_PAGE_SIZE  4096u
#define TF_PAGE_MASK  4095u

typedef struct {
	uint64_t v;
} gva_t; /* guest-virtual */

typedef struct {
	uint64_t v;
} gpa_t; /* guest-physical */

typedef struct {
	uint64_t v;
} hpa_t; /* host-physical */

typedef struct {
	uint64_t v;
} gfn_t; /* guest frame number */

typedef struct {
	uint64_t v;
} hfn_t; /* host frame number */

static inline gva_t gva(uint64_t v)
{
	return (gva_t){v};
}

static inline gpa_t gpa(uint64_t v)
{
	return (gpa_t){v};
}

static inline hpa_t hpa(uint64_t v)
{
	return (hpa_t){v};
}

static inline gfn_t gfn(uint64_t v)
{
	return (gfn_t){v};
}

static inline hfn_t hfn(uint64_t v)
{
	return (hfn_t){v};
}

static inline gfn_t gpa_to_gfn(gpa_t a)
{
	return (gfn_t){a.v >> TF_PAGE_SHIFT};
}

static inline gpa_t gfn_to_gpa(gfn_t f)
{
	return (gpa_t){f.v << TF_PAGE_SHIFT};
}

static inline hfn_t hpa_to_hfn(hpa_t a)
{
	return (hfn_t){a.v >> TF_PAGE_SHIFT};
}

static inline hpa_t hfn_to_hpa(hfn_t f)
{
	return (hpa_t){f.v << TF_PAGE_SHIFT};
}

/* A set of vCPUs, by index. */
#define TF_MAX_VCPUS 256u
#define TF_MAX_NODES 64u

struct tf_cpuset {
	uint64_t w[TF_MAX_VCPUS / 64];
};

static inline void cpuset_add(struct tf_cpuset *s, unsigned int i)
{
	s->w[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline bool cpuset_has(const struct tf_cpuset *s, unsigned int i)
{
	return (s->w[i / 64] >> (i % 64)) & 1;
}

#endif
