#!/bin/bash
# workload.sh BUILD: the workload's phases, pairs and repetitions, small, run here without a guest, and what the
# bench makes of marks and switches. Prints what is wrong; then the status is 1.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
workload=$1/workload
bad=0

wrong() {
	echo "workload: $*"
	bad=1
}

# says WHAT FILTER ARGS...: is FILTER true of the array of lines that the workload prints?
says() {
	local what=$1 filter=$2 out
	shift 2
	out=$(timeout 60 "$workload" --no-marks "$@") || wrong "$what: status $?"
	jq -e -s "$filter" <<<"$out" >/dev/null || wrong "$what: $out"
}

says "two rounds of phases" '
	([.[] | select(.phase)] | length) == 8 and ([.[] | select(.phase) | .round] == [1, 1, 1, 1, 2, 2, 2, 2]) and
	(([.[] | select(.phase) | .seconds] | add) - .[-1].seconds | fabs < 0.001) and
	([.[] | select(.work) | [.work, .count]] == [["phased.fork", 10], ["phased.chase", 2000],
		["phased.churn", 2], ["phased.update", 2000], ["phased", 2]]) and
	(([.[] | select(.work)][:4] | map(.seconds) | add) - .[-1].seconds | fabs < 0.001)' \
	--count phased=2 --count phased.fork=5 --count phased.chase=1000 --size phased.chase=64 \
	--count phased.churn=1 --count phased.update=1000 --size phased.update=64 phased
for misser in pair.chase pair-update.update; do
	p=${misser%.*}
	says "$p" '[.[] | [.work, .count]] == [["'$misser'", 2000], ["'"$p"'.fork", 10], ["'"$p"'", 2]] and
		.[2].seconds >= ([.[0].seconds, .[1].seconds] | max)' \
		--count $misser=1000 --size $misser=64 --count "$p.fork=5" "$p::2"
done
says "repeated for a time" '([.[].seconds] | min >= 0.1) and
	([.[] | select(.work != "storm" and .work != "forks") | .count] | map(. % 7) | add) == 0 and
	([.[] | (.per_second - .count / .seconds) / .per_second | fabs < 0.001] | all) and
	([.[] | select(.count > 7)] | length) == length' \
	--seconds 0.1 fork::7 churn:4:7 mprotect:4:7 chase:64:7 update:64:7 storm:4:7 pipe::7 arith::7 forks:4:7
says "sizes on the spot" '[.[] | [.size, .count]] == [[16, 20], [32768, 30], [64, 40]]' \
	--count chase=40 chase:16:20 chase::30 chase:64
for usage in "fork:3" "chase:x" "chase::0" "--seconds 0" "nosuch" "pair.none"; do
	# shellcheck disable=SC2086 # words
	timeout 10 "$workload" --no-marks $usage >/dev/null 2>&1
	[ $? = 64 ] || wrong "'$usage' is taken"
done

# A phase on nested tables that shadow suits better: decided after 100 ms, changed back and forth at 300 and
# 400 ms; then one that nested suits, begun on shadow, never changed; one begun right, left for 50 ms.
jq -n -L bench 'include "decisions";
	def sw($tsc; $from; $to): {tsc: $tsc, grain: "vm", $from, $to, why: "test"};
	{tsc_khz: 1, marks: [{mark: 1, tsc: 0}, {mark: 27, tsc: 1000}, {mark: 155, tsc: 2000},
		{mark: 28, tsc: 2000}, {mark: 156, tsc: 3000}, {mark: 27, tsc: 3000}, {mark: 155, tsc: 4000},
		{mark: 28, tsc: 5000}],
	 switch_list: [sw(3550; "nested"; "shadow"), sw(1100; "nested"; "shadow"), sw(1300; "shadow"; "nested"),
		sw(1400; "nested"; "shadow"), sw(3500; "shadow"; "nested"),
		{tsc: 1200, grain: "space", space: 4096, from: "nested", to: "shadow"}]} |
	[decisions[] | judged(if .mark == 27 then "shadow" else "nested" end)] |
	[.[] | [.mark, .began, .late, .wrong, (.switches | length), (.share * 100 | round)]]' -c >"$1/decisions.out"
cat >"$1/decisions.want" <<'WANT'
[[27,"nested",100,2,3,80],[28,"shadow","never",0,0,100],[27,"shadow",null,1,2,95]]
WANT
cmp -s "$1/decisions.out" "$1/decisions.want" || wrong "decisions: $(cat "$1/decisions.out")"
[ $bad = 0 ]
