#!/bin/bash
# walk.sh MODE OUT [MACHINE]: stops guests in a mode (nested, shadow) and looks at the walks that `twofold walk` tells:
# for the bare test guest, whose tables are known, their exact counts; for stock Linux (on QEMU) whether counts and
# addresses agree with the entries. 1 and a line for each thing that is wrong.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
mode=$1
out=$2
machine_asked=${3:-qemu}
cd "$(dirname "$0")/.." || exit 1
bad=0
wrong() {
	bad=1
	echo "$*"
}

# walk NAME ARGS...: into $out.NAME.txt and .html
walk() {
	local name=$1 status
	shift
	build/twofold walk --machine "$machine_asked" --mode "$mode" --timeout 150 --html "$out.$name.html" "$@" >"$out.$name.txt" 2>"$out.$name.err"
	status=$?
	[ $status = 0 ] || wrong "$name: status $status: $(head -n 3 "$out.$name.err")"
}

# counts NAME NESTED NATIVE SHADOW: the numbers of the sum
counts() {
	grep -qE "^$2 references on nested tables.*; $3 without a hypervisor; $4 on shadow tables\.$" "$out.$1.txt" ||
		wrong "$1: not $2, $3, $4: $(grep 'without a hypervisor' "$out.$1.txt")"
}

# number PATTERN: what it marks in the text, as a number
number() {
	echo $(($(sed -nE "s/$1/\\1/p" "$text" | tail -n 1)))
}

# agrees NAME: what is told agrees with the entries
agrees() {
	local text=$out.$1.txt last total at leaf machine nested=0
	# The hardware's references are numbered without a gap, and the last number is their count.
	last=$(awk '/^shadow tables/ { exit } $1 ~ /^[0-9]+$/ && NF > 1 && $2 != "references" { if ($1 != n + 1) bad = 1; n = $1 }
		END { print bad ? "with a gap" : n }' "$text")
	total=$(number '^([0-9]+) references on nested.*')
	[ "$last" = "$total" ] || wrong "$1: the last reference is number $last of $total"
	[ "$(sed '/The same on shadow/q' "$out.$1.html" | grep -o 'class="dot"' | wc -l)" = "$total" ] ||
		wrong "$1: the picture has not $total references"
	# The last entry is a leaf, and it and the address's last bits are where the text says.
	at=$(number '^[a-z]+ of (0x[0-9a-f]+).*')
	machine=$(number ".*that is the machine's (0x[0-9a-f]+)\\.")
	if [ "$mode" = nested ]; then
		leaf=$(sed '/^The guest maps/q' "$text" | grep -E '[KMG] page [PR]' | tail -n 1)
		nested=$(sed -nE "s/^the access itself, at the guest's (0x[0-9a-f]+)/\\1/p" "$text")
		at=$((nested))
	else
		leaf=$(sed '1,/^shadow tables/d' "$text" | grep -E '[KMG] page [PR]' | tail -n 1)
	fi
	case $leaf in
	*' 4K page '*) low=0xfff ;;
	*' 2M page '*) low=0x1fffff ;;
	*' 1G page '*) low=0x3fffffff ;;
	*) wrong "$1: no leaf at the end: $leaf" && return ;;
	esac
	leaf=$(grep -oE '0x[0-9a-f]{16}' <<<"$leaf")
	[ $(((leaf & 0xffffffffff000 & ~low) | (at & low))) = "$machine" ] ||
		wrong "$1: $leaf does not lead to $(printf '%#x' "$machine")"
	grep -q "^The hardware walks $mode tables now\.$" "$text" || wrong "$1: not in $mode mode"
}

# 2 MiB pages of the guest and behind them: 3 x (3 + 1) + 3. 4 KiB behind them: 3 x (4 + 1) + 4.
walk bare --at rip --kernel build/baretest.elf --append only=none --cpus 1 --mem 64M
counts bare 15 3 3
agrees bare
walk bare4k --at rip --kernel build/baretest.elf --append only=none --cpus 1 --mem 64M --backing 4K
counts bare4k 19 3 4
agrees bare4k
grep -q 'of 0x101[0-9a-f]* (rip) by the kernel' "$out.bare.txt" || wrong "bare: not where the guest ends"
# 1 GiB behind them: 3 x (2 + 1) + 2.
if [ "$mode" = nested ]; then
	walk bare1g --at rip --kernel build/baretest.elf --append only=none --cpus 1 --mem 1G --backing 1G
	counts bare1g 11 3 3
	agrees bare1g
	grep -q ' PDPTE .* 1G page ' "$out.bare1g.txt" || wrong "bare1g: no page of 1G"
fi

if [ "$machine_asked" != qemu ]; then
	format=NPT
	[ "$machine_asked" = bochs-intel ] && format=EPT
	grep -q "nested tables: $format;" "$out.bare.txt" || wrong "bare: not $format"
	exit $bad
fi

# 4 KiB on both sides: 4 x (4 + 1) + 4.
walk linux --at rip --backing 4K
counts linux 24 4 4
agrees linux
grep -q "by the user, on vCPU [01], at the guest's mark$" "$out.linux.txt" || wrong "linux: not at its mark"
# The kernel's own text.
walk kernel --at 0xffffffff81000000 --access fetch --append nokaslr --when mark=1
agrees kernel
[ "$mode" = shadow ] || counts kernel 15 3 3
grep -q 'in a page of 2M (R.*X' "$out.kernel.txt" || wrong "kernel: $(grep maps "$out.kernel.txt")"
# A null pointer, when user space is up: not mapped.
walk null --at 0x0 --when mark=1
grep -q '^The guest does not map it: its P[A-Z0-9]*E is not present. #PF, error code 0x4\.$' "$out.null.txt" ||
	wrong "null: $(grep -E '^The guest' "$out.null.txt")"
exit $bad
