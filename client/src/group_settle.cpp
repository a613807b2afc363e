// The second half of GroupReader: views that come back, and what becomes of their records.
//
// Releasing, acknowledging and rejecting, ending claims, and leaving the group. SPEC.md, "Groups".
#include <algorithm>
#include <bit>

#include "atoll/protocol/kill_point.hpp"
#include "claim_words.hpp"
#include "group_reader.hpp"

namespace atoll_ipc {

using protocol::Claim;
using protocol::ClaimState;
using protocol::LanePosition;

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

const detail::Item* GroupReader::item_of(std::uint64_t token) const noexcept {
  return &batches_[static_cast<std::size_t>((token >> 6) - first_serial_)]->items[token & 63];
}

Errc GroupReader::do_release_run(std::uint64_t token, std::uint32_t count) {
  Batch* batch = nullptr;
  std::uint64_t bit = 0;
  if (const Errc code = find(token + count - 1, batch, bit); code != Errc::ok) return code;
  const std::uint64_t index = token & 63;
  const std::uint64_t bits = (bit << 1) - (1ull << index);
  if (token >> 6 != batch->serial) return ReaderEngine::do_release_run(token, count);
  if ((batch->released & bits) != 0) return count == 1 ? Errc::view_released : ReaderEngine::do_release_run(token, count);
  batch->released |= bits;
  if (automatic_) batch->acked |= bits;
  for (std::uint64_t i = index; i < index + count && i < batch->copies.size(); ++i) batch->copies[i].reset();
  return settle(*batch);
}

Errc GroupReader::do_acknowledge(std::uint64_t token) {
  Batch* batch = nullptr;
  std::uint64_t bit = 0;
  const Errc code = find(token, batch, bit);
  if (code == Errc::view_released) return Errc::ok;  // done already
  if (code != Errc::ok) return code;
  batch->acked |= bit;
  batch->rejected &= ~bit;
  return settle(*batch);
}

Errc GroupReader::do_acknowledge_up_to(std::uint64_t token) {
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

Errc GroupReader::do_reject(std::uint64_t token) {
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
  if (batch.from == nullptr) return Errc::ok;
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
  redo.add(field(own, 16), record.position(geometry_.alignment));
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
  if (batch.claim < 0) return settle_exclusive(batch);
  // A claim keeps its memory until it ends, so acknowledging is enough.
  if (batch.acked != batch.done) {
    batch.done = batch.acked;
    // SYNC acked: the record is done from here on, whatever happens to this process.
    if (!batch.decided()) group_->claims[batch.claim].acked.store_release(batch.done);
    ATOLL_KILL_POINT("ack.stored");
  }
  return batch.decided() ? finish_claim(batch) : Errc::ok;
}

// A cursor gives memory back: it passes what is acknowledged and not looked at any more.
Errc GroupReader::settle_exclusive(Batch& batch) {
  if (batch.recalled) {
    batch.finished = batch.released == batch.all();
    return Errc::ok;
  }
  const std::uint64_t done = batch.released & batch.acked;
  if (done != batch.done) {
    batch.done = done;
    move_exclusive_cursor(batch);
    if (batch.from != nullptr) cursor_moved(*batch.from);
  }
  if (batch.decided()) {
    if ((batch.rejected & ~batch.acked) != 0) {
      go_back(batch);
    } else if (&batch != current_ || batch.count == protocol::kClaimRecords) {
      batch.finished = true;
      batch.mapping.reset();
    }
  }
  return Errc::ok;
}

// An exclusive group has no claims to return: a rejected record is given again by going back to it. What
// was given after it comes again, too; those views decide nothing any more.
void GroupReader::go_back(Batch& batch) noexcept {
  const Item& first = batch.items[static_cast<std::size_t>(std::countr_zero(batch.rejected & ~batch.acked))];
  if (batch.from != nullptr) {
    Lane& lane = *batch.from;
    lane.redelivered_below = std::max(lane.redelivered_below, lane.position);
    lane.position = first.position(geometry_.alignment);
    lane.sequence = first.sequence;
  }
  for (const auto& later : batches_) {
    if (later->serial < batch.serial || later->from != batch.from) continue;
    later->recalled = true;
    if (later->released == later->all()) later->finished = true;
    if (current_ == later.get()) set_current(nullptr);
  }
}

void GroupReader::move_exclusive_cursor(const Batch& batch) noexcept {
  if (batch.from == nullptr) return;  // another file may have this lane's number by now
  // The oldest open batch of this lane decides.
  LanePosition& place = *batch.from->place;
  std::uint64_t cursor = batch.from->position;  // nothing is open: past what was skipped, too
  for (const auto& open : batches_) {
    if (open->from != batch.from || open->finished || open->recalled) continue;
    const auto in_order = static_cast<unsigned>(std::countr_one(open->done));
    if (in_order == open->count) continue;
    cursor = in_order > 0 ? open->items[in_order - 1].end : open->items[0].position(geometry_.alignment);
    break;
  }
  if (cursor > place.cursor.load_relaxed()) place.cursor.store_release(cursor);
  ATOLL_KILL_POINT("released");
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
    if (batch.from != nullptr && cursor > place.cursor.load_relaxed()) redo.add(&place.cursor, cursor);
  }
  redo.apply();
  lock.release();
  batch.finished = true;
  batch.mapping.reset();
  // The end of a stream waits for its last claims: members that sleep until then hear of this one.
  const bool ending = std::any_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->header->finished.load_relaxed() != 0; });
  if (again || ending) ring(bell_->data, session.bells(), true);
  if (!again && batch.from != nullptr) cursor_moved(*batch.from);
  return Errc::ok;
}

void GroupReader::cursor_moved(const Lane& lane) noexcept {
  // A claim's worth of records is worth a fence: so no producer needs a membarrier because of this group.
  if (!exclusive_ || !registered_for_membarrier(*process_)) protocol::full_fence();
  if (bell_->room.summary.load_acquire() == 0 || place_of(lane).cursor.load_relaxed() < lane.header->room_wanted.load_acquire()) return;
  ring_one(bell_->room, attached_.session->bells(), lane.header->room_slot.load_relaxed());
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
  pause_fast();
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
