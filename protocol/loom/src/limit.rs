//! The limit against a group that joins, and the checkpoints. SPEC.md, "Limit and groups" and "Checkpoints".

use crate::explore;
use crate::orders::{acquire_fence, full_fence, order, weak, Step};
use loom::sync::atomic::{AtomicU32, Ordering::*};
use loom::sync::Arc;
use loom::thread;

const CAPACITY: u32 = 2;

/// A producer without groups raises its limit from 2 to 4 while the broker makes a group at position 0. In the end what the
/// producer may write leaves what the group has still to read.
pub fn join() {
    struct Words {
        limit: AtomicU32,
        active: AtomicU32,
        cursor: AtomicU32,
    }
    explore(None, || {
        let words = Arc::new(Words { limit: AtomicU32::new(2), active: AtomicU32::new(0), cursor: AtomicU32::new(0) });
        let shared = words.clone();
        let producer = thread::spawn(move || {
            // ProducerEngine::raise_limit(). Published before: 2.
            if shared.active.load(Acquire) != 0 {
                return 2;
            }
            let mut granted = 4;
            // SYNC limit
            shared.limit.store(granted, Release);
            full_fence(Step::LimitFence);
            if !weak(Step::LimitSecondLook) && shared.active.load(Acquire) != 0 {
                granted = (shared.cursor.load(Acquire) + CAPACITY).clamp(2, granted);
                shared.limit.store(granted, Release);
            }
            granted
        });
        // SegmentStore::add_group(). SYNC groups
        words.cursor.store(0, Relaxed);
        words.active.fetch_or(1, SeqCst);
        full_fence(Step::JoinFence);
        let limit = words.limit.load(Acquire);
        if limit > CAPACITY {
            words.cursor.store(limit - CAPACITY, Release);
        }
        let granted = producer.join().unwrap();
        assert!(granted <= words.cursor.load(Relaxed) + CAPACITY, "permission to write over what the group has to read");
    });
}

/// A table of two checkpoints; the real one has 32.
const TABLE: u32 = 2;

#[derive(Default)]
struct Lane {
    limit: AtomicU32,
    count: AtomicU32,
    position: [AtomicU32; TABLE as usize],
    sequence: [AtomicU32; TABLE as usize],
}

impl Lane {
    /// The middle of raise_limit(): a checkpoint at `position`, then the limit. Its record has the number 10 times that; the
    /// checkpoint before it was at position - 1.
    fn raise(&self, position: u32) {
        let count = position - 1;
        let i = (count % TABLE) as usize;
        self.position[i].store(position, Relaxed);
        self.sequence[i].store(position * 10, Relaxed);
        self.count.store(count + 1, order(Step::CheckpointStore, Release));
        // SYNC limit: who sees it sees the checkpoint before it.
        self.limit.store(position + CAPACITY, order(Step::LimitStore, Release));
        full_fence(Step::LimitFenceBytes);
    }

    /// The loop of earliest_boundary(). Gives the number of checkpoints, and position and number of the newest one or, with
    /// `all`, of the oldest that may be used.
    fn newest(&self, all: bool) -> (u32, u32, u32) {
        let count = self.count.load(order(Step::CheckpointLoad, Acquire));
        let kept = if weak(Step::CheckpointReplaced) { TABLE } else { TABLE - 1 };
        let mut best = (count, 0, 0);
        let mut i = count;
        while i > 0 && i > count.saturating_sub(kept) {
            i -= 1;
            let k = (i % TABLE) as usize;
            let here = (count, self.position[k].load(Relaxed), self.sequence[k].load(Relaxed));
            acquire_fence(Step::CheckpointFence);
            if self.count.load(Relaxed) - i > kept {
                break;
            }
            best = here;
            if !all {
                break;
            }
        }
        best
    }
}

/// A checkpoint that a reader uses is one that the producer made, whole, though the producer goes on; and who sees a limit sees
/// the checkpoint that came before it.
pub fn checkpoint() {
    explore(Some(4), || {
        let lane = Arc::new(Lane::default());
        lane.raise(1);
        let shared = lane.clone();
        let producer = thread::spawn(move || {
            shared.raise(2);
            shared.raise(3);
            shared.raise(4);
        });
        let limit = lane.limit.load(order(Step::LimitLoad, Acquire));
        let (count, position, sequence) = lane.newest(true);
        assert_eq!(sequence, position * 10, "a checkpoint of two halves");
        assert!(limit < count + CAPACITY + 1, "limit {limit} came before its checkpoint, {count} are there");
        producer.join().unwrap();
    });
}

/// The first checkpoint, which no limit announces.
pub fn checkpoint_new() {
    explore(None, || {
        let lane = Arc::new(Lane::default());
        let shared = lane.clone();
        let producer = thread::spawn(move || shared.raise(1));
        let (count, position, sequence) = lane.newest(true);
        assert!(position == count && sequence == count * 10, "a checkpoint was counted before it was there");
        producer.join().unwrap();
    });
}
