/* The facade: all that an embedder calls.
 *
 * One VM, one struct tf_vcpu for each virtual CPU. Calls that take a vCPU must come from the CPU
 * that runs it (one at a time for each vCPU); calls that take the VM may come from any CPU.
 * The engine takes its own locks (docs/locking.md).
 *
 * The life of a vCPU in its host:
 *
 *	tf_vcpu_set_regs(v, &regs);            reset, INIT/SIPI, or after running nested for a while
 *	for (;;) {
 *		tf_vcpu_load(v, &load);        mode, root, flush or not
 *		... enter the guest, leave it ...
 *		#PF exit            -> tf_shadow_fault()    (only when load.mode is shadow)
 *		nested-fault exit   -> tf_nested_fault()
 *		CR0/CR3/CR4/EFER write, INVLPG, INVPCID exits -> tf_write_*(), tf_invlpg() ...
 *	}
 *
 * In nested mode none of the latter need be intercepted; the host keeps the guest's own values and
 * tells them by tf_vcpu_set_regs() before it asks for a walk.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef TWOFOLD_TWOFOLD_H
#define TWOFOLD_TWOFOLD_H

#include <twofold/host.h>

struct tf_vm;
struct tf_vcpu;

enum tf_mode {
	TF_NESTED,
	TF_SHADOW,
};

/* The format of nested tables. Shadow tables are always x86-64's own.
 *
 * In the first two the CPU keeps accessed and dirty bits, and for that treats each of its reads of
 * a guest's page-table entry as a write (AMD APM vol. 2, 15.25.6; Intel SDM vol. 3, 29.3.3.2): a
 * vCPU on a nested root ends the engine's trust in each guest table that it walks. With
 * TF_EPT_NO_AD only the walks that set A or D in the guest's entry write; to ask whether a page was
 * accessed then costs an EPT violation at its next access. */
enum tf_nested_format {
	TF_NPT,
	TF_EPT,	      /* with EPTP bit 6: accessed and dirty flags */
	TF_EPT_NO_AD, /* without: for CPUs that have none, or do not want them */
};

/* Which vCPUs share a group: its tables, its lock, its page pool, its counters. */
enum tf_grouping {
	TF_GROUPS_NODE, /* a group for each guest NUMA node */
	TF_GROUPS_ONE,	/* one group for the VM */
	TF_GROUPS_VCPU, /* a group for each vCPU */
};

/* How a nested fault installs its leaf. */
enum tf_install {
	TF_INSTALL_LOCK, /* under the group's lock */
	TF_INSTALL_CAS,	 /* by compare-and-swap, without the lock where a table page is there */
};

struct tf_config {
	enum tf_mode mode;	      /* what every vCPU starts with */
	enum tf_nested_format nested; /* AMD or Intel */
	unsigned int maxphyaddr;   /* physical-address bits that the guest's CPUID tells, 32..52 */
	unsigned int vcpus;	   /* 1..TF_MAX_VCPUS */
	unsigned int shadow_pages; /* bound on shadow tables (12 KiB each); 0: 8192; less than vcpus
				    * + 16 is raised to that, for roots and one walk must fit */
	bool large_backing;	   /* back 2 MiB at once where slot and host allow */
	/* And 1 GiB at once, with `large_backing`: for CPUs whose nested tables have leaves of 1
	 * GiB (AMD: CPUID 8000_0001h EDX bit 26; Intel: IA32_VMX_EPT_VPID_CAP bit 17). */
	bool huge_backing;
	unsigned int nodes;	   /* guest NUMA nodes, 1..TF_MAX_NODES; 0: 1 */
	enum tf_grouping grouping; /* what to start with */
	bool regroup;		   /* tf_regroup() may be called: keep room for any grouping */
	enum tf_install install;
	/* Entries of guest tables that the vCPUs of a group together re-read when they come over to
	 * shadow tables, before they run on; what is left waits for faults, each of which reads
	 * four times as many. 0: 512. */
	unsigned int arrival;
};

/* Guest control state that paging depends on. */
struct tf_regs {
	uint64_t cr0, cr3, cr4, efer;
	uint32_t pkru;
};

