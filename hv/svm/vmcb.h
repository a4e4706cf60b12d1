/* The virtual machine control block (APM vol. 2, appendix B) and SVM's exit codes (appendix C).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_SVM_VMCB_H
#define HV_SVM_VMCB_H

#include <stddef.h>
#include <stdint.h>

struct vmcb_seg {
	uint16_t selector;
	uint16_t attrib; /* descriptor bits 40..47 and 52..55 */
	uint32_t limit;
	uint64_t base;
};

struct vmcb_control {
	uint16_t cr_read, cr_write; /* 0x000 intercepts */
	uint16_t dr_read, dr_write;
	uint32_t exceptions; /* 0x008 */
	uint32_t intercept1; /* 0x00c INT1_* */
	uint32_t intercept2; /* 0x010 INT2_* */
	uint32_t intercept3; /* 0x014 INT3_* */
	uint8_t pad1[0x3c - 0x18];
	uint16_t pause_threshold, pause_count;
	uint64_t iopm_pa; /* 0x040 */
	uint64_t msrpm_pa;
	uint64_t tsc_offset; /* 0x050 */
	uint32_t asid;	     /* 0x058 */
	uint8_t tlb_control;
	uint8_t pad2[3];
	uint64_t int_ctl;   /* 0x060 V_* */
	uint64_t int_state; /* 0x068 bit 0: interrupt shadow */
	uint64_t exit_code; /* 0x070 */
	uint64_t exit_info1, exit_info2;
	uint64_t exit_int_info; /* 0x088, as event_inj */
	uint64_t nested_ctl;	/* 0x090 bit 0: NP_ENABLE */
	uint64_t avic_bar, ghcb_pa;
	uint64_t event_inj;  /* 0x0a8: virt/event.h */
	uint64_t nested_cr3; /* 0x0b0 */
	uint64_t lbr_ctl;
	uint32_t clean; /* 0x0c0 VMCB_CLEAN_* */
	uint32_t pad3;
	uint64_t next_rip; /* 0x0c8, with NRIP save */
	uint8_t insn_len;  /* 0x0d0, with decode assists */
	uint8_t insn[15];
	uint8_t pad4[0x400 - 0xe0];
};

struct vmcb_save {
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr; /* 0x400 */
	uint8_t pad1[0x4cb - 0x4a0];
	uint8_t cpl; /* 0x4cb */
	uint32_t pad2;
	uint64_t efer; /* 0x4d0 */
	uint8_t pad3[0x548 - 0x4d8];
	uint64_t cr4, cr3, cr0;		/* 0x548 */
	uint64_t dr7, dr6, rflags, rip; /* 0x560 */
	uint8_t pad4[0x5d8 - 0x580];
	uint64_t rsp; /* 0x5d8 */
	uint64_t s_cet, ssp, isst;
	uint64_t rax; /* 0x5f8 */
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t cr2; /* 0x640 */
	uint8_t pad5[0x668 - 0x648];
	uint64_t g_pat; /* 0x668 */
	uint64_t dbgctl, br_from, br_to, last_from, last_to;
	uint8_t pad6[0x1000 - 0x698];
};

struct vmcb {
	struct vmcb_control ctl;
	struct vmcb_save save;
};

_Static_assert(offsetof(struct vmcb, ctl.iopm_pa) == 0x40, "vmcb");
_Static_assert(offsetof(struct vmcb, ctl.exit_code) == 0x70, "vmcb");
_Static_assert(offsetof(struct vmcb, ctl.event_inj) == 0xa8, "vmcb");
_Static_assert(offsetof(struct vmcb, ctl.insn_len) == 0xd0, "vmcb");
_Static_assert(offsetof(struct vmcb, save) == 0x400, "vmcb");
_Static_assert(offsetof(struct vmcb, save.cpl) == 0x4cb, "vmcb");
_Static_assert(offsetof(struct vmcb, save.efer) == 0x4d0, "vmcb");
_Static_assert(offsetof(struct vmcb, save.cr4) == 0x548, "vmcb");
_Static_assert(offsetof(struct vmcb, save.rsp) == 0x5d8, "vmcb");
_Static_assert(offsetof(struct vmcb, save.rax) == 0x5f8, "vmcb");
_Static_assert(offsetof(struct vmcb, save.cr2) == 0x640, "vmcb");
_Static_assert(offsetof(struct vmcb, save.g_pat) == 0x668, "vmcb");
_Static_assert(sizeof(struct vmcb) == 0x1000, "vmcb");

