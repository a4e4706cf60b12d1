#!/bin/bash
# mkimage.sh OUT CACHE: packs busybox and Debian's stress-ng with its libraries. The packages are downloaded
# to CACHE and unpacked there, never installed.
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
out=$1
cache=$2
here=$(cd "$(dirname "$0")" && pwd)

die() {
	echo "mkimage: $*" >&2
	exit 1
}

download() {
	local options=(--no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances)
	local packages
	packages=$(apt-cache depends --recurse "${options[@]}" stress-ng | grep '^[a-z0-9]' | sort -u)
	# Names that only other packages provide cannot be downloaded.
	packages=$(for p in $packages; do
		! apt-cache show --no-all-versions "$p" >/dev/null 2>&1 || echo "$p"
	done)
	[ -n "$packages" ] || return 1
	rm -rf "$cache"
	mkdir -p "$cache/root"
	# shellcheck disable=SC2086 # a list of words
	(cd "$cache" && apt-get -qq -o APT::Sandbox::User=root download $packages)
}

if [ ! -x "$cache/root/usr/bin/stress-ng" ]; then
	download || {
		apt-get -qq update && download
	} || die "apt-get could not download stress-ng"
	# One tree whose /lib is /usr/lib, as it is on any Debian today.
	mkdir -p "$cache"/root/usr/{bin,sbin,lib,lib64}
	for d in bin sbin lib lib64; do
		ln -s usr/$d "$cache/root/$d"
	done
	for deb in "$cache"/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$cache/root"
	done
	rm -f "$cache"/*.deb
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp,usr/bin,lib64}
cp "$(command -v busybox)" "$root/bin/busybox" || die "no busybox (Debian: busybox-static)"
ln -s busybox "$root/bin/sh"
cp "$cache/root/usr/bin/stress-ng" "$root/usr/bin/"
cp "$here/init" "$root/init"
chmod 755 "$root/init"
# What it needs, as its own loader finds it in that tree.
loader=$cache/root/lib64/ld-linux-x86-64.so.2
libs=$cache/root/usr/lib/x86_64-linux-gnu
cp -L "$loader" "$root/lib64/"
"$loader" --library-path "$libs" --list "$cache/root/usr/bin/stress-ng" |
	sed -n 's/.*=> \(\/[^ ]*\).*/\1/p;s/.*=> \([^ \/][^ ]*\/[^ ]*\).*/\1/p' | while read -r lib; do
	case $lib in
	"$cache"/*) ;;
	*) die "stress-ng wants $lib, which no downloaded package holds" ;;
	esac
	mkdir -p "$root/lib/x86_64-linux-gnu"
	cp -L "$lib" "$root/lib/x86_64-linux-gnu/"
done
find "$root" -type d -exec chmod 755 {} +
(cd "$root" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$out.new"
mv "$out.new" "$out"
