// Writing a stream: a producer's lane.
//
// The fast path (place, write, publish, ring) is inline and touches only the lane and private
// members; everything that can wait or fail is in the .cpp. Follows SPEC.md, "Writing a record" and
// "Limit and groups", step by step. One thread at a time.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "atoll/protocol/bell.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "atoll/protocol/lane.hpp"
#include "atoll/protocol/record.hpp"
#include "atoll/protocol/segment_header.hpp"
#include "attached.hpp"
#include "bell_ringer.hpp"
#include "copy_bytes.hpp"
#include "notifier.hpp"

namespace atoll_ipc {

class ProducerEngine {
 public:
  static Result<std::unique_ptr<ProducerEngine>> open(const std::shared_ptr<Session>& session, const std::string& name, Deadline wait,
                                                      bool interruptible);
  ~ProducerEngine();
  ProducerEngine(const ProducerEngine&) = delete;
  ProducerEngine& operator=(const ProducerEngine&) = delete;

  // ok, or the code of what went wrong; detail_error() then tells more. No allocation on the way.
  Errc send(const void* data, std::uint64_t length, std::uint16_t content, Deadline deadline) {
    const Errc stored = store(data, length, content, deadline);
    if (stored == Errc::ok) [[likely]]
      ring(bell_->data, *bells_, fence_);
    return stored;
  }
  // Without ringing: for several in a row; flush() after the last.
  Errc store(const void* data, std::uint64_t length, std::uint16_t content, Deadline deadline) {
    if (!same_process(*process_, identity_)) [[unlikely]]
      return Errc::forked;
    Place place;
    if (!find(length, place)) [[unlikely]] {
      if (const Errc made = make_room(length, place, deadline); made != Errc::ok) return made;
    }
    begin(place, length, content, false);
    ATOLL_KILL_POINT("send.begun");
    copy_bytes(payload(place.at), data, length);
    ATOLL_KILL_POINT("send.written");
    // SYNC commit: pairs with look_at(). Producer dies before: the broker drops it. After: delivered.
    record(place.at)->commit.store_release(protocol::commit_word(protocol::RecordState::committed, place.at, geometry_.capacity_log2));
    ATOLL_KILL_POINT("send.committed");
    if (loans_.empty()) [[likely]]
      publish(tail_, sequence_);
    return Errc::ok;
  }
  void flush() noexcept { ring(bell_->data, *bells_, fence_); }

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
  Result<void> take_over(bool interruptible);

  [[nodiscard]] protocol::RecordHeader* record(std::uint64_t position) const noexcept {
    return reinterpret_cast<protocol::RecordHeader*>(ring_ + (position & (geometry_.capacity - 1)));
  }
  [[nodiscard]] std::byte* payload(std::uint64_t position) const noexcept {
    return ring_ + (position & (geometry_.capacity - 1)) + payload_offset_;
  }
  // Where the record goes; false if the slow path must decide.
  bool find(std::uint64_t length, Place& place) const noexcept {
    place.span = payload_offset_ + protocol::round_up(length, geometry_.alignment);
    const std::uint64_t offset = tail_ & (geometry_.capacity - 1);
    place.at = offset + place.span > geometry_.capacity ? tail_ + (geometry_.capacity - offset) : tail_;
    place.end = place.at + place.span + protocol::kRecordHeaderSize;
    return length <= max_payload_ && place.end <= limit_;
  }
  // Steps 2 to 5; tail_ and sequence_ move on.
  void begin(const Place& place, std::uint64_t length, std::uint16_t content, bool claim) noexcept {
    using protocol::RecordState;
    protocol::RecordHeader* header = record(place.at);
    header->length = static_cast<std::uint32_t>(length);
    header->sequence = static_cast<std::uint32_t>(sequence_);
    header->flags = content;
    header->extension_length = 0;
    header->type = static_cast<std::uint8_t>(protocol::RecordType::data);
    record(place.at + place.span)->commit.store_relaxed(protocol::commit_word(RecordState::empty, place.at + place.span, geometry_.capacity_log2));
    ATOLL_KILL_POINT("claim.terminated");
    if (claim)
      header->commit.store_release(protocol::commit_word(RecordState::claimed, place.at, geometry_.capacity_log2));
    else if (place.at != tail_)
      header->commit.store_relaxed(protocol::commit_word(RecordState::empty, place.at, geometry_.capacity_log2));
    ATOLL_KILL_POINT("claim.claimed");
    if (place.at != tail_) [[unlikely]]
      pad(place.at - tail_);
    tail_ = place.at + place.span;
    ++sequence_;
  }
  void pad(std::uint64_t length) noexcept;
  // `sequence` first: see LaneHeader::tail.
  void publish(std::uint64_t tail, std::uint64_t sequence) noexcept {
    lane_->sequence.store_release(sequence);
    lane_->tail.store_release(tail);
  }
  void publish_settled() noexcept;
  Errc make_room(std::uint64_t length, Place& place, Deadline deadline);
  // Raises limit_ to cover `end` if the cursors allow.
  enum class Room { made, full, no_groups };
  Room raise_limit(std::uint64_t end);
  [[nodiscard]] bool groups_known() const noexcept;
  Result<void> learn_groups();
  [[nodiscard]] std::uint64_t least_cursor() noexcept;
  // The published tail is a cursor too: open loans are not written over, and the tail stays readable.
  [[nodiscard]] std::uint64_t own_bound() const noexcept;

  Attached attached_;
  Mapping header_mapping_;
  Mapping bell_mapping_;
  Mapping lane_mapping_;

  // Fast path, together.
  ProcessPage* process_ = nullptr;
  std::uint64_t identity_ = 0;
  std::byte* ring_ = nullptr;
  protocol::LaneHeader* lane_ = nullptr;
  protocol::BellFile* bell_ = nullptr;
  protocol::BellsFile* bells_ = nullptr;
  protocol::RingGeometry geometry_;
  std::uint64_t payload_offset_ = 16;
  std::uint64_t max_payload_ = 0;
  std::uint64_t tail_ = 0;
  std::uint64_t limit_ = 0;  // 0 sends the next record through make_room()
  std::uint64_t sequence_ = 0;
  bool fence_ = true;
  std::vector<OpenLoan> loans_;  // in order of position

  const protocol::SegmentHeader* header_ = nullptr;
  std::uint64_t published_limit_ = 0;
  std::uint64_t checkpoint_at_ = 0;
  std::vector<GroupInUse> groups_;
  std::uint64_t changes_ = 0;
  bool interruptible_ = false;
  bool finished_ = false;
  Error problem_{Errc::ok};
  Sleeper sleeper_;
  Notice notice_;
};

}  // namespace atoll_ipc
