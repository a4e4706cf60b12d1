/* What things cost on this machine: measured at boot, with a tiny guest of our own.
 *
 * The guest has a VM of its own for the time, but the first vCPU's CPU and control block, and the
 * entry, exit handlers and engine that the real guest gets: so what is measured is what that will
 * pay. It runs in 64-bit mode, mostly at CPL 3, on 4-level tables with 4 KiB pages, on nested
 * tables and on shadow tables.
 *
 * The guest's loops write the time-stamp counter down after each of their parts, which take
 * microseconds. A loop runs once to warm up and REPS times more; it takes the sum, over its parts,
 * of the least of the repetitions: what else the host does can only make them more, and a host that
 * takes the CPU away spoils single parts. What is measured is in docs/choice.md.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "virt/calibrate.h"

#include "core/string.h"
#include "core/vm.h"
#include "cpu/x86.h"
#include "load/load.h"
#include "mem/pages.h"
#include "virt/virt.h"

#define REPS	  5u
#define PARTS	  32u /* at most */
#define PAGES	  4096u
#define MAPPED	  (PAGES + REPS * 512u) /* with those to be filled */
#define FEW_PAGES 16u
#define EXITS_MAX 100000u /* in one run of a loop; far more than any has */

#define CAL_CR4 (CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT)
#define PTE_LOW (CAL_PTE | 0x100u) /* global, as a kernel's are */

_Static_assert(CAL_PTS + MAPPED * 8 <= CAL_KERNEL, "no room for the tables");

struct loop {
	const uint8_t *entry;
	unsigned int cpl;
	unsigned int parts;
	uint64_t rdi, rsi, r8, r11;
};

/* What each part of a loop took, cycles; one line for each repetition. */
struct samples {
	uint64_t part[REPS][PARTS];
};

/* Boot CPU only. */
static uint64_t page[512];
static uint64_t stamps[PARTS + 1];
static struct samples taken, retaken;
static struct samples handled; /* by the hypervisor, of each exit by CPUID */

static void must(enum tf_status s)
{
	if (s != TF_OK)
		vm_fail("calibrating: %s", tf_status_text(s));
}

/* ---- the guest's memory ---- */

/* As the host's, but from the vCPU's own node, and frames are not cleared: nobody's secrets go to a
 * guest of our own, and it takes no value from what it has not written. */
static enum tf_status cal_page_alloc(struct tf_host *h, unsigned int node, unsigned int order,
				     enum tf_use use, hpa_t *out)
{
	(void)node;
	(void)use;
	return vm.host->page_alloc(h, vm.nodes.of_cpu[0], order, TF_USE_TABLE, out);
}

/* page[] to the guest's memory; it is empty afterwards. */
static void put_page(uint64_t at)
{
	must(tf_mem_write(vm.mmu, gpa(at), page, sizeof(page)));
	memset(page, 0, sizeof(page));
}

static void put_tables(void)
{
	const unsigned int at = CAL_PAGES_AT >> 30, hole = (CAL_HOLES_AT >> 21) & 511;

	memset(page, 0, sizeof(page));
	page[0] = CAL_PDPT | CAL_PTE;
	put_page(CAL_PML4);
	page[0] = CAL_LOW_PD | CAL_PTE;
	page[at] = CAL_PD | CAL_PTE;
	put_page(CAL_PDPT);
	page[0] = CAL_LOW_PT | CAL_PTE;
	put_page(CAL_LOW_PD);
	for (unsigned int i = 0; i < 512; i++)
		page[i] = i * TF_PAGE_SIZE | PTE_LOW;
	put_page(CAL_LOW_PT);
	for (unsigned int i = 0; i < MAPPED / 512; i++)
		page[i] = (CAL_PTS + i * TF_PAGE_SIZE) | CAL_PTE;
	page[hole] = CAL_HOLE_PT | CAL_PTE;
	put_page(CAL_PD);
	put_page(CAL_HOLE_PT);
	page[0] = CAL_OTHER_PDPT | CAL_PTE;
	put_page(CAL_OTHER_PML4);
	page[0] = CAL_LOW_PD | CAL_PTE;
	page[at] = CAL_OTHER_PD | CAL_PTE;
	put_page(CAL_OTHER_PDPT);
	page[0] = CAL_OTHER_PT | CAL_PTE;
	put_page(CAL_OTHER_PD);
	for (unsigned int i = 0; i < 512; i++)
		page[i] = (CAL_DATA + i * TF_PAGE_SIZE) | CAL_PTE;
	put_page(CAL_OTHER_PT);
	/* Neighbours in virtual memory are none in physical memory: some TLBs join those that
	 * are. */
	for (unsigned int i = 0; i < MAPPED; i++) {
		page[i % 512] = (CAL_DATA + (i * 1237 % MAPPED) * TF_PAGE_SIZE) | CAL_PTE;
		if (i % 512 == 511)
			put_page(CAL_PTS + i / 512 * TF_PAGE_SIZE);
	}
}

