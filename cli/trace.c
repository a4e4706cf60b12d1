/* The file that --trace writes: see trace.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "say.h"

bool trace_open(struct trace *t, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);

	*t = (struct trace){.path = path, .file = fd < 0 ? NULL : fdopen(fd, "w")};
	if (!t->file) {
		say("--trace %s: cannot write it: %s", path, strerror(errno));
		return false;
	}
	/* Each line reaches the file at once: nothing is lost, however this process ends. */
	setvbuf(t->file, NULL, _IOLBF, BUFSIZ);
	return true;
}

void trace_put_line(struct trace *t, const char *line, size_t n)
{
	/* What was there goes now. A device such as a pipe cannot be truncated, and need not be. */
	if (!t->begun)
		(void)!ftruncate(fileno(t->file), 0);
	t->begun = true;
	if ((fwrite(line, 1, n, t->file) != n || putc('\n', t->file) == EOF) && !t->error)
		t->error = errno;
}

void trace_put(struct trace *t, const json_t *object)
{
	char *line = json_dumps(object, JSON_COMPACT);

	if (line)
		trace_put_line(t, line, strlen(line));
	free(line);
}

bool trace_close(struct trace *t)
{
	if (!t->file)
		return true;
	if (fclose(t->file) != 0 && !t->error)
		t->error = errno;
	t->file = NULL;
	if (t->error)
		say("--trace %s: not all of it was written: %s", t->path, strerror(t->error));
	return t->error == 0;
}
