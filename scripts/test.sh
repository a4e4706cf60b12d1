#!/bin/bash
# test.sh [PATTERN]: everything that is checked (PATTERN: only the steps whose names match it), as
# scripts/steps.sh says. Logs: build/test/.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
logs=build/test
export pattern=${1:-.}
# shellcheck source=scripts/steps.sh
. scripts/steps.sh
jobs=$(nproc)

# runs MODE NAME: can the step NAME be run in this mode? Skips it if not.
runs() {
	[ "$1" = shadow ] && [ -n "$no_shadow" ] || return 0
	skip "$2" "$no_shadow"
	return 1
}

# Each binary is a step of its own, so that one that does not build fails alone.
build() {
	timeout 900 make --no-print-directory -j"$jobs" -k "$@" >$logs/build.log 2>&1 || {
		failed=$((failed + 1))
		echo "FAIL build ($logs/build.log)"
		grep -E 'error|Error' $logs/build.log | head -n 15 | sed 's/^/    /'
	}
}

binary() {
	local name=$1 limit=$2
	shift 2
	if [ -x "$1" ]; then
		step "$name" "$limit" "$@"
	else
		failed=$((failed + 1))
		echo "FAIL $name (not built: $logs/build.log)"
	fi
}

build all initramfs tests build/bench/faults
no_shadow=$(scripts/shadow.sh)

step lint 120 scripts/lint.sh
step setup/again 60 scripts/setup.sh --bochs
step model 900 scripts/model.sh
step cli 300 tests/cli/cli.sh build
step workload 120 scripts/workload.sh build

for t in tests/unit/test_*.c; do
	[ -e "$t" ] || continue
	t=$(basename "$t" .c)
	binary "unit/${t#test_}" 300 "build/tests/$t"
done
step mistakes 300 scripts/mistakes.sh build
for suite in matrix random threads; do
	if compgen -G "tests/$suite/*.c" >/dev/null; then
		binary $suite 400 build/tests/$suite
	fi
done

binary faults/apart 120 build/bench/faults --quick
binary faults/spread 120 build/bench/faults --quick --spread

for f in tests/fuzz/fuzz_*.c; do
	[ -e "$f" ] || continue
	f=$(basename "$f" .c)
	if ! command -v clang >/dev/null; then
		skip "fuzz/${f#fuzz_}" "no clang here"
		continue
	fi
	build "build/tests/$f"
	binary "fuzz/${f#fuzz_}" 120 scripts/fuzz.sh 15 "build/tests/$f"
done

if [ -e build/baretest.elf ]; then
	for mode in nested shadow; do
		runs $mode "bare/$mode" || continue
		step "bare/$mode" 300 build/twofold run --kernel build/baretest.elf --mode $mode --cpus 2 \
			--mem 256M --timeout 280 --stats $logs/bare-$mode.json
	done
else
	skip bare "no test guest is built"
fi

for cpus in 1 2 4; do
	for mode in nested shadow; do
		runs $mode "boot/$mode/$cpus" || continue
		step "boot/$mode/$cpus" 320 scripts/boot.sh $mode $cpus $logs/guest-$mode-$cpus
	done
done
# Two GiBs of memory, each mapped as one where that can be.
for mode in nested auto; do
	if [ "$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)" -lt 5 ]; then
		skip "boot/1G/$mode" "it takes 4 GiB of memory"
		continue
	fi
	runs ${mode/auto/shadow} "boot/1G/$mode" || continue
	step "boot/1G/$mode" 320 scripts/boot.sh $mode 2 $logs/guest-1g-$mode job=workload --mem 2G --backing 1G
done
for mode in nested shadow; do
	runs $mode "walk/$mode" || continue
	step "walk/$mode" 300 scripts/walk.sh $mode $logs/walk-$mode
done
# The mode changes while the guest runs.
if [ -e build/baretest.elf ]; then
	for mode in nested shadow; do
		runs shadow "switch/bare/$mode" || continue
		step "switch/bare/$mode" 300 build/twofold run --kernel build/baretest.elf --mode $mode --cpus 2 \
			--mem 256M --timeout 280 --switch-every 3 --stats $logs/switch-bare-$mode.json
	done
