/* A whole stream: two producers with a lane each, two consumers of one group, a death of one of each, and who comes after.
 * SPEC.md, "Writing a record", "Lanes", "Groups", "Recovery". The parts in detail: record.pml, claims.pml.
 *
 * Rings of three places, records of one place, each with the terminator after it, N positions in lane 0 and LAST_1 in lane 1. Producer 0 may also lend
 * two loans and commit or abort them in any order; it may die between any two stores. The broker settles its lane and
 * another producer goes on there. Consumers claim one record at a time of either lane, look at it in place, acknowledge it, and
 * give the claim up later; consumer 0 may die between any two steps, and the broker gives back what it held. The
 * lock is one step here.
 *
 * Checked: a record is whole for as long as it is looked at; it is done once; it is given again only after the death, and marked;
 * what is neither aborted nor begun by the dead is done in the end, and both cursors are at the end.
 *
 * RUN   producer_dies      -DN=4 -DCONSUMERS_LIVE
 * RUN   consumer_dies      -DN=4 -DPRODUCERS_LIVE
 * RUN   one_each_dies      -DN=2
 * LONG  one_each_dies      -DN=3
 * LONG  three_claims       -DN=4 -DC=3 -DPRODUCERS_LIVE
 * FAIL  tail_passes_open_loans -DN=3 -DCONSUMERS_LIVE -DTAIL_AT_CLAIM
 * FAIL  loans_left_claimed -DN=3 -DCONSUMERS_LIVE -DLEAVE_CLAIMED
 * FAIL  cursor_at_acknowledgement -DN=4 -DPRODUCERS_LIVE -DCURSOR_AT_ACK
 * FAIL  cursor_ignores_others -DN=4 -DPRODUCERS_LIVE -DCURSOR_IGNORES_OTHERS
 * FAIL  given_again_unmarked -DN=3 -DPRODUCERS_LIVE -DUNMARKED
 * FAIL  claims_freed_at_death -DN=3 -DPRODUCERS_LIVE -DFREED
 * FAIL  acknowledged_given_again -DN=3 -DPRODUCERS_LIVE -DACKS_FORGOTTEN
 */
#ifndef N
#define N 4
#endif
#ifndef C
#define C 2
#endif
#ifndef LAST_1
#define LAST_1 1          /* positions in lane 1 */
#endif
#define CAP 3
#define EMPTY 0
#define CLAIMED 1
#define COMMITTED 2
#define ABORTED 3
#define WORD(state, at) ((state) + 8 * ((at) / CAP))
#define PLACE(l, at) (CAP * (l) + (at) % CAP)
#define OWN(l, at) (commit[PLACE(l, at)] / 8 == (at) / CAP)
#define SAYS(l, at) (OWN(l, at) -> (commit[PLACE(l, at)] & 7) : EMPTY)
#define RECORD(l, at) (N * (l) + (at))

byte commit[2 * CAP];
byte payload[2 * CAP];    /* position + 1 when whole */
byte tail[2];

/* The group. */
byte cursor[2];
byte next[2];
#define FREE 0
#define HELD 1            /* by consumer 0; 2: by consumer 1 */
#define RETURNED 3
byte holder[C];
byte lane_of[C];
byte begin_of[C];
bool again[C];
bool acked[C];

bool done[2 * N];
bool given[2 * N];
bool aborted[2 * N];
bool producer_dead = false;
bool producer_done = false;
bool consumer_dead = false;
bool consumer_done[2];

#define ROOM(l, at, records) (cursor[l] + CAP >= (at) + (records) + 1)

inline silence(l, at) {
  d_step { commit[PLACE(l, at)] = (OWN(l, at) -> WORD(EMPTY, at) : commit[PLACE(l, at)]); }
}

/* A payload begins to change; is whole, and committed. */
inline fill(l, at) {
  payload[PLACE(l, at)] = 0;
  d_step { payload[PLACE(l, at)] = at + 1; commit[PLACE(l, at)] = WORD(COMMITTED, at); }
}

inline settle(l, at) {
  if
  :: fill(l, at);
  :: d_step { commit[PLACE(l, at)] = WORD(ABORTED, at); aborted[RECORD(l, at)] = true; }
  fi
}

inline produce(l) {
  do
  :: at == N -> break
  :: d_step { at < N && ROOM(l, at, 1) -> commit[PLACE(l, at + 1)] = (OWN(l, at + 1) -> WORD(EMPTY, at + 1) : commit[PLACE(l, at + 1)]); }
     payload[PLACE(l, at)] = 0;
     d_step { payload[PLACE(l, at)] = at + 1; commit[PLACE(l, at)] = WORD(COMMITTED, at); }
     d_step { at++; tail[l] = at; }
  :: l == 0 && at + 1 < N && ROOM(l, at, 2) ->
     /* Two loans: the first says that it is there when the second is begun. */
     silence(l, at + 1);
     commit[PLACE(l, at)] = WORD(CLAIMED, at);
     silence(l, at + 2);
#ifdef TAIL_AT_CLAIM
     tail[l] = at + 2;
#endif
     if
     :: settle(l, at); tail[l] = at + 1; settle(l, at + 1);
     :: settle(l, at + 1); settle(l, at);
     fi;
     atomic { at = at + 2; tail[l] = at; }
  od
}

active proctype producer_0() {
  byte at = 0;
  { produce(0); producer_done = true; } unless { producer_dead }
}

/* Its own steps matter less: it does not die. */
active proctype producer_1() {
  byte at = 0;
  do
  :: at == LAST_1 -> break
  :: d_step { at < LAST_1 && ROOM(1, at, 1) ->
       commit[PLACE(1, at + 1)] = (OWN(1, at + 1) -> WORD(EMPTY, at + 1) : commit[PLACE(1, at + 1)]); payload[PLACE(1, at)] = 0; }
     d_step { payload[PLACE(1, at)] = at + 1; commit[PLACE(1, at)] = WORD(COMMITTED, at); at++; tail[1] = at; }
  od
}

