#!/bin/bash
# isoboot.sh MACHINE ENTRY OUT: makes the ISO and boots it, as one would boot a CD, on a machine as --machine names it,
# or on "usb", QEMU's machine with the image as a USB stick. GRUB's menu is worked through COM1, which is the guest's
# console later, to the ENTRY (auto, nested, shadow, shell); in the shell a command is run and it is left. 1, and a line
# for each thing that is wrong, unless the guest's user space was up, did that (or its workload), and powered the
# machine off.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
machine=$1
entry=$2
out=$3-$machine-$entry
# The first key stops the menu's clock; v moves its bar.
case $entry in
auto) keys=^ ;;
nested) keys=v ;;
shadow) keys=vv ;;
shell) keys=vvv ;;
*) echo "isoboot: which entry is '$entry'?" && exit 64 ;;
esac
mode=$entry
[ "$entry" = shell ] && mode=auto
scripts/iso.sh || exit 1
bad=0
wrong() {
	bad=1
	echo "the ISO's $entry entry on $machine: $*"
}

# boot: the machine, its COM1 at standard input and output or, on Bochs, at $out.keys and $out.log
boot() {
	local qemu=(timeout 300 qemu-system-x86_64 -M pc -accel "tcg,thread=multi" -cpu "EPYC,+svm,+npt" -smp 2 -m 1G
		-nodefaults -display none -no-reboot -chardev "stdio,id=console,signal=off"
		-serial chardev:console -serial "file:$out.hv")

	case $machine in
	qemu) "${qemu[@]}" -cdrom build/twofold.iso <"$out.keys" >"$out.log" 2>&1 ;;
	usb)
		"${qemu[@]}" -device qemu-xhci -device usb-storage,drive=stick,bootindex=1 \
			-drive if=none,id=stick,format=raw,readonly=on,file=build/twofold.iso \
			<"$out.keys" >"$out.log" 2>&1
		;;
	bochs-*) scripts/bochs.sh "$machine" 2 build/twofold.iso "$out" 900 "$out.keys" ;;
	esac
}

# until TEXT is on COM1; or the machine is off
see() {
	until grep -aq "$1" "$out.log" 2>/dev/null; do
		kill -0 "$job" 2>/dev/null || return
		sleep 0.2
	done
}

# Keys one by one: a UART without its FIFO holds a single character.
type_keys() {
	local i
	for ((i = 0; i < ${#1}; i++)); do
		sleep 0.5
		printf %s "${1:i:1}" >&3 2>/dev/null
	done
}

trap '' PIPE # the machine may end at any time
rm -f "$out.keys" "$out.log" "$out.hv"
mkfifo "$out.keys"
boot &
job=$!
exec 3>"$out.keys"
see 'A shell on'
type_keys "$keys"$'\r'
if [ "$entry" = shell ]; then
	see '^guest: a shell'
	see '^/ # '
	type_keys $'echo $((6*7))\r'
	see '^42'
	type_keys $'exit\r'
fi
wait $job || wrong "the machine does not power off"
exec 3>&-
rm -f "$out.keys"
grep -aqE '^guest: up at .* s, 2 CPU' "$out.log" || wrong "its user space does not come up ($out.log)"
case $entry in
shell) grep -aq '^42' "$out.log" || wrong "its shell does not count ($out.log)" ;;
*) grep -aq '^guest: workload ended with status 0' "$out.log" || wrong "its workload does not end ($out.log)" ;;
esac
grep -aq '^guest: powering' "$out.log" || wrong "it does not come to its power-off ($out.log)"
jq -es --arg mode "$mode" '.[0].mode == $mode and (.[-1] | .ev == "end" and .mode == $mode and .reason == "poweroff")' \
	"$out.hv" >/dev/null || wrong "another end, or another mode ($out.hv)"
exit $bad
