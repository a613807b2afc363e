// Bells: the words a process sleeps on, and the lists of who sleeps on a segment.
//
// Two files. `bell`, one page per segment: who sleeps, waiting for data or for room. `bells`, one
// per broker: a 64-byte bell for each slot. Everyone may write both: they hold hints only. A lost
// or false hint costs a wait of at most 60 s or one extra look, never data. SPEC.md, "Bells".
//
//   bell file:   0            1024           1152          1792          1920
//                | HeaderPage | data.summary | data.slots  | room.summary| room.slots |
//   bells file:  0            4096
//                | HeaderPage | Bell of slot 0 | of slot 1 | ...
//
//   sleeper:  w = bell.sequence; bell.asleep = 1; slots |= me; summary |= my word;
//             membarrier (or fence); look again; futex-wait(bell.sequence == w)
//   waker:    commit; (fence, unless registered); if summary != 0:
//             s = exchange(summary, 0); for each word in s: b = exchange(slots[word], 0);
//             for each slot in b: if exchange(bell.asleep, 0): bell.sequence += 1; futex-wake(all)
#pragma once

#include <cstddef>
#include <cstdint>

#include "atoll/protocol/header_page.hpp"

namespace atoll_ipc::protocol {

inline constexpr unsigned kMaxSlots = 4096;
inline constexpr std::uint64_t kWaitCeilingNs = 60'000'000'000ull;

struct Sleepers {
  // SYNC sleep: a waker loads it after its commit; a sleeper stores it before its last look.
  alignas(128) Word64 summary;              // bit w: slots[w] may have a bit set
  alignas(128) Word64 slots[kMaxSlots / 64];  // bit b of word w: slot 64 w + b
};
static_assert(sizeof(Sleepers) == 640);

struct BellFile {
  HeaderPage page;
  alignas(1024) Sleepers data;  // consumers and observers waiting for records; getters for a put
  alignas(256) Sleepers room;   // producers waiting for room
  std::uint8_t reserved[1536];
};
static_assert(offsetof(BellFile, data) == 1024);
static_assert(offsetof(BellFile, room) == 1792);
static_assert(sizeof(BellFile) == kPageSize);

struct Bell {
  Word32 sequence;
  Word32 asleep;
  std::uint8_t reserved[56];
};
static_assert(sizeof(Bell) == 64);

// `life` holds the thread id of the broker | 0x80000000 (FUTEX_WAITERS). The broker puts the word on its
// robust list, so that the kernel, when the broker dies in whatever way, replaces the id by 0x40000000
// (FUTEX_OWNER_DIED) and wakes one sleeper, who wakes the others. Sleepers wait for it and for their
// bell at once (futex_waitv), so they hear of a dead broker without a thread or a timer.
inline constexpr std::uint32_t kLifeDied = 0x40000000u;
inline constexpr std::uint32_t kLifeWaiters = 0x80000000u;

struct BellsFile {
  HeaderPage page;
  alignas(128) Word32 life;
  std::uint8_t reserved[3964];
  Bell bells[kMaxSlots];
};
static_assert(offsetof(BellsFile, life) == 128);
static_assert(offsetof(BellsFile, bells) == 4096);
inline constexpr std::uint64_t kBellsFileSize = sizeof(BellsFile);

}  // namespace atoll_ipc::protocol
