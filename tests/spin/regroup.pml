/* vCPUs that change their groups, against a group's own flushes and frees, against a tracker that
 * visits the groups, and against the taking apart of a group that nobody is in.
 *
 * A group has one table page, page[g] (0: none yet), and perhaps a writable leaf of one frame in
 * it; a vCPU has what its hardware may know: cached[v], a page of tables, and tlb[v], a writable
 * translation of the frame. Flushes of a group reach its members alone. The host's part of a flush
 * is that of include/twofold/host.h: "entering", load, look for a request, enter.
 * What must hold: no vCPU in the guest reaches a free page; when a tracker has marked, visited and
 * flushed, nothing writable is left.
 *
 * The pages and (-DTRACKER) the tracker are two models; vCPU 0 moves, vCPU 1 stays.
 *
 * Mistakes, by -D: see scripts/model.sh.
 *
 * SPDX-License-Identifier: BSD-2-Clause */

#define GROUPS 2
#define VCPUS 2
#define PAGES 3
#define NOBODY GROUPS

mtype = { OUT, ENTERING, IN };

mtype at[VCPUS];
bool wanted[VCPUS]; /* a flush asked a vCPU that was entering */
bool owed[VCPUS];   /* it was outside, or has moved: flush before it enters */
byte cached[VCPUS];
bool tlb[VCPUS];

byte member[VCPUS]; /* whose flushes reach it */
bool made[GROUPS];  /* visited */
bool lock[GROUPS];
byte page[GROUPS];
bool leaf[GROUPS];
bool used[PAGES + 1];
bool tracked;

inline flush_one(v)
{
	if
	:: at[v] == IN -> at[v] = OUT; cached[v] = 0; tlb[v] = false
	:: at[v] == ENTERING -> wanted[v] = true; owed[v] = true
	:: else -> owed[v] = true
	fi
}

inline free(p)
{
	used[p] = false;
	k = 0;
	do
	:: k < VCPUS -> assert(at[k] != IN || cached[k] != p); k++
	:: else -> break
	od;
	k = 0;
	p = 0
}

/* In tf_vcpu_load(). */
inline move(v)
{
	atomic { !lock[g]; member[v] = NOBODY };
	g = 1 - g;
#ifdef JOINS_LATE
	atomic { !lock[g]; made[g] = true; };
#elif defined(MADE_LATE)
	atomic { !lock[g]; member[v] = g };
#else
	atomic { !lock[g]; made[g] = true; member[v] = g };
#endif
#ifndef MOVE_NO_FLUSH
	owed[v] = true;
#endif
}

inline load(v)
{
	if
	:: v == 0 -> move(v)
	:: true
	fi;
#ifndef TRACKER
	atomic {
		!lock[g];
		if
		:: !page[g] ->
			if
			:: !used[1] -> page[g] = 1
			:: else ->
				if
				:: !used[2] -> page[g] = 2
				:: else -> assert(!used[3]); page[g] = 3
				fi
			fi;
			used[page[g]] = true
		:: else
		fi;
		root = page[g]
	};
#ifdef JOINS_LATE
	atomic { !lock[g]; member[v] = g };
#endif
#endif
}

proctype vcpu(byte v)
{
	byte g, root;
	bool w;
	g = v;
	do
	:: atomic { at[v] == OUT -> at[v] = ENTERING; wanted[v] = false };
	   load(v);
	   atomic {
		if
		:: wanted[v] -> at[v] = OUT
		:: else ->
			if
			:: owed[v] -> owed[v] = false; cached[v] = 0; tlb[v] = false
			:: else
			fi;
			assert(!cached[v] || used[cached[v]]);
			assert(!root || used[root]);
			cached[v] = root;
			at[v] = IN
		fi;
		root = 0
	   }
#ifdef TRACKER
	/* The hardware walks. */
	:: atomic { at[v] == IN && leaf[g] && !tlb[v] -> tlb[v] = true }
	/* A write fault. */
	:: atomic { at[v] == IN && !tlb[v] -> at[v] = OUT };
	   atomic { !lock[g] -> lock[g] = true; w = tracked };
	   atomic { leaf[g] = leaf[g] || !w; w = false; lock[g] = false };
#ifdef MADE_LATE
	   made[g] = true
#endif
#endif
	/* Any other exit: what it knows stays, under its ASID. */
	:: atomic { at[v] == IN -> at[v] = OUT }
	od
}

/* A group's table page is unlinked (a zap, an unmap), its members are flushed, it is freed. */
proctype unlinker()
{
	byte g, v, p, k;
#ifdef SET_EARLY
	bool in[VCPUS];
#endif
	do
#ifndef TRACKER
	:: if
	   :: g = 0
	   :: g = 1
	   fi;
#ifdef SET_EARLY
	   atomic { in[0] = (member[0] == g); in[1] = (member[1] == g) };
#endif
	   atomic {
		!lock[g];
		p = page[g];
		page[g] = 0;
		leaf[g] = false
	   };
	   if
	   :: p ->
		   do
		   :: v < VCPUS ->
			   atomic {
				   if
#ifdef SET_EARLY
				   :: in[v] -> flush_one(v)
#else
				   :: member[v] == g -> flush_one(v)
#endif
				   :: else
				   fi;
				   v++
			   }
		   :: else -> break
		   od;
		   atomic { v = 0; free(p) }
	   :: else
	   fi
#endif
	/* A group that nobody is in. */
	:: atomic {
		if
		:: !lock[0] && made[0] && member[0] != 0 && member[1] != 0 -> g = 0
		:: !lock[1] && made[1] && member[0] != 1 && member[1] != 1 -> g = 1
		fi;
		p = page[g];
		page[g] = 0;
		leaf[g] = false;
		made[g] = false
	   };
	   atomic {
		if
		:: p -> free(p)
		:: else
		fi
	   }
	od
}

proctype tracker()
{
	byte i;
	do
	:: tracked = true;
	   do
	   :: i < GROUPS ->
		   if
		   :: made[i] ->
			   atomic {
				   !lock[i];
#ifdef GROUP_FREED
				   assert(made[i]);
#endif
				   leaf[i] = false
			   }
		   :: else
		   fi;
		   i++
	   :: else -> break
	   od;
	   i = 0;
	   do
	   :: i < VCPUS -> atomic { flush_one(i); i++ }
	   :: else -> break
	   od;
	   atomic {
		assert(!leaf[0] && !leaf[1]);
		assert(at[0] != IN || !tlb[0]);
		assert(at[1] != IN || !tlb[1]);
		i = 0
	   };
	   tracked = false
	od
}

init
{
	atomic {
		at[0] = OUT;
		at[1] = OUT;
		member[0] = 0;
		member[1] = 1;
		made[0] = true;
		made[1] = true;
		run vcpu(0);
		run vcpu(1);
		run unlinker();
#ifdef TRACKER
		run tracker()
#endif
	}
}
