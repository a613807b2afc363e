#include "group_reader.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/kill_point.hpp"

namespace atoll_ipc {

using protocol::Claim;
using protocol::ClaimState;
using protocol::Found;
using protocol::LanePosition;
using protocol::Place;

namespace {

constexpr unsigned kMostSkips = 4096;  // places without a record passed in one walk

// The first eight bytes of a claim: state, slot, slot generation.
std::uint64_t claim_head(ClaimState state, unsigned slot, std::uint32_t generation) {
  return static_cast<std::uint64_t>(state) | static_cast<std::uint64_t>(slot & 0xffff) << 16 | static_cast<std::uint64_t>(generation) << 32;
}
// The second eight: lane, count, deliveries.
std::uint64_t claim_body(unsigned lane, unsigned count, unsigned deliveries) {
  return static_cast<std::uint64_t>(lane & 0xffff) | static_cast<std::uint64_t>(count & 0xffff) << 16 | static_cast<std::uint64_t>(deliveries & 0xffff) << 32;
}
std::uint64_t word_at(const Claim& claim, std::size_t offset) {
  return reinterpret_cast<const protocol::Word64*>(reinterpret_cast<const std::byte*>(&claim) + offset)->load_acquire();
}
const std::byte* field(const Claim& claim, std::size_t offset) { return reinterpret_cast<const std::byte*>(&claim) + offset; }

}  // namespace

GroupReader::GroupReader(Attached attached, const ConsumerOptions& options)
    : ReaderEngine(std::move(attached)), manual_(options.manual), prefetch_(options.prefetch) {}

Result<void> GroupReader::open(bool interruptible) {
  auto group = attached_.take(protocol::Role::group);
  if (!group) return tl::unexpected(group.error());
  group_mapping_ = std::move(*group);
  group_ = group_mapping_.as<protocol::GroupFile>();
  if (auto adopted = adopt_files(interruptible); !adopted) return adopted;
  exclusive_ = (group_->flags & protocol::kGroupExclusive) != 0;
  copies_ = attached_.manifest.when_full == protocol::WhenFull::overwrite;
  for (const auto& lane : lanes_) lane_added(*lane);
  return {};
}

GroupReader::~GroupReader() {
  if (group_ != nullptr && !foreign()) leave();
}

void GroupReader::lane_added(Lane& lane) {
  if (!exclusive_) return;
  const LanePosition& place = place_of(lane);
  lane.position = place.cursor.load_acquire();
  lane.redelivered_below = place.next.load_acquire();
  lane.sequence = place.next_sequence.load_acquire();
  lane.started = true;
}

std::uint64_t GroupReader::lock_key() const noexcept {
  return attached_.manifest.generation * 31 + attached_.group_id;
}

GroupReader::Lane* GroupReader::lane_of(unsigned number) noexcept {
  for (const auto& lane : lanes_)
    if (lane->number == number) return lane.get();
  return nullptr;
}

// How many records to claim at once: alone in the group many, else few, so that the work is shared.
unsigned GroupReader::most() const noexcept {
  if (prefetch_ != 0) return prefetch_;
  const bool alone = exclusive_ || group_->members.load_relaxed() <= 1;
  return manual_ ? (alone ? 16 : 1) : alone ? protocol::kClaimRecords : 16;
}

std::uint64_t GroupReader::outstanding() const {
  std::uint64_t n = 0;
  for (const auto& batch : batches_) {
    if (batch->finished) continue;
    const std::uint64_t given = batch->given == 64 ? ~0ull : (1ull << batch->given) - 1;
    n += static_cast<std::uint64_t>(std::popcount(given & ~(batch->released & (batch->acked | batch->rejected))));
  }
  return n;
}

bool GroupReader::anything() {
  if (current_ != nullptr) return true;
  if (!exclusive_ && group_->returned.load_relaxed() > 0) return true;
  for (const auto& lane : lanes_) {
    if (lane->damaged) continue;
    const std::uint64_t next = exclusive_ ? lane->position : place_of(*lane).next.load_acquire();
    const auto* header = reinterpret_cast<const protocol::RecordHeader*>(lane->ring + ((next & (geometry_.capacity - 1)) & ~15ull));
    const auto state = protocol::state_of(header->commit.load_acquire());
    if (state != protocol::RecordState::empty && state != protocol::RecordState::claimed) return true;
    // Overtaken; or, with values that no consumer writes, where nothing can ever come: claim() tells which.
    const std::uint64_t limit = lane->header->limit.load_acquire();
    if ((copies_ && limit > next + geometry_.capacity) || next > limit) return true;
  }
  return false;
}

bool GroupReader::lane_read(const Lane& lane, std::uint64_t end) {
  return (exclusive_ ? lane.position : place_of(lane).next.load_acquire()) >= end;
}

bool GroupReader::others_hold() {
  if (exclusive_) return false;
  if (group_->returned.load_relaxed() > 0) return true;
  const std::uint64_t used = std::min<std::uint64_t>(group_->claims_used.load_acquire(), protocol::kClaims);
  for (std::uint64_t i = 0; i < used; ++i) {
    if (static_cast<ClaimState>(group_->claims[i].state.load_acquire()) == ClaimState::free) continue;
    const bool mine = std::any_of(batches_.begin(), batches_.end(), [&](const auto& batch) { return !batch->finished && batch->claim == static_cast<int>(i); });
    if (!mine) return true;
  }
  return false;
}

GroupReader::Run GroupReader::walk(const Lane& lane, std::uint64_t position, std::uint64_t sequence, unsigned limit, Item* items) const noexcept {
  Run run{position, sequence, sequence, 0, false};
  for (unsigned skips = 0; run.count < limit && skips < kMostSkips;) {
    const Place place = protocol::look_at(lane.ring, geometry_, run.end);
    if (place.found == Found::committed) {
      run.next_sequence = protocol::whole_sequence(place.sequence, run.next_sequence);
      if (run.count == 0) run.first_sequence = run.next_sequence;
      items[run.count] = {run.end, run.end + place.span, run.next_sequence, place.length, place.flags, place.extension_length};
      run.end += place.span;
      ++run.count;
      ++run.next_sequence;
    } else if (place.found == Found::aborted || place.found == Found::padding) {
      if (place.found == Found::aborted) run.next_sequence = protocol::whole_sequence(place.sequence, run.next_sequence) + 1;
      run.end += place.span;
      ++skips;
    } else {
      run.damaged = place.found == Found::damaged || place.found == Found::elsewhere;
      break;
    }
  }
  return run;
}

GroupReader::Batch& GroupReader::spare_batch() {
  if (!spare_) spare_ = std::make_unique<Batch>();
  return *spare_;
}

GroupReader::Batch& GroupReader::keep(Lane& lane) {
  Batch& batch = spare_batch();
  batch.serial = next_serial_++;
  batch.mapping = lane.mapping;
  batch.lane = lane.number;
  batch.ring = lane.ring;
  batch.claim = -1;
  batch.deliveries = 1;
  batch.given = 0;
  batch.released = batch.acked = batch.rejected = batch.done = 0;
  batch.redelivered_below = 0;
  batch.finished = false;
  batch.copies.clear();
  batches_.push_back(std::move(spare_));
  return batch;
}

// An overwrite stream whose producer has gone on: to the earliest boundary, counting what is missed.
bool GroupReader::catch_up(Lane& lane, std::uint64_t& next, std::uint64_t& sequence, RedoWriter* redo) {
  const std::uint64_t limit = lane.header->limit.load_acquire();
  if (limit <= next + geometry_.capacity) return true;
  const protocol::Boundary boundary = protocol::earliest_boundary(*lane.header, geometry_.capacity);
  if (boundary.position <= next || boundary.position % geometry_.alignment != 0) return false;
  LanePosition& place = place_of(lane);
  const std::uint64_t missed = boundary.sequence > sequence ? boundary.sequence - sequence : 0;
  place.lost.store_relaxed(place.lost.load_relaxed() + missed);
  lane.lost += missed;
  lost_ += missed;
  next = boundary.position;
  sequence = boundary.sequence;
  if (redo != nullptr) {
    redo->add(&place.next, next);
    redo->add(&place.next_sequence, sequence);
    redo->apply();
  } else {
    place.next_sequence.store_relaxed(sequence);
    place.next.store_release(next);
    place.cursor.store_release(next);
  }
  return true;
}

// Could a consumer have stored these? `next` lies in what the lane's limit keeps, the cursor at most a lap below.
bool GroupReader::possible(const Lane& lane, std::uint64_t cursor, std::uint64_t next) const noexcept {
  const std::uint64_t limit = lane.header->limit.load_acquire();
  const std::uint64_t floor = limit > geometry_.capacity ? limit - geometry_.capacity : 0;
  return next % geometry_.alignment == 0 && next <= limit && (copies_ || (next >= floor && cursor <= next && next - cursor <= geometry_.capacity));
}

// Group and lane contradict each other: told once, then this lane is left alone and the others go on.
Errc GroupReader::impossible(Lane& lane, std::uint64_t next) {
  lane.damaged = true;
  problem_ = Error(Errc::group_damaged, "the file of group '" + attached_.attachment->group + "' of '" + attached_.manifest.name + "' has position " +
                                            std::to_string(next) + " in lane " + std::to_string(lane.number) + ", where no consumer can stand", attached_.manifest.name, next);
  return Errc::group_damaged;
}

Errc GroupReader::claim(Batch*& batch) {
  batch = nullptr;
  if (!anything()) return Errc::ok;
  return exclusive_ ? claim_exclusive(batch) : claim_shared(batch);
}

Errc GroupReader::claim_exclusive(Batch*& out) {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    Lane& lane = *lanes_[(turn_ + i) % lanes_.size()];
    if (lane.damaged) continue;
    if (copies_ && !catch_up(lane, lane.position, lane.sequence, nullptr)) return impossible(lane, lane.position);
    if (!possible(lane, place_of(lane).cursor.load_relaxed(), lane.position)) return impossible(lane, lane.position);
    const Run run = walk(lane, lane.position, lane.sequence, most(), spare_batch().items.data());
    if (run.end == lane.position) {
      if (run.damaged && !copies_)
        if (const Errc code = damaged(lane, run.end); code != Errc::ok) return code;
      continue;
    }
    LanePosition& place = place_of(lane);
    const std::uint64_t begin = lane.position;
    lane.position = run.end;
    lane.sequence = run.next_sequence;
    if (run.end > place.next.load_relaxed()) {
      place.next_sequence.store_relaxed(run.next_sequence);
      place.next.store_release(run.end);
    }
    ATOLL_KILL_POINT("claim.exclusive");
    if (run.count == 0) {
      // Only padding and aborted records: nobody waits for them.
      const bool open = std::any_of(batches_.begin(), batches_.end(), [&](const auto& batch) { return !batch->finished && batch->lane == lane.number; });
      if (!open) {
        place.cursor.store_release(run.end);
        cursor_moved();
      }
      return claim(out);
    }
    Batch& batch = keep(lane);
    batch.count = batch.known = run.count;
    batch.begin = begin;
    batch.end = run.end;
    batch.redelivered_below = lane.redelivered_below;
    turn_ = (turn_ + i + 1) % lanes_.size();
    out = &batch;
    return Errc::ok;
  }
  return Errc::ok;
}

