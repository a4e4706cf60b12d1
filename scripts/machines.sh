#!/bin/bash
# machines.sh [PATTERN]: the longer tests on the machines of Bochs, an emulator of its own: both vendors, every mode,
# one CPU and two; steps as scripts/steps.sh says. At the end, when the guest's user space was up, beside the same
# machine without a hypervisor. Logs: build/test-machines/.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
logs=build/test-machines
export pattern=${1:-.}
# shellcheck source=scripts/steps.sh
. scripts/steps.sh

declare -A model=([bochs-amd]=ryzen [bochs-intel]=corei7_skylake_x)
export BOOT_SECONDS=900

# native MACHINE CPUS: the stock kernel by itself.
native() {
	local out=$logs/native-$1-$2
	rm -rf "$out.cd"
	mkdir -p "$out.cd"
	cp -L build/kernel/vmlinuz "$out.cd/kernel"
	cp build/initramfs.cpio "$out.cd/initrd"
	printf 'linux /kernel console=ttyS0 job=off\ninitrd /initrd\nboot\n' >"$out.cfg"
	grub-mkimage -O i386-pc-eltorito -p / -c "$out.cfg" -o "$out.cd/grub" biosdisk iso9660 linux boot &&
		xorriso -as mkisofs -quiet -R -o "$out.iso" -b grub -no-emul-boot -boot-load-size 4 \
			-boot-info-table "$out.cd" 2>/dev/null &&
		scripts/bochs.sh "${model[$1]}" "$2" "$out.iso" "$out" $BOOT_SECONDS &&
		grep -a '^guest: up' "$out.log" && grep -aq '^guest: powering' "$out.log"
	local status=$?
	rm -rf "$out.cd" "$out.iso"
	return $status
}

# bare MACHINE CPUS NAME OPTION...
bare() {
	step "$1/bare/$3/$2" 1000 build/twofold run --machine "$1" --kernel build/baretest.elf --cpus "$2" \
		--mem 256M --timeout 900 --stats "$logs/$1-bare-$3-$2.json" "${@:4}"
}

# linux MACHINE CPUS NAME MODE OPTION...
linux() {
	step "$1/linux/$3/$2" 1000 scripts/boot.sh "$4" "$2" "$logs/$1-$3-$2" job=off --machine "$1" "${@:5}"
}

# When the user space was up, in the machine's own time.
up() {
	sed -n 's/^guest: up at \([0-9.]*\) s.*/\1/p' "$1" 2>/dev/null | tail -n 1
}

for machine in bochs-amd bochs-intel; do
	if ! why=$(scripts/machine.sh $machine); then
		skip $machine "$why"
		continue
	fi
	for cpus in 1 2; do
		step $machine/native/$cpus 1000 native $machine $cpus
		for mode in nested shadow auto; do
			bare $machine $cpus $mode --mode $mode
			linux $machine $cpus $mode $mode
		done
		bare $machine $cpus switch --mode nested --switch-every 3
		linux $machine $cpus switch shadow --switch-every 20
	done
	bare $machine 2 groups --mode shadow --nodes 2 --regroup-every 20
	linux $machine 2 groups auto --nodes 2 --policy random
	step $machine/iso 1000 scripts/isoboot.sh $machine auto $logs/iso
	for cpus in 1 2; do
		alone=$(up $logs/native-$machine-$cpus.log)
		for mode in nested shadow auto; do
			with=$(up $logs/$machine-$mode-$cpus.log)
			[ -z "$alone" ] || [ -z "$with" ] ||
				echo "$machine, $cpus CPUs, $mode: user space up at $with s, alone at $alone s: times" \
					"$(echo "scale=2; $with / $alone" | bc)"
		done
	done
done
steps_end
