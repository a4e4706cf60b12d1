/* timed NAME COUNT MARK COMMAND: runs the shell's COMMAND between two marks (MARK and MARK + 0x80
 * to port 0xf5, where Twofold notes its counters), and prints a line of JSON as the workload does
 * if it went well:
 *
 *     {"work":"gcc","mark":64,"count":2,"size":0,"seconds":3.1415}
 *
 * Its exit status is the command's.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <sys/wait.h>
#include <time.h>

enum { MARK_PORT = 0xf5 };

static void mark(int byte)
{
	if (ioperm(MARK_PORT, 1, 1) != 0)
		return;
	outb((unsigned char)byte, MARK_PORT);
	ioperm(MARK_PORT, 1, 0);
}

int main(int argc, char **argv)
{
	struct timespec from, to;
	int status, byte;

	if (argc != 5)
		return 64;
	byte = (int)strtol(argv[3], NULL, 0);
	mark(byte);
	clock_gettime(CLOCK_MONOTONIC, &from);
	status = system(argv[4]);
	clock_gettime(CLOCK_MONOTONIC, &to);
	mark(byte + 0x80);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "timed: %s ended with status %#x\n", argv[1], (unsigned)status);
		return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	}
	printf("{\"work\":\"%s\",\"mark\":%d,\"count\":%s,\"size\":0,\"seconds\":%.6f}\n", argv[1],
	       byte, argv[2],
	       (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	return 0;
}
