#!/bin/bash
# choice.sh [OPTION...]: does choosing the mode pay? Runs the workload and real programs in one guest in
# several ways on one QEMU machine model, interleaved, and prints medians, ratios, and what was decided.
#
#   none                     no hypervisor
#   nested shadow            Twofold in one mode
#   dsp cost                 Twofold, --mode auto with that --policy
#   dsp-space cost-space     the same with --grain space
#   kvm-nested kvm-shadow    Debian's KVM and QEMU, inside that machine
#
#   -n ROUNDS   (5, or the variable ROUNDS)
#   -c CPUS     (1, or the variable CPUS)
#   -M SIZE     the guest's memory (1G)
#   -w WAYS     with commas between (none,nested,shadow,dsp,cost,kvm-nested,kvm-shadow; for the pairs, where
#               cost is one of several, also cost-space)
#   -S SETS     (parts,steady,phased,pairs,programs), each one boot:
#               parts: the usual parts of the workload, once; steady: each for -s SECONDS, again and again;
#               phased: fork, chase, churn, update in turn; pairs: two processes at once;
#               programs: gcc, sqlite, redis, stress-ng, python
#   -s SECONDS  (30)
#   -a ARGS     more for the workload, with commas between, such as --seed,2,--size,phased.chase=65536
#   -p ARGS     programs, with commas between (see bench/programs/init), such as 50%,gcc,stress-switch:10000
#   -t DIR      --trace of each run in auto: DIR/SET-WAY-ROUND.jsonl
#   -o NAME     the results' name (choice-CPUScpu)
#   -r          measures nothing: prints the report of the last results again
#   -m          the report in Markdown
#
# Left in build/bench/: NAME.jsonl (a line for the machine, then one for each run), the report NAME.txt, and
# each run's console. bench/plot-choice.sh draws them. Status 1 when a run failed.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
. bench/lib.sh
rounds=${ROUNDS:-5}
cpus=${CPUS:-1}
mem=1G
ways=none,nested,shadow,dsp,cost,kvm-nested,kvm-shadow
sets=parts,steady,phased,pairs,programs
seconds=30
args=
programs=gcc,sqlite,redis,stress-fork,stress-vm,python
traces=
name=
measure=1
form=text
limit=1800

wrong() {
	echo "choice: $*" >&2
	exit 64
}
while getopts :n:c:M:w:S:s:a:p:t:o:rm option; do
	case $option in
	n) rounds=$OPTARG ;;
	c) cpus=$OPTARG ;;
	M) mem=$OPTARG ;;
	w) ways=$OPTARG ;;
	S) sets=$OPTARG ;;
	s) seconds=$OPTARG ;;
	a) args=$OPTARG ;;
	p) programs=$OPTARG ;;
	t) traces=$OPTARG ;;
	o) name=$OPTARG ;;
	r) measure=0 ;;
	m) form=markdown ;;
	:) wrong "-$OPTARG needs a value" ;;
	*) wrong "no option -$OPTARG (its head tells them)" ;;
	esac
done
shift $((OPTIND - 1))
[ $# = 0 ] || wrong "'$1' is no option"
[[ $rounds =~ ^[1-9][0-9]{0,3}$ ]] || wrong "'$rounds' is no number of rounds"
[[ $cpus =~ ^([1-9]|[1-5][0-9]|6[0-4])$ ]] || wrong "'$cpus' is no number of CPUs, 1 to 64"
[[ $mem =~ ^[1-9][0-9]*[MG]$ ]] || wrong "'$mem' is no size such as 1G"
[[ $seconds =~ ^[1-9][0-9]*$ ]] || wrong "'$seconds' is no number of seconds"
way='(none|nested|shadow|(dsp|cost)(-space)?|kvm-nested|kvm-shadow)'
[[ $ways =~ ^$way(,$way)*$ ]] || wrong "'$ways' are no ways (its head tells them)"
set='(parts|steady|phased|pairs|programs)'
[[ $sets =~ ^$set(,$set)*$ ]] || wrong "'$sets' are no sets (its head tells them)"

build=build/bench
name=${name:-choice-${cpus}cpu}
results=$build/$name.jsonl
kernel=build/kernel/vmlinuz
initramfs=build/initramfs.cpio
programs_image=build/programs/initramfs.cpio
bad=0
mkdir -p $build
[ -z "$traces" ] || mkdir -p "$traces" || exit 1

# What a set is, as a word of the guest's command line.
line_of() {
	local more=${args:+$args,}
	case $1 in
	parts) echo "args=$args" ;;
	steady) echo "args=$more--seconds,$seconds" ;;
	phased) echo "args=${more}phased" ;;
	pairs) echo "args=${more}pair,pair-update" ;;
	programs) echo "args=$programs" ;;
	esac
}

image_of() {
	[ "$1" = programs ] && echo $programs_image || echo $initramfs
}

# The machine below KVM holds its guest's memory, both images and its own.
machine_mib() {
	local mib=${mem%[MG]}
	[ "${mem: -1}" = M ] || mib=$((mib * 1024))
	echo $((mib + 1536))
}

qemu() {
	timeout -k 5 $limit qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu EPYC,+svm,+npt \
		-smp "$cpus" -nodefaults -no-user-config -display none -no-reboot "$@" \
		</dev/null 2>"$out.err"
}

run_none() {
	qemu -m "$mem" -serial file:"$out.log" -kernel $kernel -initrd "$image" -append "$line"
}

