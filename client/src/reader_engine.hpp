// Reading a stream: what group members and observers have in common.
//
// Keeps the lanes mapped as they come and go, waits, and knows when the stream has ended. What is
// read, and what releasing means, is for GroupReader and ObserverReader. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "atoll/fast_path.hpp"
#include "atoll/protocol/bell.hpp"
#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/group.hpp"
#include "atoll/protocol/lane.hpp"
#include "atoll/protocol/lane_walk.hpp"
#include "atoll/protocol/segment_header.hpp"
#include "attached.hpp"
#include "bell_ringer.hpp"
#include "notifier.hpp"
#include "process.hpp"

namespace atoll_ipc {

class ReaderEngine : public detail::FastReader {
 public:
  using Raw = detail::RawView;

  static Result<std::unique_ptr<ReaderEngine>> open_group(const std::shared_ptr<Session>& session, const ConnectOptions& how, const std::string& name,
                                                          const ConsumerOptions& options);
  static Result<std::unique_ptr<ReaderEngine>> open_observer(const std::shared_ptr<Session>& session, const ConnectOptions& how, const std::string& name,
                                                             const ObserverOptions& options);
  virtual ~ReaderEngine();
  ReaderEngine(const ReaderEngine&) = delete;
  ReaderEngine& operator=(const ReaderEngine&) = delete;

  // Fills up to `max`; waits for the first only. ok, or the code; detail_error() tells more.
  Errc receive(Raw* out, std::size_t max, std::size_t& count, Deadline deadline) {
    for (count = 0;;) {
      while (count < max && take(out[count])) ++count;
      if (count == max) return Errc::ok;
      if (count == 0 && watch(deadline.timeout_ns()) && take(out[0])) {
        ++count;
        continue;
      }
      // One record the slow way may open a batch that the fast path can go on with.
      const std::size_t before = count;
      if (const Errc code = receive_slow(out, before + 1, count, deadline); code != Errc::ok || count == before) return count > 0 ? Errc::ok : code;
    }
  }
  // Goes on from `count` records, which the fast path found; waits only if there are none.
  Errc receive_slow(Raw* out, std::size_t max, std::size_t& count, Deadline deadline);
  // 1 to `max` records that lie in one batch one after another.
  struct Run {
    const detail::Item* items = nullptr;
    std::uint64_t token = 0;  // of the first
    std::uint64_t lost = 0;
    std::uint32_t count = 0;
    std::uint16_t lane = 0;
    std::uint16_t deliveries = 0;
  };
  Errc receive_run(Run& run, std::size_t max, Deadline deadline);
  // `waited`: it was not asked without waiting, where nobody reads the text.
  [[nodiscard]] Error detail_error(Errc code, bool waited = false) const;

  Errc release(std::uint64_t token) { return release_at_once(token) ? Errc::ok : release_slow(token); }
  // No: the library decides.
  [[gnu::always_inline]] bool release_at_once(std::uint64_t token) {
    if (token >= token_) [[unlikely]]
      return false;
    const Released released = release_fast(token, item_at(token));
    if (released == Released::and_wake) [[unlikely]]
      wake_producer();
    return released != Released::no;
  }
  // `count` records of one batch from this one on.
  Errc release_run(std::uint64_t token, std::uint32_t count);
  Errc release_slow(std::uint64_t token) { return Pause(*this), do_release(token); }
  // After Released::and_wake.
  virtual void wake_producer() noexcept {}
  // The record of a view that is not released; it stays where it is until then.
  [[nodiscard]] virtual const detail::Item* item_of(std::uint64_t token) const noexcept = 0;
  Errc acknowledge(std::uint64_t token) { return Pause(*this), do_acknowledge(token); }
  Errc acknowledge_up_to(std::uint64_t token) { return Pause(*this), do_acknowledge_up_to(token); }
  Errc reject(std::uint64_t token) { return Pause(*this), do_reject(token); }

  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<ReaderInfo> info();
  [[nodiscard]] bool foreign() const noexcept { return !origin_.here(); }

 protected:
  struct Lane {
    unsigned number = 0;
    std::uint64_t incarnation = 0;
    std::shared_ptr<Mapping> mapping;
    const protocol::LaneHeader* header = nullptr;
    const std::byte* ring = nullptr;
    protocol::LanePosition* place = nullptr;  // the group's, in its file; null for observers
    std::uint64_t position = 0;  // observers and exclusive groups: the next record
    std::uint64_t sequence = 0;  // its number
    bool damaged = false;
    bool reported = false;
    bool gone = false;           // does not exist any more; kept until it is read
    std::uint64_t redelivered_below = 0;
    std::uint64_t lost = 0;      // to be told with the next record
    bool started = false;
  };

  static constexpr std::uint32_t kLooksBetween = 1u << 14;  // who only spins sees to other things after so many, some 0.3 ms

  explicit ReaderEngine(Attached attached);
  Result<void> adopt_files();

  // Takes back from FastReader what the caller did with it, and gives it anew. Whatever looks at lanes or
  // batches stands between the two.
  virtual void pause_fast() noexcept {}
  virtual void open_fast() noexcept {}
  class Pause {
   public:
    explicit Pause(ReaderEngine& engine) noexcept : engine_(engine) { engine_.pause_fast(); }
    ~Pause() { engine_.open_fast(); }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    ReaderEngine& engine_;
  };

