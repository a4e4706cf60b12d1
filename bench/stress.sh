#!/bin/bash
# stress.sh [-m MINUTES] [-c CPUS] [-M MODES] [-- OPTIONS]: a guest runs Debian's stress-ng (fork, clone,
# switch, vm, mmap, and numa when it has several nodes) for so long in each mode, and then must have no complaint
# in its log, a good end, and tables within their bound. OPTIONS go to "twofold run", for instance
# "--nodes 2 --groups vcpu --regroup-every 50".
# Defaults: 10 minutes, 4 CPUs, nested,shadow. The mode "none" is the same without a hypervisor. From the environment:
# MEM (MiB), LIMIT (seconds of real time; on an emulated machine as slow as Bochs's the guest's minutes are long):
#
#   MEM=1500 LIMIT=2400 bench/stress.sh -m 5 -c 2 -M shadow -- --machine bochs-intel --nodes 2 --switch-every 20
#
# Logs and numbers: build/stress/MODE.log and .json (with OPTIONS, their words in the names). Status 1 when
# something is wrong.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
minutes=${MINUTES:-10}
cpus=${CPUS:-4}
modes=${MODES:-nested,shadow}
while getopts m:c:M: option; do
	case $option in
	m) minutes=$OPTARG ;;
	c) cpus=$OPTARG ;;
	M) modes=$OPTARG ;;
	*)
		sed -n '2,9s/^# \?//p' "$0" >&2
		exit 64
		;;
	esac
done
shift $((OPTIND - 1))
name=$(printf '%s' "$*" | tr -c 'a-z0-9' -)

# The engine's bound on shadow tables when the embedder gives none; in tables of 12 KiB.
bound=8192
mem=${MEM:-1024}
# The numa stressor moves all of a process's pages to one node.
[ $# = 0 ] || mem=${MEM:-3072}
build=build/stress
seconds=$(awk -v m="$minutes" 'BEGIN { print int(m * 60) }')
limit=${LIMIT:-$((seconds * 2 + 120))}
bad=0
mkdir -p $build
[ $build/initramfs.cpio -nt bench/stress/init ] ||
	bench/stress/mkimage.sh $build/initramfs.cpio $build/packages || exit 1

wrong() {
	bad=1
	echo "FAIL stress, $mode$name, $cpus CPUs: $*"
}

run_none() {
	timeout -k 5 $limit qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu EPYC,+svm,+npt -smp "$cpus" \
		-m ${mem}M -nodefaults -no-user-config -display none -no-reboot -serial file:"$out.log" \
		-kernel build/kernel/vmlinuz -initrd $build/initramfs.cpio \
		-append "console=ttyS0 seconds=$seconds" </dev/null 2>"$out.err"
}

run_ours() {
	timeout -k 5 $limit build/twofold run --mode "$mode" --cpus "$cpus" --mem ${mem}M \
		--initrd $build/initramfs.cpio --append "seconds=$seconds" --stats "$out.json" "$@" \
		--timeout $((limit - 20)) </dev/null >"$out.log" 2>"$out.err"
}

numbers_check() {
	jq -e '.reason == "poweroff"' "$out.json" >/dev/null || wrong "ended by $(jq .reason "$out.json")"
	jq -e --argjson bound $bound '.shadow_tables_max <= $bound' "$out.json" >/dev/null ||
		wrong "$(jq .shadow_tables_max "$out.json") shadow tables, more than $bound"
	# Beyond shadows (three pages each): nested tables and what is kept for each frame, less than two pages
	# for each MiB of guest memory even when every large page is split.
	jq -e --argjson bound $((bound * 3 + mem * 2)) '.table_pages <= $bound' "$out.json" >/dev/null ||
		wrong "$(jq .table_pages "$out.json") pages of tables"
}

for mode in ${modes//,/ }; do
	out=$build/$mode$name
	status=0
	rm -f "$out".{log,json,err}
	case $mode in
	none) run_none || status=$? ;;
	*) run_ours "$@" || status=$? ;;
	esac
	[ $status = 0 ] || wrong "status $status: $(tail -n 3 "$out.err")"
	grep -aq '^guest: stress-ng ended with status 0' "$out.log" ||
		wrong "stress-ng: $(grep -a 'stress-ng ended' "$out.log" || echo never ended)"
	grep -aq '^guest: powering off' "$out.log" || wrong "no power-off"
	! grep -a -m 5 '^guest: kernel says' "$out.log" || wrong "the kernel complains"
	[ "$mode" = none ] || [ ! -s "$out.json" ] || numbers_check
	grep -a 'stress-ng: .*metrc:' "$out.log" | tr -d '\r' | sed 's/^.*metrc: \[[0-9]*\] /  /' | head -n 9
	[ ! -s "$out.json" ] || jq -r '"  \(.mode): \(.guest_seconds | round) s, \(.exits_total) exits, " +
		"\(.shadow_tables_max) shadow tables at most (bound '$bound'), \(.shadows_reclaimed) reclaimed, " +
		"\(.table_pages) pages of tables at the end" +
		if .regroups > 0 then ", \(.regroups) moves between groups" else "" end +
		if .switches > 0 then ", \(.switches) changes of the mode" else "" end' "$out.json"
done
[ $bad = 0 ] && echo "stress: $minutes minutes on $cpus CPUs in each of $modes: all well"
exit $bad
