// Ringing: waking the processes that sleep on a segment.
//
// Called by the broker after every change that somebody may wait for. Works on memory that any client
// may write or cut, so everything is guarded and bounded; rings are hints, extra ones do no harm.
#pragma once

#include <cstdint>

#include "atoll/protocol/bell.hpp"
#include "atoll/protocol/word.hpp"

namespace atoll_ipc::daemon {

void futex_wake(protocol::Word32& word, int count) noexcept;

// Everybody in both lists of the segment's bell file.
void ring_sleepers(protocol::BellFile& bell, protocol::BellsFile& bells) noexcept;

// One process, whether or not it says it sleeps.
void ring_slot(protocol::BellsFile& bells, unsigned slot) noexcept;

// A slot that is given out anew starts awake.
void reset_bell(protocol::BellsFile& bells, unsigned slot) noexcept;

// Makes stores before it visible to processes that skip their fence. False where there is none.
bool process_wide_fence() noexcept;

}  // namespace atoll_ipc::daemon
