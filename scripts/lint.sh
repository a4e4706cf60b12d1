#!/bin/bash
# What a machine can check of how the sources are written: form, floors, words. Prints each finding and
# exits with 1 if there is any; says what it could not check here.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C
found=0
finding() {
	found=$((found + 1))
	echo "lint: $*"
}

mapfile -t c_files < <(find include engine hv model cli guest tests bench -name '*.[ch]' 2>/dev/null | sort)
mapfile -t all_files < <(find Makefile README.md .ci include engine hv model cli guest tests bench scripts \
	man docs -type f ! -name '*.svg' ! -name '*.png' ! -name '*.json' ! -path '*/corpus/*' 2>/dev/null | sort)

# ---- form ----

# Versions of clang-format differ in small things: the one that the sources were formatted with counts.
check_format() {
	local have
	have=$(clang-format --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p')
	if [ "$have" != 14 ]; then
		echo "lint: skipped the format check: it needs clang-format 14, here is ${have:-none}"
		return
	fi
	clang-format --dry-run "${c_files[@]}" 2>&1 | grep 'warning:' >build/lint-format || return 0
	cut -d: -f1 build/lint-format | sort | uniq -c | while read -r n f; do
		echo "lint: $f: $n places are not as .clang-format has it"
	done
	found=$((found + 1))
}

check_heads() {
	local f
	for f in "${c_files[@]}"; do
		head -n 40 "$f" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' ||
			finding "$f: no SPDX line in its head"
	done
}

# ---- floors: a file includes only floors below it, or its own without a cycle ----

floor_of() {
	case $1 in
	include/*) echo 0 ;;
	engine/base/* | engine/format/* | engine/memory/*) echo 1 ;;
	engine/tables/*) echo 2 ;;
	engine/groups/*) echo 3 ;;
	engine/modes/*) echo 4 ;;
	engine/choice/* | engine/*.[ch]) echo 5 ;;
	hv/* | model/*) echo 6 ;;
	cli/*) echo 7 ;;
	*) echo none ;;
	esac
}

# The file that FROM means by "NAME" or <NAME>; nothing if it is the compiler's.
included_file() {
	local from=$1 name=$2 root
	for root in "$(dirname "$from")" include engine hv cli; do
		if [ -f "$root/$name" ]; then
			echo "$root/$name"
			return
		fi
	done
}

check_floors() {
	local from name to own floor edges=build/lint-includes
	: >$edges
	for from in "${c_files[@]}"; do
		own=$(floor_of "$from")
		[ "$own" != none ] || continue
		while read -r name; do
			to=$(included_file "$from" "$name")
			if [ -z "$to" ]; then
				case $own:$name in
				[0-6]:stdint.h | [0-6]:stdbool.h | [0-6]:stddef.h | [0-6]:stdarg.h | 7:*) ;;
				*) finding "$from includes <$name>: nothing of libc below floor 7" ;;
				esac
				continue
			fi
			floor=$(floor_of "$to")
			echo "$from $to" >>$edges
			if [ "$floor" -gt "$own" ]; then
				finding "$from (floor $own) includes $to (floor $floor)"
			elif [ "$own" -ge 6 ] && [ "$floor" -lt 6 ] && [ "$floor" -gt 0 ]; then
				finding "$from includes $to: only include/twofold/ is for hosts"
			elif [ "$own" = 6 ] && [ "$floor" = 6 ] && [ "${from%%/*}" != "${to%%/*}" ]; then
				finding "$from includes $to of another host"
			elif [[ $to =~ ^hv/(svm|vmx)/ && $from != "${BASH_REMATCH[0]}"* ]]; then
				finding "$from includes $to: a vendor is known by virt/vendor.h alone"
			fi
		done < <(sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]+[<"]([^>"]+)[>"].*/\1/p' "$from")
	done
	tsort $edges 2>build/lint-cycles >/dev/null
	if [ -s build/lint-cycles ]; then
		finding "files include each other in a circle:"
		cat build/lint-cycles
	fi
}

# ---- words ----

# (Written so that this file does not find itself.)
check_words() {
	local hits
	hits=$(grep -nE '\b(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b|place[h]older|lorem [i]psum|/wo[r]k/|(deb[.]|ftp[.]|registry[.])[a-z]+\b|docker[.]io|ghcr[.]io' \
		"${all_files[@]}")
	[ -z "$hits" ] || finding "words that do not belong here:"$'\n'"$hits"
	# (A patch shows an empty line of its file as a blank.)
	hits=$(grep -nE '[[:space:]]+$' "${all_files[@]}" | grep -v '^[^:]*\.patch:[0-9]*: $' | head -n 20)
	[ -z "$hits" ] || finding "blanks at the end of lines:"$'\n'"$hits"
}

check_scripts() {
	local scripts
	if ! command -v shellcheck >/dev/null; then
		echo "lint: skipped the check of shell scripts: no shellcheck here"
		return
	fi
	mapfile -t scripts < <(grep -lE '^#!.*/(ba|busybox )?sh\b' "${all_files[@]}")
	shellcheck -S warning "${scripts[@]}" || finding "shellcheck has something to say"
}

# A mistake that no longer fits is found here in a second, and not after the minutes that all of them take.
check_mistakes() {
	local p
	for p in tests/mistakes/*.patch; do
		patch -p1 -s --dry-run <"$p" >/dev/null || finding "$p: it does not fit the engine any more"
	done
}

mkdir -p build
check_format
check_heads
check_floors
check_words
check_scripts
check_mistakes
echo "lint: ${#c_files[@]} C files, ${#all_files[@]} files in all, $found findings"
[ $found = 0 ]