fi
for cpus in 1 2 4; do
	for mode in nested shadow; do
		runs shadow "switch/$mode/$cpus" || continue
		step "switch/$mode/$cpus" 320 scripts/boot.sh $mode $cpus $logs/switch-$mode-$cpus job=workload \
			--switch-every 20
	done
done
if runs shadow switch/nodes; then
	step switch/nodes 320 scripts/boot.sh nested 4 $logs/switch-nodes job=workload --switch-every 20 \
		--nodes 2 --regroup-every 30
fi
if runs shadow boot/calibration; then
	step boot/calibration 200 scripts/calibration.sh $logs/calibration
fi
# The mode is chosen while the guest runs: by cost, and by chance, which changes it more often.
for grain in vm space; do
	runs shadow "auto/$grain" || continue
	step "auto/$grain" 320 scripts/boot.sh auto 2 $logs/auto-$grain job=workload --grain $grain
	step "auto/$grain/random" 320 scripts/boot.sh auto 4 $logs/auto-$grain-random job=workload \
		--grain $grain --policy random
	step "auto/$grain/bare" 300 build/twofold run --kernel build/baretest.elf --mode auto --cpus 2 \
		--mem 256M --timeout 280 --grain $grain --policy random --stats $logs/auto-$grain-bare.json
done
! runs shadow meter/mprotect ||
	step meter/mprotect 320 scripts/meter.sh mprotect=20000 $logs/meter-mprotect
step nodes/host 400 scripts/hostnodes.sh $logs/hostnodes

two="0: CPUs '0-1', 256 MiB, distances 10 20
1: CPUs '2-3', 256 MiB, distances 20 10"
four="0: CPUs '0', 128 MiB, distances 10 20 20 20
1: CPUs '1', 128 MiB, distances 20 10 20 20
2: CPUs '2', 128 MiB, distances 20 20 10 20
3: CPUs '3', 128 MiB, distances 20 20 20 10"
custom="0: CPUs '1,3', 194 MiB, distances 10 15 20
1: CPUs '0,2', 256 MiB, distances 15 10 31
2: CPUs '', 62 MiB, distances 20 42 10"
for mode in nested shadow; do
	runs $mode "nodes/$mode" || continue
	step "nodes/$mode/2" 320 scripts/nodes.sh $mode $logs/nodes-$mode-2 "$two" --nodes 2 --cpus 4
	step "nodes/$mode/4" 320 scripts/nodes.sh $mode $logs/nodes-$mode-4 "$four" --nodes 4 --cpus 4
	step "nodes/$mode/custom" 320 scripts/nodes.sh $mode $logs/nodes-$mode-custom "$custom" \
		--node cpus=1,3,mem=194M --node mem=256M,cpus=0,2 --node mem=62M \
		--distance 0,1=15 --distance 1,2=31 --distance 2,1=42
	step "nodes/$mode/regroup" 320 scripts/nodes.sh $mode $logs/nodes-$mode-regroup "$two" --nodes 2 \
		--cpus 4 --groups vcpu --install cas --regroup-every 5
done
step iso/nested 320 scripts/isoboot.sh qemu nested $logs/iso
if runs shadow iso/shadow; then
	step iso/shadow 320 scripts/isoboot.sh usb shadow $logs/iso
fi

# A machine that lacks what it takes is told so.
step lacks 60 scripts/lacks-qemu.sh $logs/lacks

# An emulator of another making, with both vendors' machines (more of it: make test-machines).
for machine in bochs-amd bochs-intel; do
	if ! why=$(scripts/machine.sh $machine); then
		skip $machine "$why"
		continue
	fi
	for mode in nested shadow auto; do
		step "$machine/bare/$mode" 400 build/twofold run --machine $machine --kernel build/baretest.elf \
			--mode $mode --cpus 2 --mem 256M --timeout 380 --stats $logs/$machine-bare-$mode.json
	done
	step "$machine/walk" 200 scripts/walk.sh nested $logs/walk-$machine $machine
	step "$machine/linux" 500 scripts/boot.sh auto 2 $logs/$machine-linux "job=off quiet" --machine $machine
done

steps_end