std::uint64_t GroupReader::least_begin(unsigned lane, int except, std::uint64_t otherwise) const noexcept {
  std::uint64_t least = otherwise;
  const std::uint64_t used = std::min<std::uint64_t>(group_->claims_used.load_acquire(), protocol::kClaims);
  for (std::uint64_t i = 0; i < used; ++i) {
    const Claim& claim = group_->claims[i];
    if (static_cast<int>(i) == except || static_cast<ClaimState>(claim.state.load_acquire()) == ClaimState::free) continue;
    if ((word_at(claim, 8) & 0xffff) == lane) least = std::min(least, word_at(claim, 16));
  }
  return least;
}

Errc GroupReader::claim_shared(Batch*& out) {
  Session& session = *attached_.session;
  me_ = claim_head(ClaimState::held, session.slot(), session.slot_generation());
  SharedLock lock(session, group_->lock, lock_key());
  if (const Errc taken = lock.take(Deadline::in(std::chrono::seconds(10)), interruptible_, [&] { static_cast<void>(protocol::repair_group(*group_)); }); taken != Errc::ok)
    return taken == Errc::timed_out ? Errc::lock_stuck : taken;
  RedoWriter redo(group_mapping_.data(), group_->redo);
  if (group_->returned.load_relaxed() > 0) {
    if (const Errc code = take_returned(redo, out); code != Errc::ok || out != nullptr) return code;
  }
  const std::uint64_t used = group_->claims_used.load_relaxed();
  if (used > protocol::kClaims) {
    problem_ = Error(Errc::group_damaged, "the file of group '" + attached_.attachment->group + "' of '" + attached_.manifest.name + "' counts " + std::to_string(used) + " claims", attached_.manifest.name, used);
    return Errc::group_damaged;
  }
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    Lane& lane = *lanes_[(turn_ + i) % lanes_.size()];
    if (lane.damaged) continue;
    LanePosition& place = place_of(lane);
    if (place.incarnation.load_acquire() != lane.incarnation) continue;  // our file is old: refreshed at the next look
    std::uint64_t next = place.next.load_relaxed();
    std::uint64_t sequence = place.next_sequence.load_relaxed();
    if (copies_ && !catch_up(lane, next, sequence, &redo)) return impossible(lane, next);
    if (!possible(lane, place.cursor.load_relaxed(), next)) return impossible(lane, next);
    const Run run = walk(lane, next, sequence, most(), spare_batch().items.data());
    if (run.end == next) {
      if (run.damaged && !copies_)
        if (const Errc code = damaged(lane, next); code != Errc::ok) return code;
      continue;
    }
    if (run.count == 0) {
      redo.add(&place.next, run.end);
      redo.add(&place.next_sequence, run.next_sequence);
      const bool open = least_begin(lane.number, -1, ~0ull) != ~0ull;
      if (!open) redo.add(&place.cursor, run.end);
      redo.apply();
      if (!open) cursor_moved();
      --i;
      continue;
    }
    // The lowest free entry keeps the used part short.
    std::uint64_t entry = 0;
    while (entry < used && static_cast<ClaimState>(group_->claims[entry].state.load_relaxed()) != ClaimState::free) ++entry;
    if (entry == protocol::kClaims) {
      problem_ = Error(Errc::too_many_unacknowledged, "group '" + attached_.attachment->group + "' of '" + attached_.manifest.name + "' has 512 batches of records that are not acknowledged", attached_.manifest.name, 512);
      return Errc::too_many_unacknowledged;
    }
    Claim& claim = group_->claims[entry];
    redo.add(field(claim, 8), claim_body(lane.number, run.count, 1));
    redo.add(field(claim, 16), next);
    redo.add(field(claim, 24), run.end);
    redo.add(field(claim, 32), run.first_sequence);
    redo.add(field(claim, 40), 0);
    redo.add(field(claim, 0), me_);
    redo.add(&place.next_sequence, run.next_sequence);
    redo.add(&place.next, run.end);
    if (entry >= used) redo.add(&group_->claims_used, entry + 1);
    Batch& batch = keep(lane);
    redo.apply();
    batch.claim = static_cast<int>(entry);
    batch.count = batch.known = run.count;
    batch.begin = next;
    batch.end = run.end;
    turn_ = (turn_ + i + 1) % lanes_.size();
    out = &batch;
    return Errc::ok;
  }
  return Errc::ok;
}

