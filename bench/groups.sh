#!/bin/bash
# groups.sh [OPTION...]: the storms of the workload (page faults, forks) on all CPUs of a guest with several
# NUMA nodes, in both modes, with its CPUs grouped in different ways, interleaved; prints medians and ratios.
#
#   one         one group: a lock and tables for the whole VM
#   vcpu        a group for each CPU
#   node        a group for each node
#   node-cas    the same with --install cas; it changes nested faults alone, so not in shadow mode
#
#   -n ROUNDS   (5, or the variable ROUNDS)
#   -N NODES    (2)
#   -c CPUS     (4)
#   -M MODES    (nested,shadow)
#   -a ARGS     more for the workload, with commas between, such as --processes or --count,forks=50
#   -r          measures nothing: prints the report of the last results again
#
# Left in build/bench/: groups-NODESnodes.jsonl (a line for the machine, then one for each run), the report,
# and each run's console. bench/plot-groups.sh draws them. Status 1 when a run failed.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
. bench/lib.sh
rounds=${ROUNDS:-5}
nodes=2
cpus=4
modes=nested,shadow
args=--count,forks=200
measure=1
limit=200

wrong() {
	echo "groups: $*" >&2
	exit 64
}
while getopts :n:N:c:M:a:r option; do
	case $option in
	n) rounds=$OPTARG ;;
	N) nodes=$OPTARG ;;
	c) cpus=$OPTARG ;;
	M) modes=$OPTARG ;;
	a) args=$args,$OPTARG ;;
	r) measure=0 ;;
	:) wrong "-$OPTARG needs a value" ;;
	*) wrong "no option -$OPTARG (its head tells them)" ;;
	esac
done
shift $((OPTIND - 1))
[ $# = 0 ] || wrong "'$1' is no option"
[[ $rounds =~ ^[1-9][0-9]{0,3}$ ]] || wrong "'$rounds' is no number of rounds"
[[ $cpus =~ ^([1-9]|[1-5][0-9]|6[0-4])$ ]] || wrong "'$cpus' is no number of CPUs, 1 to 64"
[[ $nodes =~ ^[1-9][0-9]?$ && $nodes -le $cpus ]] || wrong "'$nodes' is no number of nodes for $cpus CPUs"
[[ $modes =~ ^(nested|shadow)(,(nested|shadow))?$ ]] || wrong "'$modes' are no modes"

build=build/bench
results=$build/groups-${nodes}nodes.jsonl
report=$build/groups-${nodes}nodes.txt
kernel=build/kernel/vmlinuz
initramfs=build/initramfs.cpio
bad=0
mkdir -p $build

# run MODE WAY: one boot with both storms.
run() {
	local mode=$1 way=$2 status=0
	local install=lock out=$build/groups-$mode-$way
	[ "$way" != node-cas ] || install=cas
	rm -f "$out".{log,json,err}
	local TIMEFORMAT='%U %S'
	{
		time timeout -k 5 $limit build/twofold run --mode "$mode" --cpus "$cpus" --mem 512M \
			--nodes "$nodes" --groups "${way%-cas}" --install $install --kernel $kernel \
			--initrd $initramfs --append "console=ttyS0 quiet args=$args,storm,forks" \
			--stats "$out.json" --timeout $((limit - 10)) </dev/null >"$out.log" 2>"$out.err"
	} 2>"$out.time" || status=$?
	if [ $status = 0 ] && grep -aq '^guest: workload ended with status 0' "$out.log" &&
		! grep -a '^guest: kernel says' "$out.log" >&2 && record "$out" "$way" >>"$results"; then
		return
	fi
	bad=1
	echo "groups: $mode, $way (round $round) failed with status $status: $out.failed.log" >&2
	mv "$out.log" "$out.failed.log"
	tail -n 3 "$out.err" >&2
	echo "{\"failed\":\"$mode $way\",\"status\":$status}" >>"$results"
}

# record OUT WAY: the JSON line of a run. For each storm what it told, and the counters at its two marks.
# host_seconds is what the run took of the host's CPUs, from start to end: other work there hardly changes it.
record() {
	local load user system
	read -r load _ </proc/loadavg
	read -r user system <"$1.time"
	jq -c -e --arg way "$2" --argjson round "$round" --argjson load "$load" --argjson user "$user" \
		--argjson system "$system" '
		. as $run |
		def counters: {tsc, exits_total, exits, engine};
		def part($name; $i): {
			told: first($run.work[] | select(.work == $name)),
			begin: first($run.marks[] | select(.mark == 16 + $i)) | counters,
			end: first($run.marks[] | select(.mark == 144 + $i)) | counters};
		{mode, way: $way, round: $round, load: $load, host_seconds: ($user + $system), cpus, nodes: (.nodes | length),
		 groups: .groups_now, tsc_khz, storm: part("storm"; 6), forks: part("forks"; 9)}' "$1.json"
}

measure() {
	local mode way
	machine >"$results"
	for ((round = 1; round <= rounds; round++)); do
		for mode in ${modes//,/ }; do
			for way in one vcpu node node-cas; do
				[ "$mode-$way" != shadow-node-cas ] || continue
				echo "round $round of $rounds: $mode, $way" >&2
				run "$mode" "$way"
			done
		done
	done
}

if [ $measure = 1 ]; then
	ready_to_measure groups bench-groups
	measure
elif [ ! -s "$results" ]; then
	echo "groups: no $results yet" >&2
	exit 66
fi
jq -n -r -L bench -f bench/groups.jq "$results" | tee "$report"
[ $bad = 0 ]
