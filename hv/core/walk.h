/* A stop of the guest, at which a walk is explained (event `walk` on COM2); then the VM ends.
 *
 * What is asked for is on the command line (docs/protocol.md): `walk=` an address or the register
 * that holds one, `walk_when=` the exit to wait for, `walk_as=` the access. If the VM ends before,
 * the walk is explained right then.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_WALK_H
#define HV_CORE_WALK_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* Which exit to wait for. */
enum walk_when {
	WALK_MAPPED, /* the first at which the guest's tables map the address */
	WALK_USER,   /* ... by a page that a user may access */
	WALK_MARK,   /* the guest wrote byte walk.n to port 0xf5 */
	WALK_MS,     /* the first after that many milliseconds of the guest's time */
};

struct walk_wish {
	bool wanted;
	const char *where; /* as it was asked for */
	int gpr;	   /* enum of core/vcpu.h; WALK_RIP, WALK_CR2; WALK_ADDRESS: it is */
	uint64_t address;
	enum walk_when when;
	uint64_t n;
	uint32_t flags; /* TF_WRITE, TF_FETCH */
};

enum { WALK_ADDRESS = -1, WALK_RIP = -2, WALK_CR2 = -3 };

extern struct walk_wish walk;

/* Take a word of the command line. False: it is none of ours, or wrong. */
bool walk_parse(const char *word);

/* The guest on this CPU made a mark. */
void walk_mark(struct vcpu *v, uint8_t mark);
/* An exit was handled: explains the walk and ends the VM, if it is the one. Own CPU. */
void walk_exit(struct vcpu *v);
/* The VM ends, all vCPUs are out of the guest: explains the walk if that was not done. */
void walk_end(struct vcpu *v);

#endif