Errc GroupReader::take_returned(RedoWriter& redo, Batch*& out) {
  const std::uint64_t used = std::min<std::uint64_t>(group_->claims_used.load_relaxed(), protocol::kClaims);
  std::uint64_t entry = used;
  Lane* lane = nullptr;
  bool sane = true;
  bool one = false;
  for (std::uint64_t i = 0; i < used; ++i) {
    const Claim& claim = group_->claims[i];
    const auto state = static_cast<ClaimState>(claim.state.load_acquire());
    if (state > ClaimState::returned) sane = false;
    if (state != ClaimState::returned) continue;
    one = true;
    if ((word_at(claim, 8) & 0xffff) >= protocol::kMaxLanes) sane = false;
    // Oldest first; a lane we have not mapped yet is for the next look.
    Lane* here = lane_of(static_cast<unsigned>(word_at(claim, 8) & 0xffff));
    if (here == nullptr || here->damaged) continue;
    if (entry == used || word_at(claim, 16) < word_at(group_->claims[entry], 16)) {
      entry = i;
      lane = here;
    }
  }
  if (!sane || !one) {
    problem_ = Error(Errc::group_damaged, "the claims of group '" + attached_.attachment->group + "' of '" + attached_.manifest.name + "' hold values that no consumer writes", attached_.manifest.name);
    return Errc::group_damaged;
  }
  if (entry == used) return Errc::ok;
  Claim& claim = group_->claims[entry];
  const std::uint64_t body = word_at(claim, 8);
  const auto count = static_cast<unsigned>(body >> 16 & 0xffff);
  const auto deliveries = static_cast<unsigned>(body >> 32 & 0xffff);
  const std::uint64_t begin = word_at(claim, 16);
  const std::uint64_t end = word_at(claim, 24);
  if (count == 0 || count > protocol::kClaimRecords || begin >= end || begin % geometry_.alignment != 0 || end - begin > geometry_.capacity) {
    problem_ = Error(Errc::group_damaged, "claim " + std::to_string(entry) + " of group '" + attached_.attachment->group + "' of '" + attached_.manifest.name + "' holds values that no consumer writes", attached_.manifest.name, entry);
    return Errc::group_damaged;
  }
  const unsigned again = deliveries < 0xffff ? deliveries + 1 : deliveries;
  redo.add(field(claim, 8), claim_body(lane->number, count, again));
  redo.add(field(claim, 0), me_);
  redo.add(&group_->returned, group_->returned.load_relaxed() - 1);
  const Run run = walk(*lane, begin, word_at(claim, 32), count, spare_batch().items.data());
  Batch& batch = keep(*lane);
  redo.apply();
  batch.claim = static_cast<int>(entry);
  batch.deliveries = static_cast<std::uint16_t>(again);
  batch.count = count;
  batch.begin = begin;
  batch.end = end;
  // Records beyond the claim's end: somebody scribbled there.
  for (batch.known = run.count; batch.known > 0 && batch.items[batch.known - 1].end > end;) --batch.known;
  batch.done = claim.acked.load_acquire() & batch.all();
  batch.released = batch.acked = batch.done;
  if (again > 1) {
    LanePosition& place = place_of(*lane);
    place.redelivered.store_relaxed(place.redelivered.load_relaxed() + static_cast<std::uint64_t>(std::popcount(batch.all() & ~batch.done)));
  }
  out = &batch;
  return Errc::ok;
}

