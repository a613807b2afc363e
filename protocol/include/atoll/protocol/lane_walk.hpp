// Reading a lane's ring: what is at a position, and where a walk may start.
//
// Called by consumers, observers and the broker. Trusts nothing in the ring: whatever the bytes say,
// no result leads outside it. The geometry is the caller's private, checked copy.
// SPEC.md, "Records" and "Checkpoints".
#pragma once

#include <algorithm>
#include <cstdint>

#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/lane.hpp"
#include "atoll/protocol/record.hpp"

namespace atoll_ipc::protocol {

struct RingGeometry {
  std::uint64_t capacity = 0;  // a power of two
  unsigned capacity_log2 = 0;
  std::uint32_t alignment = 16;
};

enum class Found : std::uint8_t {
  nothing,    // EMPTY, or the word of another lap: the producer has not come this far, or (see `limit`) it is a lap ahead
  claimed,    // the producer (or the broker for it) will decide
  committed,  // a record to read
  aborted,    // skip it; it has a sequence number
  padding,    // skip it; it has none
  damaged,    // no producer writes this
};

struct Place {
  Found found = Found::nothing;
  std::uint8_t extension_length = 0;
  std::uint16_t flags = 0;
  std::uint32_t length = 0;
  std::uint32_t sequence = 0;  // low half
  std::uint64_t span = 0;      // to the next position; 0 unless the record is whole
};

// SYNC commit: the acquire load pairs with the producer's release store of the commit word.
[[nodiscard]] inline Place look_at(const std::byte* ring, const RingGeometry& geometry, std::uint64_t position) noexcept {
  Place place;
  if ((position & (geometry.alignment - 1)) != 0) {  // no boundary; a header there could lead out of the ring
    place.found = Found::damaged;
    return place;
  }
  const std::uint64_t offset = position & (geometry.capacity - 1);
  const auto* header = reinterpret_cast<const RecordHeader*>(ring + offset);
  const std::uint32_t commit = header->commit.load_acquire();
  const RecordState state = state_of(commit);
  if (state == RecordState::empty || !same_lap(commit, position, geometry.capacity_log2)) return place;
  place.length = __atomic_load_n(&header->length, __ATOMIC_RELAXED);
  place.sequence = __atomic_load_n(&header->sequence, __ATOMIC_RELAXED);
  place.flags = __atomic_load_n(&header->flags, __ATOMIC_RELAXED);
  place.extension_length = __atomic_load_n(&header->extension_length, __ATOMIC_RELAXED);
  const std::uint64_t span = record_span(place.length, place.extension_length, geometry.alignment);
  if (offset + span > geometry.capacity || payload_offset(place.extension_length, geometry.alignment) + place.length > span) {
    place.found = Found::damaged;
    return place;
  }
  place.span = span;
  switch (state) {
    case RecordState::claimed: place.found = Found::claimed; break;
    case RecordState::committed: place.found = Found::committed; break;
    case RecordState::aborted: place.found = Found::aborted; break;
    case RecordState::padding: place.found = offset + span == geometry.capacity ? Found::padding : Found::damaged; break;
    default: place.found = Found::damaged; break;
  }
  if (place.found == Found::damaged) place.span = 0;
  return place;
}

// Does the lane contradict itself? Everything below the published tail is settled, so there is no place there that
// says nothing, unless the reader was overtaken.
[[nodiscard]] inline bool nothing_below_tail(const LaneHeader& lane, const std::byte* ring, const RingGeometry& geometry, std::uint64_t position) noexcept {
  if (lane.tail.load_acquire() <= position || look_at(ring, geometry, position).found != Found::nothing) return false;
  acquire_fence();
  return lane.limit.load_relaxed() <= position + geometry.capacity;
}

// The whole sequence number whose low half is `low`, nearest to `near`.
[[nodiscard]] constexpr std::uint64_t whole_sequence(std::uint32_t low, std::uint64_t near) noexcept {
  return near + static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(low - static_cast<std::uint32_t>(near))));
}

struct Boundary {
  std::uint64_t position = 0;
  std::uint64_t sequence = 0;  // of the record there; exact at a checkpoint, a hint at the tail
};

// The newest record boundary at or before the record of number `most` that the lane tells of and that the producer has not
// permitted itself to overwrite; the oldest one, if none lies before it.
[[nodiscard]] inline Boundary boundary_before(const LaneHeader& lane, std::uint64_t capacity, std::uint64_t most) noexcept {
  const std::uint64_t limit = lane.limit.load_acquire();
  const std::uint64_t floor = limit > capacity ? limit - capacity : 0;
  if (floor == 0 && most == 0) return {};
  const std::uint64_t tail = lane.tail.load_acquire();
  Boundary best{tail, lane.sequence.load_relaxed()};
  const std::uint64_t count = lane.checkpoint_count.load_acquire();
  // The entry that comes next is not read: the producer may be writing over it, before it counts.
  const std::uint64_t oldest = count >= kCheckpoints ? count - kCheckpoints + 1 : 0;
  for (std::uint64_t i = count; i-- > oldest;) {
    const Checkpoint& checkpoint = lane.checkpoints[i % kCheckpoints];
    const Boundary here{checkpoint.position.load_relaxed(), checkpoint.sequence.load_relaxed()};
    acquire_fence();
    if (lane.checkpoint_count.load_relaxed() - i >= kCheckpoints) break;  // overwritten under us
    if (here.position < floor || here.position > best.position) break;
    best = here;
    if (most != 0 && here.sequence <= most) return best;
  }
  return floor == 0 ? Boundary{} : best;
}

// The oldest record boundary that the producer has not permitted itself to overwrite.
[[nodiscard]] inline Boundary earliest_boundary(const LaneHeader& lane, std::uint64_t capacity) noexcept { return boundary_before(lane, capacity, 0); }

}  // namespace atoll_ipc::protocol
