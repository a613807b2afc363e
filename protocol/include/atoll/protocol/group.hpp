// A group: consumers that share positions. One file: this page, 64 lane positions, 512 claims.
//
// Its consumers map it read-write, producers and observers read-only. All but `acked` changes under
// the lock, redo first (see lock_word.hpp); in an exclusive group there is one consumer and no lock.
// SPEC.md, "Groups".
//
//   0            128                     256       384          512          768        4096        8192       40960
//   | HeaderPage | id,flags,members,name | counters| (reserved) | lock | ... | redo ... | positions | claims ... |
#pragma once

#include <cstddef>
#include <cstdint>

#include "atoll/protocol/header_page.hpp"
#include "atoll/protocol/lock_word.hpp"
#include "atoll/protocol/segment_header.hpp"

namespace atoll_ipc::protocol {

inline constexpr std::uint32_t kGroupExclusive = 1;
inline constexpr std::uint32_t kGroupEphemeral = 2;
inline constexpr unsigned kClaims = 512;
inline constexpr unsigned kClaimRecords = 64;  // most records in a claim

// Where the group is in one lane.
struct LanePosition {
  // Oldest record not yet done; the producer may write over everything below. Always a record
  // boundary. Written by a consumer under the lock, read by the lane's producer.
  // Consumer dies before this store: the record is given again. After: it is done.
  Word64 cursor;
  Word64 next;           // first record never claimed; cursor <= next
  Word64 next_sequence;  // of the record at next
  Word64 lost;           // records that were overwritten before this group read them
  Word64 incarnation;    // LaneHeader::incarnation that these positions belong to
  Word64 redelivered;    // records given again
  std::uint64_t reserved[2];
};
static_assert(offsetof(LanePosition, next) == 8);
static_assert(offsetof(LanePosition, next_sequence) == 16);
static_assert(offsetof(LanePosition, lost) == 24);
static_assert(offsetof(LanePosition, incarnation) == 32);
static_assert(offsetof(LanePosition, redelivered) == 40);
static_assert(sizeof(LanePosition) == 64);

enum class ClaimState : std::uint16_t { free = 0, held = 1, returned = 2 };

// A run of records of one lane given to one consumer.
//   free -> held          a consumer claims
//   held -> free          it, when all records are done
//   held -> returned      it, on negative acknowledgement or close; the broker after its death
//   returned -> held      the next consumer
struct Claim {
  Word16 state;  // ClaimState
  Word16 slot;
  Word32 slot_generation;
  std::uint16_t lane;
  std::uint16_t count;       // 1..64 records, aborted ones and padding not counted
  std::uint16_t deliveries;  // times that this claim was given out; >1 = redelivered
  std::uint16_t reserved0;
  std::uint64_t begin;  // position of the first record (or of padding before it)
  std::uint64_t end;    // position after the last
  std::uint64_t begin_sequence;
  // Bit i: the claim's i-th record is done. Stored by the holder, without the lock.
  // Holder dies before: the record is given again. After: it is not.
  Word64 acked;
  std::uint64_t reserved1[2];
};
static_assert(offsetof(Claim, slot) == 2);
static_assert(offsetof(Claim, slot_generation) == 4);
static_assert(offsetof(Claim, lane) == 8);
static_assert(offsetof(Claim, count) == 10);
static_assert(offsetof(Claim, deliveries) == 12);
static_assert(offsetof(Claim, begin) == 16);
static_assert(offsetof(Claim, end) == 24);
static_assert(offsetof(Claim, begin_sequence) == 32);
static_assert(offsetof(Claim, acked) == 40);
static_assert(sizeof(Claim) == 64);

struct GroupFile {
  HeaderPage page;
  alignas(128) std::uint32_t id;
  std::uint32_t flags;  // kGroupExclusive | kGroupEphemeral
  Word32 members;       // consumers attached; the broker writes
  // 1: the cursors were raised and the group may be used; from then on they are its consumers' alone. The broker
  // writes. Broker dies before this store: its successor raises them. After: it leaves them.
  Word32 started;
  Word64 returned;      // claims in state returned; under the lock
  Word64 claims_used;   // claims at this index and above were never used; under the lock
  alignas(128) Word64 reserved_counters[16];
  std::uint8_t reserved0[128];
  alignas(128) Word32 lock;  // at 512, as in every file that has one
  std::uint8_t reserved1[252];
  Redo redo;  // at 768, as in every file that has one
  std::uint8_t reserved2[3072];
  LanePosition lanes[kMaxLanes];
  Claim claims[kClaims];
};
static_assert(offsetof(GroupFile, id) == 128);
static_assert(offsetof(GroupFile, flags) == 132);
static_assert(offsetof(GroupFile, members) == 136);
static_assert(offsetof(GroupFile, started) == 140);
static_assert(offsetof(GroupFile, returned) == 144);
static_assert(offsetof(GroupFile, claims_used) == 152);
static_assert(offsetof(GroupFile, lock) == 512);
static_assert(offsetof(GroupFile, redo) == 768);
static_assert(offsetof(GroupFile, lanes) == 4096);
static_assert(offsetof(GroupFile, claims) == 8192);
static_assert(sizeof(GroupFile) == 40960);

}  // namespace atoll_ipc::protocol
