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

#include "program.h"
#include "say.h"

#define QEMU "qemu-system-x86_64"
#define MIB  (UINT64_C(1) << 20)

enum { MACHINE_CPUS = 255 }; /* QEMU's "pc" takes no more */

const char *machine_qemu(void)
{
	const char *path = program_find(QEMU);

	if (!path)
		say("no " QEMU
		    " in PATH: install Debian's package qemu-system-x86 (scripts/setup.sh does)");
	return path;
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

/* With several vCPUs the machine gets a CPU that runs none: QEMU 7.2 changes flags of its first CPU
 * from the threads of the others, which spoils world switches there (docs/protocol.md). It sleeps.
 */
static unsigned int spare_cpus(const struct options *o)
{
	return o->cpus > 1 && o->cpus < MACHINE_CPUS ? 1 : 0;
}

/* What the hypervisor is told: its command line. */
static char *hypervisor_words(const struct options *o)
{
	const struct nodes *n = &o->nodes;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		abort();
	fprintf(f, "mode=%s mem=%lluM", o->mode, (unsigned long long)(o->mem / MIB));
	for (unsigned int i = 0; n->count > 1 && i < n->count; i++) {
		fputs(" node=", f);
		nodes_put_cpus(f, n->node[i].cpus);
		fprintf(f, ":%lluM", (unsigned long long)(n->node[i].mem / MIB));
	}
	for (unsigned int i = 0; n->distances && i < n->count; i++) {
		for (unsigned int k = 0; k < n->count; k++)
			fprintf(f, k ? ",%u" : " distance=%u:%u", k ? n->distance[i][k] : i,
				n->distance[i][k]);
	}
	if (spare_cpus(o))
		fputs(" spare=1", f);
	if (strcmp(o->groups, "node") != 0)
		fprintf(f, " groups=%s", o->groups);
	if (strcmp(o->install, "lock") != 0)
		fprintf(f, " install=%s", o->install);
	if (o->regroup_ms)
		fprintf(f, " regroup=%u", o->regroup_ms);
	if (o->switch_ms)
		fprintf(f, " switch=%u", o->switch_ms);
	choice_put_words(f, &o->choice);
	if (o->trace)
		fputs(" trace=1", f);
	if (o->verbose)
		fputs(" verbose=1", f);
	fclose(f);
	return text;
}

/* QEMU's arguments. */
struct args {
	char **v;
	size_t n;
};

/* The text is kept, not copied. */
static void arg_add(struct args *a, const char *text)
{
	a->v = realloc(a->v, (a->n + 2) * sizeof(*a->v));
	if (!a->v)
		abort();
	a->v[a->n++] = (char *)text;
	a->v[a->n] = NULL;
}

static void option_add(struct args *a, const char *option, const char *value)
{
	arg_add(a, option);
	arg_add(a, value);
}

/* MiB of a node of the machine that has FILES bytes to load on its first one. Even, so that no
 * large page lies on a border. */
static unsigned long long node_mib(const struct options *o, unsigned int i, uint64_t files)
{
	uint64_t mem = o->nodes.node[i].mem;

	/* The files lie in memory twice until the guest has its copy. */
	return ((mem + options_overhead(i, mem) + (i ? 0 : files)) / MIB + 2) / 2 * 2;
}

/* The machine has the guest's nodes, so that there is a real one behind each. */
static void add_nodes(struct args *a, const struct options *o, uint64_t files)
{
	const struct nodes *n = &o->nodes;

	for (unsigned int i = 0; i < n->count; i++) {
		char *text = NULL;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		if (!f)
			abort();
		fprintf(f, "node,nodeid=%u,memdev=node%u", i, i);
		if (i == 0 && spare_cpus(o))
			fputs(",cpus=0", f);
		for (unsigned int cpu = 0; cpu < MAX_CPUS; cpu++) {
			if (n->node[i].cpus >> cpu & 1)
				fprintf(f, ",cpus=%u", cpu + spare_cpus(o));
		}
		fclose(f);
		option_add(a, "-object",
			   text_of("memory-backend-ram,id=node%u,size=%lluM", i,
				   node_mib(o, i, files)));
		option_add(a, "-numa", text);
	}
	for (unsigned int i = 0; n->distances && i < n->count; i++) {
		for (unsigned int k = 0; k < n->count; k++)
			option_add(a, "-numa",
				   text_of("dist,src=%u,dst=%u,val=%u", i, k, n->distance[i][k]));
	}
}

int machine_start(struct machine *m, const char *qemu, const char *hv, const struct options *o,
		  const struct kernel *k, const struct image *initrd)
{
	uint64_t files = k->file.size + (initrd ? initrd->size : 0);
	unsigned long long total = 0;
	struct args a = {NULL, 0};
	int pipes[PIPES][2], error;
	pid_t self = getpid();

	for (int i = 0; i < PIPES; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) != 0) {
			say("no pipes to QEMU: %s", strerror(errno));
			return EXIT_HV_FAILED;
		}
	}

	for (unsigned int i = 0; i < o->nodes.count; i++)
		total += node_mib(o, i, files);
	arg_add(&a, qemu);
	option_add(&a, "-name", "twofold");
	option_add(&a, "-M", "pc");
	option_add(&a, "-accel", "tcg,thread=multi");
	option_add(&a, "-cpu", "EPYC,+svm,+npt");
	option_add(&a, "-smp", text_of("%u", o->cpus + spare_cpus(o)));
	option_add(&a, "-m", text_of("%lluM", total));
	if (o->nodes.count > 1)
		add_nodes(&a, o, files);
	arg_add(&a, "-nodefaults");
	arg_add(&a, "-no-user-config");
	option_add(&a, "-display", "none");
	arg_add(&a, "-no-reboot");
	option_add(&a, "-chardev", "stdio,id=console,signal=off");
	option_add(&a, "-serial", "chardev:console");
	option_add(&a, "-chardev",
		   text_of("file,id=counters,path=/proc/self/fd/%d", pipes[COUNTERS][TO_WRITE]));
	option_add(&a, "-serial", "chardev:counters");
	option_add(&a, "-kernel", hv);
	option_add(&a, "-append", hypervisor_words(o));
	option_add(&a, "-initrd", modules(o, k, initrd));

	int keep[] = {pipes[COUNTERS][TO_WRITE], k->file.fd, initrd ? initrd->fd : -1};

	m->pid = fork();
	if (m->pid == 0)
		become_qemu(a.v, pipes, keep, 3, self);
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

void machine_tell_end(const struct machine *m, char *text, size_t size)
{
	int n = WIFSIGNALED(m->status) ? WTERMSIG(m->status) : 0;
	const char *name = n ? sigabbrev_np(n) : NULL;

	if (!n)
		snprintf(text, size, "QEMU ended with status %d", WEXITSTATUS(m->status));
	else if (name)
		snprintf(text, size, "QEMU was killed by SIG%s", name);
	else
		snprintf(text, size, "QEMU was killed by signal %d", n);
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
