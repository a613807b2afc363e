// The `header` file of a stream: what the broker tells everybody about the segment as it changes.
//
// One page. The broker writes; every client maps it read-only. A client that sees `changes` differ
// from its own copy asks the broker (Refresh) for the files it lacks. SPEC.md, "Segment header".
//
//   0            128           256    260           264      272              280            288
//   | HeaderPage | lanes       | state| groups      | changes| next generation | broker epoch | observers |
//   1024 .. 2048  kind-specific: a stream's when_full
#pragma once

#include <cstddef>
#include <cstdint>

#include "atoll/protocol/header_page.hpp"

namespace atoll_ipc::protocol {

enum class SegmentState : std::uint32_t {
  live = 1,      // in use
  removed = 2,   // the name is gone; mappings stay valid, nothing more is promised
  replaced = 3,  // a newer generation exists: next_generation
};

enum class WhenFull : std::uint32_t { block = 1, drop_new = 2, overwrite = 3 };

inline constexpr unsigned kMaxLanes = 64;
inline constexpr unsigned kMaxGroups = 16;

struct SegmentHeader {
  HeaderPage page;
  // Bit n: lane n exists. SYNC lanes: release by the broker after the lane's file is complete and
  // every group's cursor for it is set; acquire by consumers.
  alignas(128) Word64 active_lanes;
  // live -> removed | replaced, once.
  alignas(128) Word32 state;
  // Bit n: group n exists and holds records back. SYNC groups: broker stores, fences, then raises
  // the new group's cursors; a producer stores `limit`, fences, then loads this.
  Word32 active_groups;
  Word64 changes;  // +1 after every change of lanes, groups or state
  Word64 next_generation;
  Word64 broker_epoch;
  Word32 observers;  // how many are attached: a hint to producers, which keep what was read a little longer for them
  alignas(1024) Word32 when_full;  // WhenFull; constant
  std::uint8_t kind_specific[1020];
  std::uint8_t reserved[2048];
};
static_assert(offsetof(SegmentHeader, active_lanes) == 128);
static_assert(offsetof(SegmentHeader, state) == 256);
static_assert(offsetof(SegmentHeader, active_groups) == 260);
static_assert(offsetof(SegmentHeader, changes) == 264);
static_assert(offsetof(SegmentHeader, next_generation) == 272);
static_assert(offsetof(SegmentHeader, broker_epoch) == 280);
static_assert(offsetof(SegmentHeader, observers) == 288);
static_assert(offsetof(SegmentHeader, when_full) == 1024);
static_assert(sizeof(SegmentHeader) == kPageSize);

}  // namespace atoll_ipc::protocol
