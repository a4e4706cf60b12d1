#!/bin/bash
# shadow.sh: can shadow mode run on this machine's QEMU? If not (QEMU 10.0 does not intercept reads of CR3),
# prints why in one line, and the status is 1. Only the hypervisor's own word on that counts: whatever else
# goes wrong is for the tests to find. QEMU 7 is known to be right and is not asked.
#
# SPDX-License-Identifier: BSD-2-Clause
set -u
cd "$(dirname "$0")/.." || exit 1
! qemu-system-x86_64 --version 2>/dev/null | grep -q 'version 7\.' || exit 0
# (The name of no test: where shadow mode works, the guest ends at once.)
why=$(timeout 70 build/twofold run --mode shadow --cpus 1 --mem 64M --kernel build/baretest.elf \
	--append only=none --timeout 60 2>&1 >/dev/null </dev/null | grep -m 1 'shadow mode cannot run')
[ -n "$why" ] || exit 0
echo "${why#twofold: }"
exit 1
