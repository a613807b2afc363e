#include "bell_ringer.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <climits>

#include "atoll/protocol/kill_point.hpp"
#include "session.hpp"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

namespace atoll_ipc {
namespace {

// As in <linux/futex.h> since 5.16; older headers lack it.
struct WaitV {
  std::uint64_t value;
  std::uint64_t address;
  std::uint32_t flags;
  std::uint32_t reserved;
};
constexpr std::uint32_t kFutex32 = 2;
constexpr std::int64_t kShortNapNs = 5'000'000;

// Waits for either word to change; a negative time-out: for ever (a minute, where there is no futex_waitv).
// 0 or a negative errno.
int wait_for_either(const protocol::Word32& first, std::uint32_t first_value, const protocol::Word32& second,
                    std::uint32_t second_value, std::int64_t timeout_ns) noexcept {
  WaitV words[2] = {{first_value, reinterpret_cast<std::uintptr_t>(&first), kFutex32, 0},
                    {second_value, reinterpret_cast<std::uintptr_t>(&second), kFutex32, 0}};
  timespec at{};
  if (timeout_ns >= 0) {
    const std::int64_t end = monotonic_ns() + timeout_ns;
    at.tv_sec = end / 1'000'000'000;
    at.tv_nsec = end % 1'000'000'000;
  }
  const long result = ::syscall(SYS_futex_waitv, words, 2, 0, timeout_ns >= 0 ? &at : nullptr, CLOCK_MONOTONIC);
  if (result >= 0) return 0;
  if (errno == ENOSYS || errno == EPERM || errno == EINVAL)
    return futex_wait(first, first_value, timeout_ns >= 0 ? timeout_ns : static_cast<std::int64_t>(protocol::kWaitCeilingNs));
  return -errno;
}

}  // namespace

std::int64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

int futex_wait(const protocol::Word32& word, std::uint32_t value, std::int64_t timeout_ns) noexcept {
  timespec relative{};
  relative.tv_sec = timeout_ns / 1'000'000'000;
  relative.tv_nsec = timeout_ns % 1'000'000'000;
  return ::syscall(SYS_futex, &word.raw, FUTEX_WAIT, value, &relative, nullptr, 0) == 0 ? 0 : -errno;
}

void futex_wake(const protocol::Word32& word, int count) noexcept {
  ::syscall(SYS_futex, &word.raw, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

namespace {

void wake_slot(protocol::Bell& bell) noexcept {
  // Clear, then bump, then wake.
  if (bell.asleep.exchange(0) == 0) return;
  ATOLL_KILL_POINT("bell.cleared");
  bell.sequence.fetch_add(1);
  ATOLL_KILL_POINT("bell.counted");
  futex_wake(bell.sequence, INT_MAX);
}

}  // namespace

void ring_one(protocol::Sleepers& sleepers, protocol::BellsFile& bells, unsigned slot) noexcept {
  if (slot >= protocol::kMaxSlots) return;
  const std::uint64_t bit = 1ull << (slot % 64);
  if ((sleepers.slots[slot / 64].load_acquire() & bit) == 0 || (sleepers.slots[slot / 64].fetch_and(~bit) & bit) == 0) return;
  ATOLL_KILL_POINT("bell.slot_cleared");
  wake_slot(bells.bells[slot]);
}

void ring_all(protocol::Sleepers& sleepers, protocol::BellsFile& bells) noexcept {
  std::uint64_t summary = sleepers.summary.exchange(0);
  ATOLL_KILL_POINT("bell.summary_cleared");
  while (summary != 0) {
    const unsigned word = static_cast<unsigned>(std::countr_zero(summary));
    summary &= summary - 1;
    std::uint64_t slots = sleepers.slots[word].exchange(0);
    ATOLL_KILL_POINT("bell.slots_cleared");
    while (slots != 0) {
      const unsigned slot = word * 64 + static_cast<unsigned>(std::countr_zero(slots));
      slots &= slots - 1;
      wake_slot(bells.bells[slot]);
    }
  }
}

void enlist(protocol::Sleepers& sleepers, unsigned slot) noexcept {
  sleepers.slots[slot / 64].fetch_or(1ull << (slot % 64));
  ATOLL_KILL_POINT("bell.slot_set");
  sleepers.summary.fetch_or(1ull << (slot / 64));
  ATOLL_KILL_POINT("bell.summary_set");
}

Sleeper::Armed Sleeper::enlist_here(Session& session, protocol::Sleepers& list) noexcept {
  protocol::BellsFile& bells = session.bells();
  protocol::Bell& bell = bells.bells[session.slot()];
  Armed armed{};
  armed.bell = bell.sequence.load_acquire();
  armed.life = bells.life.load_acquire();
  bell.asleep.exchange(1);
  ATOLL_KILL_POINT("bell.asleep");
  enlist(list, session.slot());
  ATOLL_KILL_POINT("bell.enlisted");
#if !defined(__x86_64__)
  protocol::full_fence();  // there a locked instruction is not one
#endif
  return armed;
}

Sleeper::Armed Sleeper::arm(Session& session, protocol::Sleepers& list) noexcept {
  Armed armed = enlist_here(session, list);
  armed.short_nap = !heavy_barrier();
  return armed;
}

Woken Sleeper::doze(Session& session, const Armed& armed, Clock& clock, bool interruptible) {
  std::int64_t left = clock.left();
  if (left == 0) return Woken::timed_out;
  protocol::BellsFile& bells = session.bells();
  if ((armed.life & protocol::kLifeDied) != 0) {
    // Wake the other sleepers first: the kernel told only one.
    futex_wake(bells.life, INT_MAX);
    session.revive();
  }
  // Without a deadline there is no ceiling here: every minute the broker wakes whoever waits on `life`, and
  // setting up a timer costs more than the rest of the call.
  const std::int64_t ceiling = armed.short_nap ? kShortNapNs : static_cast<std::int64_t>(protocol::kWaitCeilingNs);
  const bool ends_here = left > 0 && left <= ceiling;
  if (left > ceiling || (left < 0 && armed.short_nap)) left = ceiling;
  // While the broker is dead and could not be started, its word tells nothing new: the ceiling is short.
  if ((armed.life & protocol::kLifeDied) != 0 && (left < 0 || left > 100'000'000) && bells.life.load_acquire() == armed.life) left = 100'000'000;
  const int result = wait_for_either(bells.bells[session.slot()].sequence, armed.bell, bells.life, armed.life, left);
  if (result == -EINTR && interruptible) return Woken::interrupted;
  if (result == -ETIMEDOUT && ends_here && clock.left() == 0) return Woken::timed_out;
  return Woken::look_again;
}

}  // namespace atoll_ipc
