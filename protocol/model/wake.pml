/* Sleep and wake: SPEC.md, "Bells".
 *
 * Two wakers commit one record each to a lane of their own; two sleepers read both lanes and sleep when there is
 * nothing left. With BELLS=1 the sleepers are two threads of one process and share a bell; with BELLS=2 they are two
 * processes. With WORDS=2 their slots lie in different words, so that both levels of the list matter. A waker's commit passes through a
 * store buffer that drains at any time, at its own locked instructions, and when somebody else executes
 * membarrier(GLOBAL_EXPEDITED) and the waker is registered. With WAKERS_FENCE the wakers fence instead. With MODES each
 * first waker changes between the two as it likes and says so in its lane; sleepers use membarrier only if a lane needs it.
 * With DEATH a waker may die anywhere between its commit and the wake; the broker then rings everybody.
 *
 * Checked: nobody sleeps for ever while there is a record it has not read (an invalid end state). There
 * are no time-outs here: the ceiling of 60 s would only hide a lost wake.
 *
 * RUN   one_bell           -DBELLS=1 -DWORDS=1
 * RUN   two_words          -DBELLS=2 -DWORDS=2
 * RUN   wakers_fence       -DBELLS=1 -DWORDS=1 -DWAKERS_FENCE -DNO_MEMBARRIER
 * RUN   death              -DBELLS=1 -DWORDS=1 -DDEATH
 * RUN   modes              -DBELLS=1 -DWORDS=1 -DMODES
 * LONG  modes_two_records  -DBELLS=1 -DWORDS=1 -DMODES -DRECORDS=2
 * LONG  modes_two_bells    -DBELLS=2 -DWORDS=1 -DMODES
 * LONG  modes_death        -DBELLS=1 -DWORDS=1 -DMODES -DDEATH
 * LONG  two_bells          -DBELLS=2 -DWORDS=1
 * LONG  two_records        -DBELLS=1 -DWORDS=1 -DRECORDS=2
 * LONG  death_two_bells    -DBELLS=2 -DWORDS=1 -DDEATH
 * FAIL  no_membarrier      -DBELLS=1 -DWORDS=1 -DNO_MEMBARRIER
 * FAIL  waker_not_registered -DBELLS=1 -DWORDS=1 -DNOT_REGISTERED
 * FAIL  no_second_look     -DBELLS=2 -DWORDS=1 -DNO_SECOND_LOOK
 * FAIL  bump_then_clear    -DBELLS=1 -DWORDS=1 -DBUMP_THEN_CLEAR
 * FAIL  summary_before_slot -DBELLS=2 -DWORDS=2 -DSUMMARY_FIRST
 * FAIL  clears_slots_first -DBELLS=2 -DWORDS=1 -DSLOTS_THEN_SUMMARY
 * FAIL  sequence_read_late -DBELLS=1 -DWORDS=1 -DSEQUENCE_LATE
 * FAIL  modes_read_early    -DBELLS=1 -DWORDS=1 -DMODES -DMODE_EARLY
 * FAIL  modes_no_fence     -DBELLS=1 -DWORDS=1 -DMODES -DNO_FENCE_AFTER_CHANGE
 * FAIL  broker_rings_nobody -DBELLS=1 -DWORDS=1 -DDEATH -DNO_BROKER
 */
#ifndef BELLS
#define BELLS 1
#endif
#ifndef WORDS
#define WORDS 1
#endif
#ifndef RECORDS
#define RECORDS 1
#endif
#define SLEEPERS 2
#define WAKERS 2
#define BELL_OF(sleeper) ((sleeper) % BELLS)
#define WORD_OF(bell) ((bell) % WORDS)

/* Memory. */
byte committed[WAKERS];        /* records in the waker's lane */
byte buffered[WAKERS];         /* committed, but still in the waker's store buffer */
byte summary = 0;              /* bit w: slots[w] may have a bit set */
byte slots[WORDS];             /* bit b: bell b */
bool asleep[BELLS];
#ifdef MODES
bool registered[WAKERS];       /* lane.wake_mode: false = fenced */
bool registering[WAKERS];      /* that store is still in the store buffer */
#endif

/* A bell's sequence is only ever compared with a copy of it, so the copy is modelled as "still the same". */
bool same[SLEEPERS];
bool waiting[SLEEPERS];        /* in the kernel */

#ifdef DEATH
#define MAY_DIE if :: skip :: me == 0 -> goto gone fi
#else
#define MAY_DIE skip
#endif

inline drain(w) {
  d_step {
    if
    :: buffered[w] > 0 -> committed[w] = committed[w] + buffered[w]; buffered[w] = 0;
    :: else -> skip;
    fi;
#ifdef MODES
    if
    :: registering[w] -> registered[w] = true; registering[w] = false;
    :: else -> skip;
    fi
#endif
  }
}

/* sequence += 1, futex-wake all: in one step, since in two a sleeper could only wake once more. */
inline bump_and_wake(b) {
  d_step {
    if :: BELL_OF(0) == b -> same[0] = false; waiting[0] = false; :: else -> skip; fi;
    if :: BELL_OF(1) == b -> same[1] = false; waiting[1] = false; :: else -> skip; fi;
  }
}

/* Reads what is there: one lane, then the other. */
inline look() {
  news = false;
  d_step { if :: committed[0] > seen[0] -> seen[0] = committed[0]; news = true; :: else -> skip; fi; }
  d_step { if :: committed[1] > seen[1] -> seen[1] = committed[1]; news = true; :: else -> skip; fi; }
}

