#!/bin/bash
# isoboot.sh MODE OUT: makes the ISO and boots its menu's entry for MODE (nested, shadow) in QEMU, as a machine
# would boot a CD. The menu is worked through the serial line, which is the guest's console later.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
mode=$1
out=$2
scripts/iso.sh || exit 1
bad=0
rm -f "$out.keys"
mkfifo "$out.keys"
timeout 150 qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu EPYC,+svm,+npt -smp 2 -m 1G \
	-nodefaults -display none -no-reboot -chardev stdio,id=console,signal=off \
	-serial chardev:console -serial file:"$out.$mode.hv" -cdrom build/twofold.iso \
	<"$out.keys" >"$out.$mode.log" 2>&1 &
qemu=$!
exec 3>"$out.keys"
# The first key stops the menu's clock; v and ^ move its bar; Enter takes the entry.
for _ in $(seq 100); do
	grep -aq 'nested tables' "$out.$mode.log" && break
	sleep 0.2
done
[ $mode = nested ] && printf '^\r' >&3 || printf 'v\r' >&3
wait $qemu
exec 3>&-
rm -f "$out.keys"
grep -aq '^guest: powering off' "$out.$mode.log" || {
	bad=1
	echo "the ISO's $mode entry does not come up ($out.$mode.log)"
}
grep -q "\"mode\": *\"$mode\"" "$out.$mode.hv" || {
	bad=1
	echo "the ISO's $mode entry did not run in $mode mode ($out.$mode.hv)"
}
exit $bad
