#!/bin/bash
# unit.sh BINARY...: runs each unit test; says only what failed, and a count.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
failed=0
for t in "$@"; do
	if timeout 300 "$t" >"$t.log" 2>&1; then
		echo "ok $(basename "$t")"
	else
		failed=$((failed + 1))
		echo "FAIL $(basename "$t")"
		grep -vE '^\[ +(OK|RUN) +\]' "$t.log" | tail -n 40
	fi
done
echo "$(($# - failed)) passed, $failed failed"
[ $failed = 0 ]
