/* Tracking of a guest table across groups: fault against track, track against write (a guest's, by
 * a TLB, and the host's), two closers at once, the zap of the last trusted shadow, ABA.
 *
 * One frame holds a guest table of one word, `mem`: a count of the writes to it. Shadow s of the
 * table is in group GROUP_S(s) and holds what it read there last, `snap[s]`; vCPU v is in group
 * GROUP_V(v). `completed` is the newest write that the guest knows to be done (it would be a flag
 * in its memory). What a flush must give: the vCPU's group has read that write or a newer one.
 *
 * frame.word's TRACKED and UNTRACKING are two variables here, changed by one step as by one CAS. A
 * visit under a group's lock is one step: all that it changes belongs to that lock.
 *
 * Mistakes, by -D: see scripts/model.sh. -DCAS: leaves are installed without the lock, in a section.
 *
 * SPDX-License-Identifier: BSD-2-Clause */

#if ROLES == 6
#define GROUPS 3
#define SHADOWS 3
#else
#define GROUPS 2
#define SHADOWS 2
#endif
#define VCPUS 3
#ifndef WRITES
#define WRITES 2
#endif
#ifndef TRACKS
#define TRACKS 2
#endif

#ifdef MOVES /* vCPUs change their groups */
byte group[VCPUS];
#define GROUP_V(v)     group[v]
#define SHADOW_V(v, s) group[v]
#else
#if ROLES == 6
#define GROUP_V(v) (v)
#else
#define GROUP_V(v) ((v) / 2)
#endif
#define SHADOW_V(v, s) (s)
#endif
#if ROLES == 5
#define GROUP_S(s) 0
#else
#define GROUP_S(s) (s)
#endif

bool tracked, untracking; /* frame.word */
#ifdef REMOVES
bool backed = true, leaving;
#define BACKED backed
#else
#define BACKED true
#endif
byte held;		  /* block.held: frames of the block that no 2 MiB leaf may map */
bool lock[GROUPS];
bool leaf[GROUPS]; /* the group has a writable leaf of the frame */
bool tlb[VCPUS];   /* the vCPU has a writable translation */
byte section[VCPUS];

bool live[SHADOWS], trusted[SHADOWS];
byte ticket[SHADOWS], snap[SHADOWS];

/* What a group says without its lock (GFRAME_TRUST). */
#define TRUSTS(i) (trusted[i] || ticket[i])

byte mem, completed;
byte tickets; /* given so far; the budget of tracks, too */

inline check()
{
	d_step {
		k = 0;
		sum = 0;
		do
		:: k < SHADOWS -> sum = sum + trusted[k]; k++
		:: else -> break
		od;
		k = 0;
		do
		:: k < GROUPS -> assert(!sum || !leaf[k]); k++
		:: else -> break
		od;
		k = 0;
		do
		:: k < VCPUS -> assert(!sum || !tlb[k]); k++
		:: else -> break
		od;
		k = 0;
		sum = 0
	}
}

/* Somebody writes a tracked frame; holds no lock. Whoever calls it looks again after. */
inline close()
{
	if
	:: atomic {
		tracked && !untracking;
		untracking = true;
#ifdef CLEAR_FIRST
		tracked = false
#endif
	   };
	   i = 0;
	   do
	   :: i < SHADOWS ->
		   if
		   :: TRUSTS(i) ->
			   atomic {
				   !lock[GROUP_S(i)];
				   trusted[i] = false;
#ifndef TICKET_KEPT
				   ticket[i] = 0
#endif
			   }
		   :: else
		   fi;
		   i++
	   :: else -> break
	   od;
	   i = 0;
	   atomic {
		   tracked = false;
		   untracking = false
	   };
	   held--
	:: else
	fi
}

#ifdef REMOVES
inline back()
{
	atomic {
		if
		:: !backed && !leaving ->
			backed = true
		:: else
		fi
	}
}
#endif

