/* A GiB that is backed at its first touch: by several vCPUs at once, while the host gives it back,
 * wholly or in parts, and cuts its slot. There is no guest: nested faults alone.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "touch.h"

#include <pthread.h>
#include <stdio.h>

#include "hw.h"

#define CPUS  4u
#define GIB   (UINT64_C(1) << 30)
#define BLOCK (UINT64_C(1) << 21)

struct toucher {
	struct tf_vcpu *v;
	struct rng rng;
	unsigned int rounds;
	bool failed;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;
	struct tf_outcome out;
	struct tf_load load;

	for (unsigned int k = 0; k < t->rounds; k++) {
		uint64_t at = rng_below(&t->rng, GIB) & ~UINT64_C(4095);
		if (tf_vcpu_load(t->v, &load) != TF_OK)
			t->failed = true;
		tf_nested_fault(t->v, gpa(at), TF_WRITE, &out);
		/* (The slot comes and goes.) */
		if (out.end != TF_RESUME && out.end != TF_DEVICE)
			t->failed = true;
	}
	return NULL;
}

/* One change by the host; false: it was refused. */
static bool give_back(struct tf_vm *vm, struct rng *r)
{
	uint64_t block = rng_below(r, GIB / BLOCK - 1) * BLOCK;

	switch (rng_below(r, 4)) {
	case 0:
		return tf_mem_discard(vm, gpa(0), GIB) == TF_OK;
	case 1:
		return tf_mem_discard(vm, gpa(block), BLOCK) == TF_OK;
	case 2:
		return tf_mem_discard(vm, gpa(block), 4096) == TF_OK;
	default:
		return tf_mem_remove(vm, gpa(GIB - BLOCK), BLOCK) == TF_OK &&
		       tf_mem_discard(vm, gpa(0), GIB - BLOCK) == TF_OK &&
		       tf_mem_remove(vm, gpa(0), GIB - BLOCK) == TF_OK &&
		       tf_mem_add(vm, gpa(0), GIB, 0) == TF_OK;
	}
}

bool touch_run(uint64_t seed, unsigned int rounds)
{
	static struct fakehost host;
	struct toucher t[CPUS];
	pthread_t thread[CPUS];
	struct rng r = {seed};
	struct tf_config c = {
		.mode = TF_NESTED,
		.nested = (enum tf_nested_format)(seed % 3),
		.maxphyaddr = 40,
		.vcpus = CPUS,
		.large_backing = true,
		.huge_backing = true,
		.grouping = seed & 1 ? TF_GROUPS_VCPU : TF_GROUPS_ONE,
		.install = seed & 2 ? TF_INSTALL_CAS : TF_INSTALL_LOCK,
	};
	struct tf_counters n;
	struct tf_vm *vm;
	bool good = true;

	fakehost_init_huge(&host, UINT64_C(64) << 20, 1);
	good = tf_vm_create(&host.host, &c, &vm) == TF_OK &&
	       tf_mem_add(vm, gpa(0), GIB, 0) == TF_OK;
	for (unsigned int i = 0; i < CPUS && good; i++) {
		t[i] = (struct toucher){.rng = {seed * 31 + i}, .rounds = rounds};
		good = tf_vcpu_create(vm, i, 0, &t[i].v) == TF_OK;
	}
	for (unsigned int i = 0; i < CPUS && good; i++)
		pthread_create(&thread[i], NULL, touch, &t[i]);
	/* Each has touched it by then, or nearly. */
	do
		tf_counters_read(vm, &n);
	while (good && (n.nested_faults < 2 * CPUS || !n.huge_backed));
	good = good && !n.large_backed; /* nobody has backed a block of it by itself */
	for (unsigned int k = 0; k < rounds / 20 && good; k++)
		good = give_back(vm, &r);
	for (unsigned int i = 0; i < CPUS; i++) {
		pthread_join(thread[i], NULL);
		good = good && !t[i].failed;
	}
	tf_counters_read(vm, &n);
	const char *broken = tf_check(vm);
	tf_vm_destroy(vm);
	good = good && !broken && !fakehost_leaks(&host);
	printf("%s first touches, seed %llu: %llu GiBs, %llu blocks, %llu faults by 1 GiB, %llu by "
	       "2 "
	       "MiB, %llu by 4 KiB%s%s\n",
	       good ? "ok " : "FAILED", (unsigned long long)seed, (unsigned long long)n.huge_backed,
	       (unsigned long long)n.large_backed, (unsigned long long)n.nested_1g,
	       (unsigned long long)n.nested_2m, (unsigned long long)n.nested_4k, broken ? ": " : "",
	       broken ? broken : "");
	fakehost_fini(&host);
	return good;
}
