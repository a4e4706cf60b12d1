/* The facade's VM calls: life, memory slots, the host's own access, counters.
 *
 * A change of the memory map holds the map's lock, takes the frames' words away first, then visits
 * the groups one by one, and gives pages back only after the flush (docs/locking.md).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "choice/choice.h"
#include "modes/shadow.h"
#include "vm.h"

#include "base/mem.h"

#define SHADOW_LIMIT_DEFAULT 8192u
#define SHADOW_LIMIT_MAX     (1u << 22)

_Static_assert(sizeof(struct tf_vm) <= TF_PAGE_SIZE, "a VM lives in one page");
_Static_assert(TF_MAX_VCPUS * sizeof(struct tf_vcpu *) <= TF_PAGE_SIZE, "as do its vCPU pointers");

const struct mmu_mode *const modes[MODES] = {&mode_nested, &mode_shadow};

const char *tf_status_text(enum tf_status s)
{
	switch (s) {
	case TF_OK:
		return "no error";
	case TF_E_NOMEM:
		return "out of memory";
	case TF_E_INVAL:
		return "invalid argument";
	case TF_E_EXISTS:
		return "it is there already";
	case TF_E_NOENT:
		return "no memory at that address";
	case TF_E_FAULT:
		return "the guest's tables refuse it";
	}
	return "unknown status";
}

/* ---- life ---- */

static bool config_is_sane(const struct tf_config *c)
{
	return c->vcpus >= 1 && c->vcpus <= TF_MAX_VCPUS && c->maxphyaddr >= 32 &&
	       c->maxphyaddr <= 52 && (c->mode == TF_NESTED || c->mode == TF_SHADOW) &&
	       c->nested <= TF_EPT_NO_AD && c->shadow_pages <= SHADOW_LIMIT_MAX &&
	       c->nodes <= TF_MAX_NODES && c->grouping <= TF_GROUPS_VCPU &&
	       c->install <= TF_INSTALL_CAS && (c->large_backing || !c->huge_backing);
}

static unsigned int largest_order(const struct tf_config *c)
{
	return c->huge_backing ? TF_ORDER_1G : c->large_backing ? TF_ORDER_2M : TF_ORDER_4K;
}

static unsigned int groups_most(const struct tf_config *c)
{
	unsigned int most = groups_of(c, c->grouping);
	if (!c->regroup)
		return most;
	return c->nodes > c->vcpus ? c->nodes : c->vcpus;
}

static uint32_t shadow_limit(const struct tf_config *c, unsigned int groups)
{
	uint32_t limit = c->shadow_pages ? c->shadow_pages : SHADOW_LIMIT_DEFAULT;
	uint32_t least = (SHADOWS_LEAST + c->vcpus) * groups;
	return limit < least ? least : limit;
}

enum tf_status tf_vm_create(struct tf_host *h, const struct tf_config *c, struct tf_vm **out)
{
	hpa_t a;
	if (!config_is_sane(c))
		return TF_E_INVAL;
	struct tf_vm *vm = page_new(h, 0, &a);
	if (!vm)
		return TF_E_NOMEM;
	vm->h = h;
	vm->conf = *c;
	if (vm->conf.nodes == 0)
		vm->conf.nodes = 1;
	vm->self = a;
	vm->grouping = c->grouping;
	vm->groups_max = groups_most(&vm->conf);
	vm->shadow_limit = shadow_limit(c, vm->groups_max);
	vm->arrival = c->arrival ? c->arrival : SHADOW_ARRIVAL;
	vm->vcpu = page_new(h, 0, &vm->vcpu_page);
	if (!vm->vcpu)
		goto no_vcpus;
	vm->group = page_new(h, 0, &vm->group_page);
	if (!vm->group)
		goto no_groups;
	if (!page_new(h, 0, &vm->empty))
		goto no_empty;
	if (memmap_init(&vm->map, h, c->maxphyaddr, largest_order(c), vm->groups_max) != TF_OK)
		goto no_map;
	*out = vm;
	return TF_OK;
no_map:
	h->page_free(h, TF_ORDER_4K, vm->empty);
no_empty:
	h->page_free(h, TF_ORDER_4K, vm->group_page);
no_groups:
	h->page_free(h, TF_ORDER_4K, vm->vcpu_page);
no_vcpus:
	h->page_free(h, TF_ORDER_4K, a);
	return TF_E_NOMEM;
}

