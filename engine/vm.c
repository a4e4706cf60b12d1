/* The facade's VM calls: life, memory slots, the host's own access, counters.
 *
 * A change of the memory map holds the map's lock, takes the frames' words away first, then visits
 * the group under its lock, and gives pages back only after the flush (docs/locking.md).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "vm.h"

#include "modes/shadow.h"

#include "base/mem.h"

#define SHADOW_LIMIT_DEFAULT 8192u
#define SHADOW_LIMIT_MIN     16u /* and one for each root */
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
	       (c->nested == TF_NPT || c->nested == TF_EPT) && c->shadow_pages <= SHADOW_LIMIT_MAX;
}

enum tf_status tf_vm_create(struct tf_host *h, const struct tf_config *c, struct tf_vm **out)
{
	hpa_t a;
	if (!config_is_sane(c))
		return TF_E_INVAL;
	if (h->page_alloc(h, 0, TF_ORDER_4K, TF_USE_TABLE, &a) != TF_OK)
		return TF_E_NOMEM;
	struct tf_vm *vm = tf_host_ptr(h, a);
	memset(vm, 0, sizeof(*vm));
	vm->h = h;
	vm->conf = *c;
	vm->self = a;
	uint32_t limit = c->shadow_pages ? c->shadow_pages : SHADOW_LIMIT_DEFAULT;
	if (limit < SHADOW_LIMIT_MIN + c->vcpus)
		limit = SHADOW_LIMIT_MIN + c->vcpus;
	struct op op;
	vm_op_begin(&op, vm);
	if (h->page_alloc(h, 0, TF_ORDER_4K, TF_USE_TABLE, &vm->vcpu_page) != TF_OK)
		goto no_vcpus;
	vm->vcpu = tf_host_ptr(h, vm->vcpu_page);
	memset(vm->vcpu, 0, TF_PAGE_SIZE);
	if (h->page_alloc(h, 0, TF_ORDER_4K, TF_USE_TABLE, &vm->empty) != TF_OK)
		goto no_empty;
	memset(tf_host_ptr(h, vm->empty), 0, TF_PAGE_SIZE);
	if (memmap_init(&vm->map, h, c->maxphyaddr, c->large_backing) != TF_OK)
		goto no_map;
	if (group_init(&op, &vm->group, vm, 0) != TF_OK)
		goto no_group;
	if (shadow_cache_init(&vm->group, h, limit) != TF_OK)
		goto no_cache;
	*out = vm;
	return TF_OK;
no_cache:
	group_destroy(&op, &vm->group);
no_group:
	memmap_destroy(&vm->map);
no_map:
	h->page_free(h, TF_ORDER_4K, vm->empty);
no_empty:
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
	for (unsigned int i = 0; i < vm->conf.vcpus; i++)
		if (vm->vcpu[i])
			mode_shadow.leave(vm->vcpu[i]);
	lock_take(&op, &vm->group.lock);
	shadow_cache_destroy(&op, vm, &vm->group);
	group_destroy(&op, &vm->group);
	lock_drop(&op, &vm->group.lock);
	op_flush(&op);
	memmap_destroy(&vm->map);
	for (unsigned int i = 0; i < vm->conf.vcpus; i++)
		if (vm->vcpu[i])
			h->page_free(h, TF_ORDER_4K, vm->vcpu[i]->self);
	h->page_free(h, TF_ORDER_4K, vm->empty);
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
	if (!map_op_begin(&m, vm, start, bytes))
		return TF_E_INVAL;
	enum tf_status s = memmap_add(&vm->map, m.from, m.to, node);
	map_op_end(&m, vm);
	return s;
}

#define TAKE_BATCH 32u

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
		word[n] = memmap_take(&vm->map, from);
		if (word[n] & FRAME_BACKED)
			f[n++] = from;
		from.v++;
	}
	struct group *g = &vm->group;
	lock_take(op, &g->lock);
	for (unsigned int i = 0; i < n; i++)
		for (unsigned int m = 0; m < MODES; m++)
			modes[m]->unmap(op, vm, g, f[i]);
	lock_drop(op, &g->lock);
	for (unsigned int i = 0; i < n; i++)
		memmap_release(op, &vm->map, f[i], word[i]);
	op_flush(op);
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
		log_stop(&m.op, vm, m.from, m.to);
	}
	map_op_end(&m, vm);
	return s;
}

