//! Sleep and wake, for data and for room, with wakers that fence. SPEC.md, "Bells" and "Full ring".
//!
//! futex_wait is left out: what matters is whether the sequence has changed when everybody else has done. The membarrier of
//! the other mode is a fence that the sleeper executes for the waker, which model/wake.pml and room.pml have.

use crate::explore;
use crate::orders::{full_fence, order, weak, Step};
use loom::sync::atomic::{AtomicU32, Ordering::*};
use loom::sync::Arc;
use loom::thread;

#[derive(Default)]
struct Words {
    commit: AtomicU32,
    cursor: AtomicU32,
    room_slot: AtomicU32,
    room_wanted: AtomicU32, // 0: none
    summary: AtomicU32,
    slots: [AtomicU32; 2], // two words, so that both levels matter
    asleep: [AtomicU32; 2],
    sequence: [AtomicU32; 2],
}

impl Words {
    /// Sleeper::enlist_here(). Gives the sequence to sleep on.
    fn enlist(&self, slot: usize, fence: Step) -> u32 {
        let sequence = self.sequence[slot].load(Acquire);
        self.asleep[slot].swap(1, SeqCst);
        if weak(Step::SlotsThenSummary) {
            self.summary.fetch_or(1 << slot, SeqCst);
            self.slots[slot].fetch_or(1, SeqCst);
        } else {
            self.slots[slot].fetch_or(1, SeqCst);
            self.summary.fetch_or(1 << slot, SeqCst);
        }
        full_fence(fence);
        sequence
    }

    /// wake_slot(): clear, then bump, then wake.
    fn wake_slot(&self, slot: usize) {
        if self.asleep[slot].swap(0, SeqCst) != 0 {
            self.sequence[slot].fetch_add(1, SeqCst);
        }
    }

    /// ring_all()
    fn ring_all(&self) {
        let summary = self.summary.swap(0, SeqCst);
        for slot in 0..2 {
            if summary & (1 << slot) != 0 && self.slots[slot].swap(0, SeqCst) != 0 {
                self.wake_slot(slot);
            }
        }
    }

    /// ring_one()
    fn ring_one(&self, slot: usize) {
        if self.slots[slot].load(Acquire) != 0 && self.slots[slot].fetch_and(0, SeqCst) != 0 {
            self.wake_slot(slot);
        }
    }

    /// Would a sleeper that has seen `sequence` sleep now, and for ever, since everybody is done?
    fn sleeps(&self, slot: usize, sequence: u32) -> bool {
        self.sequence[slot].load(Relaxed) == sequence
    }
}

/// A record is committed while two readers fall asleep: each sees the record or is woken.
pub fn sleep() {
    explore(Some(3), || {
        let words = Arc::new(Words::default());
        let waker = {
            let words = words.clone();
            thread::spawn(move || {
                words.commit.store(1, Release);
                // FastProducer::somebody_sleeps(). SYNC sleep
                full_fence(Step::WakerFence);
                if words.summary.load(Relaxed) != 0 {
                    words.ring_all();
                }
            })
        };
        let fall_asleep = |words: &Words, slot| {
            let sequence = words.enlist(slot, Step::SleeperFence);
            (!weak(Step::SleeperSecondLook) && words.commit.load(Acquire) == 1, sequence)
        };
        let other = {
            let words = words.clone();
            thread::spawn(move || fall_asleep(&words, 0))
        };
        let mine = fall_asleep(&words, 1);
        let others = other.join().unwrap();
        waker.join().unwrap();
        for (slot, (seen, sequence)) in [(1, mine), (0, others)] {
            assert!(seen || !words.sleeps(slot, sequence), "asleep for ever, with a record there");
        }
    });
}

/// A reader moves its cursor while the producer falls asleep for room: it sees the cursor or is woken, alone. A neighbour
/// sleeps on the same list already, and the lane's last producer left its own slot in room_slot.
pub fn room() {
    explore(Some(4), || {
        let words = Arc::new(Words::default());
        words.slots[0].store(1, Relaxed);
        words.summary.store(1, Relaxed);
        let shared = words.clone();
        let reader = thread::spawn(move || {
            // GroupReader::cursor_moved()
            shared.cursor.store(1, Release);
            full_fence(Step::RoomFence);
            if shared.summary.load(order(Step::RoomSummary, Acquire)) == 0 {
                return;
            }
            let wanted = shared.room_wanted.load(order(Step::RoomWantedLoad, Acquire));
            if wanted != 0 && 1 >= wanted {
                shared.ring_one(shared.room_slot.load(Relaxed) as usize);
            }
        });
        // ProducerEngine::want_room()
        let want_room = || {
            words.room_slot.store(1, Relaxed);
            words.room_wanted.store(1, order(Step::RoomWantedStore, Release));
        };
        if !weak(Step::RoomWantedFirst) {
            want_room();
        }
        let sequence = words.enlist(1, Step::RoomSleeperFence);
        if weak(Step::RoomWantedFirst) {
            want_room();
        }
        let seen = words.cursor.load(Acquire) == 1;
        reader.join().unwrap();
        assert!(seen || !words.sleeps(1, sequence), "asleep for ever, with room there");
    });
}