static void put_guest(void)
{
	uint64_t handler = CAL_CODE + (uint64_t)(cal_fault - cal_begin);

	put_tables();
	page[2 * EXC_PF] =
		(handler & 0xffff) | 0x08u << 16 | 0x8e00ull << 32 | (handler >> 16 & 0xffff) << 48;
	put_page(CAL_IDT);
	page[1] = 0x00af9b000000ffffull;			       /* 0x08: code, CPL 0 */
	page[2] = 0x00cf93000000ffffull;			       /* 0x10: data */
	page[3] = 0x00cff3000000ffffull;			       /* 0x1b: data, CPL 3 */
	page[4] = 0x00affb000000ffffull;			       /* 0x23: code */
	page[(CAL_TSS - CAL_GDT) / 8] = (uint64_t)CAL_STACK_END << 32; /* RSP0, at byte 4 */
	put_page(CAL_GDT);
	memcpy(page, cal_begin, (size_t)(cal_end - cal_begin));
	put_page(CAL_CODE);
}

/* ---- the guest's life ---- */

static struct load_segment flat(uint16_t selector, uint16_t attrib)
{
	return (struct load_segment){.selector = selector, .attrib = attrib, .limit = UINT32_MAX};
}

static void start_loop(struct vcpu *v, const struct loop *l)
{
	const struct load_entry e = {
		.rip = CAL_CODE + (uint64_t)(l->entry - cal_begin),
		.rsp = CAL_STACK_END,
		.rflags = 2,
		.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG,
		.cr3 = CAL_PML4,
		.cr4 = CAL_CR4,
		.efer = EFER_LME | EFER_LMA | EFER_NXE,
		.cs = l->cpl ? flat(0x23, 0xafb) : flat(0x08, 0xa9b),
		.data = l->cpl ? flat(0x1b, 0xcf3) : flat(0x10, 0xc93),
		.tr = {.selector = 0x28, .attrib = 0x8b, .limit = 103, .base = CAL_TSS},
		.gdt_base = CAL_GDT,
		.gdt_limit = 5 * 8 - 1,
		.idt_base = CAL_IDT,
		.idt_limit = TF_PAGE_SIZE - 1,
	};

	vendor->start(v, &e);
	v->gpr[REG_RDI] = l->rdi;
	v->gpr[REG_RSI] = l->rsi;
	v->gpr[REG_R8] = l->r8;
	v->gpr[REG_R9] = CAL_LOG;
	v->gpr[REG_R10] = l->parts;
	v->gpr[REG_R11] = l->r11;
	vcpu_sync_regs(v);
}

static bool is_stop(const struct vcpu *v)
{
	return v->exit.reason == EXIT_CPUID && (uint32_t)v->gpr[REG_RAX] == CAL_STOP;
}

/* May the guest make this exit? */
static bool is_expected(const struct vcpu *v)
{
	switch (v->exit.reason) {
	case EXIT_INTERRUPT:
	case EXIT_NMI:
	case EXIT_TIMER:
	case EXIT_CPUID:
	case EXIT_NESTED_FAULT:
	case EXIT_PAGE_FAULT:
	case EXIT_CR:
	case EXIT_INVLPG:
		return true;
	default:
		return false;
	}
}

