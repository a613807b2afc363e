#include "observer_reader.hpp"

#include <algorithm>
#include <cstring>
#include <deque>

#include "atoll/protocol/fence.hpp"

namespace atoll_ipc {

using protocol::Found;
using protocol::Place;

ObserverReader::ObserverReader(Attached attached, const ObserverOptions& options) : ReaderEngine(std::move(attached)), options_(options) {}

Result<void> ObserverReader::open() {
  if (auto adopted = adopt_files(); !adopted) return adopted;
  copies_ = true;
  for (const auto& lane : lanes_) lane_added(*lane);
  opened_ = true;
  return {};
}

void ObserverReader::lane_added(Lane& lane) {
  const protocol::Boundary earliest = protocol::earliest_boundary(*lane.header, geometry_.capacity);
  lane.position = earliest.position;
  lane.sequence = earliest.sequence;
  lane.started = true;
  // A lane that appears later is new: all of it is.
  if (opened_ || options_.start == Start::earliest) return;
  const std::uint64_t tail = lane.header->tail.load_acquire();
  if (options_.start == Start::latest) {
    lane.position = std::max(lane.position, tail);
    lane.sequence = lane.header->sequence.load_relaxed();
    return;
  }
  // N back: walk to the tail and remember where the last N records began.
  std::deque<protocol::Boundary> last;
  protocol::Boundary here = earliest;
  while (here.position < tail) {
    const Place place = protocol::look_at(lane.ring, geometry_, here.position);
    if (place.span == 0) break;
    if (place.found == Found::committed || place.found == Found::aborted) {
      here.sequence = protocol::whole_sequence(place.sequence, here.sequence);
      if (place.found == Found::committed) {
        last.push_back(here);
        if (last.size() > options_.back) last.pop_front();
      }
      ++here.sequence;
    }
    here.position += place.span;
  }
  const protocol::Boundary start = options_.back == 0 || last.empty() ? here : last.front();
  lane.position = start.position;
  lane.sequence = start.sequence;
}

bool ObserverReader::anything() {
  for (const auto& lane : lanes_) {
    if (lane->damaged) continue;
    if (decided_at(*lane, lane->position) || overtaken(*lane, lane->position)) return true;
  }
  return false;
}

bool ObserverReader::catch_up(Lane& lane) {
  const protocol::Boundary boundary = protocol::earliest_boundary(*lane.header, geometry_.capacity);
  if (boundary.position <= lane.position || boundary.position % geometry_.alignment != 0) return false;
  const std::uint64_t missed = boundary.sequence > lane.sequence ? boundary.sequence - lane.sequence : 0;
  lane.lost += missed;
  lost_ += missed;
  lane.position = boundary.position;
  lane.sequence = boundary.sequence;
  return true;
}

ObserverReader::Step ObserverReader::step(Lane& lane, Raw& out) {
  if (overtaken(lane, lane.position) && !catch_up(lane)) return Step::damaged;
  const std::uint64_t position = lane.position;
  if (position % geometry_.alignment != 0) return Step::damaged;  // the lane's own words led here
  const Place place = protocol::look_at(lane.ring, geometry_, position);
  const auto* header = reinterpret_cast<const protocol::RecordHeader*>(lane.ring + (position & (geometry_.capacity - 1)));
  const std::uint32_t commit = header->commit.load_relaxed();
  std::unique_ptr<std::byte[]> copy;
  std::byte* data = nullptr;
  if (place.found == Found::committed) {
    copy = std::make_unique<std::byte[]>(place.length + 64);
    data = reinterpret_cast<std::byte*>(protocol::round_up(reinterpret_cast<std::uintptr_t>(copy.get()), 64));
    std::memcpy(data, reinterpret_cast<const std::byte*>(header) + protocol::payload_offset(place.extension_length, geometry_.alignment), place.length);
  }
  protocol::acquire_fence();
  if (overtaken(lane, position)) {
    return catch_up(lane) ? Step::skipped : Step::damaged;
  }
  switch (place.found) {
    case Found::nothing:
    case Found::claimed: return Step::nothing;
    case Found::damaged: return Step::damaged;
    case Found::aborted: lane.sequence = protocol::whole_sequence(place.sequence, lane.sequence) + 1; [[fallthrough]];
    case Found::padding: lane.position += place.span; return Step::skipped;
    case Found::committed: break;
  }
  if (header->commit.load_relaxed() != commit) return Step::skipped;
  lane.sequence = protocol::whole_sequence(place.sequence, lane.sequence);
  out.data = data;
  out.length = place.length;
  out.sequence = lane.sequence++;
  out.lost = std::exchange(lane.lost, 0);
  out.lane = static_cast<std::uint16_t>(lane.number);
  out.content = protocol::content_of(place.flags);
  out.deliveries = 1;
  out.reserved = 0;
  out.token = next_token_++;
  copies_held_.emplace(out.token, Copy{{data, position + place.span, out.sequence, place.length, place.flags | static_cast<std::uint32_t>(place.extension_length) << 16}, std::move(copy)});
  lane.position += place.span;
  return Step::record;
}

Errc ObserverReader::fill(Raw* out, std::size_t max, std::size_t& count) {
  for (std::size_t quiet = 0; count < max && quiet < lanes_.size();) {
    Lane& lane = *lanes_[turn_ % lanes_.size()];
    if (lane.damaged) {
      ++turn_;
      ++quiet;
      continue;
    }
    switch (step(lane, out[count])) {
      case Step::record: ++count; ++received_; quiet = 0; break;
      case Step::skipped: break;
      case Step::damaged:
        if (const Errc code = damaged(lane, lane.position); code != Errc::ok) return code;
        break;
      case Step::nothing:
        ++turn_;
        ++quiet;
        break;
    }
  }
  return Errc::ok;
}

Errc ObserverReader::do_release(std::uint64_t token) {
  if (foreign()) return Errc::forked;
  return copies_held_.erase(token) == 1 ? Errc::ok : Errc::view_released;
}

}  // namespace atoll_ipc
