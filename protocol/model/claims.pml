/* A group's claims: lock, redo, acknowledgements without the lock, the cursor, a death between any two steps, and
 * the broker's take-over. SPEC.md, "Groups", "Lock word and redo", "Recovery".
 *
 * One lane of R committed records, a table of C claims of up to two records, two consumers. A consumer claims, deals with
 * its records in any order, acknowledges each, gives finished claims up, and may leave at any time; with REJECTS it may give one
 * record back by itself (a claim of its own, in one redo with the bit in the old claim). One of them may die
 * between any two stores. The broker then takes the lock (from the dead holder, or when it is free), applies the redo,
 * returns the dead one's claims, and may itself die once between any two stores and be started again.
 * Everything that changes together is in one redo; its stores are separate steps here.
 *
 * Checked at every store: the cursor never passes a record that is not done. A record that is done is never given again, one
 * that is given again is marked (deliveries above 1), and that only after a death or a leave. In the end every record is
 * done, the cursor is at the tail, no claim is open, the lock is free; nobody is left waiting.
 *
 * RUN   claims             -DR=3 -DC=2
 * LONG  claims             -DR=3 -DC=3
 * FAIL  count_before_entries -DR=2 -DC=2 -DCOUNT_EARLY
 * FAIL  no_redo            -DR=2 -DC=2 -DNO_REDO
 * FAIL  broker_skips_redo  -DR=2 -DC=2 -DBROKER_SKIPS_REDO
 * FAIL  broker_returns_without_redo -DR=2 -DC=2 -DPLAIN_RETURN
 * FAIL  cursor_from_own_claim -DR=2 -DC=2 -DCURSOR_FROM_OWN
 * FAIL  acknowledged_before_done -DR=2 -DC=2 -DACK_EARLY
 * FAIL  deliveries_not_counted -DR=2 -DC=2 -DNOT_COUNTED
 * FAIL  claims_not_returned -DR=2 -DC=2 -DNOT_RETURNED
 * RUN   one_record_back    -DR=2 -DC=2 -DREJECTS
 * LONG  one_record_back    -DR=3 -DC=2 -DREJECTS
 * FAIL  one_back_without_its_bit -DR=2 -DC=2 -DREJECTS -DNO_BIT
 * FAIL  one_back_bit_before_redo -DR=2 -DC=2 -DREJECTS -DBIT_EARLY
 * FAIL  one_back_not_counted -DR=2 -DC=2 -DREJECTS -DNOT_ADDED
 * FAIL  one_back_without_redo -DR=2 -DC=2 -DREJECTS -DPLAIN_REJECT
 */
#ifndef R
#define R 2
#endif
#ifndef C
#define C 2
#endif

#define FREE 0
#define HELD 1          /* by consumer 0; 2: by consumer 1 */
#define RETURNED 3
#define OFFER 2         /* most records of a claim */

/* The group file, as words that a redo can name. */
#define CURSOR 0
#define NEXT 1
#define GIVEN_BACK 2    /* group.returned */
#define CLAIM(c, word) (3 + 5 * (c) + (word))
#define HOLDER 0        /* state, slot and slot generation share one word */
#define DELIVERIES 1
#define BEGIN 2
#define END 3
#define ACKED 4
#define WORDS (3 + 5 * C)
byte file[WORDS];

byte lock_word = 0;          /* 0 free, 1 and 2 consumers, 3 the broker */
byte redo_count = 0;
#define ENTRIES 8
byte redo_at[ENTRIES];
byte redo_value[ENTRIES];

/* What really happened. */
bool done[R];
bool given[R];
bool dead[2];
bool left[2];
bool disturbed = false;      /* a death or a leave: from then on records may come again */
bool ended[2];
bool broker_died = false;    /* at most once */
#ifdef REJECTS
bool rejected = false;       /* at most once */
#endif

inline check_cursor() {
  r = 0;
  do
  :: r < file[CURSOR] -> assert(done[r]); r++;
  :: else -> r = 0; break
  od
}

/* Stores what the redo says, one word a step. Also what a repair does: it is the same code. */
inline apply() {
  i = 0;
  do
  :: i < redo_count ->
     d_step { file[redo_at[i]] = redo_value[i]; check_cursor(); i++; }
  :: else -> break
  od;
  atomic { i = 0; redo_count = 0; n = 0; }
}

inline entry(where, what) {
  redo_at[n] = where;
  redo_value[n] = what;
  n++
}

/* The entries were written by the caller (in one step: nobody looks at them before count), n of them. */
inline change_together() {
#ifndef COUNT_EARLY
  redo_count = n;
#endif
  apply();
}

#ifdef NO_REDO
/* The same stores, with no record of them. */
#undef REDO
#define STORE_ALL i = 0; do :: i < n -> d_step { file[redo_at[i]] = redo_value[i]; check_cursor(); i++; } :: else -> break od; atomic { i = 0; n = 0; }
#else
#define STORE_ALL change_together()
#endif

inline take_lock() { atomic { lock_word == 0 -> lock_word = me + 1; } }
inline free_lock() { lock_word = 0; }

