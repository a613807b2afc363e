//! put and get of a bytes segment: the change counter. SPEC.md, "Bytes".

use crate::explore;
use crate::orders::{acquire_fence, order, release_fence, Step};
use loom::sync::atomic::{AtomicU32, Ordering::*};
use loom::sync::Arc;
use loom::thread;

/// A get beside two puts gives version and content of one of them.
pub fn get() {
    #[derive(Default)]
    struct File {
        change: AtomicU32,
        version: AtomicU32,
        content: [AtomicU32; 2],
    }
    explore(None, || {
        let file = Arc::new(File::default());
        let shared = file.clone();
        let putter = thread::spawn(move || {
            for version in 1..3 {
                // BytesEngine::put(), under the lock.
                let changing = 2 * version - 1;
                shared.change.store(changing, Relaxed);
                release_fence(Step::BytesOddFence);
                for word in &shared.content {
                    word.store(version, Relaxed);
                }
                shared.version.store(version, Relaxed);
                shared.change.store(changing + 1, order(Step::BytesEvenStore, Release));
            }
        });
        // BytesEngine::get()
        let change = file.change.load(order(Step::BytesLoad, Acquire));
        if change & 1 == 0 {
            let version = file.version.load(Relaxed);
            let content = (file.content[0].load(Relaxed), file.content[1].load(Relaxed));
            acquire_fence(Step::BytesFence);
            if file.change.load(Relaxed) == change {
                assert_eq!(content, (version, version), "a get of two puts");
            }
        }
        putter.join().unwrap();
    });
}
