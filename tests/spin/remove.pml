/* Removal of a frame against faults of several groups, with re-backing.
 *
 * One gfn; host frames 1..FRAMES, of which `used` are allocated. Group g's leaf and vCPU g's TLB
 * hold the number of the frame that they map. What must hold: no leaf and no TLB maps a frame that
 * is free; two groups never map the gfn to different frames; a slot that is gone has no frame.
 *
 * Mistakes, by -D: see scripts/model.sh. -DCAS: leaves are installed without the lock, in a section.
 *
 * SPDX-License-Identifier: BSD-2-Clause */

#ifndef GROUPS
#define GROUPS 2
#endif
#define FRAMES 2

byte addr;    /* frame.word: 0 is not BACKED */
bool leaving; /* frame.word */
bool slot = true;
bool block;   /* the block's lock */
bool lock[GROUPS];
byte leaf[GROUPS], tlb[GROUPS];
byte section[GROUPS];
bool used[FRAMES + 1];

/* No two of all leaves and TLBs differ, and none is of a free frame. */
inline check()
{
	d_step {
		k = 0;
		one = 0;
		do
		:: k < GROUPS ->
			if
			:: leaf[k] ->
				assert(used[leaf[k]]);
				assert(!one || one == leaf[k]);
				one = leaf[k]
			:: else
			fi;
			if
			:: tlb[k] ->
				assert(used[tlb[k]]);
				assert(!one || one == tlb[k]);
				one = tlb[k]
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0;
		one = 0
	}
}

/* Under the block's lock. */
inline allocate()
{
	if
	:: !used[1] -> used[1] = true; addr = 1
	:: !used[2] -> used[2] = true; addr = 2
	fi
}

inline back()
{
	atomic { !block; block = true; there = slot };
	atomic {
		if
#ifdef NO_LEAVING
		:: !addr && there -> allocate()
#else
		:: !addr && !leaving && there -> allocate()
#endif
		:: else /* another was faster, or: try again later */
		fi;
		there = false;
		block = false
	}
}

proctype vcpu(byte g)
{
	byte w, k, one;
	bool there;
	do
	/* The hardware walks, or uses what it has. */
	:: atomic { leaf[g] && !tlb[g] -> tlb[g] = leaf[g]; check() }
	:: atomic { tlb[g] -> assert(used[tlb[g]]) }
	/* A fault, under the group's lock. */
	:: atomic { !lock[g] -> lock[g] = true; w = addr };
	   if
	   :: w -> atomic { leaf[g] = w; w = 0; lock[g] = false; check() }
	   :: else -> lock[g] = false; back()
	   fi
	/* The guest walker reads the frame, under the group's lock. */
	:: atomic { !lock[g] -> lock[g] = true; w = addr };
	   atomic { assert(!w || used[w]); w = 0; lock[g] = false }
#ifdef CAS
#ifdef SECTION_LATE
	:: w = addr; section[g] = (section[g] + 1) % 4;
#else
	:: section[g] = (section[g] + 1) % 4; w = addr;
#endif
	   if
	   :: w -> atomic { leaf[g] = w; w = 0; check() }
	   :: else
	   fi;
	   section[g] = (section[g] + 1) % 4
#endif
	od
}

/* tf_mem_read, tf_mem_write: the block's lock keeps the frame. */
proctype host()
{
	byte w;
	do
#ifdef HOST_UNPINNED
	:: w = addr; atomic { assert(!w || used[w]); w = 0 }
#else
	:: atomic { !block -> block = true; w = addr };
	   atomic { assert(!w || used[w]); w = 0; block = false }
#endif
	od
}

inline visits()
{
	g = 0;
	do
	:: g < GROUPS ->
#ifdef FORGETS_ONE
		if
		:: g == 0 ->
#endif
		atomic { !lock[g]; leaf[g] = 0 }
#ifdef FORGETS_ONE
		:: else
		fi
#endif
		; g++
	:: else -> break
	od;
	g = 0
}

inline flush()
{
	do
	:: g < GROUPS -> tlb[g] = 0; g++
	:: else -> break
	od;
	g = 0
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

inline free()
{
	atomic {
		used[w] = false;
		check();
		w = 0
	}
}

/* tf_mem_remove, tf_mem_discard: one at a time, by the map's lock. */
proctype remover()
{
	byte g, w, old, k, one;
	bool gone;
	do
	:: atomic {
		if
		:: slot -> slot = false; gone = true
		:: true
		fi
	   };
#ifdef PEEKS
	   if
	   :: addr ->
#endif
	   atomic {
		!block;
		old = addr;
		addr = 0;
#ifdef VISIT_FIRST
		addr = old;
#endif
		leaving = (old != 0)
	   };
	   if
	   :: old ->
#if defined(CAS) && !defined(NO_GRACE)
		grace();
#endif
		visits();
#ifdef VISIT_FIRST
		addr = 0;
#endif
		atomic { w = old; old = 0 };
#ifdef FREE_FIRST
		free();
		flush();
#elif defined(LEFT_FIRST)
		leaving = false;
		flush();
		free();
#elif defined(NO_FLUSH)
		free();
#else
		flush();
		free();
#endif
		leaving = false
	   :: else
	   fi;
#ifdef PEEKS
	   :: else
	   fi;
#endif
	   if
	   :: atomic { gone -> gone = false; assert(!addr) }; slot = true
	   :: else
	   fi
	od
}

init
{
	byte g;
	atomic {
		do
		:: g < GROUPS -> run vcpu(g); g++
		:: else -> break
		od;
		g = 0;
		run host();
		run remover()
	}
}
