// Reading a stream: what group members and observers have in common.
//
// Keeps the lanes mapped as they come and go, waits, and knows when the stream has ended. What is
// read, and what releasing means, is for GroupReader and ObserverReader. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "atoll/protocol/bell.hpp"
#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/lane.hpp"
#include "atoll/protocol/lane_walk.hpp"
#include "atoll/protocol/segment_header.hpp"
#include "attached.hpp"
#include "bell_ringer.hpp"
#include "notifier.hpp"

namespace atoll_ipc {

class ReaderEngine {
 public:
  using Raw = View::Raw;

  static Result<std::unique_ptr<ReaderEngine>> open_group(const std::shared_ptr<Session>& session, const std::string& name, const ConsumerOptions& options,
                                                          bool private_views, bool interruptible);
  static Result<std::unique_ptr<ReaderEngine>> open_observer(const std::shared_ptr<Session>& session, const std::string& name,
                                                             const ObserverOptions& options, bool interruptible);
  virtual ~ReaderEngine();
  ReaderEngine(const ReaderEngine&) = delete;
  ReaderEngine& operator=(const ReaderEngine&) = delete;

  // Fills up to `max`; waits for the first only. ok, or the code; detail_error() tells more.
  Errc receive(Raw* out, std::size_t max, std::size_t& count, Deadline deadline);
  [[nodiscard]] Error detail_error(Errc code) const;

  virtual Errc release(std::uint64_t token) = 0;
  virtual Errc acknowledge(std::uint64_t token) = 0;
  virtual Errc acknowledge_up_to(std::uint64_t token) = 0;
  virtual Errc reject(std::uint64_t token) = 0;

  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<ReaderInfo> info() const;
  [[nodiscard]] bool foreign() const noexcept { return !same_process(*process_, identity_); }

 protected:
  struct Lane {
    unsigned number = 0;
    std::uint64_t incarnation = 0;
    std::shared_ptr<Mapping> mapping;
    const protocol::LaneHeader* header = nullptr;
    const std::byte* ring = nullptr;
    bool damaged = false;
    bool reported = false;
    bool gone = false;           // does not exist any more; kept until it is read
    std::uint64_t position = 0;  // observers and exclusive groups
    std::uint64_t sequence = 0;  // of the record there
    std::uint64_t redelivered_below = 0;
    std::uint64_t lost = 0;      // to be told with the next record
    bool started = false;
  };

  explicit ReaderEngine(Attached attached);
  Result<void> adopt_files(bool interruptible);

  // What there is right now, without waiting. 0 = nothing. problem_ is set on a code other than ok.
  virtual Errc fill(Raw* out, std::size_t max, std::size_t& count) = 0;
  // Cheap: might fill() find something?
  [[nodiscard]] virtual bool anything() = 0;
  // Has everything in this lane up to its end been read?
  [[nodiscard]] virtual bool lane_read(const Lane& lane, std::uint64_t end) = 0;
  // Is anything still with others?
  [[nodiscard]] virtual bool others_hold() { return false; }
  // A lane has been mapped.
  virtual void lane_added(Lane& lane) = 0;
  [[nodiscard]] virtual std::uint64_t outstanding() const = 0;

  [[nodiscard]] bool changed() const noexcept { return header_->changes.load_acquire() != changes_; }
  [[nodiscard]] bool live() const noexcept {
    return header_->state.load_acquire() == static_cast<std::uint32_t>(protocol::SegmentState::live) && !attached_.attachment->lost.load(std::memory_order_relaxed);
  }
  void learn_lanes();
  [[nodiscard]] bool ended();
  Errc damaged(Lane& lane, std::uint64_t position);

  Attached attached_;
  Mapping header_mapping_;
  Mapping bell_mapping_;
  const protocol::SegmentHeader* header_ = nullptr;
  protocol::BellFile* bell_ = nullptr;
  ProcessPage* process_ = nullptr;
  std::uint64_t identity_ = 0;
  protocol::RingGeometry geometry_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::size_t turn_ = 0;  // which lane is looked at first
  bool copies_ = false;
  bool interruptible_ = false;
  Access lane_access_ = Access::read;
  std::uint64_t received_ = 0;
  std::uint64_t lost_ = 0;
  Error problem_{Errc::ok};

 private:
  // What fill() answered: records first, and a damaged lane, which it tells once, with the next call.
  [[nodiscard]] Errc answer(Errc code, std::size_t count) noexcept {
    received_ += count;
    in_a_row_ += count;
    if (count > 0 && code == Errc::lane_damaged) postponed_ = code;
    return count > 0 ? Errc::ok : code;
  }

  // A reader as fast as its producer would take the cache line away for every single record. After a row of
  // records it stays away from it for a moment (at most about 0.8 us) and then finds many.
  void let_producers_get_ahead() noexcept {
    for (std::uint64_t i = 4 * in_a_row_ < kMostPauses ? 4 * in_a_row_ : kMostPauses; i > 0; --i) protocol::spin_pause();
    in_a_row_ = 0;
  }

  static constexpr std::uint64_t kMostPauses = 64;
  std::uint64_t in_a_row_ = 0;  // records received since there was nothing
  Errc postponed_ = Errc::ok;
  std::uint64_t changes_ = 0;
  std::int64_t learn_again_ns_ = 0;
  Sleeper sleeper_;
  Notice notice_;
};

}  // namespace atoll_ipc