/* Run a loop up to its end. Where its times go: as repetition `rep` of `out`. */
static void run(struct vcpu *v, const struct loop *l, struct samples *out, unsigned int rep)
{
	const uint64_t *cpuid = &v->stats.cycles[KIND_CPUID];
	unsigned int cpuids = 0;

	start_loop(v, l);
	v->flush = TF_FLUSH_ALL;
	v->exit_tsc = x86_rdtsc();
	v->kind = KIND_OTHER;
	for (unsigned int exits = 0;; exits++) {
		uint64_t before = *cpuid;

		virt_once(v);
		if (*cpuid != before && cpuids < PARTS)
			handled.part[rep][cpuids++] = *cpuid - before;
		if (is_stop(v))
			break;
		if (exits == EXITS_MAX || !is_expected(v)) {
			vendor->dump(v);
			vm_fail("calibrating: exit %u at 0x%lx", v->exit.reason, v->guest.rip);
		}
		virt_exit(v);
	}
	must(tf_mem_read(vm.mmu, gpa(CAL_LOG), stamps, (l->parts + 1) * sizeof(stamps[0])));
	for (unsigned int i = 0; i < l->parts; i++)
		out->part[rep][i] = stamps[i + 1] - stamps[i];
}

/* The sum, over the parts, of the least of the repetitions. */
static uint64_t least(const struct samples *of, unsigned int parts)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < parts; i++) {
		uint64_t best = of->part[0][i];

		for (unsigned int r = 1; r < REPS; r++)
			best = of->part[r][i] < best ? of->part[r][i] : best;
		sum += best;
	}
	return sum;
}

