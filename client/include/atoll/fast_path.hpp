// The fast path of producers and consumers: what is compiled into the caller.
//
// Included by atoll.hpp; the engines of the library derive from FastProducer and FastReader and do all
// that can wait, fail or call the system. Each function here either does the whole of its work or changes
// nothing and says no; the caller then goes to the library. Follows SPEC.md, "Writing a record" and
// "Groups", step by step. Not for direct use: names and layout change with kInterface, and a program is
// refused at connect() by a library of another one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "atoll/protocol/errors.hpp"
#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/group.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "atoll/protocol/lane.hpp"
#include "atoll/protocol/record.hpp"

namespace atoll_ipc::detail {

// Grows with every change of the structs below.
inline constexpr std::uint32_t kInterface = 4;

// Is this still the process that made the handle? The word is wiped in a forked child.
struct Origin {
  const std::atomic<std::uint64_t>* process = nullptr;
  std::uint64_t identity = 0;
  [[nodiscard]] bool here() const noexcept { return process->load(std::memory_order_relaxed) == identity; }
};

// What of a handle stands in memory that the kernel wipes in a forked child (process.hpp of the library). There it is
// all zero, and the fast paths, which cannot go on without it, say no: noticing a fork costs them nothing.
struct ProducerGate {
  std::uint64_t open_until = 0;  // see FastProducer::open_until_
};

using Vector [[gnu::vector_size(16), gnu::may_alias, gnu::aligned(1)]] = std::uint64_t;
using Eight [[gnu::may_alias, gnu::aligned(1)]] = std::uint64_t;  // the caller may have stored anything there

// 16 bytes, read by eights: a caller who has just written numbers or pointers into the message would else wait until
// those stores, and all before them, have left the store buffer (a load that spans two stores is not forwarded).
[[gnu::always_inline]] inline Vector load_by_eights(const std::byte* from) noexcept {
#if defined(__SSE2__)
  Vector value;
  __asm__("movq %1, %0\n\tmovhps %2, %0" : "=&x"(value) : "m"(*reinterpret_cast<const Eight*>(from)), "m"(*reinterpret_cast<const Eight*>(from + 8)));
  return value;
#else
  return *reinterpret_cast<const Vector*>(from);
#endif
}

// Small sizes are copied in line: a call costs more than the copy.
inline constexpr std::uint64_t kCopiedInLine = 256;

// Copies n bytes, at most kCopiedInLine. `to` is aligned to 16, and what lies behind it up to the next multiple of 16
// may be written.
[[gnu::always_inline]] inline void copy_small(std::byte* to, const void* data, std::uint64_t n) noexcept {
  const auto* from = static_cast<const std::byte*>(data);
  if (n < 16) {
    if (n >= 8) {
      std::memcpy(to, from, 8);
      std::memcpy(to + n - 8, from + n - 8, 8);
    } else if (n >= 4) {
      std::memcpy(to, from, 4);
      std::memcpy(to + n - 4, from + n - 4, 4);
    } else {
      for (std::uint64_t i = 0; i < n; ++i) to[i] = from[i];
    }
    return;
  }
  std::uint64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const Vector a = load_by_eights(from + i), b = load_by_eights(from + i + 16);
    const Vector c = load_by_eights(from + i + 32), d = load_by_eights(from + i + 48);
    *reinterpret_cast<Vector*>(to + i) = a;
    *reinterpret_cast<Vector*>(to + i + 16) = b;
    *reinterpret_cast<Vector*>(to + i + 32) = c;
    *reinterpret_cast<Vector*>(to + i + 48) = d;
  }
  for (; i + 16 <= n; i += 16) *reinterpret_cast<Vector*>(to + i) = load_by_eights(from + i);
  if (i < n) *reinterpret_cast<Vector*>(to + n - 16) = load_by_eights(from + n - 16);
}
[[gnu::always_inline]] inline void copy_payload(std::byte* to, const void* data, std::uint64_t n) noexcept {
  if (n > kCopiedInLine) std::memcpy(to, data, n);
  else copy_small(to, data, n);
}

