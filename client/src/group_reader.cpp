#include "group_reader.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "claim_words.hpp"

namespace atoll_ipc {

using protocol::Claim;
using protocol::ClaimState;
using protocol::Found;
using protocol::LanePosition;
using protocol::Place;

namespace {

constexpr std::uint32_t kQuickLooks = 4;  // of watch() take as long as one of Sleeper's
constexpr unsigned kShare = 16;         // records of a claim, where others want some, too
constexpr unsigned kMostSkips = 4096;  // places without a record passed in one walk

}  // namespace

GroupReader::GroupReader(Attached attached, const ConsumerOptions& options)
    : ReaderEngine(std::move(attached)), prefetch_(options.prefetch) {
  automatic_ = !options.manual;
  spins_always_ = options.spin;
  most_pauses_ = options.spin ? kMostPausesSpinning : kMostPauses;
}

Result<void> GroupReader::open() {
  auto group = attached_.take(protocol::Role::group);
  if (!group) return tl::unexpected(group.error());
  group_mapping_ = std::move(*group);
  group_ = group_mapping_.as<protocol::GroupFile>();
  if (auto adopted = adopt_files(); !adopted) return adopted;
  exclusive_ = (group_->flags & protocol::kGroupExclusive) != 0;
  copies_ = attached_.manifest.when_full == protocol::WhenFull::overwrite;
  for (const auto& lane : lanes_) lane_added(*lane);
  return {};
}

GroupReader::~GroupReader() {
  if (group_ != nullptr && gate_ != nullptr && !foreign()) leave();  // without a gate it was never open
}

void GroupReader::lane_added(Lane& lane) {
  lane.place = &place_of(lane);
  if (!exclusive_) return;
  const LanePosition& place = place_of(lane);
  lane.position = place.cursor.load_acquire();
  lane.redelivered_below = place.next.load_acquire();
  lane.sequence = place.next_sequence.load_acquire();
  lane.started = true;
}

void GroupReader::lane_leaves(const Lane& lane) {
  for (const auto& batch : batches_) {
    if (batch->from != &lane) continue;
    batch->from = nullptr;
  }
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
  return !automatic_ ? (alone ? 16 : 1) : alone ? protocol::kClaimRecords : kShare;
}

// Where more small records wait than all members can claim, a claim may be longer.
bool GroupReader::plenty(const Lane& lane, std::uint64_t next, const Run& run) const noexcept {
  return automatic_ && prefetch_ == 0 && run.count == kShare && !run.damaged && run.end - next <= geometry_.capacity / 256 &&
         lane.header->tail.load_acquire() >= next + geometry_.capacity / 16;
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
  if (current_ != nullptr && current_->given < current_->count) return true;
  if (!exclusive_ && group_->returned.load_relaxed() > 0) return true;
  for (const auto& lane : lanes_) {
    if (lane->damaged) continue;
    const std::uint64_t next = next_in(*lane);
    if (decided_at(*lane, next)) return true;
    // Overtaken; or, with values that no consumer writes, where nothing can ever come: claim() tells which.
    const std::uint64_t limit = lane->header->limit.load_acquire();
    const std::uint64_t above = copies_ ? limit : lane->header->tail.load_acquire();
    if (above > next + geometry_.capacity || next > limit) return true;
  }
  return false;
}

std::uint64_t GroupReader::next_in(const Lane& lane) const noexcept {
  return exclusive_ ? lane.position : place_of(lane).next.load_acquire();
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
  unsigned count = 0;
  std::uint64_t first = sequence;
  bool broken = false;
  detail::Stretch stretch(lane.ring, position, mask_, capacity_log2_);
  for (unsigned skips = 0; count < limit && skips < kMostSkips;) {
    Item& item = items[count];
    if (stretch.note(position, sequence, payload_offset_, record_end_, item)) [[likely]] {
      if (count++ == 0) first = item.sequence;
      continue;
    }
    const Place place = protocol::look_at(lane.ring, geometry_, position);
    if (place.found == Found::committed) {
      sequence = protocol::whole_sequence(place.sequence, sequence);
      if (count++ == 0) first = sequence;
      item = {lane.ring + (position & mask_) + protocol::payload_offset(place.extension_length, geometry_.alignment),
              position + place.span, sequence, place.length, place.flags | static_cast<std::uint32_t>(place.extension_length) << 16};
      ++sequence;
    } else if (place.found == Found::aborted || place.found == Found::padding) {
      if (place.found == Found::aborted) sequence = protocol::whole_sequence(place.sequence, sequence) + 1;
      ++skips;
    } else {
      broken = place.found == Found::damaged;
      break;
    }
    position += place.span;
    if (position >= stretch.end) stretch = detail::Stretch(lane.ring, position, mask_, capacity_log2_);
  }
  return {position, sequence, first, count, broken};
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
  batch.from = &lane;
  batch.claim = -1;
  batch.deliveries = 1;
  batch.given = batch.count = batch.known = 0;
  batch.released = batch.acked = batch.rejected = batch.done = batch.inherited = 0;
  batch.finished = batch.recalled = false;
  batch.copies.clear();
  batches_.push_back(std::move(spare_));
  return batch;
}

void GroupReader::set_current(Batch* batch) noexcept {
  Batch* const before = std::exchange(current_, batch);
  // An exclusive batch ends when it stops growing and all its views are back.
  if (before == nullptr || before == batch || !exclusive_ || before->finished || before->recalled || !before->decided()) return;
  before->finished = true;
  before->mapping.reset();
}

// Gives the current batch to FastReader, as far as that can do right by it.
void GroupReader::open_fast() noexcept {
  Batch* const batch = current_;
  if (batch == nullptr || copies_ || batch->from == nullptr || batch->from->lost != 0) return;
  fast_ = batch;
  fast_given_ = batch->given;
  token_ = end_ = (batch->serial << 6) + batch->given;
  items_ = batch->items.data();
  lane_ = static_cast<std::uint16_t>(batch->lane);
  deliveries_ = batch->deliveries;
  Lane& lane = *batch->from;
  if (exclusive_) {
    if (!lane.damaged && batch->given == batch->count && batch->deliveries == 1 && lane.position >= lane.redelivered_below) {
      end_ = (batch->serial << 6) + protocol::kClaimRecords;
      turns_over_ = lanes_.size() == 1 && batches_.size() == 1;
      looks_ = lanes_.size() != 1 ? 0 : spins_always_ ? kLooksBetween : kQuickLooks * sleeper_.looks();
      position_ = lane.position;
      sequence_ = lane.sequence;
      place_ = lane.place;
      gate_->stretch = detail::Stretch(lane.ring, lane.position, mask_, capacity_log2_);
    }
  } else if (batch->given < batch->known && batch->inherited >> batch->given == 0) {
    end_ = (batch->serial << 6) + batch->known;
  }
  // Released so far: the first few, in order, and nothing else was said of any.
  const auto in_order = static_cast<unsigned>(std::countr_one(batch->released));
  const bool plain = automatic_ && batch->rejected == 0 && batch->released == batch->acked && batch->acked == batch->done &&
                     (in_order == 64 || batch->released >> in_order == 0);
  const bool oldest = !exclusive_ || std::none_of(batches_.begin(), batches_.end(), [&](const auto& other) {
    return !other->finished && !other->recalled && other->from == batch->from && other->serial < batch->serial;
  });
  // Places skipped behind its last record are for the library to give back.
  const bool skipped = exclusive_ && in_order < batch->count && lane.position != batch->items[batch->count - 1].end;
  if (!plain || !oldest || skipped || (!exclusive_ && batch->claim < 0)) return;
  release_token_ = (batch->serial << 6) + in_order;
  if (exclusive_) {
    room_wanted_ = &lane.header->room_wanted;
    gate_->cursor = &lane.place->cursor;
  } else {
    release_end_ = (batch->serial << 6) + batch->count - 1;
    acked_ = &group_->claims[batch->claim].acked;
  }
}

void GroupReader::pause_fast() noexcept {
  if (Batch* const batch = std::exchange(fast_, nullptr); batch != nullptr) {
    // Turned over, it is another batch.
    batch->serial += turned_over_;
    first_serial_ += turned_over_;
    next_serial_ += turned_over_;
    received_ += protocol::kClaimRecords * std::uint64_t{turned_over_};
    const bool turned = std::exchange(turned_over_, 0) > 0;
    if (turned) batch->count = batch->known = 0;
    const auto given = static_cast<unsigned>(token_ - (batch->serial << 6));
    received_ += given;
    received_ -= fast_given_;
    if (exclusive_ && (given > batch->count || turned)) {
      batch->count = batch->known = given;
      batch->from->position = position_;
      batch->from->sequence = sequence_;
    }
    batch->given = given;
    if (release_token_ != kNever) {
      const auto released = static_cast<unsigned>(release_token_ - (batch->serial << 6));
      batch->released = batch->acked = batch->done = released == 64 ? ~0ull : (1ull << released) - 1;
    }
  }
  *gate_ = {};
  end_ = token_;
  looks_ = 0;
  turns_over_ = false;
  release_token_ = empty_token_ = kNever;
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
  ATOLL_KILL_POINT("overtaken.counted");
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
    ATOLL_KILL_POINT("overtaken.sequence");
    place.next.store_release(next);
    ATOLL_KILL_POINT("overtaken.next");
    place.cursor.store_release(next);
    ATOLL_KILL_POINT("overtaken.cursor");
  }
  return true;
}

