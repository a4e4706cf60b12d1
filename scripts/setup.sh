#!/bin/sh
# setup.sh [--bochs]: sees to it that all is there to build, run and test: Debian packages, and the stock
# kernel that we boot (unpacked under build/kernel, never installed); with --bochs also the emulator Bochs,
# which takes GTK and its like with it. Says what it installs; a no-op when nothing is missing. Works as root
# or through sudo.
#
# SPDX-License-Identifier: BSD-2-Clause
set -eu
cd "$(dirname "$0")/.."

PACKAGES="gcc libc6-dev binutils make patch libjansson-dev libcmocka-dev clang libclang-rt-dev clang-format
	qemu-system-x86 busybox-static cpio jq gnuplot-nox grub-pc-bin grub-common xorriso mtools spin"
BOCHS_PACKAGES="bochs bochsbios vgabios"
# Debian 12's Bochs is 2.7. Debian 13's, 3.0, is about twice as fast, and runs on 12 with its own C library.
BOCHS_SUITE=trixie
BOCHS_UNPACKED="bochs bochsbios vgabios libc6 libstdc++6 libgcc-s1"
BOCHS_DIR=build/bochs
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

# Of the machine's own sources, the one that its release comes from.
release_uri() {
	# shellcheck disable=SC1091,SC2016 # not ours; apt's own words
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME") &&
		apt-get indextargets --format '$(CREATED_BY) $(CODENAME) $(COMPONENT) $(REPO_URI)' 2>/dev/null |
		awk -v c="$codename" '$1 == "Packages" && $2 == c && $3 == "main" { print $4; exit }'
}

# The packages of the other suite into $tmp, by lists of its own: the machine's stay as they are.
fetch_bochs() {
	uri=$(release_uri)
	[ -n "$uri" ] || return 1
	mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial"
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e $keys ] && signed="[signed-by=$keys]" || signed=
	echo "deb $signed $uri $BOCHS_SUITE main" >"$tmp/sources.list"
	cat >"$tmp/apt.conf" <<CONF
Dir::State::lists "$PWD/$tmp/lists";
Dir::Cache "$PWD/$tmp/cache";
Dir::Etc::SourceList "$PWD/$tmp/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Acquire::Languages "none";
APT::Sandbox::User "";
CONF
	apt-get -c "$tmp/apt.conf" -qq update >build/setup.log 2>&1 || return 1
	# shellcheck disable=SC2086 # a list of words
	(cd "$tmp" && apt-get -c apt.conf -qq download $BOCHS_UNPACKED) >>build/setup.log 2>&1
}

# A newer Bochs than the installed one, unpacked; the installed one does too.
get_bochs() {
	[ ! -x "$BOCHS_DIR/bochs" ] || return 0
	! dpkg --compare-versions "$(dpkg-query -W -f '${Version}' bochs)" ge 3 || return 0
	say "downloading Bochs of Debian's $BOCHS_SUITE (unpacked to $BOCHS_DIR, not installed)"
	tmp=$BOCHS_DIR.new
	rm -rf "$tmp"
	mkdir -p "$tmp"
	if ! fetch_bochs; then
		rm -rf "$tmp"
		say "it is not to be had here (build/setup.log): the installed one has to do, at half its speed"
		return 0
	fi
	rm -r "$tmp/lists" "$tmp/cache" "$tmp/apt.conf" "$tmp/sources.list"
	for deb in "$tmp"/*.deb; do
		dpkg -x "$deb" "$tmp"
		rm "$deb"
	done
	cat >"$tmp/bochs" <<'WRAPPER'
#!/bin/sh
# Bochs as unpacked here, with the C library that came with it; all else is the system's.
usr=$(dirname "$0")/usr
lib=$usr/lib/x86_64-linux-gnu
export BXSHARE="$usr/share/bochs" LTDL_LIBRARY_PATH="$lib/bochs/plugins"
exec "$usr/lib64/ld-linux-x86-64.so.2" --library-path "$lib:/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu" \
	"$usr/bin/bochs-bin" "$@"
WRAPPER
	chmod +x "$tmp/bochs"
	rm -rf "$BOCHS_DIR"
	if "$tmp/bochs" --help 2>/dev/null | grep -q 'Bochs x86 Emulator'; then
		mv "$tmp" "$BOCHS_DIR"
	else
		rm -rf "$tmp"
		say "it does not run here: the installed one has to do, at half its speed"
	fi
}

command -v apt-get >/dev/null || die "this needs Debian 12 or 13 (no apt-get here)"
bochs=
case "$*" in
'') ;;
--bochs) bochs=yes ;;
*) die "usage: setup.sh [--bochs]" ;;
esac
mkdir -p build
[ -z "$bochs" ] || PACKAGES="$PACKAGES $BOCHS_PACKAGES"
install_packages
get_kernel
[ -z "$bochs" ] || get_bochs