// Asks for the line of `place` for writing; it may lie outside of all memory.
[[gnu::always_inline]] inline void prefetch_for_writing(const std::byte* place) noexcept {
#if defined(__x86_64__)
  __asm__ __volatile__("prefetchw %0" : : "m"(*place));  // which __builtin_prefetch does not give on every x86-64
#else
  __builtin_prefetch(place, 1);
#endif
}
// How far ahead of a record being written, in bytes. Readers had those lines a lap ago: without this each would be
// waited for, first to look at it and again to write it.
inline constexpr std::uint64_t kPrefetchAhead = 512;

// Stands in for a word that says whether somebody sleeps, where a fence is due before that is looked at.
inline constexpr protocol::Word64 kMaybe{1};

// Where a record without extensions ends that begins at `position`, a multiple of the alignment.
struct RecordEnd {
  std::uint64_t over = 31;       // payload offset + alignment - 1
  std::uint64_t mask = ~15ull;   // of the alignment
  RecordEnd() noexcept = default;
  RecordEnd(std::uint64_t payload_offset, std::uint64_t alignment) noexcept : over(payload_offset + alignment - 1), mask(~(alignment - 1)) {}
  std::uint64_t operator()(std::uint64_t position, std::uint64_t length) const noexcept { return (position + length + over) & mask; }
};

// Where the positions of one lap of a ring are: the ring's address less the position at which the lap begins. A number, for no
// object lies there, and a hostile position may wrap it.
template <class Byte>
class LapBase {
 public:
  LapBase() noexcept = default;
  LapBase(Byte* ring, std::uint64_t position, std::uint64_t mask) noexcept
      : base_(reinterpret_cast<std::uintptr_t>(ring) - static_cast<std::uintptr_t>(position & ~mask)) {}
  [[nodiscard, gnu::always_inline]] Byte* operator+(std::uint64_t position) const noexcept {
    return reinterpret_cast<Byte*>(base_ + static_cast<std::uintptr_t>(position));
  }
  [[nodiscard]] explicit operator bool() const noexcept { return base_ != 0; }

 private:
  std::uintptr_t base_ = 0;
};

// ---- Writing ----

struct FastProducer {
  static constexpr std::uint64_t kNoLoan = ~0ull;
  static constexpr std::uint64_t kSeveralLoans = ~1ull;
  static constexpr std::uint64_t kTogether = 16384;

  ProducerGate* gate_ = nullptr;
  LapBase<std::byte> lap_base_;  // lap_base_ + position is the place of a position
  std::byte* ring_ = nullptr;
  protocol::LaneHeader* lane_ = nullptr;
  const protocol::Word64* sleepers_seen_ = nullptr;  // data_sleepers_, or with fence_ kMaybe
  RecordEnd record_end_;
  std::uint64_t payload_offset_ = 16;
  std::uint64_t max_payload_ = 0;
  std::uint64_t tail_ = 0;
  std::uint64_t sequence_ = 0;
  // Records that end at or below this position need no permission: they end before the lap does, and the
  // limit covers record and terminator. 0 sends the next record through the library. The gate has it while no loan is
  // open, and 0 then.
  std::uint64_t open_until_ = 0;
  std::uint64_t only_loan_ = kNoLoan;  // position of the one open loan; several are kept by the engine
  std::uint64_t only_loan_sequence_ = 0;
  std::uint32_t empty_ = 0;      // the commit word of this lap's EMPTY places; the others' are above it
  bool fence_ = true;
  const protocol::Word64* data_sleepers_ = nullptr;  // is anybody asleep who waits for records?
  Origin origin_;
  std::uint64_t mask_ = 0;       // capacity - 1
  unsigned capacity_log2_ = 0;

  [[nodiscard]] protocol::RecordHeader* record(std::uint64_t position) const noexcept {
    return reinterpret_cast<protocol::RecordHeader*>(ring_ + (position & mask_));
  }

