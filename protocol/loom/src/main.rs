//! Runs one weak-memory check in this process, or lists what there is to run. Called by `run`.
//!
//!     atoll-loom list                one line each: "check NAME", "twin STEP CHECK", "unseen STEP REASON"
//!     atoll-loom CHECK [STEP]        explores CHECK, without STEP if that is given; prints "executions N"
//!
//! A check that fails panics, with status 101.

mod bell;
mod bytes;
mod lane;
mod limit;
mod lock;
mod observer;
mod orders;

use orders::{Verdict, TABLE};
use std::sync::atomic::{AtomicU64, Ordering};

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Explores every execution of `body`, with at most `preemptions` switches that no thread asked for.
pub fn explore(preemptions: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        body()
    });
}

const CHECKS: &[(&str, fn())] = &[
    ("lane_commit", lane::commit),
    ("lane_many", lane::many),
    ("lane_tail", lane::tail),
    ("lane_cursor", lane::cursor),
    ("lane_acked", lane::acked),
    ("limit_join", limit::join),
    ("limit_checkpoint", limit::checkpoint),
    ("limit_checkpoint_new", limit::checkpoint_new),
    ("observer_copy", observer::copy),
    ("bell_sleep", bell::sleep),
    ("bell_room", bell::room),
    ("lock_word", lock::word),
    ("lock_redo", lock::redo),
    ("bytes_get", bytes::get),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_none_or(|w| w == "list") {
        for (name, _) in CHECKS {
            println!("check {name}");
        }
        for (_, name, sync, place, verdict) in TABLE {
            match verdict {
                Verdict::Fails(check) => println!("twin {name} {check}"),
                Verdict::Unseen(reason) => println!("unseen {name} {reason} (SYNC {sync}, {place})"),
            }
        }
        return;
    }
    let check = CHECKS.iter().find(|(name, _)| *name == words[0]).unwrap_or_else(|| panic!("no check {}", words[0])).1;
    orders::weaken(words.get(1).map(|step| TABLE.iter().find(|row| row.1 == step).unwrap_or_else(|| panic!("no step {step}")).0));
    check();
    println!("executions {}", EXECUTIONS.load(Ordering::Relaxed));
}
