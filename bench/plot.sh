#!/bin/bash
# plot.sh [CPUS] [OUT]: draws docs/bench.svg (or OUT) from what bench.sh measured: for each part of the
# workload the time it took, as a multiple of the time without a hypervisor. Needs gnuplot (gnuplot-nox).
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/.."
cpus=${1:-1}
out=${2:-docs/bench.svg}
results=build/bench/results-${cpus}cpu.jsonl
data=build/bench/plot-${cpus}cpu.dat

command -v gnuplot >/dev/null || {
	echo "plot: no gnuplot here (Debian: gnuplot-nox)" >&2
	exit 1
}
[ -s "$results" ] || {
	echo "plot: no $results (make bench measures it)" >&2
	exit 66
}

# A line for each part: its name, then the four ratios of medians. A part that some way lacks is left out.
jq -n -r '
	def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
		else (.[length / 2 - 1] + .[length / 2]) / 2 end;
	[inputs | select(.kind == "work" and .way)] as $runs |
	([$runs[].work[].work] | reduce .[] as $w ([]; if index($w) then . else . + [$w] end)) as $parts |
	def seconds($way; $p): [$runs[] | select(.way == $way) |
		if $p == "boot" then .boot else .work[] | select(.work == $p) | .seconds end] | median;
	["boot", $parts[]][] as $p | seconds("none"; $p) as $none |
	[["nested", "kvm-nested", "shadow", "kvm-shadow"][] | seconds(.; $p)] as $s |
	select($none and ($s | all)) | [$p, ($s[] / $none)] | @tsv' "$results" >"$data"
[ -s "$data" ] || {
	echo "plot: $results does not hold all five ways" >&2
	exit 1
}
under=$(head -n 1 "$results" | jq -r '.machine |
	"QEMU \(.qemu) (TCG, EPYC with SVM) on \(.cpu), \(.cpus) CPUs; guest \(.guest); \(.day)"')
rounds=$(jq -n '[inputs | select(.kind == "work" and .way == "none")] | length' "$results")

gnuplot <<PLOT
set terminal svg size 960,440 font "sans-serif,12" background rgb "white"
set output "$out.new"
set title "Time of each part, as a multiple of no hypervisor ($cpus vCPU, medians of $rounds rounds; lower is better)"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.9 noborder
set logscale y 2
set yrange [0.5:*]
set ytics add ("no hypervisor" 1)
set grid ytics lc rgb "#dddddd"
set border 3
set xtics nomirror
set ytics nomirror
set key outside top center horizontal
set label "$under" at graph 0.5, screen 0.02 center font ",10" textcolor rgb "#666666" noenhanced
set bmargin 4
plot "$data" using 2:xtic(1) title "Twofold nested" lc rgb "#1b6ca8", \
	"" using 3 title "KVM nested" lc rgb "#a9cce3", \
	"" using 4 title "Twofold shadow" lc rgb "#c0392b", \
	"" using 5 title "KVM shadow" lc rgb "#f1b6ae"
PLOT
mv "$out.new" "$out"
echo "$out"
