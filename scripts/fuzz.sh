#!/bin/bash
# fuzz.sh SECONDS BINARY...: runs each fuzzer for so long. What it found stays in build/fuzz/NAME/, and so
# does the corpus, for the next time.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
seconds=$1
shift
failed=0
for f in "$@"; do
	name=$(basename "$f")
	dir=build/fuzz/$name
	mkdir -p "$dir/corpus"
	if timeout $((seconds + 120)) "$f" -max_total_time="$seconds" -timeout=20 -print_final_stats=1 \
		-artifact_prefix="$dir/" "$dir/corpus" >"$dir/log" 2>&1; then
		echo "ok $name: $(sed -n 's/^stat::number_of_executed_units: //p' "$dir/log") inputs in $seconds s"
	else
		failed=$((failed + 1))
		echo "FAIL $name ($dir/log)"
		tail -n 30 "$dir/log"
	fi
done
[ $failed = 0 ]
