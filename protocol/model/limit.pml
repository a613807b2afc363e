/* The limit, the groups' cursors and a group that joins: SPEC.md, "Limit and groups".
 *
 * A ring of 4 places, records of one place, each with the terminator after it. Group A reads from the start;
 * the broker makes group B while the producer raises its limit. The producer's stores pass through a store buffer (as on
 * x86; what other CPUs may do more is covered by the same fences), which drains at any time and at a fence.
 * B's cursor and its bit are the broker's stores; its fence is where the model drains them.
 *
 * Checked: nothing is ever written over a record that A, or B once it has joined, has still to read; nobody waits
 * for ever.
 *
 * RUN   limit             -DN=9
 * LONG  limit             -DN=14
 * FAIL  no_fence_after_limit -DN=9 -DNO_PRODUCER_FENCE
 * FAIL  no_fence_in_join  -DN=9 -DNO_JOIN_FENCE
 * FAIL  no_second_look    -DN=9 -DNO_SECOND_LOOK
 * FAIL  group_does_not_raise -DN=9 -DNO_RAISE
 * FAIL  limit_goes_down   -DN=9 -DLIMIT_GOES_DOWN
 */
#ifndef N
#define N 9
#endif
#define CAP 4
#define STEP 2   /* the producer asks for this much more than it needs */
#define NONE 255

/* Memory. */
byte limit = 0;
byte cursor_a = 0;
byte cursor_b = 0;
bool active_b = false;
byte tail = 0;            /* published: committed records */

/* Store buffers: in order, one entry for each word (a later store to the same word replaces an earlier one only if
 * nothing lies between; two words suffice here, drained limit first since it is stored first). */
byte limit_buffer = NONE;
bool active_buffer = false;
byte cursor_buffer = NONE;

byte touched = 0;         /* places below this were written, terminators included */
bool joined = false;      /* B reads */
bool finished = false;

inline drain_producer() {
  atomic {
    if
    :: limit_buffer != NONE -> limit = limit_buffer; limit_buffer = NONE;
    :: else -> skip;
    fi
  }
}

inline drain_broker() {
  atomic {
    if
    :: cursor_buffer != NONE -> cursor_b = cursor_buffer; cursor_buffer = NONE;
    :: else -> skip;
    fi;
    if
    :: active_buffer -> active_b = true; active_buffer = false;
    :: else -> skip;
    fi
  }
}

/* Steps 1 and 2: the smallest cursor of the active groups, loaded one after the other. */
inline look_at_groups() {
  seen_b = active_b;
  smallest = cursor_a;
  if
  :: seen_b -> d_step { if :: cursor_b < smallest -> smallest = cursor_b; :: else -> skip; fi; seen_b = false; }
  :: else -> skip;
  fi;
}

active proctype producer() {
  byte position = 0;
  byte granted = 0;       /* its own copy of limit */
  byte smallest = 0;
  byte wanted = 0;
  bool seen_b = false;
  byte old;
  do
  :: position == N -> break
  :: position < N ->
     do
     :: position + 2 <= granted -> break
     :: else ->
        look_at_groups();
        if
        :: position + 2 > smallest + CAP -> skip;   /* full: look again when a cursor moved */
           (cursor_a + CAP >= position + 2 && (!active_b || cursor_b + CAP >= position + 2));
        :: else ->
           d_step {
             wanted = (position + 2 + STEP < smallest + CAP -> position + 2 + STEP : smallest + CAP);
             old = granted;
           }
           limit_buffer = wanted;
#ifndef NO_PRODUCER_FENCE
           drain_producer();
#endif
#ifndef NO_SECOND_LOOK
           look_at_groups();
           if
           :: smallest + CAP < wanted ->
              /* Not below what it had: bytes up to there may be written already. */
#ifdef LIMIT_GOES_DOWN
              wanted = smallest + CAP;
#else
              wanted = (smallest + CAP > old -> smallest + CAP : old);
#endif
              drain_producer();
              limit_buffer = wanted;
           :: else -> skip;
           fi;
#endif
           granted = wanted;
        fi
     od;
     /* The record and the terminator after it. The bytes follow limit through the buffer. */
     drain_producer();
     d_step {
       touched = (touched > position + 2 -> touched : position + 2);
       assert(touched <= cursor_a + CAP);
       assert(!joined || touched <= cursor_b + CAP);
     }
     position++;
     tail = position;
  od;
  finished = true;
}

/* The store buffers drain when they like. */
active proctype memory() {
end:
  do
  :: atomic { limit_buffer != NONE -> limit = limit_buffer; limit_buffer = NONE; }
  :: atomic { cursor_buffer != NONE -> cursor_b = cursor_buffer; cursor_buffer = NONE; }
  :: atomic { cursor_buffer == NONE && active_buffer -> active_b = true; active_buffer = false; }
  od
}

active proctype group_a() {
  do
  :: tail > cursor_a -> cursor_a = cursor_a + 1;
  :: finished && tail == cursor_a -> break
  od
}

/* The broker makes group B from the earliest record; then B reads. */
active proctype group_b() {
  byte at;
  /* Earliest, as it looks now: every place is a boundary here. */
  at = limit;
  cursor_buffer = (at > CAP -> at - CAP : 0);
  active_buffer = true;
#ifndef NO_JOIN_FENCE
  drain_broker();
#endif
#ifndef NO_RAISE
  atomic {
    at = limit;
    if
    :: cursor_buffer != NONE -> at = (at > CAP && at - CAP > cursor_buffer -> at - CAP : cursor_buffer);
    :: else -> at = (at > CAP && at - CAP > cursor_b -> at - CAP : cursor_b);
    fi
  }
  drain_broker();
  cursor_b = at;
#else
  drain_broker();
#endif
  d_step { joined = true; assert(touched <= cursor_b + CAP); at = 0; }
  do
  :: tail > cursor_b -> cursor_b = cursor_b + 1;
  :: finished && tail == cursor_b -> break
  od
}