// Could a consumer have stored these? `next` lies at most a lap below the tail, the cursor at most a lap below that. (What
// the limit keeps would be too strict: a producer that finds a new group lowers it again, and may die before it does.)
bool GroupReader::possible(const Lane& lane, std::uint64_t cursor, std::uint64_t next) const noexcept {
  const std::uint64_t limit = lane.header->limit.load_acquire();
  const std::uint64_t tail = lane.header->tail.load_acquire();
  const std::uint64_t floor = tail > geometry_.capacity ? tail - geometry_.capacity : 0;
  return next % geometry_.alignment == 0 && next <= limit && (copies_ || (next >= floor && cursor <= next && next - cursor <= geometry_.capacity));
}

// Group and lane contradict each other: told once, then this lane is left alone and the others go on.
Errc GroupReader::impossible(Lane& lane, std::uint64_t next) {
  lane.damaged = true;
  problem_ = Error(Errc::group_damaged, "the file of group '" + attached_.attachment->group + "' of '" + attached_.manifest.name + "' has position " +
                                            std::to_string(next) + " in lane " + std::to_string(lane.number) + ", where no consumer can stand", attached_.manifest.name, next);
  return Errc::group_damaged;
}

Errc GroupReader::claim() {
  if (!anything()) return Errc::ok;
  if (exclusive_) return claim_exclusive();
  Batch* batch = nullptr;
  const Errc code = claim_shared(batch);
  if (code == Errc::ok && batch != nullptr) {
    set_current(batch);
    drop_finished();
  }
  return code;
}

