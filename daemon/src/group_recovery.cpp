#include "group_recovery.hpp"

#include <climits>

#include "atoll/protocol/kill_point.hpp"
#include "bell_tower.hpp"

namespace atoll_ipc::daemon {
namespace {

using protocol::Claim;
using protocol::ClaimState;
using protocol::GroupFile;

std::uint64_t claim_head(ClaimState state, unsigned slot, std::uint32_t generation) noexcept {
  return static_cast<std::uint64_t>(state) | static_cast<std::uint64_t>(slot & 0xffffu) << 16 | static_cast<std::uint64_t>(generation) << 32;
}

// What a claim says, read once: its holder may be writing it this moment.
struct ClaimCopy {
  unsigned lane;
  unsigned count;
  std::uint64_t begin;
  std::uint64_t end;
  explicit ClaimCopy(const Claim& claim) noexcept
      : lane(__atomic_load_n(&claim.lane, __ATOMIC_RELAXED)),
        count(__atomic_load_n(&claim.count, __ATOMIC_RELAXED)),
        begin(__atomic_load_n(&claim.begin, __ATOMIC_RELAXED)),
        end(__atomic_load_n(&claim.end, __ATOMIC_RELAXED)) {}
  [[nodiscard]] bool makes_sense() const noexcept {
    return lane < protocol::kMaxLanes && begin <= end && count >= 1 && count <= protocol::kClaimRecords;
  }
};

// Where the cursor of a lane belongs if claim `without` were free. False if a claim makes no sense.
bool cursor_without(const GroupFile& group, unsigned lane, unsigned without, std::uint64_t& cursor) noexcept {
  cursor = group.lanes[lane].next.load_acquire();
  for (unsigned i = 0; i < protocol::kClaims; ++i) {
    const Claim& claim = group.claims[i];
    if (i == without || claim.state.load_acquire() == static_cast<std::uint16_t>(ClaimState::free)) continue;
    const ClaimCopy copy(claim);
    if (!copy.makes_sense()) return false;
    if (copy.lane == lane && copy.begin < cursor) cursor = copy.begin;
  }
  return true;
}

void redo(GroupFile& group, std::uint64_t first_offset, std::uint64_t first_value, std::uint64_t second_offset,
          std::uint64_t second_value) noexcept {
  group.redo.copy_length = 0;
  group.redo.entries[0] = {first_offset, first_value};
  group.redo.entries[1] = {second_offset, second_value};
  ATOLL_KILL_POINT("broker.group.redo");
  group.redo.count.store_release(2);
  static_cast<void>(protocol::repair_group(group));
}

}  // namespace

LockTaken take_lock_as_broker(protocol::Word32& lock, const Membership& membership) noexcept {
  const std::uint32_t mine = protocol::lock_holder(protocol::kBrokerSlot, 0);
  for (int attempt = 0; attempt < 16; ++attempt) {
    std::uint32_t seen = lock.load_acquire();
    const std::uint32_t holder_slot = seen & protocol::kLockSlotMask;
    bool from_dead = (seen & protocol::kLockNeedsRepair) != 0;
    if (holder_slot != 0) {
      const std::uint32_t slot = holder_slot - 1;
      // The broker itself: a broker that died while it held the lock. There is only one.
      if (slot != protocol::kBrokerSlot &&
          membership.is_holder_alive(membership.context, slot, (seen >> 13) & protocol::kLockGenerationMask))
        return LockTaken::busy;
      from_dead = true;
    }
    const std::uint32_t waiters = seen & protocol::kLockWaiters;
    const std::uint32_t repair = from_dead ? protocol::kLockNeedsRepair : 0;
    ATOLL_KILL_POINT("broker.lock.take");
    if (!lock.compare_exchange(seen, mine | waiters | repair)) continue;
    ATOLL_KILL_POINT("broker.lock.taken");
    return from_dead ? LockTaken::taken_from_dead : LockTaken::taken;
  }
  return LockTaken::busy;
}

void release_lock_as_broker(protocol::Word32& lock) noexcept {
  ATOLL_KILL_POINT("broker.lock.release");
  if ((lock.exchange(0) & protocol::kLockWaiters) != 0) futex_wake(lock, 1);
}

SettledGroup settle_group(GroupFile& group, const Membership& membership) noexcept {
  SettledGroup out;
  // Whoever was woken for the lock may have died before it took it, and would have woken the next.
  futex_wake(group.lock, INT_MAX);
  if (take_lock_as_broker(group.lock, membership) == LockTaken::busy) {
    out.result = Settled::busy;
    return out;
  }
  if (protocol::repair_group(group) == protocol::Repaired::damaged) out.result = Settled::damaged;
  for (unsigned i = 0; i < protocol::kClaims && out.result == Settled::done; ++i) {
    Claim& claim = group.claims[i];
    const std::uint16_t state = claim.state.load_acquire();
    if (state > static_cast<std::uint16_t>(ClaimState::returned)) {
      out.result = Settled::damaged;
      break;
    }
    if (state != static_cast<std::uint16_t>(ClaimState::held)) continue;
    const unsigned slot = claim.slot.load_relaxed();
    const std::uint32_t generation = claim.slot_generation.load_relaxed();
    if (membership.is_member(membership.context, slot, generation)) continue;
    const ClaimCopy copy(claim);
    if (!copy.makes_sense()) {
      out.result = Settled::damaged;
      break;
    }
    const std::uint64_t all = copy.count == 64 ? ~0ull : (1ull << copy.count) - 1;
    const std::uint64_t head = offsetof(GroupFile, claims) + i * sizeof(Claim);
    if ((claim.acked.load_acquire() & all) == all) {
      std::uint64_t cursor = 0;
      if (!cursor_without(group, copy.lane, i, cursor)) {
        out.result = Settled::damaged;
        break;
      }
      redo(group, head, claim_head(ClaimState::free, 0, 0), offsetof(GroupFile, lanes) + copy.lane * sizeof(protocol::LanePosition), cursor);
      ATOLL_KILL_POINT("broker.group.freed");
      out.moved = true;
    } else {
      redo(group, head, claim_head(ClaimState::returned, slot, generation), offsetof(GroupFile, returned), group.returned.load_relaxed() + 1);
      ATOLL_KILL_POINT("broker.group.returned");
      ++out.returned;
    }
  }
  release_lock_as_broker(group.lock);
  return out;
}

}  // namespace atoll_ipc::daemon
