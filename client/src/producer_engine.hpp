// Writing a stream: a producer's lane.
//
// The fast path is FastProducer (atoll/fast_path.hpp); everything that can wait or fail is here. Follows
// SPEC.md, "Writing a record" and "Limit and groups", step by step. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "atoll/fast_path.hpp"
#include "atoll/protocol/bell.hpp"
#include "atoll/protocol/segment_header.hpp"
#include "attached.hpp"
#include "bell_ringer.hpp"
#include "notifier.hpp"
#include "process.hpp"

namespace atoll_ipc {

class ProducerEngine final : public detail::FastProducer {
 public:
  static Result<std::unique_ptr<ProducerEngine>> open(const std::shared_ptr<Session>& session, const ConnectOptions& how, const std::string& name,
                                                      Deadline wait);
  ~ProducerEngine();
  ProducerEngine(const ProducerEngine&) = delete;
  ProducerEngine& operator=(const ProducerEngine&) = delete;

  // ok, or the code of what went wrong; detail_error() then tells more. No allocation on the way.
  Errc send(const void* data, std::uint64_t length, std::uint16_t content, Deadline deadline) {
    const Errc stored = store(data, length, content, deadline);
    if (stored == Errc::ok) [[likely]]
      flush();
    return stored;
  }
  // Without ringing: for several in a row; flush() after the last.
  Errc store(const void* data, std::uint64_t length, std::uint16_t content, Deadline deadline) {
    return store_fast(data, length, content) ? Errc::ok : store_slow(data, length, content, deadline);
  }
  // Several; get(i) is a span of bytes. `n`: how many were stored or dropped, also on failure. Rings.
  template <class Get>
  Errc send_many(std::size_t count, std::size_t& n, std::uint16_t content, Deadline deadline, Get&& get) {
    Errc code = Errc::ok;
    for (n = 0; n < count;) {
      if (const std::size_t stored = store_many_fast(count - n, content, [&](std::size_t i) { return get(n + i); }); stored > 0) {
        n += stored;
        continue;
      }
      const std::span<const std::byte> data = get(n);
      code = store_slow(data.data(), data.size(), content, deadline);
      if (code != Errc::ok && code != Errc::dropped) break;
      code = Errc::ok;
      ++n;
    }
    if (code != Errc::forked) flush();
    return code;
  }
  Errc store_slow(const void* data, std::uint64_t length, std::uint16_t content, Deadline deadline);
  void flush() noexcept {
    if (somebody_sleeps()) [[unlikely]]
      wake();
  }
  // After somebody_sleeps().
  void wake() noexcept;

  struct Lent {
    std::byte* data;
    std::uint64_t token;
  };
  Result<Lent> loan(std::uint64_t length, std::uint16_t content, Deadline deadline);
  Result<void> settle(std::uint64_t token, bool commit);
  Result<void> finish();
  Result<int> event_fd();
  Result<void> set_notify(void (*notify)(void*), void* context);
  [[nodiscard]] Result<ProducerInfo> info() const;
  // What the last Errc of send was about.
  [[nodiscard]] Error detail_error(Errc code, std::uint64_t length) const;

 private:
  struct Place {
    std::uint64_t at = 0;    // where the record starts
    std::uint64_t span = 0;  // of the record
    std::uint64_t end = 0;   // after its terminator
  };
  struct GroupInUse {
    unsigned id = 0;
    Mapping mapping;
    std::uint64_t incarnation = 0;
    std::uint64_t good_cursor = 0;
    bool seen = false;
  };
  struct OpenLoan {
    std::uint64_t at;
    std::uint64_t sequence;
  };

  explicit ProducerEngine(Attached attached);
  Result<void> take_over();

