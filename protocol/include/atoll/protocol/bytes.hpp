// A bytes segment's `data` file: this page, the content, and a staging area for put.
//
// put replaces the content as one: it stages the new content, writes the redo, and only then copies;
// get copies and checks the sequence counter. map, read_at and write_at touch the content directly.
// Those who may write map it read-write, others read-only. SPEC.md, "Bytes".
//
//   0            128      384          512    640                         768    4096      staging
//   | HeaderPage | broker | (reserved) | lock | change, length, version    | redo | content | staging |
#pragma once

#include <cstddef>
#include <cstdint>

#include "atoll/protocol/header_page.hpp"
#include "atoll/protocol/lock_word.hpp"

namespace atoll_ipc::protocol {

inline constexpr std::uint64_t kMaxBytesSize = 1ull << 46;
inline constexpr std::uint64_t kDefaultPutLimit = 16ull << 20;  // larger segments keep no staging unless asked

struct BytesHeader {
  HeaderPage page;
  std::uint8_t reserved0[128];
  alignas(128) Word32 state;  // SegmentState; the broker writes
  std::uint32_t reserved1;
  Word64 changes;
  Word64 next_generation;
  Word64 broker_epoch;
  std::uint64_t put_size;        // bytes of staging; constant; the longest put
  std::uint64_t staging_offset;  // from the start of the file; constant
  std::uint8_t reserved2[208];
  alignas(128) Word32 lock;  // at 512
  std::uint8_t reserved3[124];
  // Sequence counter: odd while the content is being replaced. Under the lock.
  // Putter dies while odd: the broker applies the redo and makes it even.
  alignas(128) Word64 change;
  Word64 length;   // of the content last put; 0 before the first
  Word64 version;  // number of puts
  std::uint8_t reserved4[104];
  Redo redo;  // at 768; entries may name length and version only
  std::uint8_t reserved5[3072];
};
static_assert(offsetof(BytesHeader, state) == 256);
static_assert(offsetof(BytesHeader, changes) == 264);
static_assert(offsetof(BytesHeader, next_generation) == 272);
static_assert(offsetof(BytesHeader, broker_epoch) == 280);
static_assert(offsetof(BytesHeader, put_size) == 288);
static_assert(offsetof(BytesHeader, staging_offset) == 296);
static_assert(offsetof(BytesHeader, lock) == 512);
static_assert(offsetof(BytesHeader, change) == 640);
static_assert(offsetof(BytesHeader, length) == 648);
static_assert(offsetof(BytesHeader, version) == 656);
static_assert(offsetof(BytesHeader, redo) == 768);
static_assert(sizeof(BytesHeader) == kPageSize);

}  // namespace atoll_ipc::protocol