/* intercept1 */
#define INT1_INTR     (1u << 0)
#define INT1_NMI      (1u << 1)
#define INT1_SMI      (1u << 2)
#define INT1_INIT     (1u << 3)
#define INT1_VINTR    (1u << 4)
#define INT1_CR0_SEL  (1u << 5)
#define INT1_RDPMC    (1u << 15)
#define INT1_CPUID    (1u << 18)
#define INT1_IRET     (1u << 20)
#define INT1_SOFT     (1u << 21)
#define INT1_INVD     (1u << 22)
#define INT1_HLT      (1u << 24)
#define INT1_INVLPG   (1u << 25)
#define INT1_INVLPGA  (1u << 26)
#define INT1_IOIO     (1u << 27)
#define INT1_MSR      (1u << 28)
#define INT1_TASKSW   (1u << 29)
#define INT1_FERR     (1u << 30)
#define INT1_SHUTDOWN (1u << 31)

/* intercept2 */
#define INT2_VMRUN   (1u << 0)
#define INT2_VMMCALL (1u << 1)
#define INT2_VMLOAD  (1u << 2)
#define INT2_VMSAVE  (1u << 3)
#define INT2_STGI    (1u << 4)
#define INT2_CLGI    (1u << 5)
#define INT2_SKINIT  (1u << 6)
#define INT2_WBINVD  (1u << 9)
#define INT2_MONITOR (1u << 10)
#define INT2_MWAIT   (1u << 11)
#define INT2_XSETBV  (1u << 13)
#define INT2_RDPRU   (1u << 14)

/* intercept3: old CPUs and QEMU know nothing of it */
#define INT3_INVPCID (1u << 2)

/* int_ctl */
#define V_TPR_MASK     0xffull
#define V_IRQ	       (1ull << 8)
#define V_PRIO_SHIFT   16
#define V_IGN_TPR      (1ull << 20)
#define V_INTR_MASKING (1ull << 24)
#define V_VECTOR_SHIFT 32

#define VMCB_INT_SHADOW 1ull

#define TLB_KEEP      0
#define TLB_FLUSH_ALL 1

/* exit codes */
enum {
	VMEXIT_CR0_READ = 0x000,
	VMEXIT_CR3_READ = 0x003,
	VMEXIT_CR8_READ = 0x008,
	VMEXIT_CR0_WRITE = 0x010,
	VMEXIT_CR3_WRITE = 0x013,
	VMEXIT_CR4_WRITE = 0x014,
	VMEXIT_CR8_WRITE = 0x018,
	VMEXIT_DR_READ = 0x020,
	VMEXIT_DR_WRITE = 0x030,
	VMEXIT_EXC = 0x040,
	VMEXIT_PF = 0x04e,
	VMEXIT_INTR = 0x060,
	VMEXIT_NMI = 0x061,
	VMEXIT_SMI = 0x062,
	VMEXIT_INIT = 0x063,
	VMEXIT_VINTR = 0x064,
	VMEXIT_CR0_SEL = 0x065,
	VMEXIT_RDPMC = 0x06f,
	VMEXIT_CPUID = 0x072,
	VMEXIT_IRET = 0x074,
	VMEXIT_SOFT = 0x075,
	VMEXIT_INVD = 0x076,
	VMEXIT_HLT = 0x078,
	VMEXIT_INVLPG = 0x079,
	VMEXIT_INVLPGA = 0x07a,
	VMEXIT_IOIO = 0x07b,
	VMEXIT_MSR = 0x07c,
	VMEXIT_TASKSW = 0x07d,
	VMEXIT_SHUTDOWN = 0x07f,
	VMEXIT_VMRUN = 0x080,
	VMEXIT_VMMCALL = 0x081,
	VMEXIT_VMLOAD = 0x082,
	VMEXIT_SKINIT = 0x086,
	VMEXIT_RDTSCP = 0x087,
	VMEXIT_WBINVD = 0x089,
	VMEXIT_MONITOR = 0x08a,
	VMEXIT_MWAIT = 0x08b,
	VMEXIT_XSETBV = 0x08d,
	VMEXIT_RDPRU = 0x08e,
	VMEXIT_INVPCID = 0x0a2,
	VMEXIT_NPF = 0x400,
};

#define VMEXIT_INVALID UINT64_MAX /* QEMU stores only 32 bits of it */

/* exit_info1 of VMEXIT_IOIO */
#define IOIO_IN	     (1u << 0)
#define IOIO_STRING  (1u << 2)
#define IOIO_REP     (1u << 3)
#define IOIO_SIZE(i) (((i) >> 4) & 7) /* bytes: 1, 2 or 4 */
#define IOIO_PORT(i) (((i) >> 16) & 0xffff)

/* exit_info1 of VMEXIT_NPF, beyond the page-fault bits */
#define NPF_GPA (1ull << 32)
#define NPF_GPT (1ull << 33)

#endif
