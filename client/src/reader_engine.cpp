#include "reader_engine.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "group_reader.hpp"
#include "observer_reader.hpp"

namespace atoll_ipc {

using protocol::Role;

ReaderEngine::ReaderEngine(Attached attached) : attached_(std::move(attached)) {}

ReaderEngine::~ReaderEngine() {
  if (process_ == nullptr || foreign()) return;
  if (notice_.wanted()) attached_.session->notifier().remove(notice_);
  attached_.session->detach(attached_.how, attached_.attachment);
}

Result<std::unique_ptr<ReaderEngine>> ReaderEngine::open_group(const std::shared_ptr<Session>& session, const ConnectOptions& how,
                                                               const std::string& name, const ConsumerOptions& options) {
  if (options.prefetch > protocol::kClaimRecords)
    return fail(Errc::invalid_argument, "prefetch is " + std::to_string(options.prefetch) + ", it goes from 1 to 64", name, options.prefetch);
  AttachRequest request;
  request.name = name;
  request.role = "consume";
  request.group = options.group;
  request.group_options = {{"exclusive", options.exclusive}, {"ephemeral", options.ephemeral}};
  request.group_options["start"] = options.start == Start::earliest ? "earliest" : options.start == Start::latest ? "latest" : "back";
  if (options.start == Start::back) request.group_options["start_back"] = options.back;
  request.wait = options.wait;
  request.lane_access = options.private_views ? Access::private_copy : Access::read;
  auto attached = attach(session, how, request);
  if (!attached) return tl::unexpected(attached.error());
  auto reader = std::make_unique<GroupReader>(std::move(*attached), options);
  reader->lane_access_ = request.lane_access;
  if (auto opened = reader->open(); !opened) return tl::unexpected(opened.error());
  return reader;
}

Result<std::unique_ptr<ReaderEngine>> ReaderEngine::open_observer(const std::shared_ptr<Session>& session, const ConnectOptions& how,
                                                                  const std::string& name, const ObserverOptions& options) {
  AttachRequest request;
  request.name = name;
  request.role = "observe";
  request.wait = options.wait;
  auto attached = attach(session, how, request);
  if (!attached) return tl::unexpected(attached.error());
  auto reader = std::make_unique<ObserverReader>(std::move(*attached), options);
  if (auto opened = reader->open(); !opened) return tl::unexpected(opened.error());
  return reader;
}

Result<void> ReaderEngine::adopt_files() {
  interruptible_ = attached_.how.interruptible;
  process_ = &process_page();
  origin_ = {&process_->identity, attached_.session->identity()};
  gate_ = wiped_.get();
  if (gate_ == nullptr) return fail(errno == ENOMEM ? Errc::no_space : Errc::not_supported, "the system gave no memory that it wipes in forked children (MADV_WIPEONFORK)", attached_.manifest.name);
  geometry_ = attached_.geometry();
  mask_ = geometry_.capacity - 1;
  capacity_log2_ = geometry_.capacity_log2;
  payload_offset_ = protocol::payload_offset(0, geometry_.alignment);
  record_end_ = detail::RecordEnd(payload_offset_, geometry_.alignment);
  auto header = attached_.take(Role::header);
  auto bell = attached_.take(Role::bell);
  if (!header) return tl::unexpected(header.error());
  if (!bell) return tl::unexpected(bell.error());
  header_mapping_ = std::move(*header);
  bell_mapping_ = std::move(*bell);
  header_ = header_mapping_.as<const protocol::SegmentHeader>();
  bell_ = bell_mapping_.as<protocol::BellFile>();
  changes_word_ = &header_->changes;
  room_sleepers_ = &bell_->room.summary;
  changes_ = attached_.changes;
  for (AttachedFile& file : attached_.files) {
    if (file.role != Role::lane) continue;
    auto lane = std::make_unique<Lane>();
    lane->number = file.index;
    lane->incarnation = file.incarnation;
    lane->mapping = std::make_shared<Mapping>(std::move(file.mapping));
    lane->header = lane->mapping->as<const protocol::LaneHeader>();
    lane->ring = lane->mapping->data() + protocol::kPageSize;
    lanes_.push_back(std::move(lane));
  }
  attached_.files.clear();
  return {};
}

void ReaderEngine::learn_lanes() {
  const std::uint64_t changes = header_->changes.load_acquire();
  if (learn_again_ns_ != 0 && monotonic_ns() < learn_again_ns_) return;
  nlohmann::json have = nlohmann::json::array();
  for (const auto& lane : lanes_)
    if (!lane->gone) have.push_back({lane->number, lane->incarnation});
  nlohmann::json groups = nlohmann::json::array();
  auto refreshed = refresh(attached_, have, groups, lane_access_);
  if (!refreshed) {
    // Without a broker the lanes we have go on; ask again soon.
    learn_again_ns_ = monotonic_ns() + 50'000'000;
    return;
  }
  learn_again_ns_ = 0;
  changes_ = changes;
  const auto retire = [&](unsigned number) {
    for (const auto& lane : lanes_)
      if (lane->number == number) lane->gone = true;
  };
  for (const unsigned number : refreshed->gone_lanes) retire(number);
  for (AttachedFile& file : refreshed->files) {
    if (file.role != Role::lane) continue;
    retire(file.index);
    auto lane = std::make_unique<Lane>();
    lane->number = file.index;
    lane->incarnation = file.incarnation;
    lane->mapping = std::make_shared<Mapping>(std::move(file.mapping));
    lane->header = lane->mapping->as<const protocol::LaneHeader>();
    lane->ring = lane->mapping->data() + protocol::kPageSize;
    lane_added(*lane);
    lanes_.push_back(std::move(lane));
  }
  for (const auto& lane : lanes_)
    if (lane->gone) lane_leaves(*lane);
  std::erase_if(lanes_, [](const auto& lane) { return lane->gone; });
}

Errc ReaderEngine::damaged(Lane& lane, std::uint64_t position) {
  lane.damaged = true;
  if (lane.reported) return Errc::ok;
  lane.reported = true;
  problem_ = Error(Errc::lane_damaged, "lane " + std::to_string(lane.number) + " of '" + attached_.manifest.name + "' holds bytes at position " +
                                           std::to_string(position) + " that no producer writes (its last owner had slot " + std::to_string(lane.header->owner_slot) + ")",
                   attached_.manifest.name, lane.number);
  return Errc::lane_damaged;
}

Errc ReaderEngine::look_for_damage() {
  for (const auto& lane : lanes_) {
    if (lane->damaged) continue;
    const std::uint64_t next = next_in(*lane);
    // Another member of the group may have gone on meanwhile.
    if (protocol::nothing_below_tail(*lane->header, lane->ring, geometry_, next) && next_in(*lane) == next)
      if (const Errc code = damaged(*lane, next); code != Errc::ok) return code;
  }
  return Errc::ok;
}

bool ReaderEngine::ended() {
  bool one_finished = false;
  for (const auto& lane : lanes_) {
    if (lane->damaged) continue;
    const std::uint64_t finished = lane->header->finished.load_acquire();
    const std::uint64_t tail = lane->header->tail.load_acquire();
    if (finished != 0) {
      one_finished = true;
      if (next_in(*lane) < (finished & ~1ull)) return false;
    } else {
      if (lane->header->state.load_acquire() != static_cast<std::uint32_t>(protocol::LaneState::closed)) return false;
      if (next_in(*lane) < tail) return false;
    }
  }
  return one_finished && !changed() && !others_hold();
}

Errc ReaderEngine::receive_run(Run& run, std::size_t max, Deadline deadline) {
  if (deadline.timeout_ns() != 0 && std::exchange(emptied_, false)) stay_away();
  const std::uint64_t token = token_;
  const detail::Item* item = next();
  if (item == nullptr && watch(deadline.timeout_ns())) item = next();
  if (item != nullptr) {
    run = {item, token, 0, 1, lane_, deliveries_};
  } else {
    Raw raw;
    std::size_t count = 0;
    if (const Errc code = receive_slow(&raw, 1, count, deadline); code != Errc::ok) return code;
    run = {item_of(raw.token), raw.token, raw.lost, 1, raw.lane, raw.deliveries};
  }
  const auto most = static_cast<std::uint32_t>(std::min<std::size_t>(max, protocol::kClaimRecords));
  if (run.count < most && token_ == run.token + 1) run.count += next_many(most - run.count);
  emptied_ = run.count < most && token_ != end_ && looks_ != 0;
  if (run.count == most || token_ != end_) return Errc::ok;
  const Pause pause(*this);
  for (Raw more; run.count < most && fill_alike(more, run.token + run.count - 1);) {
    ++run.count;
    run.lost += more.lost;
  }
  return Errc::ok;
}

Errc ReaderEngine::release_run(std::uint64_t token, std::uint32_t count) {
  const std::uint64_t last = token + count - 1;
  const Released released = last < token_ ? release_fast(token, item_at(last), count) : Released::no;
  if (released == Released::and_wake) wake_producer();
  if (released != Released::no) return Errc::ok;
  const Pause pause(*this);
  return do_release_run(token, count);
}

Errc ReaderEngine::do_release_run(std::uint64_t token, std::uint32_t count) {
  Errc first = Errc::ok;
  for (; count > 0; --count)
    if (const Errc code = do_release(token++); first == Errc::ok) first = code;
  return first;
}

Errc ReaderEngine::receive_slow(Raw* out, std::size_t max, std::size_t& count, Deadline deadline) {
  const Lane* empty = nullptr;
  Errc code = Errc::ok;
  {
    const Pause pause(*this);
    code = receive_paused(out, max, count, deadline);
    if (code == Errc::timed_out && !notice_.wanted()) empty = only_lane();
  }
  empty_token_ = empty != nullptr ? token_ : kNever;
  if (empty != nullptr) finished_word_ = &empty->header->finished;
  if (postponed_ != Errc::ok) {  // the next call comes here
    end_ = token_;
    turns_over_ = false;
  }
  return code;
}

template <class Ready>
Errc ReaderEngine::look_long(Ready&& ready) {
  for (std::uint32_t i = 0; i < kLooksBetween; ++i) {
    if (ready()) return Errc::ok;
    protocol::spin_pause();
  }
  Session& session = *attached_.session;
  if ((session.bells().life.load_acquire() & protocol::kLifeDied) != 0) session.revive();
  return interruptible_ ? Errc::interrupted : Errc::ok;
}

Errc ReaderEngine::receive_paused(Raw* out, std::size_t max, std::size_t& count, Deadline deadline) {
  if (foreign()) [[unlikely]]
    return Errc::forked;
  if (max == 0) return Errc::ok;
  if (count == 0 && postponed_ != Errc::ok) [[unlikely]]
    return std::exchange(postponed_, Errc::ok);
  set_fence(!registered_for_membarrier(*process_));
  if (changed()) [[unlikely]]
    learn_lanes();
  Errc code = fill(out, max, count);
  if (count > 0 || code != Errc::ok) [[likely]]
    return answer(code, count);
  const Watched watched = std::exchange(watched_, Watched::not_at_all);
  if (watched == Watched::not_at_all) let_producers_get_ahead();
  else sleeper_.learn(watched == Watched::paid);
  bool spun = watched == Watched::in_vain;
  Clock clock(deadline);
  Session& session = *attached_.session;
  bool woken_by_end = false;
  const auto ready = [&] {
    if (anything() || changed() || !live()) return true;
    woken_by_end = ended();
    return woken_by_end;
  };
  // Spinning looks only at what is cheap.
  const auto soon = [&] { return anything() || changed(); };
  for (;;) {
    if (!live()) return Errc::removed;
    if (changed()) learn_lanes();
    code = fill(out, max, count);
    if (count > 0 || code != Errc::ok) return answer(code, count);
    if (code = look_for_damage(); code != Errc::ok) return code;
    if (ended()) return Errc::ended;
    if (clock.left() == 0) {
      if (!notice_.wanted()) return Errc::timed_out;
      session.notifier().arm(notice_);
      static_cast<void>(Sleeper::arm(session, bell_->data));
      if (ready()) {
        session.notifier().tell(notice_);
        // What is there now may as well be given now; otherwise the notice stands.
        code = fill(out, max, count);
        if (count > 0 || code != Errc::ok) return answer(code, count);
        if (ended()) return Errc::ended;
      }
      return Errc::timed_out;
    }
    if (spins_always_) {
      if (code = look_long(soon); code != Errc::ok) return code;
      continue;
    }
    if ((!std::exchange(spun, false) && sleeper_.spin(soon)) || sleeper_.yield(soon)) continue;
    const bool asking_again = changed();
    switch (asking_again ? (clock.left() == 0 ? Woken::timed_out : sleeper_.sleep(session, bell_->data, clock, interruptible_, [&] { return anything() || !live(); }, [&] { return producers_fence(); }))
                         : sleeper_.sleep(session, bell_->data, clock, interruptible_, ready, [&] { return producers_fence(); })) {
      case Woken::look_again: break;
      case Woken::interrupted: return Errc::interrupted;
      case Woken::timed_out: break;  // one more look, then clock.left() is 0
    }
  }
}

Error ReaderEngine::detail_error(Errc code, bool waited) const {
  const std::string& name = attached_.manifest.name;
  if (problem_.code() == code) return problem_;
  switch (code) {
    case Errc::timed_out: return waited ? Error(code, "nothing came on '" + name + "' in time", name) : Error(code);
    case Errc::removed:
      if (!attached_.attachment->group.empty() && header_->state.load_acquire() == static_cast<std::uint32_t>(protocol::SegmentState::live))
        return Error(code, "group '" + attached_.attachment->group + "' of '" + name + "' was removed", name, 0, "open the consumer again: that makes the group anew");
      return Error(code, "'" + name + "' was removed", name);
    case Errc::invalid_argument:
      return Error(code, "this record of '" + name + "' was acknowledged, rejected or released already", name, 0, "decide on each record once");
    case Errc::ended: return Error(code, "all producers of '" + name + "' have finished and everything was read", name);
    default: return Error(code, {}, name);
  }
}

Result<int> ReaderEngine::event_fd() {
  if (foreign()) return fail(Errc::forked);
  return attached_.session->notifier().event_fd(notice_);
}

Result<void> ReaderEngine::set_notify(void (*notify)(void*), void* context) {
  if (foreign()) return fail(Errc::forked);
  return attached_.session->notifier().set_callback(notice_, notify, context);
}

Result<ReaderInfo> ReaderEngine::info() {
  if (foreign()) return fail(Errc::forked);
  const Pause pause(*this);
  return ReaderInfo{geometry_.alignment, received_, lost_, outstanding(), static_cast<std::uint32_t>(lanes_.size()), copies_};
}

}  // namespace atoll_ipc
