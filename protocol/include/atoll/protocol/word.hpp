// A word in shared memory: an integer that several processes load and store with stated orders.
//
// Every struct in this folder is made of these and of plain integers only. Called by the client
// and by the broker. The wrapper adds no bytes, works on read-only mappings (loads never write)
// and leaves the order visible at the place of use, where SPEC.md has a row for it.
#pragma once

#include <cstdint>

namespace atoll_ipc::protocol {

template <class T>
struct Word {
  alignas(sizeof(T)) T raw;

  [[nodiscard]] T load_relaxed() const noexcept { return __atomic_load_n(&raw, __ATOMIC_RELAXED); }
  [[nodiscard]] T load_acquire() const noexcept { return __atomic_load_n(&raw, __ATOMIC_ACQUIRE); }
  void store_relaxed(T value) noexcept { __atomic_store_n(&raw, value, __ATOMIC_RELAXED); }
  void store_release(T value) noexcept { __atomic_store_n(&raw, value, __ATOMIC_RELEASE); }

  // Read-modify-write, sequentially consistent: only on slow paths.
  T exchange(T value) noexcept { return __atomic_exchange_n(&raw, value, __ATOMIC_SEQ_CST); }
  T fetch_add(T value) noexcept { return __atomic_fetch_add(&raw, value, __ATOMIC_SEQ_CST); }
  T fetch_or(T value) noexcept { return __atomic_fetch_or(&raw, value, __ATOMIC_SEQ_CST); }
  T fetch_and(T value) noexcept { return __atomic_fetch_and(&raw, value, __ATOMIC_SEQ_CST); }
  // On failure `expected` receives the value found.
  bool compare_exchange(T& expected, T desired) noexcept {
    return __atomic_compare_exchange_n(&raw, &expected, desired, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_ACQUIRE);
  }
};

using Word16 = Word<std::uint16_t>;
using Word32 = Word<std::uint32_t>;
using Word64 = Word<std::uint64_t>;

static_assert(sizeof(Word16) == 2 && sizeof(Word32) == 4 && sizeof(Word64) == 8);
static_assert(alignof(Word64) == 8);

}  // namespace atoll_ipc::protocol
