#!/bin/bash
# hostnodes.sh OUT: boots the hypervisor as `twofold run` does not, on machines whose nodes are not those of
# the guest, and looks what it says, where its pages come from, and that the guest does not mind. 1 and a
# line for each thing that is wrong.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
out=$1
cd "$(dirname "$0")/../build" || exit 1
out=$(cd "$(dirname "../$out")" && pwd)/$(basename "$out")
bad=0

# try NAME LOG JQ WORDS QEMU-OPTION...: the hypervisor, given WORDS, says LOG; its end event fits JQ.
try() {
	local name=$1 log=$2 fits=$3 words=$4 stream=$out-$1.stream
	shift 4
	timeout 200 qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu EPYC,+svm,+npt -smp 4 "$@" \
		-nodefaults -no-user-config -display none -no-reboot -serial "file:$out-$name.log" \
		-serial "file:$stream" -kernel twofold-hv.elf -append "$words" \
		-initrd "kernel/vmlinuz console=ttyS0 job=workload args=churn,initramfs.cpio" \
		</dev/null >"$out-$name.err" 2>&1
	jq -e 'select(.ev == "log") | .text' "$stream" 2>/dev/null | grep -q "$log" ||
		wrong "$name: did not say \"$log\""
	jq -es '.[-1] | .reason == "poweroff" and '"$fits" "$stream" >/dev/null 2>&1 ||
		wrong "$name: ended otherwise: $(tail -n 1 "$stream" | head -c 300)"
	grep -aq '^guest: node 1: ' "$out-$name.log" || wrong "$name: the guest sees no nodes"
	grep -aq '^guest: workload ended with status 0' "$out-$name.log" || wrong "$name: the workload failed"
	! grep -aE '^guest: kernel says' "$out-$name.log" || wrong "$name: the kernel complains"
}
wrong() {
	bad=1
	echo "$*"
}

try one 'the machine has one node: all 2 guest nodes lie on it' \
	'(.host_nodes | length) == 1 and .pages_remote == 0' 'node=0-1:256M node=2-3:256M' -m 700M
try fewer 'the machine has 2 nodes only: guest node n lies on node n modulo 2' \
	'(.host_nodes | all(.pages_local > 512)) and .pages_remote == 0' \
	'node=0:128M node=1:128M node=2:128M node=3:128M' -m 800M \
	-object memory-backend-ram,id=a,size=400M -object memory-backend-ram,id=b,size=400M \
	-numa node,memdev=a,cpus=0-1 -numa node,memdev=b,cpus=2-3
# The boot CPU is on the other node than vCPU 0's memory, and a node is too small.
try small '2 vCPUs run on CPUs of another node than their memory' \
	'.host_nodes[0].pages_remote > 512 and .host_nodes[1].pages_remote == 0' \
	'node=0-1:128M node=2-3:192M' -m 700M \
	-object memory-backend-ram,id=a,size=636M -object memory-backend-ram,id=b,size=64M \
	-numa node,memdev=a,cpus=2-3 -numa node,memdev=b,cpus=0-1
exit $bad
