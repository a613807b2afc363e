/* Claim, commit, abort, padding and wrap of one lane: SPEC.md, "Writing a record" and "Recovery".
 *
 * A ring of 4 places; records take 1 place (header only) or 2 (header, payload). A producer sends, sends two as one,
 * or lends up to two loans at once and commits or aborts them in any order; it may die between any two stores. The
 * broker then walks from the published tail, may itself die once and begin again, and a second producer
 * goes on with the lane. A reader polls commit words and moves its cursor; a payload may hold any bytes, also
 * such as look like a commit word of this lap or the next. What an earlier lap left is not cleared: the place behind a record is
 * made empty only if its word is of its own lap. If everything has been read the producer may also go back to the ring's start early.
 *
 * Checked: the reader gets exactly the committed records, whole, in order; it is never left waiting; sequence
 * numbers go on after a death. One writer per word and release/acquire: in-order stores are all
 * that the memory order promises here, so no store buffer is modelled (limit.pml and wake.pml have them).
 *
 * RUN   record               -DN=3
 * LONG  record               -DN=4
 * FAIL  terminator_at_commit -DN=3 -DTERMINATOR_AT_COMMIT
 * FAIL  no_room_for_the_terminator -DN=3 -DNO_TERMINATOR_ROOM
 * FAIL  tail_passes_open_loans -DN=3 -DTAIL_AT_CLAIM
 * FAIL  recovery_leaves_claimed -DN=3 -DLEAVE_CLAIMED
 * FAIL  payload_after_commit -DN=3 -DPAYLOAD_LATE
 * FAIL  two_as_one_first_first -DN=3 -DFIRST_COMMITTED_FIRST
 * FAIL  loan_never_claimed   -DN=3 -DNEVER_CLAIMED
 * FAIL  words_never_cleared  -DN=3 -DNEVER_CLEARED
 * FAIL  back_without_room    -DN=3 -DBACK_WITHOUT_ROOM
 */
#ifndef N
#define N 4
#endif
#define CAP 4

#define EMPTY 0
#define CLAIMED 1
#define COMMITTED 2
#define ABORTED 3
#define PADDING 4
#define WORD(state, position) ((state) + 8 * ((position) / CAP))
#define STATE(word) ((word) & 7)
#define AT(position) ((position) % CAP)
/* What a reader makes of the word at a position: of another lap it says as little as an empty one. */
#define OWN(position) (commit[AT(position)] / 8 == (position) / CAP)
#define SAYS(position) (OWN(position) -> STATE(commit[AT(position)]) : EMPTY)

/* The ring: of each place its commit word and what else lies there. */
byte commit[CAP];
byte span[CAP];
byte sequence[CAP];
byte payload[CAP];

/* The lane header. */
byte tail = 0;       /* everything below is committed, aborted or padding */
byte tail_sequence = 0;
byte cursor = 0;     /* the reader's; the limit is cursor + CAP */

/* What really happened, for the reader to be compared with: 0 nothing, 1 committed, 2 aborted or never claimed. */
byte outcome[N + 1];
byte begun = 0;      /* records begun by anybody, as a bound */

bool dead = false;   /* the first producer */
bool may_die = true;
bool recovered = false;
bool finished = false;

/* A producer's own memory. `open`: loans not yet committed or aborted, oldest first. */
byte own_tail = 0;
byte own_next = 0;   /* sequence of the next record */
byte loans = 0;
byte loan_at[2];
byte loan_size[2];
byte loan_number[2];

inline publish() {
  /* Sequence before tail: a death between them leaves the tail at a record that is there. */
#ifdef TAIL_AT_CLAIM
  tail_sequence = own_next;
  tail = own_tail;
#else
  if
  :: loans > 0 -> tail_sequence = loan_number[0]; tail = loan_at[0];
  :: else -> tail_sequence = own_next; tail = own_tail;
  fi;
#endif
}

inline write_payload(where, places, which) {
  if
  :: places == 2 ->
     if
     :: atomic { commit[AT(where + 1)] = WORD(COMMITTED, where + 1); sequence[AT(where + 1)] = 7; payload[AT(where + 1)] = which + 1; }
     :: atomic { commit[AT(where + 1)] = WORD(COMMITTED, where + 1 + CAP); sequence[AT(where + 1)] = 7; payload[AT(where + 1)] = which + 1; }
     fi;
  :: else -> skip;
  fi;
}

