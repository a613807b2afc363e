// Small payloads are copied in line, by eights: whole, whatever the caller has just stored there, and not far beyond.
#include "atoll/fast_path.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

using atoll_ipc::detail::copy_small;
using atoll_ipc::detail::kCopiedInLine;

TEST_CASE("every small length is copied whole, and nothing behind the next multiple of 16 is touched") {
  std::array<std::byte, kCopiedInLine> from;
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + 1);
  for (std::size_t n = 0; n <= kCopiedInLine; ++n) {
    alignas(16) std::array<std::byte, kCopiedInLine + 32> to{};
    copy_small(to.data(), from.data(), n);
    REQUIRE(std::memcmp(to.data(), from.data(), n) == 0);
    for (std::size_t i = (n + 15) / 16 * 16; i < to.size(); ++i) REQUIRE(to[i] == std::byte{0});
  }
}

TEST_CASE("numbers of any kind that were stored just before are copied as they are") {
  struct Message {
    double a;
    float b;
    int c;
    char d[9];
    long e;
  };
  Message message{};
  alignas(16) std::array<std::byte, 64> to{};
  for (int round = 0; round < 100; ++round) {
    message.a = round + 0.5;
    message.b = static_cast<float>(round);
    message.c = -round;
    message.d[8] = static_cast<char>(round);
    message.e = round * 3L;
    copy_small(to.data(), &message, sizeof message);
    message.a = -1;  // after the copy
    Message copy;
    std::memcpy(&copy, to.data(), sizeof copy);
    REQUIRE(copy.a == round + 0.5);
    REQUIRE(copy.b == static_cast<float>(round));
    REQUIRE((copy.c == -round && copy.d[8] == static_cast<char>(round) && copy.e == round * 3L));
  }
}
