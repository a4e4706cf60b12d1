/* How a part is timed, marked, repeated and told of.
 *
 * Around the timed stretch of part number i (as in --list) the bytes 0x10 + i and 0x90 + i go to
 * port 0xf5, where Twofold notes its counters. Elsewhere nothing listens there.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <unistd.h>

#include "workload.h"

enum { MARK_PORT = 0xf5, MARK_BEGIN = 0x10, MARK_END = 0x90 };

static struct span span; /* of the part that is being timed */
static sigjmp_buf mark_failed;

void die(const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void mark_refused(int signal)
{
	(void)signal;
	siglongjmp(mark_failed, 1);
}

/* The right to the port is given back at once: a task with an I/O bitmap is dearer to switch to.
 * Some emulated CPUs fault on the write in spite of that right; then there are no more marks. */
static void mark(int byte)
{
	struct sigaction before;

	if (!settings.marks || ioperm(MARK_PORT, 1, 1) != 0)
		return;
	sigaction(SIGSEGV, &(struct sigaction){.sa_handler = mark_refused}, &before);
	if (sigsetjmp(mark_failed, 1) == 0)
		outb((unsigned char)byte, MARK_PORT);
	else
		settings.marks = 0;
	sigaction(SIGSEGV, &before, NULL);
	ioperm(MARK_PORT, 1, 0);
}

static void pause_here(void)
{
	if (settings.pause_ms)
		usleep((useconds_t)settings.pause_ms * 1000);
}

double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

bool span_again(struct span *s)
{
	if (s->rounds && (!settings.seconds || seconds_since(&s->begun) >= settings.seconds))
		return false;
	s->rounds++;
	return true;
}

struct span *part_begin(const struct part *p)
{
	if (settings.pause_ms)
		printf("{\"begin\":\"%s\"}\n", p->name);
	fflush(stdout);
	pause_here();
	mark(MARK_BEGIN + part_number(p));
	span.rounds = 0;
	clock_gettime(CLOCK_MONOTONIC, &span.begun);
	return &span;
}

bool part_again(void)
{
	return span_again(&span);
}

double part_stop(const struct part *p)
{
	double seconds = seconds_since(&span.begun);

	mark(MARK_END + part_number(p));
	pause_here();
	return seconds;
}

void part_tell(const struct part *p, uint64_t count, double seconds)
{
	printf("{\"work\":\"%s\",\"mark\":%d,\"count\":%llu,\"size\":%llu,\"seconds\":%.6f",
	       p->name, MARK_BEGIN + part_number(p), (unsigned long long)count,
	       (unsigned long long)p->size, seconds);
	if (settings.seconds)
		printf(",\"per_second\":%.3f", (double)count / seconds);
	printf("}\n");
	fflush(stdout);
	pause_here();
}

void part_end(const struct part *p)
{
	double seconds = part_stop(p);

	part_tell(p, p->count * span.rounds, seconds);
}