// The batch's next record into `out`; false if it has none any more.
bool GroupReader::give(Batch& batch, Raw& out) {
  while (batch.given < batch.count) {
    const unsigned index = batch.given;
    const std::uint64_t bit = 1ull << index;
    if (index >= batch.known) {
      // An overwrite stream that went on, or a lane that was scribbled on after the claim.
      const std::uint64_t rest = batch.all() & ~(bit - 1);
      Lane* lane = lane_of(batch.lane);
      const auto missed = static_cast<std::uint64_t>(std::popcount(rest & ~batch.done));
      lost_ += missed;
      if (lane != nullptr) lane->lost += missed;
      LanePosition& counters = group_->lanes[batch.lane];
      counters.lost.store_relaxed(counters.lost.load_relaxed() + missed);
      batch.given = batch.count;
      batch.released |= rest;
      batch.acked |= rest;
      static_cast<void>(settle(batch));
      return false;
    }
    const Item& item = batch.items[index];
    ++batch.given;
    if ((batch.done & bit) != 0) continue;  // acknowledged by an earlier holder
    const std::byte* data = batch.ring + (item.position & (geometry_.capacity - 1)) + protocol::payload_offset(item.extension_length, geometry_.alignment);
    Lane* lane = lane_of(batch.lane);
    if (copies_) {
      auto copy = std::make_unique<std::byte[]>(item.length + 64);
      std::byte* aligned = reinterpret_cast<std::byte*>(protocol::round_up(reinterpret_cast<std::uintptr_t>(copy.get()), 64));
      std::memcpy(aligned, data, item.length);
      protocol::acquire_fence();
      const auto* header = batch.mapping->as<const protocol::LaneHeader>();
      if (header->limit.load_relaxed() > item.position + geometry_.capacity) {
        ++lost_;
        if (lane != nullptr) ++lane->lost;
        LanePosition& counters = group_->lanes[batch.lane];
        counters.lost.store_relaxed(counters.lost.load_relaxed() + 1);
        batch.released |= bit;
        batch.acked |= bit;
        if (batch.given == batch.count) {
          static_cast<void>(settle(batch));
          return false;
        }
        continue;
      }
      if (batch.copies.size() < batch.count) batch.copies.resize(batch.count);
      batch.copies[index] = std::move(copy);
      data = aligned;
    }
    out.data = data;
    out.length = item.length;
    out.sequence = item.sequence;
    out.lost = 0;
    if (lane != nullptr && lane->lost != 0) out.lost = std::exchange(lane->lost, 0);
    out.lane = static_cast<std::uint16_t>(batch.lane);
    out.content = protocol::content_of(item.flags);
    out.deliveries = item.position < batch.redelivered_below ? 2 : batch.deliveries;
    out.reserved = 0;
    out.token = batch.serial << 6 | index;
    return true;
  }
  return false;
}

