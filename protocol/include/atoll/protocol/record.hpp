// Records: what lies in a lane's ring, one after another.
//
// A record starts at a position that is a multiple of the stream's alignment A (16 or 64) and never
// wraps round the end of the ring; padding fills the rest. Its payload starts at payload_offset().
// SPEC.md, "Records".
//
//   0        4        8          12      14      15      16
//   | commit | length | sequence | flags | ext/8 | type  | extensions ... payload ...
//
// commit, the word that readers poll:   bits 0..2 state, bits 3..31 lap (position / capacity)
// A word of another lap says as little as an EMPTY one: whatever an earlier lap left there.
//   EMPTY   -> CLAIMED    producer: a loan, when a later record is begun before it is settled
//   EMPTY   -> COMMITTED  producer: send (no reader can reach it before), commit
//   EMPTY   -> ABORTED    producer: abort
//   EMPTY   -> PADDING    producer
//   CLAIMED -> COMMITTED  producer: commit
//   CLAIMED -> ABORTED    producer: abort; the broker after the producer's death
#pragma once

#include <cstddef>
#include <cstdint>

#include "atoll/protocol/word.hpp"

namespace atoll_ipc::protocol {

enum class RecordState : std::uint32_t { empty = 0, claimed = 1, committed = 2, aborted = 3, padding = 4 };

enum class RecordType : std::uint8_t {
  data = 1,
  padding = 2,
  aborted = 3,   // reserved
  end = 4,       // reserved
  fragment = 5,  // reserved
  pool = 6,      // reserved: payload refers to a pool
};

// Low four bits of RecordHeader::flags: what the payload is. The rest is zero.
enum class ContentKind : std::uint16_t { bytes = 0, text = 1, json = 2, array = 3 };
inline constexpr std::uint16_t kContentMask = 0x000f;
// What a record's flags say that its payload is; values that layout 1 reserves are read as bytes.
[[nodiscard]] constexpr std::uint16_t content_of(std::uint16_t flags) noexcept {
  const auto kind = static_cast<std::uint16_t>(flags & kContentMask);
  return kind <= static_cast<std::uint16_t>(ContentKind::array) ? kind : std::uint16_t{0};
}

struct RecordHeader {
  Word32 commit;
  std::uint32_t length;    // payload bytes (in padding: so that record_span gives what is left)
  std::uint32_t sequence;  // low half of the record's number in its lane; +1 per record, padding excluded
  std::uint16_t flags;
  std::uint8_t extension_length;  // of the extensions, in units of 8 bytes; version 1 writes 0
  std::uint8_t type;              // RecordType
};
static_assert(offsetof(RecordHeader, length) == 4);
static_assert(offsetof(RecordHeader, sequence) == 8);
static_assert(offsetof(RecordHeader, flags) == 12);
static_assert(offsetof(RecordHeader, extension_length) == 14);
static_assert(offsetof(RecordHeader, type) == 15);
static_assert(sizeof(RecordHeader) == 16);

inline constexpr std::uint32_t kRecordHeaderSize = sizeof(RecordHeader);
inline constexpr std::uint32_t kLapMask = 0x1fffffffu;

[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t multiple) noexcept {
  return (n + multiple - 1) & ~(multiple - 1);
}

[[nodiscard]] constexpr std::uint32_t commit_word(RecordState state, std::uint64_t position,
                                                  unsigned capacity_log2) noexcept {
  return static_cast<std::uint32_t>(state) |
         ((static_cast<std::uint32_t>(position >> capacity_log2) & kLapMask) << 3);
}
[[nodiscard]] constexpr RecordState state_of(std::uint32_t commit) noexcept {
  return static_cast<RecordState>(commit & 7u);
}
[[nodiscard]] constexpr bool same_lap(std::uint32_t commit, std::uint64_t position,
                                      unsigned capacity_log2) noexcept {
  return (commit >> 3) == (static_cast<std::uint32_t>(position >> capacity_log2) & kLapMask);
}
// Does this word, at a place of the lap whose EMPTY word is `empty`, say something: CLAIMED or more of this lap?
[[nodiscard]] constexpr bool speaks(std::uint32_t commit, std::uint32_t empty) noexcept { return commit - empty - 1 < 7; }
// Does it let a reader go on: COMMITTED, ABORTED, PADDING, or what nobody writes?
[[nodiscard]] constexpr bool decided(std::uint32_t commit, std::uint32_t empty) noexcept { return commit - empty - 2 < 6; }

// Where the payload starts, counted from the record's start.
[[nodiscard]] constexpr std::uint64_t payload_offset(std::uint32_t extension_length,
                                                     std::uint32_t alignment) noexcept {
  return round_up(kRecordHeaderSize + 8ull * extension_length, alignment);
}
// Bytes from a record's start to the next one's.
[[nodiscard]] constexpr std::uint64_t record_span(std::uint64_t length, std::uint32_t extension_length,
                                                  std::uint32_t alignment) noexcept {
  return payload_offset(extension_length, alignment) + round_up(length, alignment);
}
// The largest payload of a stream: a record takes at most half a lane.
[[nodiscard]] constexpr std::uint64_t max_payload(std::uint64_t capacity, std::uint32_t alignment) noexcept {
  return capacity / 2 - payload_offset(0, alignment);
}

}  // namespace atoll_ipc::protocol