/* What to load before entering the guest. */
struct tf_load {
	enum tf_mode
		mode; /* may be TF_NESTED in shadow mode: no paging, CR0.WP=0, or legacy paging */
	/* Shadow: CR3. Nested: nCR3, or the address in the EPTP, whose other fields are the same
	 * for the VM's whole life: write-back (6), 4 levels (3 << 3), and bit 6 with TF_EPT alone.
	 * EPT leaves are write-back and ignore the guest's PAT: there is no device behind them. */
	hpa_t root;
	uint32_t flush; /* TF_FLUSH_*: which of its translations must go before it enters */
	/* The mode of its address space was changed, and it goes over for the first time since. */
	bool switched;
};

/* One guest access, as a #PF or the host's own emulation sees it. */
enum {
	TF_WRITE = 1u << 0,
	TF_USER = 1u << 1, /* at CPL 3, explicit */
	TF_FETCH = 1u << 2,
	TF_AC = 1u << 3,       /* RFLAGS.AC is set (SMAP) */
	TF_IMPLICIT = 1u << 4, /* by the CPU itself (descriptor tables): SMAP ignores AC */
	/* The #PF's P bit was 0: no translation was there. Spares a look for a stale one, which a
	 * fault drops (SDM vol. 3, 4.10.4.1). */
	TF_ABSENT = 1u << 5,
	/* A nested fault: at an entry of the guest's tables, by the CPU's walk. */
	TF_WALK = 1u << 6,
};

struct tf_access {
	gva_t at;
	uint32_t flags;
};

/* How a fault ends. */
enum tf_end {
	TF_RESUME,    /* mapped: run the instruction again */
	TF_INJECT,    /* #PF with this error code and CR2 */
	TF_DEVICE,    /* no memory at .gpa: emulate */
	TF_NO_MEMORY, /* the host is out of pages; nothing was changed */
	/* Of a nested fault with TF_WALK: if the frame is the root (CR3), the guest has gone over
	 * to an address space that runs on shadow tables (twofold/choice.h): tell its registers,
	 * set the vCPU's mode to TF_SHADOW and load again. If not, ask again without TF_WALK. */
	TF_GATE,
};

/* Page-fault error code bits (AMD APM vol. 2, 8.4.2; Intel SDM vol. 3, 4.7). */
enum {
	TF_PF_P = 1u << 0,
	TF_PF_W = 1u << 1,
	TF_PF_U = 1u << 2,
	TF_PF_RSVD = 1u << 3,
	TF_PF_I = 1u << 4,
	TF_PF_PK = 1u << 5,
};

struct tf_outcome {
	enum tf_end end;
	uint32_t pfec; /* TF_INJECT */
	gva_t cr2;     /* TF_INJECT */
	gpa_t gpa;     /* TF_DEVICE */
};

/* A finished walk of the guest's own tables. */
struct tf_translation {
	gpa_t gpa;	    /* of the access itself, not of its page */
	uint64_t page_size; /* bytes the guest maps with this leaf: 4 KiB .. 1 GiB */
	bool writable, user, nx, global, dirty;
	uint8_t pkey;
};

/* ---- VM ---- */

enum tf_status tf_vm_create(struct tf_host *h, const struct tf_config *c,
			    struct tf_vm **out) TF_MUST_CHECK;
/* No vCPU may be in the guest. Frees every page that the engine took. */
void tf_vm_destroy(struct tf_vm *vm);

/* Memory slots: page-aligned, half-open. A slot belongs to one guest node. */
enum tf_status tf_mem_add(struct tf_vm *vm, gpa_t start, uint64_t bytes,
			  unsigned int node) TF_MUST_CHECK;
/* Take a whole slot (or part of one, splitting it) away; safe while vCPUs run. On return no vCPU
 * can reach the frames any more and they were given back to the host. TF_E_NOMEM (splitting)
 * changes nothing. */
enum tf_status tf_mem_remove(struct tf_vm *vm, gpa_t start, uint64_t bytes) TF_MUST_CHECK;
/* Give the frames of a range back; the range stays memory and reads as zeroes when touched again.
 */
enum tf_status tf_mem_discard(struct tf_vm *vm, gpa_t start, uint64_t bytes) TF_MUST_CHECK;
/* The host's own access to guest memory; backs frames as needed, keeps tracking and the dirty log
 * right. Copies all or stops at the first address without memory (TF_E_NOENT). */
