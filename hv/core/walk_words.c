/* What the command line asks of a walk: see walk.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/string.h"
#include "core/vcpu.h"
#include "core/walk.h"
#include "load/nodes.h"

struct walk_wish walk;

static const char *const gpr_name[] = {
	[REG_RAX] = "rax", [REG_RCX] = "rcx", [REG_RDX] = "rdx", [REG_RBX] = "rbx",
	[REG_RSP] = "rsp", [REG_RBP] = "rbp", [REG_RSI] = "rsi", [REG_RDI] = "rdi",
	[REG_R8] = "r8",   [REG_R9] = "r9",   [REG_R10] = "r10", [REG_R11] = "r11",
	[REG_R12] = "r12", [REG_R13] = "r13", [REG_R14] = "r14", [REG_R15] = "r15",
};

/* 0x and up to 16 hexadecimal digits. */
static bool parse_address(const char *s, uint64_t *out)
{
	uint64_t v = 0;
	unsigned int n = 0;

	if (s[0] != '0' || s[1] != 'x')
		return false;
	for (s += 2; *s; s++) {
		char c = *s | 0x20;

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
		if (++n > 16)
			return false;
	}
	*out = v;
	return n > 0;
}

static bool parse_where(const char *s)
{
	walk.wanted = true;
	walk.where = s;
	walk.gpr = WALK_ADDRESS;
	if (parse_address(s, &walk.address))
		return true;
	for (int i = REG_RAX; i <= REG_R15; i++) {
		if (!strcmp(s, gpr_name[i])) {
			walk.gpr = i;
			return true;
		}
	}
	walk.gpr = !strcmp(s, "rip") ? WALK_RIP : WALK_CR2;
	return walk.gpr == WALK_RIP || !strcmp(s, "cr2");
}

static bool parse_when(const char *s)
{
	walk.when = !strcmp(s, "user") ? WALK_USER : WALK_MAPPED;
	if (walk.when == WALK_USER || !strcmp(s, "mapped"))
		return true;
	walk.when = !strncmp(s, "mark:", 5) ? WALK_MARK : WALK_MS;
	if (walk.when == WALK_MS && strncmp(s, "ms:", 3) != 0)
		return false;
	s = nodes_number(s + (walk.when == WALK_MARK ? 5 : 3), false, &walk.n);
	return s && !*s && walk.n <= (walk.when == WALK_MARK ? UINT8_MAX : UINT32_MAX);
}

static bool parse_as(const char *s)
{
	walk.flags = 0;
	if (!strcmp(s, "write"))
		walk.flags = TF_WRITE;
	else if (!strcmp(s, "fetch"))
		walk.flags = TF_FETCH;
	else
		return !strcmp(s, "read");
	return true;
}

bool walk_parse(const char *word)
{
	if (!strncmp(word, "walk=", 5))
		return parse_where(word + 5);
	if (!strncmp(word, "walk_when=", 10))
		return parse_when(word + 10);
	return !strncmp(word, "walk_as=", 8) && parse_as(word + 8);
}
