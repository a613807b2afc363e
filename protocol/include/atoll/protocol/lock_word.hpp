// The process-shared mutex: one 32-bit futex word, and the redo area beside it.
//
// Guards a group's claims and a bytes segment's put. The word names its holder, so the broker can
// tell whose it was after a death. A slot is a process, so threads of one process take a private
// mutex first. Waiting (futex) is the caller's: this file knows only the word. SPEC.md, "Lock word".
//
//   bits 0..12   slot + 1 of the holder; 0 = free
//   bits 13..29  low 17 bits of the slot's generation
//   bit  30      needs-repair: whoever takes the lock applies the redo area first
//   bit  31      waiters: whoever frees the word wakes one
#pragma once

#include <cstddef>
#include <cstdint>

#include "atoll/protocol/word.hpp"

namespace atoll_ipc::protocol {

inline constexpr std::uint32_t kLockSlotMask = 0x1fffu;
inline constexpr std::uint32_t kLockGenerationMask = 0x1ffffu;
inline constexpr std::uint32_t kLockNeedsRepair = 1u << 30;
inline constexpr std::uint32_t kLockWaiters = 1u << 31;
inline constexpr std::uint32_t kLockHolderMask = (1u << 30) - 1;
inline constexpr std::uint32_t kBrokerSlot = 8190;  // the broker as holder, while it repairs

[[nodiscard]] constexpr std::uint32_t lock_holder(std::uint32_t slot, std::uint32_t slot_generation) noexcept {
  return ((slot + 1) & kLockSlotMask) | ((slot_generation & kLockGenerationMask) << 13);
}

// Redo: what the holder is about to store, written before it stores it. `count` is stored last
// (release) and set to 0 when done, so a death leaves either nothing to do or all of it.
// Applying it twice gives the same result. An offset is from the start of the file, a multiple of
// 8, and inside the range that the file's role allows; anything else is damage.
inline constexpr unsigned kRedoMax = 14;
struct RedoEntry {
  std::uint64_t offset;
  std::uint64_t value;
};
struct Redo {
  Word32 count;
  std::uint32_t reserved;
  std::uint64_t copy_length;  // bytes segments: staging -> content, before the entries; else 0
  RedoEntry entries[kRedoMax];
  std::uint64_t reserved2[2];
};
static_assert(offsetof(Redo, copy_length) == 8);
static_assert(offsetof(Redo, entries) == 16);
static_assert(sizeof(Redo) == 256);

}  // namespace atoll_ipc::protocol
