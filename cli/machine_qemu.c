/* QEMU as an AMD machine with SVM: a struct machine_kind (machine.h).
 *
 * Files and lines reach QEMU as open descriptors (/proc/self/fd/N), so that names with blanks or
 * commas need no quoting and nothing has to be made, or cleaned up, in a file system.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "args.h"
#include "machine.h"
#include "program.h"
#include "say.h"

#define QEMU "qemu-system-x86_64"

static const char *find(void)
{
	const char *path = program_find(QEMU);

	if (!path)
		say("no " QEMU
		    " in PATH: install Debian's package qemu-system-x86 (scripts/setup.sh does)");
	return path;
}

static const char *version(const char *path)
{
	return program_version(text_of("'%s' --version", path), "QEMU emulator version ");
}

static int check(const struct load *l)
{
	(void)l;
	return 0;
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
static char *modules(const struct load *l)
{
	char *text = NULL, *words = machine_guest_words(l);
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		abort();
	fprintf(f, "/proc/self/fd/%d", l->kernel->file.fd);
	put_quoted(f, words);
	if (l->initrd)
		fprintf(f, ",/proc/self/fd/%d", l->initrd->fd);
	fclose(f);
	free(words);
	return text;
}

/* The machine has the guest's nodes, so that there is a real one behind each. */
static void add_nodes(struct args *a, const struct machine_kind *k, const struct load *l)
{
	const struct nodes *n = &l->options->nodes;
	unsigned int spare = machine_spare(k, l->options);

	for (unsigned int i = 0; i < n->count; i++) {
		char *text = NULL;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		if (!f)
			abort();
		fprintf(f, "node,nodeid=%u,memdev=node%u", i, i);
		if (i == 0 && spare)
			fputs(",cpus=0", f);
		for (unsigned int cpu = 0; cpu < MAX_CPUS; cpu++) {
			if (n->node[i].cpus >> cpu & 1)
				fprintf(f, ",cpus=%u", cpu + spare);
		}
		fclose(f);
		option_add(a, "-object",
			   text_of("memory-backend-ram,id=node%u,size=%lluM", i,
				   machine_node_mib(l, i)));
		option_add(a, "-numa", text);
	}
	for (unsigned int i = 0; n->distances && i < n->count; i++) {
		for (unsigned int j = 0; j < n->count; j++)
			option_add(a, "-numa",
				   text_of("dist,src=%u,dst=%u,val=%u", i, j, n->distance[i][j]));
	}
}

/* QEMU's monitor, for tell(). Returns its end; -1: there is none. */
static int monitor_open(struct process *p)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) != 0)
		return -1;
	p->monitor = fd[0];
	return fd[1];
}

/* Of what the monitor tells of each CPU, which begins with "CPU#N", the line with its RIP. */
static void tell(const struct process *p)
{
	static const char ask[] = "info registers -a\n";
	static char text[1 << 18];
	struct pollfd ready = {p->monitor, POLLIN, 0};
	size_t n = 0;
	char *line, *rest = text;
	const char *cpu = "CPU";

	if (p->monitor < 0 || write(p->monitor, ask, sizeof(ask) - 1) < 0)
		return;
	while (n < sizeof(text) - 1 && poll(&ready, 1, 500) > 0) {
		ssize_t got = read(p->monitor, text + n, sizeof(text) - 1 - n);

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	text[n] = '\0';
	while ((line = strsep(&rest, "\r\n"))) {
		if (!strncmp(line, "CPU#", 4))
			cpu = line;
		else if (!strncmp(line, "RIP=", 4) || !strncmp(line, "EIP=", 4))
			say("%s: %s", cpu, line);
	}
}

static int start(const struct machine_kind *k, struct process *p, const char *path,
		 const struct load *l)
{
	const struct options *o = l->options;
	const int monitor = monitor_open(p);
	const int keep[] = {p->theirs[LINE_COUNTERS], l->kernel->file.fd,
			    l->initrd ? l->initrd->fd : -1, monitor};
	struct args a = {NULL, 0};
	int status;

	arg_add(&a, path);
	option_add(&a, "-name", "twofold");
	option_add(&a, "-M", "pc");
	option_add(&a, "-accel", "tcg,thread=multi");
	option_add(&a, "-cpu", k->cpu);
	option_add(&a, "-smp", text_of("%u", o->cpus + machine_spare(k, o)));
	option_add(&a, "-m", text_of("%lluM", machine_mib(l)));
	if (o->nodes.count > 1)
		add_nodes(&a, k, l);
	arg_add(&a, "-nodefaults");
	arg_add(&a, "-no-user-config");
	option_add(&a, "-display", "none");
	arg_add(&a, "-no-reboot");
	option_add(&a, "-chardev", "stdio,id=console,signal=off");
	option_add(&a, "-serial", "chardev:console");
	option_add(&a, "-chardev",
		   text_of("file,id=counters,path=/proc/self/fd/%d", p->theirs[LINE_COUNTERS]));
	option_add(&a, "-serial", "chardev:counters");
	if (monitor >= 0) {
		option_add(&a, "-chardev", text_of("socket,id=monitor,fd=%d", monitor));
		option_add(&a, "-mon", "chardev=monitor,mode=readline");
	}
	option_add(&a, "-kernel", l->hv);
	option_add(&a, "-append", machine_words(k, o));
	option_add(&a, "-initrd", modules(l));
	status = process_start(p, &(struct launch){
					  .argv = a.v,
					  .in = p->theirs[LINE_KEYS],
					  .out = p->theirs[LINE_CONSOLE],
					  .keep = keep,
					  .keeps = sizeof(keep) / sizeof(keep[0]),
				  });
	if (monitor >= 0)
		close(monitor);
	return status;
}

const struct machine_kind machine_qemu = {
	.option = "qemu",
	.name = "QEMU",
	.cpu = "EPYC,+svm,+npt",
	.how = "TCG",
	/* QEMU 7.2 changes flags of its first CPU from the threads of the others, which spoils
	 * world switches there (docs/protocol.md): with several vCPUs it runs none. It sleeps. */
	.spare = 1,
	.find = find,
	.version = version,
	.check = check,
	.start = start,
	.tell = tell,
};