// Adds one record to the current batch, or opens another one for it.
Errc GroupReader::claim_exclusive() {
  if (current_ != nullptr && current_->count == protocol::kClaimRecords) {
    turn_ = (turn_ + 1) % lanes_.size();  // the next lane's turn
    set_current(nullptr);
  }
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    const std::size_t at = (turn_ + i) % lanes_.size();
    Lane& lane = *lanes_[at];
    if (lane.damaged) continue;
    if (copies_ && !catch_up(lane, lane.position, lane.sequence, nullptr)) return impossible(lane, lane.position);
    if (!possible(lane, lane.place->cursor.load_relaxed(), lane.position)) return impossible(lane, lane.position);
    Item item;
    const Run run = walk(lane, lane.position, lane.sequence, 1, &item);
    if (run.end == lane.position) {
      if (run.damaged && !copies_)
        if (const Errc code = damaged(lane, run.end); code != Errc::ok) return code;
      continue;
    }
    const bool redelivered = lane.position < lane.redelivered_below;
    lane.position = run.end;
    lane.sequence = run.next_sequence;
    if (run.end > lane.place->next.load_relaxed()) {
      lane.place->next_sequence.store_relaxed(run.next_sequence);
      ATOLL_KILL_POINT("claim.sequence");
      lane.place->next.store_release(run.end);
    }
    ATOLL_KILL_POINT("claim.exclusive");
    if (run.count == 0) {
      // Only padding and aborted records: nobody waits for them.
      const bool open = std::any_of(batches_.begin(), batches_.end(), [&](const auto& batch) { return !batch->finished && batch->from == &lane && !batch->decided(); });
      if (!open) {
        lane.place->cursor.store_release(run.end);
        ATOLL_KILL_POINT("skipped.cursor");
        cursor_moved(lane);
      }
      return claim();
    }
    const std::uint16_t deliveries = redelivered ? 2 : 1;
    if (current_ == nullptr || current_->from != &lane || current_->deliveries != deliveries) {
      Batch& batch = keep(lane);
      batch.deliveries = deliveries;
      turn_ = at;
      set_current(&batch);
      drop_finished();
    }
    current_->items[current_->count] = item;
    current_->known = ++current_->count;
    current_->end = run.end;
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
    Item* const items = spare_batch().items.data();
    Run run = walk(lane, next, sequence, most(), items);
    if (plenty(lane, next, run)) {
      const Run more = walk(lane, run.end, run.next_sequence, protocol::kClaimRecords - run.count, items + run.count);
      run.end = more.end;
      run.next_sequence = more.next_sequence;
      run.count += more.count;
    }
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
      if (!open) cursor_moved(lane);
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
  batch.released = batch.acked = batch.inherited = batch.done;
  if (again > 1) {
    LanePosition& place = place_of(*lane);
    place.redelivered.store_relaxed(place.redelivered.load_relaxed() + static_cast<std::uint64_t>(std::popcount(batch.all() & ~batch.done)));
    ATOLL_KILL_POINT("redelivered.counted");
  }
  out = &batch;
  return Errc::ok;
}

