#!/bin/bash
# mkimage.sh OUT CACHE MARK TIMED: packs busybox and real programs of Debian's packages with their libraries:
# gcc, sqlite3, redis, stress-ng, python3; and for gcc to compile some of our own sources, preprocessed. The
# packages are downloaded to CACHE and unpacked there, never installed.
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/../.."
out=$1
cache=$2
here=bench/programs

die() {
	echo "mkimage: $*" >&2
	exit 1
}
. bench/debian.sh

debian_unpack "$cache" gcc sqlite3 redis-server redis-tools stress-ng python3-minimal

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp,src,usr/bin}
cp "$(command -v busybox)" "$root/bin/busybox" || die "no busybox (Debian: busybox-static)"
ln -s busybox "$root/bin/sh"
cp "$3" "$root/bin/mark"
cp "$4" "$root/bin/timed"
cp $here/init $here/programs.sh $here/job.py "$root/"
chmod 755 "$root/init"

cc1=$(cd "$cache/root" && echo usr/lib/gcc/x86_64-linux-gnu/*/cc1)
[ -f "$cache/root/$cc1" ] || die "the packages hold no cc1"
python=$(basename "$(readlink -f "$cache/root/usr/bin/python3")")
debian_copy "$cache" "$root" "/$cc1" /usr/bin/{gcc,as,sqlite3,redis-server,redis-cli,redis-benchmark,stress-ng,python3}
mkdir -p "$root/usr/lib/$python"
cp -r "$cache/root/usr/lib/$python/." "$root/usr/lib/$python/"

# Of the engine's sources the larger ones, but for the largest.
find engine -name '*.c' -printf '%s %p\n' | sort -k 1,1nr -k 2 | sed -n 5,12p | while read -r _ file; do
	gcc -E -P -std=gnu11 -ffreestanding -Iinclude -Iengine "$file" -o "$root/src/$(basename "$file" .c).i"
done
# Two that measure side by side may both pack it.
initramfs_pack "$root" "$out.$$"
mv "$out.$$" "$out"