/* A nested or shadow fault for a write. */
inline fault(v)
{
	if
	:: atomic {
		!lock[GROUP_V(v)];
		lock[GROUP_V(v)] = true;
		w = tracked && held;
		ok = BACKED
	   };
	   if
	   :: ok && !w -> atomic { leaf[GROUP_V(v)] = true; lock[GROUP_V(v)] = false; check() }
	   :: else -> lock[GROUP_V(v)] = false
	   fi
#ifdef CAS
	/* Its table page is there: a leaf of 4 KiB, without the lock. */
#ifdef SECTION_LATE
	:: atomic { w = tracked; ok = BACKED };
	   section[v] = (section[v] + 1) % 4;
#else
	:: section[v] = (section[v] + 1) % 4;
	   atomic { w = tracked; ok = BACKED };
#endif
	   if
	   :: ok && !w -> atomic { leaf[GROUP_V(v)] = true; check() }
	   :: else
	   fi;
	   section[v] = (section[v] + 1) % 4
#endif
	fi;
	if
	:: w && ok -> atomic { w = false; ok = false }; close()
#ifdef REMOVES
	:: !ok -> w = false; back()
#endif
	:: else -> atomic { w = false; ok = false }
	fi
}

/* With the lock of the group of s held: if nothing there is trusted and no other group trusts the
 * table, or is about to, the mark goes. */
inline maybe_unmark(s)
{
	d_step {
		ok = tracked;
		i = 0;
		do
		:: i < SHADOWS -> ok = ok && !(GROUP_S(i) == GROUP_S(s) && trusted[i]); i++
		:: else -> break
		od;
		i = 0
	};
#ifdef ZAP_PLAIN
	/* As with one group: nothing set, no look at the other groups. */
	if
	:: ok -> atomic { tracked = false; ok = false }; held--
	:: else
	fi;
#else
	if
	:: ok ->
		ok = false;
		if
#ifndef ZAP_NO_UNTRACKING
		:: atomic { tracked && !untracking -> untracking = true };
#else
		:: tracked && !untracking ->
#endif
		   do
		   :: i < SHADOWS && !(TRUSTS(i) && GROUP_S(i) != GROUP_S(s)) -> i++
		   :: else -> break
		   od;
		   if
		   :: atomic { i == SHADOWS ->
			   i = 0;
#ifndef ZAP_TICKETS_KEPT
			   do
			   :: i < SHADOWS ->
				   if
				   :: GROUP_S(i) == GROUP_S(s) -> ticket[i] = 0
				   :: else
				   fi;
				   i++
			   :: else -> break
			   od;
#endif
			   i = 0 };
		      atomic { tracked = false; untracking = false };
		      held--
		   :: else ->
		      atomic { i = 0; untracking = false }
		   fi
		:: else
		fi
	:: else
	fi;
#endif
}

/* The guest's flush with what follows at the next load; s: a shadow of the vCPU's group. */
inline flush_and_track(v, s)
{
	atomic {
		c = completed;
		tlb[v] = false
	};
	atomic {
		!lock[GROUP_S(s)];
		if
		:: live[s] && !trusted[s] -> snap[s] = mem
		:: else
		fi;
		assert(!live[s] || snap[s] >= c);
		c = 0;
		if
		:: live[s] && !trusted[s] && !ticket[s] && tickets < TRACKS ->
			tickets++;
#ifdef TICKET_FLAG
			ticket[s] = 1;
			t = 1
#else
			ticket[s] = tickets;
			t = tickets
#endif
		:: true
		fi
	};
	if
	:: t -> track(v, s)
	:: else
	fi
}

