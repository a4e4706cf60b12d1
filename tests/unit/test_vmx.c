/* What VMX's forms are turned into, and the other way round: segment rights, events, exit
 * qualifications, the preemption timer, controls.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
/* sources: hv/vmx/convert.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <twofold/twofold.h>

#include "decode/decode.h"
#include "virt/event.h"
#include "virt/exit.h"
#include "vmx/convert.h"
#include "vmx/vmcs.h"

/* ---- segments ---- */

static void test_rights(void **state)
{
	(void)state;
	/* 64-bit code: type, S, P; L and G four bits further up. */
	assert_int_equal(vmx_rights(0xa9b), 0xa09b);
	assert_int_equal(vmx_rights(0xafb), 0xa0fb); /* DPL 3 */
	assert_int_equal(vmx_rights(0xc93), 0xc093); /* D and G */
	assert_int_equal(vmx_rights(0x193), 0x1093); /* AVL */
	assert_int_equal(vmx_rights(0x8b), 0x8b);    /* a busy TSS */
	assert_int_equal(vmx_rights(0x82), 0x82);    /* an LDT */
	assert_int_equal(vmx_rights(0), RIGHTS_UNUSABLE);
	assert_int_equal(vmx_rights(0x13), 0x13 | RIGHTS_UNUSABLE); /* not present */
	for (unsigned int a = 0; a < 0x1000; a++) {
		uint32_t r = vmx_rights((uint16_t)a);

		assert_int_equal(r & 0x0f00, 0); /* reserved */
		assert_int_equal(r & ~0x1f0ffu, 0);
		assert_int_equal(!(r & RIGHTS_UNUSABLE), !!(a & 0x80));
	}
}

/* ---- events ---- */

static void test_entry_info(void **state)
{
	const uint64_t pf = EVENT_VALID | EVENT_TYPE_EXC | EVENT_HAS_ERROR | 14 |
			    UINT64_C(0x15) << EVENT_ERROR_SHIFT;
	uint32_t error = 1;

	(void)state;
	assert_int_equal(vmx_entry_info(0, true, &error), 0);
	assert_int_equal(error, 0);
	assert_int_equal(vmx_entry_info(pf, true, &error), 0x80000b0e);
	assert_int_equal(error, 0x15);
	/* In real mode there are no error codes; the CPU would refuse the entry. */
	assert_int_equal(vmx_entry_info(pf, false, &error), 0x8000030e);
	assert_int_equal(vmx_entry_info(EVENT_VALID | EVENT_TYPE_NMI | 2, true, &error),
			 0x80000202);
	assert_int_equal(vmx_entry_info(EVENT_VALID | EVENT_TYPE_INTR | 0xec, true, &error),
			 0x800000ec);
	/* Not valid: nothing, whatever else is in it. */
	assert_int_equal(vmx_entry_info(pf & ~EVENT_VALID, true, &error), 0);
}

static void test_vectoring(void **state)
{
	uint32_t error;

	(void)state;
	assert_int_equal(vmx_vectoring_event(0, 7), 0);
	assert_int_equal(vmx_vectoring_event(0x30e, 7), 0); /* not valid */
	assert_true(vmx_vectoring_event(0x80000b0e, 7) ==
		    (EVENT_VALID | EVENT_TYPE_EXC | EVENT_HAS_ERROR | 14 |
		     UINT64_C(7) << EVENT_ERROR_SHIFT));
	/* No error code: what the field holds is not one. */
	assert_true(vmx_vectoring_event(0x80000301, 7) == (EVENT_VALID | EVENT_TYPE_EXC | 1));
	assert_true(vmx_vectoring_event(0x80000202, 0) == (EVENT_VALID | EVENT_TYPE_NMI | 2));
	assert_true(vmx_vectoring_event(0x800000ec, 0) == (EVENT_VALID | EVENT_TYPE_INTR | 0xec));
	/* INT n, INT1, INT3: the instruction runs again. */
	assert_int_equal(vmx_vectoring_event(0x80000480, 0), 0);
	assert_int_equal(vmx_vectoring_event(0x80000501, 0), 0);
	assert_int_equal(vmx_vectoring_event(0x80000603, 0), 0);
	/* What was cut short goes in as it was, "NMI unblocking" and reserved bits left out. */
	for (unsigned int vector = 0; vector < 256; vector++) {
		uint64_t e = vmx_vectoring_event(0xfffff000u | 0x800 | 0x300 | vector, 0x3c);

		assert_int_equal(vmx_entry_info(e, true, &error), 0x80000b00 | vector);
		assert_int_equal(error, 0x3c);
	}
}

/* ---- the timer ---- */