inline store_committed(where, which) {
  d_step { commit[AT(where)] = WORD(COMMITTED, where); outcome[which] = 1; }
}

/* The place behind a record: its word must not be taken for one of its lap. */
#ifdef NEVER_CLEARED
inline silence(where) { skip }
#else
inline silence(where) {
  if
  :: OWN(where) -> commit[AT(where)] = WORD(EMPTY, where);
  :: else -> skip;
  fi
}
#endif

/* Begins a record. `lend`: leave it open. `back`: at the ring's start, though it would fit here. */
inline begin(places, lend, back) {
#ifndef NEVER_CLAIMED
  /* The newest open loan is not the last record any more: who walks the lane must be able to pass it. */
  if
  :: loans > 0 -> commit[AT(loan_at[loans - 1])] = WORD(CLAIMED, loan_at[loans - 1]);
  :: else -> skip;
  fi;
#endif
  d_step {
    begun++;
    at = own_tail;
    if
    :: back || AT(own_tail) + places > CAP -> at = own_tail + CAP - AT(own_tail);
    :: else -> skip;
    fi;
    /* step 2: two stores, but nobody looks at them before the commit word says so */
    span[AT(at)] = places; sequence[AT(at)] = own_next;
  }
#ifndef TERMINATOR_AT_COMMIT
  /* step 3 */
  silence(at + places);
#endif
  /* step 4. The start of the ring says nothing of this lap: in every lap a record starts there. */
  if
  :: at != own_tail -> d_step { span[AT(own_tail)] = CAP - AT(own_tail); commit[AT(own_tail)] = WORD(PADDING, own_tail); }
  :: else -> skip;
  fi;
  if
  :: lend ->
     d_step {
       loan_at[loans] = at; loan_size[loans] = places; loan_number[loans] = own_next; loans++;
       own_next++; own_tail = at + places;
     }
  :: else ->
#ifndef PAYLOAD_LATE
     write_payload(at, places, own_next);
#endif
#ifdef TERMINATOR_AT_COMMIT
     silence(at + places);
#endif
     store_committed(at, own_next);
#ifdef PAYLOAD_LATE
     write_payload(at, places, own_next);
#endif
     d_step { own_next++; own_tail = at + places; }
  fi;
  at = 0;
  publish();
}

/* Sends two records as one: the first one's commit word comes last. No padding, no open loan. */
inline begin_two(first, second) {
  d_step { begun = begun + 2; at = own_tail; span[AT(at)] = first; sequence[AT(at)] = own_next; }
  silence(at + first);
  write_payload(at, first, own_next);
#ifdef FIRST_COMMITTED_FIRST
  /* Then readers may pass it and stand where the second is being written; outcome says that neither is sent. */
  commit[AT(at)] = WORD(COMMITTED, at);
#endif
  d_step { span[AT(at + first)] = second; sequence[AT(at + first)] = own_next + 1; }
  silence(at + first + second);
  write_payload(at + first, second, own_next + 1);
  commit[AT(at + first)] = WORD(COMMITTED, at + first);
  d_step { commit[AT(at)] = WORD(COMMITTED, at); outcome[own_next] = 1; outcome[own_next + 1] = 1; }
  d_step { own_next = own_next + 2; own_tail = at + first + second; at = 0; }
  publish();
}

/* Commits or aborts loan i. */
inline settle(l, keep) {
  if
  :: keep ->
     write_payload(loan_at[l], loan_size[l], loan_number[l]);
#ifdef TERMINATOR_AT_COMMIT
     silence(loan_at[l] + loan_size[l]);
#endif
     store_committed(loan_at[l], loan_number[l]);
  :: else ->
     d_step { commit[AT(loan_at[l])] = WORD(ABORTED, loan_at[l]); outcome[loan_number[l]] = 2; }
  fi;
  d_step {
    loans--;   /* the producer's own memory */
    if
    :: l == 0 -> loan_at[0] = loan_at[1]; loan_size[0] = loan_size[1]; loan_number[0] = loan_number[1];
    :: else -> skip;
    fi;
    loan_at[1] = 0; loan_size[1] = 0; loan_number[1] = 0;
  }
  publish();
}

#ifdef NO_TERMINATOR_ROOM
#define ROOM(size) ((AT(own_tail) + size > CAP -> own_tail + CAP - AT(own_tail) : own_tail) + size <= cursor + CAP)
#else
#define ROOM(size) ((AT(own_tail) + size > CAP -> own_tail + CAP - AT(own_tail) : own_tail) + size + 1 <= cursor + CAP)
#endif

