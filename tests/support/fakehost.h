/* A host for tests: an arena as the machine's memory, allocations that fail when told to, and a
 * registry of every frame so that a wrong free, a leak or a use after free is found.
 *
 * Freed frames are filled with a pattern, poisoned under ASan and reused as late as possible; the
 * pattern is checked when the frame is handed out again and by fakehost_check(). The engine's
 * calls may come from several threads: the registry has its own lock, which no callback holds.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef SUPPORT_FAKEHOST_H
#define SUPPORT_FAKEHOST_H

#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <twofold/twofold.h>

#define FAKEHOST_BASE UINT64_C(0x100000000) /* the first frame's host-physical address */

enum fake_state {
	FAKE_FREE,
	FAKE_SMALL, /* a 4 KiB allocation */
	FAKE_LARGE, /* part of a 2 MiB allocation */
	FAKE_HUGE,  /* part of a 1 GiB allocation */
};

struct fakehost {
	struct tf_host host; /* first: the engine's pointer is ours */

	uint8_t *arena;
	uint64_t frames;
	uint64_t small; /* those below are for 4 KiB and 2 MiB allocations, the others for 1 GiB */
	uint8_t *state; /* enum fake_state by frame */
	uint8_t *node;	/* that it was asked from, by frame */
	uint8_t *use;	/* enum tf_use by frame */
	uint64_t next;	/* where the search for a free frame starts */
	pthread_mutex_t lock;

	/* Failing on purpose. An allocation is counted even if it fails. */
	uint64_t allocs;       /* calls of page_alloc so far */
	uint64_t fail_at;      /* the call with this number fails; 0: none */
	uint64_t fail_for;     /* how many calls from fail_at on fail; 0 counts as 1 */
	bool fail_large;       /* every 2 MiB allocation fails */
	bool fail_huge;	       /* every 1 GiB allocation fails */
	uint64_t failed;       /* calls that failed on purpose */
	uint64_t limit_frames; /* no more than this many frames in use; 0: the arena's size */

	uint64_t in_use, in_use_max; /* frames, without those of 1 GiB allocations */
	uint64_t frees, flushes, kicks;
	uint64_t flushes_of[TF_FLUSH_ALL + 1]; /* by kinds */
	uint64_t clock;

	/* What the test does on the engine's calls; all may be NULL. */
	void *arg;
	void (*on_flush)(void *arg, const struct tf_cpuset *vcpus, uint32_t kinds);
	void (*on_kick)(void *arg, unsigned int vcpu);
	void (*on_free)(void *arg, hfn_t first, uint64_t n); /* before the frames are poisoned */
	void (*on_panic)(void *arg, const char *file, int line, const char *what);

	/* With panic_jumps set a panic does longjmp(panic_jump, 1) instead of abort(). */
	bool panic_jumps;
	jmp_buf panic_jump;
	char panic_text[256];
};

/* 2 MiB aligned; `bytes` is rounded up to 2 MiB. Ends the process if there is no memory. */
void fakehost_init(struct fakehost *f, uint64_t bytes);
/* The same with room for so many 1 GiB allocations besides. They take memory as they are touched,
 * and what is not allocated of them cannot be touched. */
void fakehost_init_huge(struct fakehost *f, uint64_t bytes, unsigned int gibs);
/* Every page must have come back: prints what leaked and returns how many frames did. */
uint64_t fakehost_leaks(const struct fakehost *f);
/* Checks that nobody wrote to a free frame; ends the process if somebody did. */
void fakehost_check(struct fakehost *f);
void fakehost_fini(struct fakehost *f);

/* The n-th allocation from now on (1: the next) fails, and `run` - 1 after it; n = 0: none. */
void fakehost_fail(struct fakehost *f, uint64_t n, uint64_t run);

/* How many 4 KiB frames are in use for `use` that were asked from `node`. */
uint64_t fakehost_count(const struct fakehost *f, unsigned int node, enum tf_use use);

/* Is the 4 KiB frame at `a` allocated? False for addresses outside the arena. */
bool fakehost_is_allocated(struct fakehost *f, hpa_t a);
/* The pointer to [a, a + n), which must lie in one allocated frame; ends the process otherwise. */
void *fakehost_ptr(struct fakehost *f, hpa_t a, size_t n, const char *who);
uint64_t fakehost_frame(hpa_t a); /* the index into state[] */

#endif
