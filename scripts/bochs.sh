#!/bin/bash
# bochs.sh VENDOR HV WORDS KERNEL [APPEND [INITRD]]: runs a hypervisor image on Bochs (VENDOR: intel, amd), by hand.
# WORDS: the hypervisor's command line; HV "none": KERNEL (a bzImage) runs without one. Prints what comes on COM1,
# then the last of COM2. In the environment: CPUS (1), MEM (MiB: 512), LIMIT (seconds: 120), OUT (a directory that keeps
# console, stream and log), BOCHS=installed (the system's Bochs rather than the one in build/bochs), MODEL, LOG=debug.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
vendor=$1 hv=$2 words=$3 kernel=$4 append=${5:-} initrd=${6:-}
here=$(cd "$(dirname "$0")/.." && pwd)
root=$here/build/bochs
if [ -n "${OUT:-}" ]; then
	mkdir -p "$OUT"
	dir=$(cd "$OUT" && pwd)
else
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
fi
case $vendor in
intel) model=corei7_skylake_x ;;
amd) model=ryzen ;;
*) echo "bochs.sh: which vendor is '$vendor'?" >&2 && exit 64 ;;
esac
model=${MODEL:-$model}
if [ -x "$root/usr/bin/bochs-bin" ] && [ "${BOCHS:-}" != installed ]; then
	lib=$root/usr/lib/x86_64-linux-gnu
	run=("$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$lib:/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu"
		"$root/usr/bin/bochs-bin")
	export LTDL_LIBRARY_PATH=$lib/bochs/plugins
	bios=$root/usr/share/bochs/BIOS-bochs-latest
	vga=$root/usr/share/vgabios/vgabios.bin
else
	run=(bochs-bin)
	bios=/usr/share/bochs/BIOS-bochs-latest
	vga=/usr/share/vgabios/vgabios.bin
fi

mkdir -p "$dir/iso/boot/grub"
rm -f "$dir/com1" "$dir/com2" "$dir/x.iso"
{
	echo "set timeout=0"
	if [ "$hv" = none ]; then
		echo "linux /boot/kernel $append console=ttyS0"
		[ -z "$initrd" ] || echo "initrd /boot/initrd"
	else
		cp "$hv" "$dir/iso/boot/hv"
		echo "multiboot /boot/hv twofold $words"
		echo "module /boot/kernel kernel $append"
		[ -z "$initrd" ] || echo "module /boot/initrd initrd"
	fi
	echo boot
} >"$dir/iso/boot/grub/grub.cfg"
cp "$kernel" "$dir/iso/boot/kernel"
[ -z "$initrd" ] || cp "$initrd" "$dir/iso/boot/initrd"
grub-mkrescue -o "$dir/x.iso" "$dir/iso" >"$dir/iso.log" 2>&1 || {
	cat "$dir/iso.log"
	exit 1
}
: >"$dir/com1"
: >"$dir/com2"
cat >"$dir/rc" <<RC
config_interface: textconfig
display_library: rfb, options="timeout=0"
plugin_ctrl: unmapped=1, biosdev=1, serial=1, iodebug=0, parallel=0, speaker=0, gameport=0
cpu: model=$model, count=${CPUS:-1}, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=${MEM:-512}, host=${MEM:-512}
romimage: file=$bios, options=fastboot
vgaromimage: file=$vga
pci: enabled=1, chipset=i440fx
clock: sync=none, time0=utc
ata0-master: type=cdrom, path=$dir/x.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$dir/com1
com2: enabled=1, mode=file, dev=$dir/com2
log: $dir/log
panic: action=fatal
error: action=${LOG:+report}${LOG:-ignore}
info: action=report
RC
[ -z "${LOG:-}" ] || sed -i 's/^error: .*/error: action=report/' "$dir/rc"
if "${run[@]}" --help cpu 2>&1 | grep -q 'Bochs x86 Emulator 2'; then debugger=1; else debugger=; fi
echo c >"$dir/debugger"
began=$(date +%s.%N)
cd "$dir" || exit 1
timeout -k 5 "${LIMIT:-120}" "${run[@]}" -q -f "$dir/rc" ${debugger:+-rc "$dir/debugger"} >"$dir/out" 2>&1 </dev/null &
bochs=$!
tail -f --pid=$bochs -c +1 "$dir/com1" 2>/dev/null
wait $bochs
status=$?
echo
echo "== COM2 (the last of it)"
tail -n 5 "$dir/com2" | cut -c1-1500
[ $status != 124 ] || echo "== stopped after ${LIMIT:-120} s"
echo "== Bochs ended with status $status after $(echo "$(date +%s.%N) - $began" | bc) s; its log:"
grep -vE '^[0-9]*i\[' "$dir/log" | tail -n 5