#ifdef BACK_WITHOUT_ROOM
#define MAY_GO_BACK(size) (loans == 0 && cursor == own_tail && AT(own_tail) > 0)
#else
#define MAY_GO_BACK(size) (loans == 0 && cursor == own_tail && size + 1 <= AT(own_tail))
#endif

#define ROOM_FOR_TWO(sizes) (loans == 0 && AT(own_tail) + sizes < CAP && own_tail + sizes + 1 <= cursor + CAP)

inline produce() {
  do
  :: begun + 1 < N && ROOM_FOR_TWO(2) -> begin_two(1, 1)
  :: begun + 1 < N && ROOM_FOR_TWO(3) -> begin_two(1, 2)
  :: begun + 1 < N && ROOM_FOR_TWO(3) -> begin_two(2, 1)
  :: begun < N && ROOM(1) -> begin(1, false, false)
  :: begun < N && ROOM(2) -> begin(2, false, false)
  :: begun < N && loans < 2 && ROOM(1) -> begin(1, true, false)
  :: begun < N && loans < 2 && ROOM(2) -> begin(2, true, false)
  :: begun < N && MAY_GO_BACK(1) -> begin(1, false, true)
  :: begun < N && MAY_GO_BACK(2) -> begin(2, false, true)
  :: begun < N && MAY_GO_BACK(1) -> begin(1, true, true)
  :: begun < N && MAY_GO_BACK(2) -> begin(2, true, true)
  :: loans > 0 -> settle(0, true)
  :: loans > 0 -> settle(0, false)
  :: loans > 1 -> settle(1, true)
  :: loans > 1 -> settle(1, false)
  :: begun == N && loans == 0 -> break
  od
}

/* The broker: from the published tail to the first word that says nothing; then the next producer goes on there. */
inline recover() {
  byte position = 0;
  byte number = 0;
  bool again = false;
walk: skip;
  d_step { position = tail; number = tail_sequence; }
  do
  :: atomic { SAYS(position) == EMPTY -> break }
  :: else ->
     if
     :: STATE(commit[AT(position)]) == CLAIMED ->
#ifdef LEAVE_CLAIMED
        skip;
#else
        d_step { commit[AT(position)] = WORD(ABORTED, position); outcome[sequence[AT(position)]] = 2; }
#endif
     :: else -> skip;
     fi;
     d_step {
       if
       :: STATE(commit[AT(position)]) != PADDING -> number = sequence[AT(position)] + 1;
       :: else -> skip;
       fi;
       position = position + span[AT(position)];
     }
     if
     :: !again -> again = true; goto walk;   /* a broker that died here and was restarted */
     :: skip;
     fi;
  od;
  tail_sequence = number;
  tail = position;
  commit[AT(position)] = WORD(EMPTY, position);
}

proctype producer() {
  byte at = 0;
  { produce(); may_die = false; finished = true; } unless { dead }
}

active proctype life_and_death() {
  byte at = 0;
  run producer();
  if
  :: atomic { may_die -> dead = true; }
  :: finished -> goto done;
  fi;
  recover();
  d_step {
    loans = 0; loan_at[0] = 0; loan_at[1] = 0; loan_size[0] = 0; loan_size[1] = 0; loan_number[0] = 0; loan_number[1] = 0;
    own_tail = tail; own_next = tail_sequence;
    recovered = true;
  }
  produce();
  finished = true;
done: skip;
}

active proctype reader() {
  byte position = 0;
  byte expected = 0;
  byte size;
  do
  :: atomic { SAYS(position) == COMMITTED ->
       size = span[AT(position)]; }
     d_step {
       assert(sequence[AT(position)] == expected);
       assert(outcome[expected] == 1);
       assert(size == 1 || payload[AT(position + 1)] == expected + 1);
       expected++; position = position + size; size = 0;
     }
     cursor = position;
  :: d_step { SAYS(position) == ABORTED ->
       assert(sequence[AT(position)] == expected && outcome[expected] == 2);
       expected++; position = position + span[AT(position)]; }
     cursor = position;
  :: d_step { SAYS(position) == PADDING ->
       position = position + span[AT(position)];
       assert(AT(position) == 0); }
     cursor = position;
  :: atomic { finished && SAYS(position) == EMPTY -> break }
  od;
  assert(position == tail && expected == tail_sequence);
  assert(expected == N || outcome[expected] == 0);
}
