#!/bin/bash
# exits.sh [-r] [MACHINE...]: exits for one operation of each part of the workload, in both modes, on each machine as
# --machine names it (qemu bochs-amd bochs-intel): AMD's SVM beside Intel's VMX. Prints one Markdown table. -r: measures
# nothing, prints the last table again.
#
# The kernel is told to do the same on all: no mitigations (which differ by the CPU: with PTI each entry to the kernel
# writes CR3), no random addresses (where the stack begins decides how many pages a fork copies), pages cleared and copied
# in words on all CPUs.
#
# Left in build/bench/: exits-MACHINE-MODE.json, as --stats writes it, and each run's console. Status 1 when a run failed.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
out=build/bench/exits
measure=1
if [ "${1:-}" = -r ]; then
	measure=0
	shift
fi
machines=("${@:-qemu}")
[ $# != 0 ] || machines=(qemu bochs-amd bochs-intel)
words="quiet mitigations=off norandmaps nokaslr clearcpuid=erms,fsrm job=workload args=--count,fork=100,--count,exec=30"
words+=",--count,churn=10,--count,mprotect=300,--count,chase=200000,--count,update=200000,--count,storm=5"
words+=",--count,pipe=500,--count,arith=1000,--count,forks=10"
mkdir -p build/bench
bad=0
files=()
for machine in "${machines[@]}"; do
	for mode in nested shadow; do
		run=$out-$machine-$mode
		files+=("$run.json")
		[ $measure = 1 ] || continue
		BOOT_SECONDS=${BOOT_SECONDS:-900} scripts/boot.sh $mode 1 "$run" "$words" --machine "$machine" || bad=1
	done
done
jq -n -r '
	# Exits of one part by what is behind them: of the work itself, or of clocks and interrupts. (The one by a
	# port is the mark at the end.)
	def part($run; $w): ([$run.marks[] | select(.mark == $w.mark)][0].exits) as $from |
		([$run.marks[] | select(.mark == $w.mark + 128)][0].exits) as $to |
		[$to | to_entries[] | {key, value: (.value - $from[.key])} | select(.value > 0 and .key != "io")] |
		map(.clock = (.key | IN("intr", "nmi", "msr_timer", "msr_eoi", "msr_icr", "hlt", "intr_window")));
	def number: if . == 0 then "0" elif . >= 10 then . * 10 | round / 10 | tostring
		elif . >= 0.1 then . * 100 | round / 100 | tostring else . * 1000000 | round / 1000000 | tostring end;
	def each($w): (map(.value) | add // 0) / $w.count | number;
	[inputs] as $runs | ["nested", "shadow"] as $modes |
	"| one operation of | \([$runs[] | "\(.machine.kind), \(.mode)"] | join(" | ")) |",
	"|---|\("---|" * ($runs | length))",
	(range($runs[0].work | length) as $i | "| \($runs[0].work[$i].work) | \([$runs[] | .work[$i] as $w | part(.; $w) |
		"\(map(select(.clock | not)) | each($w)) + \(map(select(.clock)) | each($w))"] | join(" | ")) |"),
	"", "By kind:",
	($runs[] | . as $run | .work[] | . as $w | "\($run.machine.kind), \($run.mode), \($w.work): \(
		[part($run; $w)[] | "\(.key) \([.] | each($w))"] | join(", "))")
' "${files[@]}" || bad=1
exit $bad
