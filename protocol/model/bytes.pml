/* put and get of a bytes segment: staging, redo, change counter, lock. SPEC.md, "Bytes".
 *
 * Two putters put a content of two words each, lengths 1 and 2; one of them may die between any two stores. The broker
 * then takes the lock, repairs (and may itself die once between any two stores, its successor beginning again) and
 * frees it. A getter reads word by word and compares the change counter. Stores are seen in order, which is what the
 * release fence after the odd counter and the acquire fence before its second look are for; the twins odd_late and
 * no_second_look are what happens without them.
 *
 * Checked: a get gives length, version and content of one put; nobody waits for ever; in the end the content is whole, the
 * counter even and the lock free, and a put counts once.
 *
 * RUN   bytes
 * FAIL  no_staging         -DNO_STAGING
 * FAIL  no_second_look     -DNO_SECOND_LOOK
 * FAIL  odd_late           -DODD_LATE
 * FAIL  count_before_staging -DCOUNT_EARLY
 * FAIL  stays_odd          -DSTAYS_ODD
 * FAIL  repair_without_odd -DREPAIR_EVEN
 * FAIL  version_plus_one_on_repair -DREDO_ADDS
 */
#define GETS 2

byte content[2];
byte staging[2];
byte length = 0;
byte version = 0;
byte change = 0;
byte lock_word = 0;           /* 0 free, 1 and 2 putters, 3 the broker */
byte redo_count = 0;
byte redo_length;             /* also copy_length */
byte redo_version;

bool dead[2];
bool ended[2];
byte put_as[4];               /* by version: what was put, 0 unknown */
bool broker_died = false;

/* What putter p puts: its number in every word, and as many words. */
#define VALUE(p) ((p) + 1)

inline put() {
  atomic { lock_word == 0 -> lock_word = me + 1; }
  assert((change & 1) == 0 && redo_count == 0);
#ifdef COUNT_EARLY
  d_step { redo_length = VALUE(me); redo_version = version + 1; redo_count = 2; }
#endif
#ifndef NO_STAGING
  staging[0] = VALUE(me);
  staging[1] = VALUE(me);
#endif
#ifndef COUNT_EARLY
  d_step { redo_length = VALUE(me); redo_version = version + 1; }
  d_step { redo_count = 2; put_as[version + 1] = VALUE(me); }
#else
  d_step { put_as[version + 1] = VALUE(me); }
#endif
#ifdef ODD_LATE
  content[0] = VALUE(me);
  change = change + 1;
#else
  change = change + 1;
  content[0] = VALUE(me);
#endif
  content[1] = VALUE(me);
  length = redo_length;
  version = redo_version;
  redo_count = 0;
  change = change + 1;
  lock_word = 0;
}

proctype putter(byte me) {
  { put(); ended[me] = true; } unless { dead[me] }
}

#define MAY_DIE if :: atomic { !broker_died -> broker_died = true; goto again; } :: skip fi

active proctype broker() {
  byte d = 0;
  byte first = 0;
  if
  :: d = 0
  :: d = 1
  fi;
  if
  :: atomic { !ended[d] -> dead[d] = true; }
  :: goto over
  fi;
again: skip;
  if
  :: atomic { lock_word == d + 1 || lock_word == 3 -> lock_word = 3; }
  :: atomic { lock_word != d + 1 && lock_word != 3 -> goto over; }
  fi;
  MAY_DIE;
  if
  :: redo_count != 0 ->
#ifndef REPAIR_EVEN
     change = change | 1;
     MAY_DIE;
#endif
#ifndef NO_STAGING
     content[0] = staging[0];
     MAY_DIE;
     content[1] = staging[1];
     MAY_DIE;
#endif
     length = redo_length;
     MAY_DIE;
#ifdef REDO_ADDS
     version = version + 1;
#else
     version = redo_version;
#endif
     MAY_DIE;
     redo_count = 0;
     MAY_DIE;
  :: else -> skip;
  fi;
#ifndef STAYS_ODD
  if
  :: change & 1 -> change = change + 1;
  :: else -> skip;
  fi;
  MAY_DIE;
#endif
  lock_word = 0;
over: skip;
}

active proctype getter() {
  byte before;
  byte n;
  byte v;
  byte a;
  byte b;
  byte gets = 0;
  do
  :: gets == GETS -> break
  :: else ->
     atomic { (change & 1) == 0 -> before = change; }
     n = length;
     v = version;
     a = content[0];
     b = content[1];
     if
#ifdef NO_SECOND_LOOK
     :: true ->
#else
     :: atomic { change == before ->
#endif
        assert(n == put_as[v] && a == n && b == n);
        gets++;
        n = 0; v = 0; a = 0; b = 0; before = 0;
#ifndef NO_SECOND_LOOK
        }
     :: atomic { change != before -> n = 0; v = 0; a = 0; b = 0; before = 0; }
#endif
     fi
  od
}

init {
  atomic { run putter(0); run putter(1); }
  (ended[0] || dead[0]) && (ended[1] || dead[1]) && lock_word == 0 && redo_count == 0 && (change & 1) == 0;
  /* Each put counts once; one that died may have happened or not. */
  assert(content[0] == content[1] && content[0] == length && length == put_as[version]);
  assert(version <= 2 && version >= (ended[0] -> 1 : 0) + (ended[1] -> 1 : 0));
}