/* The smallest begin of the open claims but for claim `but`, or next. */
inline oldest_but(but) {
  oldest = file[NEXT];
  k = 0;
  do
  :: k < C ->
     if
     :: k != but && file[CLAIM(k, HOLDER)] != FREE && file[CLAIM(k, BEGIN)] < oldest -> oldest = file[CLAIM(k, BEGIN)];
     :: else -> skip;
     fi;
     k++;
  :: else -> k = 0; break
  od
}

#define ALL(c) (file[CLAIM(c, ACKED)] == (1 << (file[CLAIM(c, END)] - file[CLAIM(c, BEGIN)])) - 1)

/* Step 1: gives up its claim, which is finished. */
inline give_up(c) {
#ifdef COUNT_EARLY
  redo_count = 2;
#endif
  atomic {
    oldest_but(c);
#ifdef CURSOR_FROM_OWN
    oldest = file[CLAIM(c, END)];
#endif
    entry(CLAIM(c, HOLDER), FREE);
    entry(CURSOR, oldest);
    oldest = 0;
  }
  STORE_ALL;
}

/* Step 2: takes a claim that was returned. */
inline take_returned(c) {
#ifdef COUNT_EARLY
  redo_count = 3;
#endif
  atomic {
    entry(CLAIM(c, HOLDER), HELD + me);
#ifdef NOT_COUNTED
    entry(CLAIM(c, DELIVERIES), file[CLAIM(c, DELIVERIES)]);
#else
    /* Only whether it is above 1 matters. */
    entry(CLAIM(c, DELIVERIES), 2);
#endif
    entry(GIVEN_BACK, file[GIVEN_BACK] - 1);
  }
  STORE_ALL;
}

/* Step 3: makes a claim of `count` records. */
inline make_claim(c, count) {
#ifdef COUNT_EARLY
  redo_count = 6;
#endif
  atomic {
    entry(CLAIM(c, DELIVERIES), 1);
    entry(CLAIM(c, BEGIN), file[NEXT]);
    entry(CLAIM(c, END), file[NEXT] + count);
    entry(CLAIM(c, ACKED), 0);
    entry(CLAIM(c, HOLDER), HELD + me);
    entry(NEXT, file[NEXT] + count);
  }
  STORE_ALL;
}

inline hand_back(c) {
#ifdef COUNT_EARLY
  redo_count = 2;
#endif
  atomic {
    entry(CLAIM(c, HOLDER), RETURNED);
    entry(GIVEN_BACK, file[GIVEN_BACK] + 1);
  }
  STORE_ALL;
}

/* Gives record b of claim mine to the caller, who deals with it; then acknowledges, without the lock. */
inline deal_with(b) {
#ifdef ACK_EARLY
  file[CLAIM(mine, ACKED)] = file[CLAIM(mine, ACKED)] | (1 << b);
#endif
  d_step {
    r = file[CLAIM(mine, BEGIN)] + b;
    assert(!done[r]);
    assert(!given[r] || (disturbed && file[CLAIM(mine, DELIVERIES)] > 1));
    given[r] = true;
  }
#ifndef ACK_EARLY
  /* Done, then marked so: a death between gives it again, which is what the mark is for. */
  d_step { file[CLAIM(mine, ACKED)] = file[CLAIM(mine, ACKED)] | (1 << b); done[r] = true; r = 0; }
#else
  d_step { done[r] = true; r = 0; }
#endif
}

/* return_one(): record b of claim mine gets claim c for itself, to be given again; for the old claim it is done. */
inline return_one(c, b) {
#ifdef BIT_EARLY
  file[CLAIM(mine, ACKED)] = file[CLAIM(mine, ACKED)] | (1 << b);
#endif
  atomic {
    entry(CLAIM(c, DELIVERIES), file[CLAIM(mine, DELIVERIES)]);
    entry(CLAIM(c, BEGIN), file[CLAIM(mine, BEGIN)] + b);
    entry(CLAIM(c, END), file[CLAIM(mine, BEGIN)] + b + 1);
    entry(CLAIM(c, ACKED), 0);
    entry(CLAIM(c, HOLDER), RETURNED);
#if !defined(NO_BIT) && !defined(BIT_EARLY)
    entry(CLAIM(mine, ACKED), file[CLAIM(mine, ACKED)] | (1 << b));
#endif
#ifndef NOT_ADDED
    entry(GIVEN_BACK, file[GIVEN_BACK] + 1);
#endif
  }
#ifdef PLAIN_REJECT
  i = 0;
  do
  :: i < n -> d_step { file[redo_at[i]] = redo_value[i]; check_cursor(); i++; }
  :: else -> break
  od;
  atomic { i = 0; n = 0; }
#else
  STORE_ALL;
#endif
}

#define UNACKED(b) (mine < C && file[CLAIM(mine, BEGIN)] + (b) < file[CLAIM(mine, END)] && !(file[CLAIM(mine, ACKED)] & (1 << (b))))
#define SOMETHING (file[GIVEN_BACK] > 0 || file[NEXT] < R)