Errc GroupReader::fill(Raw* out, std::size_t max, std::size_t& count) {
  while (count < max) {
    if (current_ == nullptr) {
      if (const Errc code = claim(current_); code != Errc::ok) return code;
      if (current_ == nullptr) break;
    }
    Batch& batch = *current_;
    if (give(batch, out[count])) ++count;
    if (batch.given == batch.count) {
      current_ = nullptr;
      // Everything in it may have been acknowledged by an earlier holder.
      if (!batch.finished && batch.done == batch.all()) static_cast<void>(settle(batch));
      drop_finished();
    }
  }
  return Errc::ok;
}

Errc GroupReader::find(std::uint64_t token, Batch*& batch, std::uint64_t& bit) noexcept {
  if (foreign()) return Errc::forked;
  const std::uint64_t serial = token >> 6;
  if (recent_ != nullptr && recent_->serial == serial) [[likely]] {
    batch = recent_;
  } else {
    if (serial < first_serial_ || serial - first_serial_ >= batches_.size()) return Errc::view_released;
    batch = recent_ = batches_[static_cast<std::size_t>(serial - first_serial_)].get();
  }
  bit = 1ull << (token & 63);
  if ((token & 63) >= batch->given) return Errc::view_released;
  return Errc::ok;
}

Errc GroupReader::release(std::uint64_t token) {
  Batch* batch = nullptr;
  std::uint64_t bit = 0;
  if (const Errc code = find(token, batch, bit); code != Errc::ok) return code;
  if ((batch->released & bit) != 0) return Errc::view_released;
  batch->released |= bit;
  if (!manual_) batch->acked |= bit;
  if (token - (batch->serial << 6) < batch->copies.size()) batch->copies[token & 63].reset();
  return settle(*batch);
}