void tf_vm_destroy(struct tf_vm *vm)
{
	struct tf_host *h = vm->h;
	struct op op;
	vm_op_begin(&op, vm);
	groups_destroy(&op, vm);
	choice_destroy(vm);
	memmap_destroy(&vm->map);
	for (unsigned int i = 0; i < vm->conf.vcpus; i++)
		if (vm->vcpu[i])
			h->page_free(h, TF_ORDER_4K, vm->vcpu[i]->self);
	h->page_free(h, TF_ORDER_4K, vm->empty);
	h->page_free(h, TF_ORDER_4K, vm->group_page);
	h->page_free(h, TF_ORDER_4K, vm->vcpu_page);
	h->page_free(h, TF_ORDER_4K, vm->self);
}

/* ---- memory ---- */

static bool range_of(gpa_t start, uint64_t bytes, gfn_t *from, gfn_t *to)
{
	if ((start.v | bytes) & TF_PAGE_MASK || bytes == 0 || start.v + bytes < start.v)
		return false;
	*from = gpa_to_gfn(start);
	*to = gfn((start.v + bytes) >> TF_PAGE_SHIFT);
	return true;
}

bool map_op_begin(struct map_op *m, struct tf_vm *vm, gpa_t start, uint64_t bytes)
{
	if (!range_of(start, bytes, &m->from, &m->to))
		return false;
	vm_op_begin(&m->op, vm);
	lock_take(&m->op, &vm->map.lock);
	return true;
}

void map_op_end(struct map_op *m, struct tf_vm *vm)
{
	op_flush(&m->op);
	lock_drop(&m->op, &vm->map.lock);
	vm_op_end(&m->op, vm);
}

