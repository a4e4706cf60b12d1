#!/bin/bash
# duel.sh [OPTION...] A B [CHOICE-OPTION...]: two ways of bench/choice.sh at the same time, each on a CPU of its own, which they
# exchange from round to round; the ratio B/A of each work in each round, and its median. What the host of this machine
# takes away, it takes from both: such ratios vary less than those of runs one after the other. Of B's phased
# work also: when it came to the mode that the phase is faster in (shadow for chase and update, nested for the
# others) where it was not in it, and switches that were wrong.
#
#   -n ROUNDS   (4; best an even number)
#   -b DIR      B is run in this other clone of the project, for its two versions to be compared
#   -r          measures nothing: prints the results that are there
#
#   bench/duel.sh nested cost-space -S phased -a --count,phased=3
#   bench/duel.sh -n 6 cost cost-space -S pairs
#
# Left in build/bench/: duel-A-B-ROUND-{a,b}.jsonl. Status 1 when a run failed.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
rounds=4
other=.
measure=1
while getopts :n:b:r option; do
	case $option in
	n) rounds=$OPTARG ;;
	b) other=$OPTARG ;;
	r) measure=0 ;;
	*) echo "duel: no such option (its head tells them)" >&2 && exit 64 ;;
	esac
done
shift $((OPTIND - 1))
if [ $# -lt 2 ] || ! [[ $rounds =~ ^[1-9][0-9]{0,2}$ ]]; then
	echo "duel: give two ways, such as nested cost-space (its head tells more)" >&2
	exit 64
fi
a=$1 b=$2
shift 2
if ! [ -x "$other/bench/choice.sh" ]; then
	echo "duel: -b $other: no clone of the project" >&2
	exit 66
fi
if [ "$(nproc)" -lt 2 ]; then
	echo "duel: two CPUs are needed" >&2
	exit 69
fi
bad=0
name=duel-$a-$b

if [ $measure = 1 ]; then
	for ((i = 1; i <= rounds; i++)); do
		echo "round $i of $rounds" >&2
		taskset -c $((i % 2)) bench/choice.sh -n 1 "${@}" -w "$a" -o "$name-$i-a" >/dev/null 2>&1 &
		first=$!
		taskset -c $(((i + 1) % 2)) "$other/bench/choice.sh" -n 1 "${@}" -w "$b" -o "$name-$i-b" >/dev/null 2>&1 || bad=1
		wait $first || bad=1
	done
fi
for ((i = 1; i <= rounds; i++)); do
	jq -c --argjson i "$i" '. + {duel: $i, who: "a"}' "build/bench/$name-$i-a.jsonl"
	jq -c --argjson i "$i" '. + {duel: $i, who: "b"}' "$other/build/bench/$name-$i-b.jsonl"
done | jq -rs -L bench --arg a "$a" --arg b "$b" 'include "tables";
	def round3: . * 1000 | round / 1000;
	[.[] | select(.work) | .set as $set | .duel as $duel | .who as $who | .work[] |
		{key: "\($set).\(.work)", $duel, $who,
		 value: (if $set == "steady" then .seconds / .count * 1e6 else .seconds end)}] |
	group_by(.key)[] | .[0].key as $key |
	[group_by(.duel)[] | {(.[0].who): .[0].value, (.[1].who // "none"): .[1].value} | select(.a and .b)] |
	select(length > 0) |
	"\($key)  \($a) \(map(.a) | median | round3)  \($b) \(map(.b) | median | round3)  \($b)/\($a) \(map(.b / .a) | median | round3)  rounds \(map(.b / .a | round3) | join(" "))"'
case $b in
*cost* | *dsp*)
	for ((i = 1; i <= rounds; i++)); do
		jq -c 'select(.set == "phased")' "$other/build/bench/$name-$i-b.jsonl"
	done | jq -rs -L bench 'include "tables"; include "decisions";
		map((if .grain == "space" then
			(stretches | map(select(.mark >= 27 and .mark <= 30))) as $s |
			decisions_of(busiest($s[0].from; $s[-1].to)) else decisions end) |
			map(select(.mark >= 27 and .mark <= 30) |
				judged(if .mark % 2 == 0 then "shadow" else "nested" end))) | add // [] |
		select(length > 0) | . as $all | [.[].late | numbers] as $late |
		"decisions: \($late | length) in \(length) phases, median \($late | median // 0 | round) ms, " +
		"\([$late[] | select(. <= 250)] | length) within 250 ms, latest \($late | max // 0 | round) ms, " +
		"\([$all[] | select(.late == "never")] | length) never, \([$all[].wrong] | add) wrong"'
	;;
esac
exit $bad
