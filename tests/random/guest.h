/* The guest operating system that the generator plays: its addresses, its tables, its flushes; and
 * the larger operations that gen.c draws from.
 *
 * The guest edits its tables by virtual address (the direct map), so that the engine sees the
 * writes as it would a kernel's.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef RANDOM_GUEST_H
#define RANDOM_GUEST_H

#include "world.h"

#define WORDS	       (TF_PAGE_SIZE / 8)
#define GUEST_SELF_TOP 300u

static inline uint64_t below(struct world *w, uint64_t n)
{
	return rng_below(&w->rng, n);
}

static inline bool one_in(struct world *w, uint64_t n)
{
	return rng_one_in(&w->rng, n);
}

/* ---- addresses ---- */

/* The address bits of an index at a level. */
uint64_t guest_level_bits(unsigned int level, uint64_t index);
/* A user address: few of them, so that tables are shared and reused. */
uint64_t guest_user_va(struct world *w);
/* An address of the pages that all address spaces share. */
uint64_t guest_kernel_va(struct world *w);
/* Is it in those kernel tables in which every leaf is global, as most of a real kernel's are? */
bool guest_is_global(uint64_t kva);
/* Where the self-map shows the entry of `level` for va. */
uint64_t guest_self_va(struct world *w, uint64_t va, unsigned int level);
uint64_t guest_some_va(struct world *w);

/* ---- entries ---- */

uint64_t guest_some_frame(struct world *w);
uint64_t guest_flags_of(struct world *w, bool leaf);
/* An entry for a level that maps memory. */
uint64_t guest_some_leaf(struct world *w, unsigned int level);

/* ---- the guest's writes to its tables ---- */

bool guest_set_entry(struct world *w, unsigned int cpu, uint64_t at, uint64_t val);
bool guest_and_entry(struct world *w, unsigned int cpu, uint64_t at, uint64_t mask);
/* A zeroed page for a table; 0: none. */
uint64_t guest_new_table(struct world *w, unsigned int cpu);
void guest_free_table(struct world *w, uint64_t at);
/* Where the entry of `level` for va lies; 0: there is no table of that level. */
uint64_t guest_entry_of(struct world *w, uint64_t root, uint64_t va, unsigned int level);
/* The same, making tables that are missing. */
uint64_t guest_make_entry(struct world *w, unsigned int cpu, uint64_t root, uint64_t va,
			  unsigned int level);
uint64_t guest_some_root(struct world *w, unsigned int cpu);
/* One access that changes nothing but A and D. */
void guest_use(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags);

/* ---- flushes ---- */

/* Has the vCPU CR4.PCIDE set? */
bool guest_has_pcids(const struct world *w, unsigned int cpu);
uint64_t guest_cr3_of(struct world *w, unsigned int cpu, unsigned int space);
void guest_cr3(struct world *w, unsigned int cpu, unsigned int space, bool keep);
void guest_invlpg(struct world *w, unsigned int cpu, uint64_t va);
void guest_cr4(struct world *w, unsigned int cpu, uint64_t val);
void guest_invpcid(struct world *w, unsigned int cpu, unsigned int type, uint16_t pcid,
		   uint64_t va);
/* CR4.PCIDE the other way, by way of PCID 0. */
void guest_toggle_pcids(struct world *w, unsigned int cpu);
/* One that covers va, or everything. */
void guest_flush(struct world *w, unsigned int cpu, uint64_t va);
/* The guest's page-fault handler: map something, perhaps flush, and try again. */
void guest_mend(struct world *w, unsigned int cpu, uint64_t va, uint32_t flags);

/* ---- operations: of the choice (gen_choice.c), the host's (gen_host.c), and on whole tables
 * (gen_tables.c) ---- */

/* One vCPU in the other mode. */
void op_mode(struct world *w, unsigned int cpu);
/* One vCPU leaves shadow tables for a while. */
void op_away(struct world *w, unsigned int cpu);
/* What is due in this step: samples, readings, a look at what was given. */
void op_choice(struct world *w, unsigned int cpu);
void op_dirty(struct world *w);
void op_accessed(struct world *w, unsigned int i);
void op_discard(struct world *w);
void op_slot(struct world *w);
/* Give frames back; they read as zeroes. */
void host_discard(struct world *w, uint64_t first, uint64_t n);
void op_host_write(struct world *w, unsigned int cpu);
void op_stale(struct world *w, unsigned int cpu);
void op_regroup(struct world *w);
void op_kernel(struct world *w, unsigned int cpu);
void op_large(struct world *w, unsigned int cpu);
void op_edit_upper(struct world *w, unsigned int cpu);
void op_fork(struct world *w, unsigned int cpu);
void op_exit(struct world *w, unsigned int cpu);
void op_two_roots(struct world *w, unsigned int cpu);

#endif
