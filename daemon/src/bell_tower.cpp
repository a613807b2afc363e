#include "bell_tower.hpp"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "guard.hpp"

namespace atoll_ipc::daemon {

void futex_wake(protocol::Word32& word, int count) noexcept {
  ::syscall(SYS_futex, &word.raw, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

namespace {

void ring_list(protocol::Sleepers& list, protocol::BellsFile& bells) noexcept {
  // Not only the words that the summary names: whoever set a bit may have died before the summary.
  list.summary.exchange(0);
  ATOLL_KILL_POINT("broker.ring.summary");
  for (unsigned word = 0; word < protocol::kMaxSlots / 64; ++word) {
    if (list.slots[word].load_relaxed() == 0) continue;
    std::uint64_t bits = list.slots[word].exchange(0);
    ATOLL_KILL_POINT("broker.ring.slots");
    while (bits != 0) {
      const auto bit = static_cast<unsigned>(__builtin_ctzll(bits));
      bits &= bits - 1;
      protocol::Bell& sleeper = bells.bells[word * 64 + bit];
      if (sleeper.asleep.exchange(0) == 0) continue;
      ATOLL_KILL_POINT("broker.ring.cleared");
      sleeper.sequence.fetch_add(1);
      ATOLL_KILL_POINT("broker.ring.counted");
      futex_wake(sleeper.sequence, INT_MAX);
    }
  }
}

}  // namespace

void ring_sleepers(protocol::BellFile& bell, protocol::BellsFile& bells) noexcept {
  protocol::full_fence();
  if (!guarded([&] { ring_list(bell.data, bells); })) return;
  static_cast<void>(guarded([&] { ring_list(bell.room, bells); }));
}

void ring_slot(protocol::BellsFile& bells, unsigned slot) noexcept {
  if (slot >= protocol::kMaxSlots) return;
  static_cast<void>(guarded([&] {
    bells.bells[slot].asleep.exchange(0);
    bells.bells[slot].sequence.fetch_add(1);
    futex_wake(bells.bells[slot].sequence, INT_MAX);
  }));
}

void reset_bell(protocol::BellsFile& bells, unsigned slot) noexcept {
  if (slot >= protocol::kMaxSlots) return;
  static_cast<void>(guarded([&] { bells.bells[slot].asleep.exchange(0); }));
}

bool process_wide_fence() noexcept {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

}  // namespace atoll_ipc::daemon
