/* A CD image for one run: see iso.h.
 *
 * GRUB's core with what it takes to read the CD and to load a multiboot kernel, and its few
 * commands built in, is made by grub-mkimage; the image by xorriso. Both see the files as links to
 * our own open descriptors. What they write lies in a directory that is gone before the run begins.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "iso.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "program.h"
#include "say.h"

#define TOOLS                                                                                      \
	"install Debian's packages grub-common, grub-pc-bin and xorriso (scripts/setup.sh does)"

char iso_odd_character(const char *text)
{
	return text[strcspn(text, "'\"\\")];
}

/* Each word in quotes, so that GRUB takes it as it is. */
static void put_words(FILE *f, const char *words)
{
	while (*(words += strspn(words, " "))) {
		int n = (int)strcspn(words, " ");

		fprintf(f, " '%.*s'", n, words);
		words += n;
	}
}

static bool script_write(const char *path, const struct iso *iso)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return false;
	/* The first word after a file is its name, as the hypervisor expects it of every loader. */
	fputs("multiboot /hv twofold", f);
	put_words(f, iso->hv_words);
	fputs("\nmodule /kernel kernel", f);
	put_words(f, iso->guest_words);
	if (iso->initrd)
		fputs("\nmodule /initrd initrd", f);
	fputs("\nboot\n", f);
	return fclose(f) == 0;
}

static bool link_file(const char *dir, const char *name, int fd)
{
	char *target = text_of("/proc/%d/fd/%d", (int)getpid(), fd);
	char *path = text_of("%s/cd/%s", dir, name);
	bool ok = symlink(target, path) == 0;

	free(target);
	free(path);
	return ok;
}

static bool tree_make(const char *dir, const struct iso *iso)
{
	char *cd = text_of("%s/cd", dir), *script = text_of("%s/script", dir);
	bool ok = mkdir(cd, 0700) == 0 && script_write(script, iso) &&
		  link_file(dir, "hv", iso->hv) && link_file(dir, "kernel", iso->kernel->fd) &&
		  (!iso->initrd || link_file(dir, "initrd", iso->initrd->fd));

	if (!ok)
		say("%s: cannot write the CD image's files: %s", dir, strerror(errno));
	free(cd);
	free(script);
	return ok;
}

static bool image_make(const char *dir)
{
	char *grub = program_find("grub-mkimage"), *xorriso = program_find("xorriso");
	struct args a = {NULL, 0};
	bool ok;

	if (!grub || !xorriso) {
		say("no %s in PATH: " TOOLS, grub ? "xorriso" : "grub-mkimage");
		return false;
	}
	arg_add(&a, grub);
	option_add(&a, "--format", "i386-pc-eltorito");
	option_add(&a, "--prefix", "/");
	option_add(&a, "--config", text_of("%s/script", dir));
	option_add(&a, "--output", text_of("%s/cd/grub", dir));
	option_add(&a, "biosdisk", "iso9660");
	option_add(&a, "multiboot", "boot");
	ok = program_do(a.v);

	a = (struct args){NULL, 0};
	arg_add(&a, xorriso);
	option_add(&a, "-as", "mkisofs");
	option_add(&a, "-quiet", "-f");
	option_add(&a, "-R", "-o");
	arg_add(&a, text_of("%s/iso", dir));
	option_add(&a, "-b", "grub");
	arg_add(&a, "-no-emul-boot");
	option_add(&a, "-boot-load-size", "4");
	arg_add(&a, "-boot-info-table");
	arg_add(&a, text_of("%s/cd", dir));
	return ok && program_do(a.v);
}

static void tree_remove(char *dir)
{
	static const char *const left[] = {"cd/hv", "cd/kernel", "cd/initrd", "cd/grub",
					   "cd",    "script",	 "iso",	      ""};

	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		char *path = text_of("%s/%s", dir, left[i]);

		remove(path);
		free(path);
	}
	free(dir);
}

int iso_make(const struct iso *iso)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = text_of("%s/twofold-XXXXXX", tmp && *tmp ? tmp : "/tmp"), *path;
	int fd = -1;

	if (!mkdtemp(dir)) {
		say("%s: no directory to be made there: %s", dir, strerror(errno));
		free(dir);
		return -1;
	}
	if (tree_make(dir, iso) && image_make(dir)) {
		path = text_of("%s/iso", dir);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			say("%s: %s", path, strerror(errno));
		free(path);
	}
	tree_remove(dir);
	return fd;
}