Errc GroupReader::acknowledge(std::uint64_t token) {
  Batch* batch = nullptr;
  std::uint64_t bit = 0;
  const Errc code = find(token, batch, bit);
  if (code == Errc::view_released) return Errc::ok;  // done already
  if (code != Errc::ok) return code;
  batch->acked |= bit;
  batch->rejected &= ~bit;
  return settle(*batch);
}

Errc GroupReader::acknowledge_up_to(std::uint64_t token) {
  if (foreign()) return Errc::forked;
  const std::uint64_t serial = token >> 6;
  for (std::size_t i = 0; i < batches_.size(); ++i) {
    Batch& batch = *batches_[i];
    if (batch.finished || batch.serial > serial) continue;
    const std::uint64_t given = batch.given == 64 ? ~0ull : (1ull << batch.given) - 1;
    const unsigned index = static_cast<unsigned>(token & 63);
    const std::uint64_t up_to = batch.serial < serial || index == 63 ? ~0ull : (1ull << (index + 1)) - 1;
    batch.acked |= given & up_to & ~batch.rejected;
    if (const Errc code = settle(batch); code != Errc::ok) return code;
  }
  return Errc::ok;
}

Errc GroupReader::reject(std::uint64_t token) {
  Batch* batch = nullptr;
  std::uint64_t bit = 0;
  if (const Errc code = find(token, batch, bit); code != Errc::ok) return code;
  if ((batch->acked & bit) != 0) return Errc::invalid_argument;
  batch->rejected |= bit;
  if (const Errc settled = settle(*batch); settled != Errc::ok || batch->finished || batch->claim < 0) return settled;
  return return_one(*batch, static_cast<unsigned>(token & 63));
}

// A rejected record gets a claim of its own, so that it is given again before the rest of its batch is
// decided; for the batch it is done. Without a free claim it waits for the batch.
Errc GroupReader::return_one(Batch& batch, unsigned index) {
  Lane* lane = lane_of(batch.lane);
  if (lane == nullptr || lane->mapping != batch.mapping) return Errc::ok;
  const Item& record = batch.items[index];
  Session& session = *attached_.session;
  SharedLock lock(session, group_->lock, lock_key());
  const Errc taken = lock.take(Deadline::in(std::chrono::seconds(10)), false, [&] { static_cast<void>(protocol::repair_group(*group_)); });
  if (taken != Errc::ok) return taken == Errc::timed_out ? Errc::lock_stuck : taken;
  const std::uint64_t used = std::min<std::uint64_t>(group_->claims_used.load_relaxed(), protocol::kClaims);
  std::uint64_t entry = 0;
  while (entry < used && static_cast<ClaimState>(group_->claims[entry].state.load_relaxed()) != ClaimState::free) ++entry;
  if (entry == protocol::kClaims) return Errc::ok;
  RedoWriter redo(group_mapping_.data(), group_->redo);
  const std::uint64_t bit = 1ull << index;
  Claim& own = group_->claims[entry];
  redo.add(field(own, 8), claim_body(batch.lane, 1, batch.deliveries));
  redo.add(field(own, 16), record.position);
  redo.add(field(own, 24), record.end);
  redo.add(field(own, 32), record.sequence);
  redo.add(field(own, 40), 0);
  redo.add(field(own, 0), claim_head(ClaimState::returned, 0, 0));
  redo.add(field(group_->claims[batch.claim], 40), batch.acked | bit);
  redo.add(&group_->returned, group_->returned.load_relaxed() + 1);
  if (entry >= used) redo.add(&group_->claims_used, entry + 1);
  redo.apply();
  lock.release();
  batch.acked |= bit;
  batch.done |= bit;
  ring(bell_->data, session.bells(), true);
  return settle(batch);
}

