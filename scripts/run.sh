#!/bin/bash
# Boots stock Debian Linux three times, on nested tables, on shadow tables, and on those that are chosen
# as it runs; runs a short workload in it, and prints one table. Where shadow mode cannot run it says so
# and leaves those columns out. Whole consoles and numbers: build/run/.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
out=build/run
mkdir -p $out

columns=
for mode in nested shadow auto; do
	if [ $mode != nested ] && ! why=$(scripts/shadow.sh); then
		echo "skip $mode: $why"
		continue
	fi
	echo "== Debian's $(cat build/kernel/package 2>/dev/null) in $mode mode, 2 CPUs"
	timeout 600 build/twofold run --mode $mode --stats $out/$mode.json --timeout 300 </dev/null |
		tee $out/$mode.log | grep --line-buffered -a '^guest:' | tr -d '\r'
	status=${PIPESTATUS[0]}
	if [ "$status" != 0 ]; then
		tail -n 15 $out/$mode.log
		echo "run: status $status in $mode mode (its console: $out/$mode.log)"
		exit "$status"
	fi
	columns="$columns $out/$mode.json"
done
echo
# shellcheck disable=SC2086 # a list of names without blanks
build/twofold table $columns | tee $out/table.txt
