#!/bin/bash
# native.sh MACHINE CPUS OUT: boots the stock kernel with our small user space on one of Bochs's machines (as --machine
# names it) without a hypervisor, to compare with. Its console: OUT.log.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
machine=$1
cpus=$2
out=$3
cd "$(dirname "$0")/.." || exit 1
case $machine in
bochs-amd) model=ryzen ;;
bochs-intel) model=corei7_skylake_x ;;
*) echo "native: what machine is '$machine'?" && exit 64 ;;
esac
trap 'rm -rf "$out.cd" "$out.iso"' EXIT
rm -rf "$out.cd"
mkdir -p "$out.cd"
ln "$(realpath build/kernel/vmlinuz)" "$out.cd/kernel"
ln build/initramfs.cpio "$out.cd/initrd"
printf 'linux /kernel console=ttyS0 mem=512M job=off\ninitrd /initrd\nboot\n' >"$out.cfg"
grub-mkimage -O i386-pc-eltorito -p / -c "$out.cfg" -o "$out.cd/grub" biosdisk iso9660 linux boot || exit 1
xorriso -as mkisofs -quiet -R -o "$out.iso" -b grub -no-emul-boot -boot-load-size 4 -boot-info-table "$out.cd" ||
	exit 1
if ! scripts/bochs.sh $model "$cpus" "$out.iso" "$out" "${BOOT_SECONDS:-300}"; then
	echo "the kernel by itself does not power off ($out.log)"
	exit 1
fi
grep -aE "^guest: up at .* s, $cpus CPU" "$out.log"
