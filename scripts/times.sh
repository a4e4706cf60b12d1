#!/bin/bash
# times.sh JSON BOCHS: how long a boot on Bochs took, by the numbers that `twofold run --stats` left, and the same machine
# by itself, by what Bochs said: both from power-on to power-off, in the machine's own time. 1 if it is 3 times as long,
# or more.
#
# (The kernel's clocks do not say it: it runs for seconds with interrupts off before it has one that needs none.)
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
with=$(jq '(.start_tsc + .guest_cycles) / .tsc_khz / 1000' "$1") || exit 1
# Ticks of 10 ns.
alone=$(sed -n 's/^0*\([0-9]*\)p.*soft power off$/\1/p' "$2")
awk -v with="$with" -v alone="${alone:-0}" 'BEGIN {
	alone /= 1e8
	if (with <= 0 || alone <= 0) {
		print "what is not known: " with " s, alone " alone " s"
		exit 1
	}
	printf "from power-on to power-off %.1f s, alone %.1f s: times %.2f\n", with, alone, with / alone
	exit with / alone >= 3
}'