static void test_timer(void **state)
{
	(void)state;
	assert_int_equal(vmx_timer_ticks(0, 5000, 5), UINT32_MAX); /* never */
	assert_int_equal(vmx_timer_ticks(5000, 5000, 5), 0);
	assert_int_equal(vmx_timer_ticks(4000, 5000, 5), 0); /* it is late */
	assert_int_equal(vmx_timer_ticks(5032, 5000, 5), 1);
	assert_int_equal(vmx_timer_ticks(5033, 5000, 5), 2); /* not before it is due */
	assert_int_equal(vmx_timer_ticks(5001, 5000, 5), 1);
	assert_int_equal(vmx_timer_ticks(5001, 5000, 0), 1);
	assert_int_equal(vmx_timer_ticks(UINT64_C(1) << 40, 0, 5), UINT32_MAX);
	assert_int_equal(vmx_timer_ticks(UINT64_MAX, 0, 0), UINT32_MAX);
	for (unsigned int rate = 0; rate < 32; rate++)
		for (uint64_t d = 0; d < 5000; d += 7)
			assert_true((uint64_t)vmx_timer_ticks(100 + d, 100, rate) << rate >= d);
}

/* ---- qualifications ---- */

static void test_cr(void **state)
{
	struct exit e = {0};

	(void)state;
	vmx_qualify_cr(&e, 0x903); /* mov %r9, %cr3 */
	assert_true(e.told);
	assert_int_equal(e.cr.kind, INSN_CR_WRITE);
	assert_int_equal(e.cr.number, 3);
	assert_int_equal(e.cr.reg, 9);
	vmx_qualify_cr(&e, 0x013); /* mov %cr3, %rax */
	assert_int_equal(e.cr.kind, INSN_CR_READ);
	assert_int_equal(e.cr.reg, 0);
	vmx_qualify_cr(&e, 0x418); /* mov %cr8, %rsp */
	assert_int_equal(e.cr.number, 8);
	assert_int_equal(e.cr.reg, 4);
	vmx_qualify_cr(&e, 0x020);
	assert_int_equal(e.cr.kind, INSN_CLTS);
	vmx_qualify_cr(&e, 0xfff10030);
	assert_int_equal(e.cr.kind, INSN_LMSW);
	assert_int_equal(e.cr.lmsw, 0xfff1);
}

static void test_io(void **state)
{
	struct exit e = {0};

	(void)state;
	vmx_qualify_io(&e, 0x00f40000, 0, true, true); /* outb, port 0xf4 */
	assert_int_equal(e.io.port, 0xf4);
	assert_int_equal(e.io.size, 1);
	assert_false(e.io.in || e.io.string || e.io.rep);
	vmx_qualify_io(&e, 0x0cfc000b, 0, true, true); /* inl */
	assert_int_equal(e.io.port, 0xcfc);
	assert_int_equal(e.io.size, 4);
	assert_true(e.io.in);
	vmx_qualify_io(&e, 0x05100039, 1 << 7, true, true); /* rep insw, 32-bit addresses */
	assert_int_equal(e.io.size, 2);
	assert_true(e.io.in && e.io.string && e.io.rep);
	assert_true(e.io.address_mask == 0xffffffff);
	vmx_qualify_io(&e, 0x00000010, 2 << 7, true, true);
	assert_true(e.io.string && !e.io.in && !e.io.rep);
	assert_true(e.io.address_mask == UINT64_MAX);
	vmx_qualify_io(&e, 0x00000010, 0, true, true);
	assert_true(e.io.address_mask == 0xffff);
	/* Not told. */
	vmx_qualify_io(&e, 0x00000010, 0, false, true);
	assert_true(e.io.address_mask == UINT64_MAX);
	vmx_qualify_io(&e, 0x00000010, 0, false, false);
	assert_true(e.io.address_mask == 0xffffffff);
}

static void test_ept(void **state)
{
	static const struct {
		uint64_t qualification;
		uint32_t flags;
		bool has_gva;
	} all[] = {
		{0x181, 0, true},		   /* a read */
		{0x182, TF_WRITE, true},	   /* a write */
		{0x184, TF_FETCH, true},	   /* a fetch */
		{0x081, TF_WALK, true},		   /* a walk */
		{0x083, TF_WRITE | TF_WALK, true}, /* a walk, as a write: A/D, or they are on */
		{0x1aa, TF_WRITE, true},	   /* what the entry allows changes nothing */
		{0x001, 0, false},		   /* PDPTEs, loaded by MOV to CR3 */
		{0x1182, TF_WRITE, true},	   /* NMI unblocking */
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct exit e;

		memset(&e, 0xff, sizeof(e));
		vmx_qualify_ept(&e, all[i].qualification);
		assert_int_equal(e.fault.flags, all[i].flags);
		assert_int_equal(e.fault.has_gva, all[i].has_gva);
	}
}

/* ---- controls ---- */

static void test_controls(void **state)
{
	/* Bits 0 and 1 must be set; 2 and 3 may be. */
	const uint64_t capability = UINT64_C(0xf) << 32 | 0x3;

	(void)state;
	assert_int_equal(vmx_control(0, capability), 0x3);
	assert_int_equal(vmx_control(0x4, capability), 0x7);
	assert_int_equal(vmx_control(0x14, capability), 0x7); /* an optional one is left out */
	assert_int_equal(vmx_lacks(0xc, capability), 0);
	assert_int_equal(vmx_lacks(0x1c, capability), 0x10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rights),	  cmocka_unit_test(test_entry_info),
		cmocka_unit_test(test_vectoring), cmocka_unit_test(test_timer),
		cmocka_unit_test(test_cr),	  cmocka_unit_test(test_io),
		cmocka_unit_test(test_ept),	  cmocka_unit_test(test_controls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
