/* Where our own files are: see home.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "home.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *home_file(const char *file)
{
	const char *home = getenv("TWOFOLD_HOME");
	char self[PATH_MAX] = ".";
	char *path;
	ssize_t n;

	if (!home || !*home) {
		n = readlink("/proc/self/exe", self, sizeof(self) - 1);
		if (n > 0) {
			self[n] = 0;
			*strrchr(self, '/') = 0;
		}
		home = self;
	}
	if (asprintf(&path, "%s/%s", home, file) < 0)
		abort();
	return path;
}
