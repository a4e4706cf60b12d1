#!/bin/bash
# machine.sh MACHINE: can the hypervisor run on this machine (as --machine names it)? If not, prints why in one
# line, and the status is 1. Only the hypervisor's own word on that counts: whatever else goes wrong is for the
# tests to find.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
# (The name of no test: where the hypervisor runs, the guest ends at once.)
why=$(timeout 200 build/twofold run --machine "$1" --mode nested --cpus 1 --mem 64M --kernel build/baretest.elf \
	--append only=none --timeout 180 2>&1 >/dev/null </dev/null | grep -m 1 'this CPU has neither')
[ -n "$why" ] || exit 0
echo "${why#twofold: }"
exit 1
