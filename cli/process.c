/* A machine's process: see process.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "say.h"

static void unblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int process_open(struct process *p)
{
	*p = (struct process){.monitor = -1};
	for (int i = 0; i < LINES; i++) {
		bool to = i == LINE_KEYS;
		int fd[2];

		if (pipe2(fd, O_CLOEXEC) != 0) {
			say("no pipes to be had: %s", strerror(errno));
			return EXIT_HV_FAILED;
		}
		p->ours[i] = fd[to];
		p->theirs[i] = fd[!to];
		unblock(fd[to]);
	}
	return 0;
}

static void line_set(struct process *p, enum line line, int ours, int theirs)
{
	close(p->ours[line]);
	close(p->theirs[line]);
	p->ours[line] = ours;
	p->theirs[line] = theirs;
}

const char *process_terminal(struct process *p)
{
	int ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), theirs = -1;
	const char *name = NULL;
	struct termios t;

	if (ours >= 0 && grantpt(ours) == 0 && unlockpt(ours) == 0)
		name = ptsname(ours);
	if (name)
		theirs = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (theirs < 0) {
		if (ours >= 0)
			close(ours);
		return NULL;
	}
	/* What is typed before the program comes is not to be echoed. */
	tcgetattr(theirs, &t);
	cfmakeraw(&t);
	tcsetattr(theirs, TCSANOW, &t);
	unblock(ours);
	line_set(p, LINE_CONSOLE, ours, theirs);
	line_set(p, LINE_KEYS, fcntl(ours, F_DUPFD_CLOEXEC, 0), fcntl(theirs, F_DUPFD_CLOEXEC, 0));
	return name;
}

/* The child: never returns. FAILED takes exec()'s error. */
static void become(const struct process *p, const struct launch *l, int failed, pid_t parent)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	/* Not in our terminal's foreground, so that only we take its signals; never outlives us. */
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (l->offline && unshare(CLONE_NEWNET) != 0)
		(void)!unshare(CLONE_NEWUSER | CLONE_NEWNET);
	dup2(l->in < 0 ? nothing : l->in, STDIN_FILENO);
	dup2(l->out < 0 ? p->theirs[LINE_ERRORS] : l->out, STDOUT_FILENO);
	dup2(p->theirs[LINE_ERRORS], STDERR_FILENO);
	for (size_t i = 0; i < l->keeps; i++) {
		if (l->keep[i] >= 0)
			fcntl(l->keep[i], F_SETFD, 0);
	}
	execv(l->argv[0], l->argv);
	(void)!write(failed, &errno, sizeof(errno));
	_exit(127);
}

/* What exec() failed with in the child; 0: it did not. Waits for that. */
static int start_error(int failed)
{
	int error;
	ssize_t n = read(failed, &error, sizeof(error));

	return n == (ssize_t)sizeof(error) ? error : 0;
}

int process_start(struct process *p, const struct launch *l)
{
	pid_t self = getpid();
	int failed[2], error;

	if (pipe2(failed, O_CLOEXEC) != 0) {
		say("no pipes to be had: %s", strerror(errno));
		return EXIT_HV_FAILED;
	}
	p->pid = fork();
	if (p->pid == 0)
		become(p, l, failed[1], self);
	error = p->pid < 0 ? errno : 0;
	close(failed[1]);
	for (int i = 0; i < LINES; i++)
		close(p->theirs[i]);
	if (!error)
		error = start_error(failed[0]);
	close(failed[0]);
	if (error) {
		say("%s does not start: %s", l->argv[0], strerror(error));
		process_kill(p);
		return EXIT_BAD_FILE;
	}
	return 0;
}

void process_poll(struct process *p)
{
	if (p->pid > 0 && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
		p->pid = 0;
}

double process_cpu_seconds(const struct process *p)
{
	struct timespec t = {0};
	clockid_t clock;

	if (p->pid > 0 && clock_getcpuclockid(p->pid, &clock) == 0)
		clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void process_tell_end(const struct process *p, const char *name, char *text, size_t size)
{
	int n = WIFSIGNALED(p->status) ? WTERMSIG(p->status) : 0;
	const char *signal_name = n ? sigabbrev_np(n) : NULL;

	if (!n)
		snprintf(text, size, "%s ended with status %d", name, WEXITSTATUS(p->status));
	else if (signal_name)
		snprintf(text, size, "%s was killed by SIG%s", name, signal_name);
	else
		snprintf(text, size, "%s was killed by signal %d", name, n);
}

void process_kill(struct process *p)
{
	if (p->pid <= 0)
		return;
	kill(p->pid, SIGKILL);
	while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
		;
	p->pid = 0;
}
