#!/bin/bash
# bochs.sh MODEL CPUS ISO OUT SECONDS [TEXT]: boots a CD image on Bochs, as a machine with 1 GiB would, until it
# powers off or, if that is given, TEXT is on its console. What comes on COM1 is in OUT.log, what comes on COM2 in
# OUT.hv, Bochs's own words in OUT.bochs. 1 if it did not come so far in time.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
model=$1 cpus=$2 iso=$(realpath "$3") out=$(realpath "$4") seconds=$5 text=${6:-}
bochs=$(dirname "$0")/../build/bochs/bochs
debugger=
if [ ! -x "$bochs" ]; then
	bochs=$(command -v bochs-bin)
	# That may be one that begins in a debugger.
	bochs-bin --help 2>/dev/null | grep -q 'Emulator 2' && debugger=$out.debugger
fi
[ -z "$debugger" ] || echo continue >"$debugger"
rm -f "$out.log" "$out.hv"
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
com1: enabled=1, mode=file, dev=$out.log
com2: enabled=1, mode=file, dev=$out.hv
log: $out.bochs
panic: action=fatal
error: action=ignore
info: action=ignore
RC
timeout -k 5 "$seconds" "$bochs" -q -f "$out.rc" ${debugger:+-rc "$debugger"} >/dev/null 2>&1 </dev/null &
job=$!
while [ -n "$text" ] && kill -0 $job 2>/dev/null; do
	grep -aq "$text" "$out.log" 2>/dev/null && kill $job
	sleep 1
done
wait $job
if [ -n "$text" ]; then
	grep -aq "$text" "$out.log"
else
	grep -q 'soft power off' "$out.bochs"
fi
