// What a user may have of a file system, and options that change it.
#include <catch2/catch.hpp>

#include "limits.hpp"
#include "options.hpp"
#include "runtime_directory.hpp"

using namespace atoll_ipc;
using namespace atoll_ipc::daemon;

TEST_CASE("a user gets a quarter of a large file system, at most 4 GiB, and half of a small one") {
  const UserLimits plain;
  CHECK(Limits::bytes_limit(plain, 64ull << 20) == 32ull << 20);
  CHECK(Limits::bytes_limit(plain, (1ull << 30) - 2) == (1ull << 29) - 1);
  CHECK(Limits::bytes_limit(plain, 8ull << 30) == 2ull << 30);
  CHECK(Limits::bytes_limit(plain, 1ull << 40) == 4ull << 30);
  UserLimits set;
  set.bytes = 5;
  CHECK(Limits::bytes_limit(set, 1ull << 40) == 5);
}

TEST_CASE("an override changes one limit of one user and keeps the others") {
  Options options;
  options.user_limits.segments = 9;
  REQUIRE(apply_override(options, "alice:bytes=1000"));
  REQUIRE(apply_override(options, "alice:lanes=3"));
  CHECK(options.user_overrides.at("alice").bytes == 1000);
  CHECK(options.user_overrides.at("alice").lanes == 3);
  CHECK(options.user_overrides.at("alice").segments == 9);
  for (const char* wrong : {"", "alice", ":bytes=1", "alice:bytes", "alice:bytes=", "alice:bytes=-1", "alice:bytes=1x", "alice:colour=1", "alice:bytes=99999999999999999999"})
    CHECK_FALSE(apply_override(options, wrong));
}

TEST_CASE("a broker's directory under /dev/shm is named by FNV-1a of its runtime directory") {
  CHECK(directory_id("") == "cbf29ce484222325");
  CHECK(directory_id("a") == "af63dc4c8601ec8c");
  CHECK(directory_id("foobar") == "85944171f73967e8");
}
