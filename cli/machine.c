/* A QEMU process of ours: see machine.h.
 *
 * Files and lines reach QEMU as open descriptors (/proc/self/fd/N), so that names with blanks or
 * commas need no quoting and nothing has to be made, or cleaned up, in a file system.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "say.h"

#define QEMU "qemu-system-x86_64"
#define MIB  (UINT64_C(1) << 20)

const char *machine_qemu(void)
{
	static char path[4096];
	const char *dirs = getenv("PATH");

	while (dirs && *dirs) {
		size_t n = strcspn(dirs, ":");

		snprintf(path, sizeof(path), "%.*s/" QEMU, (int)n, dirs);
		if (n && access(path, X_OK) == 0)
			return path;
		dirs += n + (dirs[n] == ':');
	}
	say("no " QEMU
	    " in PATH: install Debian's package qemu-system-x86 (scripts/setup.sh does)");
	return NULL;
}

const char *machine_qemu_version(const char *qemu)
{
	static char version[64];
	char *command;
	FILE *f;

	strcpy(version, "unknown");
	if (asprintf(&command, "exec '%s' --version </dev/null 2>/dev/null", qemu) < 0)
		return version;
	f = popen(command, "r");
	if (f) {
		if (fscanf(f, "QEMU emulator version %63s", version) != 1)
			strcpy(version, "unknown");
		pclose(f);
	}
	free(command);
	return version;
}

/* An option's value in which QEMU takes a doubled comma for a comma. */
static void put_quoted(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == ',')
			putc(',', f);
		putc(*text, f);
	}
}

/* Modules as QEMU's multiboot loader wants them: "FILE words,FILE". */
static char *modules(const struct options *o, const struct kernel *k, const struct image *initrd)
{
	bool linux_kernel = k->kind == KERNEL_BZIMAGE;
	const char *append = o->append ? o->append : "";
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		abort();
	fprintf(f, "/proc/self/fd/%d", k->file.fd);
	/* A stock kernel needs to be told of the serial line only. */
	if (linux_kernel && !strstr(append, "console="))
		fputs(" console=ttyS0", f);
	if (*append) {
		putc(' ', f);
		put_quoted(f, append);
	}
	if (initrd)
		fprintf(f, ",/proc/self/fd/%d", initrd->fd);
	fclose(f);
	return text;
}

static char *text_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *text_of(const char *fmt, ...)
{
	va_list ap;
	char *t;

	va_start(ap, fmt);
	if (vasprintf(&t, fmt, ap) < 0)
		abort();
	va_end(ap);
	return t;
}

enum { KEYS, CONSOLE, COUNTERS, ERRORS, FAILED, PIPES };
enum { TO_READ, TO_WRITE };

/* The child: never returns. FDS (-1: none) stay open in QEMU. */
static void become_qemu(char **argv, int pipes[PIPES][2], const int *fds, int nfds, pid_t parent)
{
	sigset_t none;

	/* Not in our terminal's foreground, so that only we take its signals; never outlives us. */
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(pipes[KEYS][TO_READ], STDIN_FILENO);
	dup2(pipes[CONSOLE][TO_WRITE], STDOUT_FILENO);
	dup2(pipes[ERRORS][TO_WRITE], STDERR_FILENO);
	for (int i = 0; i < nfds; i++) {
		if (fds[i] >= 0)
			fcntl(fds[i], F_SETFD, 0);
	}
	execv(argv[0], argv);
	(void)!write(pipes[FAILED][TO_WRITE], &errno, sizeof(errno));
	_exit(127);
}

/* Keeps our end of a pipe and closes the other, which is the child's. */
static int end_keep(const int *pipe, int end)
{
	close(pipe[!end]);
	fcntl(pipe[end], F_SETFL, fcntl(pipe[end], F_GETFL) | O_NONBLOCK);
	return pipe[end];
}

/* What exec() failed with in the child; 0: it did not. Waits for that. */
static int start_error(int failed)
{
	int error;
	ssize_t n = read(failed, &error, sizeof(error));

	close(failed);
	return n == (ssize_t)sizeof(error) ? error : 0;
}

int machine_start(struct machine *m, const char *qemu, const char *hv, const struct options *o,
		  const struct kernel *k, const struct image *initrd)
{
	/* The files lie in memory twice until the guest has its copy. */
	uint64_t files = k->file.size + (initrd ? initrd->size : 0);
	unsigned long long total = (o->mem + options_overhead(o->mem) + files) / MIB + 1;
	unsigned long long mib = o->mem / MIB;
	int pipes[PIPES][2], error;
	pid_t self = getpid();

	for (int i = 0; i < PIPES; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) != 0) {
			say("no pipes to QEMU: %s", strerror(errno));
			return EXIT_HV_FAILED;
		}
	}

	char *argv[] = {
		(char *)qemu,
		"-name",
		"twofold",
		"-M",
		"pc",
		"-accel",
		"tcg,thread=multi",
		"-cpu",
		"EPYC,+svm,+npt",
		"-smp",
		text_of("%u", o->cpus),
		"-m",
		text_of("%lluM", total),
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-no-reboot",
		"-chardev",
		"stdio,id=console,signal=off",
		"-serial",
		"chardev:console",
		"-chardev",
		text_of("file,id=counters,path=/proc/self/fd/%d", pipes[COUNTERS][TO_WRITE]),
		"-serial",
		"chardev:counters",
		"-kernel",
		(char *)hv,
		"-append",
		text_of("mode=%s mem=%lluM%s", o->mode, mib, o->verbose ? " verbose=1" : ""),
		"-initrd",
		modules(o, k, initrd),
		NULL,
	};
	int keep[] = {pipes[COUNTERS][TO_WRITE], k->file.fd, initrd ? initrd->fd : -1};

	m->pid = fork();
	if (m->pid == 0)
		become_qemu(argv, pipes, keep, 3, self);
	error = m->pid < 0 ? errno : 0;
	m->keys = end_keep(pipes[KEYS], TO_WRITE);
	m->console = end_keep(pipes[CONSOLE], TO_READ);
	m->counters = end_keep(pipes[COUNTERS], TO_READ);
	m->errors = end_keep(pipes[ERRORS], TO_READ);
	close(pipes[FAILED][TO_WRITE]);
	if (!error)
		error = start_error(pipes[FAILED][TO_READ]);
	if (error) {
		say("%s does not start: %s", qemu, strerror(error));
		machine_kill(m);
		return EXIT_BAD_FILE;
	}
	return 0;
}

void machine_poll(struct machine *m)
{
	if (m->pid > 0 && waitpid(m->pid, &m->status, WNOHANG) == m->pid)
		m->pid = 0;
}

void machine_kill(struct machine *m)
{
	if (m->pid <= 0)
		return;
	kill(m->pid, SIGKILL);
	while (waitpid(m->pid, &m->status, 0) < 0 && errno == EINTR)
		;
	m->pid = 0;
}
