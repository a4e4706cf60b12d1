#!/bin/bash
# plot-groups.sh [NODES] [OUT]: draws docs/groups-storms.svg (or OUT) from what groups.sh measured: the time
# that each storm took, as a multiple of its time with one group, and the CPUs' time that went into waiting
# for locks. Needs gnuplot (gnuplot-nox).
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/.."
nodes=${1:-2}
out=${2:-docs/groups-storms.svg}
results=build/bench/groups-${nodes}nodes.jsonl
data=build/bench/plot-groups-${nodes}nodes.dat

command -v gnuplot >/dev/null || {
	echo "plot-groups: no gnuplot here (Debian: gnuplot-nox)" >&2
	exit 1
}
[ -s "$results" ] || {
	echo "plot-groups: no $results (make bench-groups measures it)" >&2
	exit 66
}

# A line for each storm and mode: its name, the times of the four ways, then their lock waits. "?": none.
jq -n -r -L bench '
	include "tables";
	[inputs | select(.way)] as $runs |
	["storm", "forks"][] as $p | ["nested", "shadow"][] as $mode |
	def of($way): [$runs[] | select(.mode == $mode and .way == $way)];
	def seconds($way): [of($way)[] | .[$p].told.seconds] | median;
	def wait($way): [of($way)[] | .cpus as $n | .[$p] |
		100 * (.end.engine.lock_wait_cycles - .begin.engine.lock_wait_cycles) /
		($n * (.end.tsc - .begin.tsc))] | median;
	["one", "vcpu", "node", "node-cas"] as $ways |
	select(seconds("one")) |
	["\({storm: "touching", forks: "forking"}[$p]),\\n\($mode)",
	 ($ways[] as $w | seconds($w) | over(seconds("one")) // "?"), ($ways[] as $w | wait($w) // "?")] |
	@tsv' "$results" | tr '\t' ';' | sed 's/\\\\n/\\n/' >"$data"
[ -s "$data" ] || {
	echo "plot-groups: $results holds no run with one group" >&2
	exit 1
}
under=$(head -n 1 "$results" | jq -r '.machine |
	"QEMU \(.qemu) (TCG, EPYC with SVM) on \(.cpu), \(.cpus) CPUs; guest \(.guest); \(.day)"')
what=$(jq -n -r '[inputs | select(.way)] | "\(.[0].cpus) vCPUs on \(.[0].nodes) nodes, medians of \([.[].round] | max) rounds"' "$results")

gnuplot <<PLOT
set terminal svg size 960,440 font "sans-serif,12" background rgb "white"
set output "$out.new"
set datafile separator ";"
set datafile missing "?"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.9 noborder
set grid ytics lc rgb "#dddddd"
set border 3
set xtics nomirror
set ytics nomirror
set yrange [0:*]
set xrange [-0.6:*]
set key at screen 0.5, screen 0.09 center center horizontal maxrows 1
set label "$under" at screen 0.5, screen 0.02 center font ",10" textcolor rgb "#666666" noenhanced
set multiplot layout 1,2 title "Storms in a guest, its CPUs grouped four ways ($what; lower is better)" \
	margins 0.06, 0.98, 0.24, 0.84 spacing 0.07
set title "time, as a multiple of one group"
plot "$data" using 2:xtic(1) title "one" lc rgb "#8d99a6", "" using 3 title "vcpu" lc rgb "#e0a030", \
	"" using 4 title "node" lc rgb "#1b6ca8", "" using 5 title "node, cas" lc rgb "#a9cce3"
unset label
unset key
set title "waiting for locks, % of the CPUs' time"
plot "$data" using 6:xtic(1) title "one" lc rgb "#8d99a6", "" using 7 title "vcpu" lc rgb "#e0a030", \
	"" using 8 title "node" lc rgb "#1b6ca8", "" using 9 title "node, cas" lc rgb "#a9cce3"
unset multiplot
PLOT
mv "$out.new" "$out"
echo "$out"
