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
static void become(const char *path, const int *fd)
{
	char script[64];

	/* It never outlives us. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(script, sizeof(script), "/proc/self/fd/%d", fd[SCRIPT]);
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	dup2(fd[OUTPUT], STDOUT_FILENO);
	dup2(fd[ERRORS], STDERR_FILENO);
	execl(path, path, script, (char *)NULL);
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

bool program_run(const char *path, const char *script, size_t script_n, char **out, size_t *n)
{
	int fd[FILES], status = -1;
	pid_t pid = -1;
	bool ok;

	for (int i = 0; i < FILES; i++)
		fd[i] = memfd_create("twofold", 0);
	ok = fd[FILES - 1] >= 0 && write_all(fd[SCRIPT], script, script_n);
	if (ok)
		pid = fork();
	if (pid == 0)
		become(path, fd);
	if (pid < 0) {
		say("%s does not start: %s", path, strerror(errno));
		return false;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (ok) {
		*out = read_all(fd[OUTPUT], n);
	} else {
		size_t words_n;
		char *words = read_all(fd[ERRORS], &words_n);
		char *first = words + strspn(words, "\n ");

		say("%s failed: %.*s", path, (int)strcspn(first, "\n"),
		    *first ? first : "it did not say why");
		free(words);
	}
	for (int i = 0; i < FILES; i++)
		close(fd[i]);
	return ok;
}
