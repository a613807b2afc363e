/* The broker dies and is started again, at any step: SPEC.md, "Broker restart", "Liveness"; daemon/src/journal.hpp.
 *
 * Two clients each want the one lane of a segment that the first of them creates. A creation is an INTENT in the journal, the files, the
 * manifest's rename (COMMIT) and the answer. An attachment is journalled before its answer; the broker's own memory is lost with
 * it. A client whose connection is lost says Hello again and names what it holds; one that it does not name was never answered and is
 * dropped. A client may die at any step, also while there is no broker, and the broker hears of it from the kernel, at any time later. What
 * a client holds that has not come back is quarantined: neither given on nor freed until it is back or certainly dead.
 *
 * Checked: a lane is never given to one while another that lives may be writing to it; nobody who lives loses what it holds; files
 * without a manifest do not stay; what was answered is there; in the end everybody who lives has had the lane.
 *
 * RUN   restart            -DDEATHS=4
 * FAIL  answers_before_journal -DDEATHS=2 -DANSWERS_FIRST
 * FAIL  frees_who_is_not_back -DDEATHS=2 -DFREES_ABSENT
 * FAIL  keeps_what_nobody_names -DDEATHS=2 -DKEEPS_UNNAMED
 * FAIL  no_intent          -DDEATHS=2 -DNO_INTENT
 * FAIL  deaths_while_away_unheard -DDEATHS=2 -DNO_LOOK_AT_START
 */
#ifndef DEATHS
#define DEATHS 3
#endif
#define NOBODY 2

/* What lasts: the journal, the files, the manifest. */
bool creating = false;
bool files = false;
bool manifest = false;
byte attached = NOBODY;   /* the journal's "attached", without "detached" */

/* The broker's memory. */
bool running = true;
byte owner = NOBODY;
bool connected[2];        /* has said Hello to this broker */
byte deaths = 0;

/* The clients. */
bool dead[2];
bool holds[2];            /* was answered, has not given it back: may write */
bool wants_lane[2];
bool wants_segment = true;
bool segment_answered = false;
bool had[2];
bool heard[2];            /* a broker has dealt with its death */

#define BOTH_SAFE assert(!(!dead[0] && holds[0] && !dead[1] && holds[1]))

proctype client(byte me) {
  do
  :: atomic { running && !connected[me] ->
       /* Hello, with what it holds. */
       connected[me] = true;
       assert(!holds[me] || owner == me);   /* what it holds is kept for it */
#ifndef KEEPS_UNNAMED
       if
       :: owner == me && !holds[me] -> attached = NOBODY; owner = NOBODY;
       :: else -> skip;
       fi;
#endif
       assert(holds[me] || owner != me);    /* and nothing else */
     }
  :: atomic { connected[me] && !had[me] && !holds[me] && !wants_lane[me] && segment_answered -> wants_lane[me] = true; }
  :: atomic { holds[me] && connected[me] -> holds[me] = false; had[me] = true; attached = NOBODY; owner = NOBODY; }
  :: atomic { had[me] && !holds[me] -> break }
  :: atomic { true -> dead[me] = true; wants_lane[me] = false; break }
  od
}

/* Its death: its memory and connections are gone. */
#define MAY_DIE if :: atomic { deaths < DEATHS -> deaths++; running = false; owner = NOBODY; connected[0] = false; connected[1] = false; goto start; } :: skip fi

inline free_lane(c) {
  /* The lane is settled (record.pml), then the journal says so, then its memory. */
  if
  :: owner == c -> MAY_DIE; attached = NOBODY; MAY_DIE; owner = NOBODY;
  :: else -> skip;
  fi
}

active proctype broker() {
  byte c = 0;
start:
  /* Replay: what was begun is undone, what is attached is kept for its holder. */
  if
  :: creating && !manifest -> files = false; creating = false;
  :: creating && manifest -> creating = false;
  :: else -> skip;
  fi;
  owner = attached;
#ifdef FREES_ABSENT
  atomic { attached = NOBODY; owner = NOBODY; }
#endif
#ifdef NO_LOOK_AT_START
  atomic { if :: dead[0] -> heard[0] = true; :: else -> skip; fi; if :: dead[1] -> heard[1] = true; :: else -> skip; fi; }
#else
  atomic { heard[0] = false; heard[1] = false; }
#endif
  running = true;
end:
  do
  :: atomic { wants_segment && !segment_answered && connected[0] && !dead[0] -> skip; }
     if
     :: manifest -> skip;   /* it finds its own segment */
     :: else ->
#ifndef NO_INTENT
        creating = true;
        MAY_DIE;
#endif
        files = true;
        MAY_DIE;
        manifest = true;
        MAY_DIE;
        creating = false;
     fi;
     MAY_DIE;
     atomic { assert(manifest && files); segment_answered = true; }
     MAY_DIE;
  :: atomic { wants_lane[0] && connected[0] && owner == NOBODY && !dead[0] -> c = 0; }
     goto attach;
  :: atomic { wants_lane[1] && connected[1] && owner == NOBODY && !dead[1] -> c = 1; }
attach:
#ifdef ANSWERS_FIRST
     atomic { holds[c] = true; wants_lane[c] = false; owner = c; BOTH_SAFE; }
     MAY_DIE;
     attached = c;
#else
     owner = c;
     attached = c;
     MAY_DIE;
     /* The answer; to the dead, or on a connection that is lost, it says nothing. */
     atomic { if :: !dead[c] && connected[c] -> holds[c] = true; wants_lane[c] = false; BOTH_SAFE; :: else -> skip; fi }
#endif
     c = 0;
     MAY_DIE;
  /* A pidfd is readable. */
  :: atomic { dead[0] && !heard[0] -> heard[0] = true; }
     free_lane(0);
  :: atomic { dead[1] && !heard[1] -> heard[1] = true; }
     free_lane(1);
  :: atomic { deaths < DEATHS -> deaths++; running = false; owner = NOBODY; connected[0] = false; connected[1] = false; goto start; }
  od
}

init {
  atomic { run client(0); run client(1); }
  /* Everybody who lives has had the lane; without the first client there may be no segment. */
  (had[0] || dead[0]) && (had[1] || dead[1] || !segment_answered) && running;
  (owner == NOBODY || (!dead[owner] && holds[owner])) && attached == owner && (files == manifest) && !creating;
  assert(!segment_answered || manifest);
}