inline track(v, s)
{
#ifndef HELD_LATE
	held++;
#endif
	if
	:: atomic {
		!tracked && !untracking && BACKED;
		tracked = true;
		ok = true
	   }
#ifdef HELD_LATE
	   held++
#endif
#ifdef MARK_ANYWAY
	:: atomic { tracked && BACKED; ok = true }
#else
	:: atomic { tracked && !untracking && BACKED; ok = true }
#endif
#ifdef MARKED_IS_DONE
	   ok = false;
	   atomic {
		   !lock[GROUP_S(s)];
		   if
		   :: ticket[s] == t && live[s] -> snap[s] = mem; trusted[s] = true; check()
		   :: else
		   fi
	   };
#endif
#ifndef HELD_LATE
	   held--
#endif
	:: else ->
#ifndef HELD_LATE
	   held--
#endif
	fi;
	if
	:: ok ->
		ok = false;
#if defined(CAS) && !defined(NO_GRACE)
		i = 0;
		do
		:: i < VCPUS ->
			w = section[i] % 2;
			if
			:: w -> atomic { x = section[i]; w = false };
				section[i] != x || !(x % 2);
				x = 0
			:: else
			fi;
			i++
		:: else -> break
		od;
#endif
		i = 0;
		do
		:: i < GROUPS ->
#ifdef OWN_GROUP_ONLY
			if
			:: i == GROUP_S(s) ->
#endif
			atomic {
				!lock[i];
#ifdef FLUSH_IF_FOUND
				w = w || leaf[i];
#endif
				leaf[i] = false
			};
#ifdef OWN_GROUP_ONLY
			:: else
			fi;
#endif
			i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < VCPUS ->
#ifdef NO_FLUSH
#elif defined(FLUSH_OWN_GROUP)
			tlb[i] = tlb[i] && GROUP_V(i) != GROUP_S(s);
#elif defined(FLUSH_IF_FOUND)
			tlb[i] = tlb[i] && !w;
#else
			tlb[i] = false;
#endif
			i++
		:: else -> break
		od;
		i = 0;
		w = false;
		atomic {
			!lock[GROUP_S(s)];
			lock[GROUP_S(s)] = true;
			if
#ifdef NO_TICKET
			:: live[s] ->
#else
			:: ticket[s] == t && live[s] ->
#endif
#ifndef NO_REREAD
				snap[s] = mem;
#endif
				trusted[s] = true;
				ticket[s] = 0;
				check()
			:: else
			fi;
			t = 0
		};
		maybe_unmark(s);
		lock[GROUP_S(s)] = false
	:: else ->
		atomic {
			!lock[GROUP_S(s)];
			if
			:: ticket[s] == t -> ticket[s] = 0
			:: else
			fi;
			t = 0
		}
	fi
}

inline zap(s)
{
	atomic {
		!lock[GROUP_S(s)] && live[s];
		lock[GROUP_S(s)] = true;
		live[s] = false;
		trusted[s] = false;
		ticket[s] = 0;
		snap[s] = 0
	};
	maybe_unmark(s);
	lock[GROUP_S(s)] = false
}

proctype vcpu(byte v; byte s; bool may_write; bool may_track)
{
	byte i, k, sum, c, t, x;
	bool w, ok;
	do
	/* The guest writes the table. */
	:: atomic { may_write && tlb[v] && mem < WRITES -> mem++; completed = mem }
	/* The hardware walks, or keeps what it has; it may drop it, too. */
	:: atomic { leaf[GROUP_V(v)] && !tlb[v] -> tlb[v] = true; check() }
	/* The guest has made its own entry read-only and another vCPU's re-read found that: the
	 * leaf goes, translations stay until this vCPU's own flush. */
	:: atomic { may_track && leaf[GROUP_V(v)] && !lock[GROUP_V(v)] -> leaf[GROUP_V(v)] = false }
	:: may_write && mem < WRITES && !tlb[v] -> fault(v)
	:: may_track -> flush_and_track(v, SHADOW_V(v, s))
#ifdef MOVES
	/* It leaves its group under that group's lock, and flushes before it enters again. */
	:: atomic {
		!lock[GROUP_V(v)];
		tlb[v] = false;
		group[v] = 1 - group[v]
	   }
#endif
	od
}

