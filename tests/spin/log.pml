/* The dirty log against writes of several groups and of the host.
 *
 * One frame, `mem` counts the writes to it, `saved` is what the log's reader copied last (it copies
 * after tf_dirty_read has returned with the frame's bit set). What must hold at every write: the
 * reader has it, or will be told: DIRTY is set, or the round under way has reported the frame and
 * has not copied it yet.
 *
 * Mistakes, by -D: see scripts/model.sh. -DCAS: leaves are installed without the lock, in a section.
 *
 * SPDX-License-Identifier: BSD-2-Clause */

#define GROUPS 2
#ifndef WRITES
#define WRITES 4
#endif
#ifndef ROUNDS
#define ROUNDS 3
#endif

bool log, dirty; /* frame.word */
bool lock[GROUPS], leaf[GROUPS], tlb[GROUPS];
byte section[GROUPS];
byte mem, saved;
bool told; /* the round under way has reported the frame */

#define IS_KNOWN (!log || saved == mem || dirty || told)

/* The word that a write fault installs from: it makes a logged frame dirty first. */
inline look()
{
	atomic {
		if
		:: log -> dirty = true
		:: else
		fi;
	}
}

proctype vcpu(byte g)
{
	do
	/* The hardware walks. */
	:: atomic { leaf[g] && !tlb[g] -> tlb[g] = true }
	/* The guest writes. */
	:: atomic { tlb[g] && mem < WRITES -> mem++; assert(IS_KNOWN) }
	/* A shadow leaf goes by the guest's own doing: translations stay until its own flush. */
	:: atomic { leaf[g] && !lock[g] -> leaf[g] = false }
	/* A write fault. */
	:: atomic { !lock[g] && !leaf[g] -> lock[g] = true };
	   look();
	   atomic { leaf[g] = true; lock[g] = false }
#ifdef CAS
#ifdef SECTION_LATE
	:: look();
	   section[g] = (section[g] + 1) % 4;
#else
	:: section[g] = (section[g] + 1) % 4;
	   look();
#endif
	   leaf[g] = true;
	   section[g] = (section[g] + 1) % 4
#endif
	od
}

/* tf_mem_write: bytes, then the bit. */
proctype host()
{
#ifdef HOST_MARKS_FIRST
	look();
	atomic { mem < WRITES -> mem++ };
#else
	atomic { mem < WRITES -> mem++ };
	look();
#endif
	assert(IS_KNOWN)
}

inline grace()
{
	do
	:: g < GROUPS ->
		w = section[g];
		if
		:: w % 2 -> section[g] != w
		:: else
		fi;
		g++
	:: else -> break
	od;
	atomic { g = 0; w = 0 }
}

/* After the mark. */
inline protect()
{
#if defined(CAS) && !defined(NO_GRACE)
	grace();
#endif
	do
	:: g < GROUPS -> atomic { !lock[g]; found = found || leaf[g]; leaf[g] = false; g++ }
	:: else -> break
	od;
	g = 0;
	do
	:: g < GROUPS ->
#ifdef NO_FLUSH
#elif defined(FLUSH_IF_FOUND)
		tlb[g] = tlb[g] && !found;
#else
		tlb[g] = false;
#endif
		g++
	:: else -> break
	od;
	atomic { g = 0; found = false }
}

proctype reader()
{
	byte g, w, rounds;
	bool found;
	/* tf_dirty_start; its caller then copies everything. */
#ifdef MARK_LATE
	atomic { told = true; dirty = false };
	protect();
	log = true;
#else
	atomic { told = true; log = true; dirty = false };
	protect();
#endif
	atomic { saved = mem; told = false };
	do
	/* tf_dirty_read */
#ifdef CLEAR_LATE
	:: atomic { rounds < ROUNDS && dirty -> rounds++; told = true };
	   protect();
	   dirty = false;
#else
	:: atomic { rounds < ROUNDS && dirty -> rounds++; dirty = false; told = true };
	   protect();
#endif
	   atomic { saved = mem; told = false }
	:: rounds == ROUNDS -> break
	od
}

init
{
	atomic {
		run vcpu(0);
		run vcpu(1);
		run host();
		run reader()
	}
}
