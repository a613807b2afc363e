/* The lock word: take, wait, release, and the broker's take-over from a dead holder. SPEC.md, "Lock word and redo".
 *
 * Three processes take the lock TAKES times each. One of them may die between any two steps, asleep or just woken
 * too; the broker then takes the lock from it, if it had it, repairs, frees the word and wakes every sleeper. The
 * broker may itself die once on the way; its successor finds the broker's own number in the word.
 *
 * Checked: one holder at a time; a dead holder's work is repaired before anyone else holds the lock; nobody
 * waits for ever (an invalid end state). The ceiling on waits is left out: it would only hide a lost wake.
 *
 * RUN   lock               -DTAKES=1
 * LONG  lock               -DTAKES=2
 * FAIL  release_in_two_steps -DTAKES=1 -DRELEASE_LOOKS_FIRST
 * FAIL  waiter_forgets_others -DTAKES=1 -DTAKES_PLAIN
 * FAIL  no_wake_after_any_death -DTAKES=1 -DWAKES_ONLY_FOR_HOLDER
 * FAIL  broker_frees_before_repair -DTAKES=1 -DREPAIRS_LATE
 * FAIL  successor_ignores_brokers_lock -DTAKES=1 -DIGNORES_BROKER
 */
#ifndef TAKES
#define TAKES 2
#endif
#define P 3
#define BROKER 7          /* slot 8190 */
#define WAITERS 8         /* bit 31 */
#define HOLDER(word) ((word) & 7)

byte word = 0;            /* 0 free; else process + 1, or BROKER; | WAITERS */
bool sleeping[P];
bool torn = false;        /* what the lock guards is half done */
byte inside = 0;          /* the live process that believes it is the holder, + 1 */
bool dead[P];
byte finished = 0;

inline futex_wake_one() {
  /* Which one is the kernel's choice. */
  if
  :: atomic { sleeping[0] -> sleeping[0] = false; }
  :: atomic { sleeping[1] -> sleeping[1] = false; }
  :: atomic { sleeping[2] -> sleeping[2] = false; }
  :: atomic { !sleeping[0] && !sleeping[1] && !sleeping[2] -> skip; }
  fi
}

inline take() {
  slept = false;
  do
  :: atomic { word == 0 && !slept -> word = me + 1; break }
#ifdef TAKES_PLAIN
  :: atomic { word == 0 && slept -> word = me + 1; break }
#else
  :: atomic { word == 0 && slept -> word = (me + 1) | WAITERS; break }   /* others may wait too */
#endif
  :: atomic { word != 0 -> seen = word; }
     if
     :: (seen & WAITERS) == 0 ->
        atomic { if :: word == seen -> word = seen | WAITERS; seen = seen | WAITERS; :: else -> seen = 0; fi }
     :: else -> skip;
     fi;
     /* futex_wait compares and sleeps as one; a failed CAS comes round again. */
     atomic {
       if
       :: seen != 0 && word == seen -> sleeping[me] = true;
       :: else -> skip;
       fi;
       slept = (seen != 0 -> true : slept);
       seen = 0;
     }
     !sleeping[me];
  od
}

inline release() {
#ifdef RELEASE_LOOKS_FIRST
  seen = word;
  word = 0;
#else
  atomic { seen = word; word = 0; }
#endif
  if
  :: seen & WAITERS -> seen = 0; futex_wake_one();
  :: else -> seen = 0;
  fi
}

inline work() {
  byte taken = 0;
  do
  :: taken == TAKES -> break
  :: else ->
     take();
     atomic { assert(inside == 0); assert(!torn); inside = me + 1; }
     torn = true;
     atomic { torn = false; inside = 0; }
     release();
     taken++;
  od
}

proctype process(byte me) {
  byte seen = 0;
  bool slept = false;
  { work(); finished++; } unless { dead[me] }
}

/* The broker. `d`: who died. */
active proctype broker() {
  byte d = 0;
  byte seen = 0;
  bool restarted = false;
  if
  :: d = 0
  :: d = 1
  :: d = 2
  fi;
  if
  :: atomic { finished < P -> dead[d] = true; sleeping[d] = false; inside = (inside == d + 1 -> 0 : inside); }
  :: goto done;   /* nobody dies */
  fi;
again:
  if
  :: HOLDER(word) == d + 1 ->
#ifdef REPAIRS_LATE
     atomic { seen = word; word = 0; }
     torn = false;
     if :: seen & WAITERS -> futex_wake_one(); :: else -> skip; fi;
     goto wake;
#else
     atomic { word = (word & WAITERS) | BROKER; }   /* CAS, repeated while a waiter sets its bit */
#endif
#ifndef IGNORES_BROKER
  :: HOLDER(word) == BROKER -> skip;
#endif
  :: else -> goto wake;
  fi;
  if
  :: !restarted -> restarted = true; goto again;
  :: skip;
  fi;
  torn = false;           /* apply the redo: see claims.pml */
  if
  :: !restarted -> restarted = true; goto again;
  :: skip;
  fi;
  atomic { seen = word; word = 0; }
  if
  :: seen & WAITERS -> futex_wake_one();
  :: else -> skip;
  fi;
wake: skip;
#ifndef WAKES_ONLY_FOR_HOLDER
  /* The dead process may have been woken and not have passed it on. */
  atomic { sleeping[0] = false; sleeping[1] = false; sleeping[2] = false; }
#endif
done: skip;
}

init {
  atomic { run process(0); run process(1); run process(2); }
}
