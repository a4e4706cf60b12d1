# Steps, for scripts that source this with `logs` (a directory) and `pattern` set: only steps whose names match
# it are made. One line for each, "ok NAME" or "FAIL NAME (log)"; "skip NAME: why" is said aloud; the last line is the
# count, and the status is 1 if anything failed.
#
# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
mkdir -p "$logs"
passed=0
failed=0
skipped=0

# step NAME SECONDS COMMAND...
step() {
	local name=$1 limit=$2 log began
	shift 2
	[[ $name =~ $pattern ]] || return 0
	log=$logs/${name//\//-}.log
	began=$SECONDS
	# (The braces keep bash's own word on a command that died by a signal out of the list.)
	{ timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null; } 2>/dev/null
	case $? in
	0)
		passed=$((passed + 1))
		echo "ok $name ($((SECONDS - began)) s)"
		return
		;;
	124 | 137) echo "(stopped after $limit s)" >>"$log" ;;
	esac
	failed=$((failed + 1))
	echo "FAIL $name ($log)"
	tail -n 15 "$log" | sed 's/^/    /'
}

skip() {
	[[ $1 =~ $pattern ]] || return 0
	skipped=$((skipped + 1))
	echo "skip $1: $2"
}

steps_end() {
	echo "$passed passed, $failed failed$([ $skipped = 0 ] || echo ", $skipped skipped")"
	[ $failed = 0 ]
}
