#!/bin/bash
# mkimage.sh OUT CACHE: packs busybox and Debian's stress-ng with its libraries. The packages are downloaded
# to CACHE and unpacked there, never installed.
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/../.."
out=$1
cache=$2

die() {
	echo "mkimage: $*" >&2
	exit 1
}
. bench/debian.sh

debian_unpack "$cache" stress-ng

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp}
cp "$(command -v busybox)" "$root/bin/busybox" || die "no busybox (Debian: busybox-static)"
ln -s busybox "$root/bin/sh"
cp bench/stress/init "$root/init"
chmod 755 "$root/init"
debian_copy "$cache" "$root" /usr/bin/stress-ng
initramfs_pack "$root" "$out"
