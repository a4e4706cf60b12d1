/* A model of the hardware: CPUs that run accesses on what tf_vcpu_load() gave them.
 *
 *	guest access --> TLB --> shadow root:  walk x86-64 tables in host memory
 *	                    \--> nested root:  walk guest tables, each step through NPT or EPT
 *	                                       (with A and D, or without)
 *
 * Each CPU has a TLB, a paging-structure cache and (nested) a cache of nested translations. They
 * keep what they have until load.flush, a host flush, or (nested root) the guest's own flush takes
 * it: what hardware may do, the model does. A flush takes what its kinds name and nothing else, as
 * INVVPID and INVEPT do (SDM vol. 3, 29.4.3.1), in either format.
 *
 * A vCPU in shadow mode is *watched*: its writes of CR0, CR3, CR4 and EFER go to the engine
 * whatever root it is on, and the CPU drops nothing for them by itself. Its TLB instructions and
 * page faults go there on a shadow root alone. Host frames that it reaches must be allocated, and
 * may not change between table and data, nor between guest frames, without having been freed.
 *
 * One thread for each CPU is allowed: cpu->guest is held while the CPU is "in the guest", and a
 * flush takes it. The frame registry is per hw and takes part only when hw->checks is set (one
 * thread).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef SUPPORT_HW_H
#define SUPPORT_HW_H

#include <pthread.h>

#include "fakehost.h"
#include "oracle.h"

#define HW_CPUS 8
#define HW_TLB	48
#define HW_PSC	16
#define HW_NTLB 16
#define HW_REFS 64

struct rng {
	uint64_t s;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->s += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return rng_next(r) % n;
}

/* True once in n on average. */
static inline bool rng_one_in(struct rng *r, uint64_t n)
{
	return rng_below(r, n) == 0;
}

struct hw_tlb {
	bool valid, global;
	bool shadow; /* from a shadow root */
	uint16_t pcid;
	uint8_t shift;
	uint8_t guest_shift;   /* of the guest's page, which may be cached in smaller pieces */
	uint64_t va, hpa;      /* of the page */
	uint64_t gpa;	       /* nested only */
	uint32_t gen;	       /* of the host frame */
	struct orights rights; /* of the tables that the CPU walked (guest's or shadow) */
	bool dirty;	       /* leaf D (nested: of both) */
	bool n_w, n_x;	       /* nested rights */
};

/* An upper entry: where the table below lies, and the rights so far. */
struct hw_psc {
	bool valid, nested, shadow; /* neither: of the guest's tables, through a nested root */
	uint8_t level;		    /* of the table it leads to */
	uint16_t pcid;
	uint64_t va, table; /* table: a GPA for one of the guest's */
	uint64_t hpa;	    /* of the table */
	bool w;		    /* the nested tables let the guest's table be written */
	uint32_t gen;	    /* of the host frame */
	struct orights rights;
};

struct hw_ntlb {
	bool valid, w, x, dirty;
	uint8_t shift;
	uint32_t gen;
	uint64_t gpa, hpa;
};

struct hw;

struct hw_cpu {
	struct hw *hw;
	unsigned int index;
	struct tf_vcpu *v;
	struct tf_regs r; /* the guest's, always up to date */
	enum tf_mode want;
	enum tf_mode asked; /* by hw_ask_mode(), from any thread: taken before an entry */
	enum tf_mode taken; /* of what was asked */
	bool spaces;	    /* with hw->spaces: the mode goes by the address space */
	bool loaded;	    /* in the guest, or about to enter without asking again */
	bool loading; /* in tf_vcpu_load(), whose word on the root and on a flush will count */
	bool kicked;  /* leaves soon */
	bool entered; /* .load is from a load since the mode was last set */
	struct tf_load load;
	uint32_t flushes; /* kinds that loads have asked for, since a test cleared it */
	struct rng rng;
	struct hw_tlb tlb[HW_TLB];
	struct hw_psc psc[HW_PSC];
	struct hw_ntlb ntlb[HW_NTLB];
	pthread_mutex_t guest;
	uint64_t exits, walks, hits, gates;
	/* Walks use no cache, and tell the entries that they read: host-physical addresses. */
	bool cold;
	unsigned int refs;
	uint64_t ref[HW_REFS];
};

enum hw_owner {
	HW_UNKNOWN,
	HW_TABLE,
	HW_DATA,
};

