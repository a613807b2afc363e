#include "process.hpp"

#include <dirent.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>  // glibc since 2.32
#define ATOLL_SINGLE_THREADED __libc_single_threaded
#else
#define ATOLL_SINGLE_THREADED false
#endif

#include <new>

#include "atoll/protocol/fence.hpp"

namespace atoll_ipc {
namespace {

long membarrier(int command) noexcept { return ::syscall(SYS_membarrier, command, 0, 0); }

constexpr std::size_t kPage = 4096;

ProcessPage* make_page() noexcept {
  if (void* const memory = map_wiped_page()) return ::new (memory) ProcessPage{};
  static ProcessPage page{};
  static const int at_fork = ::pthread_atfork(nullptr, nullptr, [] { page.identity.store(0); page.registered.store(0); page.registering.store(0); });
  static_cast<void>(at_fork);
  return &page;
}

// Known to libc, or else counted: it does not notice when the last other thread ends.
bool has_one_thread() noexcept {
  if (ATOLL_SINGLE_THREADED) return true;
  DIR* tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return false;
  int count = 0;
  while (const dirent* entry = ::readdir(tasks))
    if (entry->d_name[0] != '.') ++count;
  ::closedir(tasks);
  return count == 1;
}

void register_now() noexcept {
  ProcessPage& page = process_page();
  if (membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0) page.registered.store(1, std::memory_order_release);
}

}  // namespace

void* map_wiped_page() noexcept {
  void* const memory = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (::madvise(memory, kPage, MADV_WIPEONFORK) == 0) return memory;
  ::munmap(memory, kPage);
  return nullptr;
}

void unmap_wiped_page(void* page) noexcept {
  if (page != nullptr) ::munmap(page, kPage);
}

ProcessPage& process_page() noexcept {
  static ProcessPage* const page = make_page();
  return *page;
}

std::uint64_t process_identity() noexcept {
  ProcessPage& page = process_page();
  std::uint64_t identity = page.identity.load(std::memory_order_acquire);
  if (identity != 0) return identity;
  std::uint64_t fresh = 0;
  if (::getrandom(&fresh, sizeof fresh, GRND_NONBLOCK) != static_cast<ssize_t>(sizeof fresh))
    fresh = static_cast<std::uint64_t>(::getpid()) * 0x9e3779b97f4a7c15ull;
  fresh |= 1;
  return page.identity.compare_exchange_strong(identity, fresh) ? fresh : identity;
}

void register_for_membarrier() noexcept {
  ProcessPage& page = process_page();
  if (page.registered.load(std::memory_order_acquire) != 0 || page.registering.exchange(1) != 0) return;
  if (has_one_thread()) {
    register_now();
    return;
  }
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  ::pthread_attr_setstacksize(&attributes, 64 * 1024);
  const int failed = ::pthread_create(
      &thread, &attributes,
      [](void*) -> void* {
        register_now();
        return nullptr;
      },
      nullptr);
  ::pthread_attr_destroy(&attributes);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failed != 0) page.registering.store(0);
}

bool heavy_barrier() noexcept {
  protocol::full_fence();
  return membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
}

bool single_cpu() noexcept {
  static const bool one = ::sysconf(_SC_NPROCESSORS_ONLN) == 1;
  return one;
}

}  // namespace atoll_ipc
