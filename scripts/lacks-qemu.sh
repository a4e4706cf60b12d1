#!/bin/bash
# lacks-qemu.sh OUT: starts the hypervisor on a machine of QEMU without SVM and VMX: it must say so in one line, and
# end. Its words: OUT.hv. (More such machines: make test-machines.)
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
out=$1
cd "$(dirname "$0")/.." || exit 1
timeout 50 qemu-system-x86_64 -M pc -accel tcg -cpu qemu64,-svm -m 192M -nodefaults -no-user-config -display none \
	-no-reboot -serial null -serial "file:$out.hv" -kernel build/twofold-hv.elf -append mem=64M \
	-initrd "build/baretest.elf only=none" </dev/null
jq -es 'length == 2 and (.[0] | .ev == "error" and .text == "this CPU has neither SVM (AMD virtualization) nor VMX " +
	"(Intel\u0027s)") and (.[1] | .ev == "end" and .reason == "error" and .code == 3 and .exits_total == 0 and
	.switch_stops == {"nested": [], "shadow": []} and .undone == 0)' \
	"$out.hv" >/dev/null || {
	echo "not what is to be said:"
	cut -c1-300 "$out.hv"
	exit 1
}
