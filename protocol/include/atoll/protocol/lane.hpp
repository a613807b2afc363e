// A lane: one producer's ring, in a file of its own: this page, then `capacity` bytes of records.
//
// The producer maps it read-write, everybody else read-only. The broker writes the lines marked so,
// and the producer's lines only when there is no producer. Positions are 64-bit counts of bytes
// since the lane began; the ring index is position & (capacity - 1). SPEC.md, "Lanes".
//
//   0            128            256              384             512        640          1024
//   | HeaderPage | broker       | limit, ...     | tail,sequence | counters | checkpoints: count | table |
#pragma once

#include <cstddef>
#include <cstdint>

#include "atoll/protocol/header_page.hpp"

namespace atoll_ipc::protocol {

inline constexpr std::uint64_t kMinCapacity = 4096;
inline constexpr std::uint64_t kMaxCapacity = 1ull << 32;
inline constexpr unsigned kCheckpoints = 32;

enum class LaneState : std::uint32_t {
  owned = 1,     // has a producer
  closed = 2,    // its producer detached
  orphaned = 3,  // its producer died
};

// No tail and no limit lies beyond this. A lane that is half way, after a month of the largest records at full speed, is
// given on, so that no producer comes here.
inline constexpr std::uint64_t kEndOfPositions = 1ull << 62;

inline constexpr std::uint64_t kNoRoomWanted = ~0ull;

enum class WakeMode : std::uint32_t {
  fenced = 0,      // the producer fences between commit and its look at the sleepers
  registered = 1,  // it does not: its process is registered for membarrier(GLOBAL_EXPEDITED)
};

// A record boundary that the producer passed: readers start their walks here.
inline constexpr std::uint64_t kNoBoundary = ~0ull;
struct Checkpoint {
  Word64 position;  // kNoBoundary: this entry and those before it say nothing
  Word64 sequence;  // of the record at that position
};

struct LaneHeader {
  HeaderPage page;
  // Broker's line.
  alignas(128) Word32 state;  // LaneState
  std::uint16_t owner_slot;
  std::uint16_t reserved0;
  std::uint32_t owner_generation;
  std::uint32_t reserved1;
  std::uint64_t producer_id;           // never repeats within a broker directory
  std::uint64_t incarnation;           // of this lane number; grows when the file is replaced
  std::uint64_t successor_generation;  // 0, or where the lane goes on
  std::uint16_t successor_lane;
  // "I may write below this position without asking again." Covers record and terminator; stored
  // before any byte below it is touched. SYNC limit: see SegmentHeader::active_groups.
  // Producer dies before: nothing below was touched. After: readers believe less is left than is.
  alignas(128) Word64 limit;
  Word64 finished;  // 0, or tail | 1: the producer said finish() there. Not beside tail: idle readers look at it
  Word32 wake_mode;
  Word32 room_slot;    // of the process that waits for room_wanted
  // The cursor with which the sleeping producer's wait for room is over: who moves a group's cursor of this lane
  // less far need not ring. kNoRoomWanted: it waits for none. Stored before it enlists, room_slot first.
  Word64 room_wanted;
  // Everything below tail is settled: committed, aborted or padding. With open loans it stays at the
  // oldest one. Stored after the commit word, `sequence` first, so it may lag after a death: the broker
  // walks on from it, settles what it finds claimed, and has the true end.
  alignas(128) Word64 tail;
  Word64 sequence;  // of the record at tail, whole
  // Producer's counters.
  alignas(128) Word64 dropped;   // records refused because the ring was full (drop-new)
  Word64 blocked;                // times that send had to wait
  Word64 aborted;                // loans given back
  alignas(128) Word64 checkpoint_count;  // entries ever written; entry i is at i % 32
  std::uint8_t reserved2[376];
  Checkpoint checkpoints[kCheckpoints];
  std::uint8_t reserved3[2560];
};
static_assert(offsetof(LaneHeader, state) == 128);
static_assert(offsetof(LaneHeader, owner_slot) == 132);
static_assert(offsetof(LaneHeader, owner_generation) == 136);
static_assert(offsetof(LaneHeader, producer_id) == 144);
static_assert(offsetof(LaneHeader, incarnation) == 152);
static_assert(offsetof(LaneHeader, successor_generation) == 160);
static_assert(offsetof(LaneHeader, successor_lane) == 168);
static_assert(offsetof(LaneHeader, limit) == 256);
static_assert(offsetof(LaneHeader, finished) == 264);
static_assert(offsetof(LaneHeader, wake_mode) == 272);
static_assert(offsetof(LaneHeader, room_slot) == 276);
static_assert(offsetof(LaneHeader, room_wanted) == 280);
static_assert(offsetof(LaneHeader, tail) == 384);
static_assert(offsetof(LaneHeader, sequence) == 392);
static_assert(offsetof(LaneHeader, dropped) == 512);
static_assert(offsetof(LaneHeader, blocked) == 520);
static_assert(offsetof(LaneHeader, aborted) == 528);
static_assert(offsetof(LaneHeader, checkpoint_count) == 640);
static_assert(offsetof(LaneHeader, checkpoints) == 1024);
static_assert(sizeof(LaneHeader) == kPageSize);

[[nodiscard]] constexpr std::uint64_t lane_file_size(std::uint64_t capacity) noexcept {
  return kPageSize + capacity;
}

}  // namespace atoll_ipc::protocol