enum tf_status tf_mem_read(struct tf_vm *vm, gpa_t from, void *to, size_t n) TF_MUST_CHECK;
enum tf_status tf_mem_write(struct tf_vm *vm, gpa_t to, const void *from, size_t n) TF_MUST_CHECK;
/* A write to the byte that leaves it as it is, whoever else writes it meanwhile. TF_E_NOENT: the
 * frame is not backed. */
enum tf_status tf_mem_touch(struct tf_vm *vm, gpa_t at) TF_MUST_CHECK;

/* Dirty log of a range that lies in one slot. Start write-protects (or clears D); read fills
 * bitmap[i] for the i-th 4 KiB page since the last read, and starts the next round. The start must
 * be page aligned; the bitmap holds bytes/4096 bits, rounded up to whole 64-bit words. */
enum tf_status tf_dirty_start(struct tf_vm *vm, gpa_t start, uint64_t bytes) TF_MUST_CHECK;
enum tf_status tf_dirty_read(struct tf_vm *vm, gpa_t start, uint64_t bytes,
			     uint64_t *bitmap) TF_MUST_CHECK;
void tf_dirty_stop(struct tf_vm *vm, gpa_t start, uint64_t bytes);
/* Was each page accessed (by any vCPU, any table) since the last call? Reads and clears. */
enum tf_status tf_accessed_read(struct tf_vm *vm, gpa_t start, uint64_t bytes,
				uint64_t *bitmap) TF_MUST_CHECK;

/* ---- vCPU ---- */

/* `node`: the guest NUMA node that it belongs to. */
enum tf_status tf_vcpu_create(struct tf_vm *vm, unsigned int index, unsigned int node,
			      struct tf_vcpu **out) TF_MUST_CHECK;
/* ---- groups ---- */

/* Change the grouping while the guest runs: from any CPU, one caller at a time. Each vCPU is kicked
 * and moves to its new group at its next tf_vcpu_load(); a group that nobody is in any more is
 * taken apart, some of it at each later load. TF_E_INVAL: the VM was made without `regroup`;
 * TF_E_NOMEM: nothing changed. */
enum tf_status tf_regroup(struct tf_vm *vm, enum tf_grouping grouping) TF_MUST_CHECK;
enum tf_grouping tf_grouping(const struct tf_vm *vm);

/* Mode for one vCPU from its next load on. The nested tables are kept in either mode, the shadows
 * too, unsync, within their bound: what was tracked for them is let go bit by bit in later loads
 * once no vCPU of the group is in shadow mode any more. A vCPU that ran nested tells its registers
 * (tf_vcpu_set_regs) before the load that changes it: so best its own CPU calls both. */
void tf_vcpu_set_mode(struct tf_vcpu *v, enum tf_mode m);
/* Set all control state at once; the vCPU's translations count as flushed. */
void tf_vcpu_set_regs(struct tf_vcpu *v, const struct tf_regs *r);
const struct tf_regs *tf_vcpu_regs(const struct tf_vcpu *v);
/* What to enter the guest with. TF_E_NOMEM: no page for a root. */
enum tf_status tf_vcpu_load(struct tf_vcpu *v, struct tf_load *out) TF_MUST_CHECK;

/* The guest writes a control register (already checked by the host for #GP): does what the
 * architecture says the write does to translations (SDM vol. 3, 4.10.4.1; APM vol. 2, 5.5.2).
 * CR3: bit 63 with CR4.PCIDE keeps the PCID's translations, which spares most of the re-reading. */
void tf_write_cr0(struct tf_vcpu *v, uint64_t val);
void tf_write_cr3(struct tf_vcpu *v, uint64_t val);
void tf_write_cr4(struct tf_vcpu *v, uint64_t val);
void tf_write_efer(struct tf_vcpu *v, uint64_t val);
void tf_write_pkru(struct tf_vcpu *v, uint32_t val); /* or before each fault; flushes nothing */
void tf_invlpg(struct tf_vcpu *v, gva_t at);
/* type 0: address in PCID; 1: PCID; 2: all, globals too; 3: all but globals. */
void tf_invpcid(struct tf_vcpu *v, unsigned int type, uint16_t pcid, gva_t at);

