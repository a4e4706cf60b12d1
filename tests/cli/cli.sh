#!/bin/bash
# Tests of the command `twofold`: wrong input (one clear line, the right status), every exit status, the
# stats file, the console, signals; against a stand-in for QEMU.
#
# usage: cli.sh BUILD
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
build=$(cd "${1:-build}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

twofold=$build/twofold
mkdir bin home home/kernel
for name in qemu-system-x86_64 bochs-bin grub-mkimage; do
	ln -s "$here/fake-qemu" bin/$name
done
echo hypervisor >home/twofold-hv.elf
cp "$build/kernel/vmlinuz" home/kernel/vmlinuz
echo initrd >home/initramfs.cpio
export TWOFOLD_HOME=$tmp/home FAKE=poweroff
path=$PATH
PATH=$tmp/bin:$PATH

tests=0
failed=0
fail() {
	failed=$((failed + 1))
	echo "FAIL $*"
}

# is STATUS PATTERN ARGS...: `twofold ARGS` exits with STATUS, says one line, and it matches PATTERN.
is() {
	local want=$1 pattern=$2 got lines
	shift 2
	tests=$((tests + 1))
	timeout 20 "$twofold" "$@" </dev/null >out 2>err
	got=$?
	lines=$(wc -l <err)
	if [ $got != "$want" ]; then
		fail "twofold $*: status $got, not $want: $(head -c 200 err)"
	elif [ -n "$pattern" ] && { [ "$lines" != 1 ] || ! grep -qE -e "$pattern" err; }; then
		fail "twofold $*: said (in $lines lines): $(head -c 300 err)"
	elif [ -z "$pattern" ] && [ "$lines" != 0 ]; then
		fail "twofold $*: said: $(head -c 300 err)"
	fi
}

# holds WHAT CONDITION...
holds() {
	local what=$1
	shift
	tests=$((tests + 1))
	"$@" || fail "$what"
}

# ---- wrong input ----

head -c 1000000 home/kernel/vmlinuz >truncated
head -c 600 home/kernel/vmlinuz >stub
: >empty
echo "no kernel" >text
cp "$build/initramfs-mark" elf64 2>/dev/null || cp /bin/true elf64
mkdir directory

is 66 'kernel truncated: truncated: its header tells [0-9]+ bytes, the file has 1000000' run --kernel truncated
is 66 'kernel stub: truncated' run --kernel stub
is 66 'kernel empty: the file is empty' run --kernel empty
is 66 'kernel text: not a kernel: give a Linux bzImage' run --kernel text
is 66 'kernel elf64: an ELF file without a multiboot header' run --kernel elf64
is 66 'kernel directory: not a regular file' run --kernel directory
is 66 'kernel nowhere: No such file' run --kernel nowhere
is 64 'the file name is empty' run --kernel ''
is 66 'initrd empty: the file is empty' run --initrd empty
is 66 'initrd nowhere: No such file' run --initrd nowhere
is 66 'initrd /dev/zero: not a regular file' run --initrd /dev/zero

is 64 '--mem 1K: too little: give at least 32M' run --mem 1K
is 64 '--mem 1T: does not fit: this machine has [0-9.]+[MGT], so give at most [0-9.]+[MGT]$' run --mem 1T
is 64 '--mem 99999999999999999999G: does not fit' run --mem 99999999999999999999G
is 64 '--mem 32M: too little for this kernel and initrd: give at least [0-9]+M' run --mem 32M
is 64 '--mem 512: not a size' run --mem 512
is 64 '--mem -1G: not a size' run --mem=-1G
is 64 '--mem : not a size' run --mem ''
is 64 '--mem 512MB: not a size' run --mem 512MB
is 64 '--mem 65537K: give a multiple of 1M' run --mem 65537K

is 64 '--cpus 0: give a number from 1 to 64' run --cpus 0
is 64 '--cpus 9999: give a number from 1 to 64' run --cpus 9999
is 64 '--cpus -1: give' run --cpus=-1
is 64 '--cpus two: give' run --cpus two
is 64 '--cpus : give' run --cpus ''
is 64 '--mode both: give auto, nested or shadow' run --mode both

is 64 '--policy : give cost, dsp or random' run --policy ''
is 64 '--policy best: give cost, dsp or random' run --policy best
is 64 '--policy ,dsp: give cost' run --policy ,dsp
is 64 '--policy cost,period=5: cost has no settings: dsp has' run --policy cost,period=5
is 64 '--policy cost,: cost has no settings' run --policy cost,
is 64 "--policy dsp,: dsp has no setting '': it has period=MS, pf=U:L, tlb=U:L and ptt=U:L" run --policy dsp,
is 64 "--policy dsp,pt=1:1: dsp has no setting 'pt'" run --policy dsp,pt=1:1
is 64 '--policy dsp,pf: give pf=UPPER:LOWER' run --policy dsp,pf
is 64 '--policy dsp,period: give period=MS' run --policy dsp,period
for wrong in '' 1 1: :1 1:1:1 a:b -1:1 1:-1 1.:1 .5:.1 0.00000001:0 1001:1 99999999999999999999:1 1e3:1; do
	is 64 "--policy dsp,tlb=$wrong: tlb takes UPPER:LOWER, numbers up to 1000 with at most 7 decimals" \
		run --policy "dsp,tlb=$wrong"
done
is 64 '--policy dsp,ptt=1:2: ptt: the upper threshold comes first' run --policy dsp,ptt=1:2
is 64 '--policy dsp,period=0: period takes milliseconds from 1 to 86400000' run --policy dsp,period=0
is 64 '--policy dsp,period=1.5: period takes' run --policy dsp,period=1.5
is 64 '--policy dsp,period=5,period=5: period is given twice' run --policy dsp,period=5,period=5
is 64 '--policy dsp,pf=1:1,tlb=1:1,pf=1:1: pf is given twice' run --policy dsp,pf=1:1,tlb=1:1,pf=1:1
is 64 '--grain page: give vm or space' run --grain page
for wrong in '' -1 x 1.5 4294967296 99999999999999999999; do
	is 64 "--seed $wrong: give a number from 0 to 4294967295" run --seed="$wrong"
done
is 64 '--policy: it is for --mode auto, and here the mode is nested' run --mode nested --policy cost
is 64 '--grain: it is for --mode auto, and here the mode is shadow' run --grain vm --mode shadow
is 64 '--seed: it is for --mode auto' run --mode shadow --seed 1
is 64 '--trace: it is for --mode auto' run --mode shadow --trace t.jsonl
is 64 '--policy: it is for --mode auto, and here the mode is nested' run --switch-every 20 --policy dsp
is 64 '--switch-every: with --mode auto the mode is chosen: give --mode nested or shadow' run --mode auto --switch-every 20
is 64 '--trace : |--trace: the file name is empty' run --trace ''
is 64 '--trace nowhere/t: cannot write it: No such file' run --trace nowhere/t
is 64 '--trace directory: cannot write it: Is a directory' run --trace directory
is 64 '--trace same: --stats writes the same file' run --trace same --stats same
holds "what is refused writes no trace" [ ! -e t.jsonl ]

is 64 '--nodes 0: give a number from 1 to 64' run --nodes 0
is 64 '--nodes 65: give' run --nodes 65
is 64 '--nodes two: give' run --nodes two
is 64 '--nodes 2M: give' run --nodes 2M
is 64 '--nodes : give' run --nodes ''
is 64 '--nodes 3: more nodes than CPUs \(2\)' run --nodes 3
is 64 '--nodes 8: more nodes than CPUs \(4\)' run --cpus 4 --nodes 8
is 64 '--nodes 16: too little memory for each of them: give at least --mem 128M' run --nodes 16 --cpus 16 --mem 64M
is 64 '--nodes 3: but --node was given 2 times' run --nodes 3 --node cpus=0,mem=64M --node cpus=1,mem=64M

is 64 '--node : give cpus=LIST,mem=SIZE' run --node ''
is 64 '--node 0-1: give cpus=LIST,mem=SIZE' run --node 0-1
is 64 '--node cpus=0: give its memory too' run --node cpus=0
is 64 '--node mem=64M: no node|--node: no node has a CPU' run --node mem=64M
is 64 '--node cpus=,mem=64M: cpus= takes a list' run --node cpus=,mem=64M
is 64 '--node cpus=1-0,mem=64M: cpus= takes' run --node cpus=1-0,mem=64M
is 64 '--node cpus=64,mem=64M: cpus= takes a list such as 0-1,4 of CPUs below 64' run --node cpus=64,mem=64M
is 64 '--node cpus=0-,mem=64M: cpus= takes' run --node cpus=0-,mem=64M
is 64 '--node cpus=0,1: give its memory too' run --node cpus=0,1
is 64 '--node cpus=0,mem=64: mem= takes' run --node cpus=0,mem=64
is 64 '--node cpus=0,mem=64MB: give' run --node cpus=0,mem=64MB
is 64 '--node cpus=0,mem=64M,: give' run --node cpus=0,mem=64M,
is 64 '--node cpus=0,mem=64M,mem=64M: give' run --node cpus=0,mem=64M,mem=64M
is 64 '--node cpus=0,mem=64M,size=3: give' run --node cpus=0,mem=64M,size=3
is 64 '--node cpus=0,mem=65M: give its memory as a multiple of 2M' run --node cpus=0,mem=65M
is 64 '--node cpus=0,mem=4M: too little memory: give at least 8M' run --node cpus=0,mem=4M
is 64 '--node cpus=0,mem=99999999999999999999G: too much' run --node cpus=0,mem=99999999999999999999G
is 64 '^twofold: 400.1G of memory on 2 nodes do not fit: .* this machine has' run --node cpus=0,mem=128M --node cpus=1,mem=400G
is 64 '--node: too little memory on all nodes: give at least 32M' run --node cpus=0,mem=8M --node cpus=1,mem=8M
is 64 '--node cpus=1-2,mem=64M: CPU 1 is in node 0 already' run --node cpus=0-1,mem=64M --node cpus=1-2,mem=64M
is 64 '--node: CPU 1 is in no node' run --node cpus=0,mem=64M --node cpus=2,mem=64M
is 64 '--node: CPU 2 is in no node' run --cpus 3 --node cpus=0,mem=64M --node cpus=1,mem=64M
is 64 '--node: CPU 3 is in a node, but --cpus 2 has none' run --cpus 2 --node cpus=0-1,mem=64M --node cpus=2-3,mem=64M
is 64 '--mem 256M: the nodes have 128M together' run --mem 256M --node cpus=0,mem=64M --node cpus=1,mem=64M
tests=$((tests + 1))
# shellcheck disable=SC2046 # words are meant
timeout 20 "$twofold" run --node cpus=0,mem=64M $(printf -- '--node mem=8M %.0s' $(seq 64)) >out 2>err
[ $? = 64 ] && grep -q 'there are 64 nodes already' err || fail "65 nodes: $(cat err)"

is 64 '--distance : give NODE,NODE=DISTANCE' run --nodes 2 --distance ''
is 64 '--distance 0-1=20: give' run --nodes 2 --distance 0-1=20
is 64 '--distance 0,1: give' run --nodes 2 --distance 0,1
is 64 '--distance 0,1=x: give' run --nodes 2 --distance 0,1=x
is 64 '--distance 0,64=20: give NODE,NODE=DISTANCE with nodes below 64' run --nodes 2 --distance 0,64=20
is 64 '--distance 0,2=20: there is no node 2: the last one is 1' run --nodes 2 --distance 0,2=20
is 64 '--distance 0,1=21: there is no node 1: the last one is 0' run --distance 0,1=21
is 64 '--distance 0,1=10: between nodes it is from 11 to 254' run --nodes 2 --distance 0,1=10
is 64 '--distance 0,1=255: between' run --nodes 2 --distance 0,1=255
is 64 '--distance 1,1=11: from a node to itself it is 10' run --nodes 2 --distance 1,1=11
is 64 '--distance 0,1=22: it was 21 before' run --nodes 2 --distance 0,1=21 --distance 0,1=22

is 64 '--groups two: give node, one or vcpu' run --groups two
is 64 '--install key: give lock or cas' run --install key
is 64 '--regroup-every 0: give milliseconds from 1 to 86400000' run --regroup-every 0
is 64 '--regroup-every soon: give' run --regroup-every soon
is 64 '--regroup-every : give' run --regroup-every ''
is 64 '--regroup-every 99999999999: give' run --regroup-every 99999999999
is 64 '--switch-every 0: give milliseconds from 1 to 86400000' run --switch-every 0
is 64 '--switch-every soon: give' run --switch-every soon
is 64 '--switch-every -5: give' run --switch-every -5
is 64 '--regroup-every: with --groups one there is nothing' run --groups one --regroup-every 50

is 64 '--timeout 0: give' run --timeout 0
is 64 '--timeout soon: give' run --timeout soon
is 64 '--timeout nan: give' run --timeout nan
is 64 '--append: a control character' run --append $'a\nb'
is 64 '--append: [0-9]+ characters: this kernel takes at most 2047' run --append "$(printf '%05000d' 1)"
is 64 "what is 'vmlinuz'" run vmlinuz
is 64 "no command 'fly': use run, walk, table or report" fly
is 64 'which command' # none at all
is 64 'name at least one file' table
is 66 'table: text: ' table text
is 66 'table: nowhere: ' table nowhere
echo '{"a":1}' >other.json
is 66 'no --stats file' table other.json
is 64 '--stats nowhere/x: cannot write it: No such file' run --stats nowhere/x
is 64 '--stats directory: cannot write it: Is a directory' run --stats directory
tests=$((tests + 1))
timeout 20 "$twofold" run --wrong >out 2>err
[ $? = 64 ] && grep -q "unrecognized option '--wrong'" err || fail "an unknown option: $(cat err)"

mv home/kernel/vmlinuz away
is 66 "kernel $tmp/home/kernel/vmlinuz: not there: 'make setup'" run
mv away home/kernel/vmlinuz
mv home/twofold-hv.elf away
is 66 'the hypervisor .* is not there' run
mv away home/twofold-hv.elf
# shellcheck disable=SC2123 # a search path without QEMU is what is wanted
PATH=/nonexistent-dir
tests=$((tests + 1))
/usr/bin/timeout 20 "$twofold" run >out 2>err </dev/null
status=$?
PATH=$tmp/bin:$path
[ $status = 66 ] && [ "$(wc -l <err)" = 1 ] && grep -q 'no qemu-system-x86_64 in PATH' err ||
	fail "QEMU missing: status $status: $(cat err)"

# ---- walks ----

is 64 'walk: which address\? Give --at' walk
for wrong in '' 0x 0xg 10 0x12345678123456789 eip RIP; do
	is 64 "--at $wrong: give an address such as 0xffffffff81000000, or a register" walk --at "$wrong"
done
for wrong in '' soon mark ms mark=; do
	is 64 "--when $wrong: (give mapped, user, mark=N or ms=N|mark= takes)" walk --at rip --when "$wrong"
done
is 64 '--when mark=256: mark= takes a number up to 255' walk --at rip --when mark=256
is 64 '--when ms=-1: ms= takes a number up to 86400000' walk --at rip --when ms=-1
is 64 '--access execute: give read, write or fetch' walk --at rip --access execute
is 64 '--html: the file name is empty' walk --at rip --html ''
is 64 '--html nowhere/x: cannot write it: No such file' walk --at rip --html nowhere/x
is 64 "walk: what is '0x10'" walk 0x10
is 64 '--mode both: give auto' walk --at rip --mode both
is 66 'kernel nowhere: No such file' walk --at rip --kernel nowhere
is 64 '--backing 1g: give 1G, 2M or 4K' run --backing 1g
is 64 '--backing 1G: no node of the guest has a whole GiB' run --backing 1G
is 64 '--backing 1G: no node of the guest has a whole GiB' run --backing 1G --nodes 2 --mem 1536M

export FAKE_WALK=$here/walk.json FAKE_WORDS=$tmp/words
FAKE=walk
is 0 '' walk --at rsp --html walk.html
holds "a walk's words" grep -qx 'append: mode=auto mem=512M spare=1 recheck=1 walk=rsp walk_when=mark:1 walk_as=read' words
holds "no console in a walk" sh -c '! grep -q console out'
holds "a walk's text" grep -qx 'read of 0x7fff81d67540 (rsp) by the user, on vCPU 1, at the guest.s mark' out
holds "its first reference" grep -qxE '    1  NPT  PML4E    0x2ba0c000  0x0000000000e00027  table   P W U A' out
holds "what is missing" grep -qx '       (nothing is mapped: a nested fault, which installs a leaf)' out
holds "its place is counted" grep -qx '    4  NPT  PTE' out
holds "an entry behind what is missing" grep -qx '    5       PML4E    0x290867f8  0x00000000107f1067  table   P W U A' out
holds "its leaf" grep -qx '   17       PTE      0x289efb38  0x800000000fdf1867  4K page P W U A D NX' out
holds "its sum" grep -qx '20 references on nested tables when nothing is missing (now 3, then a nested fault); 4 without a hypervisor; 4 on shadow tables.' out
holds "a tracked table" grep -qx "       (tracked: for the guest's table at 0x2086000, a write to which faults; 7 entries)" out
holds "an old entry" grep -q "unsync: for the guest's table at 0x107ec000, .*; the guest has changed this one since" out
holds "its picture" sh -c "[ \$(grep -o 'class=\"dot\"' walk.html | wc -l) = 24 ]"
holds "a page that stands alone" sh -c "! grep -qE '(src|href)=|url\(' walk.html"
holds "light and dark" grep -q 'prefers-color-scheme:dark' walk.html
is 0 '--backing 1G: the machine has no GiB for it, or its CPU no such nested pages: it was 2M' \
	walk --at rip --mem 1G --backing 1G
holds "a guest's GiB" grep -q 'mem=1024M spare=1 recheck=1 backing=1G ' words
is 0 '' walk --at 0xFFFFFFFF81000000 --access write --when ms=100 --mode nested --cpus 1 --backing 4K
holds "other words" grep -qx 'append: mode=nested mem=512M backing=4K walk=0xffffffff81000000 walk_when=ms:100 walk_as=write' words
is 0 '' walk --at 0x10
holds "an address of a process waits for one" grep -q 'walk=0x10 walk_when=user walk_as=read$' words
is 0 '' walk --at 0xffffffff81000000
holds "an address of the kernel waits until it is mapped" grep -q 'walk_when=mapped walk_as=read$' words
is 0 '' walk --at 0x10 --when mapped
holds "... as it may be asked to" grep -q 'walk=0x10 walk_when=mapped ' words
is 0 '' walk --at rip
holds "code is fetched" grep -q 'walk=rip walk_when=mark:1 walk_as=fetch$' words
FAKE=walk_early
is 0 '' walk --at rsp
FAKE=poweroff
echo before >walk.html
is 3 'walk: the hypervisor explained no walk' walk --at rsp --html walk.html
holds "a page stays where there is no walk" grep -qx before walk.html
echo '{"ev":"walk","end":"mapped","shadow":{"end":"none"},"steps":[1,2,3,4,5,6,7]}' >odd.json
FAKE=walk FAKE_WALK=odd.json
is 3 'walk: the hypervisor explained no walk' walk --at rsp
FAKE=poweroff

# ---- how a run ends ----

is 0 '' run --stats s.json --append 'a,b c'
# (CPU 0 of the machine runs no vCPU when there are several: docs/protocol.md.)
holds "modules on the line" grep -qE '^modules: /proc/self/fd/[0-9]+ console=ttyS0 a,,b c,/proc/self/fd/[0-9]+$' out
holds "the hypervisor's words" grep -q '^append: mode=auto mem=512M spare=1 recheck=1$' out
holds "stats of a run" jq -e '.mode == "auto" and .cpus == 2 and .mem == 536870912 and
	.reason == "poweroff" and .status == 0 and .guest_seconds == 4 and .boot_seconds == 1.5 and
	.boot_cycles == 1500000000 and .exits.npf == 12 and .exits.hlt == 30 and
	.guest_faults == 1 and .shadow_faults == 2 and .nested_faults == 3 and .unsyncs == 4 and
	.resyncs == 5 and .table_pages == 6 and (.marks | length) == 1 and .work[0].seconds == 0.5 and
	.machine.qemu == "0.0"' s.json >/dev/null
holds "a table of two runs" "$twofold" table s.json s.json >table
holds "its exits" grep -qE '^  hlt +30 +30$' table
holds "groups and nodes in the stats" jq -e '.nodes == [{"cpus":"0-1","mem":536870912,"distances":[10]}] and
	(.groups | length) == 2 and .groups_now == 2 and .grouping == "node" and .grouping_now == "one" and
	.install == "lock" and .copies == 7 and .regroups == 8 and .frames_local == 9 and
	.pages_local == 10 and .pages_remote == 11 and (.host_nodes | length) == 1' s.json >/dev/null
holds "two groups in the table" grep -qE '^  1: pages of its tables +4 +4$' table
holds "no nodes for one" grep -qxE 'numa:|objects:' out

# ---- Bochs ----

mkdir t
export TMPDIR=$tmp/t FAKE_SCRIPT=$tmp/script FAKE_RC=$tmp/rc REAL_PATH=$path
is 64 '--machine vax: give qemu, bochs-intel or bochs-amd' run --machine vax
is 64 '--machine : give qemu' run --machine ''
is 64 '--silence 0: give a number of seconds' run --silence 0
is 64 '--cpus 17: a machine of Bochs has at most 16' run --machine bochs-amd --cpus 17
is 64 '--mem 2G: a machine of Bochs has at most 2G, with the hypervisor.s share: give at most [0-9]+M' \
	run --machine bochs-intel --mem 2G
most=$(sed -n 's/.*at most \([0-9]*\)M$/\1/p' err)
is 64 "--append: a ' in it: Bochs boots by GRUB" run --machine bochs-amd --append "a='b'"
is 64 '--append: a \\ in it' run --machine bochs-amd --append 'a\b'
holds "what does not fit makes nothing" [ ! -e rc ]

is 0 '' run --machine bochs-intel --mem "${most}M" --cpus 1
holds "Bochs: the most memory" grep -qE '^memory: guest=204[0-9], host=204[0-9]$' rc
is 0 '' run --machine bochs-amd --cpus 3 --mem 96M --append 'a,b $c  {d}' --stats s.json --nodes 2
holds "Bochs: CPUs" grep -q '^cpu: model=ryzen, count=3, ' rc
holds "Bochs: memory" grep -qE '^memory: guest=([0-9]+), host=\1$' rc
holds "Bochs: the hypervisor's words" grep -q '^append: mode=auto mem=96M node=0-1:48M node=2:48M$' out
holds "Bochs: modules" [ "$(cat script)" = "multiboot /hv twofold 'mode=auto' 'mem=96M' 'node=0-1:48M' 'node=2:48M'
module /kernel kernel 'console=ttyS0' 'a,b' '\$c' '{d}'
module /initrd initrd
boot" ]
holds "Bochs: no debugger" grep -qx 'debugger: ' rc
holds "Bochs: the console is a pipe where there can be no keys" grep -q '^com1: enabled=1, mode=file' rc
holds "Bochs: nothing else on its network" [ "$(grep -c '^[0-9]*: ' rc.ip)" -le 1 ]
holds "Bochs: stats" jq -e '.machine.kind == "bochs-amd" and .machine.emulator == "Bochs 0.0 (ryzen)" and
	(.machine | has("qemu") | not) and .reason == "poweroff" and .status == 0' s.json >/dev/null
for file in hv:twofold-hv.elf kernel:kernel/vmlinuz initrd:initramfs.cpio; do
	xorriso -osirrox on -indev rc.iso -extract "/${file%%:*}" extracted 2>/dev/null
	holds "Bochs: ${file%%:*} on the CD" cmp -s extracted "home/${file#*:}"
	rm -f extracted
done
"$twofold" run --stats q.json </dev/null >/dev/null
holds "a table of two machines" grep -qE '^ +bochs-amd +qemu$' <("$twofold" table s.json q.json)
FAKE_VERSION=2.7 is 0 '' run --machine bochs-intel
holds "Bochs 2: its debugger goes on" grep -qx 'debugger: continue' rc
holds "Bochs: Intel" grep -q '^cpu: model=corei7_skylake_x, ' rc

tests=$((tests + 1))
[ "$(printf 'one\nbye\n' | FAKE='echo' timeout 20 "$twofold" run --machine bochs-amd 2>err | tr -d '\r')" = $'got one\ngot bye' ] ||
	fail "Bochs: keys: $(cat err)"
holds "Bochs: the console is a terminal where there are keys" grep -q '^com1: enabled=1, mode=term, dev=/dev/pts/' rc
FAKE=die is 3 'died without a last word: Bochs was killed by SIGKILL' run --machine bochs-amd
FAKE=debug_exit FAKE_CODE=7 is 7 '' run --machine bochs-amd
tests=$((tests + 1))
FAKE=nostart timeout 20 "$twofold" run --machine bochs-amd >out 2>err </dev/null
[ $? = 3 ] && grep -q '^twofold: Bochs: \[ACPI  \] a panic$' err &&
	grep -q 'the hypervisor did not start: Bochs ended with status 1' err || fail "Bochs does not start: $(cat err)"
tests=$((tests + 1))
FAKE=spin timeout 20 "$twofold" run --machine bochs-amd --silence 1.5 --stats s.json >out 2>err </dev/null
[ $? = 3 ] && grep -q 'Bochs hangs: nothing came on a serial line while it ran for 1.5 s' err &&
	grep -qx 'twofold: console: the last words' err && grep -q '^twofold: hv: {"ev":"log"' err &&
	jq -e '.reason == "hang" and .status == 3' s.json >/dev/null || fail "Bochs hangs: $(cat err)"
# One that does not even run gets ten times as long, and its time limit before that.
tests=$((tests + 1))
FAKE=hang timeout 20 "$twofold" run --machine bochs-amd --silence 0.3 --timeout 2 >out 2>err </dev/null
[ $? = 124 ] && grep -q 'the time limit of 2 s has passed' err && grep -q '^twofold: hv: {"ev":"counters"' err ||
	fail "Bochs sleeps: $(cat err)"
tests=$((tests + 1))
FAKE=hang timeout 20 "$twofold" run --machine bochs-amd --silence 0.3 >out 2>err </dev/null
[ $? = 3 ] && grep -q 'Bochs hangs' err || fail "Bochs sleeps for ever: $(cat err)"
tests=$((tests + 1))
PATH=/nonexistent-dir /usr/bin/timeout 20 "$twofold" run --machine bochs-amd >out 2>err </dev/null
[ $? = 66 ] && grep -qx "twofold: no Bochs here: 'scripts/setup.sh --bochs' gets it" err ||
	fail "no Bochs: $(cat err)"
ln -s /bin/false bin/xorriso
is 66 'xorriso failed: it did not say why' run --machine bochs-amd
rm bin/xorriso
TMPDIR=$tmp/nowhere is 66 'nowhere/twofold-[^ ]*: no directory to be made there' run --machine bochs-amd
holds "Bochs: nothing is left behind" [ -z "$(ls -A t)" ]
unset TMPDIR FAKE_RC

# ---- nodes ----

# says WHAT LINE: the stand-in for QEMU was given that.
says() {
	holds "$1" grep -qxF -- "$2" out
}
is 0 '' run --nodes 2 --cpus 5 --mem 129M --stats s.json
says "two nodes: words" 'append: mode=auto mem=129M node=0-2:64M node=3-4:65M spare=1 recheck=1'
says "two nodes: CPUs" 'numa: node,nodeid=0,memdev=node0,cpus=0,cpus=1,cpus=2,cpus=3 node,nodeid=1,memdev=node1,cpus=4,cpus=5'
says "two nodes: smp" 'smp: 6'
holds "two nodes: sizes" awk -F'[=,M ]+' '/^memory:/ { all = $2 } /^objects:/ { sum = $6 + $11; odd = $6 % 2 + $11 % 2 }
	END { exit !(all == sum && sum >= 129 + 64 && !odd) }' out
holds "two nodes: stats" jq -e '.nodes == [{"cpus":"0-2","mem":67108864,"distances":[10,20]},
	{"cpus":"3-4","mem":68157440,"distances":[20,10]}]' s.json >/dev/null
holds "two nodes: table" grep -qE '^nodes +2$' <("$twofold" table s.json)
is 0 '' run --node mem=64M,cpus=1,3 --node cpus=0,2,mem=32M --node mem=8M --groups vcpu --install cas \
	--regroup-every 50 --distance 0,1=15 --distance 1,2=31 --distance 2,1=42 --distance 2,2=10
says "listed nodes: words" "append: mode=auto mem=104M node=1,3:64M node=0,2:32M node=:8M \
distance=0:10,15,20 distance=1:15,10,31 distance=2:20,42,10 spare=1 recheck=1 groups=vcpu install=cas regroup=50"
says "listed nodes: smp" 'smp: 5'
holds "listed nodes: distances" grep -q ' dist,src=1,dst=2,val=31 dist,src=2,dst=0,val=20 dist,src=2,dst=1,val=42 ' out
is 0 '' run --nodes 2 --node cpus=0,mem=64M --node cpus=1,mem=64M --cpus 2 --mem 128M
says "told twice, and the same" 'append: mode=auto mem=128M node=0:64M node=1:64M spare=1 recheck=1'
is 0 '' run --nodes 1 --groups one
says "one node: words" 'append: mode=auto mem=512M spare=1 recheck=1 groups=one'
is 0 '' run --cpus 1
says "one CPU: words" 'append: mode=auto mem=512M'
says "one CPU: smp" 'smp: 1'
is 0 '' run --nodes 64 --cpus 64 --distance 0,63=99
says "64 nodes: smp" 'smp: 65'

is 0 '' run --mode shadow --append 'console=hvc0'
holds "the user's console" grep -qE '^modules: [^ ]+ console=hvc0,' out
holds "the mode" grep -q '^append: mode=shadow ' out
is 0 '' run --mode shadow --switch-every 20 --stats s.json
says "changes of the mode: words" 'append: mode=shadow mem=512M spare=1 recheck=1 switch=20'
holds "changes of the mode: stats" jq -e '.mode == "shadow" and .mode_now == "nested" and .switch_ms == 20 and
	.switches == 12 and .vcpu_switches == 13 and .switch_cycles == 14 and .switch_cycles_max == 15 and
	(.switch_stops.shadow | length) == 3 and .switch_stop_median == {nested: null, shadow: 8192}' s.json >/dev/null
holds "changes of the mode: table" grep -qE '^  of them, each CPU.s +13$' <("$twofold" table s.json)
holds "changes of the mode: stops" grep -qE '^  stop to shadow, median +8,192$' <("$twofold" table s.json)
is 0 '' run --switch-every 20
says "changes of the mode without a first one: words" 'append: mode=nested mem=512M spare=1 recheck=1 switch=20'

# ---- the choice of the mode ----

is 0 '' run --policy dsp,tlb=10:0.1,period=5000,ptt=0.00002:0.000015,pf=0.0005:0.0000100 --grain space --seed 4294967295
says "a policy's words" "append: mode=auto mem=512M spare=1 recheck=1 \
policy=dsp,period=5000,pf=5000:100,tlb=100000000:1000000,ptt=200:150 grain=space seed=4294967295"
is 0 '' run --policy dsp,pf=1:1 --policy cost --mode auto --cpus 1 --trace t.jsonl
says "the last policy counts, and a trace: words" 'append: mode=auto mem=512M policy=cost trace=1'
is 0 '' run --policy dsp,pf=1000:0,tlb=1.0:1
says "thresholds at their ends" 'append: mode=auto mem=512M spare=1 recheck=1 policy=dsp,pf=10000000000:0,tlb=10000000:10000000'

export FAKE=choice
echo 'older and longer than what comes' >t.jsonl
is 0 '' run --stats s.json --trace t.jsonl --policy cost --seed 7 --append 'a <b>&'
holds "switches in the stats" jq -e '(.switch_list | length) == 1 and .switches == 1 and .switches_unlisted == 0 and
	(.switch_list[0] | .seconds == 1.5 and .from == "nested" and .to == "shadow" and .grain == "vm" and .cpu == 1 and
	.why == "a <b>reason</b> & more" and .misses_per_s == 1210000 and .faults_per_s == 240 and .nested_ppm == 310000 and
	.shadow_ppm == 21000 and .regret == 31000000 and .price == 30000000 and (has("ev") | not))' s.json >/dev/null
holds "shares in the stats" jq -e '.mode_share == {"nested":0.25,"shadow":0.75} and .meter_share == 0.005 and
	.calibration.miss_nested == 410 and .policy == "cost" and .policy_asked == "cost" and .grain == "vm" and
	.seed == 7 and .meter_samples == 2 and .meter_windows == 3' s.json >/dev/null
# (The console is another pipe than the events': the work may come anywhere.)
holds "the trace's events" [ "$(jq -r .ev t.jsonl | grep -v work | tr '\n' ' ')" = \
	'run hello calibration mark sample switch sample mark end ' ]
holds "the trace's work" jq -es 'map(select(.ev == "work")) == [{"ev":"work","told":{"work":"chase","seconds":1,"count":7}}]' \
	t.jsonl >/dev/null
holds "the trace's head" jq -es '.[0] | .ev == "run" and .mode == "auto" and .machine.qemu == "0.0" and
	.append == "a <b>&" and .policy_asked == "cost"' t.jsonl >/dev/null
holds "a mark in the trace is short" jq -es 'map(select(.ev == "mark"))[0] == {"ev":"mark","mark":16,"tsc":1100000000}' \
	t.jsonl >/dev/null
holds "shares in the table" grep -qE '^  share of time on shadow +0.750$' <("$twofold" table s.json)
timeout 20 "$twofold" run --verbose >out 2>err </dev/null
holds "a line for a switch" grep -qxF "twofold: switch    1.500 s  vm  nested -> shadow: a <b>reason</b> & more; \
nested costs 31.0 % (1.21 M TLB misses/s), shadow 2.1 % (240 faults/s, 1.50 k CR3 writes/s); \
regret 31.0 ms of 30.0 ms" err
holds "a line for the calibration" grep -qxF "twofold: calibration, in cycles: an exit 3200; a TLB miss 410 nested, \
150 shadow; on shadow tables a guest's fault 9200, a CR3 write 4100, an INVLPG 3500, a page filled 5200; \
950 instructions in 1000 cycles (measured in 100 ms)" err
is 0 '' run # and none of them without --verbose
holds "no choice: stats" jq -e '.switch_list == [] and .mode_share == null and .meter_share == null and
	.calibration == null and .policy == null and .policy_asked == null and .seed == null' \
	<(FAKE=reset timeout 20 "$twofold" run --stats /dev/stdout --mode nested </dev/null) >/dev/null
export FAKE=spaces
is 0 '' run --grain space --trace spaces.jsonl
timeout 20 "$twofold" run --verbose >out 2>err </dev/null
holds "a line for an address space" grep -q 'switch    2.000 s  space 0x1000  shadow -> nested: exits; ' err
is 66 '--trace /dev/full: not all of it was written: No space left' run --trace /dev/full
export FAKE=choice_hang
is 124 'the time limit' run --trace hang.jsonl --timeout 0.5
holds "a stopped guest's trace" jq -es '.[-1] == {"ev":"stopped","reason":"timeout"} and .[-2].ev == "counters" and
	any(.ev == "switch")' hang.jsonl >/dev/null
"$twofold" run --trace killed.jsonl </dev/null >out 2>err &
job=$!
for _ in $(seq 50); do
	grep -q '"switch"' killed.jsonl 2>/dev/null && break
	sleep 0.1
done
sleep 0.3
kill -s KILL $job
wait $job 2>/dev/null
holds "nothing is lost when the command is killed" jq -es 'map(select(.ev == "sample")) | length == 2' killed.jsonl >/dev/null
export FAKE=poweroff

# ---- report ----

is 0 '' report t.jsonl -o page.html
# page WHAT TEXT: the page holds it.
page() {
	holds "$1" grep -qF -- "$2" page.html
}
page "the page's machine" 'QEMU 0.0 (TCG)'
page "the page's guest" 'a &lt;b&gt;&amp;'
page "the page's reason" 'a &lt;b&gt;reason&lt;/b&gt; &amp; more'
page "the page's shares" 'Nested 25.0 %, shadow 75.0 %'
page "the page's meter" 'The meter itself took 0.50 %'
page "the page's switch" '<tr><td>1.500</td><td class="text nested">nested</td><td class="text shadow">shadow</td><td>31.0 %</td><td>2.1 %</td><td>1.21 M</td>'
page "the page's calibration" '<td class="text">cycles</td><td>3200</td><td>410</td><td>150</td><td>9200</td>'
page "the page's row" '>vCPU 1<'
page "the page's part" '>chase<'
# Each tag is closed in its turn.
holds "the page is well-formed" awk -v RS='<' '
	NR == 1 || /^!/ || /^(meta|br)/ || /^[^>]*\/>/ { next }
	{ name = $0; sub(/[ \t\n>].*/, "", name) }
	/^\// { if (open[depth--] != substr(name, 2)) { print "unbalanced: " name; exit bad = 1 } next }
	{ open[++depth] = name }
	END { exit bad || depth }' page.html
holds "the page needs nothing else" [ -z "$(grep -oE '(src|href)="?(https?:|//)|<script|@import|url\(' page.html)" ]
is 0 '' report spaces.jsonl -o page.html
page "an address space's row" '>0x1000<'
page "an address space's costs" 'Cost, space 0x1000'
page "each address space" 'for each address space'
is 0 '' report hang.jsonl -o page.html
page "a stopped guest" 'stopped: timeout'
grep -vE '"(switch|end)"' t.jsonl >early.jsonl
is 0 '' report early.jsonl -o page.html
page "no switch" 'The mode was never changed.'
page "no shares" 'Not told in this trace.'
# More samples than columns.
{
	grep -E '"(run|hello)"' t.jsonl
	seq 3000 | sed 's/.*/{"ev":"sample","tsc":&000000,"cpu":0,"mode":"shadow","grain":"vm","faults_per_s":&,"nested_ppm":5}/'
} >many.jsonl
is 0 '' report many.jsonl -o page.html
page "thinned" 'Thinned: 3000 samples'

: >empty.jsonl
grep -v '"sample"' t.jsonl >none.jsonl
head -c -20 t.jsonl >cut.jsonl
grep -v '"hello"' t.jsonl >headless.jsonl
sed 's/"mode":"shadow"/"mode":"both"/' t.jsonl >both.jsonl
is 66 'report: empty.jsonl: the file is empty' report empty.jsonl -o page.html
is 66 'report: cut.jsonl: line [0-9]+ is cut off, or no JSON object' report cut.jsonl -o page.html
is 66 "report: text: not a trace that 'twofold run --trace' wrote: line 1 is no JSON object" report text -o page.html
is 66 "report: s.json: not a trace that 'twofold run --trace' wrote: line 1 is no" report s.json -o page.html
is 66 "report: other.json: not a trace that 'twofold run --trace' wrote: line 1 is no event" report other.json -o page.html
is 66 'report: none.jsonl: no samples in it' report none.jsonl -o page.html
is 66 'report: headless.jsonl: line [0-9]+ is an event before the one that tells the clock' report headless.jsonl -o page.html
is 66 'report: both.jsonl: line [0-9]+ is an event without its mode' report both.jsonl -o page.html
is 66 'report: nowhere: No such file' report nowhere -o page.html
is 66 'report: directory: Is a directory' report directory -o page.html
is 66 'report: -o /dev/full: not written: No space left' report t.jsonl -o /dev/full
is 64 'report: -o nowhere/page: cannot write it: No such file' report t.jsonl -o nowhere/page
is 64 'report: -o ./t.jsonl: that is the trace itself' report t.jsonl -o ./t.jsonl
is 64 'report: say where the page is to go: -o FILE.html' report t.jsonl
is 64 'report: name the file that --trace wrote' report -o page.html
is 64 "report: one trace at a time: what is 't.jsonl'" report t.jsonl t.jsonl -o page.html
is 64 'report: --output: the file name is empty' report t.jsonl -o ''
# shellcheck disable=SC2123 # a search path without gnuplot is what is wanted
PATH=/nonexistent-dir
/usr/bin/timeout 20 "$twofold" report t.jsonl -o none.html >out 2>err
status=$?
PATH=$tmp/bin:$path
holds "no gnuplot" [ $status = 66 ]
holds "no gnuplot: one line" grep -qxF "twofold: report: no gnuplot in PATH: install Debian's package gnuplot-nox \
(scripts/setup.sh does)" err
holds "no gnuplot: no page" [ ! -e none.html ]
printf '#!/bin/sh\necho; echo "it is broken" >&2; exit 1\n' >bin/gnuplot
chmod +x bin/gnuplot
is 66 'bin/gnuplot failed: it is broken' report t.jsonl -o none.html
printf '#!/bin/sh\necho no picture\n' >bin/gnuplot
is 66 'report: gnuplot drew something that is no SVG' report t.jsonl -o none.html
rm bin/gnuplot

# ---- more of how a run ends ----

is 0 '' run --initrd none
holds "no initrd" grep -qE '^modules: /proc/self/fd/[0-9]+ console=ttyS0$' out

# A full disk is noticed at the end.
is 66 'not written: No space left' run --stats /dev/full

export FAKE=reset && is 0 '' run
export FAKE=debug_exit FAKE_CODE=0 && is 0 '' run
export FAKE_CODE=7 && is 7 '' run
export FAKE_CODE=255 && is 255 '' run
export FAKE=triple_fault && is 2 'the guest crashed \(triple fault\)' run
export FAKE=assert && is 3 'the hypervisor stopped: assert' run
export FAKE=error FAKE_CODE=66 && is 66 'one clear line' run
export FAKE_CODE=3 && is 3 'one clear line' run
export FAKE=unfit && is 3 '^twofold: one clear line' run
export FAKE=die && is 3 'the hypervisor died without a last word: QEMU was killed by SIGKILL$' run
export FAKE=leave && is 3 'the hypervisor died without a last word: QEMU ended with status 5$' run
export FAKE=nostart
timeout 20 "$twofold" run >out 2>err </dev/null
holds "a QEMU that does not start: status" [ $? = 3 ]
holds "a QEMU that does not start: why" grep -q "QEMU: .*cannot set up guest memory" err
holds "a QEMU that does not start: how" grep -q "did not start: QEMU ended with status 1$" err

export FAKE=hang
is 124 'the time limit of 0.5 s has passed' run --timeout 0.5 --stats s.json
holds "stats after the time limit" jq -e '.reason == "timeout" and .status == 124 and .exits.npf == 12' s.json >/dev/null
export FAKE=poweroff
timeout 20 "$twofold" run --verbose >out 2>err </dev/null
holds "--verbose" grep -q 'hv: a word of the hypervisor' err
export FAKE=linger
is 0 '' run

# ---- the console ----

export FAKE=echo
tests=$((tests + 1))
printf 'one\ntwo\nbye\n' | timeout 20 "$twofold" run >out 2>err
[ "$(cat out)" = "$(printf 'got one\ngot two\ngot bye')" ] || fail "input reaches the guest: $(cat out)"
export FAKE=flood
tests=$((tests + 1))
timeout 60 "$twofold" run </dev/null 2>err | { sleep 0.3; wc -l; } >out
[ "$(cat out)" = 200000 ] || fail "a slow reader loses output: $(cat out)"
tests=$((tests + 1))
timeout 20 "$twofold" run </dev/null 2>err | head -n 1 >out
[ "${PIPESTATUS[0]}" = 141 ] || fail "a reader that leaves: status ${PIPESTATUS[0]}"

# ---- nothing left behind ----

gone() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		# A zombie that nobody has waited for yet is gone, too.
		grep -q -E '^State:[[:space:]]+[RSDTtI]' "/proc/$1/status" 2>/dev/null || return 0
		sleep 0.1
	done
	return 1
}
export FAKE=hang FAKE_PID=$tmp/pid
for signal in TERM INT HUP QUIT KILL; do
	tests=$((tests + 1))
	rm -f pid
	# A shell starts background jobs with SIGINT ignored: setsid's child takes the default again.
	env --default-signal=INT,QUIT "$twofold" run --stats s.json </dev/null >out 2>err &
	job=$!
	for _ in $(seq 50); do
		[ -s pid ] && break
		sleep 0.1
	done
	sleep 0.3
	kill -s $signal $job
	wait $job 2>/dev/null
	status=$?
	[ $status = $((128 + $(kill -l $signal))) ] || fail "SIG$signal: status $status"
	gone "$(cat pid)" || fail "SIG$signal leaves QEMU behind"
	[ $signal = KILL ] || jq -e '.reason == "signal"' s.json >/dev/null || fail "SIG$signal: stats"
done
unset FAKE_PID

# A terminal is raw while the guest runs, Ctrl-A x quits, and it is as it was afterwards.
if ! script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
	echo "skip: no pseudo-terminal to be had here"
else
	export FAKE=hang twofold
	tests=$((tests + 1))
	(sleep 1.5; printf '\001x'; sleep 0.5) | timeout 20 script -qec \
		'stty -a >before; "$twofold" run; echo $? >status; stty -a >after' /dev/null >out 2>err
	[ "$(cat status)" = 0 ] || fail "Ctrl-A x: status $(cat status)"
	cmp -s before after || fail "the terminal is not restored: $(diff before after)"
fi

# ---- help ----

for args in --help 'run --help' 'table --help' 'report --help' --version 'run --version'; do
	tests=$((tests + 1))
	# shellcheck disable=SC2086
	timeout 20 "$twofold" $args >out 2>err && [ -s out ] && [ ! -s err ] || fail "twofold $args"
done
for option in kernel initrd append cpus mem mode policy grain seed trace nodes node distance groups install regroup-every \
	switch-every stats timeout verbose machine silence; do
	timeout 20 "$twofold" run --help | grep -q -e "--$option" || fail "run --help hides --$option"
	grep -q -e "${option//-/.*-}" "$here/../../man/twofold.1" || fail "the manual page hides --$option"
	tests=$((tests + 2))
done

echo "$tests checks, $failed failed"
[ $failed = 0 ]