// Publishes what is done, and ends the batch when all of it is.
Errc GroupReader::settle(Batch& batch) {
  if (batch.finished) return Errc::ok;
  // A claim keeps its memory until it ends, so acknowledging is enough there; a cursor gives memory back.
  const std::uint64_t done = batch.claim >= 0 ? batch.acked : batch.released & batch.acked;
  const bool decided = batch.given == batch.count && (batch.released & (batch.acked | batch.rejected)) == batch.all();
  if (done != batch.done) {
    batch.done = done;
    if (batch.claim >= 0) {
      // SYNC acked: the record is done from here on, whatever happens to this process.
      if (!decided) group_->claims[batch.claim].acked.store_release(done);
      ATOLL_KILL_POINT("ack.stored");
    } else {
      move_exclusive_cursor(batch);
    }
  }
  if (!decided) return Errc::ok;
  if (batch.claim < 0) {
    if ((batch.rejected & ~batch.acked) != 0) {
      // An exclusive group has no claims to return: the record is given again by going back to it.
      Lane* lane = lane_of(batch.lane);
      if (lane != nullptr) {
        lane->redelivered_below = std::max(lane->redelivered_below, lane->position);
        const auto index = static_cast<unsigned>(std::countr_zero(batch.rejected & ~batch.acked));
        lane->position = index == 0 ? batch.begin : batch.items[index - 1].end;
        for (const auto& later : batches_)
          if (later->serial > batch.serial && later->lane == batch.lane && later->given == 0) {
            later->finished = true;
            if (current_ == later.get()) current_ = nullptr;
          }
      }
    }
    batch.finished = true;
    batch.mapping.reset();
    cursor_moved();
    return Errc::ok;
  }
  return finish_claim(batch);
}

void GroupReader::move_exclusive_cursor(Batch& batch) noexcept {
  // The oldest open batch of this lane decides.
  LanePosition& place = group_->lanes[batch.lane];
  for (const auto& open : batches_) {
    if (open->lane != batch.lane || open->finished) continue;
    const auto in_order = static_cast<unsigned>(std::countr_one(open->done));
    if (in_order >= open->count) {
      place.cursor.store_release(open->end);
      continue;
    }
    if (in_order > 0) place.cursor.store_release(open->items[in_order - 1].end);
    break;
  }
  ATOLL_KILL_POINT("cursor.stored");
  if (batch.done == batch.all()) return;  // settle() rings
  cursor_moved();
}

Errc GroupReader::finish_claim(Batch& batch) {
  Session& session = *attached_.session;
  SharedLock lock(session, group_->lock, lock_key());
  const Errc taken = lock.take(Deadline::in(std::chrono::seconds(10)), false, [&] { static_cast<void>(protocol::repair_group(*group_)); });
  if (taken != Errc::ok) return taken == Errc::timed_out ? Errc::lock_stuck : taken;
  RedoWriter redo(group_mapping_.data(), group_->redo);
  Claim& claim = group_->claims[batch.claim];
  const bool again = (batch.rejected & ~batch.acked) != 0;
  if (again) {
    redo.add(field(claim, 40), batch.done);
    redo.add(field(claim, 0), claim_head(ClaimState::returned, 0, 0));
    redo.add(&group_->returned, group_->returned.load_relaxed() + 1);
  } else {
    LanePosition& place = group_->lanes[batch.lane];
    const std::uint64_t cursor = least_begin(batch.lane, batch.claim, place.next.load_relaxed());
    redo.add(field(claim, 0), 0);
    // Another file may have taken this lane's number since: then its cursor is not ours to move.
    const Lane* lane = lane_of(batch.lane);
    if (lane != nullptr && lane->mapping == batch.mapping && cursor > place.cursor.load_relaxed()) redo.add(&place.cursor, cursor);
  }
  redo.apply();
  lock.release();
  batch.finished = true;
  batch.mapping.reset();
  // The end of a stream waits for its last claims: members that sleep until then hear of this one.
  const bool ending = std::any_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->header->finished.load_relaxed() != 0; });
  if (again || ending) ring(bell_->data, session.bells(), true);
  if (!again) cursor_moved();
  return Errc::ok;
}

