/* Work for 32-bit modes: a list of steps that 64-bit code prepares and checks, and 32-bit code
 * (legacy/script.c) runs with paging set as asked. SPDX-License-Identifier: BSD-2-Clause */
#ifndef BARETEST_SCRIPT_H
#define BARETEST_SCRIPT_H

#include <stdint.h>

enum step_what {
	STEP_END,
	STEP_READ,   /* word at va: got */
	STEP_WRITE,  /* value to the word at va */
	STEP_FETCH,  /* call va (a RET there) */
	STEP_INVLPG, /* va */
	STEP_CR3,    /* load value */
	STEP_CR0,
	STEP_CR4,
};

struct step {
	uint32_t what, va, value;
	uint32_t vec, err, cr2, got; /* results; vec 0xff: no fault */
};

struct script {
	uint32_t cr0, cr3, cr4, efer; /* to run with; PG in cr0 */
	struct step *steps;	      /* last: 32-bit code reads its low half */
};

#ifdef __x86_64__
/* Leave long mode, run the script, come back with CR3 and CR4 as given. Interrupts off. */
void script_run(struct script *s, uint64_t cr3_after, uint64_t cr4_after);
#endif

#endif
