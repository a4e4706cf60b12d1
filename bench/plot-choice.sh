#!/bin/bash
# plot-choice.sh [NAME] [OUT]: draws build/bench/NAME.svg (choice-1cpu; or OUT) from what choice.sh measured: the
# time of each work in each way, as a multiple of the better of our two modes. Needs gnuplot (gnuplot-nox).
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/.."
name=${1:-choice-1cpu}
out=${2:-build/bench/$name.svg}
results=build/bench/$name.jsonl
data=build/bench/$name.dat

command -v gnuplot >/dev/null || {
	echo "plot: no gnuplot here (Debian: gnuplot-nox)" >&2
	exit 1
}
[ -s "$results" ] || {
	echo "plot: no $results (bench/choice.sh measures it)" >&2
	exit 66
}

# A line for each work: its name, then the ratios of medians, "?" where a way was not measured.
jq -n -r -L bench '
	include "tables";
	[inputs | select(.way)] as $runs |
	[("parts", "steady", "phased", "pairs", "programs") as $set |
		([$runs[] | select(.set == $set) | .work[].work] |
		 reduce .[] as $w ([]; if index($w) then . else . + [$w] end))[] | {set: $set, work: .}][] as $r |
	def med($way): [$runs[] | select(.way == $way and .set == $r.set) | .work[] |
		select(.work == $r.work) | .seconds / .count] | median;
	[med("nested"), med("shadow")] | select(all(. != null)) | min as $ours |
	[$r.work + (if $r.set == "steady" then " (steady)" else "" end)] +
	[("nested", "shadow", "dsp", "cost", "cost-space", "kvm-nested", "kvm-shadow", "none") as $w |
		med($w) | over($ours) // "?"] | @tsv' "$results" >"$data"
[ -s "$data" ] || {
	echo "plot: $results holds no work in both nested and shadow mode" >&2
	exit 1
}
under=$(head -n 1 "$results" | jq -r '.machine |
	"QEMU \(.qemu) (TCG, EPYC with SVM) on \(.cpu), \(.cpus) CPUs; guest \(.guest); \(.day)"')
rounds=$(jq -n '[inputs | select(.way == "nested") | .round] | max' "$results")
cpus=$(jq -n '[inputs | select(.way) | .cpus] | first' "$results")
works=$(wc -l <"$data")
columns=(
	"2 1b6ca8 nested" "3 c0392b shadow" "4 b7950b auto, dsp" "5 1e8449 auto, cost" "6 82e0aa auto, cost, by space"
	"7 a9cce3 KVM nested" "8 f1b6ae KVM shadow" "9 aaaaaa no hypervisor"
)
plot="1 with lines lc rgb '#888888' notitle"
for c in "${columns[@]}"; do
	read -r column colour title <<<"$c"
	# A way that was not measured at all has no place.
	cut -f "$column" "$data" | grep -qv '?' || continue
	plot="$plot, '$data' using $column:xtic(1) title '$title' lc rgb '#$colour'"
done

gnuplot <<PLOT
set terminal svg size $((260 + works * 110)),480 font "sans-serif,12" background rgb "white"
set output "$out.new"
set title "Time of each work, as a multiple of the better of our two modes ($cpus vCPU, medians of $rounds rounds; lower is better)"
set datafile separator "\t"
set datafile missing "?"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.9 noborder
set logscale y 2
set grid ytics lc rgb "#dddddd"
set border 3
set xtics nomirror rotate by -20 noenhanced
set ytics nomirror
set key outside top center horizontal
set label "$under" at graph 0.5, screen 0.02 center font ",10" textcolor rgb "#666666" noenhanced
set bmargin 7
plot $plot
PLOT
mv "$out.new" "$out"
echo "$out"
