// Settling groups: locks of the dead, redo areas, claims, and files full of nonsense.
#include <catch2/catch.hpp>
#include <memory>
#include <random>

#include "group_recovery.hpp"
#include "guard.hpp"

using namespace atoll_ipc;
using namespace atoll_ipc::protocol;
using namespace atoll_ipc::daemon;

namespace {

// Slot 1 generation 10 is a living member; everybody else is dead.
const Membership kOnlyOne{[](const void*, unsigned slot, std::uint32_t generation) { return slot == 1 && generation == 10; },
                          [](const void*, unsigned slot, std::uint32_t bits) { return slot == 1 && bits == 10; }, nullptr};

struct TestGroup {
  alignas(4096) std::byte memory[sizeof(GroupFile)] = {};
  GroupFile& file() { return *reinterpret_cast<GroupFile*>(memory); }
  void claim(unsigned index, ClaimState state, std::uint16_t slot, std::uint32_t generation, std::uint64_t begin, std::uint64_t end, std::uint16_t count,
             std::uint64_t acked = 0) {
    Claim& claim = file().claims[index];
    claim.slot.raw = slot;
    claim.slot_generation.raw = generation;
    claim.lane = 3;
    claim.count = count;
    claim.begin = begin;
    claim.end = end;
    claim.acked.raw = acked;
    claim.state.raw = static_cast<std::uint16_t>(state);
  }
};

}  // namespace

TEST_CASE("the claims of the dead are given back and those of the living stay") {
  TestGroup group;
  group.file().lanes[3].next.raw = 96;
  group.claim(0, ClaimState::held, 1, 10, 0, 32, 1);
  group.claim(1, ClaimState::held, 1, 9, 32, 64, 1);
  group.claim(2, ClaimState::held, 2, 10, 64, 96, 1);
  const auto settled = settle_group(group.file(), kOnlyOne);
  CHECK(settled.result == Settled::done);
  CHECK(settled.returned == 2);
  CHECK(group.file().returned.raw == 2);
  CHECK(group.file().claims[0].state.raw == 1);
  CHECK(group.file().claims[1].state.raw == 2);
  CHECK(group.file().claims[2].state.raw == 2);
  CHECK(group.file().lock.raw == 0);
  CHECK(settle_group(group.file(), kOnlyOne).returned == 0);
  CHECK(group.file().returned.raw == 2);
}

TEST_CASE("a claim that was acknowledged in full is free and the cursor moves to the next open one") {
  TestGroup group;
  group.file().lanes[3].next.raw = 96;
  group.claim(0, ClaimState::held, 2, 1, 0, 32, 64, ~0ull);
  group.claim(5, ClaimState::held, 1, 10, 64, 96, 1);
  CHECK(settle_group(group.file(), kOnlyOne).moved);
  CHECK(group.file().claims[0].state.raw == 0);
  CHECK(group.file().lanes[3].cursor.raw == 64);
}

TEST_CASE("the lock of a living holder is left alone, that of a dead one or of a dead broker is taken over") {
  Word32 lock{};
  lock.raw = lock_holder(1, 10);
  CHECK(take_lock_as_broker(lock, kOnlyOne) == LockTaken::busy);
  CHECK(lock.raw == lock_holder(1, 10));
  for (const std::uint32_t holder : {lock_holder(1, 11), lock_holder(4094, 0), lock_holder(kBrokerSlot, 0)}) {
    lock.raw = holder | kLockWaiters;
    CHECK(take_lock_as_broker(lock, kOnlyOne) == LockTaken::taken_from_dead);
    CHECK((lock.raw & kLockSlotMask) == kBrokerSlot + 1);
    CHECK((lock.raw & kLockWaiters) != 0);
    release_lock_as_broker(lock);
    CHECK(lock.raw == 0);
  }
  lock.raw = kLockNeedsRepair;
  CHECK(take_lock_as_broker(lock, kOnlyOne) == LockTaken::taken_from_dead);
}

TEST_CASE("a redo is applied before claims are looked at") {
  TestGroup group;
  group.file().lock.raw = lock_holder(2, 1);
  group.file().redo.entries[0] = {offsetof(GroupFile, claims), 1ull | 2ull << 16 | 1ull << 32};
  group.file().redo.count.raw = 1;
  group.claim(0, ClaimState::free, 0, 0, 0, 32, 1);
  CHECK(settle_group(group.file(), kOnlyOne).returned == 1);
  CHECK(group.file().redo.count.raw == 0);
}

TEST_CASE("values that no consumer writes are damage, and the lock is free afterwards") {
  TestGroup group;
  group.claim(0, ClaimState::held, 2, 1, 0, 32, 1);
  SECTION("a state") { group.file().claims[0].state.raw = 3; }
  SECTION("a lane") { group.file().claims[0].lane = 64; }
  SECTION("no records") { group.file().claims[0].count = 0; }
  SECTION("too many records") { group.file().claims[0].count = 65; }
  SECTION("an end before its beginning") { group.file().claims[0].begin = 33; }
  SECTION("too many redo entries") { group.file().redo.count.raw = 15; }
  SECTION("a redo entry outside the file") {
    group.file().redo.count.raw = 1;
    group.file().redo.entries[0].offset = sizeof(GroupFile);
  }
  SECTION("a redo entry in the header page") {
    group.file().redo.count.raw = 1;
    group.file().redo.entries[0].offset = 80;
  }
  CHECK(settle_group(group.file(), kOnlyOne).result == Settled::damaged);
  CHECK(group.file().lock.raw == 0);
}

TEST_CASE("random bytes in a group file never lead outside it") {
  std::mt19937_64 random(20240229);
  auto group = std::make_unique<TestGroup>();
  for (int round = 0; round < 2000; ++round) {
    auto* words = reinterpret_cast<std::uint64_t*>(group->memory);
    for (std::size_t i = 0; i < sizeof(GroupFile) / 8; ++i) words[i] = round % 2 == 0 ? random() : random() & 0x0001000100010003ull;
    group->file().lock.raw = lock_holder(2, 1);
    if (round % 3 == 0) group->file().redo.count.raw = static_cast<std::uint32_t>(random() % 16);
    static_cast<void>(settle_group(group->file(), kOnlyOne));
    CHECK(group->file().lock.raw == 0);
  }
}
