// Settling a lane that has no producer (any more): finding its true end and closing what was begun.
//
// Called when a producer died or detached, and before a lane is given on. Idempotent: a broker that
// is killed in the middle is followed by one that does it again. SPEC.md, "Recovery".
#pragma once

#include <cstdint>

#include "atoll/protocol/group.hpp"
#include "atoll/protocol/lane_walk.hpp"

namespace atoll_ipc::daemon {

struct SettledLane {
  std::uint64_t tail = 0;
  std::uint64_t sequence = 0;
  std::uint64_t aborted = 0;  // loans that were open
  bool damaged = false;       // bytes no producer writes: tail is where the sound part ends
  std::uint64_t readable_from = 0;  // whoever stands here or above, at a record, comes to the tail
  // Given on only where there can be no other: who stands at position 0, which readers still do, does not come to the tail,
  // or it is half way to the end of positions.
  bool last_resort = false;
};

// `file`: the lane's whole file, mapped read-write; call inside guarded(). Everything below the published
// tail is settled, so the walk starts there.
SettledLane settle_lane(std::byte* file, const protocol::RingGeometry& geometry) noexcept;

// Does a group that stands there in a settled lane come to its tail, or is it overtaken? Not so if the last producer left
// there what none writes. Believed where that would be too much to look at. Call inside guarded().
bool comes_through(const std::byte* file, const protocol::RingGeometry& geometry, const SettledLane& settled, const protocol::LanePosition& place) noexcept;

// Makes the lane ready for its next producer, or says that it has none: state, owner, wake mode.
void set_lane_owner(protocol::LaneHeader& lane, protocol::LaneState state, unsigned slot, std::uint32_t generation,
                    std::uint64_t producer_id) noexcept;

}  // namespace atoll_ipc::daemon