  // A record, committed and published, but nobody woken. No: no room known, a loan is open, another process.
  [[gnu::always_inline]] bool store_fast(const void* data, std::uint64_t length, std::uint16_t content) noexcept {
    if (length > kCopiedInLine) [[unlikely]]
      return store_large(data, length, content);
    return store<&copy_small>(data, length, content);
  }

  // The first of n records that there is room for, up to some 16 KiB, as one: the first one's commit word is
  // stored last, so that readers find all or nothing. get(i) is a span of bytes. Returns how many; 0 as
  // store_fast. Producer dies before that store: the broker drops them all.
  template <class Get>
  std::size_t store_many_fast(std::size_t n, std::uint16_t content, Get&& get) noexcept {
    const std::uint64_t first = tail_;
    std::uint64_t at = first, first_length = 0;
    std::size_t i = 0;
    const std::uint64_t open_until = gate_->open_until;
    for (; i < n && at - first < kTogether; ++i) {
      const std::span<const std::byte> data = get(i);
      const std::uint64_t end = record_end_(at, data.size());
      if (data.size() > max_payload_ || end > open_until) [[unlikely]]
        break;
      std::byte* const place = describe(at, end, content);
      ATOLL_KILL_POINT("send_many.begun");
      copy_payload(place + payload_offset_, data.data(), data.size());
      if (at != first) commit<__ATOMIC_RELAXED>(place, empty_ + kCommitted, data.size());
      else first_length = data.size();
      at = end;
      ++sequence_;
    }
    if (i == 0) return 0;
    ATOLL_KILL_POINT("send_many.written");
    // SYNC commit: as in store_fast; its release covers the others.
    commit<__ATOMIC_RELEASE>(lap_base_ + first, empty_ + kCommitted, first_length);
    ATOLL_KILL_POINT("send_many.committed");
    tail_ = at;
    publish(at, sequence_);
    return i;
  }

  // Payload memory of a new record; null: as store_fast. It becomes CLAIMED only when another one is begun
  // behind it: until then its place looks as free as it is to everybody else.
  [[gnu::always_inline]] std::byte* loan_fast(std::uint64_t length, std::uint16_t content) noexcept {
    const std::uint64_t at = tail_, end = record_end_(at, length);
    if (length > max_payload_ || end > gate_->open_until) [[unlikely]]
      return nullptr;
    std::byte* const place = describe(at, end, content);
    __atomic_store_n(reinterpret_cast<std::uint32_t*>(place + 4), static_cast<std::uint32_t>(length), __ATOMIC_RELAXED);
    ATOLL_KILL_POINT("fast.loan.begun");
    tail_ = end;
    gate_->open_until = 0;
    only_loan_ = at;
    only_loan_sequence_ = sequence_++;
    return place + payload_offset_;
  }
  // Commits the only open loan. No: it is not that.
  [[gnu::always_inline]] bool commit_fast(std::uint64_t at) noexcept {
    if (at != only_loan_ || !origin_.here()) [[unlikely]]
      return false;
    ATOLL_KILL_POINT("fast.loan.settling");
    record(at)->commit.store_release(protocol::commit_word(protocol::RecordState::committed, at, capacity_log2_));
    ATOLL_KILL_POINT("fast.loan.settled");
    only_loan_ = kNoLoan;
    gate_->open_until = open_until_;
    publish(tail_, sequence_);
    return true;
  }

  // After what was stored: is there somebody to wake?
  [[nodiscard]] [[gnu::always_inline]] bool somebody_sleeps() const noexcept {
    if (sleepers_seen_->load_relaxed() == 0) [[likely]]
      return false;
    if (!fence_) return true;
    protocol::full_fence();
    return data_sleepers_->load_relaxed() != 0;
  }

