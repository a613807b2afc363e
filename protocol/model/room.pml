/* A producer that sleeps until there is room, and who wakes it: SPEC.md, "Full ring" and "Bells".
 *
 * A full ring of 2 places (CAP), records of one place each, N records in all. Two groups with a reader each release them
 * one by one; a reader may keep what it has until the ring is full. The producer says for which cursor it waits (wanted),
 * enlists, executes membarrier, looks once more and sleeps: at first for plenty of room (half a ring more than it needs),
 * but only for a while (that sleep may time out at any moment), then for the least that its record needs, however long.
 * A reader's cursor passes through a store buffer (every store an entry of its own), which drains at any time, at the
 * reader's locked instructions, and, if it is registered, at the producer's membarrier. FENCING says which readers fence
 * after each store instead (bit r: reader r); membarrier does not reach these. The producer's wanted has a buffer, too.
 * A reader whose cursor is now wanted or further rings the producer's slot alone and leaves summary as it is. The broker
 * rings everybody RINGS times, when it likes. With NEIGHBOUR somebody else sleeps on the same list, for one event of its
 * own, and is rung alone: on another bell with BELLS=2, on the producer's (two threads of one process) with BELLS=1. With
 * DEATH reader 0 may die once, anywhere between its store and the wake; the broker then rings everybody, and the group goes
 * on from its cursor. room_slot is left out: it is stored with wanted and stays the same while the producer sleeps.
 *
 * Checked: the producer never sleeps for ever while every cursor leaves room for its record, nor the neighbour after
 * its event; all records are written and read (an invalid end state otherwise). There are no time-outs but the one
 * said: the ceiling of 60 s would only hide a lost wake.
 *
 * RUN   membarrier        -DN=3
 * RUN   readers_fence     -DN=3 -DFENCING=3
 * RUN   one_fences        -DN=3 -DFENCING=1
 * RUN   wanted_before_summary -DN=3 -DWANTED_FIRST
 * RUN   neighbour         -DN=3 -DREADERS=1 -DNEIGHBOUR
 * LONG  neighbour_shares_bell -DN=3 -DREADERS=1 -DNEIGHBOUR -DBELLS=1
 * RUN   death             -DN=3 -DDEATH
 * LONG  membarrier        -DN=4
 * LONG  readers_fence     -DN=4 -DFENCING=3
 * LONG  one_fences        -DN=4 -DFENCING=1
 * LONG  bigger_ring       -DN=5 -DCAP=3
 * LONG  two_rings         -DN=4 -DRINGS=2
 * LONG  two_readers_neighbour -DN=3 -DRINGS=0 -DNEIGHBOUR
 * LONG  death_one_fences  -DN=4 -DDEATH -DFENCING=2
 * FAIL  no_membarrier     -DN=3 -DNO_MEMBARRIER
 * FAIL  reader_not_registered -DN=3 -DNOT_REGISTERED
 * FAIL  wanted_after_enlisting -DN=3 -DFENCING=3 -DWANTED_LATE
 * FAIL  wanted_after_membarrier -DN=3 -DWANTED_LATE
 * FAIL  no_last_look      -DN=3 -DNO_LAST_LOOK
 * FAIL  no_patience       -DN=3 -DNO_PATIENCE
 * FAIL  rings_above_wanted -DN=3 -DRINGS_ABOVE
 * FAIL  looks_before_store -DN=3 -DLOOKS_BEFORE_STORE
 * FAIL  bump_then_clear   -DN=3 -DBUMP_THEN_CLEAR
 * FAIL  ring_one_takes_summary -DN=3 -DREADERS=1 -DNEIGHBOUR -DTAKES_SUMMARY
 * FAIL  summary_before_slot -DN=3 -DSUMMARY_FIRST
 * FAIL  ring_all_clears_slots_first -DN=3 -DSLOTS_THEN_SUMMARY
 * FAIL  sequence_read_late -DN=3 -DSEQUENCE_LATE
 * FAIL  broker_rings_nobody -DN=3 -DDEATH -DNO_BROKER
 */
#ifndef N
#define N 4
#endif
#ifndef READERS
#define READERS 2
#endif
#ifndef BELLS
#define BELLS 2
#endif
#ifndef FENCING
#define FENCING 0
#endif
#ifndef RINGS
#define RINGS 1
#endif
#ifndef CAP
#define CAP 2
#endif
#define NONE 255
#define PRODUCER 0
#define OTHER 1
#define BELL_OF(sleeper) ((sleeper) % BELLS)

