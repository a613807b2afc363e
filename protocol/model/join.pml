/* A group that joins while its producer or the broker dies: SPEC.md, "Limit and groups", "Lanes", "Recovery", "Broker restart".
 *
 * A ring of three places, records of one place, each with the terminator after it. Group A reads from the start and never fails. The
 * broker makes group B while a producer raises its limit; the producer may die between any two stores, also between a limit and
 * the second look that would have lowered it. The broker then settles the lane and another producer takes it over. The
 * broker itself may die DEATHS times, between any two steps of the making and of the recovery and after; its successor finds the group
 * if its manifest was there, else it is made anew. A member of B starts as soon as the broker has answered.
 *
 * Checked: nothing is written over what A, or B once the broker has answered, has still to read; B starts where the broker
 * said and nobody else moves its positions from then on; a member never takes a sound file for damaged; all is read.
 *
 * RUN   join               -DN=3 -DDEATHS=2
 * LONG  join               -DN=4 -DDEATHS=1
 * FAIL  no_raise_after_restart -DN=4 -DDEATHS=1 -DNO_RAISE_AGAIN
 * FAIL  raises_whenever_it_starts -DN=4 -DDEATHS=1 -DRAISES_ALWAYS
 * FAIL  member_believes_limit -DN=4 -DDEATHS=0 -DBELIEVES_LIMIT
 * FAIL  limit_is_permission -DN=4 -DDEATHS=0 -DINHERITS_PERMISSION
 * FAIL  started_before_raise -DN=4 -DDEATHS=1 -DSTARTED_FIRST
 * FAIL  no_second_look     -DN=4 -DDEATHS=0 -DNO_SECOND_LOOK
 */
#ifndef N
#define N 6
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define CAP 3
#define FLOOR(position) ((position) > CAP -> (position) - CAP : 0)

/* The lane header. `committed`: records that are there. */
byte limit = 3;
byte tail = 2;            /* it begins with two records, unread */
byte committed = 2;
byte touched = 3;         /* places below this were written, terminators included */

/* Group A's cursor; group B's file, and what leads to it. */
byte cursor_a = 0;
byte cursor_b = 0;
byte next_b = 0;
bool started = false;
bool active_b = false;
bool listed = false;      /* B is in the manifest */

bool answered = false;    /* the member may use B */
byte start_b = 0;
bool member_done = false;
bool finished = false;
bool owned = true;        /* the lane, by the first producer */
bool dead = false;
byte deaths = 0;

inline check() {
  assert(touched <= cursor_a + CAP);
  assert(!answered || touched <= cursor_b + CAP)
}

inline look_at_groups() {
  smallest = cursor_a;
  if
  :: active_b -> smallest = (cursor_b < smallest -> cursor_b : smallest);
  :: else -> skip;
  fi
}

inline produce() {
  do
  :: position == N -> break
  :: position < N ->
     do
     :: position + 2 <= granted -> break
     :: else ->
        look_at_groups();
        if
        :: position + 2 > smallest + CAP -> (cursor_a + CAP >= position + 2 && (!active_b || cursor_b + CAP >= position + 2));
        :: else ->
           /* Never below what it was: bytes up to there may be written. */
           d_step { wanted = (position + 3 < smallest + CAP -> position + 3 : smallest + CAP); wanted = (wanted < before -> before : wanted); }
           limit = wanted;
           /* The fence: limit.pml. */
           granted = wanted;
#ifndef NO_SECOND_LOOK
           look_at_groups();
           if
           :: smallest + CAP < wanted ->
              d_step { granted = smallest + CAP; wanted = (granted > before -> granted : before); }
              limit = wanted;
           :: else -> skip;
           fi;
#endif
           d_step { before = wanted; wanted = 0; smallest = 0; }
        fi
     od;
     skip;
     d_step { touched = (touched > position + 2 -> touched : position + 2); check(); }
     atomic { position++; committed = position; tail = position; }
  od
}

active proctype producer() {
  byte position = 2;
  byte granted = 3;
  byte before = 3;        /* what it published last */
  byte smallest = 0;
  byte wanted = 0;
  { produce(); finished = true; owned = false; } unless { dead }
}

/* Goes on with the lane: its position is the settled tail, and the limit that it finds is no permission. */
proctype successor() {
  byte position = 0;
  byte granted = 0;
  byte before = 0;
  byte smallest = 0;
  byte wanted = 0;
  d_step { position = tail; before = limit; }
#ifdef INHERITS_PERMISSION
  granted = before;
#endif
  produce();
  finished = true;
}

active proctype death() {
  if
  :: atomic { owned -> dead = true; owned = false; }
     /* The broker's recovery: up to the last record that is there. Twice is the same as once: record.pml. */
     tail = committed;
     d_step { touched = (touched > tail + 1 -> touched : tail + 1); limit = (limit < tail + 1 -> tail + 1 : limit); check(); }
     run successor();
  :: true
  fi
}

/* The broker's death: what it knew is forgotten, and its successor begins. */
#define MAY_DIE if :: atomic { deaths < DEATHS -> deaths++; floor = 0; goto again; } :: skip fi

/* Every place is a boundary here. */
inline raise() {
  if
  :: FLOOR(limit) > cursor_b ->
     floor = FLOOR(limit);
     next_b = floor;
     MAY_DIE;
     atomic { cursor_b = floor; floor = 0; }
  :: else -> skip;
  fi
}

active proctype broker() {
  byte floor = 0;
again: skip;
  if
  :: listed ->
     /* A group that is in the manifest exists. */
     active_b = true;
     MAY_DIE;
#ifdef NO_RAISE_AGAIN
     skip;
#else
#ifndef RAISES_ALWAYS
     if
     :: !started ->
#endif
#ifdef STARTED_FIRST
        started = true;
        MAY_DIE;
#endif
        raise();
        MAY_DIE;
        started = true;
#ifndef RAISES_ALWAYS
     :: else -> skip;
     fi;
#endif
#endif
  :: else ->
     /* A new file: what an unfinished making left is deleted. */
     d_step { floor = FLOOR(limit); cursor_b = floor; next_b = floor; started = false; floor = 0; }
     MAY_DIE;
     listed = true;
     MAY_DIE;
     active_b = true;
     MAY_DIE;
#ifdef STARTED_FIRST
     started = true;
     MAY_DIE;
#endif
     raise();
     MAY_DIE;
     started = true;
  fi;
  MAY_DIE;
  /* The answer; also to a client that asks its successor. */
  d_step { start_b = (answered -> start_b : next_b); answered = true; check(); }
  /* It may die later, too. */
  if
  :: atomic { deaths < DEATHS && !member_done -> deaths++; goto again; }
  :: skip;
  fi
}

active proctype group_a() {
  do
  :: committed > cursor_a -> cursor_a = cursor_a + 1;
  :: finished && committed == cursor_a -> break
  od
}

active proctype member() {
  byte at = 0;
  answered;
  at = start_b;
  do
  :: atomic { finished && committed == at && cursor_b == at -> break }
  :: committed > at ->
     d_step {
       /* Positions that no consumer could have stored? */
       assert(next_b == at && cursor_b <= at && next_b <= limit);
#ifdef BELIEVES_LIMIT
       assert(next_b >= FLOOR(limit));
#else
       assert(next_b >= FLOOR(tail));
#endif
     }
     d_step { at++; next_b = at; }
  :: cursor_b < at -> cursor_b = cursor_b + 1;   /* what it reads is in place until then: check() */
  od;
  member_done = true;
}