run_ours() {
	timeout -k 5 $limit build/twofold run --cpus "$cpus" --mem "$mem" --kernel $kernel \
		--initrd "$image" --append "$line" --stats "$out.json" --timeout $((limit - 10)) "$@" \
		</dev/null >"$out.log" 2>"$out.err"
}

run_auto() {
	local how=(--mode auto --policy "${1%-space}" --grain vm)
	[ "$1" = "${1%-space}" ] || how[5]=space
	[ -z "$traces" ] || how+=(--trace "$traces/$set-$1-$round.jsonl")
	run_ours "${how[@]}"
}

run_kvm() {
	qemu -m "$(machine_mib)M" -serial file:"$out.l1" -serial file:"$out.log" -kernel $kernel \
		-initrd "$build/kvm-$(basename "$(dirname "$image")").cpio" \
		-append "console=ttyS0 quiet npt=$1 vcpus=$cpus gmem=$mem counts=0 -- $line"
}

# run WAY: one run of the set. One of KVM that fails is tried once more (it hangs now and then in this
# machine); the report tells of every failure.
run() {
	run_once "$1" && return
	case $1 in
	kvm-*) run_once "$1" && return ;;
	esac
	bad=1
}

run_once() {
	local way=$1 status=0
	local TIMEFORMAT='%U %S'
	out=$build/$name-$set-$way
	image=$(image_of "$set")
	line="console=ttyS0 quiet $(line_of "$set")"
	rm -f "$out".{log,json,l1,err,time}
	{
		time case $way in
		none) run_none || status=$? ;;
		nested | shadow) run_ours --mode "$way" || status=$? ;;
		kvm-nested) run_kvm 1 || status=$? ;;
		kvm-shadow) run_kvm 0 || status=$? ;;
		*) run_auto "$way" || status=$? ;;
		esac
	} 2>"$out.time"
	if [ $status = 0 ] && grep -aq '^guest: workload ended with status 0' "$out.log" &&
		kernel_content "$way" && record "$way" >>"$results"; then
		return 0
	fi
	echo "choice: $set, $way (round $round) failed with status $status: $out.failed.log" >&2
	mv "$out.log" "$out.failed.log"
	tail -n 3 "$out.err" >&2
	echo "{\"failed\":\"$way\",\"set\":\"$set\",\"round\":$round,\"status\":$status}" >>"$results"
	return 1
}

# Nothing that the guest's kernel did not like? KVM in this machine gives every guest a CPU that it warns of.
kernel_content() {
	[[ $1 = kvm-* ]] || ! grep -a '^guest: kernel says' "$out.log" >&2
}

# The JSON line of a run: what its console told, and for ours what was decided and when.
record() {
	local load stats=/dev/null
	read -r load _ </proc/loadavg
	[ ! -s "$out.json" ] || stats=$out.json
	tr -d '\r' <"$out.log" | grep -aE '^\{"(work|phase)"' | jq -c -n --arg way "$1" --arg set "$set" \
		--argjson round "$round" --argjson cpus "$cpus" --argjson load "$load" --arg mem "$mem" \
		--arg line "$line" --arg host "$(awk '{ print $1 + $2 }' "$out.time")" \
		--slurpfile stats "$stats" '
		[inputs] as $told | $stats[0] as $s |
		{$way, $set, $round, $cpus, $mem, $load, $line, host_seconds: ($host | tonumber),
		 work: [$told[] | select(.work)],
		 phases: [$told[] | select(.phase)]} +
		if $s == null then {} else
		{tsc_khz: $s.tsc_khz, guest_cycles: $s.guest_cycles,
		 marks: [$s.marks[]? | {mark, tsc, exits_total}],
		 policy: $s.policy, grain: $s.grain, calibration: $s.calibration, mode_share: $s.mode_share,
		 meter_share: $s.meter_share, meter_samples: $s.meter_samples,
		 meter_windows: $s.meter_windows, switches: $s.switches,
		 switch_cycles_max: $s.switch_cycles_max, exits_total: $s.exits_total,
		 switch_list: [$s.switch_list[]? | {tsc, grain, space, from, to, why, nested_ppm, shadow_ppm}],
		 switches_unlisted: ($s.switches_unlisted // 0)} end'
}

# The ways of a set.
ways_of() {
	echo "${ways//,/ }"
	case $1,,$ways, in
	pairs,,cost, | pairs,*,cost-space,*) ;;
	pairs,*,cost,*) echo cost-space ;;
	esac
}

measure() {
	local set way
	if [[ ,$sets, = *,programs,* ]]; then
		bench/programs/mkimage.sh $programs_image build/programs/packages build/initramfs-mark \
			build/timed || exit 1
	fi
	if [[ $ways = *kvm-* ]]; then
		for set in ${sets//,/ }; do
			image=$(image_of "$set")
			bench/kvm/mkimage.sh "$build/kvm-$(basename "$(dirname "$image")").cpio" \
				build/kernel/root $kernel "$image" || exit 1
		done
	fi
	machine >"$results"
	for ((round = 1; round <= rounds; round++)); do
		for set in ${sets//,/ }; do
			for way in $(ways_of "$set"); do
				echo "round $round of $rounds: $set, $way" >&2
				run "$way"
			done
		done
	done
}

if [ $measure = 1 ]; then
	ready_to_measure choice bench-choice
	measure
elif [ ! -s "$results" ]; then
	echo "choice: no $results yet" >&2
	exit 66
fi
jq -n -r -L bench --arg form $form -f bench/choice.jq "$results" | tee "$build/$name.txt"
[ $bad = 0 ]
