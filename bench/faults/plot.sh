#!/bin/bash
# plot.sh JSON [OUT]: draws docs/faults.svg (or OUT) from what build/bench/faults --json measured: faults a
# second over the number of threads, a line for each grouping and way to install. Needs gnuplot (gnuplot-nox).
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/../.."
[ $# = 1 ] || [ $# = 2 ] || {
	echo "usage: bench/faults/plot.sh JSON [OUT]" >&2
	exit 64
}
json=$1
out=${2:-docs/faults.svg}
data=build/bench/faults-plot.dat

command -v gnuplot >/dev/null || {
	echo "plot: no gnuplot here (Debian: gnuplot-nox)" >&2
	exit 1
}
[ -s "$json" ] || {
	echo "plot: no $json (build/bench/faults --json $json measures it)" >&2
	exit 66
}
mkdir -p build/bench

# A block for each line of the picture: its name, then threads and millions of faults a second.
jq -r '[.runs[] | . + {way: "\(.grouping)\(if .grouping == "node" then " \(.nodes)" else "" end), \(.install)"}] |
	group_by(.way)[] | "\"\(.[0].way)\"", (.[] | "\(.threads) \(.faults_per_s / 1e6)"), "", ""' \
	"$json" >"$data"
lines=$(jq '[.runs[] | [.grouping, .nodes, .install]] | unique | length' "$json")
cpus=$(jq .cpus "$json")
under=$(jq -r '"\(.machine), \(.cpus) CPUs; \(.bytes / 1048576 | floor) MiB by 4 KiB, " +
	(if .spread then "each thread touches all" else "each thread touches its part" end) +
	"; medians of \(.rounds) rounds"' "$json")

gnuplot <<PLOT
set terminal svg size 960,440 font "sans-serif,12" background rgb "white"
set output "$out.new"
set title "First-touch faults a second (millions; higher is better)"
set xlabel "threads"
set xrange [0.9:*]
set yrange [0:*]
set logscale x 2
set grid ytics lc rgb "#dddddd"
set border 3
set tics nomirror
set key outside right center
set arrow from $cpus, graph 0 to $cpus, graph 1 nohead dashtype 2 lc rgb "#999999"
set label "CPUs" at $cpus, graph 1.02 center font ",10" textcolor rgb "#666666"
set label "$under" at graph 0.5, screen 0.02 center font ",10" textcolor rgb "#666666" noenhanced
set bmargin 5
plot for [i=0:$((lines - 1))] "$data" index i using 1:2 with linespoints lw 2 title columnheader(1)
PLOT
mv "$out.new" "$out"
echo "$out"
