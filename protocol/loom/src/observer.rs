//! Reading what may be overwritten: look, copy, look again. SPEC.md, "Observers" and "Groups" (overwrite).

use crate::explore;
use crate::orders::{acquire_fence, full_fence, Step};
use loom::sync::atomic::{AtomicU32, Ordering::*};
use loom::sync::Arc;
use loom::thread;

/// A ring of one place whose producer never waits. A copy that an observer delivers is whole and the record it says it is.
/// Payloads are copied word by word, as the C++ code may.
pub fn copy() {
    #[derive(Default)]
    struct Lane {
        limit: AtomicU32,
        commit: AtomicU32,
        payload: [AtomicU32; 2],
    }
    explore(None, || {
        let lane = Arc::new(Lane::default());
        let shared = lane.clone();
        let producer = thread::spawn(move || {
            for lap in 0..3 {
                // SYNC limit: before any byte is touched.
                shared.limit.store(lap + 1, Release);
                full_fence(Step::LimitFenceBytes);
                for word in &shared.payload {
                    word.store(lap + 100, Relaxed);
                }
                shared.commit.store(2 + 8 * lap, Release);
            }
        });
        // ObserverReader::step() at position 0, the first lap.
        if lane.limit.load(Acquire) <= 1 && lane.commit.load(Acquire) == 2 {
            let again = lane.commit.load(Relaxed);
            let copy = (lane.payload[0].load(Relaxed), lane.payload[1].load(Relaxed));
            acquire_fence(Step::CopyFence);
            if lane.limit.load(Acquire) <= 1 && lane.commit.load(Relaxed) == again {
                assert_eq!(copy, (100, 100), "a copy of what came after");
            }
        }
        producer.join().unwrap();
    });
}
