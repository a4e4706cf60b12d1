#!/bin/bash
# isoboot.sh MACHINE MODE OUT: makes the ISO and boots it on a machine (as --machine names it), as one would boot a
# CD; on "usb" QEMU's machine, from a USB stick. On QEMU its menu is worked through the serial line, which is the guest's console later, to the entry for MODE
# (auto, nested, shadow), and to its end; Bochs's line is one-way, and the first entry, auto, takes itself; the
# workload being long there, it is left when the user space is up.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
machine=$1
mode=$2
out=$3-$machine-$mode
scripts/iso.sh || exit 1
bad=0
wrong() {
	bad=1
	echo "the ISO's $mode entry on $machine: $*"
}

# on_qemu OPTION...: what holds the image
on_qemu() {
	rm -f "$out.keys" "$out.log"
	mkfifo "$out.keys"
	timeout 150 qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu EPYC,+svm,+npt -smp 2 -m 1G \
		-nodefaults -display none -no-reboot -chardev stdio,id=console,signal=off \
		-serial chardev:console -serial file:"$out.hv" "$@" \
		<"$out.keys" >"$out.log" 2>&1 &
	local qemu=$!
	exec 3>"$out.keys"
	for _ in $(seq 300); do
		grep -aq 'A shell on' "$out.log" && break
		sleep 0.2
	done
	# The first key stops the menu's clock; v moves its bar; Enter takes the entry. One by one: the line holds a
	# single character.
	case $mode in
	auto) keys='^' ;;
	nested) keys='v' ;;
	shadow) keys='v v' ;;
	esac
	for key in $keys $'\r'; do
		sleep 0.5
		printf %s "$key" >&3
	done
	wait $qemu
	exec 3>&-
	rm -f "$out.keys"
}

case $machine in
qemu) on_qemu -cdrom build/twofold.iso ;;
usb)
	on_qemu -device qemu-xhci -device usb-storage,drive=stick,bootindex=1 \
		-drive if=none,id=stick,format=raw,readonly=on,file=build/twofold.iso
	;;
bochs-amd) scripts/bochs.sh ryzen 2 build/twofold.iso "$out" 600 '^guest: up at' ;;
bochs-intel) scripts/bochs.sh corei7_skylake_x 2 build/twofold.iso "$out" 600 '^guest: up at' ;;
esac || wrong "it does not come up ($out.log)"
[[ $machine == bochs-* ]] || grep -aq '^guest: powering' "$out.log" || wrong "it does not come to its end ($out.log)"
grep -q "\"mode\": *\"$mode\"" "$out.hv" || wrong "another mode ($out.hv)"
exit $bad
