#include "reserve.hpp"

#include <atomic>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>

namespace atoll_ipc::daemon {
namespace {

constexpr std::size_t kReserve = 1 << 20;
constexpr std::size_t kEnoughAgain = 64 * 1024;  // what malloc must give before the shortage counts as over

namespace bip = boost::interprocess;

// Constant-initialised: `new` is used before and after every constructor of this program.
alignas(64) std::byte reserve[kReserve];
std::atomic<bool> drawn_on{false};

struct Reserve {
  std::mutex mutex;
  bip::managed_external_buffer memory{bip::create_only, reserve, kReserve};
};

// Never destroyed, made without an allocation.
Reserve& the_reserve() {
  alignas(Reserve) static std::byte place[sizeof(Reserve)];
  static Reserve* const made = ::new (place) Reserve;
  return *made;
}

[[maybe_unused]] void* take(std::size_t size) noexcept {
  Reserve& from = the_reserve();
  const std::lock_guard lock(from.mutex);
  void* const memory = from.memory.allocate(size, std::nothrow);
  if (memory != nullptr) drawn_on.store(true, std::memory_order_relaxed);
  return memory;
}

[[maybe_unused]] void give_back(void* memory) noexcept {
  auto* const at = static_cast<std::byte*>(memory);
  if (at < reserve || at >= reserve + kReserve) return std::free(memory);
  Reserve& to = the_reserve();
  const std::lock_guard lock(to.mutex);
  to.memory.deallocate(memory);
}

}  // namespace

bool memory_is_short() noexcept {
  if (!drawn_on.load(std::memory_order_relaxed)) return false;
  void* const probe = std::malloc(kEnoughAgain);
  std::free(probe);
  if (probe != nullptr) drawn_on.store(false, std::memory_order_relaxed);
  return probe == nullptr;
}

}  // namespace atoll_ipc::daemon

// Sanitizers have their own, which must not be mixed with these.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ATOLL_OWN_NEW 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ATOLL_OWN_NEW 0
#endif
#endif
#ifndef ATOLL_OWN_NEW
#define ATOLL_OWN_NEW 1
#endif

#if ATOLL_OWN_NEW
// The array and nothrow forms of the standard library call these.
void* operator new(std::size_t size) {
  if (size == 0) size = 1;
  if (void* const memory = std::malloc(size)) return memory;
  if (void* const memory = atoll_ipc::daemon::take(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { atoll_ipc::daemon::give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { atoll_ipc::daemon::give_back(memory); }
#endif