  // `sequence` first: see LaneHeader::tail.
  [[gnu::always_inline]] void publish(std::uint64_t tail, std::uint64_t sequence) noexcept {
    lane_->sequence.store_release(sequence);
    ATOLL_KILL_POINT("tail.sequence");
    lane_->tail.store_release(tail);
    ATOLL_KILL_POINT("tail.published");
  }

  // What an earlier lap left at a place is seldom a word of this lap, and reading it leaves the cache line where
  // it is; a reader may be waiting on it.
  [[gnu::always_inline]] static void terminate(std::byte* place, std::uint32_t empty) noexcept {
    auto* const word = reinterpret_cast<std::uint32_t*>(place);
    if (protocol::speaks(__atomic_load_n(word, __ATOMIC_RELAXED), empty)) [[unlikely]]
      __atomic_store_n(word, empty, __ATOMIC_RELAXED);
  }

 private:
  template <auto kCopy>
  [[gnu::always_inline]] bool store(const void* data, std::uint64_t length, std::uint16_t content) noexcept {
    const std::uint64_t at = tail_, end = record_end_(at, length);
    if (length > max_payload_ || end > gate_->open_until) [[unlikely]]
      return false;
    std::byte* const place = describe(at, end, content);
    ATOLL_KILL_POINT("fast.send.begun");
    kCopy(place + payload_offset_, data, length);
    ATOLL_KILL_POINT("fast.send.written");
    // SYNC commit: pairs with the readers' acquire. Producer dies before: the broker drops it. After: delivered.
    commit<__ATOMIC_RELEASE>(place, empty_ + kCommitted, length);
    ATOLL_KILL_POINT("fast.send.committed");
    tail_ = end;
    publish(end, ++sequence_);
    return true;
  }
  // By itself: a call on the way would make the small ones save registers.
  [[gnu::noinline]] bool store_large(const void* data, std::uint64_t length, std::uint16_t content) noexcept {
    return store<&copy_payload>(data, length, content);
  }

  static constexpr auto kCommitted = static_cast<std::uint32_t>(protocol::RecordState::committed);
  // Sequence, flags and type of a record at the tail, in this lap; and it sees to it that the place behind says
  // nothing to readers. The place itself says nothing already: it was behind the record before.
  [[gnu::always_inline]] std::byte* describe(std::uint64_t at, std::uint64_t end, std::uint16_t content) noexcept {
    std::byte* const place = lap_base_ + at;
    prefetch_for_writing(lap_base_ + (at + kPrefetchAhead));
    const std::uint64_t second = static_cast<std::uint32_t>(sequence_) | static_cast<std::uint64_t>(content) << 32 |
                                 static_cast<std::uint64_t>(protocol::RecordType::data) << 56;
    __atomic_store_n(reinterpret_cast<std::uint64_t*>(place + 8), second, __ATOMIC_RELAXED);
    terminate(lap_base_ + end, empty_);
    ATOLL_KILL_POINT("fast.claim.terminated");
    return place;
  }
  // Commit word and length in one store.
  template <int kOrder>
  [[gnu::always_inline]] static void commit(std::byte* place, std::uint32_t word, std::uint64_t length) noexcept {
    __atomic_store_n(reinterpret_cast<std::uint64_t*>(place), word | length << 32, kOrder);
  }
};

// ---- Reading ----

// What receive gives in C. The same fields, in the same order, as atoll_view.
struct RawView {
  const void* data;
  std::uint64_t length, sequence, lost;
  std::uint16_t lane, content, deliveries, reserved;
  std::uint64_t token;
};

// A record as it was found; not read again from the lane.
struct Item {
  const std::byte* data = nullptr;
  std::uint64_t end = 0;       // position after it
  std::uint64_t sequence = 0;
  std::uint32_t length = 0;
  std::uint32_t rest = 0;      // flags, extension length, type, as in the record's header
  [[nodiscard]] std::uint16_t content() const noexcept { return protocol::content_of(static_cast<std::uint16_t>(rest)); }
  [[nodiscard]] std::uint64_t position(std::uint32_t alignment) const noexcept {
    return end - protocol::record_span(length, rest >> 16 & 0xff, alignment);
  }
};

