//! The memory orders that SPEC.md argues, as a table, and the switch that takes one of them away.
//!
//! Every access of the ports whose order matters names its `Step`. A run may weaken one step: a load or store becomes
//! relaxed, a fence vanishes, two stores change places. Each row says which check must then fail, or why none can.

use loom::sync::atomic::{fence, Ordering};
use std::sync::OnceLock;

pub enum Verdict {
    /// Without it this check fails.
    Fails(&'static str),
    /// Without it nothing can be seen to fail; why.
    Unseen(&'static str),
}
use Verdict::{Fails, Unseen};

macro_rules! steps {
    ($($step:ident $name:literal $sync:literal $place:literal $verdict:expr;)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Step { $($step),* }
        /// Step, its name, the pair (SYNC in the C++ code and SPEC.md), where the C++ code has it, and the verdict.
        pub const TABLE: &[(Step, &str, &str, &str, Verdict)] = &[$((Step::$step, $name, $sync, $place, $verdict)),*];
    };
}

steps! {
    CommitStore "commit_store" "commit" "fast_path.hpp: store(), producer_engine.cpp: settle()" Fails("lane_commit");
    CommitLoad "commit_load" "commit" "fast_path.hpp: Stretch::note(), lane_walk.hpp: look_at()" Fails("lane_commit");
    Terminator "terminator_before_commit" "commit" "fast_path.hpp: describe() before commit()" Fails("lane_commit");
    ManyCommit "many_first_last" "commit" "fast_path.hpp: store_many_fast()" Fails("lane_many");
    TailStore "tail_store" "tail" "fast_path.hpp: publish()" Fails("lane_commit");
    TailLoad "tail_load" "tail" "lane_walk.hpp: nothing_below_tail()" Fails("lane_commit");
    SequenceStore "sequence_store" "tail" "fast_path.hpp: publish()" Fails("lane_tail");
    SequenceLoad "sequence_load" "tail" "stream_parts.cpp: stable_tail()" Fails("lane_tail");
    SequenceFirst "sequence_before_tail" "tail" "fast_path.hpp: publish()" Fails("lane_tail");
    CursorStore "cursor_store" "cursor" "fast_path.hpp: release_fast(), shared_lock.cpp: RedoWriter::apply()" Fails("lane_cursor");
    CursorLoad "cursor_load" "cursor" "producer_engine.cpp: least_cursor()" Fails("lane_cursor");
    AckedStore "acked_store" "acked" "group_settle.cpp: settle(), fast_path.hpp: release_fast()" Fails("lane_acked");
    AckedLoad "acked_load" "acked" "group_recovery.cpp: settle_group()" Fails("lane_acked");
    LimitFence "limit_fence" "groups" "producer_engine.cpp: raise_limit()" Fails("limit_join");
    JoinFence "join_fence" "groups" "stream_parts.cpp: add_group()" Fails("limit_join");
    LimitSecondLook "limit_second_look" "groups" "producer_engine.cpp: raise_limit()" Fails("limit_join");
    RoomWantedFirst "room_wanted_before_enlisting" "room" "producer_engine.cpp: want_room()" Fails("bell_room");
    LimitFenceBytes "limit_fence_before_bytes" "limit" "producer_engine.cpp: raise_limit()" Fails("observer_copy");
    CopyFence "copy_fence" "limit" "observer_reader.cpp: step()" Fails("observer_copy");
    LimitStore "limit_store" "limit" "producer_engine.cpp: raise_limit()" Fails("limit_checkpoint");
    LimitLoad "limit_load" "limit" "lane_walk.hpp: earliest_boundary()" Fails("limit_checkpoint");
    CheckpointStore "checkpoint_store" "checkpoint" "producer_engine.cpp: raise_limit()" Fails("limit_checkpoint_new");
    CheckpointLoad "checkpoint_load" "checkpoint" "lane_walk.hpp: earliest_boundary()" Fails("limit_checkpoint_new");
    CheckpointFence "checkpoint_fence" "checkpoint" "lane_walk.hpp: earliest_boundary()" Fails("limit_checkpoint");
    CheckpointReplaced "checkpoint_replaced_next" "checkpoint" "lane_walk.hpp: earliest_boundary()" Fails("limit_checkpoint");
    GroupBit "active_groups_bit" "groups" "stream_parts.cpp: add_group()"
        Unseen("a producer gets a group's file from the broker, through the socket, before it reads a word of it");
    LaneBit "active_lanes_bit" "lanes" "stream_parts.cpp: add_lane()"
        Unseen("a client gets a lane's file from the broker, through the socket, before it reads a word of it");
    Incarnation "incarnation" "lanes" "stream_parts.cpp: add_lane()"
        Unseen("a consumer hears of a new incarnation from the broker, after the stores");
    Finished "finished" "finished" "producer_engine.cpp: finish()"
        Unseen("the word itself holds the position up to which a reader goes on reading");
    WakerFence "waker_fence" "sleep" "fast_path.hpp: somebody_sleeps()" Fails("bell_sleep");
    SleeperFence "sleeper_fence" "sleep" "bell_ringer.cpp: enlist_here() and membarrier" Fails("bell_sleep");
    SleeperSecondLook "sleeper_second_look" "sleep" "bell_ringer.hpp: Sleeper::sleep()" Fails("bell_sleep");
    ClearThenBump "clear_then_bump" "sleep" "bell_ringer.cpp: wake_slot()"
        Unseen("needs a second waker and a sleeper that comes round again; model/wake.pml bump_then_clear fails");
    SlotsThenSummary "slot_then_summary" "sleep" "bell_ringer.cpp: enlist()"
        Unseen("needs a sleeper that comes round again to a bit without its summary; model/wake.pml summary_before_slot fails");
    SummaryRelease "summary_release" "sleep" "bell_ringer.cpp: enlist()"
        Unseen("loom does a thread's read-modify-writes in program order, and so does x86; seq_cst keeps others to it");
    RoomFence "room_reader_fence" "room" "group_settle.cpp: cursor_moved(), fast_path.hpp: release_fast()" Fails("bell_room");
    RoomSleeperFence "room_sleeper_fence" "room" "bell_ringer.cpp: enlist_here() and membarrier" Fails("bell_room");
    RoomSummary "room_summary_load" "room" "group_settle.cpp: cursor_moved()"
        Unseen("a producer that misses the cursor fenced before the reader did, so the reader finds all that was stored before that fence");
    RoomWantedStore "room_wanted_store" "room" "producer_engine.cpp: want_room()"
        Unseen("as room_summary_load: a reader that finds the old room_slot rings in vain, and the producer finds the cursor");
    RoomWantedLoad "room_wanted_load" "room" "group_settle.cpp: cursor_moved()" Unseen("as room_wanted_store");
    LockTake "lock_take" "lock" "shared_lock.cpp: take_word()" Fails("lock_word");
    LockRelease "lock_release" "lock" "shared_lock.cpp: release()" Fails("lock_word");
    RedoCount "redo_count_after_entries" "redo" "shared_lock.cpp: RedoWriter::apply()" Fails("lock_redo");
    RedoClear "redo_cleared_last" "redo" "shared_lock.cpp: RedoWriter::apply()" Fails("lock_redo");
    RedoBeforeRelease "redo_applied_before_release" "redo" "group_recovery.cpp: settle_group()" Fails("lock_redo");
    RedoOrders "redo_count_release" "redo" "shared_lock.cpp, repair.hpp"
        Unseen("who repairs heard of the death from the kernel, which orders all that the dead process did; release keeps the compiler from moving stores across");
    BytesOddFence "bytes_odd_fence" "change" "bytes_engine.cpp: put()" Fails("bytes_get");
    BytesEvenStore "bytes_even_store" "change" "bytes_engine.cpp: put()" Fails("bytes_get");
    BytesLoad "bytes_first_load" "change" "bytes_engine.cpp: get()" Fails("bytes_get");
    BytesFence "bytes_copy_fence" "change" "bytes_engine.cpp: get()" Fails("bytes_get");
}

static WEAK: OnceLock<Option<Step>> = OnceLock::new();

/// Once, before the first check: the step that this process does without.
pub fn weaken(step: Option<Step>) {
    WEAK.set(step).expect("once");
}

pub fn weak(step: Step) -> bool {
    *WEAK.get().expect("weaken() comes first") == Some(step)
}

/// The order of an access: `strong`, or relaxed if this is the step to do without.
pub fn order(step: Step, strong: Ordering) -> Ordering {
    if weak(step) { Ordering::Relaxed } else { strong }
}

/// protocol::full_fence()
pub fn full_fence(step: Step) {
    if !weak(step) {
        fence(Ordering::SeqCst);
    }
}

/// protocol::acquire_fence()
pub fn acquire_fence(step: Step) {
    if !weak(step) {
        fence(Ordering::Acquire);
    }
}

/// protocol::release_fence()
pub fn release_fence(step: Step) {
    if !weak(step) {
        fence(Ordering::Release);
    }
}
