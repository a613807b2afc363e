// What a user and a program may have, options that change it, names a user may give, and whose turn is next.
#include <catch2/catch.hpp>

#include "limits.hpp"
#include "name_policy.hpp"
#include "options.hpp"
#include "runtime_directory.hpp"
#include "turns.hpp"

using namespace atoll_ipc;
using namespace atoll_ipc::daemon;

TEST_CASE("a user gets a quarter of a large file system, at most 4 GiB, and half of a small one") {
  const UserLimits plain;
  CHECK(Limits::bytes_limit(plain, 64ull << 20, false) == 32ull << 20);
  CHECK(Limits::bytes_limit(plain, (1ull << 30) - 2, false) == (1ull << 29) - 1);
  CHECK(Limits::bytes_limit(plain, 8ull << 30, false) == 2ull << 30);
  CHECK(Limits::bytes_limit(plain, 1ull << 40, false) == 4ull << 30);
  UserLimits set;
  set.bytes = 5;
  CHECK(Limits::bytes_limit(set, 1ull << 40, true) == 5);
}

TEST_CASE("where users share a broker, none of them gets all that the broker as a whole may have of a small file system") {
  CHECK(Limits::bytes_limit(UserLimits{}, 64ull << 20, true) == 16ull << 20);
}

namespace {

Process program(pid_t pid, std::uint64_t start_time = 1) { return {pid, 1000, start_time, "worker" + std::to_string(pid)}; }

Result<void> one_more(const Process& who, const Tally& tally, std::uint64_t most, std::uint64_t share = 50) {
  return Limits::check_share(who, 1000, tally, 1, most, share, "segments", "s");
}

}  // namespace

TEST_CASE("a program gets half of what the other programs of its user leave, and the refusal names both") {
  Tally tally;
  tally.add(program(7), 5);
  CHECK(one_more(program(8), tally, 10));
  const auto refused = one_more(program(7), tally, 10);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == Errc::limit_reached);
  CHECK(refused.error().detail == 5);
  CHECK(refused.error().message.find("worker7 (process 7) has 5") != std::string::npos);
  tally.add(program(8), 3);
  CHECK_FALSE(one_more(program(8), tally, 10));  // 5 are left by the other: 3 are half of them, rounded up
  CHECK(one_more(program(9), tally, 10));
}

TEST_CASE("programs that come one after the other can use up a limit, and the refusal names who has most") {
  Tally tally;
  for (pid_t pid = 1; tally.total() < 10; ++pid) {
    REQUIRE(one_more(program(pid), tally, 10));
    while (one_more(program(pid), tally, 10)) tally.add(program(pid));
  }
  const auto refused = one_more(program(99), tally, 10);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("limit of 10 segments of a user is reached") != std::string::npos);
  CHECK(refused.error().message.find("has 10, 5 of them by worker1 (process 1)") != std::string::npos);
}

TEST_CASE("a share of 100 percent and a process whose number is hidden have all that is left") {
  Tally tally;
  tally.add(program(7), 9);
  CHECK(one_more(program(7), tally, 10, 100));
  Tally hidden;
  hidden.add(program(0), 9);
  CHECK(one_more(program(0), hidden, 10));
  CHECK(hidden.total() == 9);
  CHECK(hidden.largest().empty());
}

TEST_CASE("another process with the same number has a share of its own") {
  Tally tally;
  tally.add(program(7, 1), 5);
  CHECK_FALSE(one_more(program(7, 1), tally, 10));
  CHECK(one_more(program(7, 2), tally, 10));
}

TEST_CASE("without prefixes any name may be given; with one, a user's own and the granted ones") {
  const auto none = NamePolicy::make({});
  REQUIRE(none);
  CHECK(none->check("anything", 4711, 999));
  const auto policy = NamePolicy::make({"4711:sensors/", "*:public/"});
  REQUIRE(policy);
  for (const char* name : {"4711/a", "sensors/a", "public/a"}) CHECK(policy->check(name, 4711, 999));
  CHECK_FALSE(policy->check("sensors/a", 4712, 999));
  const auto refused = policy->check("other", 4711, 999);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == Errc::not_permitted);
  CHECK(refused.error().message.find("4711/, sensors/, public/") != std::string::npos);
  CHECK_FALSE(policy->check("4711x", 4711, 999));
  CHECK(policy->check("other", 0, 999));
  CHECK(policy->check("other", 999, 999));
  for (const char* wrong : {"", "alice", "alice:", ":public/"}) CHECK_FALSE(NamePolicy::make({wrong}));
}

TEST_CASE("each round carries out one call of each user, and of a user's connections one after the other") {
  Turns turns;
  for (std::uint64_t connection = 1; connection <= 3; ++connection) turns.ask(1, connection);
  turns.ask(2, 9);
  std::vector<std::uint64_t> had;
  const auto turn = [&](std::uint64_t connection) {
    had.push_back(connection);
    if (connection == 1 && had.size() < 4) turns.ask(1, connection);  // it has sent more
  };
  CHECK(turns.round(turn));
  CHECK(had == std::vector<std::uint64_t>{1, 9});
  while (turns.round(turn)) {
  }
  CHECK(had == std::vector<std::uint64_t>{1, 9, 2, 3, 1});
}

TEST_CASE("an override changes one limit of one user and keeps the others") {
  Options options;
  options.user_limits.segments = 9;
  REQUIRE(apply_override(options, "alice:bytes=1000"));
  REQUIRE(apply_override(options, "alice:lanes=3"));
  CHECK(options.user_overrides.at("alice").bytes == 1000);
  CHECK(options.user_overrides.at("alice").lanes == 3);
  CHECK(options.user_overrides.at("alice").segments == 9);
  REQUIRE(apply_override(options, "alice:program-share=100"));
  CHECK(options.user_overrides.at("alice").program_share == 100);
  for (const char* wrong : {"", "alice", ":bytes=1", "alice:bytes", "alice:bytes=", "alice:bytes=-1", "alice:bytes=1x", "alice:colour=1", "alice:bytes=99999999999999999999",
                            "alice:program-share=0", "alice:program-share=101"})
    CHECK_FALSE(apply_override(options, wrong));
}

TEST_CASE("a broker's directory under /dev/shm is named by FNV-1a of its runtime directory") {
  CHECK(directory_id("") == "cbf29ce484222325");
  CHECK(directory_id("a") == "af63dc4c8601ec8c");
  CHECK(directory_id("foobar") == "85944171f73967e8");
}
