#!/bin/sh
# mkinitramfs.sh OUT INIT MARK [BINARY...]: packs the guest's small user space as a cpio archive (newc).
# The same input gives the same bytes: fixed times, owners, order and inode numbers.
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
out=$1
init=$2
shift 2

busybox=$(command -v busybox) || {
	echo "mkinitramfs: no busybox here (Debian: busybox-static)" >&2
	exit 1
}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/root"
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$init" "$root/init"
for f in "$@"; do
	name=$(basename "$f")
	cp "$f" "$root/bin/${name#initramfs-}"
done
find "$root" -type d -exec chmod 755 {} +
chmod 755 "$root/init" "$root"/bin/*
find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . -mindepth 1 | LC_ALL=C sort |
	cpio --quiet -o -H newc --reproducible --renumber-inodes -R 0:0) >"$out.new"
mv "$out.new" "$out"
