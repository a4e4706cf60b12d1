/* Parsing the hypervisor's own command line.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/cmdline.h"

#include "core/string.h"
#include "core/vm.h"

struct cmdline cmdline = {
	.mem = 512ull << 20,
};

/* A decimal number with an optional K, M or G; false if it is none or too big. */
static bool parse_size(const char *s, bool suffix, uint64_t *out)
{
	uint64_t v = 0;
	unsigned int shift = 0;

	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (v > UINT64_MAX / 16)
			return false;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	if (suffix && *s) {
		switch (*s++ | 0x20) {
		case 'k':
			shift = 10;
			break;
		case 'm':
			shift = 20;
			break;
		case 'g':
			shift = 30;
			break;
		default:
			return false;
		}
	}
	if (*s || v > (UINT64_MAX >> shift))
		return false;
	*out = v << shift;
	return true;
}

static bool parse_word(const char *word)
{
	uint64_t v;

	if (!strcmp(word, "mode=nested") || !strcmp(word, "mode=shadow")) {
		cmdline.shadow = word[5] == 's';
		return true;
	}
	if (!strncmp(word, "mem=", 4))
		return parse_size(word + 4, true, &cmdline.mem);
	if (!strncmp(word, "cpus=", 5) && parse_size(word + 5, false, &v) && v <= TF_MAX_VCPUS) {
		cmdline.cpus = (unsigned int)v;
		return true;
	}
	if (!strncmp(word, "shadow_pages=", 13) && parse_size(word + 13, true, &v) &&
	    v <= UINT32_MAX) {
		cmdline.shadow_pages = (unsigned int)v;
		return true;
	}
	if (!strncmp(word, "verbose=", 8) && parse_size(word + 8, false, &v)) {
		cmdline.verbose = v != 0;
		return true;
	}
	return false;
}

static bool has_equals(const char *word)
{
	while (*word && *word != '=')
		word++;
	return *word == '=';
}

void cmdline_parse(const char *text)
{
	char word[64];
	bool is_first = true;

	for (;;) {
		size_t n = 0;

		while (*text == ' ')
			text++;
		if (!*text)
			return;
		for (; *text && *text != ' '; text++)
			if (n < sizeof(word) - 1)
				word[n++] = *text;
		word[n] = '\0';
		/* Loaders put the image's own file name first. */
		if (!parse_word(word) && !(is_first && !has_equals(word)))
			vm_fail("unknown word on the hypervisor's command line: %s", word);
		is_first = false;
	}
}