/* What a loop takes. The first run warms up; the last takes its place. */
static uint64_t measure(struct vcpu *v, const struct loop *l)
{
	for (unsigned int r = 0; r <= REPS; r++)
		run(v, l, &taken, r % REPS);
	return least(&taken, l->parts);
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* ---- what is measured ---- */

/* In one mode, cycles for each. */
struct events {
	uint64_t fault, invlpg, cr3;
};

static uint64_t measure_exit(struct vcpu *v)
{
	const struct loop l = {.entry = cal_exit, .cpl = 3, .parts = PARTS};
	uint64_t all = measure(v, &l);

	return less(all, least(&handled, PARTS)) / PARTS;
}

static void measure_events(struct vcpu *v, struct events *e)
{
	const struct loop touch = {
		.entry = cal_touch,
		.cpl = 3,
		.parts = PARTS,
		.rdi = CAL_HOLES_AT,
	};
	const struct loop unmap = {.entry = cal_unmap, .parts = PARTS};
	const struct loop cr3 = {
		.entry = cal_cr3,
		.parts = PARTS,
		.rdi = CAL_PAGES_AT,
		.rsi = CAL_OTHER_PML4,
		.r11 = CAL_PML4,
	};

	for (unsigned int r = 0; r <= REPS; r++) {
		run(v, &touch, &taken, r % REPS);
		run(v, &unmap, &retaken, r % REPS);
	}
	e->fault = least(&taken, PARTS) / PARTS;
	e->invlpg = least(&retaken, PARTS) / PARTS;
	e->cr3 = measure(v, &cr3) / PARTS;
}

static uint64_t measure_ipkc(struct vcpu *v)
{
	const struct loop l = {.entry = cal_arith, .cpl = 3, .parts = PARTS, .r8 = 150};

	return l.parts * l.r8 * CAL_ARITH_INSNS * 1000 / measure(v, &l);
}

static void to_shadow(struct vcpu *v)
{
	vcpu_sync_regs(v);
	virt_watch(v, true);
	tf_vcpu_set_mode(v->mmu, TF_SHADOW);
	vcpu_forget_insns(v);
	v->flush = TF_FLUSH_ALL;
}

static void to_nested(struct vcpu *v)
{
	virt_to_nested(v);
	virt_watch(v, false);
	tf_vcpu_set_mode(v->mmu, TF_NESTED);
	vcpu_forget_insns(v);
}

/* Loads from many pages and from few, twice: the second time counts. */
static void chase(struct vcpu *v, struct samples *many, struct samples *few, unsigned int rep)
{
	struct loop l = {
		.entry = cal_chase,
		.cpl = 3,
		.parts = PARTS,
		.rdi = CAL_PAGES_AT,
		.rsi = PAGES - 1,
		.r8 = PAGES / PARTS,
	};

	run(v, &l, many, rep);
	run(v, &l, many, rep);
	l.rsi = FEW_PAGES - 1;
	run(v, &l, few, rep);
	run(v, &l, few, rep);
}

/* Each repetition has a leaf table of its own, which has no shadow yet. */
static void fill(struct vcpu *v, struct samples *to, unsigned int rep)
{
	const struct loop l = {
		.entry = cal_chase,
		.cpl = 3,
		.parts = 4,
		.rdi = CAL_PAGES_AT + (PAGES + 512 * rep) * (uint64_t)TF_PAGE_SIZE,
		.rsi = 512 - 1,
		.r8 = 512 / 4,
	};

	run(v, &l, to, rep);
}

/* The modes take turns: what else the machine does, and shares its caches with, changes slowly. */
static void measure_misses(struct vcpu *v, struct tf_costs *c)
{
	static struct samples nested, nested_few, shadow, shadow_few, first, again;

	for (unsigned int r = 0; r < REPS; r++) {
		to_nested(v);
		chase(v, &nested, &nested_few, r);
		fill(v, &first, r); /* so that there are frames */
		to_shadow(v);
		fill(v, &first, r);
		fill(v, &again, r);
		chase(v, &shadow, &shadow_few, r);
	}
	c->miss_nested = less(least(&nested, PARTS), least(&nested_few, PARTS)) / PAGES;
	c->miss_shadow = less(least(&shadow, PARTS), least(&shadow_few, PARTS)) / PAGES;
	c->fill = less(least(&first, 4), least(&again, 4)) / 512;
}

/* What touches many pages comes last: an emulator's TLB grows with the use of it, for a while, and
 * then each exit costs more. */
static void measure_all(struct vcpu *v, struct tf_costs *c)
{
	struct events nested, shadow;

	c->exit = measure_exit(v);
	c->ipkc = measure_ipkc(v);
	measure_events(v, &nested);
	to_shadow(v);
	measure_events(v, &shadow);
	c->fault = less(shadow.fault, nested.fault);
	c->cr3 = less(shadow.cr3, nested.cr3);
	c->invlpg = less(shadow.invlpg, nested.invlpg);
	measure_misses(v, c);
}

void virt_calibrate(struct vcpu *v)
{
	const struct tf_config conf = {
		.mode = TF_NESTED,
		.nested = vendor->format(),
		.maxphyaddr = cpuid_maxphyaddr(&vm.cpuid),
		.vcpus = 1,
		.large_backing = true,
	};
	static struct vcpu before;
	struct tf_vm *real = vm.mmu;
	struct tf_host host = *vm.host;
	uint64_t began = x86_rdtsc(), free_bytes = pages_free_bytes();

	before = *v;
	host.page_alloc = cal_page_alloc;
	vm.start_tsc = began; /* flushes find the vCPU by its stack from now on (core/host.c) */
	must(tf_vm_create(&host, &conf, &vm.mmu));
	must(tf_mem_add(vm.mmu, gpa(0), CAL_DATA + MAPPED * TF_PAGE_SIZE, 0));
	must(tf_vcpu_create(vm.mmu, 0, 0, &v->mmu));
	put_guest();
	msr_create(&v->msr, 0);
	vcpu_reset(v, 0);
	vendor->shut();
	measure_all(v, &vm.costs);
	vendor->open();
	tf_vm_destroy(vm.mmu);
	vm.mmu = real;
	vm.start_tsc = 0;
	*v = before;
	x86_write_cr4(v->host_cr4);
	HV_ASSERT(pages_free_bytes() == free_bytes);
	vm.calibration_cycles = x86_rdtsc() - began;
}
