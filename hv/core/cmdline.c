/* Parsing the hypervisor's own command line.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/cmdline.h"

#include "core/string.h"
#include "core/vm.h"
#include "core/walk.h"

struct cmdline cmdline = {
	.automatic = true,
	.backing = TF_ORDER_2M,
	.seed = 1,
	.grain = TF_GRAIN_SPACE,
	/* As published (VEE 2011). */
	.dsp =
		{
			.period_ms = 5000,
			.pf_upper = 5000,
			.pf_lower = 100,
			.tlb_upper = 100000000,
			.tlb_lower = 1000000,
			.ptt_upper = 200,
			.ptt_lower = 150,
		},
};

static bool parse_size(const char *s, bool suffix, uint64_t *out)
{
	s = nodes_number(s, suffix, out);
	return s && !*s;
}

static bool parse_groups(const char *s)
{
	if (!strcmp(s, "node"))
		cmdline.groups = TF_GROUPS_NODE;
	else if (!strcmp(s, "one"))
		cmdline.groups = TF_GROUPS_ONE;
	else if (!strcmp(s, "vcpu"))
		cmdline.groups = TF_GROUPS_VCPU;
	else
		return false;
	return true;
}

static bool parse_node(bool (*add)(struct nodes_spec *, const char *, struct load_error *),
		       const char *s)
{
	struct load_error err;

	if (!add(&cmdline.nodes, s, &err))
		vm_fail("%s", err.text);
	return true;
}

/* A number below 2^32 behind the name. */
static bool parse_number(const char *word, const char *name, bool suffix, unsigned int *out)
{
	size_t n = strlen(name);
	uint64_t v;

	if (strncmp(word, name, n) != 0 || !parse_size(word + n, suffix, &v) || v > UINT32_MAX)
		return false;
	*out = (unsigned int)v;
	return true;
}

/* UPPER:LOWER, in front of a comma or the end; what follows, or NULL. */
static const char *parse_pair(const char *s, uint64_t *upper, uint64_t *lower)
{
	s = nodes_number(s, false, upper);
	if (!s || *s != ':')
		return NULL;
	s = nodes_number(s + 1, false, lower);
	return s && *lower <= *upper ? s : NULL;
}

/* One setting of policy=dsp; what follows it, or NULL. */
static const char *parse_dsp(const char *s)
{
	struct tf_dsp *d = &cmdline.dsp;

	if (!strncmp(s, "period=", 7)) {
		s = nodes_number(s + 7, false, &d->period_ms);
		return s && d->period_ms && d->period_ms <= UINT32_MAX ? s : NULL;
	}
	if (!strncmp(s, "pf=", 3))
		return parse_pair(s + 3, &d->pf_upper, &d->pf_lower);
	if (!strncmp(s, "tlb=", 4))
		return parse_pair(s + 4, &d->tlb_upper, &d->tlb_lower);
	if (!strncmp(s, "ptt=", 4))
		return parse_pair(s + 4, &d->ptt_upper, &d->ptt_lower);
	return NULL;
}

/* NAME[,SETTING...]: only `dsp` has settings. */
static bool parse_policy(const char *s)
{
	char name[16];
	size_t n = 0;

	while (s[n] && s[n] != ',' && n < sizeof(name) - 1)
		n++;
	memcpy(name, s, n);
	name[n] = '\0';
	s += n;
	cmdline.policy = tf_policy_find(name);
	if (!cmdline.policy || (*s && strcmp(name, "dsp") != 0))
		return false;
	while (*s) {
		s = *s == ',' ? parse_dsp(s + 1) : NULL;
		if (!s)
			return false;
	}
	return true;
}

static bool parse_word(const char *word)
{
	unsigned int v;

	if (!strcmp(word, "mode=nested") || !strcmp(word, "mode=shadow") ||
	    !strcmp(word, "mode=auto")) {
		cmdline.shadow = word[5] == 's';
		cmdline.automatic = word[5] == 'a';
		return true;
	}
	if (!strncmp(word, "policy=", 7))
		return parse_policy(word + 7);
	if (!strcmp(word, "grain=vm") || !strcmp(word, "grain=space")) {
		cmdline.grain = word[6] == 's' ? TF_GRAIN_SPACE : TF_GRAIN_VM;
		return true;
	}
	if (!strncmp(word, "seed=", 5))
		return parse_size(word + 5, false, &cmdline.seed);
	if (!strcmp(word, "install=lock") || !strcmp(word, "install=cas")) {
		cmdline.install = word[8] == 'c' ? TF_INSTALL_CAS : TF_INSTALL_LOCK;
		return true;
	}
	if (!strcmp(word, "backing=4K") || !strcmp(word, "backing=2M") ||
	    !strcmp(word, "backing=1G")) {
		cmdline.backing = word[8] == '4'   ? TF_ORDER_4K
				  : word[8] == '2' ? TF_ORDER_2M
						   : TF_ORDER_1G;
		return true;
	}
	if (!strncmp(word, "groups=", 7))
		return parse_groups(word + 7);
	if (!strncmp(word, "node=", 5))
		return parse_node(nodes_add, word + 5);
	if (!strncmp(word, "distance=", 9))
		return parse_node(nodes_add_distances, word + 9);
	if (!strncmp(word, "mem=", 4))
		return parse_size(word + 4, true, &cmdline.mem);
	if (!strncmp(word, "walk", 4))
		return walk_parse(word);
	if (parse_number(word, "verbose=", false, &v)) {
		cmdline.verbose = v != 0;
		return true;
	}
	if (parse_number(word, "trace=", false, &v)) {
		cmdline.trace = v != 0;
		return true;
	}
	if (parse_number(word, "spare=", false, &v)) {
		cmdline.spare = v != 0;
		return true;
	}
	if (parse_number(word, "recheck=", false, &v)) {
		cmdline.recheck = v != 0;
		return true;
	}
	if (parse_number(word, "ept_ad=", false, &v)) {
		cmdline.no_ept_ad = v == 0;
		return true;
	}
	return (parse_number(word, "cpus=", false, &cmdline.cpus) &&
		cmdline.cpus <= TF_MAX_VCPUS) ||
	       parse_number(word, "shadow_pages=", true, &cmdline.shadow_pages) ||
	       parse_number(word, "hold=", false, &cmdline.hold_s) ||
	       parse_number(word, "regroup=", false, &cmdline.regroup_ms) ||
	       parse_number(word, "switch=", false, &cmdline.switch_ms);
}

static bool has_equals(const char *word)
{
	while (*word && *word != '=')
		word++;
	return *word == '=';
}

void cmdline_parse(char *text)
{
	bool is_first = true;

	for (;;) {
		char *word;

		while (*text == ' ')
			text++;
		if (!*text)
			return;
		word = text;
		while (*text && *text != ' ')
			text++;
		if (*text)
			*text++ = '\0';
		/* Loaders put the image's own file name first. */
		if (!parse_word(word) && !(is_first && !has_equals(word)))
			vm_fail("unknown word on the hypervisor's command line: %s", word);
		is_first = false;
	}
}
