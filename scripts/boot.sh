#!/bin/bash
# boot.sh MODE CPUS OUT [APPEND [OPTION...]]: boots the stock kernel with our small user space and looks whether all is
# as it should be, within BOOT_SECONDS (300); with --switch-every among the options, whether it ran in both modes; with --backing 1G,
# whether it had such pages. The guest's console stays in OUT.log, the numbers in OUT.json. 1 and a line for each
# thing that is wrong.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
mode=$1
cpus=$2
out=$3
append=${4:-job=off}
shift $(($# < 4 ? $# : 4))
build=$(dirname "$0")/../build
mkdir -p "$(dirname "$out")"

limit=${BOOT_SECONDS:-300}
timeout $((limit + 100)) "$build/twofold" run --mode "$mode" --cpus "$cpus" --stats "$out.json" --timeout "$limit" \
	--append "$append" "$@" </dev/null >"$out.log" 2>"$out.err"
status=$?
bad=0
wrong() {
	bad=1
	echo "boot in $mode mode, $cpus CPUs: $*"
}

[ $status = 0 ] || wrong "status $status: $(tail -n 8 "$out.err")"
grep -aqE "^guest: up at .* s, $cpus CPU" "$out.log" ||
	wrong "not up with $cpus CPUs: $(grep -a '^guest: up' "$out.log")"
# (The kernel's own words may come before the end of this line.)
grep -aq '^guest: powering' "$out.log" || wrong "did not reach its power-off"
! grep -aE '^guest: kernel says' "$out.log" || wrong "the kernel complains"
! grep -aE '^guest: .* ended with status [^0]' "$out.log" || wrong "the workload failed"
[[ $append == *job=off* ]] || grep -aq '^guest: workload ended with status 0' "$out.log" ||
	wrong "the workload did not end"
[ ! -s "$out.err" ] || wrong "words on standard error: $(head -n 3 "$out.err")"
jq -e --arg mode "$mode" '.mode == $mode and .reason == "poweroff" and .boot_cycles > 0 and
	.guest_seconds > 0 and .table_pages > 0 and (.exits | length) > 0 and
	(.backing != "1G" or (.huge_backed > 0 and .nested_1g > 0)) and
	if .switch_ms > 0 then .switches > 1 and .vcpu_switches > .cpus and .shadow_faults > 0 and
		.nested_faults > 0 and .switch_cycles_max > 0 and (.regroup_ms == 0 or .regroups > 0)
	elif $mode == "auto" then .meter_windows > 0 and .meter_cycles > 0 and .mode_cycles.nested > 0 and
		.calibration.exit > 0 and (.policy != "random" or ((.switch_list | length) > 1 and .mode_cycles.shadow > 0))
	elif $mode == "shadow" then .shadow_faults > 0 else .nested_faults > 0 end' "$out.json" >/dev/null ||
	wrong "numbers that cannot be ($out.json)"
exit $bad
