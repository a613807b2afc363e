#include "shared_lock.hpp"

#include <cerrno>

#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "bell_ringer.hpp"

namespace atoll_ipc {

Errc SharedLock::take_word(Deadline deadline, bool interruptible, bool& needs_repair) {
  private_.lock();
  const std::uint32_t me = protocol::lock_holder(session_.slot(), session_.slot_generation());
  std::uint32_t seen = 0;
  if (word_.compare_exchange(seen, me)) [[likely]] {
    held_ = true;
    ATOLL_KILL_POINT("lock.taken");
    return Errc::ok;
  }
  for (int spin = 0; spin < 100; ++spin) {
    protocol::spin_pause();
    seen = word_.load_acquire();
    if ((seen & protocol::kLockHolderMask) == 0) break;
  }
  Clock clock(deadline);
  for (;;) {
    seen = word_.load_acquire();
    if ((seen & protocol::kLockHolderMask) == 0) {
      // Others may be waiting, too: the bit stays with us.
      if (word_.compare_exchange(seen, me | protocol::kLockWaiters | (seen & protocol::kLockNeedsRepair))) {
        held_ = true;
        needs_repair = (seen & protocol::kLockNeedsRepair) != 0;
        ATOLL_KILL_POINT("lock.taken_over");
        return Errc::ok;
      }
      continue;
    }
    if ((seen & protocol::kLockWaiters) == 0) {
      if (!word_.compare_exchange(seen, seen | protocol::kLockWaiters)) continue;
      ATOLL_KILL_POINT("lock.waiting");
    }
    std::int64_t left = clock.left();
    if (left == 0) {
      private_.unlock();
      return Errc::timed_out;
    }
    // A holder that died is the broker's to find; without a broker somebody has to start one.
    const std::int64_t slice = 1'000'000'000;
    const int result = futex_wait(word_, seen | protocol::kLockWaiters, left < 0 || left > slice ? slice : left);
    if (result == -EINTR && interruptible) {
      private_.unlock();
      return Errc::interrupted;
    }
    if (result == -ETIMEDOUT) session_.revive();
  }
}

void SharedLock::release() noexcept {
  if (!held_) return;
  held_ = false;
  ATOLL_KILL_POINT("lock.releasing");
  const std::uint32_t was = word_.exchange(0);
  ATOLL_KILL_POINT("lock.released");
  if ((was & protocol::kLockWaiters) != 0) futex_wake(word_, 1);
  private_.unlock();
}

void RedoWriter::apply() noexcept {
  if (count_ == 0) return;
  ATOLL_KILL_POINT("redo.written");
  redo_.count.store_release(count_);
  ATOLL_KILL_POINT("redo.valid");
  for (std::uint32_t i = 0; i < count_; ++i) {
    reinterpret_cast<protocol::Word64*>(file_ + redo_.entries[i].offset)->store_release(redo_.entries[i].value);
    ATOLL_KILL_POINT("redo.stored");
  }
  redo_.count.store_release(0);
  ATOLL_KILL_POINT("redo.done");
  count_ = 0;
}

}  // namespace atoll_ipc
