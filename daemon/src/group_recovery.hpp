// Settling a group: taking its lock from the dead, finishing what they began, giving back their claims.
//
// Called when a consumer died or left, and for every group at a restart. Nothing in the file is
// believed: nonsense makes the group `damaged` and is not acted upon. Idempotent. The broker never waits
// for a living holder; the caller tries again later. SPEC.md, "Lock word and redo", "Recovery".
#pragma once

#include <cstdint>

#include "atoll/protocol/group.hpp"
#include "atoll/protocol/repair.hpp"
#include "segment.hpp"

namespace atoll_ipc::daemon {

enum class Settled {
  done,
  busy,     // a living process holds the lock
  damaged,  // the file holds values that no consumer writes
};

struct SettledGroup {
  Settled result = Settled::done;
  unsigned returned = 0;     // claims given back
  bool moved = false;        // a cursor moved: somebody may have room now
};

// Who is a member. A plain function and a pointer, because it is called inside guarded().
struct Membership {
  bool (*is_member)(const void* context, unsigned slot, std::uint32_t generation);
  // Compares the 17 bits of the generation that the lock word has room for.
  bool (*is_holder_alive)(const void* context, unsigned slot, std::uint32_t generation_bits);
  const void* context;
};

// The lock's word, taken for the broker if it is free or its holder is dead.
enum class LockTaken { taken, taken_from_dead, busy };
LockTaken take_lock_as_broker(protocol::Word32& lock, const Membership& membership) noexcept;
void release_lock_as_broker(protocol::Word32& lock) noexcept;

// Call inside guarded(). An exclusive group has no claims and no lock.
SettledGroup settle_group(protocol::GroupFile& group, const Membership& membership) noexcept;

}  // namespace atoll_ipc::daemon
