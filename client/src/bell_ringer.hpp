// Sleeping and waking: the client's half of SPEC.md, "Bells".
//
// ring() is the waker's side, called after every store that somebody may wait for. Sleeper is the
// other side: one per engine, spins for a bounded and learned time, then sleeps.
#pragma once

#include <cstdint>
#include <ctime>
#include <span>

#include "atoll/atoll.hpp"
#include "atoll/protocol/bell.hpp"
#include "atoll/protocol/fence.hpp"
#include "process.hpp"

namespace atoll_ipc {

class Session;

[[nodiscard]] std::int64_t monotonic_ns() noexcept;

// futex(2) on a word shared between processes. 0, or a negative errno.
int futex_wait(const protocol::Word32& word, std::uint32_t value, std::int64_t timeout_ns) noexcept;
void futex_wake(const protocol::Word32& word, int count) noexcept;

// Wakes everybody who sleeps on the list; the caller saw `summary` set.
void ring_all(protocol::Sleepers& sleepers, protocol::BellsFile& bells) noexcept;

// The waker: the store is done; fence unless this process is registered.
inline void ring(protocol::Sleepers& sleepers, protocol::BellsFile& bells, bool fence) noexcept {
  if (fence) protocol::full_fence();
  if (sleepers.summary.load_relaxed() != 0) [[unlikely]]
    ring_all(sleepers, bells);
}

// Puts this slot on a segment's list.
void enlist(protocol::Sleepers& sleepers, unsigned slot) noexcept;

// A point in time made from a Deadline, only when it is first needed.
class Clock {
 public:
  explicit Clock(Deadline deadline) noexcept : relative_(deadline.timeout_ns()) {}
  // What is left, in ns; negative: for ever; 0: passed.
  [[nodiscard]] std::int64_t left() noexcept {
    if (relative_ < 0) return -1;
    if (relative_ == 0) return 0;
    const std::int64_t now = monotonic_ns();
    if (end_ == 0) end_ = now + relative_ < now ? INT64_MAX : now + relative_;
    return end_ > now ? end_ - now : 0;
  }

 private:
  std::int64_t relative_;
  std::int64_t end_ = 0;
};

enum class Woken { look_again, timed_out, interrupted };

class Sleeper {
 public:
  // Spins while `ready()` is false, at most as long as has paid off before. True: it became ready.
  template <class Ready>
  bool spin(Ready&& ready) noexcept {
    if (spins_ == kUnset) spins_ = single_cpu() ? 0 : kSpinsMax / 4;
    if (spins_ == 0 && ++idle_ % 64 == 0 && !single_cpu()) spins_ = kSpinsMin;
    for (std::uint32_t i = 0; i < spins_; ++i) {
      if (ready()) {
        spins_ = spins_ + spins_ / 4 + 16 > kSpinsMax ? kSpinsMax : spins_ + spins_ / 4 + 16;
        return true;
      }
      protocol::spin_pause();
    }
    spins_ = spins_ < 2 * kSpinsMin ? 0 : spins_ / 2;
    return false;
  }

  // One sleep: enlists on `list`, looks once more through `ready`, sleeps until rung, the broker dies
  // or the time is out. `short_nap`: at most 5 ms, where membarrier cannot be relied on.
  template <class Ready>
  Woken sleep(Session& session, protocol::Sleepers& list, Clock& clock, bool interruptible, Ready&& ready) {
    const Armed armed = arm(session, list);
    if (ready()) return Woken::look_again;
    return doze(session, armed, clock, interruptible);
  }

  struct Armed {
    std::uint32_t bell;
    std::uint32_t life;
    bool short_nap;
  };
  static Armed arm(Session& session, protocol::Sleepers& list) noexcept;
  static Woken doze(Session& session, const Armed& armed, Clock& clock, bool interruptible);

 private:
  static constexpr std::uint32_t kUnset = ~0u;
  static constexpr std::uint32_t kSpinsMax = 4000;
  static constexpr std::uint32_t kSpinsMin = 64;
  std::uint32_t spins_ = kUnset;
  std::uint32_t idle_ = 0;
};

}  // namespace atoll_ipc
