/* Bochs as an Intel machine with VMX and as an AMD machine with SVM: two struct machine_kind
 * (machine.h).
 *
 * Bochs boots from a CD image (iso.h). Files and lines reach it as open descriptors
 * (/proc/self/fd/N), so that nothing is left behind. Its serial port takes keys from a terminal
 * only, and loses what a terminal that is full cannot take: it is given one where there may be
 * keys, else a pipe.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "home.h"
#include "iso.h"
#include "machine.h"
#include "program.h"
#include "say.h"

#define BOCHS	"bochs-bin"
#define MIB	(UINT64_C(1) << 20)
#define MIB_MAX 2048u /* of memory: it takes no more at once from its host */

enum { MACHINE_CPUS = 16, SILENCE_S = 60 };

/* The one that setup unpacked (scripts/setup.sh), or the system's. */
static const char *find(void)
{
	char *path = home_file("bochs/bochs");

	if (access(path, X_OK) == 0)
		return path;
	free(path);
	path = program_find(BOCHS);
	if (!path)
		say("no Bochs here: 'scripts/setup.sh --bochs' gets it");
	return path;
}

static const char *version(const char *path)
{
	/* It tells it as it ends, whatever it was asked. */
	return program_version(text_of("'%s' --help", path), "Bochs x86 Emulator ");
}

/* The most memory that a guest may have, in MiB: what is left by what it takes whatever it has, and
 * of that what a sixteenth more makes up. */
static unsigned long long guest_mib_max(const struct load *l)
{
	const struct options *o = l->options;
	uint64_t fixed = l->kernel->file.size + (l->initrd ? l->initrd->size : 0);

	for (unsigned int i = 0; i < o->nodes.count; i++)
		fixed += options_overhead(i, 0) + 2 * MIB; /* each node's is rounded up */
	return (MIB_MAX - (fixed + MIB - 1) / MIB) * 16 / 17;
}

/* What is there for whole GiBs alone is not touched: it need not be at hand. */
static unsigned long long room_mib(const struct options *o)
{
	uint64_t room = 0;

	for (unsigned int i = 0; i < o->nodes.count; i++)
		room += options_gib_room(o, i);
	return room / MIB;
}

static int check(const struct load *l)
{
	const struct options *o = l->options;
	char odd = o->append ? iso_odd_character(o->append) : 0;

	if (o->cpus > MACHINE_CPUS)
		say("--cpus %u: a machine of Bochs has at most %u", o->cpus, MACHINE_CPUS);
	else if (machine_mib(l) - room_mib(o) > MIB_MAX)
		say("--mem %s: a machine of Bochs has at most %s, with the hypervisor's share: "
		    "give at most %lluM",
		    say_size(o->mem), say_size(MIB_MAX * MIB), guest_mib_max(l));
	else if (odd)
		say("--append: a %c in it: Bochs boots by GRUB, which does not hand that on as it "
		    "is",
		    odd);
	else
		return 0;
	return EXIT_BAD_USAGE;
}

/* May there be keys for the guest? */
static bool has_input(void)
{
	struct stat st;

	if (isatty(STDIN_FILENO))
		return true;
	return fstat(STDIN_FILENO, &st) == 0 && !S_ISCHR(st.st_mode) && !S_ISDIR(st.st_mode);
}

/* A file in memory that holds this text. */
static int text_file(const char *text)
{
	int fd = memfd_create("twofold", MFD_CLOEXEC);
	size_t n = strlen(text);

	if (fd < 0 || write(fd, text, n) != (ssize_t)n)
		abort();
	return fd;
}

/* Its configuration. SERIAL: COM1's mode and what is behind it. */
static char *configuration(const struct machine_kind *k, const struct process *p,
			   const struct load *l, int cd, const char *serial)
{
	unsigned long long mib = machine_mib(l);

	return text_of(
		"config_interface: textconfig\n"
		"display_library: rfb, options=\"timeout=0\"\n"
		"plugin_ctrl: unmapped=1, biosdev=1, serial=1, iodebug=0, parallel=0, speaker=0, "
		"gameport=0\n"
		"cpu: model=%s, count=%u, ips=100000000, reset_on_triple_fault=0, "
		"ignore_bad_msrs=1\n"
		"memory: guest=%llu, host=%llu\n"
		"romimage: file=$BXSHARE/BIOS-bochs-latest, options=fastboot\n"
		"vgaromimage: file=$BXSHARE/VGABIOS-lgpl-latest\n"
		"pci: enabled=1, chipset=i440fx\n"
		"clock: sync=none, time0=utc\n"
		"ata0-master: type=cdrom, path=/proc/self/fd/%d, status=inserted\n"
		"boot: cdrom\n"
		"com1: enabled=1, %s\n"
		"com2: enabled=1, mode=file, dev=/proc/self/fd/%d\n"
		"log: /dev/stderr\n"
		"panic: action=fatal\n"
		"error: action=ignore\n"
		"info: action=ignore\n",
		k->cpu, l->options->cpus, mib, mib < MIB_MAX ? mib : MIB_MAX, cd, serial,
		p->theirs[LINE_COUNTERS]);
}

static int cd_make(const struct machine_kind *k, const struct load *l)
{
	char *words = machine_guest_words(l);
	struct iso iso = {
		.hv = open(l->hv, O_RDONLY | O_CLOEXEC),
		.kernel = &l->kernel->file,
		.initrd = l->initrd,
		.hv_words = machine_words(k, l->options),
		.guest_words = words,
	};
	int fd = iso_make(&iso);

	close(iso.hv);
	free(words);
	return fd;
}

static int start(const struct machine_kind *k, struct process *p, const char *path,
		 const struct load *l)
{
	const char *terminal = has_input() ? process_terminal(p) : NULL;
	char *serial =
		terminal ? text_of("mode=term, dev=%s", terminal)
			 : text_of("mode=file, dev=/proc/self/fd/%d", p->theirs[LINE_CONSOLE]);
	struct args a = {NULL, 0};
	int keep[5] = {p->theirs[LINE_CONSOLE], p->theirs[LINE_COUNTERS], cd_make(k, l), -1, -1};

	if (keep[2] < 0)
		return EXIT_BAD_FILE;
	keep[3] = text_file(configuration(k, p, l, keep[2], serial));
	arg_add(&a, path);
	arg_add(&a, "-q");
	option_add(&a, "-f", text_of("/proc/self/fd/%d", keep[3]));
	if (version(path)[0] == '2') {
		/* That one begins in a debugger. */
		keep[4] = text_file("continue\n");
		option_add(&a, "-rc", text_of("/proc/self/fd/%d", keep[4]));
	}
	return process_start(p, &(struct launch){
					.argv = a.v,
					.in = -1,
					.out = -1,
					.keep = keep,
					.keeps = sizeof(keep) / sizeof(keep[0]),
					/* It has a screen that others may look at. */
					.offline = true,
				});
}

/* What made it end. All else is how it began, and registers. */
static bool is_word(const char *line, size_t n)
{
	return n && *line == '[';
}

/* One for each vendor: they differ by the CPU alone. */
#define BOCHS_KIND(opt, model)                                                                     \
	{                                                                                          \
		.option = (opt), .name = "Bochs", .cpu = (model), .how = (model),                  \
		.silence = SILENCE_S, .find = find, .version = version, .check = check,            \
		.start = start, .is_word = is_word,                                                \
	}

const struct machine_kind machine_bochs_intel = BOCHS_KIND("bochs-intel", "corei7_skylake_x");
const struct machine_kind machine_bochs_amd = BOCHS_KIND("bochs-amd", "ryzen");