// A stretch of a lane's ring within one lap, for walking over plain records.
struct Stretch {
  LapBase<const std::byte> base;    // base + position is the place of a position
  std::uint64_t end = 0;            // of the lap
  std::uint32_t committed = 0;      // the commit word of this lap's committed records

  Stretch() noexcept = default;
  Stretch(const std::byte* ring, std::uint64_t position, std::uint64_t mask, unsigned capacity_log2) noexcept
      : base(ring, position, mask), end((position | mask) + 1),
        committed(protocol::commit_word(protocol::RecordState::committed, position, capacity_log2)) {}

  // Notes the record at `position` and goes on to the next one, if it is plain: committed, the next in number,
  // without extensions, not the last of its lap. (Position and number are the caller's registers: going
  // through memory would cost a store-to-load round for every record.)
  [[gnu::always_inline]] bool note(std::uint64_t& position, std::uint64_t& sequence, std::uint64_t payload_offset, RecordEnd record_end, Item& item) const noexcept {
    const std::byte* const place = base + position;
    // SYNC commit: commit word and length in one acquire load, which pairs with the producer's release store.
    const std::uint64_t first = __atomic_load_n(reinterpret_cast<const std::uint64_t*>(place), __ATOMIC_ACQUIRE);
    if (static_cast<std::uint32_t>(first) != committed) return false;
    const std::uint64_t second = __atomic_load_n(reinterpret_cast<const std::uint64_t*>(place + 8), __ATOMIC_RELAXED);
    const std::uint64_t length = first >> 32, behind = record_end(position, length);
    const auto rest = static_cast<std::uint32_t>(second >> 32);
    if (behind >= end || static_cast<std::uint32_t>(second) != static_cast<std::uint32_t>(sequence) || (rest & kExtensionMask) != 0) [[unlikely]]
      return false;
    position = behind;
    item.data = place + payload_offset;
    item.end = behind;
    item.sequence = sequence++;
    item.length = static_cast<std::uint32_t>(length);
    item.rest = rest;
    return true;
  }
  [[nodiscard]] std::uint32_t empty() const noexcept { return committed - static_cast<std::uint32_t>(protocol::RecordState::committed); }
  static constexpr std::uint32_t kExtensionMask = 0xffu << 16;  // in Item::rest
};
static_assert(offsetof(protocol::RecordHeader, commit) == 0 && offsetof(protocol::RecordHeader, length) == 4);
static_assert(offsetof(protocol::RecordHeader, sequence) == 8 && offsetof(protocol::RecordHeader, flags) == 12 && offsetof(protocol::RecordHeader, extension_length) == 14);

// See ProducerGate.
struct ReaderGate {
  Stretch stretch;                     // where the next record is looked for; no base: records are noted already
  protocol::Word64* cursor = nullptr;  // LanePosition::cursor, if the library need not decide on releases
};

// A reader's current batch, of up to 64 records of one lane, as far as it needs no decision of the library.
// The library fills this in before it returns to the caller and takes it back when it is called.
// In an exclusive group records are found in the lane as they are asked for ("it walks"); else they are noted already.
struct FastReader {
  static constexpr std::uint64_t kNever = ~0ull;

