#!/bin/bash
# model.sh [PATTERN]: checks the models of the protocol between groups (tests/spin/*.pml) with spin,
# exhaustively: the protocol has no error, and each mistake that we know of has one. One line for each,
# "ok NAME (states)" or "FAIL NAME: why"; PATTERN: only those whose names match it. Logs: build/model/.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
pattern=${1:-.}
out=$PWD/build/model
passed=0
failed=0

command -v spin >/dev/null || {
	echo "model: no spin here (Debian: spin)" >&2
	exit 69
}
rm -rf "$out"
mkdir -p "$out"

# verify NAME FILE DEFINITIONS...: states and errors in $states and $errors; $why if spin could not say.
# Optimizing pays only where all states are looked at ($opt).
verify() {
	local dir=$out/$1 file=$PWD/tests/spin/$2.pml
	local -a defs=("${@:3}")
	states=
	errors=
	why=
	mkdir -p "$dir"
	(
		cd "$dir" || exit 1
		spin -a "${defs[@]/#/-D}" "$file" && gcc $opt -w -DSAFETY -DCOLLAPSE -DMEMLIM=2000 -o pan pan.c &&
			timeout 300 ./pan -m2000000 -n
	) >"$dir/log" 2>&1 || why="spin or its program failed"
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$dir/log")
	errors=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' "$dir/log")
	! grep -q 'search depth too small\|out of memory' "$dir/log" || why="not exhaustive"
	[ -n "$errors" ] || why=${why:-"no answer"}
}

tell() {
	if [ -z "$2" ]; then
		passed=$((passed + 1))
		echo "ok $1 ($states states)"
	else
		failed=$((failed + 1))
		echo "FAIL $1: $2 ($out/$1/log)"
	fi
}

# holds NAME FILE DEFINITIONS...
holds() {
	[[ $1 =~ $pattern ]] || return 0
	opt=-O2
	verify "$@"
	[ "${errors:-0}" = 0 ] || why="an error was found"
	tell "$1" "$why"
}

# fails NAME FILE DEFINITIONS...: a mistake, which must be found.
fails() {
	[[ $1 =~ $pattern ]] || return 0
	opt=-O0
	verify "$@"
	[ "$errors" = 0 ] || why=
	[ "$errors" != 0 ] || why="the mistake was not found"
	[ -n "$errors" ] || why="no answer"
	tell "$1" "$why"
}

holds remove/2-groups remove
holds remove/3-groups remove GROUPS=3
holds remove/cas remove CAS
fails remove/mistake/address-gone-but-not-leaving remove NO_LEAVING
fails remove/mistake/left-before-the-flush remove LEFT_FIRST
fails remove/mistake/visits-before-the-mark remove VISIT_FIRST
fails remove/mistake/a-group-not-visited remove FORGETS_ONE
fails remove/mistake/freed-before-the-flush remove FREE_FIRST
fails remove/mistake/no-flush remove NO_FLUSH
fails remove/mistake/looks-without-the-block-lock remove PEEKS
fails remove/mistake/host-does-not-pin remove HOST_UNPINNED
fails remove/mistake/cas-no-grace remove CAS NO_GRACE
fails remove/mistake/cas-word-before-section remove CAS SECTION_LATE

holds track/two-trackers track ROLES=3 TRACKS=3 WRITES=3
holds track/one-group track ROLES=2
holds track/two-writers track ROLES=4
holds track/3-groups track ROLES=6 WRITES=1
holds track/host-write track ROLES=3 HOST
holds track/zap track ROLES=3 ZAPS
holds track/zap-of-two track ROLES=5 ZAPS
holds track/removal track ROLES=3 REMOVES
holds track/regroup track ROLES=3 MOVES
holds track/cas track ROLES=3 CAS
fails track/mistake/mark-cleared-before-the-visits track ROLES=4 CLEAR_FIRST
fails track/mistake/mark-while-another-clears-it track ROLES=3 MARK_ANYWAY
fails track/mistake/marked-by-another-is-enough track ROLES=3 MARKED_IS_DONE
fails track/mistake/ticket-not-reset track ROLES=3 TICKET_KEPT
fails track/mistake/ticket-not-looked-at track ROLES=3 NO_TICKET
fails track/mistake/ticket-not-new track ROLES=2 TICKET_FLAG
fails track/mistake/only-own-group-visited track ROLES=3 OWN_GROUP_ONLY
fails track/mistake/no-flush track ROLES=3 NO_FLUSH
fails track/mistake/only-own-group-flushed track ROLES=3 FLUSH_OWN_GROUP
fails track/mistake/flush-only-if-a-leaf-was-found track ROLES=3 FLUSH_IF_FOUND
fails track/mistake/no-read-after-the-flush track ROLES=3 NO_REREAD
fails track/mistake/held-counted-after-the-mark track ROLES=3 HELD_LATE
fails track/mistake/zap-looks-at-no-other-group track ROLES=3 ZAPS ZAP_PLAIN
fails track/mistake/zap-without-untracking track ROLES=3 ZAPS ZAP_NO_UNTRACKING
fails track/mistake/zap-keeps-tickets track ROLES=5 ZAPS ZAP_TICKETS_KEPT
fails track/mistake/host-looks-before-it-writes track ROLES=3 HOST HOST_LOOKS_FIRST
fails track/mistake/host-does-not-wait track ROLES=3 HOST HOST_NO_WAIT
fails track/mistake/taking-loses-untracking track ROLES=3 REMOVES WRITES=1 TAKE_DROPS
fails track/mistake/frame-gone-while-another-unmarks track ROLES=3 REMOVES WRITES=1 LEAVE_DROPS
fails track/mistake/cas-no-grace track ROLES=3 CAS NO_GRACE
fails track/mistake/cas-word-before-section track ROLES=3 CAS SECTION_LATE

holds log/lock log
holds log/cas log CAS WRITES=2 ROUNDS=2
fails log/mistake/mark-after-the-visits log MARK_LATE
fails log/mistake/clean-after-the-visits log CLEAR_LATE
fails log/mistake/no-flush log NO_FLUSH
fails log/mistake/flush-only-if-a-leaf-was-found log FLUSH_IF_FOUND
fails log/mistake/host-marks-before-it-writes log HOST_MARKS_FIRST
fails log/mistake/cas-no-grace log CAS NO_GRACE
fails log/mistake/cas-word-before-section log CAS SECTION_LATE

holds regroup/pages regroup
holds regroup/track regroup TRACKER
fails regroup/mistake/no-flush-when-it-moves regroup MOVE_NO_FLUSH
fails regroup/mistake/joins-after-it-has-the-root regroup JOINS_LATE
fails regroup/mistake/members-read-before-the-unlink regroup SET_EARLY
fails regroup/mistake/group-shown-after-its-first-leaf regroup TRACKER MADE_LATE
fails regroup/mistake/group-freed-under-a-visitor regroup TRACKER GROUP_FREED

echo "$passed passed, $failed failed"
[ $failed = 0 ]
