// Fences: the two that the protocol needs, and a pause for spinning.
//
// Called by the client and the broker next to the words of word.hpp. GCC's ThreadSanitizer does
// not understand a bare atomic_thread_fence and GCC refuses it there, so under that sanitizer both
// are read-modify-writes on a word of their own, which it does understand and which are stronger.
#pragma once

#include <atomic>
#include <cstdint>

namespace atoll_ipc::protocol {

#if defined(__SANITIZE_THREAD__)
namespace detail {
inline std::atomic<std::uint32_t> fence_word{0};
}
inline void full_fence() noexcept { detail::fence_word.fetch_add(0, std::memory_order_seq_cst); }
inline void acquire_fence() noexcept { detail::fence_word.fetch_add(0, std::memory_order_acq_rel); }
inline void release_fence() noexcept { detail::fence_word.fetch_add(0, std::memory_order_acq_rel); }
#else
// Orders every earlier load and store before every later one. On x86 a locked `or` on the stack:
// mfence was measured 20 times slower in one regime.
inline void full_fence() noexcept {
#if defined(__x86_64__)
  __asm__ __volatile__("lock; orl $0, -8(%%rsp)" ::: "memory", "cc");
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}
// Orders earlier loads before later loads and stores: the second half of "copy, then check".
inline void acquire_fence() noexcept { std::atomic_thread_fence(std::memory_order_acquire); }
// Orders earlier loads and stores before later stores: the writer's half of a sequence counter.
inline void release_fence() noexcept { std::atomic_thread_fence(std::memory_order_release); }
#endif

// Tells the CPU that this is a spin loop.
inline void spin_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

}  // namespace atoll_ipc::protocol
