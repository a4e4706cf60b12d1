#!/bin/bash
# cd.sh OUT MODULE FILE=NAME...: makes OUT.iso, a CD that boots by the GRUB commands at standard input, with GRUB's MODULE
# (multiboot, linux) for them; FILE is on it as /NAME.
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/.."
out=$1
module=$2
shift 2
trap 'rm -rf "$out.cd"' EXIT
rm -rf "$out.cd"
mkdir -p "$out.cd"
for file in "$@"; do
	cp -L "${file%=*}" "$out.cd/${file##*=}"
done
cat >"$out.cfg"
grub-mkimage -O i386-pc-eltorito -p / -c "$out.cfg" -o "$out.cd/grub" biosdisk iso9660 "$module" boot
xorriso -as mkisofs -quiet -R -o "$out.iso" -b grub -no-emul-boot -boot-load-size 4 -boot-info-table "$out.cd"
