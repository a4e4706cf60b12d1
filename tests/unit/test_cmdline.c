/* The hypervisor's command line: what each word sets, and that each wrong one ends in one line.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* sources: hv/core/cmdline.c hv/core/walk_words.c hv/load/nodes.c hv/load/guestmem.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <twofold/choice.h>

#include "core/cmdline.h"
#include "core/vcpu.h"
#include "core/walk.h"

static jmp_buf failed;
static char said[256];
static struct cmdline untouched;

_Noreturn void vm_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said, sizeof(said), fmt, ap);
	va_end(ap);
	longjmp(failed, 1);
}

/* NULL, or what it ended with. */
static const char *parse(const char *text)
{
	static char copy[256];

	cmdline = untouched;
	snprintf(copy, sizeof(copy), "%s", text);
	if (setjmp(failed))
		return said;
	cmdline_parse(copy);
	return NULL;
}

static void test_modes(void **state)
{
	(void)state;
	assert_null(parse(""));
	assert_true(cmdline.automatic && !cmdline.shadow);
	assert_null(parse("/boot/twofold-hv.elf mode=nested"));
	assert_true(!cmdline.automatic && !cmdline.shadow);
	assert_null(parse("mode=shadow"));
	assert_true(!cmdline.automatic && cmdline.shadow);
	assert_null(parse("mode=shadow mode=auto"));
	assert_true(cmdline.automatic && !cmdline.shadow);
	assert_null(parse("mode=auto switch=20 seed=18446744073709551 trace=1 verbose=0"));
	assert_int_equal(cmdline.switch_ms, 20);
	assert_true(cmdline.seed == 18446744073709551u);
	assert_true(cmdline.trace && !cmdline.verbose);
	assert_null(parse("grain=space"));
	assert_int_equal(cmdline.grain, TF_GRAIN_SPACE);
	assert_null(parse("grain=space grain=vm"));
	assert_int_equal(cmdline.grain, TF_GRAIN_VM);
	assert_null(parse("recheck=1"));
	assert_true(cmdline.recheck);
	assert_null(parse("recheck=0"));
	assert_true(!cmdline.recheck);
	assert_null(parse("hold=60"));
	assert_int_equal(cmdline.hold_s, 60);
}

static void test_policies(void **state)
{
	(void)state;
	for (unsigned int i = 0; tf_policies[i]; i++) {
		char word[64];

		snprintf(word, sizeof(word), "policy=%s", tf_policy_name(tf_policies[i]));
		assert_null(parse(word));
		assert_ptr_equal(cmdline.policy, tf_policies[i]);
	}
	assert_null(parse("policy=dsp"));
	assert_int_equal(cmdline.dsp.period_ms, 5000);
	assert_int_equal(cmdline.dsp.pf_upper, 5000);
	assert_int_equal(cmdline.dsp.pf_lower, 100);
	assert_int_equal(cmdline.dsp.tlb_upper, 100000000);
	assert_int_equal(cmdline.dsp.tlb_lower, 1000000);
	assert_int_equal(cmdline.dsp.ptt_upper, 200);
	assert_int_equal(cmdline.dsp.ptt_lower, 150);
	assert_null(parse("policy=dsp,ptt=9:8,period=250,tlb=7:6,pf=5:4"));
	assert_int_equal(cmdline.dsp.period_ms, 250);
	assert_int_equal(cmdline.dsp.pf_upper, 5);
	assert_int_equal(cmdline.dsp.pf_lower, 4);
	assert_int_equal(cmdline.dsp.tlb_upper, 7);
	assert_int_equal(cmdline.dsp.tlb_lower, 6);
	assert_int_equal(cmdline.dsp.ptt_upper, 9);
	assert_int_equal(cmdline.dsp.ptt_lower, 8);
}

static void test_walk(void **state)
{
	(void)state;
	assert_null(parse("walk=rip"));
	assert_true(walk.wanted);
	assert_int_equal(walk.gpr, WALK_RIP);
	assert_string_equal(walk.where, "rip");
	assert_int_equal(walk.when, WALK_MAPPED);
	assert_int_equal(walk.flags, 0);
	assert_null(parse("walk=r15 walk_when=mark:255 walk_as=write"));
	assert_int_equal(walk.gpr, REG_R15);
	assert_int_equal(walk.when, WALK_MARK);
	assert_int_equal(walk.n, 255);
	assert_int_equal(walk.flags, TF_WRITE);
	assert_null(parse("walk=0xFFFFffff81000000 walk_when=ms:4294967295 walk_as=fetch"));
	assert_int_equal(walk.gpr, WALK_ADDRESS);
	assert_true(walk.address == UINT64_C(0xffffffff81000000));
	assert_int_equal(walk.when, WALK_MS);
	assert_true(walk.n == UINT32_MAX);
	assert_int_equal(walk.flags, TF_FETCH);
	assert_null(parse("walk=rip walk_when=user"));
	assert_int_equal(walk.when, WALK_USER);
	assert_null(parse("walk=0x0 walk_when=mapped walk_as=read"));
	assert_int_equal(walk.when, WALK_MAPPED);
	assert_int_equal(walk.flags, 0);
	assert_null(parse("backing=4K"));
	assert_int_equal(cmdline.backing, TF_ORDER_4K);
	assert_null(parse("backing=2M"));
	assert_int_equal(cmdline.backing, TF_ORDER_2M);
	assert_null(parse("backing=1G"));
	assert_int_equal(cmdline.backing, TF_ORDER_1G);
}

static void test_wrong_words(void **state)
{
	static const char *const wrong[] = {
		"mode=",
		"mode=both",
		"hold=",
		"hold=long",
		"policy=",
		"policy=best",
		"policy=costly",
		"policy=a-name-that-is-too-long-for-any",
		"policy=cost,period=5",
		"policy=dsp,",
		"policy=dsp,period=0",
		"policy=dsp,period=4294967296",
		"policy=dsp,period=5s",
		"policy=dsp,pf=100",
		"policy=dsp,pf=100:",
		"policy=dsp,pf=100:200",
		"policy=dsp,pf=200:100:50",
		"policy=dsp,tlb=:1",
		"policy=dsp,ptt=-2:1",
		"policy=dsp,pf=2:1;tlb=2:1",
		"policy=dsp,walks=2:1",
		"grain=",
		"grain=page",
		"seed=",
		"seed=0x10",
		"trace=",
		"trace=yes",
		"cpus=0x",
		"unheard=of",
		"backing=1g",
		"walk=",
		"walk=0x",
		"walk=10",
		"walk=0x12345678123456789",
		"walk=0x12g",
		"walk=eip",
		"walk=r16",
		"walk_when=",
		"walk_when=mark:256",
		"walk_when=mark:",
		"walk_when=ms:4294967296",
		"walk_when=ms:5s",
		"walk_when=never",
		"walk_as=execute",
		"walking=rip",
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const char *text = parse(wrong[i]);
		char want[256];

		snprintf(want, sizeof(want), "unknown word on the hypervisor's command line: %s",
			 wrong[i]);
		if (!text)
			fail_msg("taken: %s", wrong[i]);
		assert_string_equal(text, want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_wrong_words),
	};

	untouched = cmdline;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