  ReaderGate* gate_ = nullptr;
  Item* items_ = nullptr;     // of the batch; a record's is at its token modulo kClaimRecords
  std::uint64_t token_ = 0;   // the next record's
  std::uint64_t end_ = 0;     // tokens below it may be given without the library
  std::uint64_t position_ = 0;  // of the next record, where it walks
  std::uint64_t sequence_ = 0;
  protocol::LanePosition* place_ = nullptr;
  std::uint64_t payload_offset_ = 16;
  RecordEnd record_end_;
  std::uint16_t lane_ = 0;
  std::uint16_t deliveries_ = 1;
  bool fence_ = true;
  // Records come back in order, from the first of the batch on: the next one's token; where it does not walk, the one
  // that is for the library to decide (the last of a claim); and Claim::acked.
  std::uint64_t release_token_ = kNever;
  std::uint64_t release_end_ = 0;
  protocol::Word64* acked_ = nullptr;
  const protocol::Word64* sleepers_seen_ = &kMaybe;  // room_sleepers_, or with fence_ kMaybe
  const protocol::Word64* room_sleepers_ = nullptr;  // does a producer sleep that waits for room?
  const protocol::Word64* room_wanted_ = nullptr;    // LaneHeader::room_wanted
  Origin origin_;
  // For surely_nothing().
  std::uint64_t empty_token_ = kNever;  // token_ when the library found nothing, in the only lane there is
  const protocol::Word64* changes_word_ = nullptr;
  std::uint64_t changes_ = 0;           // as of the library's last look
  const protocol::Word64* finished_word_ = nullptr;
  // For watch().
  std::uint32_t looks_ = 0;     // how often it may look; 0: there are other things to wait for than the next record
  enum class Watched : std::uint8_t { not_at_all, paid, in_vain } watched_ = Watched::not_at_all;
  std::uint64_t row_begin_ = 0;  // token_ when it waited last
  std::uint64_t most_pauses_ = kMostPausesSpinning;
  // For turn_over(): the current batch is the only one, and its lane.
  bool turns_over_ = false;
  std::uint32_t turned_over_ = 0;  // how often

  // The next record. Null: ask the library.
  [[gnu::always_inline]] const Item* next() noexcept {
    const std::uint64_t token = token_;
    const Stretch& stretch = gate_->stretch;
    if (!stretch.base) {
      if (token == end_ || !origin_.here()) [[unlikely]]
        return nullptr;
      token_ = token + 1;
      return item_at(token);
    }
    if (token == end_ && !turn_over()) [[unlikely]]
      return nullptr;
    Item* const item = item_at(token);
    std::uint64_t position = position_, sequence = sequence_;
    if (!stretch.note(position, sequence, payload_offset_, record_end_, *item)) return nullptr;
    took(position, sequence);
    token_ = token + 1;
    return item;
  }
  // Up to `most` further ones, of the same batch. Returns how many.
  std::uint32_t next_many(std::uint32_t most) noexcept {
    const std::uint64_t left = end_ - token_;
    std::uint32_t n = most < left ? most : static_cast<std::uint32_t>(left);
    if (const Stretch stretch = gate_->stretch; stretch.base) {
      const std::uint64_t offset = payload_offset_;
      const RecordEnd record_end = record_end_;
      std::uint64_t position = position_, sequence = sequence_;
      Item* item = item_at(token_);
      Item* const end = item + n;
      while (item != end && stretch.note(position, sequence, offset, record_end, *item)) ++item;
      n -= static_cast<std::uint32_t>(end - item);
      if (n > 0) took(position, sequence);
    }
    token_ += n;
    return n;
  }
  [[gnu::always_inline]] bool take(RawView& out) noexcept {
    const std::uint64_t token = token_;
    const Item* const item = next();
    if (item == nullptr) return false;
    out = {item->data, item->length, item->sequence, 0, lane_, item->content(), deliveries_, 0, token};
    return true;
  }
  [[nodiscard]] Item* item_at(std::uint64_t token) const noexcept { return items_ + (token & (protocol::kClaimRecords - 1)); }

