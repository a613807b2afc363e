#include "producer_engine.hpp"

#include <algorithm>
#include <limits>

#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/group.hpp"

namespace atoll_ipc {

using protocol::Role;

namespace {
constexpr std::uint64_t kUnbounded = std::numeric_limits<std::uint64_t>::max() / 2;
}

ProducerEngine::ProducerEngine(Attached attached) : attached_(std::move(attached)) {}

Result<std::unique_ptr<ProducerEngine>> ProducerEngine::open(const std::shared_ptr<Session>& session, const std::string& name, Deadline wait,
                                                             bool interruptible) {
  AttachRequest request;
  request.name = name;
  request.role = "produce";
  request.wait = wait;
  request.interruptible = interruptible;
  auto attached = attach(session, request);
  if (!attached) return tl::unexpected(attached.error());
  std::unique_ptr<ProducerEngine> engine(new ProducerEngine(std::move(*attached)));
  if (auto taken = engine->take_over(interruptible); !taken) return tl::unexpected(taken.error());
  return engine;
}

Result<void> ProducerEngine::take_over(bool interruptible) {
  Session& session = *attached_.session;
  process_ = &process_page();
  identity_ = session.identity();
  interruptible_ = interruptible;
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
  payload_offset_ = protocol::payload_offset(0, geometry_.alignment);
  max_payload_ = protocol::max_payload(geometry_.capacity, geometry_.alignment);
  changes_ = header_->changes.load_acquire();
  for (AttachedFile& file : attached_.files)
    if (file.role == Role::group) groups_.push_back({file.index, std::move(file.mapping), file.incarnation, 0, false});
  attached_.files.clear();

  // The broker settled these when the last producer left. What they say is checked all the same.
  tail_ = lane_->tail.load_acquire();
  sequence_ = lane_->sequence.load_acquire();
  published_limit_ = lane_->limit.load_acquire();
  const std::uint64_t bound = 1ull << 62;
  if (tail_ % geometry_.alignment != 0 || tail_ > bound || published_limit_ > bound || (published_limit_ != 0 && published_limit_ < tail_))
    return fail(Errc::lane_damaged, "lane " + std::to_string(attached_.lane.value_or(0)) + " of '" + attached_.manifest.name + "' has tail " +
                                        std::to_string(tail_) + " and limit " + std::to_string(published_limit_), attached_.manifest.name);
  checkpoint_at_ = 0;
  if (const std::uint64_t count = lane_->checkpoint_count.load_acquire(); count > 0)
    checkpoint_at_ = lane_->checkpoints[(count - 1) % protocol::kCheckpoints].position.load_relaxed();
  limit_ = 0;
  lane_->finished.store_release(0);
  fence_ = !registered_for_membarrier(*process_);
  lane_->wake_mode.store_release(static_cast<std::uint32_t>(fence_ ? protocol::WakeMode::fenced : protocol::WakeMode::registered));
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
    while (!loans_.empty())
      if (!settle(loans_.back().at, false)) break;
    ring(bell_->data, *bells_, true);
  }
  attached_.session->detach(attached_.attachment);
}

void ProducerEngine::pad(std::uint64_t length) noexcept {
  protocol::RecordHeader* header = record(tail_);
  header->length = static_cast<std::uint32_t>(length - payload_offset_);
  header->sequence = static_cast<std::uint32_t>(sequence_);
  header->flags = 0;
  header->extension_length = 0;
  header->type = static_cast<std::uint8_t>(protocol::RecordType::padding);
  header->commit.store_release(protocol::commit_word(protocol::RecordState::padding, tail_, geometry_.capacity_log2));
  ATOLL_KILL_POINT("claim.padded");
}

void ProducerEngine::publish_settled() noexcept {
  if (loans_.empty())
    publish(tail_, sequence_);
  else
    publish(loans_.front().at, loans_.front().sequence);
}

