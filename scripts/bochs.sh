#!/bin/bash
# bochs.sh MODEL|MACHINE CPUS ISO OUT SECONDS [KEYS]: boots a CD image on Bochs, as a machine with 1 GiB would, until it
# powers off. MODEL is Bochs's name of a CPU, MACHINE as --machine names it. What comes on COM1 is in OUT.log, what comes on COM2 in OUT.hv, Bochs's own words in OUT.bochs. What comes
# from the file KEYS goes to COM1. 1 if it did not power off in time.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
model=$1 cpus=$2 iso=$(realpath "$3") out=$(realpath "$4") seconds=$5 keys=${6:-}
case $model in
bochs-amd) model=ryzen ;;
bochs-intel) model=corei7_skylake_x ;;
esac
bochs=$(dirname "$0")/../build/bochs/bochs
debugger=
if [ ! -x "$bochs" ]; then
	bochs=$(command -v bochs-bin)
	# That may be one that begins in a debugger.
	bochs-bin --help 2>/dev/null | grep -q 'Emulator 2' && debugger=$out.debugger
fi
[ -z "$debugger" ] || echo continue >"$debugger"
rm -f "$out.log" "$out.hv" "$out.bochs"
com1="mode=file, dev=$out.log"
[ -z "$keys" ] || com1="mode=term, dev=/dev/tty"
cat >"$out.rc" <<RC
config_interface: textconfig
display_library: rfb, options="timeout=0"
plugin_ctrl: unmapped=1, biosdev=1, serial=1, iodebug=0, parallel=0, speaker=0, gameport=0
cpu: model=$model, count=$cpus, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=1024, host=1024
romimage: file=\$BXSHARE/BIOS-bochs-latest, options=fastboot
vgaromimage: file=\$BXSHARE/VGABIOS-lgpl-latest
pci: enabled=1, chipset=i440fx
clock: sync=none, time0=utc
ata0-master: type=cdrom, path=$iso, status=inserted
boot: cdrom
com1: enabled=1, $com1
com2: enabled=1, mode=file, dev=$out.hv
log: $out.bochs
panic: action=fatal
error: action=ignore
info: action=ignore
RC
run=("$bochs" -q -f "$out.rc" ${debugger:+-rc "$debugger"})
if [ -z "$keys" ]; then
	timeout -k 5 "$seconds" "${run[@]}" >/dev/null 2>&1 </dev/null
else
	# Bochs's line takes keys from a terminal only: script makes one.
	SHELL=/bin/sh timeout -k 5 "$seconds" script -qfc \
		"exec ${run[*]@Q} >/dev/null 2>&1 </dev/null" /dev/null <"$keys" >"$out.log" 2>&1
fi
grep -q 'soft power off' "$out.bochs"
