#!/bin/bash
# Makes build/twofold.iso: GRUB, the hypervisor, Debian's kernel and our small user space; for machines (AMD's with
# SVM, Intel's with VMX) that boot from a CD or a USB stick by BIOS (docs/hardware.md).
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/.."
root=build/iso
rm -rf $root
mkdir -p $root/boot/grub
cp build/twofold-hv.elf $root/boot/
cp build/kernel/vmlinuz build/initramfs.cpio $root/boot/
# The first word of each line after the file is its name, as the hypervisor expects it of every loader.
cat >$root/boot/grub/grub.cfg <<'GRUB'
set timeout=5
set default=0
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console

function twofold {
	multiboot /boot/twofold-hv.elf twofold mode=$1 mem=512M
	module /boot/vmlinuz vmlinuz console=ttyS0 job=$2
	module /boot/initramfs.cpio initramfs.cpio
	boot
}
menuentry "Debian Linux on Twofold, tables chosen as it runs" {
	twofold auto workload
}
menuentry "Debian Linux on Twofold, nested tables" {
	twofold nested workload
}
menuentry "Debian Linux on Twofold, shadow tables" {
	twofold shadow workload
}
menuentry "A shell on Twofold" {
	twofold auto shell
}
GRUB
grub-mkrescue -o build/twofold.iso.new $root -- -volid TWOFOLD >build/iso.log 2>&1 || {
	tail -n 20 build/iso.log >&2
	exit 1
}
mv build/twofold.iso.new build/twofold.iso
rm -rf $root
echo "build/twofold.iso: $(du -h build/twofold.iso | cut -f1)"
