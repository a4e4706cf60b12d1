/* What the engine asks of its host: pages, pointers, flushes, a kick, a clock, a panic. No more.
 *
 * The host fills a struct tf_host once and keeps it for the VM's life. Every call may come from any
 * CPU that runs a vCPU, with engine locks held: none may call back into the engine. `flush` and
 * `kick` must not wait for a CPU that waits for an engine lock, so a host counts a vCPU that is
 * outside the guest as flushed (and really flushes it before it enters again).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef TWOFOLD_HOST_H
#define TWOFOLD_HOST_H

#include <twofold/status.h>
#include <twofold/types.h>

enum {
	TF_ORDER_4K = 0,
	TF_ORDER_2M = 9,
	TF_ORDER_1G = 18,
};

/* What a page is for. */
enum tf_use {
	TF_USE_FRAME, /* guest memory: the host gives it zeroed */
	TF_USE_TABLE, /* tables and bookkeeping: contents undefined, the engine clears them */
};

/* Which translations a flush is about: a set of these. On a CPU that keeps both under one tag (AMD:
 * the ASID) either means all. */
enum {
	/* By linear address, for this vCPU: from shadow tables, and from the guest's own tables
	 * through a nested one. Intel: INVVPID of the vCPU's VPID. */
	TF_FLUSH_LINEAR = 1u << 0,
	/* Whatever came through a nested table: by guest-physical address, and by linear address
	 * from the guest's own tables. Of every nested root of the VM that the vCPU has run on: one
	 * that changes its group leaves a root behind. Intel: INVEPT; what came from shadow tables
	 * may stay. */
	TF_FLUSH_NESTED = 1u << 1,
	TF_FLUSH_ALL = TF_FLUSH_LINEAR | TF_FLUSH_NESTED,
};

struct tf_host {
	/* Allocate 2^order pages, aligned to their size, preferably on host node `node`. Order is
	 * TF_ORDER_4K or TF_ORDER_2M; the latter may fail while the former would not. With
	 * tf_config.huge_backing also TF_ORDER_1G: from that node or not at all. It comes back as
	 * its 512 pages of TF_ORDER_2M, each at its own time. */
	enum tf_status (*page_alloc)(struct tf_host *h, unsigned int node, unsigned int order,
				     enum tf_use use, hpa_t *out);
	void (*page_free)(struct tf_host *h, unsigned int order, hpa_t a);

	/* Make every vCPU of the set forget its translations of these kinds (TF_FLUSH_*; more is
	 * allowed), and return only when none of them can use an old one any more. The calling vCPU
	 * may be in the set. A kind that a vCPU is not using now (it runs on the other kind of
	 * root) must go before it uses it again. A vCPU that was flushed calls tf_vcpu_load() again
	 * before it enters the guest: the root that it had been given may be gone. So a host marks
	 * itself "entering", then calls tf_vcpu_load(), then looks whether a flush was asked for,
	 * and if so starts again. */
	void (*flush)(struct tf_host *h, const struct tf_cpuset *vcpus, uint32_t kinds);

	/* Make one vCPU leave the guest soon; does not wait. */
	void (*kick)(struct tf_host *h, unsigned int vcpu);

	/* A monotonic cycle count, for counters only. */
	uint64_t (*cycles)(struct tf_host *h);

	/* An invariant is broken: never returns. */
	void (*panic)(struct tf_host *h, const char *file, int line, const char *what)
		__attribute__((noreturn));

	/* The pointer to host-physical address A is (linear + A), for every page from page_alloc.
	 */
	uintptr_t linear;
};

static inline void *tf_host_ptr(const struct tf_host *h, hpa_t a)
{
	return (void *)(h->linear + (uintptr_t)a.v);
}

#endif