enum tf_status tf_mem_add(struct tf_vm *vm, gpa_t start, uint64_t bytes, unsigned int node)
{
	struct map_op m;
	if (node >= vm->conf.nodes || !map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	enum tf_status s = memmap_add(&vm->map, m.from, m.to, node);
	map_op_end(&m, vm);
	return s;
}

#define TAKE_BATCH 64u

gfn_t map_skip_empty(const struct tf_vm *vm, gfn_t f)
{
	return memmap_frame(&vm->map, f)
		       ? f
		       : gfn((f.v & ~(uint64_t)(BLOCK_FRAMES - 1)) + BLOCK_FRAMES);
}

/* Unmap and free up to a batch of frames from `from` on; returns where to go on. Map's lock held.
 */
static gfn_t give_back_batch(struct op *op, struct tf_vm *vm, gfn_t from, gfn_t to)
{
	uint64_t word[TAKE_BATCH];
	gfn_t f[TAKE_BATCH];
	unsigned int n = 0;
	while (from.v < to.v && n < TAKE_BATCH) {
		gfn_t next = map_skip_empty(vm, from);
		if (next.v != from.v) {
			from = next;
			continue;
		}
		word[n] = memmap_take(op, &vm->map, from);
		if (word[n] & FRAME_BACKED)
			f[n++] = from;
		from.v++;
	}
	if (n == 0)
		return from;
	vm_grace(vm);
	for (struct group *g = NULL; (g = group_visit_next(op, vm, g));)
		for (unsigned int i = 0; i < n; i++)
			for (unsigned int m = 0; m < MODES; m++)
				modes[m]->unmap(op, vm, g, f[i]);
	op_owe_flush_all(op, TF_FLUSH_ALL);
	op_flush(op);
	for (unsigned int i = 0; i < n; i++)
		memmap_gone(op, &vm->map, f[i], word[i]);
	return from;
}

static void give_back(struct op *op, struct tf_vm *vm, gfn_t from, gfn_t to)
{
	while (from.v < to.v)
		from = give_back_batch(op, vm, from, to);
}

enum tf_status tf_mem_discard(struct tf_vm *vm, gpa_t start, uint64_t bytes)
{
	struct map_op m;
	if (!map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	bool all = memmap_covers(&vm->map, m.from, m.to);
	if (all)
		give_back(&m.op, vm, m.from, m.to);
	map_op_end(&m, vm);
	return all ? TF_OK : TF_E_NOENT;
}

enum tf_status tf_mem_remove(struct tf_vm *vm, gpa_t start, uint64_t bytes)
{
	struct map_op m;
	enum tf_status s = TF_OK;
	if (!map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	if (!memmap_covers(&vm->map, m.from, m.to))
		s = TF_E_NOENT;
	else if (!memmap_can_cut(&vm->map, m.from, m.to))
		s = TF_E_NOMEM;
	if (s == TF_OK) {
		memmap_cut(&vm->map, m.from, m.to);
		give_back(&m.op, vm, m.from, m.to);
		log_stop(vm, m.from, m.to);
	}
	map_op_end(&m, vm);
	return s;
}

/* The guest and other CPUs' walks may be at the same bytes: entries are read and written whole. */
static void copy_shared(char *to, const char *from, size_t n)
{
	for (; n && ((uintptr_t)to | (uintptr_t)from) & 7; n--)
		__atomic_store_n(to++, __atomic_load_n(from++, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
	for (; n >= 8; n -= 8, to += 8, from += 8)
		entry_write((uint64_t *)to, entry_read((const uint64_t *)from));
	for (; n; n--)
		__atomic_store_n(to++, __atomic_load_n(from++, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

/* Copy within one page that is backed. The block's lock keeps the frame from being taken away.
 * False: it is not backed. */
static bool copy_backed(struct op *op, struct tf_vm *vm, gpa_t at, void *to, const void *from,
			size_t n)
{
	struct block *b = memmap_block(&vm->map, gpa_to_gfn(at));
	struct frame *fr = b ? block_frame(b, gpa_to_gfn(at)) : NULL;
	if (!frame_is_backed(fr))
		return false;
	block_lock(op, &vm->map, b);
	uint64_t word = frame_word(fr);
	char *page = (char *)tf_host_ptr(vm->h, word_hpa(word)) + (at.v & TF_PAGE_MASK);
	if ((word & FRAME_BACKED) && from)
		copy_shared(page, from, n);
	else if (word & FRAME_BACKED)
		copy_shared(to, page, n);
	block_unlock(op, b);
	return word & FRAME_BACKED;
}

/* The host wrote to a frame: it does to the log and to tracking what a guest's write would. After
 * the bytes are there: who trusts the frame from here on has read them. */
static void host_wrote(struct op *op, struct tf_vm *vm, gfn_t f)
{
	struct frame *fr = memmap_frame(&vm->map, f);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (frame_word(fr) & FRAME_LOG)
		entry_or(&fr->word, FRAME_DIRTY);
	while (frame_word(fr) & FRAME_TRACKED)
		frame_untrack(op, vm, f);
}

static enum tf_status host_access(struct tf_vm *vm, gpa_t at, void *to, const void *from, size_t n)
{
	struct op op;
	enum tf_status s = TF_OK;
	vm_op_begin(&op, vm);
	for (size_t done = 0; done < n && s == TF_OK;) {
		gpa_t a = gpa(at.v + done);
		size_t len = TF_PAGE_SIZE - (a.v & TF_PAGE_MASK);
		if (len > n - done)
			len = n - done;
		if (!copy_backed(&op, vm, a, to ? (char *)to + done : NULL,
				 from ? (const char *)from + done : NULL, len)) {
			s = vm_back(&op, vm, NULL, gpa_to_gfn(a));
			continue;
		}
		if (from)
			host_wrote(&op, vm, gpa_to_gfn(a));
		done += len;
	}
	vm_op_end(&op, vm);
	return s;
}

enum tf_status tf_mem_read(struct tf_vm *vm, gpa_t from, void *to, size_t n)
{
	return host_access(vm, from, to, NULL, n);
}

enum tf_status tf_mem_write(struct tf_vm *vm, gpa_t to, const void *from, size_t n)
{
	return host_access(vm, to, NULL, from, n);
}

enum tf_status tf_mem_touch(struct tf_vm *vm, gpa_t at)
{
	struct block *b = memmap_block(&vm->map, gpa_to_gfn(at));
	struct frame *fr = b ? block_frame(b, gpa_to_gfn(at)) : NULL;
	struct op op;
	if (!frame_is_backed(fr))
		return TF_E_NOENT;
	vm_op_begin(&op, vm);
	block_lock(&op, &vm->map, b);
	uint64_t word = frame_word(fr);
	if (word & FRAME_BACKED) {
		uint8_t *byte =
			(uint8_t *)tf_host_ptr(vm->h, word_hpa(word)) + (at.v & TF_PAGE_MASK);
		(void)__atomic_fetch_or(byte, 0, __ATOMIC_SEQ_CST);
	}
	block_unlock(&op, b);
	vm_op_end(&op, vm);
	return word & FRAME_BACKED ? TF_OK : TF_E_NOENT;
}

/* ---- counters ---- */

static void counters_add(struct tf_counters *to, const struct tf_counters *from)
{
	uint64_t *t = (uint64_t *)to;
	const uint64_t *f = (const uint64_t *)from;
	for (size_t i = 0; i < sizeof(*to) / sizeof(*t); i++)
		t[i] += __atomic_load_n(&f[i], __ATOMIC_RELAXED);
}

/* A group's own, and its tables'. Group's lock. */
static void group_counters_add(const struct group *g, struct tf_counters *out)
{
	counters_add(out, &g->n);
	if (g->open) {
		out->nested_tables += g->nested.pages;
		out->shadow_tables += g->shadows.live;
		out->table_pages += g->nested.pages + g->shadows.pages;
	}
	out->lock_wait_cycles += g->lock.wait_cycles;
}

bool tf_group_counters_read(struct tf_vm *vm, unsigned int group, struct tf_counters *out)
{
	struct group *g = group_find(vm, group);
	struct op op;
	if (!g)
		return false;
	*out = (struct tf_counters){0};
	vm_op_begin(&op, vm);
	group_lock(&op, g);
	group_counters_add(g, out);
	for (unsigned int i = 0; i < vm->conf.vcpus; i++)
		if (cpuset_has(&g->vcpus, i))
			counters_add(out, &vm->vcpu[i]->n);
	group_unlock(&op, g);
	vm_op_end(&op, vm);
	return true;
}

/* Each vCPU once, whatever group it is in or between. */
void tf_counters_read(struct tf_vm *vm, struct tf_counters *out)
{
	struct op op;
	*out = (struct tf_counters){0};
	vm_op_begin(&op, vm);
	for (unsigned int id = 0; id < vm->groups_max; id++) {
		struct group *g = group_at(vm, id);
		if (!g)
			continue;
		group_lock(&op, g);
		group_counters_add(g, out);
		group_unlock(&op, g);
	}
	vm_op_end(&op, vm);
	for (unsigned int i = 0; i < vm->conf.vcpus; i++) {
		const struct tf_vcpu *v = __atomic_load_n(&vm->vcpu[i], __ATOMIC_ACQUIRE);
		if (v)
			counters_add(out, &v->n);
	}
	out->frames_backed += __atomic_load_n(&vm->frames_backed, __ATOMIC_RELAXED);
	out->large_backed += __atomic_load_n(&vm->large_backed, __ATOMIC_RELAXED);
	out->huge_backed += __atomic_load_n(&vm->huge_backed, __ATOMIC_RELAXED);
	out->remote_flushes += __atomic_load_n(&vm->remote_flushes, __ATOMIC_RELAXED);
	out->table_pages += __atomic_load_n(&vm->map.pages, __ATOMIC_RELAXED);
	out->lock_wait_cycles += __atomic_load_n(&vm->map.lock.wait_cycles, __ATOMIC_RELAXED) +
				 __atomic_load_n(&vm->map.block_wait, __ATOMIC_RELAXED);
}
