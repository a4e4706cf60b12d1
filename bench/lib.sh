# What bench.sh and groups.sh share: sourced by them, from the project's top. They set kernel, initramfs and
# results.
#
# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash

# The first line of the results: the machine.
machine() {
	jq -n -c --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
		--argjson cpus "$(nproc)" --arg linux "$(uname -r)" \
		--arg qemu "$(qemu-system-x86_64 --version | sed -n 's/.*version \([^ ]*\).*/\1/p')" \
		--arg guest "$(cat build/kernel/package 2>/dev/null)" --arg day "$(date -u +%Y-%m-%d)" \
		'{machine: {$cpu, $cpus, $linux, $qemu, $guest, $day}}'
}

# ready_to_measure WHO TARGET: is all there that a run needs? Else status 66.
ready_to_measure() {
	local f
	# shellcheck disable=SC2154 # the sourcing script's
	for f in "$kernel" "$initramfs" build/workload build/twofold build/twofold-hv.elf; do
		[ -e "$f" ] || { echo "$1: no $f: make $2 makes it" >&2 && exit 66; }
	done
}