  [[nodiscard]] std::byte* payload(std::uint64_t position) const noexcept {
    return ring_ + (position & mask_) + payload_offset_;
  }
  // Where the record goes; false if there is no room for it, or it is too large.
  bool find(std::uint64_t length, Place& place) const noexcept;
  // Steps 2 to 5; tail_ and sequence_ move on.
  void begin(const Place& place, std::uint64_t length, std::uint16_t content) noexcept;
  // The place says nothing to readers of its lap.
  void silence(std::uint64_t position) noexcept;
  void pad(std::uint64_t length) noexcept;
  // Lets the fast path go as far as the lap and the limit allow.
  void open_up() noexcept;
  void set_gate() noexcept { gate_->open_until = only_loan_ == kNoLoan ? open_until_ : 0; }
  void set_fence(bool fence) noexcept {
    fence_ = fence;
    sleepers_seen_ = fence ? &detail::kMaybe : data_sleepers_;
  }
  void add_loan(const OpenLoan& loan);
  bool remove_loan(std::uint64_t token) noexcept;
  [[nodiscard]] OpenLoan oldest_loan() const noexcept {
    return only_loan_ == kSeveralLoans ? loans_.front() : OpenLoan{only_loan_, only_loan_sequence_};
  }
  void publish_settled() noexcept;
  void set_wake_mode(bool fence) noexcept;
  // Waits until there is an eighth of the ring, as long as readers go on. False: they do not.
  bool wait_for_plenty(std::uint64_t end) noexcept;
  // With which cursor the wait for room is over; to be said before sleeping.
  void want_room(std::uint64_t cursor) noexcept;
  // How far the limit is raised: for this record, for some, or to the lap's end. `place` may change.
  enum class Stride : std::uint8_t { record, some, lap };
  Stride choose_stride(Place& place) noexcept;
  // The wait is over, with or without room.
  void stop_wanting() noexcept;
  Errc wait_for_room(std::uint64_t length, Place& place, Deadline deadline);
  Errc make_room(std::uint64_t length, Place& place, Deadline deadline);
  // Raises limit_ to cover `end` if the cursors allow.
  enum class Room { made, full, no_groups };
  Room raise_limit(std::uint64_t end);
  [[nodiscard]] bool groups_known() const noexcept;
  // One lane, one group.
  [[nodiscard]] bool single_file() const noexcept;
  // Those of groups that may be shared always do, after they moved a cursor.
  [[nodiscard]] bool readers_fence() const noexcept;
  Result<void> learn_groups();
  // `as_known`: as far as they were when last looked at.
  [[nodiscard]] std::uint64_t least_cursor(bool as_known = false) noexcept;
  // The published tail is a cursor too: open loans are not written over, and the tail stays readable.
  [[nodiscard]] std::uint64_t own_bound() const noexcept;

  Attached attached_;
  WipedOnFork<detail::ProducerGate> wiped_;
  Mapping header_mapping_;
  Mapping bell_mapping_;
  Mapping lane_mapping_;

  ProcessPage* process_ = nullptr;
  protocol::BellFile* bell_ = nullptr;
  protocol::BellsFile* bells_ = nullptr;
  protocol::RingGeometry geometry_;
  std::uint64_t limit_ = 0;  // 0 sends the next record through make_room()
  std::vector<OpenLoan> loans_;  // when they are several, in order of position; only_loan_ then says so

  const protocol::SegmentHeader* header_ = nullptr;
  std::uint64_t published_limit_ = 0;
  std::uint64_t checkpoint_at_ = 0;
  std::vector<GroupInUse> groups_;
  std::uint64_t changes_ = 0;
  std::uint64_t rang_at_ = 0;   // sequence_ when somebody was woken last
  unsigned rings_ = 0;          // in a row, with few records between
  unsigned little_room_ = 0;    // where waiting for plenty was in vain: how often to take little room before it is tried again
  unsigned little_room_left_ = 0;
  Stride stride_ = Stride::some;  // of the record that room is made for
  std::int64_t timed_ns_ = 0;         // when it was chosen last, and
  std::uint64_t timed_sequence_ = 0;  // sequence_ then
  bool interruptible_ = false;
  bool finished_ = false;
  bool armed_ = false;            // notice_ waits for the cursor armed_for_
  std::uint64_t armed_for_ = 0;
  Error problem_{Errc::ok};
  Sleeper sleeper_;
  Notice notice_;
};

}  // namespace atoll_ipc