/* A #PF that the hardware raised while the vCPU ran on a shadow root. */
void tf_shadow_fault(struct tf_vcpu *v, const struct tf_access *a, struct tf_outcome *out);
/* A nested page fault at a GPA; flags: TF_WRITE, TF_FETCH, TF_WALK. */
void tf_nested_fault(struct tf_vcpu *v, gpa_t at, uint32_t flags, struct tf_outcome *out);

/* Walk the guest's tables as the CPU would for this access. TF_E_FAULT: *out tells the #PF.
 * With set_ad, sets A and D as the access would; without, changes nothing. Without paging the
 * translation is the identity. */
enum tf_status tf_walk(struct tf_vcpu *v, const struct tf_access *a, bool set_ad,
		       struct tf_translation *tr, struct tf_outcome *out) TF_MUST_CHECK;

/* ---- what happened ---- */

struct tf_counters {
	uint64_t guest_faults;	    /* #PF injected from shadow mode */
	uint64_t shadow_faults;	    /* #PF that we mended in shadow mode */
	uint64_t nested_faults;	    /* nested faults that we mended */
	uint64_t device_faults;	    /* faults that ended at a device */
	uint64_t spurious_faults;   /* faults that found nothing to do */
	uint64_t shadow_fills;	    /* shadow leaves installed, prefills included */
	uint64_t prefills;	    /* of these, neighbours filled without a fault of their own */
	uint64_t shadows_made;	    /* shadow tables created */
	uint64_t shadows_zapped;    /* shadow tables dropped */
	uint64_t shadows_reclaimed; /* of these, to stay within the bound */
	uint64_t tracks;	    /* guest tables write-protected */
	uint64_t unsyncs;	    /* tracked tables that a write made unsync */
	uint64_t resyncs;	    /* unsync tables re-read at a flush */
	uint64_t resync_changes;    /* entries that a re-read changed */
	uint64_t cr3_writes, invlpgs, invpcids, full_flushes;
	uint64_t cr3_kept;	    /* CR3 writes after which little was re-read, by their bit 63 */
	uint64_t remote_flushes;    /* host flushes asked for */
	uint64_t copies;	    /* nested leaves installed for a frame that was backed before */
	uint64_t regroups;	    /* vCPUs that moved to another group */
	uint64_t frames_backed;	    /* 4 KiB frames backed at first touch */
	uint64_t frames_local;	    /* of these, by a vCPU of the frame's own node */
	uint64_t large_backed;	    /* 2 MiB blocks backed at once */
	uint64_t huge_backed;	    /* GiBs backed at once; none of their blocks is among those */
	uint64_t nested_4k;	    /* nested faults mended by a leaf of 4 KiB */
	uint64_t nested_2m;	    /* of 2 MiB */
	uint64_t nested_1g;	    /* of 1 GiB */
	uint64_t nested_1g_cut;	    /* leaves of 1 GiB that were cut up or taken away */
	uint64_t nested_tables;	    /* pages of nested tables, now */
	uint64_t shadow_tables;	    /* shadow tables, now */
	uint64_t shadow_tables_max; /* the most there were */
	uint64_t table_pages;	    /* pages of all tables and their bookkeeping, now */
	uint64_t lock_wait_cycles;  /* spent waiting for the groups' locks and the map's */
};

/* A copy of the VM's counters, summed over vCPUs and groups. */
void tf_counters_read(struct tf_vm *vm, struct tf_counters *out);
/* Those of one group, of its tables and of the vCPUs that are in it now. False: there is no such
 * group. Groups are numbered below tf_groups_max(); some numbers may be free. */
bool tf_group_counters_read(struct tf_vm *vm, unsigned int group, struct tf_counters *out);
unsigned int tf_groups_max(const struct tf_vm *vm);
/* The vCPUs that are in it. False: there is no such group. */
bool tf_group_vcpus(struct tf_vm *vm, unsigned int group, struct tf_cpuset *out);
/* How many groups there are now, those that are being taken apart not counted. */
unsigned int tf_groups(const struct tf_vm *vm);

/* Check the invariants; no vCPU may be inside the engine. NULL: all hold; else what is broken. */
const char *tf_check(struct tf_vm *vm);

#endif
