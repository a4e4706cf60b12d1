#!/bin/bash
# soak.sh [BOOTS]: boots in a row (50), each in the next mode and number of CPUs; stops at the first that is
# not as it should be, and names its logs. Where shadow mode cannot run it says so and boots nested only.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
boots=${1:-${BOOTS:-50}}
out=build/soak
mkdir -p $out

modes=(nested shadow)
if ! why=$(scripts/shadow.sh); then
	modes=(nested)
	echo "skip shadow: $why"
fi
for ((i = 1; i <= boots; i++)); do
	mode=${modes[i % ${#modes[@]}]}
	counts=(1 2 4)
	cpus=${counts[(i / 2) % 3]}
	if ! words=$(scripts/boot.sh "$mode" "$cpus" "$out/boot"); then
		echo "$words"
		for kind in log err json; do
			mv "$out/boot.$kind" "$out/failed.$kind" 2>/dev/null
		done
		echo "FAIL boot $i of $boots ($mode, $cpus CPUs): $out/failed.log, .err, .json"
		exit 1
	fi
	echo "ok boot $i of $boots ($mode, $cpus CPUs, $(jq -r '.wall_seconds * 10 | round / 10' $out/boot.json) s)"
done
echo "$boots boots in a row without one failure"
