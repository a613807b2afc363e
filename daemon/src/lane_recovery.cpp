#include "lane_recovery.hpp"

#include "atoll/protocol/kill_point.hpp"

namespace atoll_ipc::daemon {
namespace {

using protocol::Found;

// Walks from `position` to the first empty place. The sequence number follows the records themselves.
void walk(std::byte* ring, const protocol::RingGeometry& geometry, protocol::Boundary at, SettledLane& out) noexcept {
  const std::uint64_t most = at.position + 2 * geometry.capacity;
  bool first = true;
  for (;;) {
    const protocol::Place place = protocol::look_at(ring, geometry, at.position);
    if (place.found == Found::nothing) break;
    if (place.found == Found::elsewhere || place.found == Found::damaged || at.position + place.span > most) {
      out.damaged = true;
      break;
    }
    if (place.found != Found::padding) {
      // The start's number may be a hint; every later record must follow the one before it.
      if (first) at.sequence = protocol::whole_sequence(place.sequence, at.sequence);
      if (static_cast<std::uint32_t>(at.sequence) != place.sequence) {
        out.damaged = true;
        break;
      }
      first = false;
      if (place.found == Found::claimed) {
        auto* header = reinterpret_cast<protocol::RecordHeader*>(ring + (at.position & (geometry.capacity - 1)));
        ATOLL_KILL_POINT("broker.lane.abort");
        header->commit.store_release(protocol::commit_word(protocol::RecordState::aborted, at.position, geometry.capacity_log2));
        ++out.aborted;
      }
      ++at.sequence;
    }
    at.position += place.span;
  }
  if (at.position >= out.tail) {
    out.tail = at.position;
    out.sequence = at.sequence;
  }
}

}  // namespace

SettledLane settle_lane(std::byte* file, const protocol::RingGeometry& geometry, const std::uint64_t* starts,
                        std::size_t start_count) noexcept {
  auto& lane = *reinterpret_cast<protocol::LaneHeader*>(file);
  std::byte* ring = file + protocol::kPageSize;
  SettledLane out;
  const std::uint64_t limit = lane.limit.load_acquire();
  const std::uint64_t hint = lane.tail.load_acquire();
  const std::uint64_t floor = limit > geometry.capacity ? limit - geometry.capacity : 0;
  // A limit that no producer publishes, or a tail outside what it allows.
  if (hint % geometry.alignment != 0 || hint > limit + geometry.capacity || limit > hint + 2 * geometry.capacity + 64) {
    out.damaged = true;
    out.tail = hint;
    out.sequence = lane.sequence.load_relaxed();
    return out;
  }
  protocol::Boundary earliest = protocol::earliest_boundary(lane, geometry.capacity);
  if (earliest.position % geometry.alignment != 0 || earliest.position > hint) earliest = {hint, lane.sequence.load_relaxed()};
  for (std::size_t i = 0; i < start_count; ++i)
    if (starts[i] >= floor && starts[i] < earliest.position && starts[i] % geometry.alignment == 0) {
      const protocol::Place place = protocol::look_at(ring, geometry, starts[i]);
      if (place.found == Found::claimed || place.found == Found::committed || place.found == Found::aborted || place.found == Found::padding)
        earliest = {starts[i], earliest.sequence};
    }
  walk(ring, geometry, earliest, out);
  if (out.damaged) return out;
  // Order as a producer's: the terminator, then the limit that covers it, then the tail.
  auto* end = reinterpret_cast<protocol::RecordHeader*>(ring + (out.tail & (geometry.capacity - 1)));
  if (limit < out.tail + protocol::kRecordHeaderSize) lane.limit.store_release(out.tail + protocol::kRecordHeaderSize);
  end->commit.store_release(protocol::commit_word(protocol::RecordState::empty, out.tail, geometry.capacity_log2));
  ATOLL_KILL_POINT("broker.lane.tail");
  lane.sequence.store_release(out.sequence);
  lane.tail.store_release(out.tail);
  return out;
}

void set_lane_owner(protocol::LaneHeader& lane, protocol::LaneState state, unsigned slot, std::uint32_t generation,
                    std::uint64_t producer_id) noexcept {
  if (state == protocol::LaneState::owned) {
    // A new owner goes on with the stream, and its process may not be registered for membarrier.
    lane.finished.store_release(0);
    lane.wake_mode.store_release(static_cast<std::uint32_t>(protocol::WakeMode::fenced));
    __atomic_store_n(&lane.owner_slot, static_cast<std::uint16_t>(slot), __ATOMIC_RELAXED);
    __atomic_store_n(&lane.owner_generation, generation, __ATOMIC_RELAXED);
    __atomic_store_n(&lane.producer_id, producer_id, __ATOMIC_RELAXED);
  }
  ATOLL_KILL_POINT("broker.lane.state");
  lane.state.store_release(static_cast<std::uint32_t>(state));
}

}  // namespace atoll_ipc::daemon