/* Memory. */
byte tail = CAP;          /* records committed, at first a ring full; readers hear of them elsewhere: wake.pml */
byte cursor[3];           /* of the groups; [2] stays 0 */
byte wanted = NONE;
bool event = false;       /* what the neighbour waits for */
bool summary = false;     /* one word of slots is enough here */
byte slots = 0;           /* bit b: bell b */
bool asleep[BELLS];

/* Store buffers. */
byte buffered[3];         /* steps of the cursor still in the reader's */
bool wanting = false;     /* the producer's holds this: */
byte wanted_next = 0;

/* A bell's sequence is only ever compared with a copy of it, so the copy is modelled as "still the same". */
bool same[2];
bool waiting[2];          /* in the kernel */

inline drain(r) {
  d_step { cursor[r] = cursor[r] + buffered[r]; buffered[r] = 0; }
}

inline drain_producer() {
  d_step {
    if
    :: wanting -> wanted = wanted_next; wanting = false; wanted_next = 0;
    :: else -> skip;
    fi
  }
}

inline store_wanted(value) {
  atomic { drain_producer(); wanting = true; wanted_next = value; }
}

/* sequence += 1, futex-wake all: in one step, since in two a sleeper could only wake once more. */
inline bump_and_wake(b) {
  d_step {
    if :: BELL_OF(0) == b -> same[0] = false; waiting[0] = false; :: else -> skip; fi;
    if :: BELL_OF(1) == b -> same[1] = false; waiting[1] = false; :: else -> skip; fi;
  }
}

/* A reader's locked instruction drains its store buffer. Who is no reader has nothing in its own. */
#define LOCKED drain(me)

#ifdef DEATH
bool died = false;
#define MAY_DIE if :: skip :: me == 0 && !died -> died = true; goto gone fi
#else
#define MAY_DIE skip
#endif

/* Clear, then bump, then wake. */
inline wake_slot(b) {
#ifdef BUMP_THEN_CLEAR
  if
  :: asleep[b] ->
     d_step { if :: BELL_OF(0) == b -> same[0] = false; :: else -> skip; fi; if :: BELL_OF(1) == b -> same[1] = false; :: else -> skip; fi; }
     asleep[b] = false;
     d_step { if :: BELL_OF(0) == b -> waiting[0] = false; :: else -> skip; fi; if :: BELL_OF(1) == b -> waiting[1] = false; :: else -> skip; fi; }
  :: else -> skip;
  fi
#else
  if
  :: atomic { asleep[b] -> asleep[b] = false; LOCKED; MAY_DIE; }
     bump_and_wake(b);
  :: else -> skip;
  fi
#endif
}

/* Rings one slot: the other bits and summary are left alone. */
inline ring_one(b) {
#ifdef TAKES_SUMMARY
  summary = false;
#endif
  if
  :: atomic { slots & (1 << b) -> slots = slots & ~(1 << b); LOCKED; MAY_DIE; }
     wake_slot(b);
  :: atomic { !(slots & (1 << b)) -> LOCKED; }
  fi
}

inline enlist(b) {
  asleep[b] = true;
#ifdef SUMMARY_FIRST
  summary = true;
  slots = slots | (1 << b);
#else
  slots = slots | (1 << b);
  summary = true;
#endif
}

/* futex_wait: compares and sleeps as one. Not if the last look found something. */
#define SLEEPS(me) atomic { !news && same[me] -> same[me] = false; waiting[me] = true; }
#define STAYS_AWAKE(me) atomic { news || !same[me] -> same[me] = false; news = false; }

/* The cursors, one after the other. */
inline look() {
  smallest = cursor[0];
#if READERS > 1
  d_step { if :: cursor[1] < smallest -> smallest = cursor[1]; :: else -> skip; fi; }
#endif
}

