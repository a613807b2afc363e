#include "lane_recovery.hpp"

#include "atoll/protocol/kill_point.hpp"

namespace atoll_ipc::daemon {
namespace {

using protocol::Found;

constexpr unsigned kMostPlaces = 1u << 18;  // below the tail, looked at in one lane: some milliseconds

// Walks from `at` to the first place below `limit` that says nothing. The sequence number follows the records.
void walk(std::byte* ring, const protocol::RingGeometry& geometry, std::uint64_t limit, protocol::Boundary at, SettledLane& out) noexcept {
  bool first = true;
  for (;;) {
    const protocol::Place place = protocol::look_at(ring, geometry, at.position);
    if (place.found == Found::nothing) break;
    // No record with what follows it reaches beyond what the producer permitted itself, which also ends every walk.
    if (place.found == Found::damaged || place.span == 0 || at.position + place.span + protocol::kRecordHeaderSize > limit) {
      out.damaged = true;
      break;
    }
    if (place.found != Found::padding) {
      // The published number may be one ahead of the published tail; every later record must follow the one before it.
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
  out.tail = at.position;
  out.sequence = at.sequence;
}

enum class Leads { there, nowhere, too_far };
enum class Count { all, from_the_first_record, none };

// Do the places from here on lead to `end`, and the records from the number here (or the one that the first says it has) to
// the number there?
Leads leads_to(const std::byte* ring, const protocol::RingGeometry& geometry, protocol::Boundary here, const protocol::Boundary& end, unsigned& places,
               Count count = Count::all) noexcept {
  for (; here.position < end.position; --places) {
    if (here.position % geometry.alignment != 0) return Leads::nowhere;
    if (places == 0) return Leads::too_far;
    const protocol::Place place = protocol::look_at(ring, geometry, here.position);
    if (place.found == Found::committed || place.found == Found::aborted) {
      if (count == Count::from_the_first_record) {
        here.sequence = protocol::whole_sequence(place.sequence, here.sequence);
        count = Count::all;
      }
      if (count == Count::all && static_cast<std::uint32_t>(here.sequence) != place.sequence) return Leads::nowhere;
      ++here.sequence;
    } else if (place.found != Found::padding) {
      return Leads::nowhere;
    }
    here.position += place.span;
  }
  return here.position == end.position && (here.sequence == end.sequence || count != Count::all) ? Leads::there : Leads::nowhere;
}

// Checkpoints are for the next producer's readers, too: one that is no boundary would show them, in the middle of somebody's
// payload, whatever the last producer liked. From the first one on that does not lead to the tail, they say nothing.
// Returns where the oldest one stands that does, or the tail.
std::uint64_t keep_sound_checkpoints(protocol::LaneHeader& lane, const std::byte* ring, const protocol::RingGeometry& geometry, std::uint64_t limit,
                                     protocol::Boundary end) noexcept {
  unsigned places = kMostPlaces;
  const std::uint64_t floor = limit > geometry.capacity ? limit - geometry.capacity : 0;
  const std::uint64_t count = lane.checkpoint_count.load_acquire();
  for (std::uint64_t i = count, left = count < protocol::kCheckpoints ? count : protocol::kCheckpoints; left > 0; --left) {
    protocol::Checkpoint& checkpoint = lane.checkpoints[--i % protocol::kCheckpoints];
    const protocol::Boundary here{checkpoint.position.load_relaxed(), checkpoint.sequence.load_relaxed()};
    if (here.position < floor || here.position == protocol::kNoBoundary) break;
    const Leads leads = here.position > end.position ? Leads::nowhere : leads_to(ring, geometry, here, end, places);
    if (leads == Leads::nowhere) checkpoint.position.store_release(protocol::kNoBoundary);
    if (leads != Leads::there) break;
    end = here;
  }
  return end.position;
}

}  // namespace

SettledLane settle_lane(std::byte* file, const protocol::RingGeometry& geometry) noexcept {
  auto& lane = *reinterpret_cast<protocol::LaneHeader*>(file);
  std::byte* ring = file + protocol::kPageSize;
  SettledLane out;
  const std::uint64_t limit = lane.limit.load_acquire();
  out.tail = lane.tail.load_acquire();
  out.sequence = lane.sequence.load_acquire();
  // A producer raises its limit to at most a lap above its published tail; with more, readers at the tail would take
  // themselves for overtaken. A tail never passes the limit. There has to be a place behind the tail.
  if (out.tail % geometry.alignment != 0 || out.tail > limit || limit - out.tail > geometry.capacity || limit > protocol::kEndOfPositions ||
      out.tail > protocol::kEndOfPositions - protocol::kRecordHeaderSize) {
    out.damaged = true;
    return out;
  }
  walk(ring, geometry, limit, {out.tail, out.sequence}, out);
  if (out.damaged) return out;
  // Order as a producer's: the limit that covers the terminator, the terminator, the number, the tail.
  auto* end = reinterpret_cast<protocol::RecordHeader*>(ring + (out.tail & (geometry.capacity - 1)));
  if (limit < out.tail + protocol::kRecordHeaderSize) lane.limit.store_release(out.tail + protocol::kRecordHeaderSize);
  ATOLL_KILL_POINT("broker.lane.limit");
  end->commit.store_release(protocol::commit_word(protocol::RecordState::empty, out.tail, geometry.capacity_log2));
  ATOLL_KILL_POINT("broker.lane.tail");
  lane.sequence.store_release(out.sequence);
  ATOLL_KILL_POINT("broker.lane.sequence");
  lane.tail.store_release(out.tail);
  const protocol::Boundary last{out.tail, out.sequence};
  out.readable_from = keep_sound_checkpoints(lane, ring, geometry, limit, last);
  out.last_resort = out.tail > protocol::kEndOfPositions / 2;
  if (limit <= geometry.capacity) {
    unsigned places = kMostPlaces;
    const Leads leads = leads_to(ring, geometry, {}, last, places);
    if (leads == Leads::there) out.readable_from = 0;
    out.last_resort = leads == Leads::nowhere;
  }
  return out;
}

bool comes_through(const std::byte* file, const protocol::RingGeometry& geometry, const SettledLane& settled, const protocol::LanePosition& place) noexcept {
  const std::uint64_t cursor = place.cursor.load_acquire();
  const std::uint64_t limit = reinterpret_cast<const protocol::LaneHeader*>(file)->limit.load_acquire();
  if (cursor >= settled.readable_from || (limit > geometry.capacity && cursor < limit - geometry.capacity)) return true;
  const std::byte* ring = file + protocol::kPageSize;
  unsigned places = kMostPlaces;
  // A consumer may have died between its two words: the number is then that of a record further on.
  const protocol::Boundary next{place.next.load_acquire(), place.next_sequence.load_acquire()};
  if (next.position > settled.tail) return false;
  const Leads to_next = leads_to(ring, geometry, {cursor, 0}, next, places, Count::none);
  if (to_next != Leads::there) return to_next == Leads::too_far;
  return leads_to(ring, geometry, next, {settled.tail, settled.sequence}, places, Count::from_the_first_record) != Leads::nowhere;
}

void set_lane_owner(protocol::LaneHeader& lane, protocol::LaneState state, unsigned slot, std::uint32_t generation,
                    std::uint64_t producer_id) noexcept {
  if (state == protocol::LaneState::owned) {
    // A new owner goes on with the stream, and its process may not be registered for membarrier.
    lane.finished.store_release(0);
    ATOLL_KILL_POINT("broker.lane.unfinished");
    lane.wake_mode.store_release(static_cast<std::uint32_t>(protocol::WakeMode::fenced));
    __atomic_store_n(&lane.owner_slot, static_cast<std::uint16_t>(slot), __ATOMIC_RELAXED);
    __atomic_store_n(&lane.owner_generation, generation, __ATOMIC_RELAXED);
    __atomic_store_n(&lane.producer_id, producer_id, __ATOMIC_RELAXED);
    ATOLL_KILL_POINT("broker.lane.owner");
  }
  ATOLL_KILL_POINT("broker.lane.state");
  lane.state.store_release(static_cast<std::uint32_t>(state));
}

}  // namespace atoll_ipc::daemon
