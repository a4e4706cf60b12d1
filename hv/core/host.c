/* struct tf_host on bare metal: pages from the pools, flushes and kicks by interrupt.
 *
 * A flush sets REQ_FLUSH and then looks where the CPU is. Entering the guest is the other order:
 *the CPU says "guest" and then looks at its requests (virt/run.c). So either it sees the request,
 *or we see it in the guest and interrupt it:
 *
 *	flusher                         entering CPU
 *	requests |= REQ_FLUSH           where = WHERE_GUEST
 *	(full barrier)                  (full barrier)
 *	where == WHERE_GUEST? send      requests & REQ_FLUSH? flush first
 *
 * A CPU outside the guest counts as flushed: it takes no lock to get there and needs none to
 *answer.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/host.h"

#include "core/string.h"
#include "core/vm.h"
#include "cpu/apic.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "mem/pages.h"

static enum tf_status host_page_alloc(struct tf_host *h, unsigned int node, unsigned int order,
				      enum tf_use use, hpa_t *out)
{
	uint64_t pa = pages_alloc(node, order);

	(void)h;
	if (!pa)
		return TF_E_NOMEM;
	if (use == TF_USE_FRAME)
		memset((void *)(uintptr_t)pa, 0, (size_t)TF_PAGE_SIZE << order);
	*out = hpa(pa);
	return TF_OK;
}

static void host_page_free(struct tf_host *h, unsigned int order, hpa_t a)
{
	(void)h;
	pages_free(a.v, order);
}

static void post(struct vcpu *v, uint32_t req)
{
	__atomic_fetch_or(&v->requests, req, __ATOMIC_SEQ_CST);
}

static uint32_t where(const struct vcpu *v)
{
	return __atomic_load_n(&v->where, __ATOMIC_SEQ_CST);
}

/* Out of the guest. An NMI that finds it asleep in the host would not wake it, but then it has seen
 * the request. */
static void kick_out(const struct vcpu *v)
{
	if (vm.kick_by_nmi)
		apic_send_nmi(v->host_apic_id);
	else
		apic_send(v->host_apic_id, VECTOR_KICK);
}

void vcpu_request(struct vcpu *v, uint32_t req)
{
	uint32_t at;

	post(v, req);
	at = where(v);
	if (v == vcpu_this())
		return;
	if (at == WHERE_GUEST)
		kick_out(v);
	else if (at == WHERE_IDLE)
		apic_send(v->host_apic_id, VECTOR_KICK);
}

static void host_flush(struct tf_host *h, const struct tf_cpuset *vcpus, uint32_t kinds)
{
	struct vcpu *me = vm.start_tsc ? vcpu_this() : NULL;
	struct vcpu *v;

	uint32_t requests = 0;

	(void)h;
	if (kinds & TF_FLUSH_LINEAR)
		requests |= REQ_FLUSH_LINEAR;
	if (kinds & TF_FLUSH_NESTED)
		requests |= REQ_FLUSH_NESTED;
	for (unsigned int i = 0; i < vm.cpus; i++) {
		v = vm.vcpu[i];
		if (!cpuset_has(vcpus, i) || !v)
			continue;
		if (v == me) {
			v->flush |= kinds;
			continue;
		}
		post(v, requests);
		if (where(v) == WHERE_GUEST)
			kick_out(v);
	}
	for (unsigned int i = 0; i < vm.cpus; i++) {
		v = vm.vcpu[i];
		if (!cpuset_has(vcpus, i) || !v || v == me)
			continue;
		uint64_t sent = x86_rdtsc();
		while (where(v) == WHERE_GUEST &&
		       (__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST) & requests)) {
			x86_pause();
			/* An emulator's CPU may miss an interrupt that comes as it leaves the
			 * guest. */
			if (x86_rdtsc() - sent > vm.tsc_khz) {
				kick_out(v);
				sent = x86_rdtsc();
			}
		}
	}
}

static void host_kick(struct tf_host *h, unsigned int vcpu)
{
	(void)h;
	vcpu_request(vm.vcpu[vcpu], REQ_KICK);
}

static uint64_t host_cycles(struct tf_host *h)
{
	(void)h;
	return x86_rdtsc();
}

static _Noreturn void host_panic(struct tf_host *h, const char *file, int line, const char *what)
{
	(void)h;
	hv_panic(file, line, what);
}

struct tf_host hv_host = {
	.page_alloc = host_page_alloc,
	.page_free = host_page_free,
	.flush = host_flush,
	.kick = host_kick,
	.cycles = host_cycles,
	.panic = host_panic,
	.linear = 0,
};
