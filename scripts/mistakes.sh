#!/bin/bash
# mistakes.sh BUILD [PATTERN]: puts each known mistake of tests/mistakes/ back into a copy of the engine and
# demands that its story fails, and that it passes without. A story is one test of a program in tests/unit/
# ("Story: PROGRAM TEST"; without PROGRAM: test_groups). Expects BUILD with those programs built; builds in
# BUILD/mistakes.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
pattern=${2:-.}
flags="-std=gnu11 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
	-D_GNU_SOURCE"
found=0
missed=0

# Only the files that the patch changes are built anew, unless it changes a header.
try() {
	local patch=$1 name dir story program=test_groups f objects=()
	name=$(basename "$patch" .patch)
	dir=$build/mistakes/$name
	story=$(sed -n 's/^Story: //p' "$patch")
	if [[ $story == *" "* ]]; then
		program=${story% *}
		story=${story#* }
	fi
	rm -rf "$dir"
	mkdir -p "$dir"
	cp -r engine "$dir/engine"
	if ! patch -s -p1 -d "$dir" <"$patch" >"$dir/log" 2>&1; then
		echo "FAIL $name: it does not fit the engine any more ($dir/log)"
		return 1
	fi
	if ! timeout 60 "$build/tests/$program" "$story" >"$dir/log" 2>&1; then
		echo "FAIL $name: $story fails without the mistake ($dir/log)"
		return 1
	fi
	while read -r f; do
		# shellcheck disable=SC2086
		if ! gcc $flags -Iinclude -I"$dir/engine" -c -o "$dir/$(basename "$f" .c).o" "$dir/$f" \
			>>"$dir/log" 2>&1; then
			echo "FAIL $name: it does not compile ($dir/log)"
			return 1
		fi
		objects+=("$dir/$(basename "$f" .c).o")
	done < <(sed -n 's,^+++ b/\(.*\.c\)$,\1,p' "$patch")
	# shellcheck disable=SC2086
	gcc $flags -pthread -o "$dir/test" "$build/user-asan/tests/unit/$program.o" "${objects[@]}" \
		-Wl,--start-group "$build/support-asan.a" "$build/engine-asan.a" -Wl,--end-group -lcmocka -lm \
		>>"$dir/log" 2>&1 || {
		echo "FAIL $name: it does not link ($dir/log)"
		return 1
	}
	# (The braces keep bash's own word on a command that died by a signal out of the list.)
	if { ASAN_OPTIONS=detect_leaks=0 timeout -s KILL 60 "$dir/test" "$story"; } >"$dir/log" 2>&1; then
		echo "FAIL $name: $story did not notice ($dir/log)"
		return 1
	fi
	echo "ok $name: $story"
	rm -rf "$dir/engine" "$dir/test"
}

for patch in tests/mistakes/*.patch; do
	[[ $patch =~ $pattern ]] || continue
	if try "$patch"; then
		found=$((found + 1))
	else
		missed=$((missed + 1))
	fi
done
echo "$found mistakes found, $missed not"
[ $missed = 0 ] && [ $found -gt 0 ]