  // After next() said no: waits a moment for the next record, if that is all there is to wait for. True: something is
  // there; next() may still leave it to the library.
  [[gnu::noinline]] bool watch(std::int64_t timeout_ns) noexcept {
    const Stretch& stretch = gate_->stretch;
    if (looks_ == 0 || timeout_ns == 0 || !stretch.base) [[unlikely]]
      return false;
    const auto* const word = reinterpret_cast<const protocol::RecordHeader*>(stretch.base + position_);
    const std::uint32_t empty = stretch.empty();
    watched_ = Watched::paid;
    // What next() left to the library is there already.
    if (protocol::decided(word->commit.load_relaxed(), empty)) return true;
    stay_away();
    for (std::uint32_t i = timeout_ns > 0 && looks_ > kTimedLooks ? kTimedLooks : looks_; i > 0; --i) {
      if (protocol::decided(word->commit.load_relaxed(), empty)) return true;
      protocol::spin_pause();
    }
    watched_ = Watched::in_vain;
    return false;
  }
  // A reader as fast as its producer would take the cache line away for every single record: when it has emptied the lane,
  // after a row of records, it stays away for a while (at most about 3 us, 0.8 if it never sleeps) and then finds many.
  void stay_away() noexcept {
    const std::uint64_t row = token_ - std::exchange(row_begin_, token_);
    for (std::uint64_t i = row < 2 ? 0 : 4 * row < most_pauses_ ? 4 * row : most_pauses_; i > 0; --i) protocol::spin_pause();
  }
  static constexpr std::uint64_t kMostPauses = 256, kMostPausesSpinning = 64;
  static constexpr std::uint32_t kTimedLooks = 1024;

  // After next() said no: is it certain that there is nothing, and nothing else to do or to tell?
  [[nodiscard]] [[gnu::always_inline]] bool surely_nothing() const noexcept {
    const Stretch& stretch = gate_->stretch;
    return token_ == empty_token_ && token_ != end_ && stretch.base &&
           !protocol::decided(reinterpret_cast<const protocol::RecordHeader*>(stretch.base + position_)->commit.load_relaxed(), stretch.empty()) &&
           changes_word_->load_relaxed() == changes_ && finished_word_->load_relaxed() == 0;
  }

  // Releases `count` records, `last` the last of them. no: the library decides (and tells errors). and_wake: the
  // producer sleeps until there is as much room as there is now.
  enum class Released { no, yes, and_wake };
  [[gnu::always_inline]] Released release_fast(std::uint64_t token, const Item* last, std::uint32_t count = 1) noexcept {
    if (token != release_token_) [[unlikely]]
      return Released::no;
    if (protocol::Word64* const cursor = gate_->cursor; cursor != nullptr) {
      release_token_ = token + count;
      const std::uint64_t end = last->end;
      // SYNC cursor: the records are done from here on, whatever happens to this process.
      cursor->store_release(end);
      ATOLL_KILL_POINT("fast.released");
      if (sleepers_seen_->load_acquire() == 0) [[likely]]
        return Released::yes;
      if (fence_) {
        protocol::full_fence();
        if (room_sleepers_->load_acquire() == 0) return Released::yes;
      }
      return end >= room_wanted_->load_acquire() ? Released::and_wake : Released::yes;
    }
    if (token + count > release_end_ || !origin_.here()) [[unlikely]]
      return Released::no;
    release_token_ = token + count;
    // SYNC acked: as above. (It makes no room before the claim ends.)
    acked_->store_release((2ull << ((token + count - 1) & (protocol::kClaimRecords - 1))) - 1);
    ATOLL_KILL_POINT("fast.acked");
    return Released::yes;
  }

 private:
  // A full batch whose records are all released may begin anew as the next one, with the tokens that follow.
  [[gnu::noinline]] bool turn_over() noexcept {
    if (!turns_over_ || release_token_ != token_ || changes_word_->load_relaxed() != changes_) return false;
    end_ += protocol::kClaimRecords;
    ++turned_over_;
    return true;
  }
  // The consumer dies after this: the next one marks the records as redelivered.
  [[gnu::always_inline]] void took(std::uint64_t position, std::uint64_t sequence) noexcept {
    position_ = position;
    sequence_ = sequence;
    protocol::LanePosition* const place = place_;
    place->next_sequence.store_relaxed(sequence);
    ATOLL_KILL_POINT("fast.claim.sequence");
    place->next.store_release(position);
    ATOLL_KILL_POINT("fast.claim.exclusive");
  }
};

}  // namespace atoll_ipc::detail