std::uint64_t ProducerEngine::own_bound() const noexcept {
  return (loans_.empty() ? tail_ : loans_.front().at) + geometry_.capacity;
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

std::uint64_t ProducerEngine::least_cursor() noexcept {
  const std::uint32_t active = header_->active_groups.load_acquire();
  std::uint64_t least = kUnbounded;
  const std::uint64_t oldest = tail_ > geometry_.capacity ? tail_ - geometry_.capacity : 0;
  for (GroupInUse& group : groups_) {
    if ((active & (1u << group.id)) == 0) continue;
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
  const auto bound = [&]() -> std::uint64_t {
    const std::uint64_t cursor = held_back ? least_cursor() : kUnbounded;
    return std::min(cursor == kUnbounded ? kUnbounded : cursor + geometry_.capacity, own_bound());
  };
  if (held_back && !groups_known()) return Room::no_groups;
  std::uint64_t most = bound();
  if (end > most) return Room::full;
  std::uint64_t raised = std::max(published_limit_, std::min(end + geometry_.capacity / 8, most));
  if (tail_ >= checkpoint_at_ + geometry_.capacity / 16 && loans_.empty()) {
    const std::uint64_t count = lane_->checkpoint_count.load_relaxed();
    protocol::Checkpoint& checkpoint = lane_->checkpoints[count % protocol::kCheckpoints];
    checkpoint.position.store_relaxed(tail_);
    checkpoint.sequence.store_relaxed(sequence_);
    lane_->checkpoint_count.store_release(count + 1);
    checkpoint_at_ = tail_;
  }
  // SYNC limit: store, fence, look at the groups again. Pairs with the broker's making of a group.
  // Release: who sees it sees the checkpoint and the tail that were stored before it.
  lane_->limit.store_release(raised);
  ATOLL_KILL_POINT("limit.stored");
  protocol::full_fence();
  if (held_back) {
    const bool known = groups_known();
    most = known ? bound() : published_limit_;
    if (raised > most) {
      raised = std::max(most, published_limit_);
      lane_->limit.store_release(raised);
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

Errc ProducerEngine::make_room(std::uint64_t length, Place& place, Deadline deadline) {
  Session& session = *attached_.session;
  if (length > max_payload_) return Errc::too_large;
  bells_ = &session.bells();
  if (finished_) {
    finished_ = false;
    lane_->finished.store_release(0);
  }
  if (fence_ && registered_for_membarrier(*process_)) {
    protocol::full_fence();
    fence_ = false;
    lane_->wake_mode.store_release(static_cast<std::uint32_t>(protocol::WakeMode::registered));
  }
  // Readers may have to empty the ring first.
  ring(bell_->data, *bells_, fence_);
  Clock clock(deadline);
  bool counted = false;
  for (;;) {
    if (header_->state.load_acquire() != static_cast<std::uint32_t>(protocol::SegmentState::live) || attached_.attachment->lost.load()) return Errc::removed;
    Room room = raise_limit(place.end);
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
    if (room == Room::made) return Errc::ok;
    if (attached_.manifest.when_full == protocol::WhenFull::drop_new) {
      lane_->dropped.store_relaxed(lane_->dropped.load_relaxed() + 1);
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
    }
    const auto changed = [&] {
      if (!groups_known()) return true;
      const std::uint64_t least = least_cursor();
      return least == kUnbounded || place.end <= least + geometry_.capacity ||
             header_->state.load_acquire() != static_cast<std::uint32_t>(protocol::SegmentState::live);
    };
    if (clock.left() == 0) {
      if (!notice_.wanted()) return Errc::timed_out;
      session.notifier().arm(notice_);
      static_cast<void>(Sleeper::arm(session, bell_->room));
      if (!changed()) return Errc::timed_out;
      session.notifier().tell(notice_);
      continue;
    }
    if (sleeper_.spin(changed)) continue;
    switch (sleeper_.sleep(session, bell_->room, clock, interruptible_, changed)) {
      case Woken::look_again: break;
      case Woken::interrupted: return Errc::interrupted;
      case Woken::timed_out:
        if (!changed()) return Errc::timed_out;
    }
  }
}

Result<ProducerEngine::Lent> ProducerEngine::loan(std::uint64_t length, std::uint16_t content, Deadline deadline) {
  if (!same_process(*process_, identity_)) return fail(Errc::forked);
  Place place;
  if (!find(length, place))
    if (const Errc made = make_room(length, place, deadline); made != Errc::ok) return tl::unexpected(detail_error(made, length));
  const std::uint64_t sequence = sequence_;
  begin(place, length, content, true);
  loans_.push_back({place.at, sequence});
  publish_settled();
  return Lent{payload(place.at), place.at};
}

Result<void> ProducerEngine::settle(std::uint64_t token, bool commit) {
  if (!same_process(*process_, identity_)) return fail(Errc::forked);
  const auto loan = std::find_if(loans_.begin(), loans_.end(), [&](const OpenLoan& open) { return open.at == token; });
  if (loan == loans_.end())
    return fail(Errc::invalid_argument, "this is not an open loan of this producer of '" + attached_.manifest.name + "'", attached_.manifest.name, 0,
                "commit or abort a loan once");
  ATOLL_KILL_POINT("loan.settling");
  record(token)->commit.store_release(
      protocol::commit_word(commit ? protocol::RecordState::committed : protocol::RecordState::aborted, token, geometry_.capacity_log2));
  ATOLL_KILL_POINT("loan.settled");
  if (!commit) lane_->aborted.store_relaxed(lane_->aborted.load_relaxed() + 1);
  loans_.erase(loan);
  publish_settled();
  ring(bell_->data, *bells_, fence_);
  return {};
}

Result<void> ProducerEngine::finish() {
  if (!same_process(*process_, identity_)) return fail(Errc::forked);
  lane_->finished.store_release(tail_ | 1);
  ATOLL_KILL_POINT("finish.stored");
  finished_ = true;
  limit_ = 0;  // the next send takes it back
  ring(bell_->data, *bells_, fence_);
  return {};
}

Result<int> ProducerEngine::event_fd() {
  if (!same_process(*process_, identity_)) return fail(Errc::forked);
  return attached_.session->notifier().event_fd(notice_);
}

Result<void> ProducerEngine::set_notify(void (*notify)(void*), void* context) {
  if (!same_process(*process_, identity_)) return fail(Errc::forked);
  return attached_.session->notifier().set_callback(notice_, notify, context);
}

Result<ProducerInfo> ProducerEngine::info() const {
  if (!same_process(*process_, identity_)) return fail(Errc::forked);
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
