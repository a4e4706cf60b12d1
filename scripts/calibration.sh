#!/bin/bash
# calibration.sh OUT: starts the hypervisor three times with mode=auto and looks at what it measured of this machine
# (OUT.1.stream and so on). 1 and a line for each thing that is wrong.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
out=$1
cd "$(dirname "$0")/.." || exit 1
bad=0
wrong() {
	bad=1
	echo "$*"
}

for i in 1 2 3; do
	# (The name of no test: the guest ends at once.)
	timeout 60 qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu EPYC,+svm,+npt -smp 1 -m 192M \
		-nodefaults -no-user-config -display none -no-reboot -serial null -serial "file:$out.$i.stream" \
		-kernel build/twofold-hv.elf -append "mode=auto mem=64M" \
		-initrd "build/baretest.elf only=none" </dev/null >"$out.$i.err" 2>&1
	# The guest began and ended as always, so nothing was left behind that it minds.
	jq -es '.[-1] | .ev == "end" and .reason == "debug_exit" and .code == 0' "$out.$i.stream" >/dev/null 2>&1 ||
		wrong "run $i ended otherwise: $(tail -n 1 "$out.$i.stream" | head -c 300)"
	# An exit is far dearer than a miss; a page fault is two exits on shadow tables, an INVLPG one. (What the
	# exit of a CR3 write costs, cheaper misses may make up for.)
	jq -es 'map(select(.ev == "calibration")) | length == 1 and (.[0] | ([.exit, .miss_nested, .miss_shadow, .fault,
		.invlpg, .fill, .ipkc] | all(. > 0)) and .cr3 >= 0 and .miss_nested > .miss_shadow and
		.exit > 3 * .miss_nested and .fault > 2 * .exit and .invlpg > .exit)' \
		"$out.$i.stream" >/dev/null 2>&1 ||
		wrong "run $i: costs that cannot be: $(grep -a '"calibration"' "$out.$i.stream")"
done
# The same machine: the same costs, as far as its host gives it the same share of a CPU core each time.
jq -es '(map(select(.ev == "hello"))[0].tsc_khz) as $khz | map(select(.ev == "calibration")) |
	(map(.cycles) | min) < $khz * 1000 and (map(.exit) | sort | .[1] < 2 * .[0]) and
	(map(.fault) | sort | .[1] < 2 * .[0])' "$out".[123].stream >/dev/null 2>&1 ||
	wrong "three runs do not agree, or none took less than a second"
exit $bad
