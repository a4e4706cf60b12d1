/* A QEMU process of ours: see machine.h.
 *
 * Files and lines reach QEMU as open descriptors (/proc/self/fd/N, chardev fd=N), so that names with
 * blanks or commas need no quoting and nothing has to be made, or cleaned up, in a file system.
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
#include <sys/socket.h>
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
	say("no " QEMU " in PATH: install Debian's package qemu-system-x86 (scripts/setup.sh does)");
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

/* The child: never returns. FDS stay open in QEMU. */
static void become_qemu(char **argv, const int *fds, int nfds, int errors, int failed, pid_t parent)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	/* Not in our terminal's foreground, so that only we take its signals; never outlives us. */
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(errors, STDERR_FILENO);
	for (int i = 0; i < nfds; i++)
		fcntl(fds[i], F_SETFD, 0);
	execv(argv[0], argv);
	(void)!write(failed, &errno, sizeof(errno));
	_exit(127);
}

static void set_nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int machine_start(struct machine *m, const char *qemu, const char *hv, const struct options *o,
		  const struct kernel *k, const struct image *initrd)
{
	int console[2], counters[2], errors[2], failed[2], error;
	unsigned long long mib = o->mem / MIB;
	/* The files lie in memory twice until the guest has its copy. */
	uint64_t files = k->file.size + (initrd ? initrd->size : 0);
	unsigned long long total = (o->mem + options_overhead(o->mem) + files) / MIB + 1;
	pid_t self = getpid();

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) != 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, counters) != 0 ||
	    pipe2(errors, O_CLOEXEC) != 0 || pipe2(failed, O_CLOEXEC) != 0) {
		say("no pipes to QEMU: %s", strerror(errno));
		return EXIT_HV_FAILED;
	}

	char *argv[] = {
		(char *)qemu, "-name", "twofold", "-M", "pc", "-accel", "tcg,thread=multi",
		"-cpu", "EPYC,+svm,+npt",
		"-smp", text_of("%u", o->cpus),
		"-m", text_of("%lluM", total),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-chardev", text_of("socket,id=console,fd=%d", console[1]),
		"-serial", "chardev:console",
		"-chardev", text_of("socket,id=counters,fd=%d", counters[1]),
		"-serial", "chardev:counters",
		"-kernel", (char *)hv,
		"-append", text_of("mode=%s mem=%lluM%s", o->mode, mib,
				   o->verbose ? " verbose=1" : ""),
		"-initrd", modules(o, k, initrd),
		NULL,
	};
	int keep[] = {console[1], counters[1], k->file.fd, initrd ? initrd->fd : -1};

	m->pid = fork();
	if (m->pid == 0)
		become_qemu(argv, keep, initrd ? 4 : 3, errors[1], failed[1], self);
	close(console[1]);
	close(counters[1]);
	close(errors[1]);
	close(failed[1]);
	m->console = console[0];
	m->counters = counters[0];
	m->errors = errors[0];
	set_nonblocking(m->console);
	set_nonblocking(m->counters);
	set_nonblocking(m->errors);
	error = m->pid < 0 ? errno : 0;
	if (!error && read(failed[0], &error, sizeof(error)) != sizeof(error))
		error = 0; /* closed by a successful exec */
	close(failed[0]);
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
