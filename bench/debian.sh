# Programs of Debian's packages for the guest's images: downloaded and unpacked, never installed. Sourced by
# the mkimage.sh that need it; die() is theirs.
#
# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash

# debian_unpack CACHE PACKAGE...: CACHE/root becomes a tree of these packages with all that they depend on.
debian_unpack() {
	local cache=$1
	shift
	[ "$(cat "$cache/packages" 2>/dev/null)" != "$*" ] || return 0
	debian_download "$cache" "$@" || {
		apt-get -qq update && debian_download "$cache" "$@"
	} || die "apt-get could not download $*"
	# One tree whose /lib is /usr/lib, as it is on any Debian today.
	mkdir -p "$cache"/root/usr/{bin,sbin,lib,lib64}
	for d in bin sbin lib lib64; do
		ln -s usr/$d "$cache/root/$d"
	done
	for deb in "$cache"/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$cache/root"
	done
	rm -f "$cache"/*.deb
	echo "$*" >"$cache/packages"
}

debian_download() {
	local options=(--no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances)
	local cache=$1 packages
	shift
	packages=$(apt-cache depends --recurse "${options[@]}" "$@" | grep '^[a-z0-9]' | sort -u)
	# Names that only other packages provide cannot be downloaded.
	# shellcheck disable=SC2086 # a list of words
	packages=$(apt-cache show --no-all-versions $packages 2>/dev/null | sed -n 's/^Package: //p' | sort -u)
	[ -n "$packages" ] || return 1
	rm -rf "$cache"
	mkdir -p "$cache/root"
	# shellcheck disable=SC2086 # a list of words
	(cd "$cache" && apt-get -qq -o APT::Sandbox::User=root download $packages)
}

# debian_copy CACHE ROOT FILE...: programs of the tree (as /usr/bin/x) go to the same place under ROOT, with
# what they need, as the tree's own loader finds it.
debian_copy() {
	local cache=$1 root=$2 file lib
	local loader=$cache/root/lib64/ld-linux-x86-64.so.2
	local libs=$cache/root/usr/lib/x86_64-linux-gnu
	shift 2
	mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu"
	cp -L "$loader" "$root/lib64/"
	for file in "$@"; do
		mkdir -p "$root$(dirname "$file")"
		cp -L "$cache/root$file" "$root$file"
		"$loader" --library-path "$libs" --list "$cache/root$file" |
			sed -n 's/.*=> \(\/[^ ]*\).*/\1/p;s/.*=> \([^ \/][^ ]*\/[^ ]*\).*/\1/p' | while read -r lib; do
			case $lib in
			"$cache"/*) ;;
			*) die "$file wants $lib, which no downloaded package holds" ;;
			esac
			cp -L "$lib" "$root/lib/x86_64-linux-gnu/"
		done
	done
}

# initramfs_pack ROOT OUT
initramfs_pack() {
	find "$1" -type d -exec chmod 755 {} +
	(cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$2.new"
	mv "$2.new" "$2"
}
