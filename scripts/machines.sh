#!/bin/bash
# machines.sh [PATTERN]: the longer tests on the machines of Bochs, an emulator of its own: both vendors, every mode,
# one CPU and two; steps as scripts/steps.sh says. The steps "times" set the boots beside those of the same machine
# without a hypervisor, of the same run or the last. Logs: build/test-machines/.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
logs=build/test-machines
export pattern=${1:-.}
# shellcheck source=scripts/steps.sh
. scripts/steps.sh

export BOOT_SECONDS=900

# bare MACHINE CPUS NAME OPTION...
bare() {
	step "$1/bare/$3/$2" 1000 build/twofold run --machine "$1" --kernel build/baretest.elf --cpus "$2" \
		--mem 256M --timeout 900 --stats "$logs/$1-bare-$3-$2.json" "${@:4}"
}

# linux MACHINE CPUS NAME MODE OPTION...
linux() {
	step "$1/linux/$3/$2" 1000 scripts/boot.sh "$4" "$2" "$logs/$1-$3-$2" job=off --machine "$1" "${@:5}"
}

for machine in bochs-amd bochs-intel; do
	if ! why=$(scripts/machine.sh $machine); then
		skip $machine "$why"
		continue
	fi
	for cpus in 1 2; do
		step $machine/native/$cpus 1000 scripts/native.sh $machine $cpus $logs/native-$machine-$cpus
		for mode in nested shadow auto; do
			bare $machine $cpus $mode --mode $mode
			linux $machine $cpus $mode $mode
		done
		bare $machine $cpus switch --mode nested --switch-every 3
		linux $machine $cpus switch shadow --switch-every 20
	done
	bare $machine 2 groups --mode shadow --nodes 2 --regroup-every 20
	linux $machine 2 groups auto --nodes 2 --policy random
	step $machine/iso 1000 scripts/isoboot.sh $machine shell $logs/iso
	for cpus in 1 2; do
		for mode in nested shadow auto; do
			step $machine/times/$mode/$cpus 10 scripts/times.sh $logs/$machine-$mode-$cpus.json \
				$logs/native-$machine-$cpus.bochs
			[[ $machine/times/$mode/$cpus =~ $pattern ]] &&
				sed 's/^/    /' $logs/$machine-times-$mode-$cpus.log
		done
	done
done

# What machines are told that lack something (docs/hardware.md).
lacks() {
	step "lacks/$1" 300 scripts/lacks.sh "$1" "$2" "$logs/lacks-$1-$2" "$3"
}
lacks p4_prescott_celeron_336 1 "this CPU has neither SVM (AMD virtualization) nor VMX (Intel's)"
lacks turion64_tyler 1 "this CPU has no nested paging (SVM NPT)"
lacks core2_penryn_t9600 1 "this CPU has no nested tables (Intel EPT)"
lacks corei5_lynnfield_750 2 "this CPU has no unrestricted guest (VMX)"

# Less of VMX than the machines above have: no unrestricted guest.
step less/old 1000 scripts/bare.sh corei5_lynnfield_750 1 $logs/less-old "mode=auto"
steps_end
