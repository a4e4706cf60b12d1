/* The hypervisor's own command line: words name=value.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_CMDLINE_H
#define HV_CORE_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twofold/choice.h>

#include "load/nodes.h"

struct cmdline {
	bool shadow;			/* mode=shadow */
	bool automatic;			/* mode=auto: the mode is chosen while the guest runs */
	const struct tf_policy *policy; /* by which: `cost` if not told */
	struct tf_dsp dsp;		/* thresholds of policy=dsp */
	enum tf_grain grain;
	uint64_t seed;		 /* for what the meter does by chance */
	bool trace;		 /* trace=1: send `sample` events */
	uint64_t mem;		 /* mem=, bytes; 0: not told */
	unsigned int cpus;	 /* cpus=, 0: all */
	struct nodes_spec nodes; /* node= and distance= */
	enum tf_grouping groups;
	enum tf_install install;
	unsigned int regroup_ms; /* regroup=, 0: never */
	unsigned int switch_ms;	 /* switch=, 0: never */
	bool verbose;
	unsigned int backing; /* backing=: order of the largest pages behind guest memory */
	bool spare;	      /* spare=1: the boot CPU runs no vCPU (docs/protocol.md) */
	bool recheck;	/* recheck=1: the machine may run INT3s that are gone (docs/protocol.md) */
	bool no_ept_ad; /* ept_ad=0: EPT without accessed and dirty flags, though the CPU has them
			 */
	unsigned int shadow_pages;
	unsigned int hold_s; /* hold=: seconds that the machine stays on after an error */
};

extern struct cmdline cmdline;

/* Cuts the text into its words. Ends the VM with one clear error line on a wrong one. */
void cmdline_parse(char *text);

#endif
