#!/bin/bash
# lacks.sh MODEL CPUS OUT TEXT: starts the hypervisor on a machine of Bochs with this model of CPU, which lacks
# something: it must say so in a line that begins with TEXT, and end. Its words: OUT.hv.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
model=$1
cpus=$2
out=$3
text=$4
cd "$(dirname "$0")/.." || exit 1
trap 'rm -f "$out.iso"' EXIT
printf 'multiboot /hv twofold mode=nested mem=64M\nmodule /kernel kernel only=none\nboot\n' |
	scripts/cd.sh "$out" multiboot build/twofold-hv.elf=hv build/baretest.elf=kernel || exit 1
scripts/bochs.sh "$model" "$cpus" "$out.iso" "$out" 200 || echo "it does not power off"
jq -es --arg text "$text" '(map(select(.ev == "error")) | length == 1 and (.[0].text | startswith($text))) and
	(.[-1] | .ev == "end" and .reason == "error" and .code == 3 and .exits_total == 0 and
	.switch_stops == {"nested": [], "shadow": []} and .undone == 0)' "$out.hv" >/dev/null || {
	echo "not what is to be said:"
	cut -c1-300 "$out.hv"
	exit 1
}
