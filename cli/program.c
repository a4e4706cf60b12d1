/* Other programs: see program.h.
 *
 * Script, output and errors are files in memory: nothing waits for the other side of a pipe, and
 * nothing is left in a file system.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "say.h"

char *program_find(const char *name)
{
	const char *dirs = getenv("PATH");
	char *path;

	while (dirs && *dirs) {
		size_t n = strcspn(dirs, ":");

		if (asprintf(&path, "%.*s/%s", (int)n, dirs, name) < 0)
			abort();
		if (n && access(path, X_OK) == 0)
			return path;
		free(path);
		dirs += n + (dirs[n] == ':');
	}
	return NULL;
}

enum { SCRIPT, OUTPUT, ERRORS, FILES };

/* The child: never returns. */
static void become(char *const *argv, const int *fd)
{
	/* It never outlives us. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	dup2(fd[OUTPUT], STDOUT_FILENO);
	dup2(fd[ERRORS], STDERR_FILENO);
	execv(argv[0], argv);
	dprintf(STDERR_FILENO, "%s\n", strerror(errno));
	_exit(127);
}

static bool write_all(int fd, const char *bytes, size_t n)
{
	while (n) {
		ssize_t done = write(fd, bytes, n);

		if (done <= 0)
			return false;
		bytes += done;
		n -= (size_t)done;
	}
	return true;
}

/* All that is in the file; allocated. */
static char *read_all(int fd, size_t *n)
{
	struct stat st;
	char *bytes;
	ssize_t got;

	if (fstat(fd, &st) != 0)
		abort();
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		abort();
	for (*n = 0; *n < (size_t)st.st_size; *n += (size_t)got) {
		got = pread(fd, bytes + *n, (size_t)st.st_size - *n, (off_t)*n);
		if (got <= 0)
			break;
	}
	bytes[*n] = 0;
	return bytes;
}

/* Says the first line that it wrote on standard error. */
static void say_failed(const char *path, int errors)
{
	size_t n;
	char *words = read_all(errors, &n);
	const char *first = words + strspn(words, "\n ");

	if (!*first)
		first = "it did not say why";
	say("%s failed: %.*s", path, (int)strcspn(first, "\n"), first);
	free(words);
}

static bool run(char *const *argv, const int *fd)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		become(argv, fd);
	if (pid < 0) {
		say("%s does not start: %s", argv[0], strerror(errno));
		return false;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	say_failed(argv[0], fd[ERRORS]);
	return false;
}

static bool files_open(int *fd, const char *path)
{
	for (int i = 0; i < FILES; i++)
		fd[i] = memfd_create("twofold", 0);
	if (fd[FILES - 1] >= 0)
		return true;
	say("%s does not start: %s", path, strerror(errno));
	return false;
}

static void files_close(const int *fd)
{
	for (int i = 0; i < FILES; i++)
		close(fd[i]);
}

bool program_do(char *const *argv)
{
	int fd[FILES];
	bool ok = files_open(fd, argv[0]) && run(argv, fd);

	files_close(fd);
	return ok;
}

bool program_run(const char *path, const char *script, size_t script_n, char **out, size_t *n)
{
	int fd[FILES];
	bool ok = files_open(fd, path);

	if (ok && !write_all(fd[SCRIPT], script, script_n)) {
		say("%s does not start: %s", path, strerror(errno));
		ok = false;
	}
	if (ok) {
		char name[64];
		char *argv[] = {(char *)path, name, NULL};

		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd[SCRIPT]);
		ok = run(argv, fd);
	}
	if (ok)
		*out = read_all(fd[OUTPUT], n);
	files_close(fd);
	return ok;
}

const char *program_version(const char *command, const char *prefix)
{
	static char version[64];
	char *quiet, line[256];
	FILE *f = NULL;

	strcpy(version, "unknown");
	if (asprintf(&quiet, "exec %s </dev/null 2>/dev/null", command) >= 0)
		f = popen(quiet, "r");
	while (f && fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, prefix);

		if (at && sscanf(at + strlen(prefix), "%63s", version) == 1)
			break;
	}
	if (f) {
		/* To its end, so that it does not die of a closed pipe. */
		while (fgets(line, sizeof(line), f))
			;
		pclose(f);
	}
	free(quiet);
	return version;
}