void GroupReader::drop_finished() noexcept {
  while (!batches_.empty() && batches_.front()->finished && batches_.front().get() != current_) {
    if (recent_ == batches_.front().get()) recent_ = nullptr;
    spare_ = std::move(batches_.front());
    batches_.pop_front();
    ++first_serial_;
  }
}

void GroupReader::leave() noexcept {
  // The views end here: what was decided under them counts.
  for (const auto& batch : batches_) {
    const std::uint64_t given = batch->given == 64 ? ~0ull : (1ull << batch->given) - 1;
    batch->released |= given & (batch->acked | batch->rejected);
    static_cast<void>(settle(*batch));
  }
  if (exclusive_) return;  // the cursor says it all
  bool returned = false;
  for (const auto& owned : batches_) {
    Batch& batch = *owned;
    if (batch.finished || batch.claim < 0) continue;
    SharedLock lock(*attached_.session, group_->lock, lock_key());
    if (lock.take(Deadline::in(std::chrono::seconds(1)), false, [&] { static_cast<void>(protocol::repair_group(*group_)); }) != Errc::ok) return;
    RedoWriter redo(group_mapping_.data(), group_->redo);
    Claim& claim = group_->claims[batch.claim];
    const unsigned fresh = batch.deliveries > 0 ? batch.deliveries - 1u : 0u;
    const std::uint64_t back = claim_head(ClaimState::returned, 0, 0);
    const std::uint64_t used = std::min<std::uint64_t>(group_->claims_used.load_relaxed(), protocol::kClaims);
    std::uint64_t entry = 0;
    while (entry < used && static_cast<ClaimState>(group_->claims[entry].state.load_relaxed()) != ClaimState::free) ++entry;
    const std::uint64_t given_bits = batch.given == 64 ? ~0ull : (1ull << batch.given) - 1;
    const bool given_done = (batch.done & given_bits) == given_bits;
    std::uint64_t more = 1;
    // Where what was not given begins.
    const std::uint64_t position = batch.given == 0 ? batch.begin : batch.items[batch.given - 1].end;
    const std::uint64_t sequence = batch.given < batch.known ? batch.items[batch.given].sequence : 0;
    if (batch.given == 0) {
      redo.add(field(claim, 8), claim_body(batch.lane, batch.count, fresh));
    } else if (batch.given < batch.count && given_done) {
      // What was given is done: the claim becomes the rest, never seen by anybody.
      redo.add(field(claim, 8), claim_body(batch.lane, batch.count - batch.given, fresh));
      redo.add(field(claim, 16), position);
      redo.add(field(claim, 32), sequence);
      redo.add(field(claim, 40), batch.done >> batch.given);
    } else if (batch.given < batch.count && entry < protocol::kClaims) {
      // Two claims: what was given, marked when it is given again; and the rest, not marked.
      Claim& rest = group_->claims[entry];
      redo.add(field(rest, 8), claim_body(batch.lane, batch.count - batch.given, fresh));
      redo.add(field(rest, 16), position);
      redo.add(field(rest, 24), batch.end);
      redo.add(field(rest, 32), sequence);
      redo.add(field(rest, 40), batch.done >> batch.given);
      redo.add(field(rest, 0), back);
      redo.add(field(claim, 8), claim_body(batch.lane, batch.given, batch.deliveries));
      redo.add(field(claim, 24), position);
      if (entry >= used) redo.add(&group_->claims_used, entry + 1);
      more = 2;
    }
    redo.add(field(claim, 0), back);
    redo.add(&group_->returned, group_->returned.load_relaxed() + more);
    redo.apply();
    lock.release();
    batch.finished = true;
    returned = true;
  }
  if (returned) ring(bell_->data, attached_.session->bells(), true);
}

}  // namespace atoll_ipc