inline consume() {
  do
#ifdef REJECTS
  :: atomic { !rejected && UNACKED(0) -> rejected = true; disturbed = true; }
     take_lock();
     atomic {
       pick = C; k = 0;
       do
       :: k < C && file[CLAIM(k, HOLDER)] == FREE -> pick = k; break
       :: k < C && file[CLAIM(k, HOLDER)] != FREE -> k++;
       :: k == C -> break
       od;
       k = 0;
     }
     /* Without a free claim it waits until the others are decided; here it is then dealt with after all. */
     if
     :: pick < C -> return_one(pick, 0);
     :: else -> skip;
     fi;
     pick = 0;
     free_lock();
#endif
  :: UNACKED(0) -> deal_with(0)
  :: UNACKED(1) -> deal_with(1)
  :: atomic { mine < C && !UNACKED(0) && !UNACKED(1) -> skip; }
     take_lock();
     give_up(mine);
     free_lock();
     mine = C;
  :: atomic { mine == C && SOMETHING && file[CURSOR] < R -> skip; }
     take_lock();
     atomic {
       /* It picks by the table, under the lock. */
       pick = C; k = 0;
       do
       :: k < C && file[CLAIM(k, HOLDER)] == RETURNED && file[GIVEN_BACK] > 0 -> pick = k; break
       :: k < C && !(file[CLAIM(k, HOLDER)] == RETURNED && file[GIVEN_BACK] > 0) -> k++;
       :: k == C -> break
       od;
       k = 0;
     }
     if
     :: pick < C -> take_returned(pick); mine = pick;
     :: else ->
        atomic {
          k = 0;
          do
          :: k < C && file[CLAIM(k, HOLDER)] == FREE -> pick = k; break
          :: k < C && file[CLAIM(k, HOLDER)] != FREE -> k++;
          :: k == C -> break
          od;
          k = 0;
        }
        if
        :: pick < C && file[NEXT] < R -> make_claim(pick, 1); mine = pick;
        :: pick < C && file[NEXT] + 1 < R -> make_claim(pick, 2); mine = pick;
        :: else -> skip;
        fi
     fi;
     pick = 0;
     free_lock();
  :: atomic { !dead[0] && !dead[1] && !left[1 - me] && mine < C && (UNACKED(0) || UNACKED(1)) -> disturbed = true; left[me] = true; }
     /* Leaves: what it has goes back. */
     take_lock();
     hand_back(mine);
     free_lock();
     mine = C;
     break
  :: atomic { file[CURSOR] == R && mine == C -> break }
  od
}

proctype consumer(byte me) {
  byte mine = C;
  byte n = 0;
  byte i = 0;
  byte k = 0;
  byte r = 0;
  byte pick = 0;
  byte oldest = 0;
  { consume(); ended[me] = true; } unless { dead[me] }
}

/* The broker's death: everything of its own is forgotten, and its successor begins again. */
#define MAY_DIE if :: atomic { !broker_died -> broker_died = true; n = 0; i = 0; k = 0; goto again; } :: skip fi

active proctype broker() {
  byte d = 0;
  byte n = 0;
  byte i = 0;
  byte k = 0;
  byte r = 0;
  if
  :: d = 0
  :: d = 1
  fi;
  if
  :: atomic { !ended[d] && !left[0] && !left[1] -> dead[d] = true; disturbed = true; }
  :: goto over
  fi;
again: skip;
  /* Takes the lock: from the dead, from the broker that died, or when it is free. */
  atomic { lock_word == 0 || lock_word == d + 1 || lock_word == 3 -> lock_word = 3; }
  MAY_DIE;
#ifdef BROKER_SKIPS_REDO
  redo_count = 0;
#endif
  /* apply(), with a death between any two of its stores */
  i = 0;
  do
  :: i < redo_count ->
     d_step { file[redo_at[i]] = redo_value[i]; check_cursor(); i++; }
     MAY_DIE;
  :: else -> break
  od;
  atomic { i = 0; redo_count = 0; }
  MAY_DIE;
#ifndef NOT_RETURNED
  k = 0;
  do
  :: k < C && file[CLAIM(k, HOLDER)] == HELD + d ->
     atomic { n = 0; entry(CLAIM(k, HOLDER), RETURNED); entry(GIVEN_BACK, file[GIVEN_BACK] + 1); }
#ifndef PLAIN_RETURN
     redo_count = n;
     MAY_DIE;
#endif
     do
     :: i < n ->
        d_step { file[redo_at[i]] = redo_value[i]; check_cursor(); i++; }
        MAY_DIE;
     :: else -> break
     od;
     atomic { i = 0; n = 0; redo_count = 0; }
     MAY_DIE;
  :: k < C && file[CLAIM(k, HOLDER)] != HELD + d -> k++;
  :: k == C -> break
  od;
#endif
  lock_word = 0;
over: skip;
}

init {
  atomic { run consumer(0); run consumer(1); }
  /* When everybody is gone or has finished. */
  (ended[0] || dead[0]) && (ended[1] || dead[1]) && lock_word == 0 && file[CURSOR] == R;
  assert(file[GIVEN_BACK] == 0);
  assert(done[0] && done[R - 1]);
  assert(file[CLAIM(0, HOLDER)] == FREE && file[CLAIM(C - 1, HOLDER)] == FREE);
}
