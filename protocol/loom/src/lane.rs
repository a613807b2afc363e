//! A lane: commit words, terminator, published tail, cursor, acknowledgements. SPEC.md, "Writing a record" and "Groups".
//!
//! Records of one place. A payload is an UnsafeCell: loom reports a read that is not ordered after the write, and a
//! write that is not ordered after the last read, whatever the values are.

use crate::explore;
use crate::orders::{order, weak, Step};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering::*};
use loom::sync::Arc;
use loom::thread;

const EMPTY: u32 = 0;
const COMMITTED: u32 = 2;

#[derive(Default)]
struct Place {
    commit: AtomicU32,
    length: AtomicU32,
    payload: UnsafeCell<u32>,
}

// The protocol says who may touch a payload when; that is what is checked.
unsafe impl Sync for Lane {}
unsafe impl Send for Lane {}

#[derive(Default)]
struct Lane {
    places: [Place; 3],
    tail: AtomicU32,
    sequence: AtomicU32,
    cursor: AtomicU32,
    acked: AtomicU32,
}

impl Lane {
    /// FastProducer::store(): describe, terminate, copy, commit, publish.
    fn send(&self, at: usize) {
        let place = &self.places[at];
        place.length.store(at as u32 + 10, Relaxed);
        if !weak(Step::Terminator) {
            self.terminate(at + 1);
        }
        place.payload.with_mut(|p| unsafe { *p = at as u32 + 100 });
        // SYNC commit
        place.commit.store(COMMITTED, order(Step::CommitStore, Release));
        if weak(Step::Terminator) {
            self.terminate(at + 1);
        }
        self.publish(at as u32 + 1);
    }

    /// What an earlier lap left there looks like a word of this lap, in these checks always.
    fn terminate(&self, at: usize) {
        self.places[at].commit.store(EMPTY, Relaxed);
    }

    /// FastProducer::publish(). Here a record's number is its position.
    fn publish(&self, end: u32) {
        if weak(Step::SequenceFirst) {
            self.tail.store(end, Release);
            self.sequence.store(end, Release);
            return;
        }
        self.sequence.store(end, order(Step::SequenceStore, Release));
        self.tail.store(end, order(Step::TailStore, Release));
    }

    /// look_at(), and what a reader does with it.
    fn look(&self, position: usize) -> bool {
        let place = &self.places[position];
        // SYNC commit
        if place.commit.load(order(Step::CommitLoad, Acquire)) != COMMITTED {
            return false;
        }
        assert_eq!(place.length.load(Relaxed), position as u32 + 10, "a record's header came early");
        place.payload.with(|p| assert_eq!(unsafe { *p }, position as u32 + 100, "a payload came early"));
        true
    }

    /// nothing_below_tail()
    fn contradicts(&self, position: usize) -> bool {
        self.tail.load(order(Step::TailLoad, Acquire)) > position as u32 && self.places[position].commit.load(Acquire) != COMMITTED
    }
}

/// Two records; the places behind hold what looks like committed words of this lap. A reader sees nothing torn, nothing early,
/// and no settled place that says nothing.
pub fn commit() {
    explore(None, || {
        let lane = Arc::new(Lane::default());
        lane.places[1].commit.store(COMMITTED, Relaxed);
        lane.places[2].commit.store(COMMITTED, Relaxed);
        let shared = lane.clone();
        let producer = thread::spawn(move || {
            shared.send(0);
            shared.send(1);
        });
        let mut position = 0;
        for _ in 0..3 {
            if lane.look(position) {
                position += 1;
                if position == 2 {
                    break;
                }
            } else {
                assert!(!lane.contradicts(position), "a sound lane taken for damaged");
            }
        }
        producer.join().unwrap();
        while position < 2 {
            assert!(lane.look(position), "a committed record is not there");
            position += 1;
        }
        assert!(!lane.look(2), "a record that nobody sent");
    });
}

/// Two records as one: the first one's commit word is stored last, and its release covers the other.
pub fn many() {
    explore(None, || {
        let lane = Arc::new(Lane::default());
        let shared = lane.clone();
        let producer = thread::spawn(move || {
            for at in 0..2 {
                shared.places[at].length.store(at as u32 + 10, Relaxed);
                shared.places[at].payload.with_mut(|p| unsafe { *p = at as u32 + 100 });
            }
            if weak(Step::ManyCommit) {
                shared.places[0].commit.store(COMMITTED, Release);
                shared.places[1].commit.store(COMMITTED, Relaxed);
            } else {
                shared.places[1].commit.store(COMMITTED, Relaxed);
                shared.places[0].commit.store(COMMITTED, Release);
            }
        });
        if lane.look(0) {
            assert!(lane.look(1), "half of what was sent as one");
        }
        producer.join().unwrap();
        assert!(lane.look(0) && lane.look(1));
    });
}

/// stable_tail(): who reads tail, sequence, tail and finds the tail unchanged has the number of the record there, or the next one.
pub fn tail() {
    explore(None, || {
        let lane = Arc::new(Lane::default());
        let shared = lane.clone();
        let producer = thread::spawn(move || {
            for end in 1..4 {
                shared.publish(end);
            }
        });
        let position = lane.tail.load(Acquire);
        let number = lane.sequence.load(order(Step::SequenceLoad, Acquire));
        if lane.tail.load(Acquire) == position {
            assert!(number == position || number == position + 1, "tail {position} with number {number}");
        }
        producer.join().unwrap();
    });
}

/// A ring of one place: the producer writes over a payload once the cursor has passed it.
pub fn cursor() {
    explore(None, || {
        let lane = Arc::new(Lane::default());
        lane.send(0);
        let shared = lane.clone();
        let producer = thread::spawn(move || {
            for _ in 0..2 {
                // SYNC cursor
                if shared.cursor.load(order(Step::CursorLoad, Acquire)) == 1 {
                    shared.places[0].payload.with_mut(|p| unsafe { *p = 200 });
                    break;
                }
                thread::yield_now();
            }
        });
        assert!(lane.look(0));
        // SYNC cursor
        lane.cursor.store(1, order(Step::CursorStore, Release));
        producer.join().unwrap();
    });
}

/// A consumer acknowledges without the lock and goes; somebody else finds its claim done and moves the cursor; the producer writes.
pub fn acked() {
    explore(None, || {
        let lane = Arc::new(Lane::default());
        lane.send(0);
        let broker = {
            let lane = lane.clone();
            thread::spawn(move || {
                // SYNC acked
                if lane.acked.load(order(Step::AckedLoad, Acquire)) == 1 {
                    lane.cursor.store(1, Release);
                }
            })
        };
        let producer = {
            let lane = lane.clone();
            thread::spawn(move || {
                if lane.cursor.load(Acquire) == 1 {
                    lane.places[0].payload.with_mut(|p| unsafe { *p = 200 });
                }
            })
        };
        assert!(lane.look(0));
        // SYNC acked
        lane.acked.store(1, order(Step::AckedStore, Release));
        broker.join().unwrap();
        producer.join().unwrap();
    });
}
