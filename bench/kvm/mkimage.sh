#!/bin/bash
# mkimage.sh OUT KERNEL_ROOT VMLINUZ INITRAMFS: packs the machine in which KVM is measured: Debian's KVM
# modules from KERNEL_ROOT (an unpacked kernel package), Debian's QEMU as installed here with its libraries
# and firmware, and the guest (VMLINUZ, INITRAMFS).
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
out=$1
kernel=$2
vmlinuz=$3
initramfs=$4
here=$(cd "$(dirname "$0")" && pwd)

die() {
	echo "mkimage: $*" >&2
	exit 1
}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp,lib/modules,lib64,firmware,guest}
cp "$(command -v busybox)" "$root/bin/busybox" || die "no busybox (Debian: busybox-static)"
ln -s busybox "$root/bin/sh"
cp "$here/init" "$root/init"
chmod 755 "$root/init"

for m in irqbypass kvm kvm-amd; do
	file=$(find "$kernel" -name "$m.ko*" | head -n 1)
	case $file in
	*.xz) busybox xzcat "$file" >"$root/lib/modules/$m.ko" ;;
	*.ko) cp "$file" "$root/lib/modules/$m.ko" ;;
	*) die "no $m.ko under $kernel" ;;
	esac
done

qemu=$(command -v qemu-system-x86_64) || die "no qemu-system-x86_64"
cp "$qemu" "$root/bin/"
ldd "$qemu" | grep -o '/[^ ]*' | while read -r lib; do
	mkdir -p "$root$(dirname "$lib")"
	cp -L "$lib" "$root$lib"
done
for f in bios-256k.bin kvmvapic.bin linuxboot.bin linuxboot_dma.bin; do
	for dir in /usr/share/seabios /usr/share/qemu; do
		[ ! -e "$dir/$f" ] || cp -L "$dir/$f" "$root/firmware/"
	done
	[ -e "$root/firmware/$f" ] || die "no firmware $f (Debian: qemu-system-data, seabios)"
done

cp -L "$vmlinuz" "$root/guest/vmlinuz"
cp -L "$initramfs" "$root/guest/initramfs.cpio"
find "$root" -type d -exec chmod 755 {} +
(cd "$root" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$out.new"
mv "$out.new" "$out"
