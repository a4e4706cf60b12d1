#!/bin/bash
# lacks-qemu.sh OUT: starts the hypervisor on machines of QEMU that lack something: without SVM and VMX it must say so in
# one line, and end; without pages of 1 GiB, or without a GiB that is free, memory is backed by 2 MiB where 1 GiB was
# asked for, which is told. Its words: OUT.hv. (More such machines: make test-machines.)
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
out=$1
cd "$(dirname "$0")/.." || exit 1
bad=0

# lacks CPU MIB WORDS [JQ ARGS...] FILTER
lacks() {
	local cpu=$1 mib=$2 words=$3
	shift 3
	timeout 50 qemu-system-x86_64 -M pc -accel tcg -cpu "$cpu" -m "${mib}M" -nodefaults -no-user-config -display none \
		-no-reboot -serial null -serial "file:$out.hv" -kernel build/twofold-hv.elf -append "$words" \
		-initrd "build/baretest.elf only=none" </dev/null
	jq -es "$@" "$out.hv" >/dev/null || {
		bad=1
		echo "$cpu, $mib MiB: not what is to be said:"
		cut -c1-300 "$out.hv"
	}
}

lacks qemu64,-svm 192 mem=64M 'length == 2 and (.[0] | .ev == "error" and .text ==
	"this CPU has neither SVM (AMD virtualization) nor VMX (Intel\u0027s)") and
	(.[1] | .ev == "end" and .reason == "error" and .code == 3 and .exits_total == 0 and
	.switch_stops == {"nested": [], "shadow": []} and .undone == 0)'
small='(.[-1] | .ev == "end" and .reason == "debug_exit" and .code == 0 and .backing == "1G" and
	.engine.huge_backed == 0 and .engine.nested_1g == 0 and .engine.nested_2m > 0)'
lacks EPYC,+svm,+npt,-pdpe1gb 2200 "mode=nested mem=1G backing=1G" "any(.[]; .text == \"nested tables of this CPU \" +
	\"have no pages of 1 GiB: guest memory is backed by 2 MiB\") and $small"
lacks EPYC,+svm,+npt 1200 "mode=nested mem=1G backing=1G" "any(.[]; .text == \"node 0: the guest has 1 whole GiB, \" +
	\"the machine 0 for them: the rest is backed by 2 MiB\") and $small"
exit $bad
