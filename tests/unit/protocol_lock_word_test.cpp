// The lock word: protocol/lock_word.hpp.
#include <catch2/catch.hpp>
#include <set>

#include "atoll/protocol/lock_word.hpp"

using namespace atoll_ipc::protocol;

TEST_CASE("a holder's word names its slot and slot generation and is never the free word") {
  CHECK(lock_holder(0, 0) == 1);
  CHECK(lock_holder(5, 3) == (6u | 3u << 13));
  CHECK((lock_holder(5, 3) & kLockSlotMask) == 6);
}

TEST_CASE("no holder's word sets the bits for waiters or repair") {
  for (const std::uint32_t slot : {0u, 4095u, kBrokerSlot})
    for (const std::uint32_t generation : {0u, 1u, kLockGenerationMask, 0xffffffffu})
      CHECK((lock_holder(slot, generation) & ~kLockHolderMask) == 0);
}

TEST_CASE("different slots and generations have different words, and the broker's is nobody else's") {
  std::set<std::uint32_t> words;
  for (std::uint32_t slot = 0; slot < 4096; ++slot)
    for (const std::uint32_t generation : {0u, 1u, 2u, 131071u}) words.insert(lock_holder(slot, generation));
  CHECK(words.size() == 4096 * 4);
  for (const std::uint32_t generation : {0u, 1u, 2u, 131071u}) CHECK(words.count(lock_holder(kBrokerSlot, generation)) == 0);
}
