/* The memory of the guest that calibrates, and its pieces of code (virt/calibrate_guest.S).
 *
 * Addresses are guest-physical; the first 2 MiB are mapped one to one, with 4 KiB pages.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VIRT_CALIBRATE_H
#define HV_VIRT_CALIBRATE_H

#define CAL_CODE      0x1000
#define CAL_IDT	      0x2000
#define CAL_GDT	      0x3000
#define CAL_TSS	      0x3100
#define CAL_STACK_END 0x5000
#define CAL_LOG	      0x5000 /* time stamps */
#define CAL_PML4      0x6000
#define CAL_PDPT      0x7000
#define CAL_LOW_PD    0x8000
#define CAL_LOW_PT    0x9000
#define CAL_PD	      0xa000 /* of the gigabyte at CAL_PAGES_AT */
#define CAL_HOLE_PT   0xb000
/* A second address space, with the same low memory and pages of its own. */
#define CAL_OTHER_PML4 0xc000
#define CAL_OTHER_PDPT 0xd000
#define CAL_OTHER_PD   0xe000
#define CAL_OTHER_PT   0xf000
#define CAL_PTS	       0x10000 /* tables of the pages at CAL_PAGES_AT */
#define CAL_KERNEL     0x100000
#define CAL_DATA       0x200000

/* From one page fault to the next, of a process that touches fresh memory, Linux 6.1 touches 98
 * pages, 51 of them with code (docs/choice.md): so many that the guest's own make up for the rest.
 */
#define CAL_KERNEL_PAGES 90

/* Guest-virtual. */
#define CAL_PAGES_AT 0x40000000 /* pages that are mapped */
#define CAL_HOLES_AT 0x60000000 /* pages that the guest maps at their first touch, and unmaps */

#define CAL_SET 8 /* pages that a process touches after each write of CR3 */

#define CAL_PTE	     0x67 /* present, writable, user, accessed, dirty */
#define CAL_PTE_USER 0x04

#define CAL_ARITH_INSNS 34 /* in one step of cal_arith */

#define CAL_STOP 0x40000001 /* the CPUID leaf that ends a loop */

#ifndef __ASSEMBLY__
#include <stdint.h>

/* RDI, RSI, R8, R10: see each; R9: where the time stamps go. Each ends with CPUID, of CAL_STOP. */
extern const uint8_t cal_begin[], cal_end[];
extern const uint8_t cal_exit[], cal_chase[], cal_touch[], cal_unmap[], cal_cr3[], cal_arith[];
extern const uint8_t cal_fault[]; /* the handler of #PF */
#endif

#endif
