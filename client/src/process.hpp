// What the library knows about the process it lives in: whether it is still the one that made a
// handle, and whether it is registered for membarrier.
//
// Both live in one page that the kernel wipes in a forked child (MADV_WIPEONFORK), so that noticing
// a fork costs one load and needs no handler. Fast paths do not even look: see WipedOnFork.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

namespace atoll_ipc {

struct ProcessPage {
  std::atomic<std::uint64_t> identity;      // random, non-zero; 0 in a fresh child
  std::atomic<std::uint32_t> registered;    // membarrier(GLOBAL_EXPEDITED): 1 = this process may skip fences
  std::atomic<std::uint32_t> registering;   // somebody is at it
};

// The page; made at the first call. Never null (without memory for it a static page is used, and a
// fork is then noticed by the process id).
[[nodiscard]] ProcessPage& process_page() noexcept;

// This process's identity: kept by handles and compared before every use.
[[nodiscard]] std::uint64_t process_identity() noexcept;

[[nodiscard]] inline bool same_process(const ProcessPage& page, std::uint64_t identity) noexcept {
  return page.identity.load(std::memory_order_relaxed) == identity;
}

// Registers this process for membarrier: at once when it has one thread, else on a short-lived
// thread, since it takes milliseconds there. Until it is done, wakers fence.
void register_for_membarrier() noexcept;

[[nodiscard]] inline bool registered_for_membarrier(const ProcessPage& page) noexcept {
  return page.registered.load(std::memory_order_acquire) != 0;
}

// The sleeper's half: makes every registered process's earlier stores visible, and orders this
// thread's own. False: this kernel cannot, and the caller must not sleep long.
bool heavy_barrier() noexcept;

// A page that is all zero in a forked child; null: none to be had. And back.
[[nodiscard]] void* map_wiped_page() noexcept;
void unmap_wiped_page(void* page) noexcept;

// A T that is all zero bytes in a forked child; get() is null if there is no memory for it.
template <class T>
class WipedOnFork {
 public:
  WipedOnFork() noexcept {
    if (void* const page = map_wiped_page()) value_ = ::new (page) T{};
  }
  ~WipedOnFork() { unmap_wiped_page(value_); }
  WipedOnFork(const WipedOnFork&) = delete;
  WipedOnFork& operator=(const WipedOnFork&) = delete;
  [[nodiscard]] T* get() const noexcept { return value_; }

 private:
  static_assert(sizeof(T) <= 4096);
  T* value_ = nullptr;
};

// This machine has one CPU: spinning only keeps the other side from running. (A thread pinned to one of
// several may well have its peer on another.)
[[nodiscard]] bool single_cpu() noexcept;

}  // namespace atoll_ipc