  virtual Errc do_release(std::uint64_t token) = 0;
  virtual Errc do_release_run(std::uint64_t token, std::uint32_t count);
  virtual Errc do_acknowledge(std::uint64_t token) = 0;
  virtual Errc do_acknowledge_up_to(std::uint64_t token) = 0;
  virtual Errc do_reject(std::uint64_t token) = 0;

  // What there is right now, without waiting. 0 = nothing. problem_ is set on a code other than ok.
  virtual Errc fill(Raw* out, std::size_t max, std::size_t& count) = 0;
  // The record after this one, if it is there and lies behind it in the same batch.
  virtual bool fill_alike(Raw& /*out*/, std::uint64_t /*after*/) { return false; }
  // Cheap: might fill() find something?
  [[nodiscard]] virtual bool anything() = 0;
  // The position of the next record that nobody was given, here or in the whole group.
  [[nodiscard]] virtual std::uint64_t next_in(const Lane& lane) const noexcept = 0;
  // Is anything still with others?
  [[nodiscard]] virtual bool others_hold() { return false; }
  // Nothing was found: the lane of which the fast path may say so by itself from now on.
  [[nodiscard]] virtual const Lane* only_lane() { return nullptr; }
  // A lane has been mapped.
  virtual void lane_added(Lane& lane) = 0;
  // A lane is about to be forgotten: its file is gone and read.
  virtual void lane_leaves(const Lane&) {}
  [[nodiscard]] virtual std::uint64_t outstanding() const = 0;

  [[nodiscard]] bool changed() const noexcept { return header_->changes.load_acquire() != changes_; }
  [[nodiscard]] bool live() const noexcept {
    return header_->state.load_acquire() == static_cast<std::uint32_t>(protocol::SegmentState::live) && !attached_.attachment->lost.load(std::memory_order_relaxed);
  }
  // Do the producers of all lanes fence before they look at the sleepers? Then a sleeper needs no membarrier.
  [[nodiscard]] bool producers_fence() const noexcept {
    for (const auto& lane : lanes_)
      if (lane->header->wake_mode.load_acquire() != static_cast<std::uint32_t>(protocol::WakeMode::fenced)) return false;
    return true;
  }
  // Does the word at this position let a reader go on?
  [[nodiscard]] bool decided_at(const Lane& lane, std::uint64_t position) const noexcept {
    const auto* header = reinterpret_cast<const protocol::RecordHeader*>(lane.ring + ((position & mask_) & ~15ull));
    return protocol::decided(header->commit.load_acquire(), protocol::commit_word(protocol::RecordState::empty, position, capacity_log2_));
  }
  // May releases go without a fence before they look for a sleeping producer?
  void set_fence(bool fence) noexcept {
    fence_ = fence;
    sleepers_seen_ = fence ? &detail::kMaybe : room_sleepers_;
  }
  void learn_lanes();
  [[nodiscard]] bool ended();
  // Where nothing was found: is there a lane that contradicts itself?
  Errc look_for_damage();
  Errc damaged(Lane& lane, std::uint64_t position);

  Attached attached_;
  WipedOnFork<detail::ReaderGate> wiped_;
  Mapping header_mapping_;
  Mapping bell_mapping_;
  const protocol::SegmentHeader* header_ = nullptr;
  protocol::BellFile* bell_ = nullptr;
  ProcessPage* process_ = nullptr;
  protocol::RingGeometry geometry_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::size_t turn_ = 0;  // which lane is looked at first
  bool copies_ = false;
  bool interruptible_ = false;
  Access lane_access_ = Access::read;
  std::uint64_t mask_ = 0;
  unsigned capacity_log2_ = 0;
  bool automatic_ = true;  // releasing acknowledges
  bool spins_always_ = false;
  Sleeper sleeper_;
  std::uint64_t received_ = 0;
  std::uint64_t received_when_empty_ = 0;
  std::uint64_t lost_ = 0;
  Error problem_{Errc::ok};

 private:
  // What fill() answered: records first, and a damaged lane, which it tells once, with the next call.
  [[nodiscard]] Errc answer(Errc code, std::size_t count) noexcept {
    if (count > 0 && code == Errc::lane_damaged) {
      postponed_ = code;
    }
    return count > 0 ? Errc::ok : code;
  }

  // As in watch(), where there are several lanes or members.
  void let_producers_get_ahead() noexcept {
    const std::uint64_t row = received_ - std::exchange(received_when_empty_, received_);
    for (std::uint64_t i = row < 2 ? 0 : 4 * row < most_pauses_ ? 4 * row : most_pauses_; i > 0; --i) protocol::spin_pause();
  }

  // For who never sleeps: looks for a while, and does what a sleep would have done beside waiting.
  template <class Ready>
  Errc look_long(Ready&& ready);
  Errc receive_paused(Raw* out, std::size_t max, std::size_t& count, Deadline deadline);

  Errc postponed_ = Errc::ok;
  bool emptied_ = false;  // the last run ended where there was no further record
  std::int64_t learn_again_ns_ = 0;
  Notice notice_;
};

}  // namespace atoll_ipc
