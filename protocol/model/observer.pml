/* Reading what may be overwritten: observers, and consumers of overwrite streams. SPEC.md, "Observers", "Checkpoints".
 *
 * A ring of 4 places whose producer never waits; records of one place (header) or two (header, payload). A payload's bytes may
 * look like anything: an empty word, or a committed one of this lap, of the lap before or of the next. A reader copies load by load
 * and then looks again at the limit and the commit word; when it was overtaken it goes to the earliest boundary, found in
 * a table of two checkpoints that the producer goes on writing meanwhile.
 *
 * Checked: a delivered copy is whole and is the record it says it is; records come in order; the reader always gets to the end, and
 * what it missed is what it counts as lost.
 *
 * RUN   observer           -DN=4
 * LONG  observer           -DN=5
 * FAIL  no_second_look     -DN=4 -DNO_SECOND_LOOK
 * FAIL  looks_at_word_only -DN=4 -DWORD_ONLY
 * FAIL  limit_after_bytes  -DN=4 -DLIMIT_LATE
 * FAIL  waits_at_empty_without_looking -DN=4 -DTRUSTS_EMPTY
 */
#ifndef N
#define N 4
#endif
#define CAP 4
#define TABLE 2
#define EMPTY 0
#define COMMITTED 2
#define PADDING 4
#define WORD(state, position) ((state) + 8 * ((position) / CAP))
#define STATE(word) ((word) & 7)
#define OWN(word, position) ((word) / 8 == (position) / CAP)
#define AT(position) ((position) % CAP)
#define NOTHING 255

/* The ring. `payload`: what a copy of that place would hold; any other store there destroys it. */
byte commit[CAP];
byte span[CAP];
byte number[CAP];
byte payload[CAP];

/* The lane header. */
byte limit = 0;
byte tail = 0;
byte tail_number = 0;
byte checkpoints = 0;
byte checkpoint_at[TABLE];
byte checkpoint_number[TABLE];

/* What really happened: where record i lies, and its places. */
byte real_at[N];
byte real_span[N];
bool finished = false;

inline permit(end) {
  if
  :: end > limit ->
     checkpoint_at[checkpoints % TABLE] = at;
     checkpoint_number[checkpoints % TABLE] = next;
     checkpoints = checkpoints + 1;
     limit = end;
  :: else -> skip;
  fi
}

#define NEEDED (at + places + 1)

/* What an earlier lap left is cleared only if it could be taken for a word of this one. */
inline silence(where) {
  if
  :: OWN(commit[AT(where)], where) -> d_step { commit[AT(where)] = WORD(EMPTY, where); payload[AT(where)] = 0; }
  :: else -> skip;
  fi
}

inline send() {
  d_step {
    at = (AT(place) + places > CAP -> place + CAP - AT(place) : place);
    real_at[next] = at;
    real_span[next] = places;
  }
#ifndef LIMIT_LATE
  permit(NEEDED);
#endif
  span[AT(at)] = places;
  number[AT(at)] = next;
  payload[AT(at)] = 0;
  silence(at + places);
  if
  :: at != place ->
     span[AT(place)] = CAP - AT(place);
     commit[AT(place)] = WORD(PADDING, place);
  :: else -> skip;
  fi;
  if
  :: places == 2 ->
     if
     :: commit[AT(at + 1)] = EMPTY;
     :: commit[AT(at + 1)] = WORD(COMMITTED, at + 1);
     :: commit[AT(at + 1)] = WORD(COMMITTED, at + 1 + CAP);
     :: at >= CAP -> commit[AT(at + 1)] = WORD(COMMITTED, at + 1 - CAP);
     fi;
     d_step { span[AT(at + 1)] = 1; number[AT(at + 1)] = 9; payload[AT(at + 1)] = next + 1; }
  :: else -> skip;
  fi;
  commit[AT(at)] = WORD(COMMITTED, at);
#ifdef LIMIT_LATE
  permit(NEEDED);
#endif
  d_step { next++; place = at + places; }
  tail_number = next;
  atomic { tail = place; at = 0; places = 0; }
}

active proctype producer() {
  byte place = 0;
  byte next = 0;
  byte at = 0;
  byte places = 0;
  do
  :: next == N -> break
  :: atomic { next < N -> places = 1; }
     send()
  :: atomic { next < N -> places = 2; }
     send()
  od;
  finished = true;
}

#define OVERTAKEN (position + CAP < limit)

/* The oldest record boundary that may not be overwritten yet. */
inline earliest() {
  floor = (limit > CAP -> limit - CAP : 0);
  if
  :: floor == 0 -> position = 0;
  :: else ->
     position = tail;
     count = checkpoints;
     i = count;
     do
     :: i > 0 && i + TABLE > count ->
        i--;
        entry = checkpoint_at[i % TABLE];
        if
        :: checkpoints - i > TABLE || entry < floor || entry > position -> break
        :: else -> position = entry;
        fi
     :: else -> break
     od;
  fi;
  atomic { floor = 0; count = 0; i = 0; entry = 0; }
}

active proctype observer() {
  byte position = 0;
  byte expected = 0;      /* number of the next record in order */
  byte lost = 0;
  byte delivered = 0;
  byte word;
  byte size;
  byte which;
  byte copy;
  byte floor = 0;
  byte count = 0;
  byte i = 0;
  byte entry = 0;
  bool again = false;
  do
  :: again -> earliest(); again = false;
  :: !again ->
     word = commit[AT(position)];
     if
     :: STATE(word) == EMPTY || !OWN(word, position) ->
#ifdef TRUSTS_EMPTY
        if
        :: atomic { finished && position == tail -> break }
        :: commit[AT(position)] != word -> skip;
        fi
#else
        /* Nothing yet, or somebody's payload: the limit tells. */
        if
        :: atomic { !OVERTAKEN && finished && position == tail -> break }
        :: OVERTAKEN -> again = true;
        :: commit[AT(position)] != word -> skip;
        fi
#endif
     :: STATE(word) != EMPTY && OWN(word, position) ->
        size = span[AT(position)];
        which = number[AT(position)];
        copy = (size == 2 -> payload[AT(position + 1)] : 0);
#ifndef NO_SECOND_LOOK
        /* acquire fence, then */
        if
#ifndef WORD_ONLY
        :: OVERTAKEN -> again = true;
#endif
        :: else ->
           if
           :: commit[AT(position)] != word -> again = true;
           :: else -> skip;
           fi
        fi;
#endif
        if
        :: again -> skip;
        :: !again && (AT(position) + size > CAP || size == 0) -> assert(false);   /* damage, which no producer here makes */
        :: !again && AT(position) + size <= CAP && size > 0 && STATE(word) == PADDING -> d_step { assert(AT(position + size) == 0); position = position + size; }
        :: !again && AT(position) + size <= CAP && size > 0 && STATE(word) == COMMITTED ->
           d_step {
             assert(which < N && which >= expected && real_at[which] == position && real_span[which] == size);
             assert(size == 1 || copy == which + 1);
             lost = lost + (which - expected);
             delivered++;
             expected = which + 1;
             position = position + size;
           }
        :: else -> assert(false);
        fi
     fi;
     atomic { word = 0; size = 0; which = 0; copy = 0; }
  od;
  assert(delivered + lost + (N - expected) == N);
  assert(expected == N || position == tail);
}