active proctype producer() {
  byte room = CAP;        /* it may write below this */
  byte smallest = 0;
  byte need = 0;          /* the cursor it waits for */
  bool patient = true;
  bool news = false;
  do
  :: tail == N -> break
  :: tail < N && tail < room -> atomic { tail++; patient = true; }
  :: tail < N && tail == room ->
     look();
     if
     :: atomic { smallest + CAP > tail -> room = smallest + CAP; smallest = 0; }
        if :: wanted != NONE || wanting -> store_wanted(NONE); :: else -> skip; fi
     :: else ->
        d_step {
          smallest = 0;
          need = tail + 1 - CAP;
#ifdef NO_PATIENCE
          need = need + CAP / 2;
          patient = false;
#else
          if :: patient -> need = need + CAP / 2; :: else -> skip; fi;
#endif
        }
#ifndef WANTED_LATE
        store_wanted(need);
#endif
#ifndef SEQUENCE_LATE
        same[PRODUCER] = true;
#endif
        drain_producer();   /* the next is a locked instruction */
        enlist(BELL_OF(PRODUCER));
#ifndef NO_MEMBARRIER
        d_step {
#if !(FENCING & 1) && !defined(NOT_REGISTERED)
          drain(0);
#endif
#if !(FENCING & 2)
          drain(1);
#endif
          skip;
        }
#endif
#ifdef WANTED_LATE
        store_wanted(need);
#endif
#ifndef NO_LAST_LOOK
        look();
        d_step { news = smallest >= need; smallest = 0; }
#endif
#ifdef SEQUENCE_LATE
        same[PRODUCER] = true;
#endif
        need = 0;
        if
        :: SLEEPS(PRODUCER);
           if
           :: !waiting[PRODUCER]
           :: atomic { patient && waiting[PRODUCER] -> waiting[PRODUCER] = false; }   /* the time is out */
           fi
        :: STAYS_AWAKE(PRODUCER)
        fi;
#ifndef NO_PATIENCE
        patient = false;
#endif
     fi
  od;
  drain_producer();
}

proctype reader(byte me) {
  byte at = 0;            /* its own copy of its cursor */
  bool far = false;       /* far enough for the producer */
  do
  :: at == N -> break
  :: at < N ->
     tail > at;
     if
     :: skip
     :: true -> tail == N || tail - at == CAP;   /* keeps it for as long as the producer has room */
     fi;
#ifdef LOOKS_BEFORE_STORE
     far = at + 1 >= wanted;
#endif
     atomic { at++; buffered[me] = buffered[me] + 1; MAY_DIE; }
     if
     :: FENCING & (1 << me) -> LOCKED;
     :: else -> skip;
     fi;
#ifdef WANTED_FIRST
     far = at >= wanted;
#endif
     if
     :: !summary -> far = false;
     :: else ->
#if defined(RINGS_ABOVE)
        far = at > wanted;
#elif !defined(LOOKS_BEFORE_STORE) && !defined(WANTED_FIRST)
        far = at >= wanted;
#endif
        if
        :: atomic { far -> far = false; }
           ring_one(BELL_OF(PRODUCER));
        :: else -> skip;
        fi
     fi;
     goto alive;
gone:
     /* Dead: what it had stored is seen. The broker rings everybody; the group goes on from the cursor. */
     atomic { drain(me); far = false; }
#ifndef NO_BROKER
     bump_and_wake(0);
#if BELLS > 1
     bump_and_wake(1);
#endif
#endif
alive: skip
  od
}

#ifdef NEIGHBOUR
/* Its event is a fenced store by somebody who then rings it alone. */
active proctype neighbour() {
  bool news = false;
  do
  :: event -> break
  :: else ->
     same[OTHER] = true;
     enlist(BELL_OF(OTHER));
     news = event;
     if
     :: SLEEPS(OTHER);
        !waiting[OTHER]
     :: STAYS_AWAKE(OTHER)
     fi
  od
}

active proctype neighbours_waker() {
  byte me = 2;
  event = true;
  if
  :: summary -> ring_one(BELL_OF(OTHER));
  :: else -> skip;
  fi;
gone: skip
}
#endif

/* The broker rings everybody. */
active proctype broker() {
  byte me = 2;
  byte rings = 0;
  byte bits = 0;
end:
  do
#ifdef SLOTS_THEN_SUMMARY
  :: atomic { rings < RINGS -> rings++; bits = slots; slots = 0; }
     summary = false;
#else
  :: atomic { rings < RINGS -> rings++; summary = false; }
     atomic { bits = slots; slots = 0; }   /* whether or not summary named it */
#endif
     if
     :: atomic { bits & 1 -> bits = bits & ~1; }
        wake_slot(0);
     :: else -> skip;
     fi;
#if defined(NEIGHBOUR) && BELLS > 1
     if
     :: atomic { bits & 2 -> bits = 0; }
        wake_slot(1);
     :: else -> skip;
     fi;
#endif
  od;
gone: skip
}

/* The store buffers drain when they like, store by store. */
active proctype memory() {
end:
  do
  :: d_step { buffered[0] > 0 -> cursor[0] = cursor[0] + 1; buffered[0] = buffered[0] - 1; }
  :: d_step { buffered[1] > 0 -> cursor[1] = cursor[1] + 1; buffered[1] = buffered[1] - 1; }
  :: d_step { wanting -> wanted = wanted_next; wanting = false; wanted_next = 0; }
  od
}

init {
  atomic {
    run reader(0);
#if READERS > 1
    run reader(1);
#endif
  }
}
