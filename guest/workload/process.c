/* Parts that make processes and switch between them: fork, exec, pipe.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

void child_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		die("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		errno = ECHILD;
		die("a child failed");
	}
}

static void fork_once(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		_exit(0);
	child_wait(pid);
}

void fork_times(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		fork_once();
}

void fork_run(const struct part *p)
{
	part_begin(p);
	while (part_again())
		fork_times(p->count);
	part_end(p);
}

static void exec_once(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		execl("/proc/self/exe", "workload", "exit", (char *)NULL);
		_exit(127);
	}
	child_wait(pid);
}

void exec_run(const struct part *p)
{
	part_begin(p);
	while (part_again()) {
		for (uint64_t i = 0; i < p->count; i++)
			exec_once();
	}
	part_end(p);
}

/* False: there is no more to come. */
static bool byte_pass(int from, int to)
{
	char c;
	ssize_t n = read(from, &c, 1);

	if (n == 0)
		return false;
	if (n != 1 || write(to, &c, 1) != 1)
		die("pipe");
	return true;
}

/* Both ends on one CPU, so that each byte is a switch of address spaces. */
void pipe_run(const struct part *p)
{
	int there[2], back[2];
	cpu_set_t before;
	pid_t pid;

	if (sched_getaffinity(0, sizeof(before), &before) != 0 || pipe(there) != 0 ||
	    pipe(back) != 0)
		die("pipe");
	cpu_pin(0);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(there[1]);
		while (byte_pass(there[0], back[1]))
			;
		_exit(0);
	}
	part_begin(p);
	while (part_again()) {
		if (write(there[1], "x", 1) != 1)
			die("pipe");
		for (uint64_t i = 1; i < p->count; i++)
			byte_pass(back[0], there[1]);
		if (read(back[0], &(char){0}, 1) != 1)
			die("pipe");
	}
	part_end(p);
	close(there[1]);
	child_wait(pid);
	close(there[0]);
	close(back[0]);
	close(back[1]);
	sched_setaffinity(0, sizeof(before), &before);
}
