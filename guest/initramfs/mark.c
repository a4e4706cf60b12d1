/* mark N...: writes each byte N to port 0xf5, where Twofold notes the time and its counters.
 *
 * Elsewhere nothing listens at that port, and the write does no harm.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>

enum { MARK_PORT = 0xf5 };

int main(int argc, char **argv)
{
	if (ioperm(MARK_PORT, 1, 1) != 0) {
		perror("mark: ioperm");
		return 1;
	}
	for (int i = 1; i < argc; i++)
		outb((unsigned char)strtoul(argv[i], NULL, 0), MARK_PORT);
	return 0;
}
