#!/bin/bash
# bench.sh [OPTION...]: runs one guest (Debian's kernel, our small user space with the workload) five ways
# on one QEMU machine model, interleaved, and prints medians and ratios.
#
#   none            no hypervisor
#   nested shadow   Twofold
#   kvm-nested kvm-shadow   Debian's KVM and QEMU, inside that machine
#
#   -n ROUNDS   (5, or the variable ROUNDS)
#   -c CPUS     (1, or the variable CPUS)
#   -w WAYS     only these, with commas between
#   -a ARGS     for the workload, with commas between (see guest/workload/main.c)
#   -Q          without the boots on a quiet console
#   -C          without the runs that count KVM's exits
#   -r          measures nothing: prints the report of the last results again
#
# Left in build/bench/: results-CPUScpu.jsonl (a line for the machine, then one for each run), the
# report, and each run's console. Status 1 when a run failed.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
. bench/lib.sh
rounds=${ROUNDS:-5}
cpus=${CPUS:-1}
ways=none,nested,shadow,kvm-nested,kvm-shadow
args=
quiet=1
counts=1
measure=1
limit=200
usage() {
	sed -n '2,/^# SPDX/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
	exit 64
}
while getopts n:c:w:a:QCr option; do
	case $option in
	n) rounds=$OPTARG ;;
	c) cpus=$OPTARG ;;
	w) ways=$OPTARG ;;
	a) args=$OPTARG ;;
	Q) quiet=0 ;;
	C) counts=0 ;;
	r) measure=0 ;;
	*) usage ;;
	esac
done
[[ $rounds =~ ^[1-9][0-9]*$ && $cpus =~ ^[1-9][0-9]*$ ]] || usage

build=build/bench
results=$build/results-${cpus}cpu.jsonl
report=$build/report-${cpus}cpu.txt
kernel=build/kernel/vmlinuz
initramfs=build/initramfs.cpio
bad=0
mkdir -p $build

qemu() {
	timeout -k 5 $limit qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu EPYC,+svm,+npt \
		-smp "$cpus" -nodefaults -no-user-config -display none -no-reboot "$@" \
		</dev/null 2>"$out.err"
}

run_none() {
	qemu -m 512M -serial file:"$out.log" -kernel $kernel -initrd $initramfs -append "$line"
}

run_ours() {
	timeout -k 5 $limit build/twofold run --mode "$1" --cpus "$cpus" --mem 512M --kernel $kernel \
		--initrd $initramfs --append "$line" --stats "$out.json" --timeout $((limit - 10)) \
		</dev/null >"$out.log" 2>"$out.err"
}

run_kvm() {
	qemu -m 2G -serial file:"$out.l1" -serial file:"$out.log" -kernel $kernel \
		-initrd $build/kvm.cpio \
		-append "console=ttyS0 quiet npt=$1 vcpus=$cpus gmem=512M counts=$count -- $line"
}

# run WAY KIND WORDS...: one run; KIND is work, quiet or counts. A run of KVM that fails is tried once
# more (it hangs now and then in this machine); the report tells of every failure.
run() {
	run_once "$@" && return
	case $1 in
	kvm-*) run_once "$@" && return ;;
	esac
	bad=1
}

run_once() {
	local way=$1 kind=$2 status=0
	shift 2
	line="console=ttyS0 $*"
	count=0
	[ "$kind" != counts ] || count=1
	out=$build/$way-$kind
	rm -f "$out".{log,json,l1,err}
	case $way in
	none) run_none || status=$? ;;
	nested | shadow) run_ours "$way" || status=$? ;;
	kvm-nested) run_kvm 1 || status=$? ;;
	kvm-shadow) run_kvm 0 || status=$? ;;
	*) usage ;;
	esac
	if [ $status = 0 ] && grep -aq '^guest: powering off' "$out.log" &&
		! grep -aqE '^guest: workload ended with status [^0]' "$out.log" &&
		record "$way" "$kind" >>"$results"; then
		return 0
	fi
	echo "bench: $way ($kind, round $round) failed with status $status: $out.failed.log" >&2
	mv "$out.log" "$out.failed.log"
	tail -n 3 "$out.err" >&2
	echo "{\"failed\":\"$way\",\"kind\":\"$kind\",\"status\":$status}" >>"$results"
	return 1
}

# The JSON line of a run: what its console told, and for ours the counters at each mark.
record() {
	local up load stats="/dev/null"
	up=$(sed -n 's/^guest: up at \([0-9.]*\) s.*/\1/p' "$out.log" | head -n 1)
	read -r load _ </proc/loadavg
	[ ! -s "$out.json" ] || stats=$out.json
	tr -d '\r' <"$out.log" | grep -aE '^\{"(work|kvm)"' | jq -c -s -n --arg way "$1" --arg kind "$2" \
		--argjson round "$round" --argjson cpus "$cpus" --arg up "$up" --argjson load "$load" \
		--slurpfile stats "$stats" '
		[inputs[]] as $told |
		{way: $way, kind: $kind, round: $round, cpus: $cpus, load: $load,
		 boot: ($up | tonumber),
		 work: [$told[] | select(.work)],
		 kvm: [$told[] | select(.kvm)],
		 marks: [$stats[0].marks[]? | {mark, exits_total, exits, engine}],
		 table_pages: $stats[0].table_pages}'
}

measure() {
	local way work="args=$args"
	[ -n "$args" ] || work=
	IFS=, read -r -a list <<<"$ways"
	bench/kvm/mkimage.sh $build/kvm.cpio build/kernel/root $kernel $initramfs || exit 1
	machine >"$results"
	for ((round = 1; round <= rounds; round++)); do
		for way in "${list[@]}"; do
			echo "round $round of $rounds: $way" >&2
			run "$way" work "$work"
			[ $quiet = 0 ] || run "$way" quiet quiet job=off
		done
	done
	[ $counts = 1 ] || return 0
	for way in "${list[@]}"; do
		case $way in
		kvm-*)
			echo "counting exits: $way" >&2
			run "$way" counts "args=--pause,100${args:+,$args}"
			;;
		esac
	done
}

if [ $measure = 1 ]; then
	ready_to_measure bench bench
	measure
elif [ ! -s "$results" ]; then
	echo "bench: no $results yet" >&2
	exit 66
fi
jq -n -r -L bench -f bench/report.jq "$results" | tee "$report"
[ $bad = 0 ]