#ifdef ZAPS
proctype zapper(byte s)
{
	byte i;
	bool ok;
	do
	:: zap(s);
	   atomic { !lock[GROUP_S(s)] -> live[s] = true; snap[s] = mem }
	od
}
#endif

#ifdef REMOVES
/* Discards the frame: it leaves, is visited, flushed and given back. */
proctype remover()
{
	byte i, s;
	bool ok;
	do
	:: atomic {
		backed;
		backed = false;
		leaving = true
#ifdef TAKE_DROPS
		; untracking = false
#endif
	   };
	   do
	   :: s < SHADOWS ->
		   atomic {
			   !lock[GROUP_S(s)];
			   lock[GROUP_S(s)] = true;
			   leaf[GROUP_S(s)] = false;
			   live[s] = false;
			   trusted[s] = false;
			   ticket[s] = 0;
			   snap[s] = 0
		   };
		   maybe_unmark(s);
		   atomic { lock[GROUP_S(s)] = false; s++ }
	   :: else -> break
	   od;
	   s = 0;
	   do
	   :: s < VCPUS -> tlb[s] = false; s++
	   :: else -> break
	   od;
	   s = 0;
	   atomic {
#ifndef LEAVE_DROPS
		!untracking;
#endif
		leaving = false;
		untracking = false;
		ok = tracked;
		tracked = false
	   };
	   if
	   :: ok -> ok = false; held--
	   :: else
	   fi
	/* Somebody's read. */
	:: back()
	/* Shadows come again, of the table that is there now. */
	:: atomic { backed && !live[0] && !lock[GROUP_S(0)] -> live[0] = true; snap[0] = mem }
	:: atomic { backed && !live[1] && !lock[GROUP_S(1)] -> live[1] = true; snap[1] = mem }
	od
}
#endif

#ifdef HOST
/* The host writes guest memory: bytes first (a full barrier after), then the word. */
proctype host()
{
	byte i, mine;
#ifdef HOST_LOOKS_FIRST
	do
	:: tracked -> close()
	:: else -> break
	od;
	atomic { mem < WRITES -> mem++; mine = mem };
#else
	atomic { mem < WRITES -> mem++; mine = mem };
	do
#ifdef HOST_NO_WAIT
	:: tracked -> close(); break
#else
	:: tracked -> close()
#endif
	:: else -> break
	od;
#endif
	atomic {
		if
		:: completed < mine -> completed = mine
		:: else
		fi;
		mine = 0
	}
}
#endif

init
{
	byte k;
	atomic {
		do
		:: k < SHADOWS -> live[k] = true; k++
		:: else -> break
		od;
#if ROLES == 1 /* one group tracks, the other writes */
		run vcpu(0, 0, false, true);
		run vcpu(2, 1, true, false);
#elif ROLES == 2 /* two vCPUs of one group track, the other group writes */
		run vcpu(0, 0, false, true);
		run vcpu(1, 0, false, true);
		run vcpu(2, 1, true, false);
#elif ROLES == 3 /* both groups track, one vCPU writes */
		run vcpu(0, 0, false, true);
		run vcpu(1, 0, true, false);
		run vcpu(2, 1, false, true);
#elif ROLES == 4 /* two closers */
		run vcpu(0, 0, false, true);
		run vcpu(1, 0, true, false);
		run vcpu(2, 1, true, false);
#elif ROLES == 5 /* as 2, each with a shadow of its own */
		run vcpu(0, 0, false, true);
		run vcpu(1, 1, false, true);
		run vcpu(2, 1, true, false);
#elif ROLES == 6 /* three of all */
		run vcpu(0, 0, true, true);
		run vcpu(1, 1, true, true);
		run vcpu(2, 2, true, true);
#endif
#ifdef ZAPS
		run zapper(0);
#endif
#ifdef REMOVES
		run remover();
#endif
#ifdef HOST
		run host();
#endif
		k = 0
	}
}