struct hw_frame {
	uint8_t owner; /* enum hw_owner */
	uint32_t gen;  /* how often it was freed */
	uint64_t gfn;  /* HW_DATA: once known (else ~0) */
};

struct hw {
	struct fakehost *f;
	struct tf_vm *vm;
	struct tf_config conf;
	unsigned int cpus;
	unsigned int node[HW_CPUS]; /* each vCPU's: round about, unless set before hw_attach() */
	struct hw_cpu cpu[HW_CPUS];
	bool checks;		/* keep the frame registry */
	struct hw_frame *frame; /* by arena frame */
	bool spaces;	  /* each address space has its mode: TF_SHADOW, asked for, means that some
			     have that; a vCPU is watched while it runs one of them */
	char broken[256]; /* the first rule that the engine broke; "" if none */
	bool breaking, is_broken; /* .broken is being, has been written */

	/* The model CPU itself wrote A or D into a guest table, or touched guest memory. */
	void *arg;
	void (*on_ad)(void *arg, uint64_t gpa, unsigned int bytes, uint64_t to);
	void (*on_touch)(void *arg, uint64_t gpa, bool write);
};

static inline bool hw_is_broken(const struct hw *h)
{
	return __atomic_load_n(&h->is_broken, __ATOMIC_SEQ_CST);
}

enum hw_end {
	HW_DONE,
	HW_FAULT, /* #PF for the guest */
	HW_DEVICE,
	HW_NOMEM,
	HW_STUCK,  /* the engine says resume for ever */
	HW_BROKEN, /* hw->broken tells */
	HW_GP,	   /* not canonical */
};

enum hw_op {
	HW_READ,
	HW_WRITE,
	HW_AND, /* locked */
	HW_OR,
	HW_ZERO, /* the whole page */
};

struct hw_result {
	enum hw_end end;
	uint32_t pfec;
	uint64_t cr2, gpa; /* gpa: HW_DEVICE; HW_DONE in nested mode */
	uint64_t hpa;	   /* HW_DONE */
	uint64_t old;	   /* the word before the operation */
	bool was_shadow, from_tlb;
};

void hw_init(struct hw *h, struct fakehost *f, const struct tf_config *conf, unsigned int cpus);
void hw_fini(struct hw *h);
/* After tf_vm_create: create the vCPUs. */
enum tf_status hw_attach(struct hw *h, struct tf_vm *vm, const struct tf_regs *r, uint64_t seed);

/* Leave the guest, as for an exit that changes nothing: the next access asks for a load. */
void hw_leave(struct hw_cpu *c);

/* Be in the guest, as far as tf_vcpu_load() can tell (cpu->load). False: no memory for a root. */
bool hw_enter(struct hw_cpu *c);

/* One access of 8 (32-bit paging: still 8) aligned bytes, exits and all. */
struct hw_result hw_access(struct hw_cpu *c, uint64_t va, uint32_t flags, enum hw_op op,
			   uint64_t operand);
/* Walk and fill caches as a CPU may at any time; never faults, never exits. */
void hw_speculate(struct hw_cpu *c, uint64_t va, uint32_t flags);
/* Lose some cached entries, as a CPU may at any time. */
void hw_evict(struct hw_cpu *c);

/* What the guest does to its control state; exits where the host would intercept. False: the vCPU
 * could not enter the guest (no memory for a root), so nothing was done. */
bool hw_write_cr3(struct hw_cpu *c, uint64_t val);
bool hw_write_cr4(struct hw_cpu *c, uint64_t val);
bool hw_write_cr0(struct hw_cpu *c, uint64_t val);
bool hw_write_efer(struct hw_cpu *c, uint64_t val);
void hw_write_pkru(struct hw_cpu *c, uint32_t val);
bool hw_invlpg(struct hw_cpu *c, uint64_t va);
bool hw_invpcid(struct hw_cpu *c, unsigned int type, uint16_t pcid, uint64_t va);
/* The host: other mode; or all registers at once (INIT). */
void hw_set_mode(struct hw_cpu *c, enum tf_mode m);
/* Other mode for the whole VM: each vCPU is kicked and takes it by itself before an entry to come.
 */
void hw_ask_mode(struct hw *h, enum tf_mode m);
void hw_set_regs(struct hw_cpu *c, const struct tf_regs *r);
/* The engine gave a frame away for good (discard, remove): it may be another's next time. */
void hw_forget_gfn(struct hw *h, uint64_t gfn);

#endif
