// Sleeping and waking: the client's half of SPEC.md, "Bells".
//
// ring() is the waker's side, called after every store that somebody may wait for. Sleeper is the
// other side: one per engine, spins for a bounded and learned time, then sleeps.
#pragma once

#include <sched.h>

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

// Wakes one slot, if it is on the list. `slot` may be any number.
void ring_one(protocol::Sleepers& sleepers, protocol::BellsFile& bells, unsigned slot) noexcept;

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
    if (spins_ == 0 && !single_cpu() && --waits_to_try_ == 0) spins_ = kSpinsToTry;
    for (std::uint32_t i = 0; i < spins_; ++i) {
      if (ready()) return learn(true), true;
      protocol::spin_pause();
    }
    if (spins_ != 0) learn(false);
    return false;
  }
  // Did spinning pay off? Where it has not for a while it is tried again after some waits, ever more of them:
  // two that sleep would not find out otherwise that they answer each other sooner than they wake up.
  void learn(bool paid) noexcept {
    if (paid) {
      spins_ = spins_ + spins_ / 4 + 16 > kSpinsMax ? kSpinsMax : spins_ + spins_ / 4 + 16;
      waits_between_tries_ = kWaitsBetweenTries;
    } else if (spins_ < 2 * kSpinsMin || waits_to_try_ == 0) {
      spins_ = 0;
      if (waits_between_tries_ < kWaitsBetweenTries << 4) waits_between_tries_ *= 2;
    } else {
      spins_ /= 2;
    }
    waits_to_try_ = waits_between_tries_;
  }
  // How often to look before the next sleep.
  [[nodiscard]] std::uint32_t looks() const noexcept { return spins_; }

  // Where both sides share a CPU, giving it up is half the price of a sleep and a wake. Not where a third
  // process takes it for long: then being woken brings it back sooner. True: it became ready.
  template <class Ready>
  bool yield(Ready&& ready) noexcept {
    if (no_yields_ > 0) {
      --no_yields_;
      return false;
    }
    const std::int64_t before = monotonic_ns();
    ::sched_yield();
    const bool became = ready();
    if (monotonic_ns() - before > kLongYieldNs) no_yields_ = kWaitsWithoutYield;
    vain_yields_ = became ? 0 : vain_yields_ + 1;
    if (vain_yields_ >= kVainYields) {
      no_yields_ = kWaitsWithoutYield;
      vain_yields_ = kVainYields - 1;  // one more chance after that
    }
    return became;
  }

  // Has spinning paid off lately? Not when both sides share a CPU.
  [[nodiscard]] bool spins() const noexcept { return spins_ != 0; }

  // One sleep: enlists on `list`, looks once more through `ready`, sleeps until rung, the broker dies
  // or the time is out. `wakers_fence()`: do all who may ring this list fence? Asked after enlisting.
  template <class Ready, class Fence>
  Woken sleep(Session& session, protocol::Sleepers& list, Clock& clock, bool interruptible, Ready&& ready, Fence&& wakers_fence) {
    Armed armed = enlist_here(session, list);
    if (!wakers_fence()) armed.short_nap = !heavy_barrier();
    if (ready()) return learn(true), Woken::look_again;
    return doze(session, armed, clock, interruptible);
  }
  template <class Ready>
  Woken sleep(Session& session, protocol::Sleepers& list, Clock& clock, bool interruptible, Ready&& ready) {
    return sleep(session, list, clock, interruptible, ready, [] { return false; });
  }

  struct Armed {
    std::uint32_t bell;
    std::uint32_t life;
    bool short_nap;  // sleep at most 5 ms: membarrier cannot be relied on
  };
  // Enlists, with a fence for this side.
  static Armed enlist_here(Session& session, protocol::Sleepers& list) noexcept;
  // And one for wakers that do not fence.
  static Armed arm(Session& session, protocol::Sleepers& list) noexcept;
  static Woken doze(Session& session, const Armed& armed, Clock& clock, bool interruptible);

 private:
  static constexpr std::uint32_t kSpinsMax = 1000;
  static constexpr std::uint32_t kSpinsMin = 64;
  static constexpr std::uint32_t kSpinsToTry = kSpinsMax;
  static constexpr std::uint32_t kWaitsBetweenTries = 32;
  static constexpr std::int64_t kLongYieldNs = 100'000;
  static constexpr std::uint32_t kWaitsWithoutYield = 64;
  static constexpr std::uint32_t kVainYields = 4;
  std::uint32_t no_yields_ = 0;    // waits to come that do not try
  std::uint32_t vain_yields_ = 0;  // in a row
  std::uint32_t spins_ = single_cpu() ? 0 : kSpinsToTry;
  std::uint32_t waits_to_try_ = kWaitsBetweenTries;  // while spins_ is 0
  std::uint32_t waits_between_tries_ = kWaitsBetweenTries;
};

}  // namespace atoll_ipc