/* The smallest begin of the open claims of the lane, or next. */
inline set_cursor(l) {
  low = next[l];
  k = 0;
#ifndef CURSOR_IGNORES_OTHERS
  do
  :: k == C -> break
  :: k < C && holder[k] != FREE && lane_of[k] == l && begin_of[k] < low -> low = begin_of[k]; k++;
  :: else -> k++;
  od;
#endif
  cursor[l] = low;
  low = 0;
  k = 0;
}

/* What a claim's new holder may expect. */
inline give(c) {
  k = RECORD(lane_of[c], begin_of[c]);
  assert(!done[k] && !aborted[k]);
  assert(!given[k] || (consumer_dead && again[c]));
  given[k] = true;
  k = 0;
}

inline claim_of(l) {
  mine = 0;
  do
  :: mine < C && holder[mine] != FREE -> mine++;
  :: else -> break
  od;
  if
  :: mine < C ->
     holder[mine] = HELD + me; lane_of[mine] = l; begin_of[mine] = next[l]; again[mine] = false; acked[mine] = false;
     next[l] = next[l] + 1;
     give(mine);
  :: else -> skip;
  fi
}

inline take_returned() {
  mine = 0;
  do
  :: holder[mine] != RETURNED -> mine++;
  :: else -> break
  od;
  holder[mine] = HELD + me;
#ifndef UNMARKED
  again[mine] = true;
#endif
  give(mine);
}

/* The values of a free claim mean nothing: as few states as possible. */
inline free_claim(c) {
  l = lane_of[c];
  holder[c] = FREE; lane_of[c] = 0; begin_of[c] = 0; again[c] = false; acked[c] = false;
  set_cursor(l);
  l = 0;
}

#define SOME_RETURNED (holder[0] == RETURNED || holder[1] == RETURNED || holder[C - 1] == RETURNED)
#define SOME_FREE (holder[0] == FREE || holder[1] == FREE || holder[C - 1] == FREE)
#define WHOLE assert(payload[PLACE(lane_of[mine], begin_of[mine])] == begin_of[mine] + 1)

inline skip_aborted(l) {
  next[l] = next[l] + 1;
  /* The cursor stays below open claims. */
  set_cursor(l);
}

inline consume() {
  do
  :: d_step { mine == C && SOME_RETURNED -> take_returned(); }
  :: d_step { mine == C && !SOME_RETURNED && SOME_FREE && next[0] < N && SAYS(0, next[0]) == COMMITTED -> claim_of(0); }
  :: d_step { mine == C && !SOME_RETURNED && SOME_FREE && next[1] < LAST_1 && SAYS(1, next[1]) == COMMITTED -> claim_of(1); }
  :: d_step { mine == C && next[0] < N && SAYS(0, next[0]) == ABORTED -> skip_aborted(0); }
  :: mine < C ->
     d_step { WHOLE; }
#ifdef CURSOR_AT_ACK
     d_step { acked[mine] = true; done[RECORD(lane_of[mine], begin_of[mine])] = true; cursor[lane_of[mine]] = begin_of[mine] + 1; }
     d_step { WHOLE; free_claim(mine); mine = C; }
#else
     d_step { acked[mine] = true; done[RECORD(lane_of[mine], begin_of[mine])] = true; }
     /* Still looked at. */
     d_step { WHOLE; free_claim(mine); mine = C; }
#endif
  :: atomic { mine == C && cursor[0] == N && cursor[1] == LAST_1 -> break }
  od
}

proctype consumer(byte me) {
  byte mine = C;
  byte k = 0;
  byte low = 0;
  byte l = 0;
  { consume(); consumer_done[me] = true; } unless { me == 0 && consumer_dead }
}

#ifndef PRODUCERS_LIVE
active proctype producers_death() {
  byte at = 0;
end:
  if
  :: atomic { !producer_done -> producer_dead = true; at = tail[0]; }
     do
     :: SAYS(0, at) == EMPTY -> break
     :: SAYS(0, at) == CLAIMED ->
#ifdef LEAVE_CLAIMED
        at++;
#else
        d_step { commit[PLACE(0, at)] = WORD(ABORTED, at); aborted[RECORD(0, at)] = true; }
#endif
     :: SAYS(0, at) == COMMITTED || SAYS(0, at) == ABORTED -> at++;
     od;
     tail[0] = at;
     /* The next one. */
     produce(0);
  fi
}

#endif

#ifndef CONSUMERS_LIVE
active proctype consumers_death() {
  byte c = 0;
  byte k = 0;
  byte low = 0;
  byte l = 0;
end:
  if
  :: atomic { !consumer_done[0] -> consumer_dead = true; }
     do
     :: c == C -> break
     :: c < C && holder[c] == HELD ->
#ifdef FREED
        d_step { free_claim(c); c++; }
#else
        if
#ifndef ACKS_FORGOTTEN
        :: d_step { acked[c] -> free_claim(c); c++; }
        :: d_step { !acked[c] -> holder[c] = RETURNED; c++; }
#else
        :: d_step { holder[c] = RETURNED; c++; }
#endif
        fi
#endif
     :: else -> c++;
     od
  fi
}
#endif

init {
  byte i = 0;
  atomic { run consumer(0); run consumer(1); }
  cursor[0] == N && cursor[1] == LAST_1 && consumer_done[1] && (consumer_done[0] || consumer_dead);
  d_step {
    do
    :: i == N + LAST_1 -> break
    :: else -> assert(done[i] || aborted[i]); i++;
    od
  }
}