/* The host writes a frame: it does to tracking and to the log what a guest's write would. The
 * group's lock is held until the bytes are there, so that no re-read trusts the table in between.
 */
static void host_writes(struct op *op, struct tf_vm *vm, gpa_t at, const void *from, size_t n)
{
	struct group *g = &vm->group;
	gfn_t f = gpa_to_gfn(at);
	struct frame *fr = memmap_frame(&vm->map, f);
	lock_take(op, &g->lock);
	shadow_unsync_frame(op, vm, g, f);
	if (frame_word(fr) & FRAME_LOG)
		entry_or(&fr->word, FRAME_DIRTY);
	hpa_t to = word_hpa(frame_word(fr));
	memcpy((char *)tf_host_ptr(vm->h, to) + (at.v & TF_PAGE_MASK), from, n);
	lock_drop(op, &g->lock);
}

static void host_reads(struct tf_vm *vm, gpa_t at, void *to, size_t n)
{
	hpa_t from = word_hpa(frame_word(memmap_frame(&vm->map, gpa_to_gfn(at))));
	memcpy(to, (const char *)tf_host_ptr(vm->h, from) + (at.v & TF_PAGE_MASK), n);
}

/* Read within one page that is backed already, without the map's lock: the group's keeps it from
 * being freed. The instructions that the host decodes are read this way. */
static bool read_backed(struct tf_vm *vm, gpa_t at, void *to, size_t n)
{
	struct group *g = &vm->group;
	struct op op;
	if ((at.v & TF_PAGE_MASK) + n > TF_PAGE_SIZE)
		return false;
	vm_op_begin(&op, vm);
	lock_take(&op, &g->lock);
	struct frame *f = memmap_frame(&vm->map, gpa_to_gfn(at));
	uint64_t word = f ? frame_word(f) : 0;
	if (word & FRAME_BACKED)
		host_reads(vm, at, to, n);
	lock_drop(&op, &g->lock);
	vm_op_end(&op, vm);
	return word & FRAME_BACKED;
}

static enum tf_status host_access(struct tf_vm *vm, gpa_t at, void *to, const void *from, size_t n)
{
	struct op op;
	enum tf_status s = TF_OK;
	vm_op_begin(&op, vm);
	lock_take(&op, &vm->map.lock);
	for (size_t done = 0; done < n;) {
		gpa_t a = gpa(at.v + done);
		size_t len = TF_PAGE_SIZE - (a.v & TF_PAGE_MASK);
		if (len > n - done)
			len = n - done;
		s = a.v >> TF_PAGE_SHIFT < vm->map.max_gfn
			    ? memmap_back_locked(&vm->map, gpa_to_gfn(a))
			    : TF_E_NOENT;
		if (s != TF_OK)
			break;
		if (from)
			host_writes(&op, vm, a, (const char *)from + done, len);
		else
			host_reads(vm, a, (char *)to + done, len);
		done += len;
	}
	lock_drop(&op, &vm->map.lock);
	vm_op_end(&op, vm);
	return s;
}

enum tf_status tf_mem_read(struct tf_vm *vm, gpa_t from, void *to, size_t n)
{
	return read_backed(vm, from, to, n) ? TF_OK : host_access(vm, from, to, NULL, n);
}

enum tf_status tf_mem_write(struct tf_vm *vm, gpa_t to, const void *from, size_t n)
{
	return host_access(vm, to, NULL, from, n);
}

/* ---- counters ---- */

void tf_counters_read(struct tf_vm *vm, struct tf_counters *out)
{
	struct group *g = &vm->group;
	*out = g->n;
	out->frames_backed = vm->map.frames_backed;
	out->large_backed = vm->map.large_backed;
	out->remote_flushes = __atomic_load_n(&vm->remote_flushes, __ATOMIC_RELAXED);
	out->device_faults = __atomic_load_n(&vm->device_faults, __ATOMIC_RELAXED);
	out->nested_tables = g->nested.pages;
	out->shadow_tables = g->shadows.live;
	out->table_pages = g->nested.pages + g->shadows.pages + vm->map.pages;
	out->lock_wait_cycles = g->lock.wait_cycles + vm->map.lock.wait_cycles;
}
