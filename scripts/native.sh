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
bochs-amd | bochs-intel) ;;
*) echo "native: what machine is '$machine'?" && exit 64 ;;
esac
trap 'rm -f "$out.iso"' EXIT
printf 'linux /kernel console=ttyS0 mem=512M job=off\ninitrd /initrd\nboot\n' |
	scripts/cd.sh "$out" linux build/kernel/vmlinuz=kernel build/initramfs.cpio=initrd || exit 1
if ! scripts/bochs.sh "$machine" "$cpus" "$out.iso" "$out" "${BOOT_SECONDS:-300}"; then
	echo "the kernel by itself does not power off ($out.log)"
	exit 1
fi
grep -aE "^guest: up at .* s, $cpus CPU" "$out.log"