proctype sleeper(byte me) {
  byte seen[WAKERS];
  bool news = false;
#ifdef MODES
  bool barrier = false;
#endif
  do
  :: seen[0] == RECORDS && seen[1] == RECORDS -> break
  :: else ->
     /* A first look, before anything is announced. */
     d_step {
       if :: committed[0] > seen[0] -> seen[0] = committed[0]; news = true; :: else -> skip; fi;
       if :: committed[1] > seen[1] -> seen[1] = committed[1]; news = true; :: else -> skip; fi;
     }
     if
     :: atomic { news -> news = false; }
     :: else ->
#ifndef SEQUENCE_LATE
        same[me] = true;
#endif
#ifdef MODE_EARLY
        barrier = registered[0] || registered[1];
#endif
        /* A plain store, visible at the latest with the locked instruction after it. */
        asleep[BELL_OF(me)] = true;
#ifdef SUMMARY_FIRST
        summary = summary | (1 << WORD_OF(BELL_OF(me)));
        slots[WORD_OF(BELL_OF(me))] = slots[WORD_OF(BELL_OF(me))] | (1 << BELL_OF(me));
#else
        slots[WORD_OF(BELL_OF(me))] = slots[WORD_OF(BELL_OF(me))] | (1 << BELL_OF(me));
        summary = summary | (1 << WORD_OF(BELL_OF(me)));
#endif
#ifdef MODES
#ifndef MODE_EARLY
        barrier = registered[0];
        barrier = barrier || registered[1];
#endif
        if
        :: barrier -> drain(0); drain(1);
        :: else -> skip;
        fi;
        barrier = false;
#elif !defined(NO_MEMBARRIER) && !defined(NOT_REGISTERED)
        drain(0);
        drain(1);
#endif
#ifndef NO_SECOND_LOOK
        look();
#endif
#ifdef SEQUENCE_LATE
        same[me] = true;
#endif
        if
        :: atomic { news -> same[me] = false; news = false; }
        :: atomic { !news && same[me] -> same[me] = false; waiting[me] = true; }   /* futex_wait: compares and sleeps as one */
           !waiting[me];
        :: atomic { !news && !same[me] -> skip; }
        fi
     fi
  od
}

/* Rings the bells of one word of the list. */
inline ring(word) {
  atomic { bits = slots[word]; slots[word] = 0; drain(me); MAY_DIE; }
  do
  :: bell == BELLS -> break
  :: bell < BELLS && (bits & (1 << bell)) ->
#ifdef BUMP_THEN_CLEAR
     if
     :: asleep[bell] ->
        d_step { if :: BELL_OF(0) == bell -> same[0] = false; :: else -> skip; fi; if :: BELL_OF(1) == bell -> same[1] = false; :: else -> skip; fi; }
        asleep[bell] = false;
        atomic { if :: BELL_OF(0) == bell -> waiting[0] = false; :: else -> skip; fi; if :: BELL_OF(1) == bell -> waiting[1] = false; :: else -> skip; fi; bell++; }
     :: atomic { !asleep[bell] -> bell++; }
     fi;
#else
     if
     :: atomic { asleep[bell] -> asleep[bell] = false; MAY_DIE; }
        atomic { bump_and_wake(bell); bell++; }
     :: atomic { !asleep[bell] -> bell++; }
     fi;
#endif
  :: else -> bell++;
  od;
  skip; atomic { bits = 0; bell = 0; }
}

#ifdef MODES
/* To fenced: the store is visible after what was committed before it. To registered: the store, then a fence. */
inline change_mode() {
  if
  :: !fences -> atomic { drain(me); registered[me] = false; fences = true; }
  :: else -> atomic { registering[me] = true; fences = false; }
#ifndef NO_FENCE_AFTER_CHANGE
     drain(me);
#endif
  fi
}
#endif

inline commit_and_wake() {
  do
  :: record == RECORDS -> break
#ifdef MODES
  :: me == 0 && changes < 2 -> changes++; change_mode();
#endif
  :: atomic { record < RECORDS -> buffered[me] = buffered[me] + 1; record++; MAY_DIE; }
#ifdef WAKERS_FENCE
     drain(me);
#endif
#ifdef MODES
     if :: fences -> drain(me); :: else -> skip; fi;
#endif
     if
     :: summary == 0 -> skip;
     :: else ->
#ifdef SLOTS_THEN_SUMMARY
        ring(0);
        atomic { words = summary; summary = 0; drain(me); }
#else
        atomic { words = summary; summary = 0; drain(me); MAY_DIE; }
        if
        :: words & 1 -> ring(0);
        :: else -> skip;
        fi;
#if WORDS > 1
        if
        :: words & 2 -> ring(1);
        :: else -> skip;
        fi;
#endif
#endif
     fi;
     words = 0;
  od
}

proctype waker(byte me) {
  byte words = 0;
  byte bits = 0;
  byte bell = 0;
  byte record = 0;
#ifdef MODES
  byte changes = 0;
  bool fences = true;
#endif
  commit_and_wake();
  goto done;
gone:
  /* Dead: what it had stored is seen. In its place, the broker, which rings everybody. */
  drain(me);
#ifndef NO_BROKER
  bump_and_wake(0);
#if BELLS > 1
  bump_and_wake(1);
#endif
#endif
done: skip;
}

/* The store buffers drain when they like. */
active proctype memory() {
end:
  do
  :: d_step { buffered[0] > 0 -> committed[0] = committed[0] + buffered[0]; buffered[0] = 0; }
  :: d_step { buffered[1] > 0 -> committed[1] = committed[1] + buffered[1]; buffered[1] = 0; }
#ifdef MODES
  /* In order: what was committed before is visible before. */
  :: d_step { registering[0] && buffered[0] == 0 -> registered[0] = true; registering[0] = false; }
#endif
  od
}

init {
  atomic { run sleeper(0); run sleeper(1); run waker(0); run waker(1); }
}
