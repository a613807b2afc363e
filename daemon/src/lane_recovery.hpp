// Settling a lane that has no producer (any more): finding its true end and closing what was begun.
//
// Called when a producer died or detached, and before a lane is given on. Idempotent: a broker that
// is killed in the middle is followed by one that does it again. SPEC.md, "Recovery".
#pragma once

#include <cstdint>

#include "atoll/protocol/lane_walk.hpp"

namespace atoll_ipc::daemon {

struct SettledLane {
  std::uint64_t tail = 0;
  std::uint64_t sequence = 0;
  std::uint64_t aborted = 0;  // loans that were open
  bool damaged = false;       // bytes no producer writes: tail is where the sound part ends
};

// `file`: the lane's whole file, mapped read-write; call inside guarded(). Everything below the published
// tail is settled, so the walk starts there.
SettledLane settle_lane(std::byte* file, const protocol::RingGeometry& geometry) noexcept;

// Makes the lane ready for its next producer, or says that it has none: state, owner, wake mode.
void set_lane_owner(protocol::LaneHeader& lane, protocol::LaneState state, unsigned slot, std::uint32_t generation,
                    std::uint64_t producer_id) noexcept;

}  // namespace atoll_ipc::daemon
