#!/bin/sh
# Sees to it that all is there to build, run and test: Debian packages, and the stock kernel that we
# boot (unpacked under build/kernel, never installed). Says what it installs; a no-op when nothing is
# missing. Works as root or through sudo.
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/.."

PACKAGES="gcc libc6-dev binutils make patch libjansson-dev libcmocka-dev clang libclang-rt-dev clang-format
	qemu-system-x86 busybox-static cpio jq gnuplot-nox grub-pc-bin grub-common xorriso mtools spin"
KERNEL_META=linux-image-cloud-amd64
KERNEL_DIR=build/kernel

say() {
	echo "setup: $*" >&2
}

die() {
	say "$*"
	exit 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		env DEBIAN_FRONTEND=noninteractive "$@"
	elif command -v sudo >/dev/null; then
		sudo env DEBIAN_FRONTEND=noninteractive "$@"
	else
		die "neither root nor sudo: run this as root first: $*"
	fi
}

updated=
update_lists() {
	[ -z "$updated" ] || return 0
	updated=yes
	as_root apt-get -qq update || say "apt-get update failed; going on with the lists that are there"
}

missing_packages() {
	for p in $PACKAGES; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
	done
}

install_packages() {
	missing=$(missing_packages | tr '\n' ' ')
	[ -n "$missing" ] || return 0
	say "installing Debian packages: $missing"
	update_lists
	# shellcheck disable=SC2086 # a list of words
	as_root apt-get -qq install -y --no-install-recommends $missing >build/setup.log 2>&1 || {
		tail -n 20 build/setup.log >&2
		die "apt-get could not install them (the whole output: build/setup.log)"
	}
}

# The kernel package that the meta package depends on now.
kernel_package() {
	apt-cache depends "$KERNEL_META" 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*-cloud-amd64\)$/\1/p' | head -n 1
}

get_kernel() {
	[ ! -e "$KERNEL_DIR/vmlinuz" ] || return 0
	package=$(kernel_package)
	if [ -z "$package" ]; then
		update_lists
		package=$(kernel_package)
	fi
	[ -n "$package" ] || die "apt knows no $KERNEL_META: is this Debian 12 or 13 for amd64?"
	say "downloading $package (unpacked to $KERNEL_DIR, not installed)"
	tmp=$KERNEL_DIR.new
	rm -rf "$tmp"
	mkdir -p "$tmp/root"
	fetch_kernel || {
		update_lists # the list may name a version that its mirror has dropped
		package=$(kernel_package)
		fetch_kernel || die "apt-get could not download $package"
	}
	dpkg -x "$tmp"/linux-image-*.deb "$tmp/root"
	rm "$tmp"/linux-image-*.deb
	vmlinuz=$(cd "$tmp" && echo root/boot/vmlinuz-*)
	[ -f "$tmp/$vmlinuz" ] || die "$package holds no kernel"
	ln -s "$vmlinuz" "$tmp/vmlinuz"
	echo "$package" >"$tmp/package"
	rm -rf "$KERNEL_DIR"
	mv "$tmp" "$KERNEL_DIR"
}

fetch_kernel() {
	(cd "$tmp" && apt-get -qq -o APT::Sandbox::User=root download "$package")
}

command -v apt-get >/dev/null || die "this needs Debian 12 or 13 (no apt-get here)"
mkdir -p build
install_packages
get_kernel