// The batch's next record into `out`; false if it has none any more.
bool GroupReader::give(Batch& batch, Raw& out) {
  Lane* const lane = batch.from;
  const auto lose = [&](std::uint64_t bits) {
    const auto missed = static_cast<std::uint64_t>(std::popcount(bits & ~batch.done));
    lost_ += missed;
    if (lane != nullptr) lane->lost += missed;
    LanePosition& counters = group_->lanes[batch.lane];
    counters.lost.store_relaxed(counters.lost.load_relaxed() + missed);
    ATOLL_KILL_POINT("lost.counted");
    batch.released |= bits;
    batch.acked |= bits;
  };
  while (batch.given < batch.count) {
    const unsigned index = batch.given;
    const std::uint64_t bit = 1ull << index;
    if (index >= batch.known) {
      // An overwrite stream that went on, or a lane that was scribbled on after the claim.
      batch.given = batch.count;
      lose(batch.all() & ~(bit - 1));
      return false;
    }
    const Item& item = batch.items[index];
    ++batch.given;
    if ((batch.inherited & bit) != 0) continue;  // acknowledged by an earlier holder
    out.data = item.data;
    if (copies_) {
      auto copy = std::make_unique<std::byte[]>(item.length + 64);
      std::byte* aligned = reinterpret_cast<std::byte*>(protocol::round_up(reinterpret_cast<std::uintptr_t>(copy.get()), 64));
      std::memcpy(aligned, item.data, item.length);
      protocol::acquire_fence();
      const auto* header = batch.mapping->as<const protocol::LaneHeader>();
      if (header->limit.load_relaxed() > item.position(geometry_.alignment) + geometry_.capacity) {
        lose(bit);
        continue;
      }
      if (batch.copies.size() < batch.count) batch.copies.resize(batch.count);
      batch.copies[index] = std::move(copy);
      out.data = batch.items[index].data = aligned;
    }
    out.length = item.length;
    out.sequence = item.sequence;
    out.lost = 0;
    if (lane != nullptr && lane->lost != 0) out.lost = std::exchange(lane->lost, 0);
    out.lane = static_cast<std::uint16_t>(batch.lane);
    out.content = item.content();
    out.deliveries = batch.deliveries;
    out.reserved = 0;
    out.token = (batch.serial << 6) + index;
    ++received_;
    return true;
  }
  return false;
}

Errc GroupReader::fill(Raw* out, std::size_t max, std::size_t& count) {
  while (count < max) {
    if (current_ == nullptr || current_->given == current_->count)
      if (const Errc code = claim(); code != Errc::ok) return code;
    if (current_ == nullptr || current_->given == current_->count) break;
    Batch& batch = *current_;
    const bool given = give(batch, out[count]);
    if (given) ++count;
    if (batch.given < batch.count) continue;
    // What was lost, or acknowledged by an earlier holder, needs no view to come back.
    if (batch.released != 0 && batch.decided()) static_cast<void>(settle(batch));
    if (batch.finished || (!exclusive_ && !given)) set_current(nullptr);
    drop_finished();
  }
  return Errc::ok;
}

bool GroupReader::fill_alike(Raw& out, std::uint64_t after) {
  Batch* const batch = current_;
  if (batch == nullptr || (batch->serial << 6) + batch->given != after + 1) return false;
  if (batch->given == batch->count && (!exclusive_ || batch->count == protocol::kClaimRecords || claim() != Errc::ok || current_ != batch)) return false;
  if (batch->given == batch->count || !give(*batch, out)) return false;
  if (out.token == after + 1) return true;
  // Records between were lost: this one begins the next run.
  --batch->given;
  --received_;
  if (batch->from != nullptr) batch->from->lost += out.lost;
  return false;
}

const ReaderEngine::Lane* GroupReader::only_lane() {
  if (!exclusive_ || lanes_.size() != 1) return nullptr;
  Lane& lane = *lanes_.front();
  if (lane.damaged) return nullptr;
  if (current_ == nullptr || current_->from != &lane || current_->count == protocol::kClaimRecords) {
    set_current(&keep(lane));  // with room for FastReader to look for the next record
    drop_finished();
  }
  return &lane;
}

}  // namespace atoll_ipc
