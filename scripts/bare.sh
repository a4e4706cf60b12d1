#!/bin/bash
# bare.sh MODEL CPUS OUT WORDS [TEST]: the bare test guest (only the tests that TEST names) on a machine of Bochs with this
# model of CPU, the hypervisor with these words: for what `twofold run --machine` does not offer. The guest's words:
# OUT.log, the hypervisor's: OUT.hv.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
model=$1
cpus=$2
out=$3
words=$4
only=${5:+only=$5}
cd "$(dirname "$0")/.." || exit 1
trap 'rm -f "$out.iso"' EXIT
printf 'multiboot /hv twofold mem=256M %s\nmodule /kernel kernel %s\nboot\n' "$words" "$only" |
	scripts/cd.sh "$out" multiboot build/twofold-hv.elf=hv build/baretest.elf=kernel || exit 1
scripts/bochs.sh "$model" "$cpus" "$out.iso" "$out" 900 || echo "it does not power off"
grep -aE '^FAIL|passed' "$out.log"
jq -es '.[-1] | .ev == "end" and .reason == "debug_exit" and .code == 0' "$out.hv" >/dev/null || {
	echo "not the end that it should have:"
	tail -n 3 "$out.hv" | cut -c1-300
	exit 1
}
