//! The lock word, and the redo of a holder that dies. SPEC.md, "Lock word and redo".

use crate::explore;
use crate::orders::{order, weak, Step};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use loom::sync::Arc;
use loom::thread;

struct Locked {
    word: AtomicU32,
    inside: UnsafeCell<u32>,
}
unsafe impl Sync for Locked {}
unsafe impl Send for Locked {}

impl Locked {
    fn take(&self, me: u32) -> bool {
        self.word.compare_exchange(0, me, order(Step::LockTake, SeqCst), Acquire).is_ok()
    }
    fn release(&self) {
        self.word.swap(0, order(Step::LockRelease, SeqCst));
    }
    /// Tries a few times, as a spinning waiter does. A sleeping one looks again after futex_wait: model/lock.pml.
    fn add_one(&self, me: u32) -> u32 {
        for _ in 0..3 {
            if self.take(me) {
                self.inside.with_mut(|p| unsafe { *p += 1 });
                self.release();
                return 1;
            }
            thread::yield_now();
        }
        0
    }
}

/// What the lock guards is touched by one holder at a time, and each sees what the last one did.
pub fn word() {
    explore(Some(3), || {
        let locked = Arc::new(Locked { word: AtomicU32::new(0), inside: UnsafeCell::new(0) });
        let others = [2, 3].map(|me| {
            let locked = locked.clone();
            thread::spawn(move || locked.add_one(me))
        });
        let mine = locked.add_one(1);
        let all = mine + others.into_iter().map(|other| other.join().unwrap()).sum::<u32>();
        assert!(locked.take(4));
        locked.inside.with(|p| assert_eq!(unsafe { *p }, all));
    });
}

const HOLDER: u32 = 1;
const BROKER: u32 = 8191;

#[derive(Default)]
struct File {
    lock: AtomicU32,
    count: AtomicU32,
    entries: [AtomicU32; 2],
    values: [AtomicU32; 2],
    dead: AtomicBool, // the kernel's word, which orders everything
}

impl File {
    fn change(&self, dies_after: usize) {
        assert!(self.lock.compare_exchange(0, HOLDER, SeqCst, Acquire).is_ok());
        let mut steps: Vec<Box<dyn Fn() + '_>> = vec![
            Box::new(|| self.entries[0].store(7, Relaxed)),
            Box::new(|| self.entries[1].store(8, Relaxed)),
            Box::new(|| self.count.store(2, Release)),
            Box::new(|| self.values[0].store(7, Release)),
            Box::new(|| self.values[1].store(8, Release)),
            Box::new(|| self.count.store(0, Release)),
        ];
        if weak(Step::RedoCount) {
            steps.swap(1, 2);
        }
        if weak(Step::RedoClear) {
            steps.swap(4, 5);
        }
        for step in steps.iter().take(dies_after) {
            step();
        }
        if dies_after > steps.len() {
            self.lock.swap(0, SeqCst);
        }
    }

    fn apply(&self) {
        for _ in 0..self.count.load(Acquire) {
            for i in 0..2 {
                self.values[i].store(self.entries[i].load(Relaxed), Release);
            }
        }
        self.count.store(0, Release);
    }

    /// Broker: only from the dead, and only once it is dead.
    fn settle(&self) {
        if !self.dead.load(Acquire) || self.lock.compare_exchange(HOLDER, BROKER, SeqCst, Acquire).is_err() {
            return;
        }
        if weak(Step::RedoBeforeRelease) {
            self.lock.swap(0, SeqCst);
            self.apply();
            return;
        }
        self.apply();
        self.lock.swap(0, SeqCst);
    }
}

/// A holder dies after each of its stores in turn; the broker repairs while the next consumer waits for the lock. Who has the lock
/// sees both values old or both new.
pub fn redo() {
    for dies_after in 0..8 {
        explore(Some(3), move || {
            let file = Arc::new(File::default());
            let holder = {
                let file = file.clone();
                thread::spawn(move || {
                    file.change(dies_after);
                    file.dead.store(true, Release);
                })
            };
            let broker = {
                let file = file.clone();
                thread::spawn(move || {
                    file.settle();
                    thread::yield_now();
                    file.settle();
                })
            };
            holder.join().unwrap();
            if file.lock.compare_exchange(0, 2, SeqCst, Acquire).is_ok() {
                let seen = (file.values[0].load(Relaxed), file.values[1].load(Relaxed));
                assert!(seen == (0, 0) || seen == (7, 8), "half a change: {seen:?}");
            }
            broker.join().unwrap();
            let seen = (file.values[0].load(Relaxed), file.values[1].load(Relaxed));
            assert!(file.lock.load(Relaxed) == HOLDER || seen == (0, 0) || seen == (7, 8), "half a change: {seen:?}");
        });
    }
}
