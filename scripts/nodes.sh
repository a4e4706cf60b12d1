#!/bin/bash
# nodes.sh MODE OUT NODES OPTION...: boots the stock kernel with these options of `twofold run` and looks
# whether it sees the nodes that NODES tells, one a line, as guest/initramfs/init prints them:
#
#	0: CPUs '0-1', 256 MiB, distances 10 20
#
# whether the host gave it memory of its own nodes, and whether it has the groups that were asked for. The
# console stays in OUT.log, the numbers in OUT.json. 1 and a line for each thing that is wrong.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
mode=$1
out=$2
nodes=$3
shift 3
build=$(dirname "$0")/../build
mkdir -p "$(dirname "$out")"

timeout 400 "$build/twofold" run --mode "$mode" "$@" --stats "$out.json" --timeout 300 --append job=off \
	</dev/null >"$out.log" 2>"$out.err"
status=$?
bad=0
wrong() {
	bad=1
	echo "boot in $mode mode with $*"
}

[ $status = 0 ] || wrong "status $status: $(tail -n 8 "$out.err")"
seen=$(tr -d '\r' <"$out.log" | sed -n 's/^guest: node //p')
[ "$seen" = "$nodes" ] || wrong "other nodes than it should have:"$'\n'"$seen"
grep -aq '^guest: powering off' "$out.log" || wrong "no power-off"
! grep -aE '^guest: kernel says' "$out.log" || wrong "complaints of the kernel"
[ ! -s "$out.err" ] || wrong "words on standard error: $(head -n 3 "$out.err")"
jq -e '.pages_remote == 0 and (.host_nodes | length) == (.nodes | length) and
	(.host_nodes | all(.pages_local > 512))' "$out.json" >/dev/null ||
	wrong "pages of other nodes: $(jq -c .host_nodes "$out.json")"
jq -e 'if .regroup_ms > 0 then .regroups > 0
	elif .grouping == "vcpu" then .groups_now == .cpus
	else .groups_now == ([.nodes[] | select(.cpus != "")] | length) end and
	(.groups | length) >= .groups_now and .copies > 0' "$out.json" >/dev/null ||
	wrong "other groups than it should have: $(jq -c '[.grouping_now, .groups_now, .regroups, .copies]' "$out.json")"
exit $bad
