#include "producer_engine.hpp"

#include <sched.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <limits>
#include <utility>

#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/group.hpp"
#include "atoll/protocol/kill_point.hpp"

namespace atoll_ipc {

using protocol::Role;

namespace {
constexpr std::uint64_t kUnbounded = std::numeric_limits<std::uint64_t>::max() / 2;
constexpr std::uint64_t kFewRecords = 512;  // whose fences cost less than a membarrier
constexpr unsigned kRingsToFence = 4;
constexpr std::int64_t kPatienceNs = 2'000'000;
constexpr std::uint64_t kFirstPauses = 32;
constexpr std::uint64_t kPlentyPauses = 4096;
constexpr std::uint64_t kLarge = 65536;       // bytes of a record from which on it is worth while to write it where the last one was
constexpr std::uint64_t kCache = 1u << 20;    // a ring of up to so many bytes stays in the CPU's cache anyway
constexpr std::uint64_t kBytesPerNs = 64;     // more than any memory takes
constexpr std::uint64_t kFarthest = protocol::kEndOfPositions / 2;  // beyond it no positions are skipped any more
constexpr unsigned kMostLittleRoom = 255;  // times that little room is taken without waiting, after waiting was in vain
}

ProducerEngine::ProducerEngine(Attached attached) : attached_(std::move(attached)) {}

Result<std::unique_ptr<ProducerEngine>> ProducerEngine::open(const std::shared_ptr<Session>& session, const ConnectOptions& how, const std::string& name,
                                                             Deadline wait) {
  AttachRequest request;
  request.name = name;
  request.role = "produce";
  request.wait = wait;
  auto attached = attach(session, how, request);
  if (!attached) return tl::unexpected(attached.error());
  std::unique_ptr<ProducerEngine> engine(new ProducerEngine(std::move(*attached)));
  if (auto taken = engine->take_over(); !taken) return tl::unexpected(taken.error());
  return engine;
}

Result<void> ProducerEngine::take_over() {
  Session& session = *attached_.session;
  process_ = &process_page();
  origin_ = {&process_->identity, session.identity()};
  gate_ = wiped_.get();
  if (gate_ == nullptr) return fail(errno == ENOMEM ? Errc::no_space : Errc::not_supported, "the system gave no memory that it wipes in forked children (MADV_WIPEONFORK)", attached_.manifest.name);
  interruptible_ = attached_.how.interruptible;
  auto header = attached_.take(Role::header);
  auto bell = attached_.take(Role::bell);
  auto lane = attached_.take(Role::lane);
  if (!header) return tl::unexpected(header.error());
  if (!bell) return tl::unexpected(bell.error());
  if (!lane) return tl::unexpected(lane.error());
  header_mapping_ = std::move(*header);
  bell_mapping_ = std::move(*bell);
  lane_mapping_ = std::move(*lane);
  header_ = header_mapping_.as<const protocol::SegmentHeader>();
  bell_ = bell_mapping_.as<protocol::BellFile>();
  bells_ = &session.bells();
  lane_ = lane_mapping_.as<protocol::LaneHeader>();
  ring_ = lane_mapping_.data() + protocol::kPageSize;
  geometry_ = attached_.geometry();
  data_sleepers_ = &bell_->data.summary;
  mask_ = geometry_.capacity - 1;
  capacity_log2_ = geometry_.capacity_log2;
  payload_offset_ = protocol::payload_offset(0, geometry_.alignment);
  record_end_ = detail::RecordEnd(payload_offset_, geometry_.alignment);
  max_payload_ = protocol::max_payload(geometry_.capacity, geometry_.alignment);
  changes_ = header_->changes.load_acquire();
  for (AttachedFile& file : attached_.files)
    if (file.role == Role::group) groups_.push_back({file.index, std::move(file.mapping), file.incarnation, 0, false});
  attached_.files.clear();

  // The broker settled these when the last producer left. What they say is checked all the same.
  tail_ = lane_->tail.load_acquire();
  sequence_ = lane_->sequence.load_acquire();
  published_limit_ = lane_->limit.load_acquire();
  if (tail_ % geometry_.alignment != 0 || tail_ > protocol::kEndOfPositions || published_limit_ > protocol::kEndOfPositions || (published_limit_ != 0 && published_limit_ < tail_))
    return fail(Errc::lane_damaged, "lane " + std::to_string(attached_.lane.value_or(0)) + " of '" + attached_.manifest.name + "' has tail " +
                                        std::to_string(tail_) + " and limit " + std::to_string(published_limit_), attached_.manifest.name);
  checkpoint_at_ = 0;
  if (const std::uint64_t count = lane_->checkpoint_count.load_acquire(); count > 0)
    if (const std::uint64_t newest = lane_->checkpoints[(count - 1) % protocol::kCheckpoints].position.load_relaxed(); newest <= tail_) checkpoint_at_ = newest;
  limit_ = 0;
  lane_->finished.store_release(0);
  ATOLL_KILL_POINT("join.unfinished");
  lane_->room_wanted.store_release(protocol::kNoRoomWanted);
  ATOLL_KILL_POINT("join.room");
  set_fence(!registered_for_membarrier(*process_));
  lane_->wake_mode.store_release(static_cast<std::uint32_t>(fence_ ? protocol::WakeMode::fenced : protocol::WakeMode::registered));
  ATOLL_KILL_POINT("join.wake_mode");
  // Tells the broker that the lane is mapped: a memfd can be sealed against other writers now.
  if (attached_.manifest.backing == protocol::Backing::memfd)
    if (auto known = learn_groups(); !known) return known;
  return {};
}

ProducerEngine::~ProducerEngine() {
  if (attached_.session == nullptr) return;
  if (!same_process(process_page(), attached_.session->identity())) {
    return;
  }
  if (notice_.wanted()) attached_.session->notifier().remove(notice_);
  if (lane_ != nullptr) {
    lane_->room_wanted.store_release(protocol::kNoRoomWanted);
    ATOLL_KILL_POINT("leave.room");
    while (only_loan_ != kNoLoan)
      if (!settle(only_loan_ == kSeveralLoans ? loans_.back().at : only_loan_, false)) break;
    ring(bell_->data, *bells_, true);
  }
  attached_.session->detach(attached_.how, attached_.attachment);
}

bool ProducerEngine::find(std::uint64_t length, Place& place) const noexcept {
  place.span = record_end_(0, length);
  const std::uint64_t offset = tail_ & mask_;
  place.at = offset + place.span > geometry_.capacity ? tail_ + (geometry_.capacity - offset) : tail_;
  place.end = place.at + place.span + protocol::kRecordHeaderSize;
  return length <= max_payload_ && place.end <= limit_;
}

void ProducerEngine::begin(const Place& place, std::uint64_t length, std::uint16_t content) noexcept {
  // From here on an open loan is no more the last record: whoever walks the lane must be able to pass it.
  if (only_loan_ != kNoLoan) {
    const std::uint64_t newest = only_loan_ == kSeveralLoans ? loans_.back().at : only_loan_;
    record(newest)->commit.store_release(protocol::commit_word(protocol::RecordState::claimed, newest, capacity_log2_));
    ATOLL_KILL_POINT("claim.claimed");
  }
  protocol::RecordHeader* header = record(place.at);
  __atomic_store_n(&header->length, static_cast<std::uint32_t>(length), __ATOMIC_RELAXED);
  header->sequence = static_cast<std::uint32_t>(sequence_);
  header->flags = content;
  header->extension_length = 0;
  header->type = static_cast<std::uint8_t>(protocol::RecordType::data);
  silence(place.at + place.span);
  ATOLL_KILL_POINT("claim.terminated");
  if (place.at != tail_) pad(place.at - tail_);
  tail_ = place.at + place.span;
  ++sequence_;
}

void ProducerEngine::open_up() noexcept {
  const std::uint64_t limit = limit_ > protocol::kRecordHeaderSize ? limit_ - protocol::kRecordHeaderSize : 0;
  open_until_ = std::min(limit, tail_ | mask_);
  lap_base_ = {ring_, tail_, mask_};
  empty_ = protocol::commit_word(protocol::RecordState::empty, tail_, capacity_log2_);
  set_gate();
}

void ProducerEngine::silence(std::uint64_t position) noexcept {
  terminate(reinterpret_cast<std::byte*>(record(position)), protocol::commit_word(protocol::RecordState::empty, position, capacity_log2_));
}

// A record for which the fast path found no way: at the end of a lap or of the limit, beside open loans.
Errc ProducerEngine::store_slow(const void* data, std::uint64_t length, std::uint16_t content, Deadline deadline) {
  if (!origin_.here()) return Errc::forked;
  Place place;
  if (!find(length, place))
    if (const Errc made = make_room(length, place, deadline); made != Errc::ok) return made;
  begin(place, length, content);
  ATOLL_KILL_POINT("send.begun");
  detail::copy_payload(payload(place.at), data, length);
  ATOLL_KILL_POINT("send.written");
  // SYNC commit: pairs with look_at(). Producer dies before: the broker drops it. After: delivered.
  record(place.at)->commit.store_release(protocol::commit_word(protocol::RecordState::committed, place.at, geometry_.capacity_log2));
  ATOLL_KILL_POINT("send.committed");
  if (only_loan_ == kNoLoan) publish(tail_, sequence_);
  open_up();
  return Errc::ok;
}

void ProducerEngine::pad(std::uint64_t length) noexcept {
  protocol::RecordHeader* header = record(tail_);
  __atomic_store_n(&header->length, static_cast<std::uint32_t>(length - payload_offset_), __ATOMIC_RELAXED);
  header->sequence = static_cast<std::uint32_t>(sequence_);
  header->flags = 0;
  header->extension_length = 0;
  header->type = static_cast<std::uint8_t>(protocol::RecordType::padding);
  header->commit.store_release(protocol::commit_word(protocol::RecordState::padding, tail_, geometry_.capacity_log2));
  ATOLL_KILL_POINT("claim.padded");
}

void ProducerEngine::publish_settled() noexcept {
  if (only_loan_ == kNoLoan) return publish(tail_, sequence_);
  const OpenLoan oldest = oldest_loan();
  publish(oldest.at, oldest.sequence);
}

std::uint64_t ProducerEngine::own_bound() const noexcept {
  return (only_loan_ == kNoLoan ? tail_ : oldest_loan().at) + geometry_.capacity;
}

bool ProducerEngine::readers_fence() const noexcept {
  return std::none_of(groups_.begin(), groups_.end(), [](const GroupInUse& group) { return (group.mapping.as<const protocol::GroupFile>()->flags & protocol::kGroupExclusive) != 0; });
}

bool ProducerEngine::single_file() const noexcept {
  return std::has_single_bit(header_->active_lanes.load_relaxed()) && std::has_single_bit(header_->active_groups.load_relaxed());
}

bool ProducerEngine::groups_known() const noexcept {
  std::uint32_t active = header_->active_groups.load_acquire();
  for (const GroupInUse& group : groups_) active &= ~(1u << group.id);
  return active == 0 && header_->changes.load_acquire() == changes_;
}

Result<void> ProducerEngine::learn_groups() {
  const std::uint64_t changes = header_->changes.load_acquire();
  nlohmann::json have = nlohmann::json::array();
  for (const GroupInUse& group : groups_) have.push_back({group.id, group.incarnation});
  nlohmann::json lanes = nlohmann::json::array();
  // A producer wants no other lane: it names all of them as known.
  auto refreshed = refresh(attached_, lanes, have, Access::read);
  if (!refreshed) return tl::unexpected(refreshed.error());
  for (const unsigned gone : refreshed->gone_groups) std::erase_if(groups_, [&](const GroupInUse& group) { return group.id == gone; });
  for (AttachedFile& file : refreshed->files) {
    if (file.role != Role::group) continue;
    std::erase_if(groups_, [&](const GroupInUse& group) { return group.id == file.index; });
    groups_.push_back({file.index, std::move(file.mapping), file.incarnation, 0, false});
  }
  changes_ = changes;
  return {};
}

std::uint64_t ProducerEngine::least_cursor(bool as_known) noexcept {
  const std::uint32_t active = header_->active_groups.load_acquire();
  std::uint64_t least = kUnbounded;
  const std::uint64_t oldest = tail_ > geometry_.capacity ? tail_ - geometry_.capacity : 0;
  for (GroupInUse& group : groups_) {
    if ((active & (1u << group.id)) == 0) continue;
    if (as_known && group.seen) {
      least = std::min(least, std::max(group.good_cursor, oldest));
      continue;
    }
    const std::uint64_t cursor = group.mapping.as<const protocol::GroupFile>()->lanes[*attached_.lane].cursor.load_acquire();
    if (cursor >= oldest && cursor <= tail_) {
      group.good_cursor = cursor;
      group.seen = true;
    }
    least = std::min(least, group.seen ? std::max(group.good_cursor, oldest) : oldest);
  }
  return least;
}

ProducerEngine::Room ProducerEngine::raise_limit(std::uint64_t end) {
  const bool held_back = attached_.manifest.when_full != protocol::WhenFull::overwrite;
  const auto bound = [&](bool as_known) -> std::uint64_t {
    const std::uint64_t cursor = held_back ? least_cursor(as_known) : kUnbounded;
    return std::min(cursor == kUnbounded ? kUnbounded : cursor + geometry_.capacity, own_bound());
  };
  if (held_back && !groups_known()) return Room::no_groups;
  // Cursors only grow, so those seen before do as long as they leave enough; looking takes a cache line from each group.
  std::uint64_t most = bound(true);
  // In steps of an eighth of the ring, or of four records if they are large.
  std::uint64_t step = std::max(geometry_.capacity / 8, std::min(4 * (end - tail_), geometry_.capacity / 2));
  if (stride_ == Stride::record) step = 0;
  if (stride_ == Stride::lap) step = std::max(step, mask_ + 1 - (end & mask_));
  if (end + step > most) most = bound(false);
  if (end > most) return Room::full;
  std::uint64_t raised = std::max(published_limit_, std::min(end + step, most));
  if (tail_ >= checkpoint_at_ + geometry_.capacity / 16 && only_loan_ == kNoLoan) {
    const std::uint64_t count = lane_->checkpoint_count.load_relaxed();
    protocol::Checkpoint& checkpoint = lane_->checkpoints[count % protocol::kCheckpoints];
    checkpoint.position.store_relaxed(tail_);
    ATOLL_KILL_POINT("checkpoint.position");
    checkpoint.sequence.store_relaxed(sequence_);
    ATOLL_KILL_POINT("checkpoint.sequence");
    lane_->checkpoint_count.store_release(count + 1);
    ATOLL_KILL_POINT("checkpoint.counted");
    checkpoint_at_ = tail_;
  }
  // SYNC limit: store, fence, look at the groups again. Pairs with the broker's making of a group.
  // Release: who sees it sees the checkpoint and the tail that were stored before it.
  lane_->limit.store_release(raised);
  ATOLL_KILL_POINT("limit.stored");
  protocol::full_fence();
  if (held_back) {
    const bool known = groups_known();
    most = known ? bound(true) : published_limit_;
    if (raised > most) {
      raised = std::max(most, published_limit_);
      lane_->limit.store_release(raised);
      ATOLL_KILL_POINT("limit.settled");
    }
    published_limit_ = raised;
    limit_ = std::min(raised, most);
    if (end > limit_) return known ? Room::full : Room::no_groups;
    return Room::made;
  }
  published_limit_ = raised;
  limit_ = raised;
  return Room::made;
}

// To fenced: what was committed before is visible before. To registered: the fence comes before the next look
// at the sleepers. So a sleeper that enlists and then finds `fenced` needs no membarrier: protocol/model/wake.pml.
void ProducerEngine::set_wake_mode(bool fence) noexcept {
  lane_->wake_mode.store_release(static_cast<std::uint32_t>(fence ? protocol::WakeMode::fenced : protocol::WakeMode::registered));
  ATOLL_KILL_POINT("wake_mode.stored");
  protocol::full_fence();
  set_fence(fence);
}

// Readers that fall asleep after every few records pay a membarrier each time, which interrupts the other CPUs;
// a fence for each of those few records costs a hundredth of it.
void ProducerEngine::wake() noexcept {
  rings_ = sequence_ - rang_at_ <= kFewRecords ? rings_ + 1 : 0;
  rang_at_ = sequence_;
  if (!fence_ && rings_ >= kRingsToFence) set_wake_mode(true);
  ring_all(bell_->data, *bells_);
}

// A reader that keeps up frees record by record. Taking each bit of room at once would cost a look at the
// groups for every record, so there is a short wait for an eighth of the ring. Every look takes the cursor's
// cache line from the reader: how fast it comes on tells when to look again.
bool ProducerEngine::wait_for_plenty(std::uint64_t end) noexcept {
  const std::uint64_t wanted = end + geometry_.capacity / 8 - std::min(end + geometry_.capacity / 8, geometry_.capacity);
  std::uint64_t before = least_cursor();
  std::uint64_t pauses = kFirstPauses;
  for (std::uint64_t all = 0; all < kPlentyPauses && before < wanted && groups_known(); all += pauses) {
    if (sleeper_.spins())
      for (std::uint64_t i = 0; i < pauses; ++i) protocol::spin_pause();
    else
      ::sched_yield();
    const std::uint64_t now = least_cursor();
    if (now <= before) return false;
    if (now < wanted) pauses = std::clamp<std::uint64_t>((wanted - now) * pauses / (now - before), 8, 1024);
    before = now;
  }
  return before >= wanted;
}

// A reader that keeps up leaves the whole ring free, and a producer that goes round in it gets each record's memory from
// far away, while that of the last record is still in the cache. Where that counts, with large records that are really
// written and read, it goes back to the ring's start as soon as there is room, and looks for each record whether it should.
// Records that nobody touches are handed over so fast that asking for room is what takes time: once a lap does. Not where
// somebody reads on his own, who would miss what is written over.
ProducerEngine::Stride ProducerEngine::choose_stride(Place& place) noexcept {
  if (place.span < kLarge || geometry_.capacity <= kCache || attached_.manifest.when_full == protocol::WhenFull::overwrite) return Stride::some;
  const std::int64_t now = monotonic_ns();
  const std::uint64_t bytes = (sequence_ - std::exchange(timed_sequence_, sequence_)) * place.span;
  const bool touched = bytes / kBytesPerNs <= static_cast<std::uint64_t>(now - std::exchange(timed_ns_, now));
  if (only_loan_ != kNoLoan || tail_ > kFarthest || !groups_known() || header_->observers.load_relaxed() != 0) return Stride::some;
  if (!touched) return Stride::lap;
  if (least_cursor() != tail_) return Stride::some;
  const std::uint64_t offset = tail_ & mask_;
  if (place.at == tail_ && place.span + protocol::kRecordHeaderSize <= offset) {
    place.at += geometry_.capacity - offset;
    place.end += geometry_.capacity - offset;
  }
  return Stride::record;
}

Errc ProducerEngine::make_room(std::uint64_t length, Place& place, Deadline deadline) {
  stride_ = choose_stride(place);
  const Errc code = wait_for_room(length, place, deadline);
  if (code != Errc::timed_out || !armed_) stop_wanting();
  return code;
}

void ProducerEngine::stop_wanting() noexcept {
  if (lane_->room_wanted.load_relaxed() != protocol::kNoRoomWanted) {
    lane_->room_wanted.store_release(protocol::kNoRoomWanted);
    ATOLL_KILL_POINT("room.enough");
  }
  // Nobody will ring for the event that an earlier send asked for: it may try again and ask anew.
  if (std::exchange(armed_, false)) attached_.session->notifier().tell(notice_);
}

Errc ProducerEngine::wait_for_room(std::uint64_t length, Place& place, Deadline deadline) {
  Session& session = *attached_.session;
  if (length > max_payload_) return Errc::too_large;
  bells_ = &session.bells();
  if (finished_) {
    finished_ = false;
    lane_->finished.store_release(0);
    ATOLL_KILL_POINT("finish.taken_back");
  }
  if (fence_ && sequence_ - rang_at_ > kFewRecords && registered_for_membarrier(*process_)) set_wake_mode(false);
  // Readers may have to empty the ring first.
  flush();
  Clock clock(deadline);
  bool counted = false;
  bool waited = false;
  bool was_patient = false;
  for (;;) {
    if (header_->state.load_acquire() != static_cast<std::uint32_t>(protocol::SegmentState::live) || attached_.attachment->lost.load()) return Errc::removed;
    Room room = raise_limit(place.end);
    if (room != Room::made && stride_ == Stride::record) {  // a group has come meanwhile: no going back
      stride_ = Stride::some;
      static_cast<void>(find(length, place));
      continue;
    }
    if (room == Room::no_groups) {
      if (auto learned = learn_groups(); !learned) {
        if (learned.error().code() != Errc::no_broker || clock.left() == 0) {
          problem_ = learned.error();
          return problem_.code();
        }
        session.revive();
      }
      continue;
    }
    if (room == Room::made) {
      // Taking a little room now would mean another look, and the reader's cache line, for nearly every record. (Where
      // there are others, the CPU is better left to them.)
      if (waited || stride_ == Stride::record || limit_ >= place.end + geometry_.capacity / 8 || (clock.left() >= 0 && clock.left() < kPatienceNs)) return Errc::ok;
      if ((little_room_left_ > 0 && --little_room_left_ > 0) || !single_file()) return Errc::ok;
      waited = true;
      little_room_ = wait_for_plenty(place.end) ? 0 : std::min(2 * little_room_ + 1, kMostLittleRoom);
      little_room_left_ = little_room_;
      continue;
    }
    if (attached_.manifest.when_full == protocol::WhenFull::drop_new) {
      lane_->dropped.store_relaxed(lane_->dropped.load_relaxed() + 1);
      ATOLL_KILL_POINT("dropped.counted");
      return Errc::dropped;
    }
    // Full of the caller's own loans: waiting would be for ever.
    if (place.end > own_bound()) {
      problem_ = Error(Errc::too_large, "the open loans of this producer leave no room for " + std::to_string(length) + " bytes in '" + attached_.manifest.name + "'",
                       attached_.manifest.name, length, "commit or abort loans before taking more");
      return Errc::too_large;
    }
    if (!counted) {
      counted = true;
      lane_->blocked.store_relaxed(lane_->blocked.load_relaxed() + 1);
      ATOLL_KILL_POINT("blocked.counted");
    }
    // The cursor that leaves room for this record; and one that leaves half of the ring free.
    const std::uint64_t least = place.end - std::min(place.end, geometry_.capacity);
    const std::uint64_t plenty = std::max(least, std::min(tail_, least + geometry_.capacity / 2));
    const auto reached = [&](std::uint64_t cursor) {
      return !groups_known() || least_cursor() >= cursor || header_->state.load_acquire() != static_cast<std::uint32_t>(protocol::SegmentState::live);
    };
    const auto changed = [&] { return reached(least); };
    if (clock.left() == 0) {
      if (!notice_.wanted()) return Errc::timed_out;
      armed_for_ = armed_ ? std::min(armed_for_, least) : least;
      armed_ = true;
      want_room(armed_for_);
      session.notifier().arm(notice_);
      static_cast<void>(Sleeper::arm(session, bell_->room));
      if (!changed()) return Errc::timed_out;
      session.notifier().tell(notice_);
      continue;
    }
    waited = true;
    if (sleeper_.spin(changed) || sleeper_.yield(changed)) {
      wait_for_plenty(place.end);
      continue;
    }
    // Being woken for each record costs more than the record, so it sleeps until there is plenty of room, but
    // not for long: where readers are slow the least has to do.
    const std::int64_t left = clock.left();
    const bool patient = !std::exchange(was_patient, true) && (left < 0 || left > kPatienceNs);
    const std::uint64_t wanted = patient ? plenty : least;
    Clock patience(Deadline::in(std::chrono::nanoseconds(kPatienceNs)));
    want_room(wanted);
    const Woken woken = sleeper_.sleep(session, bell_->room, patient ? patience : clock, interruptible_, [&] { return reached(wanted); }, [&] { return readers_fence(); });
    if (woken == Woken::interrupted) return Errc::interrupted;
  }
}

void ProducerEngine::want_room(std::uint64_t cursor) noexcept {
  lane_->room_slot.store_relaxed(attached_.session->slot());
  ATOLL_KILL_POINT("room.slot");
  lane_->room_wanted.store_release(cursor);
  ATOLL_KILL_POINT("room.wanted");
}

void ProducerEngine::add_loan(const OpenLoan& loan) {
  if (only_loan_ == kNoLoan) {
    only_loan_ = loan.at;
    only_loan_sequence_ = loan.sequence;
    return;
  }
  if (only_loan_ != kSeveralLoans) loans_.push_back({std::exchange(only_loan_, kSeveralLoans), only_loan_sequence_});
  loans_.push_back(loan);
}

bool ProducerEngine::remove_loan(std::uint64_t token) noexcept {
  if (only_loan_ != kSeveralLoans) return token == only_loan_ && token != kNoLoan ? (only_loan_ = kNoLoan, true) : false;
  const auto loan = std::find_if(loans_.begin(), loans_.end(), [&](const OpenLoan& open) { return open.at == token; });
  if (loan == loans_.end()) return false;
  loans_.erase(loan);
  if (loans_.size() == 1) {
    only_loan_ = loans_.front().at;
    only_loan_sequence_ = loans_.front().sequence;
    loans_.clear();
  }
  return true;
}

Result<ProducerEngine::Lent> ProducerEngine::loan(std::uint64_t length, std::uint16_t content, Deadline deadline) {
  if (std::byte* const data = loan_fast(length, content)) return Lent{data, only_loan_};
  if (!origin_.here()) return fail(Errc::forked);
  Place place;
  if (!find(length, place))
    if (const Errc made = make_room(length, place, deadline); made != Errc::ok) return tl::unexpected(detail_error(made, length));
  loans_.reserve(loans_.size() + 2);  // what can fail comes first
  const std::uint64_t sequence = sequence_;
  begin(place, length, content);
  ATOLL_KILL_POINT("loan.begun");
  add_loan({place.at, sequence});
  publish_settled();
  open_up();
  return Lent{payload(place.at), place.at};
}

Result<void> ProducerEngine::settle(std::uint64_t token, bool commit) {
  if (!origin_.here()) return fail(Errc::forked);
  if (!remove_loan(token))
    return fail(Errc::invalid_argument, "this is not an open loan of this producer of '" + attached_.manifest.name + "'", attached_.manifest.name, 0,
                "commit or abort a loan once");
  ATOLL_KILL_POINT("loan.settling");
  record(token)->commit.store_release(
      protocol::commit_word(commit ? protocol::RecordState::committed : protocol::RecordState::aborted, token, geometry_.capacity_log2));
  ATOLL_KILL_POINT("loan.settled");
  set_gate();
  if (!commit) {
    lane_->aborted.store_relaxed(lane_->aborted.load_relaxed() + 1);
    ATOLL_KILL_POINT("aborted.counted");
  }
  publish_settled();
  flush();
  return {};
}

Result<void> ProducerEngine::finish() {
  if (!origin_.here()) return fail(Errc::forked);
  if (header_->state.load_acquire() != static_cast<std::uint32_t>(protocol::SegmentState::live)) return tl::unexpected(detail_error(Errc::removed, 0));
  lane_->finished.store_release(tail_ | 1);
  ATOLL_KILL_POINT("finish.stored");
  finished_ = true;
  limit_ = open_until_ = 0;  // the next send takes it back
  set_gate();
  flush();
  return {};
}

Result<int> ProducerEngine::event_fd() {
  if (!origin_.here()) return fail(Errc::forked);
  return attached_.session->notifier().event_fd(notice_);
}

Result<void> ProducerEngine::set_notify(void (*notify)(void*), void* context) {
  if (!origin_.here()) return fail(Errc::forked);
  return attached_.session->notifier().set_callback(notice_, notify, context);
}

Result<ProducerInfo> ProducerEngine::info() const {
  if (!origin_.here()) return fail(Errc::forked);
  ProducerInfo info{};
  info.lane = attached_.lane.value_or(0);
  info.capacity = geometry_.capacity;
  info.max_payload = max_payload_;
  info.sequence = sequence_;
  info.dropped = lane_->dropped.load_relaxed();
  info.blocked = lane_->blocked.load_relaxed();
  info.alignment = geometry_.alignment;
  info.when_full = static_cast<WhenFull>(static_cast<std::uint32_t>(attached_.manifest.when_full) - 1);
  return info;
}

Error ProducerEngine::detail_error(Errc code, std::uint64_t length) const {
  const std::string& name = attached_.manifest.name;
  if (problem_.code() == code) return problem_;
  switch (code) {
    case Errc::too_large:
      return Error(code, "a record of " + std::to_string(length) + " bytes is too large for '" + name + "': its lanes of " + std::to_string(geometry_.capacity) +
                             " bytes take records of up to " + std::to_string(max_payload_), name, max_payload_);
    case Errc::timed_out: return Error(code, "no room in '" + name + "' in time: its ring is full and a group has not read on", name);
    case Errc::removed: return Error(code, "'" + name + "' was removed", name);
    default: return Error(code, {}, name);
  }
}

}  // namespace atoll_ipc
